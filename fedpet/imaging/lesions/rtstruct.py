"""Regions drawn as contours: DICOM RT Structure Set (PS3.3 C.8.8.5, C.8.8.6, C.8.8.8).

A voxel belongs to a region if its centre is inside what the contours of the region draw in that plane;
`fedpet.imaging.lesions.contours` says how they are combined.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fedpet.core.errors import UnreadableStudyError
from fedpet.core.messages import Message
from fedpet.imaging.dicom.headers.attributes import number, numbers, text
from fedpet.imaging.lesions.contours import Contour, PlanarArea, clean_outline, combine
from fedpet.imaging.lesions.mask_audit import RegionAudit, dropped_kinds
from fedpet.imaging.lesions.mask_origin import require_same_examination
from fedpet.imaging.lesions.planar_regions import (
    ContourPlane,
    DrawnMask,
    DrawnRegion,
    empty_planes,
    match_names,
    names_without_patient,
    nothing_drawn,
    rasterize,
    same_plane,
    slab_faces,
    step_along,
    step_of_source,
    usual_step,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from fedpet.imaging.study import PetCtStudy
    from fedpet.imaging.volume import Volume

_XOR = "CLOSEDPLANAR_XOR"
_CLOSED = frozenset(("CLOSED_PLANAR", _XOR))
_OPEN = frozenset(("OPEN_PLANAR", "OPEN_NONPLANAR", "POINT"))
# RT ROI Interpreted Type (PS3.3 C.8.8.8.1)
_MARGINS = frozenset(("CTV", "PTV", "TREATED_VOLUME", "IRRAD_VOLUME"))  # around a GTV
_DEVICES = frozenset(("EXTERNAL", "BOLUS", "SUPPORT", "FIXATION", "REGISTRATION", "MARKER", "ISOCENTER", "CONTROL"))
_ORGANS = frozenset(("ORGAN", "AVOIDANCE", "CAVITY", "CONTRAST_AGENT"))
_BODY = frozenset(("body", "external", "skin", "couch"))  # names of outlines that bear no type
_FLAT_MM = 0.5
_PARALLEL = 0.999  # cosine between normals


@dataclass(frozen=True, eq=False)
class RtRoi:
    """One ROI and its contours.

    Attributes:
        kind: RT ROI Interpreted Type, "" where absent.
        frame: Referenced Frame of Reference UID, "" where absent.
        closed: items of Contour Sequence that are closed planar contours of three points and more, as (n, 3) LPS mm.
        exclusive: one of them at least is a CLOSEDPLANAR_XOR.
        dropped: the other items, by reason.
        miscounted: closed contours that announce another number of points than they hold.
        spacing: of the planes drawn on, mm, where the ROI gives it (PS3.3 C.8.8.6.4).
        thickness: Contour Slab Thickness, mm, where given.
    """

    name: str
    kind: str
    frame: str
    closed: tuple[NDArray[np.float64], ...]
    exclusive: bool
    dropped: Counter[str]
    miscounted: int
    spacing: float | None
    thickness: float | None


@dataclass(frozen=True, eq=False)
class _Drawing:
    """The areas of one ROI, plane by plane from below, and across which axes they lie."""

    roi: RtRoi
    axes: NDArray[np.float64]  # (3, 3): two unit vectors in the planes, and their normal
    heights: NDArray[np.float64]  # of the planes, ascending
    areas: tuple[PlanarArea, ...]
    dropped: Counter[str]
    repeats: int  # contours that run around twice or more

    @property
    def normal(self) -> NDArray[np.float64]:
        """(3,), unit vector across the planes."""
        return np.asarray(self.axes[2])

    def outline(self, index: int, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 3) LPS mm of points (n, 2) of a plane."""
        return np.asarray(points @ self.axes[:2] + self.heights[index] * self.normal)


def read_structures(
    dataset: Dataset, pet: Volume, *, study: PetCtStudy | None = None, rois: Sequence[str] | None = None
) -> DrawnMask:
    """The regions of an RT Structure Set as voxels of the PET, in the order of the object.

    Args:
        dataset: the RT Structure Set.
        pet: the grid wanted.
        study: tells the frame of reference and the images drawn on; without it, only the overlap is checked.
        rois: names of the regions to take, in any case. By default the lesions: see `select_lesion_rois`.

    Raises:
        UnreadableStudyError: nothing is drawn, or contours are damaged or not planar.
        SeriesNotFoundError: a name of `rois` is not there, or the object states another patient.
        SliceGeometryError: drawn on another examination.
    """
    found = _rois(dataset)
    names = names_without_patient([roi.name for roi in found], dataset)
    lesions = select_lesion_rois(found)
    taken = (
        match_names([roi.name for roi in found], rois, dataset)
        if rois
        else [index for index, roi in enumerate(found) if roi in lesions]
    )
    require_same_examination(dataset, {found[index].frame for index in taken} - {""}, study)
    drawings = {index: _drawing(found[index], pet) for index in taken}
    if not any(drawing.areas for drawing in drawings.values()):
        raise _nothing_closed(drawings.values())
    regions = []
    for index, drawing in drawings.items():
        step = _step(drawing, list(drawings.values()), step_of_source(dataset, study, drawing.normal), pet)
        planes = [_plane(drawing, level) for level in range(len(drawing.areas))]
        voxels = rasterize(planes, pet, normal=drawing.normal, step=step)
        regions.append(DrawnRegion(voxels, _audit(names[index], drawing, step)))
    left_out = [*(name for index, name in enumerate(names) if index not in drawings), *_unnamed(dataset)]
    return DrawnMask("RTSTRUCT", tuple(regions), tuple(left_out))


def select_lesion_rois(rois: Sequence[RtRoi]) -> list[RtRoi]:
    """The regions that are lesions, as their types tell.

    Devices and the outline of the body are left out; organs too, unless nothing else is there; the margins CTV and PTV
    where a GTV is there, and PTV where a CTV is there; points.
    """
    kept = [roi for roi in rois if roi.kind not in _DEVICES and roi.name.casefold() not in _BODY]
    kept = [roi for roi in kept if roi.closed or set(roi.dropped) != {"POINT"}]
    kept = [roi for roi in kept if roi.kind not in _ORGANS] or kept
    kinds = {roi.kind for roi in kept if roi.closed}
    around = _MARGINS if "GTV" in kinds else _MARGINS - {"CTV"} if "CTV" in kinds else frozenset()
    return [roi for roi in kept if roi.kind not in around]


def _rois(dataset: Dataset) -> list[RtRoi]:
    """The ROIs that have a contour, in the order of the object."""
    drawn = _drawn(dataset)
    kinds = {
        text(item, "ReferencedROINumber"): text(item, "RTROIInterpretedType").upper()
        for item in dataset.get("RTROIObservationsSequence") or ()
    }
    rois = []
    for item in dataset.get("StructureSetROISequence") or ():
        roi = text(item, "ROINumber")
        if roi in drawn:
            frame = text(item, "ReferencedFrameOfReferenceUID") or text(dataset, "FrameOfReferenceUID")
            rois.append(_roi(text(item, "ROIName"), kinds.get(roi, ""), frame, drawn[roi]))
    return rois


def _drawn(dataset: Dataset) -> dict[str, list[Dataset]]:
    """The items of ROI Contour Sequence that have a contour, by the number of their ROI, which may have several."""
    drawn: dict[str, list[Dataset]] = {}
    for item in dataset.get("ROIContourSequence") or ():
        if item.get("ContourSequence"):
            drawn.setdefault(text(item, "ReferencedROINumber"), []).append(item)
    return drawn


def _unnamed(dataset: Dataset) -> list[str]:
    """Contours whose ROI the object does not list: they are no region, and are said to be left out."""
    listed = {text(item, "ROINumber") for item in dataset.get("StructureSetROISequence") or ()}
    return [f"ROI {roi[:8]}" for roi in _drawn(dataset) if roi not in listed]


def _roi(name: str, kind: str, frame: str, items: Sequence[Dataset]) -> RtRoi:
    """One ROI of its items of ROI Contour Sequence."""
    closed, dropped, miscounted = [], Counter[str](), 0
    contours = [contour for item in items for contour in item.ContourSequence]
    types = [text(contour, "ContourGeometricType").upper() for contour in contours]
    for contour, geometry in zip(contours, types, strict=True):
        if geometry not in _CLOSED:
            dropped[geometry if geometry in _OPEN else "UNKNOWN"] += 1
            continue
        points = _points(contour)
        announced = number(contour, "NumberOfContourPoints")
        miscounted += announced is not None and abs(announced - len(points)) > 1  # a closing point more or less
        if len(points) < 3:
            dropped["UNDER_3_POINTS"] += 1
        else:
            closed.append(points)
    planes = next((one for item in items for one in item.get("SourcePixelPlanesCharacteristicsSequence") or ()), None)
    return RtRoi(
        name=name,
        kind=kind,
        frame=frame,
        closed=tuple(closed),
        exclusive=_XOR in types,
        dropped=dropped,
        miscounted=miscounted,
        spacing=None if planes is None else number(planes, "SpacingBetweenSlices"),
        thickness=next((value for one in contours if (value := number(one, "ContourSlabThickness"))), None),
    )


def _points(contour: Dataset) -> NDArray[np.float64]:
    """(n, 3) LPS mm, in the middle of the contour's slab (PS3.3 C.8.8.6.2).

    Raises:
        UnreadableStudyError: a coordinate is not a finite number.
        ValueError: no list of points.
    """
    points = np.array(contour.get("ContourData") or (), float).reshape(-1, 3)
    offset = numbers(contour, "ContourOffsetVector") or (0.0, 0.0, 0.0)
    if not np.isfinite(points).all() or len(offset) != 3:
        raise _unreadable()
    return np.asarray(points + np.array(offset))


def _drawing(roi: RtRoi, pet: Volume) -> _Drawing:
    """What the closed contours of a ROI draw, plane by plane."""
    axes = _axes(roi.closed, pet)
    heights = np.array([points.mean(axis=0) @ axes[2] for points in roi.closed])
    dropped, repeats = Counter[str](roi.dropped), 0
    levels, areas = [], []
    for together in same_plane(heights) if len(heights) else ():
        contours = []
        for index in together:
            outline, rounds = clean_outline(roi.closed[index] @ axes[:2].T)
            contour = Contour(outline) if len(outline) >= 3 else None
            if contour is None or not contour.area:
                dropped["UNDER_3_POINTS" if contour is None else "NO_AREA"] += 1
            else:
                contours.append(contour)
                repeats += rounds
        if contours:
            levels.append(heights[together].mean())
            areas.append(combine(contours, exclusive=roi.exclusive))
    return _Drawing(roi, axes, np.array(levels), tuple(areas), dropped, repeats)


def _axes(contours: Sequence[NDArray[np.float64]], pet: Volume) -> NDArray[np.float64]:
    """(3, 3): two unit vectors in the plane of the contours and the normal, which is the PET's where they fit.

    Raises:
        UnreadableStudyError: the contours do not lie in parallel planes.
    """
    first, second = (pet.affine[:3, axis] / np.linalg.norm(pet.affine[:3, axis]) for axis in (0, 1))
    of_pet = np.stack([first, second, np.cross(first, second)])
    if not contours:
        return of_pet
    own = max(contours, key=len)
    directions = np.linalg.svd(own - own.mean(axis=0), full_matrices=False)[2]
    for axes in (of_pet, directions):
        if max(np.ptp(points @ axes[2]) for points in contours) <= _FLAT_MM:
            return axes
    raise _unreadable()


def _step(drawing: _Drawing, others: Sequence[_Drawing], of_source: float | None, pet: Volume) -> float:
    """Distance between the planes drawn on, mm; regions drawn in parallel planes tell it together."""
    parallel = [one.heights for one in others if len(one.heights) and abs(one.normal @ drawing.normal) > _PARALLEL]
    return (
        drawing.roi.spacing
        or of_source
        or (usual_step(parallel, None) if parallel else None)
        or drawing.roi.thickness
        or step_along(pet, drawing.normal)
        or min(pet.spacing)
    )


def _plane(drawing: _Drawing, index: int) -> ContourPlane:
    area, axes = drawing.areas[index], drawing.axes
    corners = np.concatenate([contour.points for contour in area.contours])
    return ContourPlane(drawing.outline(index, corners), lambda mm: area.contains(mm @ axes[:2].T))


def _audit(name: str, drawing: _Drawing, step: float) -> RegionAudit:
    areas = drawing.areas
    parts = [
        drawing.outline(index, contour.points)
        for index, area in enumerate(areas)
        for contour, depth in zip(area.contours, area.depths, strict=True)
        if depth % 2 == 0
    ]
    lows, highs = slab_faces(drawing.heights, step) if areas else (np.zeros(0), np.zeros(0))
    empty, gaps = empty_planes(parts, drawing.normal, step) if parts else (0, 0)
    return RegionAudit(
        name=name,
        planes=len(areas),
        drawn_ml=float(np.array([area.area for area in areas]) @ (highs - lows)) / 1000,
        contours=sum(len(area.contours) for area in areas),
        holes=sum(area.holes for area in areas),
        duplicates=drawing.repeats + sum(area.duplicates for area in areas),
        overlapping=sum(area.overlapping for area in areas),
        thin_rims=sum(area.thin_rims for area in areas),
        exclusive=drawing.roi.exclusive,
        dropped=sum(drawing.dropped.values()),
        dropped_kinds=dict(drawing.dropped),
        miscounted=drawing.roi.miscounted,
        self_crossing=_crossed(drawing),
        empty_planes=empty,
        gaps=gaps,
    )


def _crossed(drawing: _Drawing) -> tuple[str, ...]:
    """The planes that hold a contour that crosses itself, by the coordinate that changes most across them."""
    axis = int(np.argmax(np.abs(drawing.normal)))
    return tuple(
        f"{'xyz'[axis]} {drawing.outline(index, area.contours[0].points)[:, axis].mean():.1f} mm"
        for index, area in enumerate(drawing.areas)
        if any(contour.crosses_itself for contour in area.contours)
    )


def _nothing_closed(drawings: Iterable[_Drawing]) -> UnreadableStudyError:
    """The refusal of regions without an area: what they hold instead, if anything."""
    dropped = sum((drawing.dropped for drawing in drawings), Counter[str]())
    if not dropped:
        return nothing_drawn()
    return UnreadableStudyError(
        found=Message("No region of the mask has an area. It holds: {kinds}.", kinds=dropped_kinds(dropped)),
        needed=Message("Closed planar contours in parallel planes, in patient coordinates."),
        advice=Message("Close the contours and export the RT Structure Set again."),
    )


def _unreadable() -> UnreadableStudyError:
    return UnreadableStudyError(
        found=Message("A contour is damaged, or the contours do not lie in parallel planes."),
        needed=Message("Closed planar contours in parallel planes, in patient coordinates."),
        advice=Message("Export the RT Structure Set again."),
    )
