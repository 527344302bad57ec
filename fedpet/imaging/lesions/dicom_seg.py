"""Regions of a DICOM Segmentation: binary, fractional and label map (PS3.3 C.8.20).

Frames are placed one by one by Plane Position (Patient), so that irregular or missing planes are no obstacle, and
sampled at the centres of the PET's voxels (nearest pixel).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydicom.pixels.utils import iter_pixels

from fedpet.core.errors import UnreadableStudyError
from fedpet.core.messages import Message
from fedpet.imaging.dicom.headers.attributes import number, numbers, text
from fedpet.imaging.lesions.mask_audit import RegionAudit
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
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from fedpet.imaging.study import PetCtStudy
    from fedpet.imaging.volume import Volume

_ANATOMY = frozenset(("123037004", "T-D000A"))  # Anatomical Structure, in SNOMED CT and in SNOMED RT
_BACKGROUND = 0  # of a label map


@dataclass(frozen=True, eq=False)
class _Frame:
    """What a frame holds of a segment, and its area, mm2."""

    plane: ContourPlane
    area: float


def read_segmentation(
    dataset: Dataset, pet: Volume, *, study: PetCtStudy | None = None, rois: Sequence[str] | None = None
) -> DrawnMask:
    """The segments of a DICOM SEG as voxels of the PET, each with its segment number.

    A fractional segment is where its value is at least half of Maximum Fractional Value.

    Args:
        dataset: the Segmentation, with its pixels.
        pet: the grid wanted.
        study: tells the frame of reference and the images drawn on; without it, only the overlap is checked.
        rois: labels of the segments to take, in any case. By default all, without those of the category
            Anatomical Structure unless nothing else is there.

    Raises:
        UnreadableStudyError: no segment holds a pixel, or the object is damaged.
        SeriesNotFoundError: a label of `rois` is not there, or the object states another patient.
        SliceGeometryError: drawn on another examination.
    """
    require_same_examination(dataset, {uid for uid in [text(dataset, "FrameOfReferenceUID")] if uid}, study)
    items = [item for item in dataset.SegmentSequence if item.SegmentNumber != _BACKGROUND]
    names = names_without_patient([text(item, "SegmentLabel") for item in items], dataset)
    taken = _chosen(items, rois, dataset)
    planes = _planes(dataset, taken)
    if not planes:
        raise _all_faint(dataset) if text(dataset, "SegmentationType") == "FRACTIONAL" else nothing_drawn()
    normal = _normal(dataset)
    heights = [np.array([frame.plane.outline[0] @ normal for frame in found]) for found in planes.values()]
    measures = _group(dataset, 0, "PixelMeasuresSequence")
    step = (
        step_of_source(dataset, study, normal)
        or usual_step(heights, number(measures, "SpacingBetweenSlices"))
        or number(measures, "SliceThickness")
        or step_along(pet, normal)
        or min(pet.spacing)
    )
    regions = [
        _region(planes.get(item.SegmentNumber, []), normal, step, pet, label=item.SegmentNumber, name=name)
        for item, name in zip(items, names, strict=True)
        if item.SegmentNumber in taken
    ]
    left_out = [name for item, name in zip(items, names, strict=True) if item.SegmentNumber not in taken]
    return DrawnMask("SEG", tuple(regions), tuple(left_out))


def _region(
    found: Sequence[_Frame], normal: NDArray[np.float64], step: float, pet: Volume, *, label: int, name: str
) -> DrawnRegion:
    """A segment of its frames; those in one plane are taken together."""
    if not found:
        return DrawnRegion(np.zeros(0, np.intp), RegionAudit(name=name, planes=0, drawn_ml=0.0), label)
    heights = np.array([frame.plane.outline[0] @ normal for frame in found])
    together = same_plane(heights)
    lows, highs = slab_faces(np.array([heights[index].mean() for index in together]), step)
    planes = [_union([found[index].plane for index in indices]) for indices in together]
    areas = [max(found[index].area for index in indices) for indices in together]
    empty, gaps = empty_planes([frame.plane.outline for frame in found], normal, step)
    audit = RegionAudit(
        name=name,
        planes=len(planes),
        drawn_ml=float(np.array(areas) @ (highs - lows)) / 1000,
        empty_planes=empty,
        gaps=gaps,
    )
    return DrawnRegion(rasterize(planes, pet, normal=normal, step=step), audit, label)


def _chosen(items: Sequence[Dataset], wanted: Sequence[str] | None, dataset: Dataset) -> set[int]:
    """Numbers of the segments to take."""
    if wanted:
        return {
            items[i].SegmentNumber for i in match_names([text(one, "SegmentLabel") for one in items], wanted, dataset)
        }
    lesions = {item.SegmentNumber for item in items if not _is_anatomy(item)}
    return lesions or {item.SegmentNumber for item in items}


def _is_anatomy(item: Dataset) -> bool:
    codes = item.get("SegmentedPropertyCategoryCodeSequence") or ()
    return any(text(code, "CodeValue") in _ANATOMY for code in codes)


def _planes(dataset: Dataset, numbers_taken: set[int]) -> Mapping[int, list[_Frame]]:
    """What each segment taken holds, frame by frame."""
    found: dict[int, list[_Frame]] = defaultdict(list)
    for frame, label, inside in _frames(dataset, numbers_taken):
        if inside.any():
            found[label].append(_plane(dataset, frame, inside))
    return found


def _frames(dataset: Dataset, numbers_taken: set[int]) -> Iterator[tuple[int, int, NDArray[np.bool_]]]:
    """(frame, segment number, pixels inside) of the segments taken."""
    kind = text(dataset, "SegmentationType")
    if kind not in ("BINARY", "FRACTIONAL", "LABELMAP"):
        raise _unknown_type()
    if kind == "LABELMAP":
        for frame, pixels in enumerate(iter_pixels(dataset, raw=True)):
            for label in numbers_taken & {int(value) for value in np.unique(pixels)}:
                yield frame, label, pixels == label
        return
    least = max(1.0, (number(dataset, "MaximumFractionalValue") or 0) / 2) if kind == "FRACTIONAL" else 1.0
    labels = {
        frame: int(_group(dataset, frame, "SegmentIdentificationSequence").ReferencedSegmentNumber)
        for frame in range(len(dataset.PerFrameFunctionalGroupsSequence))
    }
    taken = [frame for frame, label in labels.items() if label in numbers_taken]
    for frame, pixels in zip(taken, _pixels(dataset, taken), strict=True):
        yield frame, labels[frame], pixels >= least


def _pixels(dataset: Dataset, frames: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
    """Stored values of some frames, one by one."""
    if dataset.BitsAllocated != 1 or dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        yield from iter_pixels(dataset, indices=frames, raw=True) if frames else ()
        return
    size = dataset.Rows * dataset.Columns
    packed = np.frombuffer(dataset.PixelData, np.uint8)
    for frame in frames:  # pydicom 3.0 cannot take out one frame that begins within a byte
        begin, shift = divmod(frame * size, 8)
        bits = np.unpackbits(packed[begin : begin + size // 8 + 2], bitorder="little")
        yield bits[shift : shift + size].reshape(dataset.Rows, dataset.Columns)


def _group(dataset: Dataset, frame: int, keyword: str) -> Dataset:
    """The one item of a functional group, of the frame or shared."""
    own = dataset.PerFrameFunctionalGroupsSequence[frame].get(keyword)
    item: Dataset = (own or dataset.SharedFunctionalGroupsSequence[0][keyword].value)[0]
    return item


def _plane(dataset: Dataset, frame: int, inside: NDArray[np.bool_]) -> _Frame:
    """A frame in the patient: the faces of its outermost pixels inside, and a look-up of the nearest pixel."""
    origin = np.array(numbers(_group(dataset, frame, "PlanePositionSequence"), "ImagePositionPatient"))
    between_rows, between_columns = numbers(_group(dataset, frame, "PixelMeasuresSequence"), "PixelSpacing")
    along_row, along_column = _directions(dataset, frame)
    rows, columns = np.nonzero(inside)
    corners = [(r, c) for r in (rows.min() - 0.5, rows.max() + 0.5) for c in (columns.min() - 0.5, columns.max() + 0.5)]
    outline = [origin + r * between_rows * along_column + c * between_columns * along_row for r, c in corners]

    def look_up(mm: NDArray[np.float64]) -> NDArray[np.bool_]:
        row = np.rint((mm - origin) @ along_column / between_rows).astype(int)
        column = np.rint((mm - origin) @ along_row / between_columns).astype(int)
        held: NDArray[np.bool_] = (row >= 0) & (row < inside.shape[0]) & (column >= 0) & (column < inside.shape[1])
        held[held] = inside[row[held], column[held]]
        return held

    return _Frame(ContourPlane(np.array(outline), look_up), float(inside.sum() * between_rows * between_columns))


def _directions(dataset: Dataset, frame: int) -> NDArray[np.float64]:
    """(2, 3): unit vectors along a row and along a column."""
    values = numbers(_group(dataset, frame, "PlaneOrientationSequence"), "ImageOrientationPatient")
    return np.reshape(values, (2, 3))


def _normal(dataset: Dataset) -> NDArray[np.float64]:
    normal: NDArray[np.float64] = np.cross(*_directions(dataset, 0))
    return normal / np.linalg.norm(normal)


def _union(planes: Sequence[ContourPlane]) -> ContourPlane:
    outline = np.concatenate([plane.outline for plane in planes])
    return ContourPlane(outline, lambda mm: np.any([plane.inside(mm) for plane in planes], axis=0))


def _all_faint(dataset: Dataset) -> UnreadableStudyError:
    """The refusal of a fractional segmentation that reaches half of its maximum nowhere."""
    highest = max(int(pixels.max()) for pixels in iter_pixels(dataset, raw=True))
    return UnreadableStudyError(
        found=Message(
            "No pixel of the fractional segmentation reaches half of its maximum: {value} of {most} at most.",
            value=highest,
            most=int(number(dataset, "MaximumFractionalValue") or 0),
        ),
        needed=Message("A segment with values of at least half of Maximum Fractional Value."),
        advice=Message("Check the segments chosen, or export the segmentation again as BINARY."),
    )


def _unknown_type() -> UnreadableStudyError:
    return UnreadableStudyError(
        found=Message("The DICOM SEG is of an unknown type."),
        needed=Message("Segmentation Type BINARY, FRACTIONAL or LABELMAP."),
        advice=Message("Export the segmentation again, as DICOM SEG or NIfTI."),
    )
