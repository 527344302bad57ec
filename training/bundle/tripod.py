"""The items of TRIPOD+AI (Collins et al., BMJ 2024;385:e078378) as far as a training knows their answers.

What no program knows (ethics, funding, registration...) comes from the `[study]` table of the training's file, and is
reported as missing until it is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from inference.input_contract import LESION_PREFIX
from inference.network import IMAGELESS, used_inputs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from inference.input_contract import InputContract

MISSING = "Not stated by those who trained the model."


class TripodStudy(BaseModel):
    """`[study]`: sentences for the items of TRIPOD+AI that no program can know."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str = MISSING
    dates: str = MISSING
    eligibility: str = MISSING
    treatments: str = MISSING
    sample_size: str = MISSING
    inequalities: str = MISSING
    ethics: str = MISSING
    funding: str = MISSING
    conflicts: str = MISSING
    protocol: str = MISSING
    registration: str = MISSING
    data_sharing: str = MISSING
    code_sharing: str = MISSING
    patient_involvement: str = MISSING


def tripod(card: Mapping[str, Any], contract: InputContract, study: TripodStudy) -> dict[str, str]:
    """The items, each with its number and topic, in the order of the checklist.

    Args:
        card: the other fields of the card.
        contract: of the model.
        study: statements of those who trained the model.
    """
    synthetic, federation, network = bool(card["synthetic"]), card["federation"], card["network"]
    images = "18F-FDG PET/CT of the whole body before treatment and " if _images(network) else ""
    used = used_inputs(network["config"].get("network", network["name"]), contract)
    read = [name for name, counts in zip(contract.inputs, used, strict=True) if counts]
    measured = ", ".join(term.name for term in contract.quantities if f"{LESION_PREFIX}{term.name}" in read)
    lesions = f"quantities of the lesions ({measured}) and " if measured else ""
    grid = f"{contract.spacing_mm:g} mm grid, SUVbw and HU clipped"
    table = f"lesions by {contract.delineation} or the reader's mask, table by the rules {contract.table_version}"
    prepared = ", ".join([*([grid] if contract.reads_images else []), *([table] if contract.quantities else [])])
    horizon = f"{contract.month_edges[-1]:g}"
    nobody = "Simulated patients."
    return {
        "1 Title": study.title,
        "3a-b Background and intended use": card["intended_use"],
        "3c Known health inequalities": nobody if synthetic else study.inequalities,
        "4 Objectives": "Development and internal validation of a prediction model, across centres.",
        "5a Data": f"{card['data']['description']}; {card['data']['patients']} patients.",
        "5b Dates": nobody if synthetic else study.dates,
        "6a Setting": f"{len(federation['nodes'])} centres: {', '.join(federation['nodes'])}.",
        "6b Eligibility": nobody if synthetic else study.eligibility,
        "6c Treatments": nobody if synthetic else study.treatments,
        "7 Data preparation": f"The same at every centre, fixed by the input contract {contract.fingerprint[:12]}: "
        f"{prepared}, clinical terms centred and scaled.",
        "8a Outcome": "Progression-free survival from the first dose, to progression or death, read off at 3, 6 "
        "and 12 months.",
        "8b-c Assessment of the outcome": nobody
        if synthetic
        else "By each centre; assessors and blinding are not known here.",
        "9a-b Predictors": f"{images}{lesions}{len(contract.variables)} clinical variables: "
        f"{', '.join(contract.variables)}.",
        "9c Assessment of the predictors": "Before the outcome; images by the program, clinical variables from "
        "each centre's table.",
        "10 Sample size": study.sample_size if not synthetic else "Chosen by the time that training takes.",
        "11 Missing data": "A missing clinical value is the reference patient plus an input that says so; "
        "nothing is imputed.",
        "12a Use of the data": f"Validation and calibration: {federation['validated_on']}; who is held out for the "
        "evaluation is never trained on.",
        "12b Handling of the predictors": "Linear terms, logarithms of ratios and thresholds, as contract.json "
        "lists them.",
        "12c Type of model and building": f"Network “{network['name']}” with {network['parameters']} "
        f"parameters, discrete-time survival likelihood; {federation['aggregator']}; {federation['optimizer']}; "
        f"{federation['rounds']} rounds, seeds {', '.join(map(str, federation['seeds']))}.",
        "12d Heterogeneity between centres": "See evaluation by centre, where held-out patients were given, and "
        "the coverage of the sets by centre.",
        "12e Measures of performance": "Expected AUC at 12 months where the truth is known, C-index, "
        "calibration, coverage; by “fedpet train evaluate” also Brier score and decision curve.",
        "12f Updating": "Recalibrated on the sum of the centres' validation tables.",
        "12g Computation of predictions": "hazard = logistic(baseline + score) in "
        f"{len(contract.month_edges) - 1} intervals up to {horizon} months; the graph is model.onnx.",
        "13 Class imbalance": "No resampling; every patient counts once.",
        "14 Fairness": "Subgroups by sex, age, histology, PD-L1, line and scanner in the report of “fedpet "
        "train evaluate”; no correction is applied.",
        "15 Output": "Probabilities with intervals, a set at a stated level, and thirds of risk; no decision "
        "threshold.",
        "16 Training against evaluation": "The same centres, other patients, unless the evaluation says otherwise.",
        "17 Ethical approval": nobody if synthetic else study.ethics,
        "18a Funding": study.funding,
        "18b Conflicts of interest": study.conflicts,
        "18c Protocol": study.protocol,
        "18d Registration": study.registration,
        "18e Data sharing": "The cohort can be simulated again." if synthetic else study.data_sharing,
        "18f Code sharing": study.code_sharing,
        "19 Patient and public involvement": study.patient_involvement,
        "20a-b Participants": "By centre under federation; statistics of the clinical variables under "
        "clinical_statistics, where they were asked for.",
        "21 Model development": f"{card['data']['patients']} patients, {_events(card)} events.",
        "22 Specification": "Complete: contract.json, calibration.json, weights.safetensors, model.onnx.",
        "23a Performance": "See evaluation and validation.",
        "23b Heterogeneity of performance": "See 12d.",
        "24 Updating results": "See calibration.json.",
        "25-26 Interpretation and limitations": " ".join(card["limits"]),
        "27a Poor or missing input": "The model abstains with a reason; see docs/model.md.",
        "27b Interaction of users": "A reader may add or remove lesions; the prediction follows.",
        "27c Next steps": "External and prospective validation before any clinical use.",
    }


def _images(network: Mapping[str, Any]) -> bool:
    return not IMAGELESS & {network["name"], network["config"].get("network")}


def _events(card: Mapping[str, Any]) -> str:
    events = card["data"].get("events")
    return "an unknown number of" if events is None else str(events)
