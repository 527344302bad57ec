"""A voxel canvas on which a body is painted with tissues, in the coordinates of the reference body.

A smooth random deformation and the patient's height and build carry reference positions
(`training.simulation.patients.reference_body`) into the patient. Tissues are painted as labels; uptake and density
follow from the label (`training.simulation.phantom.tissues`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from training.simulation.patients.reference_body import REFERENCE_HEIGHT_M, VERTEX_MM, Mm
from training.simulation.phantom.tissues import Tissue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fedpet.imaging.volume import Affine
    from training.simulation.patients.population import PatientAnatomy

Field = NDArray[np.float32]  # [slice, row, column]
Mask = NDArray[np.bool_]
Box = tuple[slice, slice, slice]

WIDTH_MM: Final = 512.0
DEPTH_MM: Final = 384.0
_ABOVE_VERTEX_MM: Final = 24.0
_KNOTS_MM: Final = 130.0  # spacing of the deformation's control points
_FIRST_KNOT_MM: Final[Mm] = (-200.0, -420.0, -480.0)  # z, y, x
_AMPLITUDE_MM: Final[Mm] = (4.5, 4.0, 7.0)


@dataclass(frozen=True)
class Lattice:
    """The voxels of a canvas: shape (slices, rows, columns), spacing (column, row, slice) mm, LPS axes."""

    shape: tuple[int, int, int]
    spacing: Mm

    @staticmethod
    def around(anatomy: PatientAnatomy, spacing: Mm) -> Lattice:
        """Mid-thigh to above the vertex."""
        length = VERTEX_MM * anatomy.height_m / REFERENCE_HEIGHT_M + _ABOVE_VERTEX_MM
        x, y, z = spacing
        return Lattice((round(length / z), round(DEPTH_MM / y), round(WIDTH_MM / x)), spacing)

    @property
    def affine(self) -> Affine:
        """(column, row, slice, 1) -> LPS mm; x and y are centred, z = 0 is the lowest face."""
        affine = np.diag([*self.spacing, 1.0])
        slices, rows, columns = self.shape
        del slices
        affine[:3, 3] = (
            -(columns - 1) / 2 * self.spacing[0],
            -(rows - 1) / 2 * self.spacing[1],
            self.spacing[2] / 2,
        )
        return affine

    def axes(self) -> tuple[Field, Field, Field]:
        """Positions (z, y, x) of the slices, rows and columns, mm."""
        affine = self.affine
        z, y, x = (
            (affine[i, 3] + self.spacing[i] * np.arange(n)).astype(np.float32)
            for i, n in zip((2, 1, 0), self.shape, strict=True)
        )
        return z, y, x


@dataclass(frozen=True)
class CanvasRegion:
    """Part of the canvas: `level` is a distance-like field there, below 1 inside a shape."""

    box: Box
    level: Field

    @property
    def inside(self) -> Mask:
        """The voxels of the shape."""
        return np.asarray(self.level < 1)


class Canvas:
    """Labels on a lattice, and the reference coordinates of every voxel.

    Attributes:
        labels: `Tissue` of each voxel, uint8.
        x, y, z: reference coordinates of each voxel, mm, float32.
    """

    def __init__(self, anatomy: PatientAnatomy, lattice: Lattice) -> None:
        self.lattice = lattice
        self.height_scale = anatomy.height_m / REFERENCE_HEIGHT_M
        self.width_scale = 0.86 + 0.14 * self.height_scale
        self.labels = np.full(lattice.shape, Tissue.AIR, np.uint8)
        rng = np.random.default_rng(anatomy.warp_seed)
        zs, ys, xs = lattice.axes()
        z, y, x = zs / self.height_scale, ys / self.width_scale, xs / self.width_scale
        shifts = [_shift(rng, amplitude, (z, y, x)) for amplitude in _AMPLITUDE_MM]
        self.x: Field = x[None, None, :] - shifts[0]
        self.y: Field = y[None, :, None] - shifts[1]
        self.z: Field = z[:, None, None] - shifts[2]

    def to_patient(self, points: ArrayLike) -> NDArray[np.float64]:
        """LPS mm in the patient of reference points (n, 3): the inverse of the deformation, by iteration."""
        reference = np.asarray(points, float).reshape(-1, 3)
        scale = np.array([self.width_scale, self.width_scale, self.height_scale])
        origin, spacing = self.lattice.affine[:3, 3], np.array(self.lattice.spacing)
        place = reference * scale
        for _ in range(3):
            column = np.round((place - origin) / spacing).astype(int)
            column = np.clip(column, 0, np.array(self.lattice.shape[::-1]) - 1)
            at = column[:, 2], column[:, 1], column[:, 0]
            found = np.stack([self.x[at], self.y[at], self.z[at]], axis=1)
            place = origin + column * spacing + (reference - found) * scale
        return np.asarray(place, float)

    def box(self, low: Mm, high: Mm, *, margin: float = 16.0) -> Box:
        """Voxels between two corners in reference coordinates, with a margin for the deformation, mm."""
        scale = (self.width_scale, self.width_scale, self.height_scale)
        slices = []
        for axis in (2, 1, 0):
            origin, step = self.lattice.affine[axis, 3], self.lattice.spacing[axis]
            size = self.lattice.shape[2 - axis]
            first = int(((low[axis] - margin) * scale[axis] - origin) // step)
            last = int(((high[axis] + margin) * scale[axis] - origin) // step) + 2
            slices.append(slice(min(max(first, 0), size), min(max(last, 0), size)))
        return slices[0], slices[1], slices[2]

    def ellipsoid(
        self, centre: Mm, radii: Mm, *, power: float = 2.0, yaw: float = 0.0, tilt: float = 0.0
    ) -> CanvasRegion:
        """A (super-)ellipsoid turned about z by `yaw`, or about y by `tilt`, radians."""
        reach_x = max(radii[0], radii[1] if yaw else 0.0, radii[2] if tilt else 0.0)
        reach = (reach_x, reach_x if yaw else radii[1], reach_x if tilt else radii[2])
        low = tuple(c - r for c, r in zip(centre, reach, strict=True))
        high = tuple(c + r for c, r in zip(centre, reach, strict=True))
        box = self.box((low[0], low[1], low[2]), (high[0], high[1], high[2]))
        dx, dy, dz = self.x[box] - centre[0], self.y[box] - centre[1], self.z[box] - centre[2]
        if yaw:
            dx, dy = np.cos(yaw) * dx + np.sin(yaw) * dy, np.cos(yaw) * dy - np.sin(yaw) * dx
        if tilt:
            dx, dz = np.cos(tilt) * dx + np.sin(tilt) * dz, np.cos(tilt) * dz - np.sin(tilt) * dx
        if power == 2.0:
            return CanvasRegion(box, np.sqrt((dx / radii[0]) ** 2 + (dy / radii[1]) ** 2 + (dz / radii[2]) ** 2))
        total = sum(np.abs(d / r) ** power for d, r in zip((dx, dy, dz), radii, strict=True))
        return CanvasRegion(box, np.asarray(total, np.float32) ** (1 / power))

    def paint(self, box: Box, mask: Mask, tissue: Tissue, *, over: Sequence[Tissue] = ()) -> None:
        """Give `tissue` to the mask's voxels; only where one of `over` is, if given."""
        labels = self.labels[box]
        labels[mask & _painted(over)[labels] if over else mask] = tissue

    def tube(self, points: Sequence[Mm], radius: float, tissue: Tissue, *, over: Sequence[Tissue] = ()) -> None:
        """Paint a tube of `radius` mm along a polyline of reference points."""
        voxels = self.tube_voxels(points, radius)
        flat = np.ravel_multi_index((voxels[:, 0], voxels[:, 1], voxels[:, 2]), self.lattice.shape)
        labels = self.labels.reshape(-1)
        labels[flat[_painted(over)[labels[flat]]] if over else flat] = tissue

    def tube_voxels(self, points: Sequence[Mm], radius: float) -> NDArray[np.int64]:
        """Indices (n, 3) of the voxels of a tube of `radius` mm along a polyline of reference points."""
        centres = self.to_patient(_resampled(np.asarray(points, float), max(radius * 0.5, 2.0)))
        spacing = np.array(self.lattice.spacing)
        index = np.round((centres - self.lattice.affine[:3, 3]) / spacing).astype(int)[:, ::-1]
        index = np.unique(index, axis=0)
        voxels = (index[:, None, :] + _ball(radius, self.lattice.spacing)[None]).reshape(-1, 3)
        inside = ((voxels >= 0) & (voxels < self.lattice.shape)).all(axis=1)
        return np.asarray(voxels[inside], np.int64)


def noise_field(rng: np.random.Generator, shape: tuple[int, int, int], sigma: Sequence[float]) -> Field:
    """Gaussian noise smoothed by `sigma` (voxels along slice, row, column), unit variance."""
    field = rng.standard_normal(shape, dtype=np.float32)
    field = ndimage.gaussian_filter(field, sigma, mode="wrap", truncate=2.5)
    return np.asarray(field / max(float(field.std()), 1e-6), np.float32)


def _painted(over: Sequence[Tissue]) -> Mask:
    table = np.zeros(256, bool)
    table[list(over)] = True
    return table


def _ball(radius: float, spacing: Mm) -> NDArray[np.int64]:
    """Offsets (slice, row, column) within `radius` mm; the centre at least."""
    reach = [int(radius // step) for step in spacing[::-1]]
    offsets = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in reach], indexing="ij"), axis=-1).reshape(-1, 3)
    distance = np.linalg.norm(offsets * np.array(spacing[::-1]), axis=1)
    return np.asarray(offsets[distance <= radius], np.int64)


def _resampled(points: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Points every `step` mm along a polyline."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    at = np.linspace(0, along[-1], max(2, int(along[-1] / step) + 1))
    return np.stack([np.interp(at, along, points[:, i]) for i in range(3)], axis=1)


def _shift(rng: np.random.Generator, amplitude: float, axes: tuple[Field, Field, Field]) -> Field:
    """A smooth random shift, mm: a cubic B-spline over the reference body, with an SD of about `amplitude`.

    Plain loops of einsum, not BLAS: the same bits on any number of threads.
    """
    coefficients = (1.9 * amplitude * rng.normal(size=(13, 8, 9))).astype(np.float32)
    bz, by, bx = (
        _spline_basis(at, origin, knots)
        for at, origin, knots in zip(axes, _FIRST_KNOT_MM, coefficients.shape, strict=True)
    )
    rows = np.einsum("yj,ijk->iyk", by, coefficients)
    planes = np.einsum("iyk,xk->iyx", rows, bx)
    return np.asarray(np.einsum("zi,iyx->zyx", bz, planes), np.float32)


def _spline_basis(at: Field, origin: float, knots: int) -> Field:
    """Cubic B-spline weights, shape (positions, knots)."""
    d = np.abs((at[:, None] - origin) / _KNOTS_MM - np.arange(knots, dtype=np.float32))
    return np.where(d < 1, 2 / 3 - d**2 + d**3 / 2, np.where(d < 2, (2 - d) ** 3 / 6, 0)).astype(np.float32)
