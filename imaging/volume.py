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
    """An image with its place in the patient.

    Attributes:
        array: shape (slices, rows, columns).
        affine: shape (4, 4), (column, row, slice, 1) -> LPS mm, voxel centres.
        unit: "g/ml" (SUVbw, or SUL where said), "cm2/ml" (SUVbsa), "stored" (a PET in its own units: no SUV), "HU",
            "label" (0 is background) or "1" (attribution and other pure numbers).
    """

    array: NDArray[Any]
    affine: Affine
    unit: Unit

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
        """Smallest and largest LPS coordinates of the voxels' faces, mm, shape (3,) each."""
        corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in self.shape], indexing="ij")).reshape(3, -1).T
        mm = self.to_mm(corners)
        return mm.min(axis=0), mm.max(axis=0)

    def to_mm(self, index: NDArray[np.float64]) -> NDArray[np.float64]:
        """LPS mm of voxel positions given as (..., 3) in (slice, row, column)."""
        return np.asarray(index, float)[..., ::-1] @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_index(self, mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Fractional (slice, row, column) of points given as (..., 3) LPS mm."""
        inverse = np.linalg.inv(self.affine[:3, :3])
        return ((np.asarray(mm, float) - self.affine[:3, 3]) @ inverse.T)[..., ::-1]

    def like(self, array: NDArray[Any], unit: Unit) -> Volume:
        """Another image on the same grid.

        Raises:
            ValueError: the shapes differ.
        """
        if array.shape != self.array.shape:
            raise ValueError(f"expected shape {self.array.shape}, got {array.shape}")
        return Volume(array, self.affine, unit)
