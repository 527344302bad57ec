"""Hot regions cut where uptake falls between two maxima, so that a lesion can be told from the organ it touches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imaging.volume import Volume

sitk: Any = SimpleITK  # its methods are not typed
_SMOOTHING_MM = 2.5  # standard deviation, below that of any PET's resolution
_PROMINENCE = 1.25  # a maximum counts from this ratio to the highest pass towards a higher one
_LEAST = 0.01  # SUV


def basins_of(pet: Volume, hot: NDArray[np.bool_]) -> NDArray[np.int32]:
    """The basins of the prominent maxima in a mask, numbered from 1; 0 outside the mask.

    A watershed of the logarithm of the smoothed PET, in each 26-connected part of the mask. Every part holds at least
    one basin; no basin spans two parts.
    """
    basins = np.zeros(hot.shape, np.int32)
    parts = ndimage.label(hot, structure=np.ones((3, 3, 3), bool))[0]
    used = 0
    for number, box in enumerate(ndimage.find_objects(parts), start=1):
        inside = parts[box] == number
        cut = _watershed(pet.array[box], inside, pet.spacing[::-1])
        basins[box][inside] = cut + used
        used += int(cut.max())
    return basins


def _watershed(suv: NDArray[np.float32], inside: NDArray[np.bool_], spacing: tuple[float, ...]) -> NDArray[np.int32]:
    """Basin of each voxel of one part, numbered from 1; shape (number of voxels inside,)."""
    smooth = ndimage.gaussian_filter(suv.astype(np.float32), [_SMOOTHING_MM / step for step in spacing])
    depth = np.where(inside, -np.log(np.maximum(smooth, _LEAST)), -np.log(_LEAST)).astype(np.float32)
    flooded = sitk.MorphologicalWatershed(
        sitk.GetImageFromArray(np.pad(depth, 1, mode="edge")),
        level=float(np.log(_PROMINENCE)),
        markWatershedLine=False,
        fullyConnected=True,
    )
    labels = sitk.GetArrayFromImage(flooded)[1:-1, 1:-1, 1:-1][inside]
    return np.unique(labels, return_inverse=True)[1].astype(np.int32) + 1
