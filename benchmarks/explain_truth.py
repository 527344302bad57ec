"""Explanations of the demonstration model against a truth that no real data set has: the patient without each lesion.

    python -m benchmarks.explain_truth table [PATIENTS]
    python -m benchmarks.explain_truth rendered [PATIENTS]
    python -m benchmarks.explain_truth images BUNDLE FIRST LAST MINUTES RESULT.json
    python -m benchmarks.explain_truth show RESULT.json...

"table": simulated patients; their lesions are put into a table and a PET as they were drawn. The truth is the
simulator's probability of being progression-free at 12 months with a lesion minus that without it. The methods of a
model of the lesion table are scored beside two controls that know nothing of the model: SUVmax and volume of a lesion.
"rendered": patients are rendered at 4 mm, measured as a prediction measures them, and rendered and measured again
without each of their lesions, with the same noise: does the effect that is shown hold for images without the lesion?
"images": every method for networks that read images, as it is served, on patients rendered at 4 mm with the lesions as
they were drawn, and the same truth and controls as in "table". Time is in forward passes of the network. It stops after
MINUTES and keeps what it has; "show" prints the figures of several results together.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.stats import binomtest, spearmanr

from explain.captum_methods import attribute, load_network, randomize_parameters
from explain.image_explanation import explained_inputs
from explain.lesion_effects import TABLE_METHODS, free_after, score_terms
from explain.map_sums import lesion_sums
from explain.methods import METHODS
from explain.model_gates import measured_again
from explain.sanity_checks import COMPLETENESS_BOUND, SIGN_POINTS
from explain.table_explanation import table_gates, table_score, term_map
from fedpet.core.progress import no_progress
from fedpet.imaging.lesions.lesion_table import LesionTable, TableLesion
from fedpet.imaging.volume import Volume
from inference.answer import answer
from inference.bundle.storage import load_model
from inference.engine import Engine
from inference.predict import predict
from inference.uptake_removal import remove_uptake
from tests.support.case_files import make_study
from training.simulation.acquisition.scanner import ct_image, pet_image
from training.simulation.patients.centres import SITES
from training.simulation.patients.population import draw_patient
from training.simulation.patients.reference_body import REFERENCE_HEIGHT_M
from training.simulation.patients.risk import risk
from training.simulation.phantom.rendering import render

if TYPE_CHECKING:
    from collections.abc import Mapping

    from explain.captum_methods import ExplainedInputs
    from explain.methods import MethodName
    from fedpet.imaging.study import PetCtStudy
    from inference.bundle.storage import Bundle
    from inference.prediction import Prediction
    from training.simulation.patients.population import Patient

_VOXEL_MM, _MARGIN_MM = 4.0, 60.0
_REGIONS = {"primary": "lung_right", "lung": "lung_left", "node": "mediastinum", "liver": "liver", "bone": "bone",
            "adrenal": "adrenal_left"}  # fmt: skip
_NOISE = 0.05  # of volumes and SUV, when a patient is measured again
_MOST = 6  # lesions of a rendered patient that are taken out


@dataclass(frozen=True, eq=False)
class Drawn:
    """A simulated patient as a table, a PET and labels; truth: lesion -> change of P(free at 12 months) by it."""

    patient: Patient
    table: LesionTable
    pet: Volume
    labels: Volume
    truth: Mapping[int, float]


def drawn(number: int) -> Drawn:
    """The lesions of a patient as balls of their volume, at their place, with their uptake."""
    patient = draw_patient(SITES[number % len(SITES)], 800 + number, seed=31)
    rng, scale = np.random.default_rng(number), patient.anatomy.height_m / REFERENCE_HEIGHT_M
    lesions = {at + 1: one for at, one in enumerate(patient.lesions) if one.kind != "brain"}
    centres = scale * np.array([one.centre for one in lesions.values()]).reshape(-1, 3)
    low, high = (centres.min(0) - _MARGIN_MM, centres.max(0) + _MARGIN_MM) if lesions else (np.zeros(3), np.ones(3))
    shape = tuple(np.ceil((high - low) / _VOXEL_MM).astype(int)[::-1].tolist())
    suv, labels = rng.uniform(0.5, 1.5, shape).astype(np.float32), np.zeros(shape, np.uint16)
    affine = np.diag([_VOXEL_MM, _VOXEL_MM, _VOXEL_MM, 1.0])
    affine[:3, 3] = low
    z, y, x = (np.arange(n) * _VOXEL_MM + low[axis] for axis, n in zip((2, 1, 0), shape, strict=True))
    rows, truth, whole = [], {}, risk(patient).pfs_12m
    for (number_of, lesion), (cx, cy, cz) in zip(lesions.items(), centres.tolist(), strict=True):
        far = (z[:, None, None] - cz) ** 2 + (y[None, :, None] - cy) ** 2 + (x[None, None, :] - cx) ** 2
        voxels = (far < (3 * 1000 * lesion.active_ml / 4 / np.pi) ** (2 / 3)) & (labels == 0)
        if not voxels.any():
            continue
        labels[voxels] = number_of
        suv[voxels] = lesion.suv * rng.uniform(0.7, 1.3, voxels.sum())
        ml, mean = lesion.active_ml, float(suv[voxels].mean())
        rows.append(TableLesion(number_of, _REGIONS[lesion.kind], ml, ml * mean, float(suv[voxels].max()), 1.1 * mean,
                                (cx, cy, cz), lesion.ml - ml, lesion.ml))  # fmt: skip
        truth[number_of] = whole - risk(patient, without=[number_of - 1]).pfs_12m
    anatomy = patient.anatomy
    table = LesionTable(tuple(rows), anatomy.marrow / anatomy.liver, anatomy.spleen / anatomy.liver)
    return Drawn(patient, table, Volume(suv, affine, "g/ml"), Volume(labels, affine, "label"), truth)


class Scores:
    """What is collected over the patients, by method."""

    def __init__(self) -> None:
        self.signs: dict[str, list[bool]] = defaultdict(list)
        self.patients: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def add(self, method: str, name: str, value: float) -> None:
        """One figure of one patient."""
        if np.isfinite(value):
            self.patients[method][name].append(value)

    def show(self) -> None:
        """Print each method with 95 % intervals: Wilson for signs, bootstrap over patients for the rest."""
        rng = np.random.default_rng(0)
        for method, figures in self.patients.items():
            print(method)
            signs = self.signs[method]
            if signs:
                interval = binomtest(sum(signs), len(signs)).proportion_ci(method="wilson")
                limits = f"({interval.low:.3f} to {interval.high:.3f}), {len(signs)} lesions"
                print(f"  {'sign right above 2 points':44}{np.mean(signs):.3f} {limits}")
            for name, values in figures.items():
                means = [np.mean(rng.choice(values, len(values))) for _ in range(1000)]
                low, high = np.quantile(means, [0.025, 0.975])
                print(f"  {name:44}{np.mean(values):.3f} ({low:.3f} to {high:.3f}), {len(values)} patients")


def table_case(number: int, scores: Scores, model: tuple) -> int:
    """Score the methods on one patient; returns the number of lesions."""
    bundle, engine = model
    case = drawn(number)
    if not case.table.lesions:
        return 0
    record = case.patient.record
    answered = answer(bundle, engine, record, case.table, confirmed=True)
    at = answered.survival.months.index(12.0)

    def free(without: set[int]) -> float:
        return answer(bundle, engine, record, case.table.without(without), confirmed=True).survival.probability[at]

    measured = {one: answered.survival.probability[at] - free({one}) for one in case.truth}
    _compare("measured effect", measured, case.truth, scores)
    orders = {"measured effect": measured}
    score = table_score(bundle, record, WithTable(case.table))
    rng = np.random.default_rng(number)
    for name, credits_of in TABLE_METHODS.items():
        start = time.perf_counter()
        terms = score_terms(score, credits_of(score, score.lesions), answered.survival, bundle.calibration.b)
        found = term_map(score, terms, case.pet, case.labels, {})
        scores.add(name, "seconds", time.perf_counter() - start)
        sums = {one: -value for one, value in lesion_sums(found, case.labels).items() if one}
        _compare(name, sums, case.truth, scores)
        orders[name] = sums
        gates = table_gates(found, case.labels, terms, {})
        scores.add(name, "sign, credit and containment gates pass", all(gate.passed for gate in gates))
        scores.add(
            name, "mass on lesions", float(np.abs(found.array[case.labels.array > 0]).sum() / np.abs(found.array).sum())
        )
        peak = np.unravel_index(np.abs(found.array).argmax(), found.shape)
        scores.add(name, "maximum on a lesion", float(case.labels.array[peak] > 0))
        scores.add(name, "stability: rank correlation, measured again", _stability(case, score, credits_of, sums, rng))
        permuted = replace(score, weights=rng.permutation(score.weights))
        other = credits_of(permuted, permuted.lesions)
        scores.add(
            name,
            "rank correlation with permuted weights",
            _rank([sums[k] for k in sums], [-other[k].value for k in sums]),
        )
    suv = {one.id: one.suv_max for one in case.table.lesions}
    volume = {one.id: one.mtv_ml for one in case.table.lesions}
    for name, control in (("control: SUVmax", suv), ("control: volume", volume)):
        _compare(name, {one: -value for one, value in control.items()}, case.truth, scores)
        orders[name] = {one: -value for one, value in control.items()}
    _deletion(orders, free, rng, scores)
    return len(case.truth)


def _compare(method: str, found: Mapping[int, float], truth: Mapping[int, float], scores: Scores) -> None:
    """Effects or credits (in the direction of the probability) against the truth."""
    for one, effect in truth.items():
        if abs(effect) > SIGN_POINTS:
            scores.signs[method].append(found[one] * effect > 0)
    if len(truth) >= 3:
        scores.add(method, "rank correlation with the truth", _rank([found[k] for k in truth], list(truth.values())))
    if len(truth) >= 2:
        largest = max(truth, key=lambda one: abs(truth[one]))
        most = max(found, key=lambda one: abs(found[one]))
        scores.add(method, "names the lesion that costs most", float(most == largest))


def _rank(a: list[float], b: list[float]) -> float:
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(spearmanr(a, b).statistic)


def _stability(
    case: Drawn, score: object, credits_of: object, sums: Mapping[int, float], rng: np.random.Generator
) -> float:
    """The rank correlation of the credits with those of the same lesions measured with 5 % noise."""
    again = replace(score, table=measured_again(case.table, rng))
    other = credits_of(again, again.lesions)
    return _rank([sums[k] for k in sums], [-other[k].value for k in sums])


def _deletion(
    orders: Mapping[str, Mapping[int, float]], free: object, rng: np.random.Generator, scores: Scores
) -> None:
    """Mean probability while lesions are taken out in the order of a method, or put in; against random orders."""
    numbers = list(next(iter(orders.values())))
    if len(numbers) < 3:
        return

    def area(order: list[int], *, insert: bool) -> float:
        sets = [set(order[:k]) if not insert else set(order) - set(order[:k]) for k in range(len(order) + 1)]
        return float(np.mean([free(one) for one in sets]))

    for insert, name in ((False, "deletion, points above random"), (True, "insertion, points below random")):
        chance = np.mean([area(list(rng.permutation(numbers)), insert=insert) for _ in range(5)])
        for method, values in orders.items():
            gain = area(sorted(numbers, key=lambda one: values[one]), insert=insert) - chance
            scores.add(method, name, 100 * (gain if not insert else -gain))


class WithTable:
    """Of a prediction what `table_score` reads: the lesion table."""

    def __init__(self, table: LesionTable) -> None:
        self.table = table


def rendered_case(number: int, scores: Scores, model: tuple) -> int:
    """The effect shown for each lesion against that of images rendered without it; returns the number of lesions."""
    bundle, engine = model
    patient = draw_patient(SITES[number % len(SITES)], 900 + number, seed=37)
    whole = predict(_scan(patient, ()), patient.record, bundle, engine=engine)
    main = whole.endpoint("pfs_12m")
    if main is None:
        return 0
    shown, again = [], []
    for one, place in _matched(patient, whole)[:_MOST]:
        table = whole.table.without([one])
        left = answer(bundle, engine, patient.record, table, confirmed=True).survival
        shown.append(main.probability - left.probability[left.months.index(12.0)])
        without = predict(_scan(patient, [place]), patient.record, bundle, engine=engine).endpoint("pfs_12m")
        again.append(float("nan") if without is None else main.probability - without.probability)
    pairs = [(a, b) for a, b in zip(shown, again, strict=True) if np.isfinite(b)]
    scores.signs["what-if against rendered again"] += [a * b > 0 for a, b in pairs if abs(b) > SIGN_POINTS]
    for a, b in pairs:
        scores.add("what-if against rendered again", "absolute difference, points", 100 * abs(a - b))
    if len(pairs) >= 3:
        scores.add("what-if against rendered again", "rank correlation", _rank(*map(list, zip(*pairs, strict=True))))
    return len(pairs)


@dataclass(frozen=True)
class _Labels:
    """Of a prediction what `explained_inputs` reads: the lesions."""

    lesion_labels: Volume


def image_case(number: int, scores: Scores, bundle: Bundle, network: torch.nn.Module) -> int:
    """Score every method for images on one patient; returns the number of lesions."""
    patient = draw_patient(SITES[number % len(SITES)], 900 + number, seed=37)
    body = render(patient, (4.0, 4.0, 4.0))
    study = replace(make_study(), pet=pet_image(body, patient), ct=ct_image(body, patient), header_checks=())
    labels = study.pet.like(body.lesions.astype(np.uint16), "label")
    numbers = [int(one) for one in np.unique(labels.array) if one]
    painted = remove_uptake(study.pet, labels, set(numbers))
    inputs = explained_inputs(study, patient.record, bundle, _Labels(labels), painted)
    lesions = [one for one in numbers if (inputs.lesions == one).any()]
    if not lesions:
        return 0
    free, seconds = _answers_without(network, bundle, inputs)
    whole = risk(patient).pfs_12m
    truth = {one: whole - risk(patient, without=[one - 1]).pfs_12m for one in lesions}
    nothing = frozenset[int]()
    orders = {"measured effect": {one: free(nothing) - free(frozenset({one})) for one in lesions}}
    for name in (name for name, method in METHODS.items() if method.reads == "images"):
        start = time.process_time()
        found = attribute(network, inputs, method=name, steps=32, progress=no_progress)
        scores.add(name, "time in forward passes", (time.process_time() - start) / seconds)
        orders[name] = {one: -float(found.image[inputs.lesions == one].sum()) for one in lesions}
        difference = found.difference - float(found.clinical.sum())
        error = abs(found.image.sum() - difference) / max(abs(difference), 1e-3)
        scores.add(name, "adds up to 1 %", float(error <= COMPLETENESS_BOUND))
        size = np.abs(found.image)
        scores.add(name, "mass on lesions", float(size[inputs.lesions > 0].sum() / max(size.sum(), 1e-12)))
        peak = np.unravel_index(size.argmax(), size.shape)
        scores.add(name, "maximum on a lesion", float(inputs.lesions[peak] > 0))
        if number % 6 == 0:
            _image_controls(name, network, inputs, (orders[name], found.image), scores)
    volume = {one: -float((labels.array == one).sum()) for one in lesions}
    hottest = {one: -float(study.pet.array[labels.array == one].max()) for one in lesions}
    orders |= {"control: SUVmax": hottest, "control: volume": volume}
    for name, values in orders.items():
        _compare(name, values, truth, scores)
    _deletion(orders, lambda without: free(frozenset(without)), np.random.default_rng(number), scores)
    return len(lesions)


def _answers_without(network: torch.nn.Module, bundle: Bundle, inputs: ExplainedInputs) -> tuple[object, float]:
    """P(free at 12 months) as a function of the lesions that are painted out; CPU seconds of a forward pass."""
    clinical = torch.from_numpy(inputs.clinical)[None]

    def output(image: np.ndarray) -> tuple[float, np.ndarray]:
        with torch.no_grad():
            found = network(torch.from_numpy(image.astype(np.float32))[None], clinical)
        return float(found.score), found.hazard_logits[0].double().numpy()

    start = time.process_time()
    score, logits = output(inputs.image)
    seconds = time.process_time() - start
    curve = bundle.calibration.survival(logits, score, bundle.contract.month_edges)

    @cache
    def free(without: frozenset[int]) -> float:
        gone = np.isin(inputs.lesions, list(without))
        changed = bundle.calibration.b * (output(np.where(gone, inputs.baseline, inputs.image))[0] - score)
        return free_after(curve, changed)

    return free, seconds


def _image_controls(
    name: MethodName,
    network: torch.nn.Module,
    inputs: ExplainedInputs,
    found: tuple[Mapping[int, float], np.ndarray],
    scores: Scores,
) -> None:
    """Whether a map depends on the weights, and whether it stays under noise of 5 % of the uptake."""
    sums, image = found
    permuted = attribute(
        randomize_parameters(network, seed=5), inputs, method=name, steps=8, progress=no_progress
    ).image
    taken = inputs.image[0] - inputs.baseline[0]
    voxels = np.abs(taken) > 0.5
    scores.add(
        name, "rank correlation with permuted weights, by voxel",
        _rank((image[voxels] / taken[voxels]).tolist(), (permuted[voxels] / taken[voxels]).tolist()),
    )  # fmt: skip
    noise = np.random.default_rng(3).normal(1, _NOISE, taken.shape)
    noisy = inputs.image.copy()
    noisy[0] = np.where(inputs.changed, noisy[0] * noise, noisy[0])
    again = attribute(network, replace(inputs, image=noisy), method=name, steps=32, progress=no_progress).image
    other = [-float(again[inputs.lesions == one].sum()) for one in sums]
    scores.add(name, "stability: rank correlation, measured again", _rank(list(sums.values()), other))


def image_cases(source: Path, numbers: range, minutes: float, out: Path) -> None:
    """Score patients until the time is over; what there is is kept after each."""
    bundle = load_model(source)
    network, scores, start = load_network(bundle), Scores(), time.monotonic()
    lesions = 0
    for cases, number in enumerate(numbers, start=1):
        if time.monotonic() - start > 60 * minutes:
            break
        lesions += image_case(number, scores, bundle, network)
        kept = {"cases": cases, "lesions": lesions, "signs": scores.signs, "patients": scores.patients}
        out.write_text(json.dumps(kept, default=float))
        print(f"patient {number}: {time.monotonic() - start:.0f} s", flush=True)


def show(results: list[Path]) -> None:
    """Print the figures of several results together."""
    scores, found = Scores(), [json.loads(path.read_text()) for path in results]
    for one in found:
        for method, signs in one["signs"].items():
            scores.signs[method] += signs
        for method, figures in one["patients"].items():
            for name, values in figures.items():
                scores.patients[method][name] += values
    print(f"{sum(one['cases'] for one in found)} patients, {sum(one['lesions'] for one in found)} lesions")
    scores.show()


def _scan(patient: Patient, without: object) -> PetCtStudy:
    body = render(patient, (4.0, 4.0, 4.0), without=without)
    return replace(make_study(), pet=pet_image(body, patient), ct=ct_image(body, patient), header_checks=())


def _matched(patient: Patient, prediction: Prediction) -> list[tuple[int, int]]:
    """Delineated lesion and the drawn one that lies in it, the largest first."""
    body = render(patient, (4.0, 4.0, 4.0))
    labels, found = prediction.lesion_labels.array, []
    for row in sorted(prediction.quantities.lesions, key=lambda one: -one.mtv_ml):
        inside = body.lesions[labels == row.id]
        inside = inside[inside > 0]
        if len(inside) and len(np.unique(inside)) == 1:
            found.append((row.id, int(inside[0]) - 1))
    return found


def main() -> None:
    """Score the patients and print the figures."""
    if sys.argv[1] == "images":
        source, first, last, minutes, out = sys.argv[2:7]
        image_cases(Path(source), range(int(first), int(last)), float(minutes), Path(out))
        return
    if sys.argv[1] == "show":
        show([Path(one) for one in sys.argv[2:]])
        return
    kind, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 100
    bundle = load_model()
    model, scores = (bundle, Engine(bundle, provider="cpu", threads=1)), Scores()
    start, case = time.process_time(), {"table": table_case, "rendered": rendered_case}[kind]
    lesions = sum(case(number, scores, model) for number in range(count))
    print(f"{count} patients, {lesions} lesions, {time.process_time() - start:.0f} CPU s")
    scores.show()


if __name__ == "__main__":
    main()
