"""Hot regions divided where uptake falls between two maxima, to separate a lesion from an organ that it touches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpet.imaging.volume import Volume

sitk: Any = SimpleITK  # its methods are not typed
_SMOOTHING_MM = 2.5  # standard deviation, below that of any PET's resolution
_PROMINENCE = 1.25  # least ratio of a maximum to the saddle between it and a higher maximum
_MIN_SUV = 0.01  # before the logarithm


def watershed_basins(pet: Volume, hot: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Divide a mask into the basins of its prominent maxima.

    A watershed of the logarithm of the smoothed PET, in each 26-connected component of the mask. Every component has at
    least one basin; no basin spans two components.

    Args:
        pet: SUV, g/ml.
        hot: shape of the PET.

    Returns:
        Number of the basin of each voxel, from 1; 0 outside the mask.
    """
    basins = np.zeros(hot.shape, np.int32)
    parts = ndimage.label(hot, structure=np.ones((3, 3, 3), bool))[0]
    used = 0
    for number, box in enumerate(ndimage.find_objects(parts), start=1):
        inside = parts[box] == number
        basin = _watershed(pet.array[box], inside, pet.spacing[::-1])
        basins[box][inside] = basin + used
        used += int(basin.max())
    return basins


def _watershed(suv: NDArray[np.float32], inside: NDArray[np.bool_], spacing: tuple[float, ...]) -> NDArray[np.int32]:
    """Basin of each voxel of one component, from 1; shape (number of voxels inside,)."""
    smooth = ndimage.gaussian_filter(suv.astype(np.float32), [_SMOOTHING_MM / step for step in spacing])
    depth = np.where(inside, -np.log(np.maximum(smooth, _MIN_SUV)), -np.log(_MIN_SUV)).astype(np.float32)
    flooded = sitk.MorphologicalWatershed(
        sitk.GetImageFromArray(np.pad(depth, 1, mode="edge")),
        level=float(np.log(_PROMINENCE)),
        markWatershedLine=False,
        fullyConnected=True,
    )
    labels = sitk.GetArrayFromImage(flooded)[1:-1, 1:-1, 1:-1][inside]
    return np.unique(labels, return_inverse=True)[1].astype(np.int32) + 1
