"""Lesions outlined at a fraction of their own maximum: 41 %, or the one at which uptake falls most steeply.

The fraction applies to the maximum of each lesion: a faint lesion next to a hot one has its own contour. Two maxima
belong to one lesion where the contour of the higher one reaches the lower one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fedpet.imaging.volume import Volume

    Labels = NDArray[np.int32]

THRESHOLD_FRACTIONS = (
    0.41,
    0.5,
    0.6,
    0.7,
    0.8,
    0.9,
)  # 41 % as in the EANM guidelines 2.0 (Boellaard 2015); the others where that leaks
_STEEPEST = np.arange(0.25, 0.81, 0.05)  # fractions among which the steepest is looked for
_LEVEL_WIDTH = 0.06  # of a level, relative to the maximum
_BLUR_MM = 2.7  # standard deviation of a PET of 6.5 mm FWHM: blur moves the steepest fall of a small lesion inwards
_MAX_DISTANCE_MM = 15.0  # a contour that extends farther from its candidate has leaked
_NEIGHBOURHOOD = np.ones((3, 3, 3), bool)


def isocontour(pet: Volume, basins: Labels, lesions: NDArray[np.bool_], *, steepest: bool = False) -> Labels:
    """Outline the lesions among the basins of a watershed.

    Each voxel within 15 mm of a basin belongs to the nearest one. From the highest maximum down, a lesion is the
    connected part of at least 41 % of its maximum among the voxels of the basins that no higher lesion has reached.
    Where that part extends beyond 15 mm, as it does where 41 % is less than the background, the fraction is raised.

    With `steepest` the fraction is that of the level at which the gradient is highest on average: the edge of a lesion
    in a blurred image, whatever its background (edge detection as in Geets 2007, Eur J Nucl Med Mol Imaging 34:1427).

    Args:
        pet: SUVbw, g/ml.
        basins: by number from 1, 0 is background, on the PET grid.
        lesions: shape (n,), which of the basins 1 to n are lesions.
        steepest: outline at the steepest level instead of 41 %.

    Returns:
        For each voxel the basin in whose contour it lies, 0 outside every contour; shape of the PET.
    """
    numbers = np.flatnonzero(lesions) + 1
    assigned = np.zeros(basins.shape, np.int32)
    if not len(numbers):
        return assigned
    zones = _nearest_basins(pet, basins)
    free = np.concatenate([[False], lesions])
    maxima = _maxima(pet, basins, numbers)
    suv_max = pet.array[tuple(maxima.T)]
    islands = ndimage.label(zones > 0, structure=_NEIGHBOURHOOD)[0]
    boxes = [
        tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box) for box in ndimage.find_objects(islands)
    ]
    for i in np.argsort(-suv_max, kind="stable"):
        if free[numbers[i]]:
            box = boxes[islands[tuple(maxima[i])] - 1]
            seed = tuple(maxima[i] - [side.start for side in box])
            fractions: tuple[float, ...] = THRESHOLD_FRACTIONS
            if steepest:
                first = _steepest_fraction(pet.array[box], zones[box] == numbers[i], suv_max[i], pet.spacing)
                fractions = (first, *(one for one in THRESHOLD_FRACTIONS if one > first))
            assigned[box][_outline_around(pet.array[box], zones[box], free, seed, fractions)] = numbers[i]
            free[numbers[assigned[tuple(maxima.T)] == numbers[i]]] = False
    return assigned


def _outline_around(
    suv: NDArray[np.float32],
    zones: Labels,
    free: NDArray[np.bool_],
    seed: tuple[int, ...],
    fractions: Sequence[float],
) -> NDArray[np.bool_]:
    """The lesion around a maximum, at the lowest fraction at which it stays within the zones, or the highest."""
    for fraction in fractions:
        above = suv >= fraction * suv[seed]
        parts = ndimage.label(above & free[zones], structure=_NEIGHBOURHOOD)[0]
        inside: NDArray[np.bool_] = parts == parts[seed]
        if not (ndimage.binary_dilation(inside, _NEIGHBOURHOOD) & above & (zones == 0)).any():
            break
    return inside


def _steepest_fraction(
    suv: NDArray[np.float32], zone: NDArray[np.bool_], maximum: float, spacing: tuple[float, ...]
) -> float:
    """Fraction of the maximum at the edge of a lesion: where uptake falls most steeply, on average over the level.

    In a blurred sphere of radius r that lies by blur^2 / r inside of the true edge; the fraction is lowered by what
    uptake falls on that way.
    """
    gradient = np.zeros(suv.shape)
    for axis, step in enumerate(spacing[::-1]):
        gradient += (np.gradient(suv, step, axis=axis) if suv.shape[axis] > 1 else 0.0) ** 2
    slope, level = np.sqrt(gradient[zone]), suv[zone] / maximum
    weights = np.exp(-(((level - _STEEPEST[:, None]) / _LEVEL_WIDTH) ** 2) / 2)
    steepness = (weights @ slope) / np.maximum(weights.sum(axis=1), 1e-6)
    best = int(steepness.argmax())
    radius = np.cbrt(3 * (level >= _STEEPEST[best]).sum() * np.prod(spacing) / (4 * np.pi))
    inwards = steepness[best] / maximum * _BLUR_MM**2 / max(float(radius), _BLUR_MM)
    return float(max(_STEEPEST[best] - inwards, _STEEPEST[0]))


def _maxima(pet: Volume, basins: Labels, numbers: NDArray[np.intp]) -> NDArray[np.intp]:
    """The hottest voxel of each numbered basin, shape (n, 3)."""
    hot = np.flatnonzero(basins)  # few voxels: sorting all of a volume takes half a second
    positions = ndimage.maximum_position(pet.array.ravel()[hot], basins.ravel()[hot], numbers)
    return np.stack(np.unravel_index(hot[np.array(positions, int).ravel()], basins.shape), axis=1)


def _nearest_basins(pet: Volume, basins: Labels) -> Labels:
    """The basin nearest to each voxel, 0 beyond 15 mm; computed in the box of what they reach."""
    steps = pet.spacing[::-1]
    reach = [int(_MAX_DISTANCE_MM / step) + 1 for step in steps]
    (whole,) = ndimage.find_objects((basins > 0).view(np.uint8))
    box = tuple(slice(max(side.start - r, 0), side.stop + r) for side, r in zip(whole, reach, strict=True))
    inside = basins[box]
    distance, nearest = ndimage.distance_transform_edt(inside == 0, sampling=steps, return_indices=True)
    zones = np.zeros_like(basins)
    zones[box] = np.where(distance <= _MAX_DISTANCE_MM, inside[tuple(nearest)], 0)
    return zones
