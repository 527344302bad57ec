"""Lesions for a prediction: the reader's mask, the model's map, or the bare threshold, each by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import ndimage

from fedpet.messages import Message
from imaging.delineation import threshold_components
from imaging.resampling import Grid, resample
from imaging.volume import Volume

if TYPE_CHECKING:
    from inference.contract import Contract
    from inference.engine import EngineOutput

Method = Literal["given_mask", "suv4_model_map", "suv4"]
THRESHOLD_SUV = 4.0
SMALLEST_ML = 0.5
VOXEL_PROBABILITY = 0.1  # partial volume lowers the 8 mm map at the rim of a lesion
LESION_PROBABILITY = 0.3  # somewhere inside, the map must be this sure


def method_label(method: str) -> Message:
    """Human name of a delineation method."""
    return {
        "given_mask": Message("mask given by the reader"),
        "suv4_model_map": Message("SUV ≥ 4 inside the model's lesion map"),
        "suv4": Message("SUV ≥ 4, physiological uptake not excluded"),
    }[method]


def bare_threshold(pet: Volume) -> Volume:
    """Components of SUV >= 4, without any exclusion of physiological uptake."""
    return threshold_components(pet, threshold=THRESHOLD_SUV, minimum_ml=SMALLEST_ML)


def model_lesions(pet: Volume, output: EngineOutput, grid: Grid, contract: Contract) -> Volume:
    """Components of SUV >= 4 inside the model's lesion map, labelled on the PET grid by falling volume."""
    lesion = Volume(output.maps[contract.concepts.index("lesion")], grid.affine, "1")
    probability = resample(lesion, Grid.of(pet), outside=0.0).array
    inside = Volume(np.where(probability >= VOXEL_PROBABILITY, pet.array, 0.0).astype(np.float32), pet.affine, pet.unit)
    labels = threshold_components(inside, threshold=THRESHOLD_SUV, minimum_ml=SMALLEST_ML)
    count = int(labels.array.max())
    surest = ndimage.maximum(probability, labels.array, index=np.arange(1, count + 1)) if count else np.zeros(0)
    keep = np.flatnonzero(np.asarray(surest) >= LESION_PROBABILITY) + 1
    renumber = np.zeros(count + 1, labels.array.dtype)
    renumber[keep] = np.arange(1, len(keep) + 1)
    return labels.like(renumber[labels.array], "label")
