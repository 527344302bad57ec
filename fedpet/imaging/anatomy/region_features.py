"""Position of points in the body: distances from spine, lungs and diaphragm, organ, and what surrounds them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial import ConvexHull, QhullError

from fedpet.imaging.anatomy.aligned_images import find_lung_base
from fedpet.imaging.anatomy.body import LEFT, RIGHT
from fedpet.imaging.anatomy.morphology import GRID_MM, dilate
from fedpet.imaging.anatomy.structures import GROUPS, STRUCTURES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpet.imaging.anatomy.body import BodySegmentation
    from fedpet.imaging.anatomy.landmarks import Landmarks
    from fedpet.imaging.anatomy.morphology import Mask
    from fedpet.imaging.anatomy.organ_segmentation import OrganSegmentation

    Floats = NDArray[np.float64]
    Indices = NDArray[np.int_]


@dataclass(frozen=True, eq=False)
class PointFeatures:
    """Anatomical position of n points; every attribute has shape (n,).

    Attributes:
        level: slice index.
        left_mm: distance to the patient's left of the midline.
        posterior_mm: distance behind the middle of the vertebral column.
        above_lung_base_mm: height above the base of the lungs; NaN without lungs.
        organ: number of `fedpet.imaging.anatomy.structures.STRUCTURES`, 0 in none.
        in_lung: 1 or 2 within the convex hull of the right or left lung, 0 elsewhere.
        in_chest: within the convex hull of both lungs.
        in_rib_cage: within the convex hull of both lungs and their mirror images: also where a tumour or an effusion
            has replaced a lung.
        lung_reach_mm: largest distance of the lungs from the midline at this level; NaN without lungs.
    """

    level: Floats
    left_mm: Floats
    posterior_mm: Floats
    above_lung_base_mm: Floats
    organ: NDArray[np.uint8]
    in_lung: NDArray[np.int_]
    in_chest: Mask
    in_rib_cage: Mask
    lung_reach_mm: Floats

    def is_in(self, organ: str) -> Mask:
        """Which points lie in a structure or group (keys of `STRUCTURES` and `GROUPS`)."""
        return np.isin(self.organ, [STRUCTURES[name].number for name in GROUPS.get(organ, (organ,))])

    @property
    def lateral_mm(self) -> Floats:
        """Distance from the midline, mm."""
        return np.abs(self.left_mm)


@dataclass(frozen=True, eq=False)
class RegionFeatureExtractor:
    """Describes the position of points in the body of one patient.

    Attributes:
        body: of the CT.
        organs: of the same CT.
        landmarks: of the same CT.
    """

    body: BodySegmentation
    organs: OrganSegmentation
    landmarks: Landmarks

    @cached_property
    def _lung_base(self) -> Floats | None:
        return find_lung_base(self.body.lungs)

    @cached_property
    def _lung_reach_mm(self) -> Floats:
        """Largest distance of the lungs from the midline in every slice, mm; above them that of their highest slice.

        Below the widest slice it remains constant: there the lungs end on the diaphragm, not at the ribs.
        """
        distance = np.abs(np.arange(self.body.lungs.shape[2]) - self.body.midline[:, None]) * GRID_MM
        reach = np.where((self.body.lungs > 0).any(axis=1), distance, 0).max(axis=1)
        with_lung = np.flatnonzero(reach)
        if not len(with_lung):
            return np.full(len(reach), np.nan)
        reach[: reach.argmax()] = reach.max()
        reach[with_lung[-1] :] = reach[with_lung[-1]]
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

    def features_at(self, points: Indices) -> PointFeatures:
        """Describe points given as voxels of the coarse grid, shape (n, 3), `[slice, row, column]`."""
        level, row, column = points.T
        in_lung, in_chest, in_rib_cage = self._hulls(points)
        base = self._lung_base
        above = np.full(len(points), np.nan) if base is None else (level - base[row, column]) * GRID_MM
        return PointFeatures(
            level=level.astype(float),
            left_mm=(column - self.body.midline[level]) * GRID_MM,
            posterior_mm=(row - self.body.vertebral_row[level]) * GRID_MM,
            above_lung_base_mm=above,
            organ=self.organs.labels.array[level, row, column],
            in_lung=in_lung,
            in_chest=in_chest,
            in_rib_cage=in_rib_cage,
            lung_reach_mm=self._lung_reach_mm[level],
        )

    def _hulls(self, points: Indices) -> tuple[NDArray[np.int_], Mask, Mask]:
        """`in_lung`, `in_chest` and `in_rib_cage` of the points."""
        in_lung, in_chest, in_rib_cage = np.zeros(len(points), int), *np.zeros((2, len(points)), bool)
        for level in np.unique(points[:, 0]):
            at_level = points[:, 0] == level
            lungs, in_slice = self.body.lungs[level], points[at_level, 1:]
            both = np.argwhere(lungs)
            mirrored = both * [1, -1] + [0, 2 * self.body.midline[level]]
            in_chest[at_level] = _in_hull(both, in_slice)
            in_rib_cage[at_level] = _in_hull(np.concatenate([both, mirrored]), in_slice)
            sides = [_in_hull(np.argwhere(lungs == side), in_slice) for side in (RIGHT, LEFT)]
            in_lung[at_level] = np.select(sides, [RIGHT, LEFT])
        return in_lung, in_chest, in_rib_cage

    def surroundings(self, points: Indices) -> tuple[float, float]:
        """Share of lung and share of bone in the layer of 8 mm around a lesion, given as voxels, shape (n, 3)."""
        low = np.maximum(points.min(axis=0) - 3, 0)
        box = tuple(slice(a, b) for a, b in zip(low, points.max(axis=0) + 4, strict=True))
        lung, bone = self.body.lungs[box] > 0, self.body.bone[box]
        lesion = np.zeros(lung.shape, bool)
        lesion[tuple((points - low).T)] = True
        layer = dilate(lesion, 5) & ~lesion
        return float(lung[layer].mean()), float(bone[layer].mean())


def _in_hull(corners: NDArray[Any], points: Indices) -> Mask:
    """Which points (n, 2) lie in the convex hull of corners (m, 2)."""
    try:
        hull = ConvexHull(corners)
    except (QhullError, ValueError):  # fewer than three corners, or all on one line
        return np.zeros(len(points), bool)
    return np.asarray((points @ hull.equations[:, :2].T + hull.equations[:, 2] <= 0.5).all(axis=1))
