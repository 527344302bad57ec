"""Slices ordered by where they lie in the patient (DICOM PS3.3 C.7.6.2.1.1), and whether they form one volume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fedpet.core.errors import SliceGeometryError
from fedpet.core.messages import Message
from fedpet.imaging.dicom.headers.attributes import numbers, text, texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from fedpet.imaging.volume import Affine

FEWEST_SLICES = 5
_SAME_PLACE_MM = 0.01
_JITTER = 0.10  # of the spacing; 3.19 to 3.29 mm is seen in real series
_OFF_GRID = 0.25  # of the spacing: farthest a slice may lie from the regular grid
_DIRECTION = 1e-3  # tolerance on direction cosines, and on pixel spacing relative to it
_MOST_GAPS = 3  # more, and more than a fifth of the steps, are no lost slices
_PLANE_VALUES = 10  # orientation (6), pixel spacing (2), rows, columns
PHASE_KEYWORDS = ("FrameReferenceTime", "TriggerTime", "TemporalPositionIdentifier", "AcquisitionTime")


@dataclass(frozen=True, eq=False)
class SliceGeometry:
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


def slice_geometry(headers: Sequence[Dataset]) -> SliceGeometry:
    """The volume that single-frame headers form, given in any order.

    Raises:
        SliceGeometryError: positions missing, orientations or matrices mixed, several time points, too few slices, a
            gap, or an irregular spacing.
    """
    (rows, columns), (along_row, along_column), spacing = _plane(headers)
    positions = _positions(headers)
    heights = positions @ np.cross(along_row, along_column)
    order, copies = _distinct(headers, heights)
    if len(order) < FEWEST_SLICES:
        raise _refused(
            Message("The number of slices of the series is {n}.", n=len(order)),
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
    shape = len(order), rows, columns
    return SliceGeometry(tuple(order), copies, shape, affine, (float(steps.min()), float(steps.max())))


def _plane(
    headers: Sequence[Dataset],
) -> tuple[tuple[int, int], NDArray[np.float64], tuple[float, ...]]:
    """(Rows, Columns), directions along rows and along columns, and PixelSpacing (between rows, columns) of all slices.

    The directions are the mean over the slices, of length 1: scanners round them.
    """
    planes = [
        numbers(header, "ImageOrientationPatient")
        + numbers(header, "PixelSpacing")
        + numbers(header, "Rows")
        + numbers(header, "Columns")
        for header in headers
    ]
    if not all(len(plane) == _PLANE_VALUES for plane in planes) or not _valid(np.array(planes)):
        raise _refused(
            Message("Orientation, pixel spacing or matrix of a slice is missing or not valid."),
            Message("Image Orientation (Patient), Pixel Spacing, Rows and Columns in every slice."),
            Message("Export the original series, not a secondary capture."),
        )
    values = np.array(planes)
    along = values[:, :6].mean(axis=0).reshape(2, 3)
    apart = np.abs(values - np.concatenate([along.ravel(), values[0, 6:]]))
    if (apart > np.concatenate([np.full(6, _DIRECTION), _DIRECTION * values[0, 6:8], (0, 0)])).any():
        raise _refused(
            Message("The slices differ in orientation, matrix or pixel size."),
            Message("Slices of one orientation, matrix and pixel size in a series."),
            Message("Export the axial series alone, without localizers and reformats."),
        )
    return (int(values[0, 8]), int(values[0, 9])), along / np.linalg.norm(along, axis=1, keepdims=True), planes[0][6:8]


def _valid(planes: NDArray[np.float64]) -> bool:
    """Two perpendicular unit vectors and positive sizes in every plane, shape (slices, 10)."""
    along = planes[:, :6].reshape(-1, 2, 3)
    right_angles = np.allclose(along @ along.transpose(0, 2, 1), np.eye(2), atol=_DIRECTION)
    return right_angles and bool(np.isfinite(planes).all() and planes[:, 6:].min() > 0)


def _positions(headers: Sequence[Dataset]) -> NDArray[np.float64]:
    positions = [numbers(header, "ImagePositionPatient") for header in headers]
    if not all(len(position) == 3 and np.isfinite(position).all() for position in positions):
        raise _refused(
            Message("A slice has no position."),
            Message("Image Position (Patient) in every slice."),
            Message("Export the original series, not a secondary capture."),
        )
    return np.array(positions)


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
    if any(texts(one, keyword) != texts(other, keyword) for keyword in PHASE_KEYWORDS):
        raise _refused(
            Message("Several images lie at the same place and differ in time: a gated or dynamic series."),
            Message("A static series, one image for each place."),
            Message("Export the static (averaged) reconstruction."),
        )


def _check_steps(steps: NDArray[np.float64]) -> None:
    usual = float(np.median(steps))
    missing = np.rint(steps[steps >= 1.5 * usual] / usual).astype(int) - 1
    if len(missing) > max(_MOST_GAPS, len(steps) // 5):
        raise _irregular(steps)  # thick slices beside thin ones
    if len(missing):
        raise _refused(
            Message("{n} slices are missing in {gaps} gaps.", n=int(missing.sum()), gaps=len(missing)),
            Message("Every slice of the series."),
            Message("Export the series again; check that the transfer was complete."),
        )
    if np.abs(steps - usual).max() > _JITTER * usual:
        raise _irregular(steps)


def _irregular(steps: NDArray[np.float64]) -> SliceGeometryError:
    return _refused(
        Message("The slice spacing varies from {low:.2f} to {high:.2f} mm.", low=steps.min(), high=steps.max()),
        Message("Regularly spaced slices, within 10 %."),
        Message("Export the series again, without images of other series."),
    )


def _refused(found: Message, needed: Message, advice: Message) -> SliceGeometryError:
    return SliceGeometryError(found=found, needed=needed, advice=advice)
