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

SHARES = (0.41, 0.5, 0.6, 0.7, 0.8, 0.9)  # 41 % as in the EANM guidelines 2.0 (Boellaard 2015); more where it leaks
_REACH_MM = 15.0  # a contour that goes on farther than this from its candidate has leaked
_TOUCH = np.ones((3, 3, 3), bool)


def outlined(pet: Volume, basins: Labels, lesions: NDArray[np.bool_]) -> Labels:
    """The basin whose maximum each voxel's contour belongs to, 0 outside every contour.

    Each voxel within 15 mm of a basin belongs to the nearest one. From the highest maximum down, a lesion is the
    connected part of at least 41 % of its maximum among the voxels of the basins that no higher lesion has reached.
    Where that part goes on beyond 15 mm, as it does where 41 % is less than the background, the share is raised.

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
    boxes = [
        tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box) for box in ndimage.find_objects(islands)
    ]
    for i in np.argsort(-heights, kind="stable"):
        if free[numbers[i]]:
            box = boxes[islands[tuple(maxima[i])] - 1]
            seed = tuple(maxima[i] - [side.start for side in box])
            owner[box][_contour(pet.array[box], zone[box], free, seed)] = numbers[i]
            free[numbers[owner[tuple(maxima.T)] == numbers[i]]] = False
    return owner


def _contour(
    suv: NDArray[np.float32], zone: Labels, free: NDArray[np.bool_], seed: tuple[int, ...]
) -> NDArray[np.bool_]:
    """The lesion around a maximum: at the lowest share at which it does not leak out of the zones, or the highest."""
    for share in SHARES:
        above = suv >= share * suv[seed]
        parts = ndimage.label(above & free[zone], structure=_TOUCH)[0]
        inside: NDArray[np.bool_] = parts == parts[seed]
        if not (ndimage.binary_dilation(inside, _TOUCH) & above & (zone == 0)).any():
            break
    return inside


def _zones(pet: Volume, basins: Labels) -> Labels:
    """The nearest basin of each voxel, 0 beyond 15 mm."""
    distance, nearest = ndimage.distance_transform_edt(basins == 0, sampling=pet.spacing[::-1], return_indices=True)
    return np.where(distance <= _REACH_MM, basins[tuple(nearest)], 0).astype(np.int32)
