"""How often the gates of an explanation let a sound map pass, and how often they stop a wrong one.

    python -m benchmarks.explain_gates model [PATIENTS]
    python -m benchmarks.explain_gates table [PATIENTS]
    python -m benchmarks.explain_gates images [PATIENTS] BUNDLE

"model": the shipped model on simulated patients, each gate by itself; beside what is said below, a map of measured
effects from which what lesions have in common is left out, one whose lesions exchanged their credits, one by SUVmax,
and one that lies on healthy tissue by 10 %. "Permuted weights" is explained in the place of the model that answered; "a
permuted model" answers and is explained.
"table": drawn lesion tables under weights drawn for each patient, around those of published prognostic factors.
"images": simulated patients, rendered at 4 mm, with the bundle of a network that reads images. Every map is judged
against what was measured: as it is, moved by 5 cm, with the opposite sign, and made with permuted weights.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import binomtest

from benchmarks.explain_truth import WithTable, drawn
from explain.attribution import explain_prediction
from explain.captum_methods import load_network, randomize_parameters
from explain.image_explanation import explained_inputs, map_gates, network_gates, rims
from explain.lesion_effects import TableScore, ablation_credits, score_terms
from explain.map_sums import lesion_sums
from explain.model_gates import behaviour_gates, trained_weights
from explain.sanity_checks import SIGN_POINTS, check_completeness, check_score_agreement, relative_error
from explain.table_explanation import table_gates, table_score, term_map
from fedpet.imaging.analysis import StudyAnalysis
from inference.answer import answer
from inference.bundle.storage import load_model
from inference.calibration import RiskCalibration
from inference.engine import Engine
from inference.input_contract import table_contract
from inference.predict import predict
from inference.uptake_removal import remove_uptake
from tests.support.case_files import make_study
from tests.support.lesion_tables import draw_record, draw_table, good_and_spoiled_maps
from training.simulation.acquisition.scanner import ct_image, pet_image
from training.simulation.patients.centres import SITES
from training.simulation.patients.population import draw_patient
from training.simulation.phantom.rendering import render

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fedpet.clinical.record import ClinicalRecord
    from fedpet.imaging.study import PetCtStudy
    from fedpet.imaging.volume import Volume
    from inference.bundle.storage import Bundle
    from inference.prediction import Prediction

WEIGHTS = {
    "lesion:tmtv_ml": 0.30,
    "lesion:suv_peak": 0.05,
    "lesion:lesion_count": 0.10,
    "lesion:dmax_mm": 0.10,
    "lesion:necrotic_share": 0.10,
    "lesion:liver_lesion": 0.30,
    "lesion:bone_ml": 0.08,
    "lesion:marrow_to_liver": 0.15,
    "ecog_2": 0.4,
    "nlr": 0.3,
}
_SPREAD = 0.05  # standard deviation of a weight around it
_SHIFT_MM = 50.0
_NONE = RiskCalibration(0.0, 1.0, (0.0,) * 4, ((0.0,) * 6,) * 6, 0.8, {}, (0.0, 0.0), {})


def table_case(seed: int) -> Iterator[tuple[str, bool, int]]:
    """Kind of map, whether all gates pass, and how many lesions above two points it calls by the wrong sign."""
    rng, contract = np.random.default_rng(10_000 + seed), table_contract()
    table, pet, labels = draw_table(rng, int(rng.integers(1, 16)))
    weights = np.array([WEIGHTS.get(name, 0.0) for name in contract.inputs])
    score = TableScore(contract, weights + rng.normal(0, _SPREAD, len(weights)), draw_record(rng), table)
    raw = score(score.lesions)
    curve = _NONE.survival(np.full(len(contract.month_edges) - 1, -2.3) + raw, raw, contract.month_edges)
    terms = score_terms(score, ablation_credits(score, score.lesions), curve, 1.0)
    maps = good_and_spoiled_maps(score, terms, pet, labels, rng)
    effects = {term.lesion: term.points or 0.0 for term in terms if term.lesion is not None}
    for kind, one in maps.items():
        sums = lesion_sums(one, labels)
        wrong = sum(abs(effect) > SIGN_POINTS and sums[number] * effect >= 0 for number, effect in effects.items())
        gates = (*table_gates(one, labels, terms, {}), *behaviour_gates(score, "ablation", sums, curve, 1.0))
        yield kind, all(gate.passed for gate in gates), wrong


def model_case(seed: int, model: tuple[Bundle, Engine]) -> Iterator[tuple[str, Mapping[str, bool]]]:
    """Kind of map, and which gates pass, for the shipped model."""
    bundle, engine = model
    case, rng = drawn(seed), np.random.default_rng(seed)
    if not case.table.lesions:
        return
    answered = answer(bundle, engine, case.patient.record, case.table, confirmed=True)
    score = table_score(bundle, case.patient.record, WithTable(case.table))
    raw, curve, slope = score(score.lesions), answered.survival, bundle.calibration.b
    terms = score_terms(score, ablation_credits(score, score.lesions), curve, slope)
    maps = good_and_spoiled_maps(score, terms, case.pet, case.labels, rng)
    permuted = replace(score, weights=rng.permutation(score.weights))
    sound = maps["sound"]
    told = {kind: (one, terms, raw, score) for kind, one in maps.items()}
    told["permuted weights"] = (maps["permuted weights"], terms, permuted(permuted.lesions), score)
    by_itself = score_terms(permuted, ablation_credits(permuted, permuted.lesions), curve, slope)
    own_map = term_map(permuted, by_itself, case.pet, case.labels, {})
    told["a permuted model"] = (own_map, by_itself, permuted(permuted.lesions), permuted)
    told["common part left out"] = (sound, tuple(one for one in terms if one.name != "common"), raw, score)
    by_suv = np.where(case.labels.array > 0, case.pet.array, 0.0) * np.abs(sound.array).sum() / case.pet.array.sum()
    told["uptake itself"] = (sound.like(by_suv, "1"), terms, raw, score)
    if len(score.lesions) > 1:
        told["credits exchanged"] = (_exchanged(sound, case.labels, list(score.lesions)), terms, raw, score)
    healthy = case.labels.array == 0
    beside = sound.array + healthy * np.abs(sound.array).sum() / 9 / healthy.sum()
    told["10 % on healthy tissue"] = (sound.like(beside, "1"), terms, raw, score)
    for kind, (found, parts, explained, asked) in told.items():
        answers = asked(asked.lesions) if kind == "a permuted model" else raw
        left = answers - asked.reference() - sum(term.score for term in parts if term.name != "remainder")
        trained = trained_weights(bundle.card, bundle.contract.inputs, asked.weights)
        gates = (
            check_score_agreement(bundle.calibration.score(explained), bundle.calibration.score(answers)),
            check_completeness(relative_error(left, answers - asked.reference())),
            *table_gates(found, case.labels, parts, {}),
            *behaviour_gates(asked, "ablation", lesion_sums(found, case.labels), curve, slope),
            *(() if trained is None else (trained,)),
        )
        yield kind, {gate.name: gate.passed for gate in gates}


def _exchanged(sound: Volume, labels: Volume, lesions: list[int]) -> Volume:
    """Each lesion with the sum of the next one."""
    sums, moved = lesion_sums(sound, labels), sound.array.copy()
    for one, other in zip(lesions, [*lesions[1:], lesions[0]], strict=True):
        inside = labels.array == one
        moved[inside] = sums[other] / inside.sum()
    return sound.like(moved, "1")


def show_model(count: int) -> None:
    """A row for each kind of map: how many pass, and which gate stops how many."""
    bundle = load_model()
    model, start = (bundle, Engine(bundle, provider="cpu", threads=1)), time.process_time()
    total, passed, stopped = Counter[str](), Counter[str](), Counter[tuple[str, str]]()
    names: dict[str, None] = {}
    for seed in range(count):
        for kind, gates in model_case(seed, model):
            names |= dict.fromkeys(gates)
            total[kind] += 1
            passed[kind] += all(gates.values())
            stopped.update((kind, name) for name, sound in gates.items() if not sound)
    print(f"{bundle.card['name']} {bundle.card['version']}, {time.process_time() - start:.0f} CPU s")
    print(f"{'':24}{'all gates pass':>34}" + "".join(f"{name:>15}" for name in names))
    for kind, n in total.items():
        interval = binomtest(passed[kind], n).proportion_ci(method="wilson")
        words = f"{passed[kind]} of {n} ({interval.low:.1%} to {interval.high:.1%})"
        print(f"{kind:24}{words:>34}" + "".join(f"{stopped[kind, name]:15d}" for name in names))


def image_case(seed: int, bundle: Bundle) -> Iterator[tuple[str, bool, int]]:
    """The same for a network that reads the images; a patient from whom the model abstains gives nothing."""
    study, record = _simulated(seed)
    prediction = predict(StudyAnalysis(study), record, bundle, engine=Engine(bundle, threads=1))
    if prediction.risk_score is None:
        return
    sound = explain_prediction(study, record, bundle, prediction)
    effects = {term.lesion: term.points for term in sound.terms if term.lesion is not None and term.points is not None}
    labels = rims(prediction.lesion_labels)
    step = round(_SHIFT_MM / study.pet.spacing[0])
    arrays = {
        "sound": sound.attribution.array,
        "shifted 5 cm": np.roll(sound.attribution.array, step, axis=2),
        "sign flipped": -sound.attribution.array,
    }
    others = [gate for gate in sound.gates if gate.name in {"same_score", "randomisation", "concentration"}]
    difference = sum(term.score for term in sound.terms if term.lesion is not None or term.name == "remainder")
    for kind, array in arrays.items():
        moved = sound.attribution.like(array, "1")
        sums = lesion_sums(moved, labels)
        wrong = sum(abs(effect) > SIGN_POINTS and sums[number] * effect >= 0 for number, effect in effects.items())
        yield kind, all(gate.passed for gate in (*others, *map_gates(moved, labels, difference, effects))), wrong
    yield "permuted weights", _permuted_passes(study, record, bundle, prediction, seed), 0


def _permuted_passes(
    study: PetCtStudy, record: ClinicalRecord, bundle: Bundle, prediction: Prediction, seed: int
) -> bool:
    """Whether the gates let a network pass that answers, and is explained, with permuted weights.

    Its own effects are measured by itself, so only what it has not learnt can give it away.
    """
    network = randomize_parameters(load_network(bundle), seed=777 + seed)
    painted = remove_uptake(study.pet, prediction.lesion_labels, {one.id for one in prediction.quantities.lesions})
    inputs = explained_inputs(study, record, bundle, prediction, painted)
    return all(gate.passed for gate in network_gates(network, inputs))


def _simulated(seed: int) -> tuple[PetCtStudy, ClinicalRecord]:
    drawn = draw_patient(SITES[seed % len(SITES)], 500 + seed, seed=29)
    body = render(drawn, (4.0, 4.0, 4.0))
    study = replace(make_study(), pet=pet_image(body, drawn), ct=ct_image(body, drawn), header_checks=())
    return study, drawn.record


def main() -> None:
    """Measure every case, print the part that passes with its 95 % interval, and the seconds."""
    kind, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 200
    if kind == "model":
        show_model(count)
        return
    case = table_case if kind == "table" else partial(image_case, bundle=load_model(Path(sys.argv[3])))
    passed, wrong, total = Counter[str](), Counter[str](), Counter[str]()
    start = time.process_time()
    for seed in range(count):
        for name, passes, wrong_signs in case(seed):
            total[name] += 1
            passed[name] += passes
            wrong[name] += passes and wrong_signs > 0
    _show(total, passed, wrong)
    print(f"{time.process_time() - start:.0f} CPU s")


def _show(total: Mapping[str, int], passed: Mapping[str, int], wrong: Mapping[str, int]) -> None:
    for name, n in total.items():
        interval = binomtest(passed[name], n).proportion_ci(method="wilson")
        print(
            f"{name:20} passes {passed[name]:4d} of {n:4d} ({interval.low:.1%} to {interval.high:.1%}); "
            f"passed with a wrong sign above 2 points: {wrong[name]}"
        )


if __name__ == "__main__":
    main()
