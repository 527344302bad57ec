"""Lesions outlined at a share of their own maximum.

The share applies to the maximum of each lesion: a cold lesion beside a hot one keeps its own contour. Two maxima belong
to one lesion where the contour of the higher one reaches the lower one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imaging.volume import Volume

    Labels = NDArray[np.int32]

SHARE = 0.41  # Boellaard 2015, EANM procedure guidelines 2.0: 41 % of SUVmax
_TOUCH = np.ones((3, 3, 3), bool)
_REACH_MM = 15.0  # how far a contour may leave the candidate it grew from: beyond, it has leaked


def outlined(pet: Volume, basins: Labels, lesions: NDArray[np.bool_]) -> Labels:
    """The basin whose maximum each voxel's contour belongs to, 0 outside every contour.

    Each voxel within 15 mm of a basin belongs to the nearest one. From the highest maximum down, a lesion is the
    connected part of at least 41 % of its maximum among the voxels of the basins that no higher lesion has reached.

    Args:
        pet: SUVbw, g/ml.
        basins: candidates cut between maxima, from 1, on the PET grid.
        lesions: shape (n,), which of the basins 1 to n are lesions.
    """
    numbers = np.flatnonzero(lesions) + 1
    owner = np.zeros(basins.shape, np.int32)
    if not len(numbers):
        return owner
    zone = _zones(pet, basins)
    free = np.concatenate([[False], lesions])
    maxima = np.array(ndimage.maximum_position(pet.array, basins, numbers))
    heights = pet.array[tuple(maxima.T)]
    islands = ndimage.label(zone > 0, structure=_TOUCH)[0]
    boxes = ndimage.find_objects(islands)
    for i in np.argsort(-heights, kind="stable"):
        if not free[numbers[i]]:
            continue
        box = boxes[islands[tuple(maxima[i])] - 1]
        parts = ndimage.label(free[zone[box]] & (pet.array[box] >= SHARE * heights[i]), structure=_TOUCH)[0]
        inside = parts == parts[tuple(maxima[i] - [side.start for side in box])]
        owner[box][inside] = numbers[i]
        free[numbers[owner[tuple(maxima.T)] == numbers[i]]] = False
    return owner


def _zones(pet: Volume, basins: Labels) -> Labels:
    """The nearest basin of each voxel, 0 beyond 15 mm."""
    distance, nearest = ndimage.distance_transform_edt(basins == 0, sampling=pet.spacing[::-1], return_indices=True)
    return np.where(distance <= _REACH_MM, basins[tuple(nearest)], 0).astype(np.int32)
