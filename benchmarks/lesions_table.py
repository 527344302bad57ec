"""Lesions found on patients that no rule, no score and no network was made on: the table of docs/organs.md.

    python -m benchmarks.lesions_table [--keep FILE] [--set ours varied healthy icrp] [--patients N] [--first K]
        [--seed S] [--method M ...] [--icrp FOLDER] [--pictures FOLDER] [--sheet FILE]

Sets: `ours`, synthetic patients of the eight centres in turn; `varied`, such patients in bodies that vary
(`--anatomy varied`); `healthy`, varied patients without a lesion; `icrp`, the ICRP 110 reference male, six lesions at
another place each time, urine along the ureters in every second. Organs as by default: the network, checked and
completed by rules. Voxels of 4 x 4 x 6 mm, 4 mm on the male.

Every scan is a line of FILE as soon as it is measured, and what is there is not measured again: a long run may be cut.
Sensitivity counts lesions of at least 1 ml with a voxel above SUV 2.5, without brain metastases. Volumes are those of
the active part, without necrosis. False-positive and false-negative volume and Dice are those of autoPET; intervals are
95 % (Wilson for shares, bootstrap over patients for medians).
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.spatial.distance import pdist

from benchmarks.anatomy import Case
from benchmarks.icrp_phantom import SIX, IcrpMale
from benchmarks.lesion_pictures import sheet, tile
from benchmarks.organ_segmentation import GOAL, dices, icrp_male, structures_of
from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy
from fedpet.imaging.lesions.agreement import LesionAgreement, lesion_agreement
from fedpet.imaging.lesions.delineation import delineate
from fedpet.imaging.segmenters.organ_network import shipped_organs
from training.simulation.patients.centres import SITES
from training.simulation.patients.population import draw_patient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from fedpet.imaging.lesions.delineation import Delineation
    from fedpet.imaging.lesions.lesion import ThresholdMethod

SPACING = (4.0, 4.0, 6.0)
_SEED = 9127  # of no rule, no score and no network
_LEAST_ML, _LEAST_SUV = 1.0, 2.5
_SIZES, _HEATS = (1.0, 3.0, 10.0, np.inf), (2.5, 4.0, 8.0, np.inf)
SETS: Final = ("ours", "varied", "healthy", "icrp")


@dataclass(frozen=True)
class Lesion:
    """A lesion of the truth: active ml, highest SUV, whether counted, and whether it is listed to be confirmed."""

    ml: float
    suv: float
    counted: bool
    listed: bool


@dataclass(frozen=True)
class Scored:
    """One scan by one method; Dice of its organs."""

    lesions: tuple[Lesion, ...]
    agreement: LesionAgreement
    true_dmax: float
    dmax: float
    organs: Mapping[str, float]

    @staticmethod
    def of_json(row: Mapping[str, Any]) -> Scored:
        """From a line of the file."""
        return Scored(
            tuple(Lesion(*one) for one in row["lesions"]),
            LesionAgreement(**row["agreement"]),
            row["true_dmax"],
            row["dmax"],
            row["organs"],
        )

    def to_json(self) -> dict[str, Any]:
        """For a line of the file."""
        lesions = [[one.ml, one.suv, one.counted, one.listed] for one in self.lesions]
        return {**vars(self), "lesions": lesions, "agreement": vars(self.agreement)}


@dataclass(frozen=True, eq=False)
class Scan:
    """Images with their truth: numbers of the lesions (active part), what is not judged, Dice of the organs."""

    anatomy: PatientAnatomy
    truth: NDArray[np.integer]
    ignored: NDArray[np.bool_]
    organs: Mapping[str, float]


def score(scan: Scan, found: Delineation) -> Scored:
    """Compare a delineation with the truth."""
    pet, truth = scan.anatomy.pet, scan.truth
    counted = (found.lesions.array > 0) & ~scan.ignored
    doubtful = np.isin(found.labels.array, [one.id for one in found.components if one.to_confirm])
    lesions = []
    centres = []
    for number in np.unique(truth[truth > 0]):
        inside = truth == number
        ml, suv = float(inside.sum()) * pet.voxel_ml, float(pet.array[inside].max())
        centres.append(pet.to_mm(np.argwhere(inside).mean(axis=0)))
        if ml >= _LEAST_ML and suv > _LEAST_SUV:
            lesions.append(Lesion(ml, suv, bool(counted[inside].any()), bool((counted | doubtful)[inside].any())))
    measured = [one.centroid_mm for one in found.components if one.included]
    return Scored(
        tuple(lesions),
        lesion_agreement(counted, truth, voxel_ml=pet.voxel_ml),
        float(pdist(centres).max()) if len(centres) > 1 else 0.0,
        float(pdist(measured).max()) if len(measured) > 1 else 0.0,
        scan.organs,
    )


def synthetic(number: int, seed: int, *, varied: bool, healthy: bool = False) -> Scan:
    """Patient `number` over all centres."""
    patient = draw_patient(SITES[number % len(SITES)], number // len(SITES), seed=seed)
    patient = replace(
        patient,
        anatomy=replace(patient.anatomy, varied=varied),
        lesions=() if healthy else patient.lesions,
    )
    case = Case.of(patient, SPACING)
    anatomy = PatientAnatomy(case.pet, case.ct, shipped_organs())
    brain = np.isin(case.body.lesions, [n for n, one in enumerate(patient.lesions, start=1) if one.kind == "brain"])
    ignored = np.asarray(brain | case.body.necrosis)
    if varied:
        organs = dices(structures_of(case.pet, case.ct, case.body), anatomy.organs, GOAL)
    else:
        vars(case)["anatomy"] = anatomy
        organs = {name: case.dice(name) for name in GOAL if case.true_organs[name].any()}
    return Scan(anatomy, np.where(ignored, 0, case.body.lesions), ignored, organs)


def reference_male(folder: Path, number: int) -> Scan:
    """The ICRP male with six lesions."""
    scan = IcrpMale.read(folder).render(SIX, seed=100 + number, uptake={"Ureter": 8.0} if number % 2 else None)
    anatomy = PatientAnatomy(scan.pet, scan.ct, shipped_organs())
    organs = dices(replace(icrp_male(folder), pet=scan.pet, ct=scan.ct), anatomy.organs, GOAL)
    return Scan(anatomy, scan.truth.array, np.zeros(scan.pet.shape, bool), organs)


def measure(
    file: Path,
    scans: Mapping[str, Callable[[int], Scan]],
    numbers: range,
    seed: int,
    methods: Sequence[ThresholdMethod],
    pictures: Path | None = None,
) -> None:
    """Measure what the file does not hold yet, a line for each scan and method; a picture of each by the first."""
    held = {row[:4] for row in read(file)}
    for number in numbers:
        for name, draw in scans.items():
            missing = [method for method in methods if (name, seed, number, method) not in held]
            if not missing:
                continue
            scan = draw(number)
            with file.open("a", encoding="utf-8") as stream:
                for method in missing:
                    found = delineate(scan.anatomy.pet, scan.anatomy, method=method)
                    row = {"set": name, "seed": seed, "number": number, "method": method}
                    stream.write(json.dumps(row | score(scan, found).to_json()) + "\n")
                    if pictures is not None and method == methods[0]:
                        drawn = tile(scan.anatomy, found, scan.truth, f"{name} {seed}/{number}")
                        drawn.save(pictures / f"{name}_{number:03d}.png")


def read(file: Path) -> Iterator[tuple[str, int, int, str, Scored]]:
    """Set, seed, number, method and result of every line; none where there is no file."""
    if file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            yield row["set"], row["seed"], row["number"], row["method"], Scored.of_json(row)


def report(name: str, scored: Sequence[Scored]) -> None:
    """Print one block."""
    lesions = [lesion for one in scored for lesion in one.lesions]
    print(f"\n{name} ({len(scored)} scans, {len(lesions)} lesions)")
    print(f"  sensitivity: counted {_share([one.counted for one in lesions])}, with those listed to be confirmed "
          f"{_share([one.listed for one in lesions])}")  # fmt: skip
    for low, high in pairwise(_SIZES):
        print(f"    {low:g} to {high:g} ml: {_share([one.counted for one in lesions if low <= one.ml < high])}")
    for low, high in pairwise(_HEATS):
        print(f"    SUVmax {low:g} to {high:g}: {_share([one.counted for one in lesions if low <= one.suv < high])}")
    without = [one.agreement.found_ml for one in scored if not one.agreement.reference_ml]
    if without:
        print(f"  without lesions, and without in the result: {_share([ml == 0 for ml in without])}")
    for title, values in (
        ("false-positive volume, ml", [one.agreement.false_positive_ml for one in scored]),
        ("false-negative volume, ml", [one.agreement.false_negative_ml for one in scored]),
        ("TMTV error, %", [_error(one.agreement) for one in scored if one.agreement.reference_ml]),
        ("Dice", [one.agreement.dice for one in scored if one.agreement.reference_ml]),
    ):
        if values:
            worst, tenth = (min, 10) if title == "Dice" else (max, 90)
            print(f"  {title}: {_median(values)}, worst tenth from {np.percentile(values, tenth):.2f}, "
                  f"worst {worst(values):.2f}")  # fmt: skip
    if len({one.true_dmax for one in scored}) > 2:
        correlation = np.corrcoef([one.true_dmax for one in scored], [one.dmax for one in scored])[0, 1]
        print(f"  correlation of Dmax with the truth: {correlation:.2f}")
    organs = {name: [one.organs[name] for one in scored if name in one.organs] for name in GOAL}
    print("  organ Dice: " + ", ".join(f"{name} {np.median(values):.2f}" for name, values in organs.items() if values))


def _error(agreement: LesionAgreement) -> float:
    return 100 * abs(agreement.found_ml / agreement.reference_ml - 1)


def _share(hits: Sequence[bool]) -> str:
    """Share with its Wilson interval."""
    n, k, z = len(hits), sum(hits), 1.96
    if not n:
        return "–"
    centre, half = (k + z**2 / 2) / (n + z**2), z * np.sqrt(k * (n - k) / n + z**2 / 4) / (n + z**2)
    return f"{k / n:.3f} [{centre - half:.3f}, {centre + half:.3f}] ({k}/{n})"


def _median(values: Sequence[float]) -> str:
    rng = np.random.default_rng(0)
    draws = np.median(rng.choice(values, (2000, len(values))), axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return f"median {np.median(values):.2f} [{low:.2f}, {high:.2f}]"


def main() -> None:
    """Measure what is missing, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, default=None, help="file of the results, one line a scan and method")
    parser.add_argument("--set", nargs="*", default=["ours", "varied", "healthy"], choices=SETS)
    parser.add_argument("--patients", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=_SEED)
    parser.add_argument("--method", nargs="*", default=["suv4", "adaptive"])
    parser.add_argument("--icrp", type=Path, default=None, help="folder of the reference data's icrp110")
    parser.add_argument("--pictures", type=Path, default=None, help="folder for a picture of each scan")
    parser.add_argument("--sheet", type=Path, default=None, help="file of the first ten pictures side by side")
    options = parser.parse_args()
    if "icrp" in options.set and options.icrp is None:
        parser.error("--set icrp needs --icrp FOLDER")
    draw: dict[str, Callable[[int], Scan]] = {
        "ours": lambda number: synthetic(number, options.seed, varied=False),
        "varied": lambda number: synthetic(number, options.seed, varied=True),
        "healthy": lambda number: synthetic(number, options.seed, varied=True, healthy=True),
        "icrp": lambda number: reference_male(options.icrp, number),
    }
    with TemporaryDirectory() as folder:
        file = options.keep or Path(folder) / "lesions_table.jsonl"
        numbers = range(options.first, options.first + options.patients)
        measure(
            file, {name: draw[name] for name in options.set}, numbers, options.seed, options.method, options.pictures
        )
        results = list(read(file))
    if options.pictures is not None and options.sheet is not None:
        sheet(options.pictures, options.sheet)
    for name in SETS:
        for method in dict.fromkeys(one[3] for one in results):
            if rows := [one[4] for one in results if (one[0], one[1], one[3]) == (name, options.seed, method)]:
                report(f"{name}, {method}", rows)


if __name__ == "__main__":
    main()
