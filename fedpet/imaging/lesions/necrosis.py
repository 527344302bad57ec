"""Necrosis of a lesion: cold soft tissue inside its convex hull.

A necrotic core takes up no FDG, so that no threshold outlines it, and an outline that is open on one side does not
enclose it. The convex hull of the hot voxels closes it; what is neither cold nor soft tissue in there, such as vessels,
lung or bone, is not necrosis. Where a mask includes the core, the result is the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from fedpet.imaging.resampling import sample_nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpet.imaging.volume import Volume

COLD_FRACTION: Final = 0.41  # of the lesion's SUVmax, below which tissue in it is cold
COLD_SUV: Final = 5.0  # g/ml, the highest bound whatever the SUVmax; above 4, as uptake blurs into a core
SOFT_HU: Final = -50.0, 150.0  # without lung, fat, bone and opacified vessels
_CHUNK = 4096  # voxels tested at once


@dataclass(frozen=True)
class Necrosis:
    """The necrosis of one lesion, ml.

    Attributes:
        necrotic_ml: cold soft tissue inside its hull.
        whole_ml: the lesion with it; what a mask holds of the necrosis is counted once.
    """

    necrotic_ml: float
    whole_ml: float


def measure_necrosis(pet: Volume, ct: Volume, labels: Volume) -> dict[int, Necrosis]:
    """Measure the necrosis of every lesion.

    Args:
        pet: SUVbw, g/ml.
        ct: HU, any grid.
        labels: lesion numbers on the PET grid, 0 is background.

    Returns:
        By lesion number. A lesion whose hot voxels lie in one plane has none.
    """
    boxes = enumerate(ndimage.find_objects(labels.array), start=1)
    return {number: _of_lesion(pet, ct, labels, number, box) for number, box in boxes if box is not None}


def _of_lesion(pet: Volume, ct: Volume, labels: Volume, number: int, box: tuple[slice, ...]) -> Necrosis:
    suv, numbers = pet.array[box], labels.array[box]
    own = numbers == number
    bound = min(COLD_SUV, COLD_FRACTION * float(suv[own].max()))
    hot, cold = own & (suv >= bound), (suv < bound) & (own | (numbers == 0))
    index = np.argwhere(cold)
    index = index[_inside_hull(np.argwhere(hot), index)]
    hu = sample_nearest(ct, labels.to_mm(index + [float(side.start) for side in box]), outside=-1024.0)
    index = index[(hu > SOFT_HU[0]) & (hu < SOFT_HU[1])]
    beyond_mask = int((~own[tuple(index.T)]).sum())
    return Necrosis(len(index) * pet.voxel_ml, (int(own.sum()) + beyond_mask) * pet.voxel_ml)


def _inside_hull(points: NDArray[np.intp], index: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which voxels (n, 3) lie in the convex hull of the centres of `points` (m, 3); none where these lie in a plane."""
    try:
        planes = ConvexHull(_row_ends(points)).equations.astype(np.float32)
    except (QhullError, ValueError):
        return np.zeros(len(index), bool)
    normals, offsets = planes[:, :3].T, planes[:, 3]
    chunks = np.split(index.astype(np.float32), range(_CHUNK, len(index), _CHUNK))
    return np.concatenate([(part @ normals + offsets <= 1e-4).all(axis=1) for part in chunks])


def _row_ends(points: NDArray[np.intp]) -> NDArray[np.intp]:
    """The first and last voxel of each row of an image: all that a hull needs; `points` in C order."""
    starts = np.r_[True, (np.diff(points[:, :2], axis=0) != 0).any(axis=1)]
    return np.asarray(points[starts | np.r_[starts[1:], True]])
