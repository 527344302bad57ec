"""Regions drawn as contours: DICOM RT Structure Set (PS3.3 C.8.8.5, C.8.8.6, C.8.8.8).

A voxel belongs to a region if its centre is inside by the even-odd rule over all contours of the region in that plane:
a contour inside another is a hole, and so is a keyhole (one contour that reaches its hole through a channel).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fedpet.errors import UnreadableStudy
from fedpet.messages import Message
from imaging.drawings import (
    Plane,
    labelled,
    named,
    nothing_drawn,
    require_same_examination,
    same_plane,
    step_of_source,
    usual_step,
    voxels,
)
from imaging.header import number, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from imaging.study import Study
    from imaging.volume import Volume

_CLOSED = frozenset(("CLOSED_PLANAR", "CLOSEDPLANAR_XOR"))
# RT ROI Interpreted Type (PS3.3 C.8.8.8.1)
_MARGINS = frozenset(("CTV", "PTV", "TREATED_VOLUME", "IRRAD_VOLUME"))  # around a GTV
_DEVICES = frozenset(("EXTERNAL", "BOLUS", "SUPPORT", "FIXATION", "REGISTRATION", "MARKER", "ISOCENTER", "CONTROL"))
_ORGANS = frozenset(("ORGAN", "AVOIDANCE", "CAVITY", "CONTRAST_AGENT"))
_BODY = frozenset(("body", "external", "skin", "couch"))  # names of outlines that bear no type
_FLAT_MM = 0.5


@dataclass(frozen=True, eq=False)
class Region:
    """One ROI and its closed planar contours.

    Attributes:
        kind: RT ROI Interpreted Type, "" where absent.
        frame: Referenced Frame of Reference UID, "" where absent.
        contours: items of Contour Sequence.
    """

    name: str
    kind: str
    frame: str
    contours: tuple[Dataset, ...]

    def points(self) -> tuple[NDArray[np.float64], ...]:
        """The contours of three points and more, each (n, 3) LPS mm.

        Raises:
            UnreadableStudy: a coordinate is not a finite number.
            ValueError: a contour is no list of points.
        """
        found = [np.array(contour.get("ContourData") or (), float).reshape(-1, 3) for contour in self.contours]
        if not all(np.isfinite(points).all() for points in found):
            raise _unreadable()
        return tuple(points for points in found if len(points) >= 3)


def read_structures(
    dataset: Dataset, pet: Volume, *, study: Study | None = None, rois: Sequence[str] | None = None
) -> Volume:
    """The regions of an RT Structure Set on the PET grid: uint16, numbered from 1 in the order of the object.

    Args:
        dataset: the RT Structure Set.
        pet: the grid wanted.
        study: tells the frame of reference and the images drawn on; without it, only the overlap is checked.
        rois: names of the regions to take, in any case. By default the lesions: see `lesion_regions`.

    Raises:
        UnreadableStudy: nothing is drawn, or contours are damaged or not planar.
        SeriesNotFound: a name of `rois` is not there.
        GeometryRefused: drawn on another examination, or beside the PET.
    """
    found = _regions(dataset)
    taken = [found[i] for i in named([one.name for one in found], rois, dataset)] if rois else lesion_regions(found)
    require_same_examination(dataset, {region.frame for region in taken if region.frame}, study)
    drawn = [contours for region in taken if (contours := region.points())]
    if not drawn:
        raise nothing_drawn()
    axes = _axes([points for contours in drawn for points in contours], pet)
    normal = axes[2]
    thickness = (number(contour, "ContourSlabThickness") for region in taken for contour in region.contours)
    step = (
        step_of_source(dataset, study, normal)
        or usual_step([_heights(contours, normal) for contours in drawn], None)
        or next(filter(None, thickness), None)
        or float(abs(pet.affine[:3, 2] @ normal))
    )
    return labelled(
        [
            (label, voxels(_planes(contours, axes), pet, normal=normal, step=step))
            for label, contours in enumerate(drawn, start=1)
        ],
        pet,
    )


def lesion_regions(regions: Sequence[Region]) -> list[Region]:
    """The regions that are lesions, as their types tell.

    Devices and the outline of the body are left out; organs too, unless nothing else is there; the margins CTV and PTV
    where a GTV is there, and PTV where a CTV is there.
    """
    kept = [region for region in regions if region.kind not in _DEVICES and region.name.casefold() not in _BODY]
    kept = [region for region in kept if region.kind not in _ORGANS] or kept
    kinds = {region.kind for region in kept}
    around = _MARGINS if "GTV" in kinds else _MARGINS - {"CTV"} if "CTV" in kinds else frozenset()
    return [region for region in kept if region.kind not in around]


def _regions(dataset: Dataset) -> list[Region]:
    """The ROIs that have a closed planar contour, in the order of the object."""
    drawn = {
        text(item, "ReferencedROINumber"): tuple(
            contour for contour in item.get("ContourSequence") or () if text(contour, "ContourGeometricType") in _CLOSED
        )
        for item in dataset.get("ROIContourSequence") or ()
    }
    kinds = {
        text(item, "ReferencedROINumber"): text(item, "RTROIInterpretedType").upper()
        for item in dataset.get("RTROIObservationsSequence") or ()
    }
    regions = []
    for item in dataset.get("StructureSetROISequence") or ():
        roi = text(item, "ROINumber")
        frame = text(item, "ReferencedFrameOfReferenceUID") or text(dataset, "FrameOfReferenceUID")
        regions.append(Region(text(item, "ROIName"), kinds.get(roi, ""), frame, drawn.get(roi, ())))
    return [region for region in regions if region.contours]


def _axes(contours: Sequence[NDArray[np.float64]], pet: Volume) -> NDArray[np.float64]:
    """(3, 3): two unit vectors in the plane of the contours and the normal, which is the PET's where they fit.

    Raises:
        UnreadableStudy: the contours do not lie in parallel planes.
    """
    first, second = (pet.affine[:3, axis] / np.linalg.norm(pet.affine[:3, axis]) for axis in (0, 1))
    own = max(contours, key=len)
    directions = np.linalg.svd(own - own.mean(axis=0), full_matrices=False)[2]
    for axes in (np.stack([first, second, np.cross(first, second)]), directions):
        if max(np.ptp(points @ axes[2]) for points in contours) <= _FLAT_MM:
            return axes
    raise _unreadable()


def _heights(contours: Sequence[NDArray[np.float64]], normal: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([points.mean(axis=0) @ normal for points in contours])


def _planes(contours: Sequence[NDArray[np.float64]], axes: NDArray[np.float64]) -> list[Plane]:
    """The contours of one region, plane by plane."""
    return [
        _plane([contours[index] for index in together], axes) for together in same_plane(_heights(contours, axes[2]))
    ]


def _plane(contours: Sequence[NDArray[np.float64]], axes: NDArray[np.float64]) -> Plane:
    starts = np.concatenate([points @ axes[:2].T for points in contours])
    ends = np.concatenate([np.roll(points, -1, axis=0) @ axes[:2].T for points in contours])
    return Plane(np.concatenate(contours), lambda mm: _even_odd(mm @ axes[:2].T, starts, ends))


def _even_odd(points: NDArray[np.float64], starts: NDArray[np.float64], ends: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points (m, 2) see an odd number of edges (n, 2) to their right, row by row of points.

    Edges are taken upwards, so that the two edges of a keyhole's channel are crossed at the very same place.
    """
    up = (starts[:, 1] <= ends[:, 1])[:, None]
    (low_x, low_y), (high_x, high_y) = np.where(up, starts, ends).T, np.where(up, ends, starts).T
    slope = (high_x - low_x) / np.where(high_y > low_y, high_y - low_y, 1.0)
    inside = np.empty(len(points), bool)
    rows, row_of_point, sizes = np.unique(points[:, 1], return_inverse=True, return_counts=True)
    members = np.split(np.argsort(row_of_point, kind="stable"), np.cumsum(sizes)[:-1])
    for y, row in zip(rows, members, strict=False):  # of no points, split makes one empty row
        crossed = (low_y <= y) & (y < high_y)
        edges = np.sort(low_x[crossed] + (y - low_y[crossed]) * slope[crossed])
        inside[row] = (len(edges) - np.searchsorted(edges, points[row, 0], side="right")) % 2 == 1
    return inside


def _unreadable() -> UnreadableStudy:
    return UnreadableStudy(
        found=Message("A contour is damaged, or the contours do not lie in parallel planes."),
        needed=Message("Closed planar contours in parallel planes, in patient coordinates."),
        advice=Message("Export the RT Structure Set again."),
    )
