"""Roughly where in the body a lesion lies, read automatically from the CT.

Rules on coarse lungs and on Hounsfield units, not an organ segmentation: a help to find a lesion on the images, to be
confirmed by the reader, and never an input of the model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import ConvexHull, QhullError

from fedpet.messages import Message
from imaging.anatomy import LEFT, RIGHT, anatomy_of
from imaging.coarse import COARSE_MM

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imaging.anatomy import Anatomy
    from imaging.volume import Volume

REGIONS: dict[str, Message] = {
    "lung_right": Message("right lung"),
    "lung_left": Message("left lung"),
    "mediastinum": Message("mediastinum or hila"),
    "chest_wall": Message("chest wall or pleura"),
    "liver": Message("liver region"),
    "bone": Message("bone"),
    "head_neck": Message("head or neck"),
    "abdomen_pelvis": Message("abdomen, pelvis or below"),
    "unknown": Message("region not determined"),
}
_BONE_HU = 250.0
_BONE_SHARE = 0.15
_LIVER_DEPTH_MM = 140.0  # below the base of the right lung


def lesion_regions(labels: Volume, ct: Volume | None) -> dict[int, str]:
    """Region (a key of `REGIONS`) of every lesion number in `labels`; all "unknown" without a CT or lungs."""
    index = np.argwhere(labels.array)
    numbers = labels.array[tuple(index.T)]
    ids = [int(number) for number in np.unique(numbers)]
    anatomy = anatomy_of(ct) if ct is not None and ids else None
    if anatomy is None or ct is None or anatomy.lung_slices is None:
        return dict.fromkeys(ids, "unknown")
    points = labels.to_mm(index.astype(float))
    places = np.rint(anatomy.ct.to_index(points)).astype(int)
    hu = _nearest(ct, points)
    return {number: _region(places[numbers == number], hu[numbers == number], anatomy) for number in ids}


def _nearest(ct: Volume, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """HU of the nearest voxel of each point (n, 3); outside the CT, air."""
    voxels = np.rint(ct.to_index(points)).astype(int)
    inside = ((voxels >= 0) & (voxels < ct.shape)).all(axis=1)
    hu = np.full(len(points), -1024.0)
    hu[inside] = ct.array[tuple(voxels[inside].T)]
    return hu


def _region(places: NDArray[np.int_], hu: NDArray[np.float64], anatomy: Anatomy) -> str:
    """Region of one lesion from its voxels' places (n, 3) in the coarse CT and their HU (n,)."""
    if (hu > _BONE_HU).mean() >= _BONE_SHARE:
        return "bone"
    span = anatomy.lung_slices
    slice_, row, column = np.rint(places.mean(axis=0)).astype(int)
    if span is None or not ((places >= 0) & (places < anatomy.lungs.shape)).all():
        return "unknown"
    if slice_ > span[1]:
        return "head_neck"
    if _below_right_lung(anatomy, int(slice_), int(row), int(column)):
        return "liver"
    if slice_ < span[0]:
        return "abdomen_pelvis"
    return _chest_region(anatomy.lungs[slice_], int(row), int(column))


def _below_right_lung(anatomy: Anatomy, slice_: int, row: int, column: int) -> bool:
    """Right lung straight above, none below, and its base not farther than the height of a liver."""
    above = np.flatnonzero(anatomy.lungs[:, row, column] == RIGHT)
    return bool(len(above)) and 0 < (above[0] - slice_) * COARSE_MM <= _LIVER_DEPTH_MM


def _chest_region(lungs: NDArray[np.uint8], row: int, column: int) -> str:
    """Region at a place of an axial slice: inside a lung's convex outline, between the lungs, or outside."""
    for side, name in ((RIGHT, "lung_right"), (LEFT, "lung_left")):
        if _in_hull(lungs == side, row, column):
            return name
    return "mediastinum" if _in_hull(lungs > 0, row, column) else "chest_wall"


def _in_hull(mask: NDArray[np.bool_], row: int, column: int) -> bool:
    if not mask.any():
        return False
    try:
        hull = ConvexHull(np.argwhere(mask))
    except QhullError:  # fewer than three places that span an area
        return False
    return bool((hull.equations @ (row, column, 1.0) <= 0.5).all())
