"""A 3D image in patient space.

One convention everywhere in fedpet: arrays are indexed `[slice, row, column]` (z, y, x), points are LPS millimetres
(DICOM PS3.3 C.7.6.2: x to the patient's left, y to the back, z to the head), and the affine takes
(column, row, slice, 1) to the centre of that voxel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Unit = Literal["g/ml", "cm2/ml", "stored", "HU", "label", "1"]
Affine = NDArray[np.float64]  # 4x4, (column, row, slice, 1) -> LPS mm
Point = NDArray[np.float64]  # (3,), LPS mm


@dataclass(frozen=True, eq=False)
class Volume:
    """An image and its position in the patient.

    Attributes:
        array: shape (slices, rows, columns).
        affine: shape (4, 4), (column, row, slice, 1) -> LPS mm, voxel centres.
        unit: "g/ml" (SUVbw, or SUL where said), "cm2/ml" (SUVbsa), "stored" (a PET in its own units: no SUV), "HU",
            "label" (0 is background) or "1" (attribution and other pure numbers).
    """

    array: NDArray[Any]
    affine: Affine
    unit: Unit

    def __repr__(self) -> str:
        """Slices x rows x columns, and the spacing along (column, row, slice)."""
        shape, spacing = (" x ".join(f"{one:.4g}" for one in sizes) for sizes in (self.shape, self.spacing))
        return f"Volume({shape} voxels of {spacing} mm, {self.unit})"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns)."""
        slices, rows, columns = self.array.shape
        return slices, rows, columns

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between voxel centres along (column, row, slice), mm."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel, ml."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @property
    def bounds(self) -> tuple[Point, Point]:
        """Smallest and largest LPS coordinates of the faces of the voxels, mm, shape (3,) each."""
        corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in self.shape], indexing="ij")).reshape(3, -1).T
        mm = self.to_mm(corners)
        return mm.min(axis=0), mm.max(axis=0)

    @property
    def centre(self) -> tuple[float, float, float]:
        """Middle of the image, LPS mm."""
        x, y, z = self.to_mm((np.array(self.shape) - 1) / 2)
        return float(x), float(y), float(z)

    def to_mm(self, index: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert fractional (slice, row, column), shape (..., 3), to LPS mm, same shape."""
        return np.asarray(index, float)[..., ::-1] @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_index(self, mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert LPS mm, shape (..., 3), to fractional (slice, row, column), same shape."""
        inverse = np.linalg.inv(self.affine[:3, :3])
        return ((np.asarray(mm, float) - self.affine[:3, 3]) @ inverse.T)[..., ::-1]

    def on_grid_of(self, other: Volume) -> bool:
        """Whether the voxels of both lie at the same places, to a thousandth of a millimetre."""
        return self.shape == other.shape and np.allclose(self.affine, other.affine, atol=1e-3)

    def like(self, array: NDArray[Any], unit: Unit) -> Volume:
        """Another image on the same grid.

        Args:
            array: shape of this image.
            unit: of the values of `array`.

        Raises:
            ValueError: the shapes differ.
        """
        if array.shape != self.array.shape:
            raise ValueError(f"expected shape {self.array.shape}, got {array.shape}")
        return Volume(array, self.affine, unit)
