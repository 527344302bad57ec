"""Accuracy and time of the editor of lesions on synthetic truth, after the manner of the autoPET challenge.

Simulated patients whose lesions are known: of each lesion of 0.5 ml or more, the Dice coefficient as the program found
it, after one click on its hottest voxel (`grow_focus`), and after each of up to four strokes of a sphere. A stroke is
put where most is wrong: in the middle of the largest part that is missed (brush) or is too much (eraser), as large as
that part is deep. Seconds are of `apply_edits`, without the model.

Run: `python -m benchmarks.lesion_editor [patients]`; one line of JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from fedpet.imaging.analysis import StudyAnalysis
from fedpet.imaging.lesions.interactive import ERASED, BrushStroke, GrownFocus, LesionEdits, apply_edits, grow_focus
from fedpet.imaging.lesions.masks import read_mask
from fedpet.imaging.loading import load_study
from training.simulation.cohort import simulate_cohort

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpet.imaging.lesions.interactive import Step
    from fedpet.imaging.volume import Volume

_STROKES, _LEAST_ML = 4, 0.5


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Dice coefficient of two masks; 0 where one is empty."""
    both = int(a.sum() + b.sum())
    return 2.0 * float((a & b).sum()) / both if both else 0.0


def stroke(pet: Volume, mine: NDArray[np.bool_], truth: NDArray[np.bool_], number: int) -> BrushStroke:
    """The sphere that a reader would put next: in the middle of the largest part that is wrong."""
    parts = []
    for target, wrong in ((number, truth & ~mine), (ERASED, mine & ~truth)):
        labels, _ = ndimage.label(wrong, np.ones((3, 3, 3)))
        sizes = np.bincount(labels.ravel())[1:]
        if sizes.size:
            parts.append((int(sizes.max()), target, labels == int(sizes.argmax()) + 1))
    _, target, part = max(parts, key=lambda one: one[0])
    depth = ndimage.distance_transform_edt(np.pad(part, 1), sampling=pet.spacing[::-1])[1:-1, 1:-1, 1:-1]
    place = np.array(np.unravel_index(int(depth.argmax()), part.shape), float)
    x, y, z = pet.to_mm(place)
    return BrushStroke(target, ((float(x), float(y), float(z)),), max(1.0, float(depth.max())))


def read(analysis: StudyAnalysis, truth: NDArray[np.bool_]) -> tuple[list[float], list[float]]:
    """Dice after each step for one lesion, and seconds of each step."""
    pet, found = analysis.study.pet, analysis.delineation("suv4")
    start = found.labels.array * np.isin(found.labels.array, [one.id for one in found.components if one.included])
    own = np.bincount(start[truth].ravel()).argmax()
    reached, seconds = [dice(start == own, truth) if own else 0.0], list[float]()
    where = np.argwhere(truth)
    x, y, z = pet.to_mm(where[pet.array[tuple(where.T)].argmax()].astype(float))
    focus = grow_focus(pet, (float(x), float(y), float(z)))
    number = max((one.id for one in found.components), default=0) + 1
    steps: tuple[Step, ...] = (GrownFocus(number, focus.hottest_mm, focus.threshold),)
    for _ in range(_STROKES + 1):
        begun = time.perf_counter()
        edited = apply_edits(found, pet, LesionEdits(steps, {}, number), analysis.anatomy)
        seconds.append(time.perf_counter() - begun)
        mine = edited.labels.array == number
        reached.append(dice(mine, truth))
        if reached[-1] == 1.0:
            break
        steps = (*steps, stroke(pet, mine, truth, number))
    return reached + [reached[-1]] * (_STROKES + 2 - len(reached)), seconds


def main(patients: int) -> None:
    """Print the figures."""
    curves, seconds = list[list[float]](), list[float]()
    with tempfile.TemporaryDirectory() as folder:
        simulate_cohort(patients=patients, sites=1, seed=23, out=Path(folder), fidelity="coarse")
        for mask in sorted(Path(folder).glob("*/truth/*/lesions.nii.gz")):
            images = mask.parents[2] / "dicom" / mask.parent.name
            analysis = StudyAnalysis(load_study(images, pseudonym_key=b"benchmark"))
            labels = read_mask(mask, analysis.study.pet).labels.array
            for number in range(1, int(labels.max()) + 1):
                truth = labels == number
                if truth.sum() * analysis.study.pet.voxel_ml < _LEAST_ML:
                    continue
                curve, taken = read(analysis, truth)
                curves.append(curve)
                seconds += taken
    table = np.array(curves)
    steps = ["found", "click", *(f"stroke {n}" for n in range(1, _STROKES + 1))]
    figures = {
        "patients": patients,
        "lesions": len(curves),
        "dice_median": dict(zip(steps, np.median(table, axis=0).round(3).tolist(), strict=True)),
        "dice_p10": dict(zip(steps, np.quantile(table, 0.1, axis=0).round(3).tolist(), strict=True)),
        "seconds_median": round(float(np.median(seconds)), 3),
        "seconds_p95": round(float(np.quantile(seconds, 0.95)), 3),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
