"""A canvas that deforms each organ by itself and remembers which structure every voxel belongs to."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import numpy as np

from training.simulation.phantom.canvas import Canvas, noise_field
from training.simulation.phantom.varied.structures import NAMES, STRUCTURES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from training.simulation.patients.population import PatientAnatomy
    from training.simulation.patients.reference_body import Mm
    from training.simulation.phantom.canvas import Box, Field, Lattice, Mask
    from training.simulation.phantom.tissues import Tissue
    from training.simulation.phantom.varied.traits import BodyTraits

OTHER: Final = 0
_SEGMENTS_MM: Final = (0.0, 340.0, 585.0, 790.0, 860.0, 1045.0)  # ends of thighs and pelvis, abdomen, chest, neck, head
_COARSE_MM: Final = 24.0  # voxels on which the deformations are drawn
_WOBBLE_MM: Final = 30.0  # length scale of an organ's own deformation
_FLEXURE_MM, _FLEXURE_AMPLITUDE_MM = 60.0, 4.0  # of the whole body, beside that of `Canvas`


class VariedCanvas(Canvas):
    """Labels, structures, and coordinates that are bent anew for every organ.

    Attributes:
        structures: value of `STRUCTURES` of each voxel, uint8; 0 where no named structure is.
        traits: of the body.
        rng: for what is drawn while painting.
    """

    def __init__(self, anatomy: PatientAnatomy, lattice: Lattice, traits: BodyTraits) -> None:
        super().__init__(anatomy, lattice)
        self.traits = traits
        self.rng = np.random.default_rng([traits.seed, 11])
        self.structures: NDArray[np.uint8] = np.zeros(lattice.shape, np.uint8)
        self._structure = OTHER
        self._margin = 16.0
        self._bend()
        self._waves = [self.smooth_field(_WOBBLE_MM) for _ in range(3)]
        self._base = self.x, self.y, self.z

    def _bend(self) -> None:
        """Posture and build: segments of other lengths, girth, scoliosis, a flexure of the whole body."""
        ends = np.array(_SEGMENTS_MM)
        stretched = np.concatenate([[0.0], np.cumsum(np.diff(ends) * self.traits.segments)])
        stretched *= ends[-1] / stretched[-1]
        z = np.interp(self.z, stretched, ends).astype(np.float32)
        beyond = np.minimum(self.z, 0) + np.maximum(self.z - ends[-1], 0)
        self.z = z + beyond
        amplitude, length = self.traits.scoliosis
        curve = amplitude * np.sin(2 * np.pi * (self.z - 345) / length) * np.clip((self.z - 330) / 60, 0, 1)
        self.x = (self.x - curve * np.clip((820 - self.z) / 60, 0, 1)) / np.float32(self.traits.girth[0])
        self.y = self.y / np.float32(self.traits.girth[1])
        for axis in ("x", "y", "z"):
            setattr(self, axis, getattr(self, axis) + _FLEXURE_AMPLITUDE_MM * self.smooth_field(_FLEXURE_MM))

    def smooth_field(self, length_mm: float) -> Field:
        """A smooth random field of unit SD, periodic over the lattice, so that it can be rolled."""
        shape, spacing = self.lattice.shape, self.lattice.spacing[::-1]
        coarse = [max(4, round(n * s / _COARSE_MM)) for n, s in zip(shape, spacing, strict=True)]
        field = noise_field(self.rng, (coarse[0], coarse[1], coarse[2]), [length_mm / 1.8 / _COARSE_MM] * 3)
        for axis, (knots, length) in enumerate(zip(coarse, shape, strict=True)):
            at = np.arange(length) * knots / length
            low = at.astype(int)
            share = (at - low).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(3)])
            field = np.take(field, low, axis) * (1 - share) + np.take(field, (low + 1) % knots, axis) * share
        return np.asarray(field, np.float32)

    @contextmanager
    def organ(
        self,
        name: str | None,
        centre: Mm,
        *,
        shift: float | Mm = 6.0,
        scale: float = 0.08,
        wobble: float = 4.0,
        grow: float = 1.0,
        reach: float = 130.0,
    ) -> Iterator[None]:
        """Paint what follows as structure `name`, moved, scaled and bent at random about `centre`.

        Args:
            name: key of `STRUCTURES`; None for what has no name.
            centre: reference mm about which it is scaled.
            shift: SD of the displacement, mm, of all axes or of each.
            scale: SD of the logarithm of the scale along each axis.
            wobble: SD of the smooth deformation of the border, mm.
            grow: factor on the size.
            reach: how far above and below `centre` the organ lies, mm.
        """
        moved = np.clip(self.rng.normal(size=3), -2, 2) * np.asarray(shift)
        factors = grow * np.exp(np.clip(self.rng.normal(0, scale, 3), -2 * scale, 2 * scale))
        kept = self.x, self.y, self.z
        x, y, z = centre
        slab = self.box((x, y, z - reach), (x, y, z + reach))[0]
        self.x, self.y, self.z = (
            self._bent(field, slab, float(mid), float(mid + offset), float(factor), wobble)
            for field, mid, offset, factor in zip(kept, centre, moved, factors, strict=True)
        )
        outer, self._structure = self._structure, OTHER if name is None else STRUCTURES[name]
        margin, self._margin = self._margin, 16.0 + float(np.abs(moved).max()) + 3 * wobble + 100 * abs(grow - 1)
        try:
            yield
        finally:
            self.x, self.y, self.z = kept
            self._structure, self._margin = outer, margin

    def _bent(self, field: Field, slab: slice, source: float, target: float, factor: float, wobble: float) -> Field:
        """A coordinate field with `source` moved to `target`, scaled about it and bent, between two slices."""
        bent = field.copy()
        part = bent[slab]
        part -= np.float32(target)
        part *= np.float32(1 / factor)
        part += np.float32(source)
        if wobble:
            wave = self._waves[int(self.rng.integers(len(self._waves)))]
            turn = [int(one) for one in self.rng.choice((-1, 1), 3)]
            at = (np.arange(slab.start, slab.stop) + int(self.rng.integers(len(wave)))) % len(wave)
            part += np.float32(wobble) * turn[0] * wave[at][:, :: turn[1], :: turn[2]]
        return bent

    def box(self, low: Mm, high: Mm, *, margin: float = 16.0) -> Box:
        """Voxels between two corners in reference coordinates, with a margin that holds every deformation."""
        return super().box(low, high, margin=margin + self._margin + 45.0)

    def paint(self, box: Box, mask: Mask, tissue: Tissue, *, over: Sequence[Tissue] = ()) -> None:
        """Give `tissue` and the current structure to the mask's voxels; only where one of `over` is, if given."""
        allowed = mask & np.isin(self.labels[box], over) if over else mask
        self.labels[box][allowed] = tissue
        self.structures[box][allowed] = self._structure

    def tube(self, points: Sequence[Mm], radius: float, tissue: Tissue, *, over: Sequence[Tissue] = ()) -> None:
        """Paint a tube of `radius` mm along a polyline of reference points."""
        voxels = self.tube_voxels(points, radius)
        flat = np.ravel_multi_index((voxels[:, 0], voxels[:, 1], voxels[:, 2]), self.lattice.shape)
        labels, structures = self.labels.reshape(-1), self.structures.reshape(-1)
        if over:
            flat = flat[np.isin(labels[flat], over)]
        labels[flat] = tissue
        structures[flat] = self._structure

    def erase(self, box: Box, mask: Mask, tissue: Tissue, *, over: Sequence[Tissue]) -> None:
        """Give `tissue` and no structure to the mask's voxels where one of `over` is."""
        outer, self._structure = self._structure, OTHER
        self.paint(box, mask, tissue, over=over)
        self._structure = outer

    @property
    def structure(self) -> str | None:
        """Name of what is painted."""
        return NAMES[self._structure - 1] if self._structure else None

    @structure.setter
    def structure(self, name: str | None) -> None:
        self._structure = OTHER if name is None else STRUCTURES[name]

    @staticmethod
    def number(name: str) -> int:
        """Value of a structure in `structures`."""
        return STRUCTURES[name]

    def claim(self, name: str, tissues: Sequence[Tissue], where: Mask | None = None, box: Box | None = None) -> None:
        """Name the voxels of some tissues, in a mask of a box or everywhere."""
        box = box or (slice(None), slice(None), slice(None))
        mask = np.isin(self.labels[box], tissues)
        self.structures[box][mask if where is None else mask & where] = STRUCTURES[name]
