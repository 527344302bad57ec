"""Volumes on the PET grid in the order of the source frames, so that every frame is in the place of its source."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np

from fedpet.core.errors import SliceGeometryError
from fedpet.core.messages import Message
from reports.dicom.export import deterministic_uid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from fedpet.imaging.volume import Volume

_OFF_GRID = 0.5  # voxels: farther from its place on the grid, a frame belongs to other images


def references(headers: Sequence[Dataset], pet: Volume) -> list[Dataset]:
    """Headers as highdicom needs them: one orientation, the true spacing of the slices, a frame of reference.

    A PET that names no frame of reference (some de-identified ones) gets one that follows from its series, the same in
    every object; a viewer then finds the place by the references to the slices.
    """
    spacing = f"{pet.spacing[2]:.10g}"
    return [_reference(header, headers[0], spacing) for header in headers]


def _reference(header: Dataset, first: Dataset, spacing: str) -> Dataset:
    copy = deepcopy(header)  # a shallow copy of a Dataset shares its elements
    copy.FrameOfReferenceUID = header.get("FrameOfReferenceUID") or deterministic_uid("frame", header.SeriesInstanceUID)
    if "NumberOfFrames" not in header:
        copy.ImageOrientationPatient, copy.PixelSpacing = first.ImageOrientationPatient, first.PixelSpacing
        copy.SliceThickness = header.get("SliceThickness") or spacing
        copy.SpacingBetweenSlices = spacing
    return copy


def frame_order(headers: Sequence[Dataset], pet: Volume) -> NDArray[np.intp]:
    """For each frame of the source, the slice of `pet` in its place: `volume.array[order]` are the frames.

    Raises:
        SliceGeometryError: the frames are not, one for one, the slices of the PET.
    """
    index = pet.to_index(np.array([position for header in headers for position in _positions(header)], float))
    order = np.rint(index[:, 0]).astype(np.intp)
    on_grid = np.abs(index - np.stack([order, 0 * order, 0 * order], axis=1)).max(initial=0.0) < _OFF_GRID
    sizes = {(header.Rows, header.Columns) for header in headers}
    if (
        not on_grid
        or not all(map(_one_plane, headers))
        or sorted(order) != list(range(pet.shape[0]))
        or sizes != {pet.shape[1:]}
    ):
        raise SliceGeometryError(
            found=Message("The frames of the source images are not the slices of this examination's PET."),
            needed=Message("The PET series that the examination was loaded from, as slices or as one object."),
            advice=Message("Give the same images again; for DICOM output, export the PET as single slices."),
        )
    return order


def _positions(header: Dataset) -> list[Sequence[float]]:
    """Image Position (Patient) of each frame."""
    if "NumberOfFrames" not in header:
        return [header.ImagePositionPatient]
    return [frame.PlanePositionSequence[0].ImagePositionPatient for frame in header.PerFrameFunctionalGroupsSequence]


def _one_plane(header: Dataset) -> bool:
    """Whether all frames have one orientation and pixel size, in the shared functional groups where multi-frame."""
    shared = header.get("SharedFunctionalGroupsSequence", [{}])[0]
    return "NumberOfFrames" not in header or (
        "PlaneOrientationSequence" in shared and "PixelMeasuresSequence" in shared
    )
