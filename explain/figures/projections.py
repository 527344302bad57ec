"""Radiological views of a box in LPS space, at a known scale.

Axial images are seen from the feet (the patient's right on the left of the image), coronal ones from the front,
sagittal ones from the patient's left; the head is up (DICOM PS3.3 C.7.6.1.1.1 letters R, L, A, P, H, F).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from fedpet.imaging.resampling import Grid, resample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpet.imaging.volume import Point, Volume

BODY_SUV = 0.2  # lungs and fat have more, air has less
_COARSE_MM = 4.0


@dataclass(frozen=True)
class View:
    """Directions of an image in LPS, and the letters at its left, right, top and bottom edge."""

    name: str  # the same word in French and English
    right: tuple[int, int, int]
    down: tuple[int, int, int]
    letters: tuple[str, str, str, str]


AXIAL = View("axial", (1, 0, 0), (0, 1, 0), ("R", "L", "A", "P"))
CORONAL = View("coronal", (1, 0, 0), (0, 0, -1), ("R", "L", "H", "F"))
SAGITTAL = View("sagittal", (0, 1, 0), (0, 0, -1), ("A", "P", "H", "F"))


@dataclass(frozen=True, eq=False)
class BoundingBox:
    """A part of the patient: its smallest and largest LPS coordinates, mm, shape (3,) each."""

    low: Point
    high: Point

    def extent(self, view: View) -> tuple[float, float]:
        """(width, height) of the box as the view shows it, mm."""
        span = self.high - self.low
        return float(np.abs(view.right) @ span), float(np.abs(view.down) @ span)


@dataclass(frozen=True, eq=False)
class Frame:
    """One image: a view of a box at `scale` pixels per mm."""

    view: View
    box: BoundingBox
    scale: float

    @property
    def size(self) -> tuple[int, int]:
        """(width, height), pixels."""
        width, height = self.box.extent(self.view)
        return max(1, round(width * self.scale)), max(1, round(height * self.scale))

    @property
    def _corner(self) -> Point:
        """LPS mm of the image's upper left corner, on the box's near side."""
        forward = np.add(self.view.right, self.view.down) > 0
        return np.where(forward, self.box.low, self.box.high)

    def to_pixel(self, mm: Point) -> tuple[float, float]:
        """(x, y) of a point; (0, 0) is the upper left corner of the upper left pixel."""
        offset = (np.asarray(mm, float) - self._corner) * self.scale
        return float(offset @ self.view.right), float(offset @ self.view.down)

    def plane(self, position: Point) -> Grid:
        """The one-slice grid of this image's pixels in the plane through `position` (LPS mm)."""
        width, height = self.size
        right, down = np.array(self.view.right, float), np.array(self.view.down, float)
        depth = np.cross(right, down)
        affine = np.eye(4)
        affine[:3, :3] = np.stack([right / self.scale, down / self.scale, depth], axis=1)
        affine[:3, 3] = self._corner * (1 - np.abs(depth)) + np.asarray(position, float) * np.abs(depth)
        affine[:3, 3] += (right + down) / (2 * self.scale)
        return Grid((1, height, width), affine)

    def slice(self, volume: Volume, position: Point, *, outside: float, nearest: bool = False) -> NDArray[np.float32]:
        """The volume in the plane through `position`, (height, width)."""
        plane = resample(volume, self.plane(position), interpolation=_interpolation(nearest=nearest), outside=outside)
        return np.asarray(plane.array[0], np.float32)


def to_isotropic(volume: Volume, box: BoundingBox, step: float, *, outside: float, nearest: bool = False) -> Volume:
    """Resample a volume inside a box onto an axis-aligned LPS grid with cubic voxels of `step` mm."""
    columns, rows, slices = (max(1, round(float(n))) for n in (box.high - box.low) / step)
    affine = np.diag([step, step, step, 1.0])
    affine[:3, 3] = box.low + step / 2
    return resample(
        volume, Grid((slices, rows, columns), affine), interpolation=_interpolation(nearest=nearest), outside=outside
    )


def _interpolation(*, nearest: bool) -> Literal["linear", "nearest"]:
    return "nearest" if nearest else "linear"


def project_maximum(volume: Volume, view: View) -> NDArray[np.float32]:
    """Project the largest value along the viewing direction: shape (height, width), head up.

    Args:
        volume: of `to_isotropic`.
        view: CORONAL looks from the front, SAGITTAL from the patient's left.
    """
    axis = {"axial": 0, "coronal": 1, "sagittal": 2}[view.name]
    image = np.asarray(volume.array.max(axis=axis), np.float32)
    return image if view is AXIAL else image[::-1]


def body_box(pet: Volume, *, margin_mm: float = 15.0) -> BoundingBox:
    """The box of the body on the PET (SUV, g/ml): cropped in plane, the whole scan from head to feet."""
    whole = BoundingBox(*pet.bounds)
    coarse = to_isotropic(pet, whole, _COARSE_MM, outside=0.0)
    body = coarse.array > BODY_SUV
    low, high = whole.low.copy(), whole.high.copy()
    for axis, others in ((0, (0, 1)), (1, (0, 2))):  # x, then y; a row of voxels counts if it holds more than noise
        voxels_of_body = body.sum(axis=others)
        inside = np.flatnonzero(voxels_of_body > 0.01 * voxels_of_body.max())
        if inside.size:
            low[axis] = max(whole.low[axis], whole.low[axis] + inside[0] * _COARSE_MM - margin_mm)
            high[axis] = min(whole.high[axis], whole.low[axis] + (inside[-1] + 1) * _COARSE_MM + margin_mm)
    return BoundingBox(low, high)
