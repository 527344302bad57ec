"""Removal of the uptake of lesions from a PET: what the model sees where a lesion does not count."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from fedpet.imaging.volume import Volume

_SHELL_MM = 10.0, 20.0
_AIR_SUV = 0.1  # less than that is air around the patient
_NEIGHBOURS = np.ones((3, 3, 3), bool)


def remove_uptake(pet: Volume, labels: Volume, removed: Collection[int]) -> Volume:
    """Replace the uptake of lesions by that of the tissue around each.

    Their voxels, and a layer of one voxel around them, get the median SUV of a shell of healthy tissue 1 to 2 cm away.

    Args:
        pet: SUV, g/ml.
        labels: lesions by number on the same grid; 0 is background.
        removed: numbers of the lesions to remove; the voxels of every other lesion keep their values.

    Returns:
        On the same grid, in the same unit.
    """
    suv = pet.array.copy()
    margin = [int(np.ceil(_SHELL_MM[1] / step)) + 1 for step in reversed(pet.spacing)]
    for number, box in enumerate(ndimage.find_objects(labels.array), start=1):
        if box is None or number not in removed:
            continue
        around = tuple(
            slice(max(0, side.start - width), side.stop + width) for side, width in zip(box, margin, strict=True)
        )
        labels_around = labels.array[around]
        lesion = labels_around == number
        filled = ndimage.binary_dilation(lesion, _NEIGHBOURS) & (lesion | (labels_around == 0))
        tissue = pet.array[around][_surrounding_tissue(pet.array[around], labels_around, lesion, pet.spacing)]
        suv[around][filled] = np.median(tissue if tissue.size else pet.array[labels.array == 0])
    return pet.like(suv, pet.unit)


def _surrounding_tissue(
    suv: NDArray[np.float32], labels: NDArray[np.uint16], lesion: NDArray[np.bool_], spacing: tuple[float, float, float]
) -> NDArray[np.bool_]:
    """Healthy tissue around a lesion, without lesions and air."""
    distance = ndimage.distance_transform_edt(~lesion, sampling=spacing[::-1])
    healthy = ~ndimage.binary_dilation(labels > 0, _NEIGHBOURS)
    near, far = _SHELL_MM
    shell: NDArray[np.bool_] = healthy & (distance >= near) & (distance <= far) & (suv > _AIR_SUV)
    return shell
