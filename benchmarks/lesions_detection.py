"""What the delineation finds of lesions whose truth is known.

    python -m benchmarks.lesions_detection COHORT [--bundle DIR] [--method M ...] [--patients N] [--first K]

The cohort is one of `fedpet cohort simulate` (centres with dicom/ and truth/). For each method: rules alone, rules with
the model's lesion map, and (SUV 4 only) every component on the map without any rule.

A lesion is detected where an included component shares a voxel with it; the false-positive volume is that of included
components that share none with any lesion (as in autoPET). Dice, TMTV and sizes refer to the metabolically active part:
without necrosis, and without brain metastases, which FDG hardly shows beside the cortex. Of the lesions drawn, some
stay below the threshold; those with a voxel above it are "visible", and both figures are given.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from fedpet.imaging.analysis import StudyAnalysis
from fedpet.imaging.lesions.delineation import delineate, threshold_components
from fedpet.imaging.loading import load_study
from fedpet.imaging.nifti import read_nifti
from fedpet.imaging.resampling import Grid, resample
from inference.bundle.storage import load_model
from inference.engine import Engine
from inference.lesion_map import lesion_map
from inference.preprocessing import model_grid, model_image

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from fedpet.imaging.lesions.lesion import ThresholdMethod
    from fedpet.imaging.volume import Volume

METHODS: tuple[ThresholdMethod, ...] = ("suv4", "percist", "suv41pct")
SIZES = (0.5, 1.0, 5.0)
_ON_MAP, _SURE = 0.1, 0.3  # probability of a voxel, and somewhere in a component, for the map alone


@dataclass(frozen=True)
class Found:
    """One lesion of the truth: active ml, highest SUV, whether it was detected and whether it could be."""

    kind: str
    ml: float
    visible: bool
    detected: bool


@dataclass(frozen=True)
class Score:
    """One patient by one method; volumes in ml."""

    lesions: tuple[Found, ...]
    false_ml: float
    false_count: int
    dice: float
    dice_with_necrosis: float
    measured_ml: float
    true_ml: float


@dataclass(frozen=True, eq=False)
class Truth:
    """Numbers of the lesions on the PET grid, necrosis included; their necrosis; what is known of each."""

    numbers: NDArray[np.uint8]
    necrosis: NDArray[np.bool_]
    described: dict[int, dict[str, float | str]]

    @staticmethod
    def read(folder: Path, pet: Volume) -> Truth:
        """From the folder of one patient."""
        arrays = [
            resample(read_nifti(folder / f"{name}.nii.gz", "label"), Grid.of(pet), interpolation="nearest", outside=0)
            for name in ("lesions", "necrosis")
        ]
        rows = json.loads((folder / "lesions.json").read_text(encoding="utf-8"))["lesions"]
        return Truth(arrays[0].array, arrays[1].array > 0, {row["id"]: row for row in rows})

    def score(self, pet: Volume, lesions: Volume, threshold: float) -> Score:
        """Compare included components with the truth."""
        included = lesions.array > 0
        shown = np.isin(self.numbers, [number for number, row in self.described.items() if row["kind"] != "brain"])
        active = shown & ~self.necrosis
        false = np.setdiff1d(lesions.array[included], lesions.array[included & (self.numbers > 0)])
        return Score(
            lesions=tuple(self._found(number, pet, included, threshold) for number in self.described),
            false_ml=float(np.isin(lesions.array, false).sum()) * pet.voxel_ml if len(false) else 0.0,
            false_count=len(false),
            dice=_dice(included, active),
            dice_with_necrosis=_dice(included, shown),
            measured_ml=float(included.sum()) * pet.voxel_ml,
            true_ml=float(active.sum()) * pet.voxel_ml,
        )

    def _found(self, number: int, pet: Volume, included: NDArray[np.bool_], threshold: float) -> Found:
        row, inside = self.described[number], self.numbers == number
        return Found(
            kind=str(row["kind"]),
            ml=float(row["volume_ml"]) - float(row["necrosis_ml"]),
            visible=bool((pet.array[inside] >= threshold).any()),
            detected=bool(included[inside].any()),
        )


def _dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float(2 * (a & b).sum() / max(a.sum() + b.sum(), 1))


def patients(cohort: Path) -> list[tuple[Path, Path]]:
    """DICOM and truth of every patient, centre by centre in turn."""
    centres = [
        sorted((centre / "dicom").iterdir()) for centre in sorted(cohort.iterdir()) if (centre / "dicom").is_dir()
    ]
    rows = [(i, folder) for folders in centres for i, folder in enumerate(folders)]
    ordered = [folder for _, folder in sorted(rows, key=lambda row: (row[0], row[1]))]
    return [(folder, folder.parents[1] / "truth" / folder.name) for folder in ordered]


def variants(
    analysis: StudyAnalysis, seen: Volume, methods: Sequence[ThresholdMethod]
) -> Iterator[tuple[str, Volume, float]]:
    """Name, included components and threshold of everything to compare."""
    pet = analysis.study.pet
    for method in methods:
        for name, chosen in ((f"{method}, rules", None), (f"{method}, rules and map", seen)):
            found = delineate(pet, analysis.anatomy, method=method, lesion_map=chosen)
            yield name, found.lesions, found.threshold
    yield "suv4, map alone", _on_map(pet, seen), 4.0


def _on_map(pet: Volume, seen: Volume) -> Volume:
    probability = resample(seen, Grid.of(pet), outside=0.0).array
    labels = threshold_components(pet.like(np.where(probability >= _ON_MAP, pet.array, 0), pet.unit), minimum_ml=0.15)
    sure = (
        ndimage.maximum(probability, labels.array, np.arange(labels.array.max() + 1)) if labels.array.any() else [0.0]
    )
    kept = np.arange(len(sure), dtype=np.uint16) * (np.array(sure) >= _SURE)
    kept[0] = 0
    return labels.like(kept[labels.array].astype(np.uint16), "label")


def report(name: str, scores: Sequence[Score]) -> None:
    """Print one block."""
    lesions = [lesion for score in scores for lesion in score.lesions if lesion.kind != "brain"]
    print(f"\n{name} ({len(scores)} patients)")
    for least in SIZES:
        drawn = [lesion for lesion in lesions if lesion.ml >= least]
        visible = [lesion for lesion in drawn if lesion.visible]
        print(f"  sensitivity >= {least:3.1f} ml: visible {_share(visible)}, all {_share(drawn)}")
    kinds = sorted({lesion.kind for lesion in lesions})
    large = {kind: [one for one in lesions if one.kind == kind and one.ml >= 1 and one.visible] for kind in kinds}
    print("  visible >= 1 ml by kind: " + ", ".join(f"{kind} {_share(large[kind])}" for kind in kinds))
    false, counts = [score.false_ml for score in scores], [score.false_count for score in scores]
    print(
        f"  false positives: median {np.median(false):.2f} ml, mean {np.mean(false):.2f} ml, {np.mean(counts):.2f} each"
    )
    dice, whole = [score.dice for score in scores], [score.dice_with_necrosis for score in scores]
    print(f"  Dice: median {np.median(dice):.3f}, mean {np.mean(dice):.3f} (necrosis included: {np.median(whole):.3f})")
    error = np.array([score.measured_ml / score.true_ml - 1 for score in scores if score.true_ml > 0])
    print(f"  TMTV: median error {np.median(np.abs(error)):.1%}, bias {np.median(error):+.1%}")


def _share(lesions: Sequence[Found]) -> str:
    found = sum(lesion.detected for lesion in lesions)
    return f"{found / max(len(lesions), 1):.3f} ({found}/{len(lesions)})"


def main() -> None:
    """Run the delineations and print what they find."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--method", choices=METHODS, nargs="*", default=METHODS)
    parser.add_argument("--patients", type=int, default=None)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    bundle = load_model(options.bundle)
    engine, contract = Engine(bundle), bundle.contract
    scores: dict[str, list[Score]] = defaultdict(list)
    chosen = patients(options.cohort)[options.first :][: options.patients]
    for dicom, known in chosen:
        study = load_study(dicom, pseudonym_key=bytes(32))
        truth = Truth.read(known, study.pet)
        output = engine.run(model_image(study, contract), np.zeros(len(contract.inputs), np.float32))
        seen = lesion_map(output, model_grid(study, contract), contract)
        for name, lesions, threshold in variants(StudyAnalysis(study), seen, options.method):
            scores[name].append(truth.score(study.pet, lesions, threshold))
    for name, rows in scores.items():
        report(name, rows)


if __name__ == "__main__":
    main()
