"""Resampling of images onto another grid, whatever the orientation or tilt of either.

Where the axes of both are parallel, as those of a PET and its CT are, each axis is interpolated separately: the same
numbers for a fraction of the work. Otherwise SimpleITK resamples in index space: both images have unit spacing there,
and one affine transform maps an index of the target to an index of the source. Thus a sheared affine (a tilted CT
gantry), which a direction matrix could not express, is resampled like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import SimpleITK

from fedpet.imaging.volume import Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpet.imaging.volume import Affine

sitk: Any = SimpleITK  # its methods are not typed
_PARALLEL = 1e-6  # voxels by which the axes may diverge over the whole grid
_ALIGNED = 0.99999  # cosine beyond which an axis of the image is an axis of the patient: 0.26 degrees
_INTERPOLATORS = {"linear": sitk.sitkLinear, "nearest": sitk.sitkNearestNeighbor}


@dataclass(frozen=True, eq=False)
class Grid:
    """The position of the voxels of an image.

    Attributes:
        shape: (slices, rows, columns).
        affine: (4, 4), (column, row, slice, 1) -> LPS mm, voxel centres.
    """

    shape: tuple[int, int, int]
    affine: Affine

    @staticmethod
    def of(volume: Volume) -> Grid:
        """The grid of an image."""
        return Grid(volume.shape, volume.affine)

    @staticmethod
    def around(volume: Volume, *, spacing_mm: float) -> Grid:
        """Cubic voxels along the patient's axes (left, back, head) that cover all voxel centres of an image."""
        corners = np.array(np.meshgrid(*[(0, size - 1) for size in volume.shape], indexing="ij")).reshape(3, -1).T
        points = volume.to_mm(corners.astype(float))
        low, high = points.min(0), points.max(0)
        columns, rows, slices = (int(n) for n in np.floor((high - low) / spacing_mm + 1e-6) + 1)
        affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
        affine[:3, 3] = low
        return Grid((slices, rows, columns), affine)

    def matches(self, other: Grid, *, tolerance_mm: float = 1e-3) -> bool:
        """True where both grids have the same shape and no voxel centre differs by more than the tolerance."""
        last_corner = np.array([*reversed(self.shape), 1.0])
        shift = np.abs(self.affine - other.affine)
        return self.shape == other.shape and bool((shift[:3] @ last_corner).max() <= tolerance_mm)


def resample(
    volume: Volume, grid: Grid, *, interpolation: Literal["linear", "nearest"] = "linear", outside: float
) -> Volume:
    """Resample an image onto another grid.

    Linear interpolation does not anti-alias: a coarser grid samples, it does not average.

    Args:
        volume: any unit.
        grid: the target.
        interpolation: "nearest" for labels.
        outside: value where the grid leaves the image (for example -1024 HU).

    Returns:
        On the grid, with the same unit and type of number; integers are rounded to the nearest.
    """
    if Grid.of(volume).matches(grid, tolerance_mm=1e-6):
        return volume
    mapping = np.linalg.inv(volume.affine) @ grid.affine
    off_axis = np.abs(mapping[:3, :3] - np.diag(np.diag(mapping[:3, :3]))) @ grid.shape[::-1]
    resampled = _axis_by_axis if off_axis.max() < _PARALLEL else _by_simpleitk
    return Volume(resampled(volume.array, mapping, grid.shape, outside, interpolation), grid.affine, volume.unit)


@dataclass(frozen=True, eq=False)
class _Axis:
    """Position of the voxels along one axis of the grid between those of the source.

    As in ITK, the image reaches half a voxel beyond the outermost centres, with their values.

    Attributes:
        inside: the range of grid voxels within the image.
        low: lower neighbour of each of them in the source; the nearest voxel for labels.
        high: higher neighbour; the nearest voxel for labels.
        weight: of the higher neighbour, 0 to 1.
    """

    inside: slice
    low: NDArray[np.intp]
    high: NDArray[np.intp]
    weight: NDArray[np.float64]

    @staticmethod
    def along(start: float, step: float, count: int, size: int, *, nearest: bool) -> _Axis:
        """For `count` voxels at `start` + k x `step` in a source of `size` voxels."""
        positions = start + step * np.arange(count)
        inside_index = np.flatnonzero((positions >= -0.5) & (positions < size - 0.5))
        inside = slice(int(inside_index[0]), int(inside_index[-1]) + 1) if len(inside_index) else slice(0, 0)
        positions = np.clip(positions[inside], 0, size - 1)
        if nearest:
            low = np.floor(positions + 0.5).astype(np.intp)
            return _Axis(inside, low, low, np.zeros(len(low)))
        low = np.minimum(positions.astype(np.intp), max(size - 2, 0))
        return _Axis(inside, low, np.minimum(low + 1, size - 1), positions - low)


def _axis_by_axis(
    array: NDArray[Any], mapping: Affine, shape: tuple[int, int, int], outside: float, interpolation: str
) -> NDArray[Any]:
    nearest = interpolation == "nearest"
    z, y, x = (
        _Axis.along(mapping[2 - axis, 3], mapping[2 - axis, 2 - axis], shape[axis], array.shape[axis], nearest=nearest)
        for axis in range(3)
    )
    kind = array.dtype if nearest else np.result_type(array.dtype, np.float32)
    down, right = y.weight.astype(kind)[:, None], x.weight.astype(kind)

    def resampled_plane(number: int) -> NDArray[Any]:
        """One slice of the source, resampled onto the rows and columns of the grid."""
        rows = array[number].take(y.low, 0).astype(kind)
        if not nearest:
            rows += (array[number].take(y.high, 0) - rows) * down
        values: NDArray[Any] = rows.take(x.low, 1)
        if not nearest:
            values += (rows.take(x.high, 1) - values) * right
        return values

    result = np.full(shape, outside, array.dtype)
    planes: dict[int, NDArray[Any]] = {}  # those of the last slice: the next one needs at least one of them, as a rule
    for level, (low, high, weight) in enumerate(zip(z.low, z.high, z.weight, strict=True), start=z.inside.start):
        needed = {int(low), int(high)} if weight else {int(low)}
        planes = {number: planes[number] if number in planes else resampled_plane(number) for number in needed}
        values = planes[low]
        if weight:
            values = values + (planes[high] - values) * kind.type(weight)
        result[level, y.inside, x.inside] = values if np.issubdtype(array.dtype, np.floating) else np.rint(values)
    return result


def _by_simpleitk(
    array: NDArray[Any], mapping: Affine, shape: tuple[int, int, int], outside: float, interpolation: str
) -> NDArray[Any]:
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(mapping[:3, :3].ravel().tolist())
    transform.SetTranslation(mapping[:3, 3].tolist())
    stored = array.astype(np.uint8) if array.dtype == np.bool_ else array
    rounded = interpolation == "linear" and not np.issubdtype(array.dtype, np.floating)
    exact = sitk.sitkFloat32 if array.dtype.itemsize <= 2 else sitk.sitkFloat64
    resampled = sitk.Resample(
        sitk.GetImageFromArray(stored),
        tuple(reversed(shape)),
        transform,
        _INTERPOLATORS[interpolation],
        (0.0, 0.0, 0.0),
        (1.0, 1.0, 1.0),
        (),
        float(outside),
        exact if rounded else sitk.sitkUnknown,  # SimpleITK itself would truncate
    )
    view: NDArray[Any] = sitk.GetArrayViewFromImage(
        resampled
    )  # of memory that the image owns: copied before the image is released
    return (np.rint(view) if rounded else view).astype(array.dtype)


def sample_nearest(volume: Volume, points: NDArray[np.float64], *, outside: float) -> NDArray[np.float64]:
    """Value of the voxel nearest to each point.

    Args:
        volume: any unit.
        points: shape (n, 3), LPS mm.
        outside: value of points beyond the image.

    Returns:
        Shape (n,).
    """
    index = np.rint(volume.to_index(points)).astype(int)
    inside = ((index >= 0) & (index < volume.shape)).all(axis=1)
    values = np.full(len(points), outside, float)
    values[inside] = volume.array[tuple(index[inside].T)]
    return values


def align_to_patient_axes(volume: Volume, *, outside: float) -> Volume:
    """The image with columns to the patient's left, rows to the back and slices to the head.

    Where its axes are those of the patient already, they are swapped and reversed, which keeps every value. An oblique
    image is resampled onto the smallest axis-aligned grid that holds it, at its smallest spacing: linearly, labels by
    the nearest neighbour.

    Args:
        volume: any orientation, any unit.
        outside: value where the grid leaves an oblique image.

    Returns:
        With a diagonal affine, spacings positive, apart from its origin.
    """
    directions = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    if np.abs(directions).max(axis=0).min() < _ALIGNED:
        interpolation: Literal["nearest", "linear"] = "nearest" if volume.unit == "label" else "linear"
        grid = Grid.around(volume, spacing_mm=min(volume.spacing))
        return resample(volume, grid, interpolation=interpolation, outside=outside)
    source = np.abs(directions).argmax(axis=1)  # patient axis x, y, z -> image axis column, row, slice
    array = volume.array.transpose([2 - source[axis] for axis in (2, 1, 0)])
    corner = np.zeros(3)  # (column, row, slice) of the voxel that comes first
    for axis in range(3):
        if directions[axis, source[axis]] < 0:
            array = np.flip(array, 2 - axis)
            corner[source[axis]] = volume.array.shape[2 - source[axis]] - 1
    affine = np.diag([*np.abs(volume.affine[[0, 1, 2], source]), 1.0])
    affine[:3, 3] = volume.affine[:3, :3] @ corner + volume.affine[:3, 3]
    return Volume(np.ascontiguousarray(array), affine, volume.unit)
