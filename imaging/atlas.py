"""Places of one body: their distances from spine, lungs and diaphragm, their organ, and what surrounds them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial import ConvexHull, QhullError

from imaging.anatomy import LEFT, RIGHT
from imaging.coarse import COARSE_MM, dilated
from imaging.organs import ORGANS
from imaging.scene import lung_floor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imaging.anatomy import Anatomy
    from imaging.coarse import Mask
    from imaging.landmarks import Landmarks
    from imaging.organs import Organs

    Floats = NDArray[np.float64]
    Places = NDArray[np.int_]


@dataclass(frozen=True, eq=False)
class Spots:
    """What is known of n places.

    Attributes:
        level: slice, shape (n,), as all others.
        left: mm to the patient's left of the middle.
        behind: mm behind the middle of the vertebral column.
        above: mm above the base of the lungs; NaN without lungs.
        organ: value of `ORGANS`.
        in_lung: 1 or 2 within the convex outline of the right or left lung, 0 elsewhere.
        in_chest: within the convex outline of both lungs.
        in_cage: within that of the lungs and their mirror images: also where a tumour or fluid takes a lung's place.
        reach: largest distance of the lungs from the middle at this height, mm; NaN without lungs.
    """

    level: Floats
    left: Floats
    behind: Floats
    above: Floats
    organ: NDArray[np.uint8]
    in_lung: NDArray[np.int_]
    in_chest: Mask
    in_cage: Mask
    reach: Floats

    def within(self, organ: str) -> Mask:
        """Which places an organ has."""
        return np.asarray(self.organ == ORGANS[organ])

    @property
    def aside(self) -> Floats:
        """Distance from the patient's middle, mm."""
        return np.abs(self.left)


@dataclass(frozen=True, eq=False)
class Atlas:
    """The body of one patient."""

    anatomy: Anatomy
    organs: Organs

    @property
    def landmarks(self) -> Landmarks:
        """Heights."""
        return self.organs.landmarks

    @cached_property
    def _floor(self) -> Floats | None:
        return lung_floor(self.anatomy.lungs)

    @cached_property
    def _reach(self) -> Floats:
        """Largest distance of the lungs from the middle in every slice, mm; above them that of their last slice.

        Below the widest slice it stays what it is there: the lungs end on the diaphragm, not at the ribs.
        """
        away = np.abs(np.arange(self.anatomy.lungs.shape[2]) - self.anatomy.middle[:, None]) * COARSE_MM
        reach = np.where((self.anatomy.lungs > 0).any(axis=1), away, 0).max(axis=1)
        known = np.flatnonzero(reach)
        if not len(known):
            return np.full(len(reach), np.nan)
        reach[: reach.argmax()] = reach.max()
        reach[known[-1] :] = reach[known[-1]]
        return np.asarray(reach, float)

    @cached_property
    def kidney_tops(self) -> dict[int, int]:
        """Highest slice of each kidney that was found, by side."""
        tops = {}
        for side, name in ((RIGHT, "kidney_right"), (LEFT, "kidney_left")):
            levels = np.flatnonzero(self.organs.mask(name).any(axis=(1, 2)))
            if len(levels):
                tops[side] = int(levels[-1])
        return tops

    def spots(self, places: Places) -> Spots:
        """Look places (n, 3) up, `[slice, row, column]` of the coarse grid."""
        level, row, column = places.T
        in_lung, in_chest, in_cage = self._hulls(places)
        above = np.full(len(places), np.nan) if self._floor is None else (level - self._floor[row, column]) * COARSE_MM
        return Spots(
            level=level.astype(float),
            left=(column - self.anatomy.middle[level]) * COARSE_MM,
            behind=(row - self.anatomy.back[level]) * COARSE_MM,
            above=above,
            organ=self.organs.labels.array[level, row, column],
            in_lung=in_lung,
            in_chest=in_chest,
            in_cage=in_cage,
            reach=self._reach[level],
        )

    def _hulls(self, places: Places) -> tuple[NDArray[np.int_], Mask, Mask]:
        """`in_lung`, `in_chest` and `in_cage` of the spots at these places."""
        in_lung, in_chest, in_cage = np.zeros(len(places), int), *np.zeros((2, len(places)), bool)
        for level in np.unique(places[:, 0]):
            here = places[:, 0] == level
            lungs, points = self.anatomy.lungs[level], places[here, 1:]
            both = np.argwhere(lungs)
            mirrored = both * [1, -1] + [0, 2 * self.anatomy.middle[level]]
            in_chest[here] = _in_hull(both, points)
            in_cage[here] = _in_hull(np.concatenate([both, mirrored]), points)
            own = [_in_hull(np.argwhere(lungs == side), points) for side in (RIGHT, LEFT)]
            in_lung[here] = np.select(own, [RIGHT, LEFT])
        return in_lung, in_chest, in_cage

    def around(self, places: Places) -> tuple[float, float]:
        """Shares of lung and of bone in the layer of 8 mm around the voxels at these places."""
        low = np.maximum(places.min(axis=0) - 3, 0)
        box = tuple(slice(a, b) for a, b in zip(low, places.max(axis=0) + 4, strict=True))
        lung, bone = self.anatomy.lungs[box] > 0, self.anatomy.bone[box]
        lesion = np.zeros(lung.shape, bool)
        lesion[tuple((places - low).T)] = True
        layer = dilated(lesion, 5) & ~lesion
        return float(lung[layer].mean()), float(bone[layer].mean())


def _in_hull(corners: NDArray[Any], points: Places) -> Mask:
    """Which points (n, 2) lie in the convex outline of corners (m, 2)."""
    try:
        hull = ConvexHull(corners)
    except (QhullError, ValueError):  # fewer than three places that span an area
        return np.zeros(len(points), bool)
    return np.asarray((points @ hull.equations[:, :2].T + hull.equations[:, 2] <= 0.5).all(axis=1))
