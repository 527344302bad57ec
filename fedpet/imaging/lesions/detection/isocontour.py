"""Lesions outlined at a fraction of their own maximum: 41 %, or the one that lies at their edge.

The fraction applies to the maximum of each lesion: a faint lesion next to a hot one has its own contour. Two maxima
belong to one lesion where the contour of the higher one reaches the lower one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from fedpet.imaging.lesions.detection.levels import (
    MAXIMUM_SHARE,
    adaptive_fraction,
    steepest_fraction,
    surroundings,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpet.imaging.lesions.detection.levels import Level
    from fedpet.imaging.volume import Volume

    Labels = NDArray[np.int32]
    Mask = NDArray[np.bool_]
    Box = tuple[slice, ...]

_WHERE_THAT_LEAKS = (MAXIMUM_SHARE, 0.5, 0.6, 0.7, 0.8, 0.9)
_MAX_DISTANCE_MM = 15.0  # a contour that extends farther from its candidate has leaked
_NEIGHBOURHOOD = np.ones((3, 3, 3), bool)


def isocontour(
    pet: Volume, basins: Labels, lesions: Mask, *, level: Level = "41pct", faint: Mask | None = None
) -> Labels:
    """Outline the lesions among the basins of a watershed.

    Each voxel within 15 mm of a basin belongs to the nearest one. From the highest maximum down, a lesion is the
    connected part above its level among the voxels of the basins that no higher lesion has reached. Where that part
    extends beyond 15 mm, as it does where 41 % is less than the background, the level is raised.

    "41pct" is that share of the maximum, "gradient" and "adaptive" are described in
    `fedpet.imaging.lesions.detection.levels`. Those two look for an edge, which is not the same all around a large
    tumour of uneven uptake: lower maxima that belong to the lesion add what lies within their own level.

    Args:
        pet: SUVbw, g/ml.
        basins: by number from 1, 0 is background, on the PET grid.
        lesions: shape (n,), which of the basins 1 to n are lesions.
        level: how the SUV at the edge is found.
        faint: shape (n,), basins that are neither lesions nor uptake of an organ: a contour may extend over them.

    Returns:
        For each voxel the basin in whose contour it lies, 0 outside every contour; shape of the PET.
    """
    numbers = np.flatnonzero(lesions) + 1
    assigned = np.zeros(basins.shape, np.int32)
    if not len(numbers):
        return assigned
    candidates = _Candidates(pet, basins, numbers, level)
    free = np.concatenate([[False], lesions])
    passable = free if faint is None else free | np.concatenate([[False], faint])
    maxima = candidates.maxima
    for i in np.argsort(-candidates.suv_max, kind="stable"):
        if not free[numbers[i]]:
            continue
        part = assigned[candidates.box(i)]
        part[candidates.outline(i, passable) & (part == 0)] = numbers[i]
        reached = np.flatnonzero((assigned[tuple(maxima.T)] == numbers[i]) & free[numbers])
        if level != "41pct":
            for j in reached[reached != i]:
                part[candidates.within_own_level(j) & (part == 0)] = numbers[i]
        free[numbers[reached]] = False
        passable[numbers[reached]] = False
    return assigned


class _Candidates:
    """Basins of lesions on their PET, with where each may extend to."""

    def __init__(self, pet: Volume, basins: Labels, numbers: NDArray[np.intp], level: Level) -> None:
        self.pet, self.numbers, self.level = pet, numbers, level
        self.zones = _nearest_basins(pet, basins)
        self.maxima = _maxima(pet, basins, numbers)
        self.suv_max = pet.array[tuple(self.maxima.T)]
        self._islands = ndimage.label(self.zones > 0, structure=_NEIGHBOURHOOD)[0]
        self._boxes: list[Box] = [
            tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box)
            for box in ndimage.find_objects(self._islands)
        ]

    def box(self, i: int) -> Box:
        """Of everything that is connected with a candidate."""
        return self._boxes[int(self._islands[tuple(self.maxima[i])]) - 1]

    def outline(self, i: int, passable: Mask) -> Mask:
        """The lesion around a maximum, at the lowest fraction at which it stays within the zones, or the highest."""
        box, first = self.box(i), self._fraction(i)
        suv, zones = self.pet.array[box], self.zones[box]
        for fraction in (first, *(one for one in _WHERE_THAT_LEAKS if one > first)):
            above = suv >= fraction * self.suv_max[i]
            inside = self._connected(i, above & passable[zones])
            if not (ndimage.binary_dilation(inside, _NEIGHBOURHOOD) & above & (zones == 0)).any():
                break
        return inside

    def within_own_level(self, i: int) -> Mask:
        """What is connected with a maximum above its level in its own zone."""
        box = self.box(i)
        above = self.pet.array[box] >= self._fraction(i) * self.suv_max[i]
        return self._connected(i, above & (self.zones[box] == self.numbers[i]))

    def _connected(self, i: int, mask: Mask) -> Mask:
        parts = ndimage.label(mask, structure=_NEIGHBOURHOOD)[0]
        seed = tuple(self.maxima[i] - [side.start for side in self.box(i)])
        return np.asarray(parts == parts[seed])

    def _fraction(self, i: int) -> float:
        """Of the maximum, at the edge."""
        if self.level == "41pct":
            return MAXIMUM_SHARE
        box = self.box(i)
        suv, zone = self.pet.array[box], self.zones[box] == self.numbers[i]
        if self.level == "gradient":
            return steepest_fraction(suv, zone, float(self.suv_max[i]), self.pet.spacing)
        inside = float((suv[zone] >= MAXIMUM_SHARE * self.suv_max[i]).sum()) * self.pet.voxel_ml
        background = float(surroundings(self.pet, self.maxima[i][None], np.array([inside]))[0])
        return adaptive_fraction(suv[zone], background, self.pet.spacing)


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
