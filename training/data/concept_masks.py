"""Masks of lesions and organs beside a patient's images, as the network's concepts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import numpy as np

from fedpet.imaging.nifti import read_nifti

if TYPE_CHECKING:
    from pathlib import Path

    from fedpet.imaging.volume import Volume


CONCEPTS: Final = ("lesion", "necrosis", "liver_lesion", "liver", "marrow")


def concept_masks(folder: Path) -> dict[str, Volume]:
    """Masks of the concepts of a patient from `folder` (layout above), each 0/1.

    Active lesions and their necrosis are apart; organs are without lesions. Brain metastases belong to no concept,
    since FDG hardly shows them beside the cortex.

    Raises:
        UnreadableStudyError: a label volume is missing or not NIfTI.
    """
    labels = read_nifti(folder / "lesions.nii.gz", "label")
    necrosis = read_nifti(folder / "necrosis.nii.gz", "label").array > 0
    organs = read_nifti(folder / "organs.nii.gz", "label").array
    described = json.loads((folder / "lesions.json").read_text(encoding="utf-8"))
    kinds = {lesion["id"]: lesion["kind"] for lesion in described["lesions"]}
    shown = np.isin(labels.array, [number for number, kind in kinds.items() if kind != "brain"])
    hepatic = np.isin(labels.array, [number for number, kind in kinds.items() if kind == "liver"])
    free = labels.array == 0
    arrays = {
        "lesion": shown & ~necrosis,
        "necrosis": shown & necrosis,
        "liver_lesion": hepatic & ~necrosis,
        "liver": free & (organs == described["organs"]["liver"]),
        "marrow": free & (organs == described["organs"]["marrow"]),
    }
    return {name: labels.like(array.astype(np.uint8), "label") for name, array in arrays.items()}
