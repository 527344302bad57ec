"""Lesions found on patients that no rule and no score was made on: our synthetic patients, and the ICRP reference male.

    python benchmarks/lesions_table.py [--patients N] [--seed S] [--method M ...] [--icrp FOLDER] [--placements K]

Synthetic patients are drawn from the eight centres in turn and scanned on voxels of 4 x 4 x 6 mm; organs by rules. On
the reference male (with urine along the ureters in every second placement) organs are the labels themselves, and rules.

Sensitivity counts lesions of at least 1 ml with a voxel above SUV 2.5, without brain metastases. Volumes are those of
the active part, without necrosis. False-positive and false-negative volume are those of autoPET; intervals are 95 %
(Wilson for shares, bootstrap over patients for medians).
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.distance import pdist

from benchmarks.anatomy import Case
from benchmarks.icrp_phantom import SIX, IcrpMale
from fedpet.imaging.anatomy.organ_segmentation import GivenOrgans
from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy
from fedpet.imaging.lesions.agreement import LesionAgreement, lesion_agreement
from fedpet.imaging.lesions.delineation import delineate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from fedpet.imaging.lesions.delineation import Delineation
    from fedpet.imaging.lesions.lesion import ThresholdMethod
    from fedpet.imaging.volume import Volume

SPACING = (4.0, 4.0, 6.0)
_SEED = 6021  # of no rule, no score and no network
_LEAST_ML, _LEAST_SUV = 1.0, 2.5
_SIZES, _HEATS = (1.0, 3.0, 10.0, np.inf), (2.5, 4.0, 8.0, np.inf)


@dataclass(frozen=True)
class Lesion:
    """A lesion of the truth: active ml, highest SUV, whether counted, and whether it is listed to be confirmed."""

    ml: float
    suv: float
    counted: bool
    listed: bool


@dataclass(frozen=True)
class Scored:
    """One scan by one method."""

    lesions: tuple[Lesion, ...]
    agreement: LesionAgreement
    true_dmax: float
    dmax: float


def score(pet: Volume, truth: NDArray[np.integer], ignored: NDArray[np.bool_], found: Delineation) -> Scored:
    """Compare a delineation with the truth.

    Args:
        pet: SUV.
        truth: number of the lesion, active part only, shape of the PET.
        ignored: voxels of what is not judged: necrosis, brain metastases.
        found: the delineation.
    """
    counted = (found.lesions.array > 0) & ~ignored
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
    )


def synthetic(numbers: Iterable[int], seed: int, methods: Sequence[ThresholdMethod]) -> Mapping[str, list[Scored]]:
    """Our patients, each by every method."""
    scored: dict[str, list[Scored]] = defaultdict(list)
    for number in numbers:
        case = Case.draw(number, seed=seed, spacing=SPACING)
        kinds = dict(enumerate((one.kind for one in case.patient.lesions), start=1))
        brain = np.isin(case.body.lesions, [n for n, kind in kinds.items() if kind == "brain"])
        ignored = np.asarray(brain | case.body.necrosis)
        truth = np.where(ignored, 0, case.body.lesions)
        for method in methods:
            found = delineate(case.pet, case.anatomy, method=method)
            scored[f"synthetic patients, rules, {method}"].append(score(case.pet, truth, ignored, found))
    return scored


def reference_male(folder: Path, placements: int, methods: Sequence[ThresholdMethod]) -> Mapping[str, list[Scored]]:
    """The ICRP male with six lesions at other places each time."""
    male = IcrpMale.read(folder)
    scored: dict[str, list[Scored]] = defaultdict(list)
    for seed in range(100, 100 + placements):
        scan = male.render(SIX, seed=seed, uptake={"Ureter": 8.0} if seed % 2 else None)
        for name, segmenter in (("organs given", GivenOrgans(scan.organs)), ("rules", None)):
            anatomy = PatientAnatomy(scan.pet, scan.ct, segmenter)
            for method in methods:
                found = delineate(scan.pet, anatomy, method=method)
                nothing = np.zeros(scan.pet.shape, bool)
                scored[f"ICRP male, {name}, {method}"].append(score(scan.pet, scan.truth.array, nothing, found))
    return scored


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
    for title, values in (
        ("false-positive volume, ml", [one.agreement.false_positive_ml for one in scored]),
        ("false-negative volume, ml", [one.agreement.false_negative_ml for one in scored]),
        ("TMTV error, %", [_error(one.agreement) for one in scored if one.agreement.reference_ml]),
        ("Dice", [one.agreement.dice for one in scored if one.agreement.reference_ml]),
    ):
        print(f"  {title}: {_median(values)}, worst {(min if title == 'Dice' else max)(values):.2f}")
    if len({one.true_dmax for one in scored}) > 2:
        correlation = np.corrcoef([one.true_dmax for one in scored], [one.dmax for one in scored])[0, 1]
        print(f"  correlation of Dmax with the truth: {correlation:.2f}")


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
    """Draw, delineate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=100)
    parser.add_argument("--seed", type=int, default=_SEED)
    parser.add_argument("--method", nargs="*", default=["suv4", "suv41pct"])
    parser.add_argument("--icrp", type=Path, default=None, help="folder of the reference data's icrp110")
    parser.add_argument("--placements", type=int, default=10)
    options = parser.parse_args()
    scored = dict(synthetic(range(options.patients), options.seed, options.method))
    if options.icrp is not None:
        scored |= reference_male(options.icrp, options.placements, options.method)
    for name, rows in scored.items():
        report(name, rows)


if __name__ == "__main__":
    main()
