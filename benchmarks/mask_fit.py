"""How often the check "does the mask fit?" catches a misplaced mask, and how often it fails a true one.

    python -m benchmarks.mask_fit COHORT [--sts DIR] [--patients N] [--out FILE]

COHORT is one of `fedpet cohort simulate` (centres with dicom/ and truth/); DIR the real sarcomas of the reference data.
The true lesions of a patient are given as a mask: as they are, and as readers draw them (generous, tight, half of the
maximum, a core, boxes). The same masks are then misplaced as headers do it: mirrored along each axis of the array,
turned in the slice, two axes exchanged, moved by 30 and 60 mm along each axis. "Clear" patients have at least half of
their lesions (1 ml and more) at an SUV of 2.5 or more above what is around them. Single lesions are masks of their own,
by kind. Intervals are 95 %, Wilson.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from fedpet.imaging.lesions.masks import read_mask
from fedpet.imaging.loading import load_study
from fedpet.imaging.nifti import read_nifti
from fedpet.imaging.quality.mask_fit import assess_mask_fit
from fedpet.imaging.resampling import Grid, resample
from fedpet.imaging.study import CheckStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fedpet.imaging.volume import Volume

_AXES = {"z": 0, "y": 1, "x": 2}
_CLEAR_SUV = 2.5


@dataclass(frozen=True)
class Trial:
    """One mask on one PET: what was done to it, and what the check said."""

    group: str
    fault: str
    status: str
    named: bool  # the place it was taken from is named


def misplaced(labels: Volume) -> Iterator[tuple[str, NDArray[Any]]]:
    """The mask under every fault planted, by name."""
    array = labels.array
    for name, axis in _AXES.items():
        yield f"mirrored {name}", np.flip(array, axis)
    yield "turned xy", array[:, ::-1, ::-1]
    for one, other in (("x", "y"), ("y", "z"), ("x", "z")):
        yield f"exchanged {one}{other}", _fitted(np.swapaxes(array, _AXES[one], _AXES[other]), array.shape)
    for mm in (30, 60):
        for name, axis in _AXES.items():
            for sign in (1, -1):
                steps = round(mm / labels.spacing[2 - axis]) * sign
                yield f"moved {mm} {name}", _moved(array, axis, steps)


def drawings(labels: Volume, pet: Volume) -> Iterator[tuple[str, NDArray[Any]]]:
    """True masks as readers draw them."""
    array, spacing = labels.array, labels.spacing[::-1]
    yield "true", array
    away, nearest = ndimage.distance_transform_edt(array == 0, sampling=spacing, return_indices=True)
    for mm in (5, 9):
        yield f"{mm} mm generous", np.where(away <= mm, array[tuple(nearest)], 0)
    yield "a voxel tight", np.where(ndimage.binary_erosion(array > 0), array, 0)
    half, core, box = (np.zeros_like(array) for _ in range(3))
    for number, place in enumerate(ndimage.find_objects(array), start=1):
        if place:
            inside, suv = array[place] == number, pet.array[place]
            half[place][inside & (suv >= 0.5 * suv[inside].max())] = number
            hottest = np.unravel_index(np.argmax(np.where(inside, suv, -1)), inside.shape)
            offset = (np.indices(inside.shape).T - hottest) * np.array(spacing)
            core[place][inside & ((offset**2).sum(axis=-1).T <= 6.5**2)] = number
            box[place] = number
    yield from (("half of the maximum", half), ("core of 13 mm", core), ("boxes", box))


def trials_of(pet: Volume, labels: Volume, kinds: dict[int, str]) -> list[Trial]:
    """All trials of one patient."""
    group = "clear" if _is_clear(pet, labels) else "unclear"
    trials = [_trial(group, "none", drawn, pet, name) for name, drawn in drawings(labels, pet)]
    trials += [_trial(group, name, drawn, pet) for name, drawn in misplaced(labels)]
    for number in np.unique(labels.array[labels.array > 0]):
        alone = labels.like(np.where(labels.array == number, labels.array, 0), "label")
        of = f"single: {kinds.get(int(number), 'lesion')}"
        trials.append(_trial(of, "none", alone.array, pet))
        trials += [_trial(of, name, drawn, pet) for name, drawn in misplaced(alone) if name.startswith("m")]
    return [trial for trial in trials if trial]


def _trial(group: str, fault: str, array: NDArray[Any], pet: Volume, drawn: str = "") -> Trial | None:
    fit = assess_mask_fit(pet.like(np.ascontiguousarray(array), "label"), pet, search=not group.startswith("single"))
    if fit is None:
        return (
            None if fault == "none" else Trial(group, fault, CheckStatus.FAIL, named=False)
        )  # refused: beside the PET
    return Trial(group, f"{fault}: {drawn}" if drawn else fault, fit.status.value, named=fit.elsewhere is not None)


def _is_clear(pet: Volume, labels: Volume) -> bool:
    clear = []
    for number, place in enumerate(ndimage.find_objects(labels.array), start=1):
        if place and (labels.array == number).sum() * pet.voxel_ml >= 1:
            wide = tuple(slice(max(0, side.start - 5), side.stop + 5) for side in place)
            inside = labels.array[wide] == number
            around = ndimage.binary_dilation(inside, iterations=4) & ~ndimage.binary_dilation(inside)
            clear.append(np.median(pet.array[wide][inside]) - np.median(pet.array[wide][around]) >= _CLEAR_SUV)
    return bool(clear) and float(np.mean(clear)) >= 0.5


def _fitted(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    result = np.zeros(shape, array.dtype)
    common = tuple(slice(0, min(pair)) for pair in zip(array.shape, shape, strict=True))
    result[common] = array[common]
    return result


def _moved(array: NDArray[Any], axis: int, steps: int) -> NDArray[Any]:
    result = np.zeros_like(array)
    count = array.shape[axis]
    source, target = [slice(None)] * 3, [slice(None)] * 3
    source[axis], target[axis] = (
        slice(max(0, -steps), count - max(0, steps)),
        slice(max(0, steps), count - max(0, -steps)),
    )
    result[tuple(target)] = array[tuple(source)]
    return result


def _simulated(folder: Path) -> list[Trial]:
    study = load_study(folder, pseudonym_key=b"benchmark")
    truth = folder.parents[1] / "truth" / folder.name
    labels = resample(
        read_nifti(truth / "lesions.nii.gz", "label"), Grid.of(study.pet), interpolation="nearest", outside=0
    )
    rows = json.loads((truth / "lesions.json").read_text(encoding="utf-8"))["lesions"]
    return trials_of(study.pet, labels, {row["id"]: _kind(row) for row in rows})


def _kind(row: dict[str, Any]) -> str:
    if row["kind"] == "brain":
        return "brain"
    if row["necrosis_ml"] > 0.3 * row["volume_ml"]:
        return "more than 30 % necrotic"
    return "under 1 ml" if row["volume_ml"] < 1 else "other"


def _sarcoma(folder: Path) -> list[Trial]:
    study = load_study(folder / "PET" / "image", pseudonym_key=b"benchmark")
    labels = read_mask(folder / "nifti" / "PET_mask.nii.gz", study.pet).labels
    trials = trials_of(study.pet, labels, {})
    return [Trial("sarcoma", one.fault, one.status, one.named) for one in trials if not one.group.startswith("single")]


def wilson(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a share."""
    z, share = 1.96, hits / count
    middle, half = share + z * z / (2 * count), z * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    low, high = (middle - half) / (1 + z * z / count), (middle + half) / (1 + z * z / count)
    return max(0.0, float(low)), min(1.0, float(high))


def table(trials: list[Trial]) -> list[str]:
    """Rows of the share that failed, by group and fault."""
    cells: dict[tuple[str, str], list[Trial]] = defaultdict(list)
    for trial in trials:
        cells[trial.group, trial.fault].append(trial)
    rows = ["| masks | fault | masks tried | failed | 95 % | place named | warned |", "|---|---|---|---|---|---|---|"]
    for (group, fault), found in sorted(cells.items()):
        failed = sum(one.status == "fail" for one in found)
        low, high = wilson(failed, len(found))
        flags = [(one.status == "fail", one.named, one.status == "warn") for one in found]
        share, named, warned = (f"{sum(column) / len(found):.3f}" for column in zip(*flags, strict=True))
        rows.append(f"| {group} | {fault} | {len(found)} | {share} | {low:.3f}-{high:.3f} | {named} | {warned} |")
    return rows


def main() -> None:
    """Run all trials and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--sts", type=Path, help="folder of the real sarcomas")
    parser.add_argument("--patients", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    folders = sorted(options.cohort.glob("S*/dicom/*"))[: options.patients]
    with Pool(options.workers) as pool:
        trials = [trial for found in pool.imap_unordered(_simulated, folders) for trial in found]
    if options.sts:
        trials += [trial for folder in sorted(options.sts.glob("STS_*")) for trial in _sarcoma(folder)]
    print("\n".join(table(trials)))


if __name__ == "__main__":
    main()
