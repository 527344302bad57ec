"""Regions of a DICOM Segmentation: binary, fractional and label map (PS3.3 C.8.20).

Frames are placed one by one by Plane Position (Patient), so that irregular or missing planes are no obstacle, and
sampled at the centres of the PET's voxels (nearest pixel).
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
from pydicom.pixels.utils import iter_pixels

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
from imaging.header import number, numbers, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from imaging.study import Study
    from imaging.volume import Volume

_ANATOMY = frozenset(("123037004", "T-D000A"))  # Anatomical Structure, in SNOMED CT and in SNOMED RT
_BACKGROUND = 0  # of a label map


def read_segmentation(
    dataset: Dataset, pet: Volume, *, study: Study | None = None, rois: Sequence[str] | None = None
) -> Volume:
    """The segments of a DICOM SEG on the PET grid: uint16, each with its segment number.

    A fractional segment is where its value is at least half of Maximum Fractional Value.

    Args:
        dataset: the Segmentation, with its pixels.
        pet: the grid wanted.
        study: tells the frame of reference and the images drawn on; without it, only the overlap is checked.
        rois: labels of the segments to take, in any case. By default all, without those of the category
            Anatomical Structure unless nothing else is there.

    Raises:
        UnreadableStudy: no segment holds a pixel, or the object is damaged.
        SeriesNotFound: a label of `rois` is not there.
        GeometryRefused: drawn on another examination, or beside the PET.
    """
    require_same_examination(dataset, {uid for uid in [text(dataset, "FrameOfReferenceUID")] if uid}, study)
    planes = _planes(dataset, _chosen(dataset, rois))
    if not planes:
        raise nothing_drawn()
    normal = _normal(dataset)
    heights = {label: np.array([plane.outline[0] @ normal for plane in found]) for label, found in planes.items()}
    measures = _group(dataset, 0, "PixelMeasuresSequence")
    step = (
        step_of_source(dataset, study, normal)
        or usual_step(heights.values(), number(measures, "SpacingBetweenSlices"))
        or number(measures, "SliceThickness")
        or float(abs(pet.affine[:3, 2] @ normal))
    )
    return labelled(
        [
            (label, voxels(_joined(found, heights[label]), pet, normal=normal, step=step))
            for label, found in planes.items()
        ],
        pet,
    )


def _chosen(dataset: Dataset, wanted: Sequence[str] | None) -> set[int]:
    """Numbers of the segments to take."""
    items = [item for item in dataset.SegmentSequence if item.SegmentNumber != _BACKGROUND]
    if wanted:
        return {items[i].SegmentNumber for i in named([text(one, "SegmentLabel") for one in items], wanted, dataset)}
    lesions = {item.SegmentNumber for item in items if not _is_anatomy(item)}
    return lesions or {item.SegmentNumber for item in items}


def _is_anatomy(item: Dataset) -> bool:
    codes = item.get("SegmentedPropertyCategoryCodeSequence") or ()
    return any(text(code, "CodeValue") in _ANATOMY for code in codes)


def _planes(dataset: Dataset, numbers_taken: set[int]) -> Mapping[int, list[Plane]]:
    """What each segment taken holds, frame by frame."""
    found: dict[int, list[Plane]] = defaultdict(list)
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


def _plane(dataset: Dataset, frame: int, inside: NDArray[np.bool_]) -> Plane:
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

    return Plane(np.array(outline), look_up)


def _directions(dataset: Dataset, frame: int) -> NDArray[np.float64]:
    """(2, 3): unit vectors along a row and along a column."""
    values = numbers(_group(dataset, frame, "PlaneOrientationSequence"), "ImageOrientationPatient")
    return np.reshape(values, (2, 3))


def _normal(dataset: Dataset) -> NDArray[np.float64]:
    normal: NDArray[np.float64] = np.cross(*_directions(dataset, 0))
    return normal / np.linalg.norm(normal)


def _joined(planes: Sequence[Plane], heights: NDArray[np.float64]) -> list[Plane]:
    """One plane for each height: frames in one plane are taken together."""
    return [_union([planes[index] for index in together]) for together in same_plane(heights)]


def _union(planes: Sequence[Plane]) -> Plane:
    outline = np.concatenate([plane.outline for plane in planes])
    return Plane(outline, lambda mm: np.any([plane.inside(mm) for plane in planes], axis=0))


def _unknown_type() -> UnreadableStudy:
    return UnreadableStudy(
        found=Message("The DICOM SEG is of an unknown type."),
        needed=Message("Segmentation Type BINARY, FRACTIONAL or LABELMAP."),
        advice=Message("Export the segmentation again, as DICOM SEG or NIfTI."),
    )
