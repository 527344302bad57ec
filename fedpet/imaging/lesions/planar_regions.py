"""Regions that a reader drew in planes, brought onto a PET: what DICOM SEG and RT Structure Sets have in common.

Each plane of a drawing stands for a slab, as thick as the planes of the image it was drawn on are apart. A PET voxel
belongs to the drawing if its centre lies in a slab and inside what is drawn there. Gaps between planes are not filled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydicom.dataset import Dataset

from fedpet.core.errors import SeriesNotFoundError, SliceGeometryError, UnreadableStudyError
from fedpet.core.messages import Message
from fedpet.imaging.dicom.headers.attributes import text, without_identity
from fedpet.imaging.lesions.mask_origin import refers_to

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from fedpet.imaging.lesions.mask_audit import MaskFormat, RegionAudit
    from fedpet.imaging.study import PetCtStudy
    from fedpet.imaging.volume import Volume

_NUDGE_MM = 1e-6  # a centre on an edge falls on one side of it, whatever the rounding
_NEARLY = 1e-3  # voxels, by which a centre may seem to lie outside a box
_NEIGHBOURS = 1.5  # planes farther apart than this many steps have a gap between them
_SAME_PLANE_MM = 0.1
_FEW_PLANES, _SHORT_MM = 3, 15.0  # a lesion cut in two has a gap of this at most
_ALONG = 0.9  # cosine between a normal and the axis of a grid that it follows


@dataclass(frozen=True, eq=False)
class ContourPlane:
    """What is drawn in one plane.

    Attributes:
        outline: (n, 3) LPS mm in the plane; the drawing lies between them.
        inside: which of (m, 3) LPS mm are inside the drawing, whatever their height above the plane; (m,) bool.
    """

    outline: NDArray[np.float64]
    inside: Callable[[NDArray[np.float64]], NDArray[np.bool_]]


@dataclass(frozen=True, eq=False)
class DrawnRegion:
    """One region of a mask.

    Attributes:
        voxels: flat indices (C order) of the PET's voxels inside, each once.
        audit: how it was drawn; its `ml` is not known yet.
        label: its number in the mask; 0: numbered in the order of the regions that have an area.
    """

    voxels: NDArray[np.intp]
    audit: RegionAudit
    label: int = 0


@dataclass(frozen=True, eq=False)
class DrawnMask:
    """The regions of a DICOM mask that are taken, and the names of those that are not."""

    format: MaskFormat
    regions: tuple[DrawnRegion, ...]
    left_out: tuple[str, ...]


def rasterize(
    drawn: Sequence[ContourPlane], pet: Volume, *, normal: NDArray[np.float64], step: float
) -> NDArray[np.intp]:
    """The PET voxels whose centres lie inside a drawing, as flat indices (C order), each once.

    Args:
        drawn: planes at different heights along the normal.
        pet: the grid.
        normal: (3,), unit vector across the planes.
        step: distance between the planes of the image drawn on, mm.
    """
    if not drawn:
        return np.zeros(0, np.intp)
    ordered = sorted(drawn, key=lambda plane: float(plane.outline[0] @ normal))
    lows, highs = slab_faces(np.array([plane.outline[0] @ normal for plane in ordered]), step)
    return np.concatenate([_slab(*slab, pet, normal) for slab in zip(ordered, lows, highs, strict=True)])


def slab_faces(levels: NDArray[np.float64], step: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper face, mm, of the slabs that planes at ascending `levels` stand for; neighbours meet half-way."""
    gaps = np.diff(levels)
    halves = np.where(gaps < _NEIGHBOURS * step, gaps, step) / 2
    return levels - np.append(step / 2, halves), levels + np.append(halves, step / 2)


def empty_planes(outlines: Sequence[NDArray[np.float64]], normal: NDArray[np.float64], step: float) -> tuple[int, int]:
    """Planes without a drawing between two with one: all of them, and those that may cut one lesion in two.

    The latter lie between drawings whose bounds overlap across the planes, at most 3 planes or 15 mm apart.

    Args:
        outlines: (n, 3) LPS mm each, one of each part drawn in a plane.
        normal: (3,), unit vector across the planes.
        step: distance between the planes of the image drawn on, mm.
    """
    levels = np.array([points[0] @ normal for points in outlines])
    distinct = np.array([levels[together].mean() for together in same_plane(levels)])
    flat = [points - np.outer(points @ normal, normal) for points in outlines]
    lows, highs = (np.array([bound(points, axis=0) for points in flat]) for bound in (np.min, np.max))
    cuts: dict[tuple[int, int], int] = {}
    for number, level in enumerate(levels):
        above = (levels > level + step / 2) & (lows <= highs[number]).all(axis=1) & (highs >= lows[number]).all(axis=1)
        if above.any():
            distance = float(levels[above].min() - level)
            missing = _missing(distance, step)
            if missing and (missing <= _FEW_PLANES or distance <= _SHORT_MM):
                cuts[round(level / step * 4), round((level + distance) / step * 4)] = missing
    return sum(_missing(float(gap), step) for gap in np.diff(distinct)), sum(cuts.values())


def _missing(distance: float, step: float) -> int:
    """Planes left out between two that are `distance` apart."""
    return max(1, round(distance / step) - 1) if distance >= _NEIGHBOURS * step else 0


def _slab(plane: ContourPlane, low: float, high: float, pet: Volume, normal: NDArray[np.float64]) -> NDArray[np.intp]:
    level = plane.outline[0] @ normal
    corners = pet.to_index(np.concatenate([plane.outline + (face - level) * normal for face in (low, high)]))
    first = np.clip(np.ceil(corners.min(axis=0) - _NEARLY), 0, pet.shape).astype(int)
    end = np.clip(np.floor(corners.max(axis=0) + _NEARLY) + 1, 0, pet.shape).astype(int)
    index = np.stack(np.meshgrid(*map(np.arange, first, end), indexing="ij"), axis=-1).reshape(-1, 3)
    centres = pet.to_mm(index.astype(float)) + _NUDGE_MM
    within = (low <= centres @ normal) & (centres @ normal < high)
    index = index[within][plane.inside(centres[within])]
    return np.asarray(np.ravel_multi_index(tuple(index.T), pet.shape))


def same_plane(heights: NDArray[np.float64]) -> list[NDArray[np.intp]]:
    """Indices of the heights (mm) that are one plane, plane by plane."""
    order = np.argsort(heights, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(heights[order]) > _SAME_PLANE_MM) + 1)


def usual_step(regions: Iterable[NDArray[np.float64]], declared: float | None) -> float | None:
    """Distance between neighbouring planes, from their heights (mm) in each region; None where all have one plane.

    A lesion drawn on every second slice alone would look like thick slices: a smaller spacing that is declared counts.
    """
    gaps = np.concatenate([np.diff(np.sort(heights)) for heights in regions])
    gaps = gaps[gaps > _SAME_PLANE_MM]
    if not len(gaps):
        return declared
    usual = float(np.median(gaps[gaps < _NEIGHBOURS * gaps.min()]))
    return min(usual, declared) if declared else usual


def step_of_source(dataset: Dataset, study: PetCtStudy | None, normal: NDArray[np.float64]) -> float | None:
    """Distance between the planes, mm along the normal, of the study's series that the object refers to.

    None where it refers to none, or where the planes follow none of its axes.
    """
    if study is None:
        return None
    for modality, volume in (("PT", study.pet), ("CT", study.ct)):
        if volume is not None and refers_to(dataset, study.source_uids.get(modality, ())):
            return step_along(volume, normal)
    return None


def step_along(volume: Volume, normal: NDArray[np.float64]) -> float | None:
    """Distance between the planes of a grid, mm along the normal; None where it follows none of the grid's axes."""
    along = np.abs(normal @ volume.affine[:3, :3])
    axis = int(np.argmax(along / volume.spacing))
    return float(along[axis]) if along[axis] >= _ALONG * volume.spacing[axis] else None


def labelled(drawings: Sequence[tuple[int, NDArray[np.intp]]], pet: Volume) -> Volume:
    """uint16 labels on the PET grid from (label, flat indices); where drawings overlap, the smaller one is kept whole.

    Raises:
        SliceGeometryError: no voxel is inside any of them.
    """
    labels = np.zeros(pet.array.size, np.uint16)
    for label, inside in sorted(drawings, key=lambda drawing: -len(drawing[1])):
        labels[inside] = label
    if not labels.any():
        raise outside_the_pet()
    return pet.like(labels.reshape(pet.shape), "label")


def match_names(names: Sequence[str], wanted: Sequence[str], dataset: Dataset) -> list[int]:
    """Indices of the drawings that bear one of the wanted names, in any case.

    Raises:
        SeriesNotFoundError: a wanted name is not there; the names found are told, the patient's blotted out of them.
    """
    asked = {name.strip().casefold() for name in wanted}
    held = [name.strip().casefold() for name in names]
    if missing := asked - set(held):
        raise SeriesNotFoundError(
            found=Message(
                "{n} of the names asked for are not in the mask. It holds: {names}.",
                n=len(missing),
                names=", ".join(names_without_patient(names, dataset)),
            ),
            needed=Message("Names of regions that the mask holds."),
            advice=Message("Choose among these names, or ask for none."),
        )
    return [index for index, name in enumerate(held) if name in asked]


def outside_the_pet() -> SliceGeometryError:
    """The refusal of a mask that shares no voxel with the PET."""
    return SliceGeometryError(
        found=Message("No voxel of the mask lies within the PET."),
        needed=Message("The mask must be drawn on this examination."),
        advice=Message("Export the mask again from the same PET or CT series."),
    )


def nothing_drawn() -> UnreadableStudyError:
    """The refusal of a DICOM object without a region to take."""
    return UnreadableStudyError(
        found=Message("Nothing is drawn in the mask, or only outlines of the body and of devices."),
        needed=Message("A DICOM SEG with a segment, or an RT Structure Set with closed planar contours."),
        advice=Message("Export the lesions again; a region of another kind can be chosen by its name."),
    )


def names_without_patient(names: Sequence[str], dataset: Dataset) -> list[str]:
    """Names of regions with the patient's name and identifier blotted out."""
    told = []
    for name in names:
        shown = Dataset()
        shown.PatientName, shown.PatientID = text(dataset, "PatientName"), text(dataset, "PatientID")
        shown.SeriesDescription = name
        told.append(str(without_identity(shown).SeriesDescription))
    return told
