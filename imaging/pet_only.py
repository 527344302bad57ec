"""Brain and bladder recognised on the PET alone, for studies without a CT.

Only their size, shape and place in the patient can be told; every other organ is left to the reader.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imaging.volume import Volume

    Mask = NDArray[np.bool_]
    Floats = NDArray[np.float64]

_WARM = 0.3  # SUV of the body's outline
_BRAIN_ML: Final = 300.0, 2200.0
_BRAIN_MM: Final = ((90.0, 190.0), (100.0, 230.0), (60.0, 200.0))  # left to right, front to back, head to foot
_VERTEX_MM = 60.0  # most from the top of the body to the top of the brain
_BLADDER_ML, _BLADDER_ASIDE_MM = 15.0, 50.0
_BLADDER_MM: Final = 550.0, 1000.0  # below the middle of the brain


def brain_and_bladder(pet: Volume, hot: Mask) -> tuple[Mask, Mask]:
    """Parts of a mask of hot voxels that are the brain and the bladder; empty where they cannot be told.

    Args:
        pet: SUVbw, g/ml.
        hot: shape of the PET.
    """
    parts, count = ndimage.label(hot, structure=np.ones((3, 3, 3), bool))
    brain = bladder = np.zeros(hot.shape, bool)
    if not count:
        return brain, bladder
    sizes = np.bincount(parts.ravel())[1:] * pet.voxel_ml
    corners = [_extent(pet, box) for box in ndimage.find_objects(parts)]
    top = _extent(pet, ndimage.find_objects((pet.array > _WARM).astype(np.int8))[0])[1][2]
    heads = [i for i in range(count) if _like_brain(sizes[i], *corners[i], top)]
    if not heads:
        return brain, bladder
    head = max(heads, key=lambda i: sizes[i])
    brain = parts == head + 1
    middle = np.mean(corners[head], axis=0)
    away = np.array([np.mean(corner, axis=0) - middle for corner in corners])
    below = (-away[:, 2] >= _BLADDER_MM[0]) & (-away[:, 2] <= _BLADDER_MM[1])
    candidates = np.where(below & (np.abs(away[:, 0]) <= _BLADDER_ASIDE_MM), sizes, 0.0)
    if candidates.max() >= _BLADDER_ML:
        bladder = parts == candidates.argmax() + 1
    return brain, bladder


def _extent(pet: Volume, box: tuple[slice, ...]) -> tuple[Floats, Floats]:
    """Lowest and highest LPS mm of the voxel centres of a box."""
    ends = [(side.start, side.stop - 1) for side in box]
    points = pet.to_mm(np.array(np.meshgrid(*ends, indexing="ij"), float).reshape(3, -1).T)
    return points.min(axis=0), points.max(axis=0)


def _like_brain(volume_ml: float, low: Floats, high: Floats, top: float) -> bool:
    size = high - low
    fits = all(least <= mm <= most for mm, (least, most) in zip(size, _BRAIN_MM, strict=True))
    return _BRAIN_ML[0] <= volume_ml <= _BRAIN_ML[1] and fits and bool(top - high[2] <= _VERTEX_MM)
