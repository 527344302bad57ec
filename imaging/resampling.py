"""Images brought onto another grid, whatever the orientation or tilt of either.

SimpleITK resamples in index space: both images are given unit spacing, and one affine transform takes an index of the
target to an index of the source. A sheared affine (a tilted CT gantry) is thus resampled like any other, which a
direction matrix could not express.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import SimpleITK

from imaging.volume import Volume

if TYPE_CHECKING:
    from imaging.volume import Affine

sitk: Any = SimpleITK  # its methods are not typed
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
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(mapping[:3, :3].ravel().tolist())
    transform.SetTranslation(mapping[:3, 3].tolist())
    stored = volume.array.astype(np.uint8) if volume.array.dtype == np.bool_ else volume.array
    resampled = sitk.Resample(
        sitk.GetImageFromArray(stored),
        tuple(reversed(grid.shape)),
        transform,
        _INTERPOLATORS[interpolation],
        (0.0, 0.0, 0.0),
        (1.0, 1.0, 1.0),
        (),
        float(outside),
    )
    array = sitk.GetArrayFromImage(resampled).astype(volume.array.dtype, copy=False)
    return Volume(array, grid.affine, volume.unit)
