"""Lesion tables of patients who do not exist, and the PET in which they lie."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from explain.lesion_effects import TableScore, ablation_credits
from explain.table_explanation import term_map
from fedpet.clinical.record import ClinicalRecord
from fedpet.imaging.lesions.lesion_table import LesionTable, TableLesion
from fedpet.imaging.volume import Volume

if TYPE_CHECKING:
    from explain.explanation import ScoreTerm

REGIONS = ("lung_right", "lung_left", "mediastinum", "liver", "bone", "adrenal_left", "hilum_right")
VOXEL_MM = 4.0
SHAPE = (60, 40, 40)


def draw_table(rng: np.random.Generator, count: int) -> tuple[LesionTable, Volume, Volume]:
    """A table with so many lesions, and their PET and labels: cubes of 27 to 216 voxels that do not touch.

    Volumes, TLG and maxima are those of the voxels.
    """
    affine = np.diag([VOXEL_MM, VOXEL_MM, VOXEL_MM, 1.0])
    suv = rng.uniform(0.5, 1.5, SHAPE).astype(np.float32)
    labels = np.zeros(SHAPE, np.uint16)
    cells = rng.permutation(np.argwhere(np.ones([side // 8 for side in SHAPE], bool)))[:count] * 8 + 1
    rows = []
    for number, corner in enumerate(cells.tolist(), start=1):
        size = int(rng.integers(3, 7))
        box = tuple(slice(start, start + size) for start in corner)
        suv[box] = rng.uniform(3.0, 15.0) * rng.uniform(0.6, 1.0, (size,) * 3)
        labels[box] = number
        volume, necrotic = size**3 * VOXEL_MM**3 / 1000, float(rng.uniform(0, 0.3))
        middle = VOXEL_MM * (np.array(corner)[::-1] + (size - 1) / 2)
        rows.append(
            TableLesion(
                id=number,
                region=str(rng.choice(REGIONS)),
                mtv_ml=volume,
                tlg=volume * float(suv[box].mean()),
                suv_max=float(suv[box].max()),
                suv_peak=float(np.sort(suv[box].ravel())[-8:].mean()),
                centroid_mm=(float(middle[0]), float(middle[1]), float(middle[2])),
                necrotic_ml=necrotic * volume,
                whole_ml=(1 + necrotic) * volume,
            )
        )
    ratios = (float(rng.normal(0.65, 0.15)), float(rng.normal(0.9, 0.15)))
    return LesionTable(tuple(rows), *ratios), Volume(suv, affine, "g/ml"), Volume(labels, affine, "label")


def draw_record(rng: np.random.Generator) -> ClinicalRecord:
    """A record, of which now and then a variable is missing."""
    record = ClinicalRecord(
        age=float(rng.uniform(45, 85)), sex=str(rng.choice(["F", "M"])), ecog_ps=int(rng.integers(0, 3)),
        smoking=str(rng.choice(["never", "former"])), histology=str(rng.choice(["squamous", "adenocarcinoma"])),
        pdl1_tps=float(rng.integers(0, 100)), line=int(rng.integers(1, 3)), ldh=float(rng.uniform(150, 600)),
        ldh_uln=248.0, neutrophils=float(rng.uniform(2, 12)), lymphocytes=float(rng.uniform(0.5, 3)),
        leucocytes=float(rng.uniform(4, 15)), albumin=float(rng.uniform(25, 45)), steroids=bool(rng.integers(2)),
        brain_metastases=bool(rng.integers(2)), liver_metastases=bool(rng.integers(2)),
        bone_metastases=bool(rng.integers(2)), pet_to_treatment_days=10.0,
    )  # fmt: skip
    missing = [name for name in ("pdl1_tps", "albumin", "ldh") if rng.random() < 0.2]
    return replace(record, **dict.fromkeys(missing))


def good_and_spoiled_maps(
    score: TableScore, terms: tuple[ScoreTerm, ...], pet: Volume, labels: Volume, rng: np.random.Generator
) -> dict[str, Volume]:
    """The map of an explanation as it is, moved, with the opposite sign, and made with permuted weights."""
    sound = term_map(score, terms, pet, labels, {})
    permuted = replace(score, weights=rng.permutation(score.weights))
    credits_of = ablation_credits(permuted, permuted.lesions)
    wrong = tuple(replace(term, score=credits_of[term.lesion].value) for term in terms if term.lesion is not None)
    return {
        "sound": sound,
        "shifted 5 cm": sound.like(np.roll(sound.array, round(50.0 / VOXEL_MM), axis=2), "1"),
        "sign flipped": sound.like(-sound.array, "1"),
        "permuted weights": term_map(permuted, wrong, pet, labels, {}),
    }
