"""What the PET alone shows of the body: its bounds and, for studies without a CT, brain and bladder.

On a PET only their size, shape and position identify them; every other organ is left to the reader.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpet.imaging.volume import Volume

    Mask = NDArray[np.bool_]
    Floats = NDArray[np.float64]

_BODY_SUV = 0.2  # more than that of the air around the patient
_BODY_SHARE = 0.02  # of the highest value, where there is no SUV
_BODY_MM2, _MARGIN_MM = 100.0, 20.0  # least area in a plane, added on each side
_OUTLINE_SUV = 0.3  # SUV at the outline of the body
_BRAIN_ML: Final = 300.0, 2200.0
_BRAIN_MM: Final = ((90.0, 190.0), (100.0, 230.0), (60.0, 200.0))  # left to right, front to back, head to foot
_VERTEX_MM = 60.0  # at most from the top of the body to the top of the brain
_BLADDER_ML, _BLADDER_LATERAL_MM = 15.0, 50.0
_BLADDER_MM: Final = 550.0, 1000.0  # below the middle of the brain


def find_brain_and_bladder(pet: Volume, hot: Mask) -> tuple[Mask, Mask]:
    """Find brain and bladder among the components of a mask of hot voxels.

    Args:
        pet: SUVbw, g/ml.
        hot: shape of the PET.

    Returns:
        Mask of the brain and of the bladder, shape of the PET; empty where they cannot be recognised.
    """
    parts, count = ndimage.label(hot, structure=np.ones((3, 3, 3), bool))
    brain = bladder = np.zeros(hot.shape, bool)
    if not count:
        return brain, bladder
    sizes = np.bincount(parts.ravel())[1:] * pet.voxel_ml
    corners = [_extent(pet, box) for box in ndimage.find_objects(parts)]
    top = _extent(pet, ndimage.find_objects((pet.array > _OUTLINE_SUV).astype(np.int8))[0])[1][2]
    brains = [i for i in range(count) if _is_brain_sized(sizes[i], *corners[i], top)]
    if not brains:
        return brain, bladder
    brain_part = max(brains, key=lambda i: sizes[i])
    brain = parts == brain_part + 1
    middle = np.mean(corners[brain_part], axis=0)
    offset = np.array([np.mean(corner, axis=0) - middle for corner in corners])
    at_bladder_height = (-offset[:, 2] >= _BLADDER_MM[0]) & (-offset[:, 2] <= _BLADDER_MM[1])
    candidates = np.where(at_bladder_height & (np.abs(offset[:, 0]) <= _BLADDER_LATERAL_MM), sizes, 0.0)
    if candidates.max() >= _BLADDER_ML:
        bladder = parts == candidates.argmax() + 1
    return brain, bladder


def body_bounds(pet: Volume) -> tuple[list[float], list[float]]:
    """The box that holds the patient: planes of the PET with at least 1 cm2 of uptake, and 2 cm around.

    Args:
        pet: SUV or "stored", on a grid along the patient's axes (`fedpet.imaging.resampling.align_to_patient_axes`).

    Returns:
        Smallest and largest (x, y, z), LPS mm; the whole image where nothing has uptake.
    """
    floor = _BODY_SHARE * float(pet.array.max()) if pet.unit == "stored" else _BODY_SUV
    dx, dy, dz = pet.spacing
    inside = pet.array > floor
    low, high = [], []
    for axis, (step, area) in enumerate(((dx, dy * dz), (dy, dx * dz), (dz, dx * dy))):
        planes = np.flatnonzero(inside.sum(axis=tuple(a for a in range(3) if a != 2 - axis)) * area > _BODY_MM2)
        last = pet.array.shape[2 - axis] - 1
        first, end = (planes[0], planes[-1]) if planes.size else (0, last)
        margin = _MARGIN_MM / step
        low.append(float(pet.affine[axis, 3] + step * max(first - margin, 0)))
        high.append(float(pet.affine[axis, 3] + step * min(end + margin, last)))
    return low, high


def _extent(pet: Volume, box: tuple[slice, ...]) -> tuple[Floats, Floats]:
    """Lowest and highest LPS mm of the voxel centres of a box."""
    ends = [(side.start, side.stop - 1) for side in box]
    points = pet.to_mm(np.array(np.meshgrid(*ends, indexing="ij"), float).reshape(3, -1).T)
    return points.min(axis=0), points.max(axis=0)


def _is_brain_sized(volume_ml: float, low: Floats, high: Floats, top: float) -> bool:
    size = high - low
    fits = all(minimum <= mm <= maximum for mm, (minimum, maximum) in zip(size, _BRAIN_MM, strict=True))
    return _BRAIN_ML[0] <= volume_ml <= _BRAIN_ML[1] and fits and bool(top - high[2] <= _VERTEX_MM)
