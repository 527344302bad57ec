"""How many wrong scans are caught, kind by kind, and how often a good scan is taken for a wrong one.

    python -m benchmarks.wrong_scans OUT --patients 104 --seed 9001 --workers 2

Synthetic patients of all centres are scanned coarsely, once as they are and once with each fault of
`training.simulation.wrong_scans`. First each centre learns its usual uptake from good scans of other patients
(`--earlier`, of another seed; 0 for the published uptake alone). The good scan goes through every check, the model and
its rules. A scan with a fault goes through the checks in the order of their cost until one fails, then through the
model: what is counted as caught would be caught by `fedpet predict`. Faults of the SUV alone share the organs found on
the good scan.

OUT/rows.jsonl receives one line a patient and kind when a patient is measured, OUT/earlier.jsonl one an earlier scan: a
run that was stopped, or that `--minutes` stopped, goes on where it was. Where a reader is asked about uptake that was
left out of a good scan, the row says whether a lesion of the truth lies there. OUT/scale.png shows how the share of
patients caught grows with a wrong scale of the SUV. Intervals are exact (Clopper-Pearson, 95 %). About 20 CPU seconds
a patient.
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
from fedpet.imaging.quality.centre_uptake import CentreUptake, MeasuredUptake, learn_centre_uptake, scanner_name
from fedpet.imaging.quality.checks import weight_check
from fedpet.imaging.quality.ct_fit import measure_ct_fit
from fedpet.imaging.quality.pitfalls import extravasation_check
from fedpet.imaging.quality.scanned_region import measure_scanned_region
from fedpet.imaging.quality.uptake_ranges import SCALE, UptakeRanges, measure_uptake_ranges
from fedpet.imaging.resampling import Grid, resample
from fedpet.imaging.study import CheckStatus
from fedpet.imaging.volume import Volume
from inference.abstention import record_reason, undecided_reason
from inference.bundle.storage import load_model
from inference.engine import Engine
from inference.predict import predict
from training.data.process_pool import ordered_map
from training.simulation.acquisition.dicom_writer import Encoding
from training.simulation.cohort import cases_of, distribute
from training.simulation.node_data import unwritten_study
from training.simulation.patients.centres import SITES
from training.simulation.patients.population import draw_patient
from training.simulation.phantom.rendering import render
from training.simulation.wrong_scans import COARSE_MM, WRONG_SCANS, Scans, scan_plain, scan_with

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy
    from fedpet.imaging.quality.centre_uptake import ScannerUptake
    from fedpet.imaging.study import PetCtStudy, QualityCheck
    from fedpet.imaging.volume import Affine
    from inference.bundle.storage import Bundle
    from inference.prediction import Prediction
    from training.simulation.patients.centres import SimulatedCentre
    from training.simulation.patients.population import Patient

GOOD = "good"
ENCODING = Encoding(compressed=False, levels=4095)
SCALE_ONLY = ("suv-x-0.37", "suv-x-1.43", "suv-x-1000", "sul-as-suvbw", "weight-in-pounds")
OF_UPTAKE = ("not-fasted", "marrow-stimulated")
FOR_THE_MODEL = "no-tumour"  # no check is made for it
FACTORS = (0.37, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2, 1.25, 1.3, 1.35, 1.43, 1.5)


EARLIER_SEED = 5005


class Measured:
    """One patient: the good scan, and what the scans with a fault may share with it."""

    def __init__(self, patient: Patient, model: Bundle, engine: Engine, *, seed: int, usual: CentreUptake) -> None:
        self.patient, self.model, self.engine, self.usual = patient, model, engine, usual
        self.plain = scan_plain(patient)
        self.study = unwritten_study(
            patient, self.plain.pet, self.plain.given_ct, encoding=ENCODING, seed=seed, pseudonym="P-0"
        )
        self.analysis = StudyAnalysis(self.study, usual=usual)
        self.own = usual.of(self.study.pet_facts)
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
            "lesion_left_out": bool(answer.abstained) and self._lesion_left_out(answer),
            **self._compared(self.ranges),
        }

    def _lesion_left_out(self, answer: Prediction) -> bool:
        """Whether a third of what a reader is asked about, since it was left out, is a lesion of the truth."""
        asked = [one for one in answer.components if undecided_reason([one]) is not None]
        if not asked or answer.component_labels is None:
            return False
        body = render(self.patient, COARSE_MM)
        truth = Volume(body.lesions, self._placed(Volume(body.lesions, body.lattice.affine, "label")), "label")
        there = resample(truth, Grid.of(answer.component_labels), interpolation="nearest", outside=0).array > 0
        return any(there[answer.component_labels.array == one.id].mean() > 1 / 3 for one in asked)

    def _compared(self, ranges: UptakeRanges) -> dict[str, Any]:
        """Uptake in a scan, and which checks of it fail by the published uptake and by that of the centre."""
        minutes = self.study.pet_facts.uptake_min
        failed = {
            name: [check.name for check in ranges.checks(usual, minutes) if check.level is CheckStatus.FAIL]
            for name, usual in (("published", None), ("own", self.own))
        }
        return {"ranges": vars(ranges), "uptake_min": minutes, **failed}

    def wrong(self, kind: str) -> dict[str, Any]:
        """The first check that fails on the scan with a fault, or why the model abstains; none where it answers."""
        fault = WRONG_SCANS[kind]
        scans = scan_with(fault, self.patient, plain=self.plain)
        study = self._study(scans)
        analysis = StudyAnalysis(study, usual=self.usual)
        self._share_body(_anatomy(analysis), scans)
        ranges = self._scaled(scans) if kind in SCALE_ONLY else None
        if kind in OF_UPTAKE:
            ranges = measure_uptake_ranges(_anatomy(analysis))
        more = {} if ranges is None else self._compared(ranges)
        record = scans.patient.observed
        if record_reason(record, self.model.contract) is not None:
            return {"caught": ["record"]}
        for check in _cheapest_first(analysis, ranges, self.own) if kind != FOR_THE_MODEL else ():
            if check.level is CheckStatus.FAIL:
                return {"caught": [check.name], "reason": str(check.reason), **more}
        answer = predict(analysis, record, self.model, engine=self.engine)
        return {"caught": ["abstains"] if answer.abstained else [], "reason": str(answer.abstained or ""), **more}

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


def _cheapest_first(
    analysis: StudyAnalysis, ranges: UptakeRanges | None, own: ScannerUptake | None
) -> Iterator[QualityCheck]:
    """Checks of a study, each made when it is asked for; `ranges` where they are known already."""
    anatomy, facts = _anatomy(analysis), analysis.study.pet_facts
    yield from analysis.study.header_checks
    if ranges is not None:
        yield from _known(weight_check(anatomy.body, facts.weight_kg or 0.0))
        yield from ranges.checks(own, facts.uptake_min)
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
    yield from measure_uptake_ranges(anatomy).checks(own, facts.uptake_min)
    yield from analysis.checks


def _known(check: QualityCheck | None) -> list[QualityCheck]:
    return [] if check is None else [check]


def learn(out: Path, *, number: int, workers: int, until: float) -> CentreUptake:
    """The usual uptake of the centres, from `number` earlier scans of each; measures what OUT/earlier.jsonl lacks."""
    path = out / "earlier.jsonl"
    rows = _read(path)
    done = {(row["site"], row["number"]) for row in rows}
    tasks = [(site, one) for one in range(number) for site in SITES if (site.code, one) not in done]
    with path.open("a", encoding="utf-8") as file:
        for row in ordered_map(_earlier, tasks, workers=workers):
            rows.append(row)
            file.write(json.dumps(row) + "\n")
            file.flush()
            if time.monotonic() > until:
                break
    good = [row for row in rows if row["number"] < number and not row["failed"]]
    return learn_centre_uptake(
        MeasuredUptake(row["scanner"], row["uptake_min"], UptakeRanges(**row["ranges"])) for row in good
    )


def _earlier(task: tuple[SimulatedCentre, int]) -> dict[str, Any]:
    """The uptake in one earlier scan, and whether it fails a check of another tissue than the scale."""
    site, number = task
    patient = draw_patient(site, number, seed=EARLIER_SEED)
    plain = scan_plain(patient)
    study = unwritten_study(patient, plain.pet, plain.given_ct, encoding=ENCODING, seed=EARLIER_SEED, pseudonym="P-0")
    facts, ranges = study.pet_facts, measure_uptake_ranges(_anatomy(StudyAnalysis(study)))
    checks = ranges.checks(None, facts.uptake_min)
    failed = [one.name for one in checks if one.level is CheckStatus.FAIL and one.name != SCALE]
    who = {"site": site.code, "number": number, "scanner": scanner_name(facts), "uptake_min": facts.uptake_min}
    return {**who, "failed": failed, "ranges": vars(ranges)}


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def measure(
    out: Path, usual: CentreUptake, *, patients: int, seed: int, workers: int, kinds: Sequence[str], until: float
) -> list[dict[str, Any]]:
    """Measure what OUT/rows.jsonl lacks, patient by patient, and return all of it."""
    path = out / "rows.jsonl"
    rows = _read(path)
    done = {(row["patient"], row["kind"]) for row in rows}
    cases = cases_of(distribute(patients, 8), seed=seed, signal=0.85, fidelity="coarse", anatomy="schematic")
    tasks = []
    for number in np.random.default_rng(seed).permutation(len(cases)):
        patient = draw_patient(cases[number].site, cases[number].number, seed=seed)
        if missing := [kind for kind in kinds if (patient.id, kind) not in done]:
            tasks.append((patient, missing))
    with path.open("a", encoding="utf-8") as file:
        measured = ordered_map(partial(_rows, seed=seed, usual=usual), tasks, workers=workers)
        for number, found in enumerate(measured, start=1):
            rows.extend(found)
            file.writelines(json.dumps(row) + "\n" for row in found)
            file.flush()
            print(f"{number} of {len(tasks)}", flush=True)
            if time.monotonic() > until:
                break
    return rows


def _rows(task: tuple[Patient, Sequence[str]], *, seed: int, usual: CentreUptake) -> list[dict[str, Any]]:
    patient, kinds = task
    model, engine = _model()
    measured = Measured(patient, model, engine, seed=seed, usual=usual)
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


def report_uptake(rows: list[dict[str, Any]]) -> None:
    """Print how many fail a check of healthy uptake, by the published uptake and by that of the centre."""
    for kind in (GOOD, *WRONG_SCANS):
        of_kind = [row for row in rows if row["kind"] == kind and "published" in row]
        if of_kind:
            counts = {name: sum(bool(row[name]) for row in of_kind) for name in ("published", "own")}
            print(f"{kind:20} uptake fails: " + ", ".join(f"{n} {c}/{len(of_kind)}" for n, c in counts.items()))


def scale_curve(rows: list[dict[str, Any]], usual: CentreUptake | None) -> dict[float, tuple[int, int]]:
    """Patients caught by "suv_scale", and all, for each factor on the SUV; by the published uptake without `usual`."""
    scanners = {site.code: f"{site.vendor} {site.model}".upper() for site in SITES}
    own = {one.scanner: one for one in usual.scanners} if usual else {}
    good = [row for row in rows if row["kind"] == GOOD]
    return {
        factor: (
            sum(
                _scale_fails(
                    UptakeRanges(**row["ranges"]).scaled(factor), own.get(scanners[row["site"]]), row["uptake_min"]
                )
                for row in good
            ),
            len(good),
        )
        for factor in FACTORS
    }


def _scale_fails(ranges: UptakeRanges, usual: ScannerUptake | None, minutes: float | None) -> bool:
    checks = ranges.checks(usual, minutes)
    return any(check.name == SCALE and check.level is CheckStatus.FAIL for check in checks)


def draw(curves: dict[str, dict[float, tuple[int, int]]], path: Path) -> None:
    """The share caught against the factor, with its interval."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, curve in curves.items():
        shares = np.array([hits / number for hits, number in curve.values()])
        low, high = np.array([interval(*counts) for counts in curve.values()]).T
        axes.fill_between(list(curve), low, high, alpha=0.2, linewidth=0)
        axes.plot(list(curve), shares, marker="o", markersize=4, label=name)
    axes.legend()
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
    parser.add_argument("--earlier", type=int, default=20, help="good scans from which each centre learns")
    parser.add_argument("--kinds", nargs="+", default=[GOOD, *WRONG_SCANS], choices=[GOOD, *WRONG_SCANS])
    parser.add_argument("--minutes", type=float, default=1e6, help="stop after")
    arguments = parser.parse_args()
    out, until = arguments.out, time.monotonic() + 60 * arguments.minutes
    out.mkdir(parents=True, exist_ok=True)
    usual = learn(out, number=arguments.earlier, workers=arguments.workers, until=until)
    if time.monotonic() > until:
        return
    rows = measure(
        out,
        usual,
        patients=arguments.patients,
        seed=arguments.seed,
        workers=arguments.workers,
        kinds=arguments.kinds,
        until=until,
    )
    report(rows)
    report_uptake(rows)
    curves = {"published uptake": scale_curve(rows, None), "uptake of the centre": scale_curve(rows, usual)}
    for name, curve in curves.items():
        print(f"SUV x ({name})  " + "  ".join(f"{factor:g}: {hits}/{n}" for factor, (hits, n) in curve.items()))
    draw(curves, out / "scale.png")


if __name__ == "__main__":
    main()
