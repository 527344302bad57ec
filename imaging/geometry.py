"""Slices ordered by where they lie in the patient (DICOM PS3.3 C.7.6.2.1.1), and whether they form one volume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fedpet.errors import GeometryRefused
from fedpet.messages import Message
from imaging.header import number, numbers, text, texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from imaging.volume import Affine

FEWEST_SLICES = 5
_SAME_PLACE_MM = 0.01
_JITTER = 0.10  # of the spacing; 3.19 to 3.29 mm is seen in real series
_OFF_GRID = 0.25  # of the spacing: farthest a slice may lie from the regular grid
_DIRECTION = 1e-3  # tolerance on direction cosines
_PHASES = ("FrameReferenceTime", "TriggerTime", "TemporalPositionIdentifier", "AcquisitionTime")


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where the slices of a series lie.

    Attributes:
        order: indices of the headers, by increasing position along the normal of the slices.
        copies: (kept, dropped) indices of headers at the same place; their pixels must be compared.
        shape: (slices, rows, columns).
        affine: (4, 4), (column, row, slice, 1) -> LPS mm; its slice axis may be oblique to the slices (tilted CT).
        spacing_range: smallest and largest distance between neighbours along the normal, mm.
    """

    order: tuple[int, ...]
    copies: tuple[tuple[int, int], ...]
    shape: tuple[int, int, int]
    affine: Affine
    spacing_range: tuple[float, float]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between voxel centres along (column, row, slice), mm."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def head_foot_mm(self) -> tuple[float, float]:
        """Lowest and highest z of the voxel centres, LPS mm."""
        far = np.array([(c, r, s) for c in (0, 1) for r in (0, 1) for s in (0, 1)])
        heights = far * (np.array(self.shape[::-1]) - 1) @ self.affine[2, :3] + self.affine[2, 3]
        return float(heights.min()), float(heights.max())


def geometry_of(headers: Sequence[Dataset]) -> Geometry:
    """The volume that single-frame headers form, given in any order.

    Raises:
        GeometryRefused: positions missing, orientations or matrices mixed, several time points, too few slices, a gap,
            or an irregular spacing.
    """
    along_row, along_column, spacing = _plane(headers)
    positions = np.array([_position(header) for header in headers])
    heights = positions @ np.cross(along_row, along_column)
    order, copies = _distinct(headers, heights)
    if len(order) < FEWEST_SLICES:
        raise _refused(
            Message("The series has {n} slices.", n=len(order)),
            Message("A volume of at least {n} slices.", n=FEWEST_SLICES),
            Message("Export the whole series."),
        )
    steps = np.diff(heights[order])
    _check_steps(steps)
    step = (positions[order[-1]] - positions[order[0]]) / (len(order) - 1)
    grid = positions[order[0]] + np.arange(len(order))[:, None] * step
    if np.linalg.norm(positions[order] - grid, axis=1).max() > _OFF_GRID * np.median(steps):
        raise _irregular(steps)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([along_row * spacing[1], along_column * spacing[0], step], axis=1)
    affine[:3, 3] = positions[order[0]]
    shape = len(order), int(headers[0].Rows), int(headers[0].Columns)
    return Geometry(tuple(order), copies, shape, affine, (float(steps.min()), float(steps.max())))


def _plane(headers: Sequence[Dataset]) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[float, ...]]:
    """Direction along rows, along columns, and PixelSpacing (between rows, between columns) of all slices."""
    first = headers[0]
    orientation, spacing = np.array(numbers(first, "ImageOrientationPatient")), numbers(first, "PixelSpacing")
    along = orientation.reshape(-1, 3) if len(orientation) == 6 else np.zeros((2, 3))
    if not np.allclose(along @ along.T, np.eye(2), atol=_DIRECTION) or len(spacing) != 2 or min(spacing) <= 0:
        raise _refused(
            Message("Orientation or pixel spacing of the slices is missing or not valid."),
            Message("Image Orientation (Patient) and Pixel Spacing in every slice."),
            Message("Export the original series, not a secondary capture."),
        )
    for header in headers:
        other = numbers(header, "ImageOrientationPatient")
        same = len(other) == 6 and np.allclose(other, orientation, atol=_DIRECTION)
        if not same or _matrix(header) != _matrix(first) or not np.allclose(numbers(header, "PixelSpacing"), spacing):
            raise _refused(
                Message("The slices differ in orientation, matrix or pixel size."),
                Message("Slices of one orientation, matrix and pixel size in a series."),
                Message("Export the axial series alone, without localizers and reformats."),
            )
    return along[0], along[1], spacing


def _matrix(header: Dataset) -> tuple[float | None, float | None]:
    return number(header, "Rows"), number(header, "Columns")


def _position(header: Dataset) -> tuple[float, ...]:
    position = numbers(header, "ImagePositionPatient")
    if len(position) != 3 or not np.isfinite(position).all():
        raise _refused(
            Message("A slice has no position."),
            Message("Image Position (Patient) in every slice."),
            Message("Export the original series, not a secondary capture."),
        )
    return position


def _distinct(
    headers: Sequence[Dataset], heights: NDArray[np.float64]
) -> tuple[list[int], tuple[tuple[int, int], ...]]:
    """Indices by height with one for each place, and the copies found at places already taken."""
    by_height = sorted(
        range(len(headers)), key=lambda i: (round(float(heights[i]), 3), text(headers[i], "SOPInstanceUID"))
    )
    order: list[int] = []
    copies = []
    for index in by_height:
        if order and heights[index] - heights[order[-1]] < _SAME_PLACE_MM:
            _refuse_phases(headers[order[-1]], headers[index])
            copies.append((order[-1], index))
        else:
            order.append(index)
    return order, tuple(copies)


def _refuse_phases(one: Dataset, other: Dataset) -> None:
    """Two images at one place that differ in time are phases of a gated or dynamic series."""
    if any(texts(one, keyword) != texts(other, keyword) for keyword in _PHASES):
        raise _refused(
            Message("Several images lie at the same place and differ in time: a gated or dynamic series."),
            Message("A static series, one image for each place."),
            Message("Export the static (averaged) reconstruction."),
        )


def _check_steps(steps: NDArray[np.float64]) -> None:
    usual = float(np.median(steps))
    missing = np.rint(steps[steps >= 1.5 * usual] / usual).astype(int) - 1
    if len(missing):
        raise _refused(
            Message("{n} slices are missing in {gaps} gaps.", n=int(missing.sum()), gaps=len(missing)),
            Message("Every slice of the series."),
            Message("Export the series again; check that the transfer was complete."),
        )
    if np.abs(steps - usual).max() > _JITTER * usual:
        raise _irregular(steps)


def _irregular(steps: NDArray[np.float64]) -> GeometryRefused:
    return _refused(
        Message("The slice spacing varies from {low:.2f} to {high:.2f} mm.", low=steps.min(), high=steps.max()),
        Message("Regularly spaced slices, within 10 %."),
        Message("Export the series again, without images of other series."),
    )


def _refused(found: Message, needed: Message, advice: Message) -> GeometryRefused:
    return GeometryRefused(found=found, needed=needed, advice=advice)
