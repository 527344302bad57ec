"""Images brought onto another grid, whatever the orientation or tilt of either.

Where the axes of both are parallel, as those of a PET and its CT are, each axis is interpolated on its own: the same
numbers for a fraction of the work. Otherwise SimpleITK resamples in index space: both images are given unit spacing,
and one affine transform takes an index of the target to an index of the source. A sheared affine (a tilted CT gantry)
is thus resampled like any other, which a direction matrix could not express.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import SimpleITK

from imaging.volume import Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imaging.volume import Affine

sitk: Any = SimpleITK  # its methods are not typed
_PARALLEL = 1e-6  # voxels by which the axes may part over the whole grid
_INTERPOLATORS = {"linear": sitk.sitkLinear, "nearest": sitk.sitkNearestNeighbor}


@dataclass(frozen=True, eq=False)
class Grid:
    """Where voxels lie.

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
        """Cubic voxels along the patient's axes (left, back, head) that hold all voxel centres of an image."""
        corners = np.array(np.meshgrid(*[(0, size - 1) for size in volume.shape], indexing="ij")).reshape(3, -1).T
        points = volume.to_mm(corners.astype(float))
        low, high = points.min(0), points.max(0)
        columns, rows, slices = (int(n) for n in np.floor((high - low) / spacing_mm + 1e-6) + 1)
        affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
        affine[:3, 3] = low
        return Grid((slices, rows, columns), affine)

    def matches(self, other: Grid, *, tolerance_mm: float = 1e-3) -> bool:
        """True where both grids have the same shape and no voxel centre differs by more than the tolerance."""
        far = np.array([*reversed(self.shape), 1.0])
        shift = np.abs(self.affine - other.affine)
        return self.shape == other.shape and bool((shift[:3] @ far).max() <= tolerance_mm)


def resample(
    volume: Volume, grid: Grid, *, interpolation: Literal["linear", "nearest"] = "linear", outside: float
) -> Volume:
    """The image on another grid, same type of number.

    Linear interpolation does not anti-alias: a coarser grid samples, it does not average.

    Args:
        volume: any unit.
        grid: the grid wanted.
        interpolation: "nearest" for labels.
        outside: value where the grid leaves the image (for example -1024 HU).

    Returns:
        shape `grid.shape`, on `grid.affine`; integers are rounded to the nearest.
    """
    if Grid.of(volume).matches(grid, tolerance_mm=1e-6):
        return volume
    mapping = np.linalg.inv(volume.affine) @ grid.affine
    across = np.abs(mapping[:3, :3] - np.diag(np.diag(mapping[:3, :3]))) @ grid.shape[::-1]
    resampled = _axis_by_axis if across.max() < _PARALLEL else _by_simpleitk
    return Volume(resampled(volume.array, mapping, grid.shape, outside, interpolation), grid.affine, volume.unit)


@dataclass(frozen=True, eq=False)
class _Axis:
    """Where the voxels of one axis of the grid lie between those of the source.

    As in ITK, the image reaches half a voxel beyond the outermost centres, with their values.

    Attributes:
        inside: the range of grid voxels within the image.
        low, high: neighbours in the source of those voxels; the nearest one twice where labels are wanted.
        weight: of the higher neighbour.
    """

    inside: slice
    low: NDArray[np.intp]
    high: NDArray[np.intp]
    weight: NDArray[np.float64]

    @staticmethod
    def along(start: float, step: float, count: int, size: int, *, nearest: bool) -> _Axis:
        """Of `count` voxels at `start` + k x `step` in a source of `size` voxels."""
        places = start + step * np.arange(count)
        within = np.flatnonzero((places >= -0.5) & (places < size - 0.5))
        inside = slice(int(within[0]), int(within[-1]) + 1) if len(within) else slice(0, 0)
        places = np.clip(places[inside], 0, size - 1)
        if nearest:
            low = np.floor(places + 0.5).astype(np.intp)
            return _Axis(inside, low, low, np.zeros(len(low)))
        low = np.minimum(places.astype(np.intp), max(size - 2, 0))
        return _Axis(inside, low, np.minimum(low + 1, size - 1), places - low)


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

    @lru_cache(maxsize=2)
    def plane(number: int) -> NDArray[Any]:
        """One slice of the source on the rows and columns of the grid."""
        rows = array[number].take(y.low, 0).astype(kind)
        if not nearest:
            rows += (array[number].take(y.high, 0) - rows) * down
        values: NDArray[Any] = rows.take(x.low, 1)
        if not nearest:
            values += (rows.take(x.high, 1) - values) * right
        return values

    result = np.full(shape, outside, array.dtype)
    for place, (low, high, weight) in enumerate(zip(z.low, z.high, z.weight, strict=True), start=z.inside.start):
        values = plane(low) if not weight else plane(low) + (plane(high) - plane(low)) * kind.type(weight)
        result[place, y.inside, x.inside] = values if np.issubdtype(array.dtype, np.floating) else np.rint(values)
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
        exact if rounded else sitk.sitkUnknown,  # SimpleITK itself would cut off the fraction
    )
    view: NDArray[Any] = sitk.GetArrayViewFromImage(resampled)  # of the image's own memory: copied before it goes
    return (np.rint(view) if rounded else view).astype(array.dtype)
