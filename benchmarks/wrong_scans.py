"""How many wrong scans are caught, kind by kind, and how often a good scan is taken for a wrong one.

    python benchmarks/wrong_scans.py OUT --patients 104 --seed 9001 --workers 2

Synthetic patients of all centres are scanned coarsely, once as they are and once with each fault of
`training.simulation.wrong_scans`. The good scan goes through every check, the model and its rules. A scan with a fault
goes through the checks in the order of their cost until one fails, then through the model: what is counted as caught
would be caught by `fedpet predict`. Faults of the SUV alone share the organs found on the good scan.

OUT/rows.jsonl receives one line a patient and kind when a patient is measured: a run that was stopped goes on where it
was. OUT/scale.png shows how the share of patients caught grows with a wrong scale of the SUV. Intervals are exact
(Clopper-Pearson, 95 %). About 20 CPU seconds a patient.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from dataclasses import replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from fedpet.imaging.analysis import StudyAnalysis
from fedpet.imaging.quality.body_position import measure_sides, measure_upright
from fedpet.imaging.quality.checks import weight_check
from fedpet.imaging.quality.ct_fit import measure_ct_fit
from fedpet.imaging.quality.pitfalls import extravasation_check
from fedpet.imaging.quality.scanned_region import measure_scanned_region
from fedpet.imaging.quality.uptake_ranges import UptakeRanges, measure_uptake_ranges
from fedpet.imaging.study import CheckStatus
from fedpet.imaging.volume import Volume
from inference.abstention import record_reason
from inference.bundle.storage import load_model
from inference.engine import Engine
from inference.predict import predict
from training.data.process_pool import ordered_map
from training.simulation.acquisition.dicom_writer import Encoding
from training.simulation.cohort import cases_of, distribute
from training.simulation.node_data import unwritten_study
from training.simulation.patients.population import draw_patient
from training.simulation.wrong_scans import WRONG_SCANS, Scans, scan_plain, scan_with

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy
    from fedpet.imaging.study import PetCtStudy, QualityCheck
    from fedpet.imaging.volume import Affine
    from inference.bundle.storage import Bundle
    from training.simulation.patients.population import Patient

GOOD = "good"
ENCODING = Encoding(compressed=False, levels=4095)
SCALE_ONLY = ("suv-x-0.37", "suv-x-1.43", "suv-x-1000", "sul-as-suvbw", "weight-in-pounds")
FOR_THE_MODEL = "no-tumour"  # no check is made for it
FACTORS = (0.37, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2, 1.25, 1.3, 1.35, 1.43, 1.5)


class Measured:
    """One patient: the good scan, and what the scans with a fault may share with it."""

    def __init__(self, patient: Patient, model: Bundle, engine: Engine, *, seed: int) -> None:
        self.patient, self.model, self.engine, self.seed = patient, model, engine, seed
        self.plain = scan_plain(patient)
        self.study = unwritten_study(
            patient, self.plain.pet, self.plain.given_ct, encoding=ENCODING, seed=seed, pseudonym="P-0"
        )
        self.analysis = StudyAnalysis(self.study)
        self.anatomy = _anatomy(self.analysis)

    @cached_property
    def ranges(self) -> UptakeRanges:
        """Uptake on the good scan."""
        return measure_uptake_ranges(self.anatomy)

    def good(self) -> dict[str, Any]:
        """Every check on the good scan, and the answer."""
        levels = {check.name: str(check.level) for check in self.analysis.checks if check.level is not CheckStatus.PASS}
        answer = predict(self.analysis, self.patient.observed, self.model, engine=self.engine)
        failed = [name for name, level in levels.items() if level == "fail"]
        return {
            "caught": [*failed, *(["abstains"] if answer.abstained and not failed else [])],
            "reason": str(answer.abstained or ""),
            "levels": levels,
            "ranges": vars(self.ranges),
        }

    def wrong(self, kind: str) -> dict[str, Any]:
        """The first check that fails on the scan with a fault, or why the model abstains; none where it answers."""
        fault = WRONG_SCANS[kind]
        scans = scan_with(fault, self.patient, plain=self.plain)
        study = self._study(scans)
        analysis = StudyAnalysis(study)
        self._share_body(_anatomy(analysis), scans)
        ranges = self._scaled(scans) if kind in SCALE_ONLY else None
        record = scans.patient.observed
        if record_reason(record, self.model.contract) is not None:
            return {"caught": ["record"]}
        for check in _cheapest_first(analysis, ranges) if kind != FOR_THE_MODEL else ():
            if check.level is CheckStatus.FAIL:
                return {"caught": [check.name], "reason": str(check.reason)}
        answer = predict(analysis, record, self.model, engine=self.engine)
        return {"caught": ["abstains"] if answer.abstained else [], "reason": str(answer.abstained or "")}

    def _scaled(self, scans: Scans) -> UptakeRanges:
        return self.ranges.scaled(float(scans.pet.array.max() / self.plain.pet.array.max()))

    def _study(self, scans: Scans) -> PetCtStudy:
        """The study that would be loaded: the headers of the good one, with the weight that is stated."""
        loaded, own = self.study, self.plain
        pet = loaded.pet if scans.pet is own.pet else Volume(scans.pet.array, self._placed(scans.pet), "g/ml")
        ct = loaded.ct if scans.ct is own.ct else Volume(scans.given_ct.array, self._placed(scans.given_ct), "HU")
        facts = replace(loaded.pet_facts, weight_kg=scans.patient.anatomy.weight_kg)
        return replace(loaded, pet=pet, ct=ct, pet_facts=facts)

    def _placed(self, volume: Volume) -> Affine:
        """The affine in the coordinates of the scanner."""
        moved = volume.affine.copy()
        moved[:3, 3] += self.study.pet.affine[:3, 3] - self.plain.pet.affine[:3, 3]
        return moved

    def _share_body(self, anatomy: PatientAnatomy, scans: Scans) -> None:
        """Body and skeleton of the good scan serve where the CT is the same, wherever it lies."""
        own, ct = self.plain.given_ct, scans.given_ct
        if ct.shape == own.shape and np.array_equal(ct.array, own.array):
            body = self.anatomy.body
            moved = body.ct.affine.copy()
            moved[:3, 3] += ct.affine[:3, 3] - own.affine[:3, 3]
            vars(anatomy)["body"] = replace(body, ct=replace(body.ct, affine=moved))


def _anatomy(analysis: StudyAnalysis) -> PatientAnatomy:
    """The anatomy of a study that has its CT.

    Raises:
        ValueError: it has none.
    """
    if analysis.anatomy is None:
        raise ValueError("the study holds no CT")
    return analysis.anatomy


def _cheapest_first(analysis: StudyAnalysis, ranges: UptakeRanges | None) -> Iterator[QualityCheck]:
    """Checks of a study, each made when it is asked for; `ranges` where they are known already."""
    anatomy, facts = _anatomy(analysis), analysis.study.pet_facts
    yield from analysis.study.header_checks
    if ranges is not None:
        yield from _known(weight_check(anatomy.body, facts.weight_kg or 0.0))
        yield from ranges.checks()
        return
    measures: tuple[Callable[[], Any], ...] = (
        lambda: measure_ct_fit(anatomy),
        lambda: measure_upright(anatomy.images),
        lambda: measure_sides(anatomy),
        lambda: measure_scanned_region(anatomy, facts.height_m),
    )
    for measure in measures:
        found = measure()
        yield from [] if found is None else [found.check()]
    yield from _known(weight_check(anatomy.body, facts.weight_kg or 0.0))
    yield from _known(extravasation_check(anatomy, facts.weight_kg))
    yield from measure_uptake_ranges(anatomy).checks()
    yield from analysis.checks


def _known(check: QualityCheck | None) -> list[QualityCheck]:
    return [] if check is None else [check]


def measure(out: Path, *, patients: int, seed: int, workers: int) -> list[dict[str, Any]]:
    """Measure what OUT/rows.jsonl lacks, patient by patient, and return all of it."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "rows.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    done = {(row["patient"], row["kind"]) for row in rows}
    cases = cases_of(distribute(patients, 8), seed=seed, signal=0.85, fidelity="coarse", anatomy="schematic")
    tasks = []
    for number in np.random.default_rng(seed).permutation(len(cases)):
        patient = draw_patient(cases[number].site, cases[number].number, seed=seed)
        if missing := [kind for kind in (GOOD, *WRONG_SCANS) if (patient.id, kind) not in done]:
            tasks.append((patient, missing))
    with path.open("a", encoding="utf-8") as file:
        measured = ordered_map(partial(_rows, seed=seed), tasks, workers=workers)
        for number, found in enumerate(measured, start=1):
            rows.extend(found)
            file.writelines(json.dumps(row) + "\n" for row in found)
            file.flush()
            print(f"{number} of {len(tasks)}", flush=True)
    return rows


def _rows(task: tuple[Patient, Sequence[str]], *, seed: int) -> list[dict[str, Any]]:
    patient, kinds = task
    model, engine = _model()
    measured = Measured(patient, model, engine, seed=seed)
    rows = []
    for kind in kinds:
        start = time.process_time()
        found = measured.good() if kind == GOOD else measured.wrong(kind)
        spent = round(time.process_time() - start, 2)
        rows.append({"patient": patient.id, "kind": kind, **found, **_who(patient), "cpu_s": spent})
    return rows


@cache
def _model() -> tuple[Bundle, Engine]:
    """Once for each process."""
    model = load_model()
    return model, Engine(model, threads=1)


def _who(patient: Patient) -> dict[str, Any]:
    anatomy = patient.anatomy
    build = {"sex": anatomy.sex, "height_m": anatomy.height_m, "bmi": round(anatomy.bmi, 1)}
    return {"site": patient.site.code, **build, "lesions": len(patient.lesions)}


def interval(hits: int, number: int) -> tuple[float, float]:
    """Exact 95 % interval of a share (Clopper and Pearson 1934)."""
    found = stats.binomtest(hits, number).proportion_ci(method="exact")
    return float(found.low), float(found.high)


def report(rows: list[dict[str, Any]]) -> None:
    """Print the table: kind, caught, interval, by what."""
    print(f"{'kind':20} {'caught':>9} {'share':>7} {'95 % interval':>17}  first noticed by")
    for kind in (GOOD, *WRONG_SCANS):
        of_kind = [row for row in rows if row["kind"] == kind]
        if not of_kind:
            continue
        hits = sum(bool(row["caught"]) for row in of_kind)
        low, high = interval(hits, len(of_kind))
        by = Counter(row["caught"][0] for row in of_kind if row["caught"])
        names = ", ".join(f"{name} {count}" for name, count in by.most_common())
        share = hits / len(of_kind)
        print(f"{kind:20} {hits:4}/{len(of_kind):<4} {share:7.1%} {low:7.1%} – {high:7.1%}  {names}")


def scale_curve(rows: list[dict[str, Any]]) -> dict[float, tuple[int, int]]:
    """Patients caught by "suv_scale", and all, for each factor on the SUV."""
    ranges = [UptakeRanges(**row["ranges"]) for row in rows if row["kind"] == GOOD]
    return {factor: (sum(_scale_fails(one.scaled(factor)) for one in ranges), len(ranges)) for factor in FACTORS}


def _scale_fails(ranges: UptakeRanges) -> bool:
    return any(check.name == "suv_scale" and check.level is CheckStatus.FAIL for check in ranges.checks())


def draw(curve: dict[float, tuple[int, int]], path: Path) -> None:
    """The share caught against the factor, with its interval."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    shares = np.array([hits / number for hits, number in curve.values()])
    low, high = np.array([interval(*counts) for counts in curve.values()]).T
    axes.fill_between(list(curve), low, high, alpha=0.25, linewidth=0)
    axes.plot(list(curve), shares, marker="o", markersize=4)
    axes.axvline(1.0, color="grey", linewidth=0.8)
    axes.set(xlabel="SUV read, as a multiple of the right one", ylabel="share of patients caught", ylim=(-0.02, 1.02))
    axes.set_xticks([0.4, 0.6, 0.8, 1.0, 1.2, 1.4])
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=130)


def main() -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--patients", type=int, default=104)
    parser.add_argument("--seed", type=int, default=9001)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    rows = measure(arguments.out, patients=arguments.patients, seed=arguments.seed, workers=arguments.workers)
    report(rows)
    curve = scale_curve(rows)
    print("SUV x  " + "  ".join(f"{factor:g}: {hits}/{number}" for factor, (hits, number) in curve.items()))
    draw(curve, arguments.out / "scale.png")


if __name__ == "__main__":
    main()
