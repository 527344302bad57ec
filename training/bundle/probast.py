"""PROBAST+AI (Moons et al., BMJ 2025;388:e082505) as far as the facts of a training answer it.

By part (development, evaluation) and domain, with the answers of the tool: yes, probably yes, probably no, no, no
information. It is what those who trained the model can say of it, not the judgement of an independent assessor, and the
wording of the single questions is not repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from training.bundle.tripod import MISSING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from inference.input_contract import InputContract
    from training.bundle.tripod import TripodStudy

_EVENTS_A_PARAMETER: Final = 10
_FEW_EVENTS: Final = 100  # of an evaluation (Collins et al., Stat Med 2016)


def probast(card: Mapping[str, Any], contract: InputContract, study: TripodStudy) -> dict[str, str]:
    """The answers, by part and domain.

    Args:
        card: the other fields of the card.
        contract: of the model.
        study: statements of those who trained the model.
    """
    synthetic = bool(card["synthetic"])
    return {
        "Development 1 Participants: data sources": _sources(card, study),
        "Development 1 Participants: inclusion": _stated(study.eligibility, synthetic=synthetic),
        "Development 2 Predictors: assessed alike and before the outcome": "Yes: one input contract "
        f"({contract.fingerprint[:12]}) at every centre, of the time before the first dose; an input that tells the "
        "outcome is looked for by “fedpet train evaluate”.",
        "Development 2 Predictors: available at the time of use": "Yes: images and record before treatment.",
        "Development 3 Outcome: defined and determined alike": "Yes: drawn by the simulation."
        if synthetic
        else "Probably yes: progression-free survival from the first dose; by each centre, no central review is known.",
        "Development 3 Outcome: without knowledge of the predictors": "Yes: drawn by the simulation."
        if synthetic
        else "No information: blinding of the assessors is not known here.",
        "Development 4 Analysis: enough patients": _size(card),
        "Development 4 Analysis: missing data, censoring": "Probably yes: flags for missing inputs, nobody is left out "
        "for one; censored patients count until they are censored.",
        "Development 4 Analysis: overfitting": _overfitting(card),
        "Development 4 Analysis: differences between centres": _centres(card),
        "Evaluation 1 Participants": _evaluated_on(card),
        "Evaluation 2 Predictors and 3 Outcome": "Yes: by the same contract and definition as in the development.",
        "Evaluation 4 Analysis: enough patients": _evaluation_size(card),
        "Evaluation 4 Analysis: measures": "Yes: discrimination, calibration and coverage with intervals; by “fedpet "
        "train evaluate” also decision curve, by centre and subgroup."
        if _evaluated(card)
        else "No: there is no evaluation.",
        "Evaluation 4 Analysis: no data of the development": "Yes: who is held out is never trained on."
        if _evaluated(card)
        else "No: only out-of-fold predictions of the patients of the development.",
        "Applicability": "No: simulated patients." if synthetic else card["intended_use"],
    }


def _stated(sentence: str, *, synthetic: bool) -> str:
    if synthetic:
        return "Yes: everybody who was simulated and passed the checks of the images."
    return f"No information: {sentence}" if sentence == MISSING else f"Probably yes: {sentence}"


def _sources(card: Mapping[str, Any], study: TripodStudy) -> str:
    if card["synthetic"]:
        return "No: simulated patients."
    dates = "" if study.dates == MISSING else f" {study.dates}"
    return f"Probably yes: tables and images of {len(card['federation']['nodes'])} centres.{dates}"


def _size(card: Mapping[str, Any]) -> str:
    events, parameters = card["data"].get("events"), card["network"]["parameters"]
    if events is None:
        return "No information: the number of events is not known."
    enough = events >= _EVENTS_A_PARAMETER * parameters
    answer = "Yes" if enough else "Probably yes" if "risk_model" in card and events >= 5 * parameters else "Probably no"
    return f"{answer}: {events} events for {parameters} parameters."


def _overfitting(card: Mapping[str, Any]) -> str:
    fit = card.get("risk_model")
    if fit is None:
        return "Probably yes: recalibrated on patients who were not trained on."
    return f"Yes: ridge chosen by cross-validation over {fit['folds']} folds, recalibrated on out-of-fold scores."


def _centres(card: Mapping[str, Any]) -> str:
    fit, count = card.get("risk_model"), len(card["federation"]["nodes"])
    if fit is not None and fit["precision_of_the_sites_intercepts"]:
        return f"Yes: an intercept of each of {count} centres, drawn to 0."
    return f"Probably no: {count} centres share every parameter."


def _evaluated(card: Mapping[str, Any]) -> bool:
    return isinstance(card["evaluation"], dict)


def _evaluated_on(card: Mapping[str, Any]) -> str:
    if not _evaluated(card):
        return "No: no held-out patients were given."
    seen = set(card["evaluation"].get("by_centre", {})) <= set(card["federation"]["nodes"])
    kind = "simulated patients" if card["synthetic"] else "patients"
    where = "of the centres of the development: no external evaluation" if seen else "of centres that did not train too"
    return f"{'Probably no' if seen else 'Probably yes'}: {card['data']['held_out']} {kind} {where}."


def _evaluation_size(card: Mapping[str, Any]) -> str:
    if not _evaluated(card):
        return "No: there is no evaluation."
    held_out, data = card["data"]["held_out"], card["data"]
    expected = None if data.get("events") is None else round(held_out * data["events"] / max(data["patients"], 1))
    if expected is None:
        return f"No information: {held_out} patients, an unknown number of events."
    answer = "Yes" if expected >= _FEW_EVENTS else "Probably no"
    return f"{answer}: {held_out} patients, about {expected} events at the rate of the development; 100 are usual."
