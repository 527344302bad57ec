"""What a network is shown: a body with random uptake and densities, deformed, scanned, cut out; no two are alike.

The ranges are much wider than those of the cohort: what is learned is where organs lie and what they look like beside
one another, not one set of uptakes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import ndimage

from training.organs.bodies import SPACING_MM
from training.simulation.phantom.canvas import noise_field
from training.simulation.phantom.tissues import Tissue
from training.simulation.phantom.varied.structures import STRUCTURES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.organs.bodies import PaintedBody

    Field = NDArray[np.float32]

GRID_MM: Final = 6.0
CROP: Final = (96, 48, 80)  # slices, rows, columns of a training sample
_BANK: Final = (64, 64, 64)
_FWHM: Final = 2.354820045
_T = Tissue

# Tissue: median SUV, SD of its logarithm, mean HU, SD of the patient's HU, SD of the voxels' HU
_LOOKS: Final[dict[Tissue, tuple[float, float, float, float, float]]] = {
    _T.AIR: (0.02, 0.5, -1000, 1, 2),
    _T.FAT: (0.3, 0.35, -95, 18, 6),
    _T.MUSCLE: (0.7, 0.3, 50, 9, 6),
    _T.BONE: (1.0, 0.45, 520, 180, 60),
    _T.MARROW: (1.5, 0.45, 180, 70, 30),
    _T.LUNG: (0.45, 0.25, -830, 50, 25),
    _T.LIVER: (2.2, 0.25, 55, 15, 5),
    _T.SPLEEN: (1.9, 0.3, 50, 8, 5),
    _T.BLOOD: (1.7, 0.25, 44, 8, 4),
    _T.MYOCARDIUM: (3.0, 0.95, 50, 8, 5),
    _T.RIGHT_HEART: (1.9, 0.5, 50, 8, 5),
    _T.MEDIASTINUM: (0.75, 0.35, -45, 40, 16),
    _T.AIRWAY: (0.3, 0.5, -960, 40, 10),
    _T.CORTEX: (8.5, 0.4, 37, 5, 4),
    _T.WHITE_MATTER: (3.2, 0.4, 30, 5, 4),
    _T.FLUID: (0.8, 0.4, 8, 8, 4),
    _T.KIDNEY: (3.0, 0.4, 36, 8, 5),
    _T.URINE: (14.0, 1.0, 8, 8, 4),
    _T.GUT_LOW: (1.0, 0.4, 30, 15, 18),
    _T.GUT: (1.9, 0.5, 30, 15, 18),
    _T.GUT_HIGH: (4.0, 0.6, 30, 15, 18),
    _T.GAS: (0.4, 0.4, -900, 60, 25),
    _T.GLAND: (1.8, 0.4, 42, 10, 6),
    _T.TONSIL: (3.2, 0.5, 45, 8, 5),
    _T.CORD: (1.5, 0.3, 32, 6, 4),
    _T.DISC: (0.8, 0.3, 80, 15, 8),
    _T.COUCH: (0.02, 0.5, -350, 200, 10),
    _T.VESSEL: (0.9, 0.3, -100, 100, 120),
    _T.SKULL: (0.7, 0.35, 800, 200, 100),
    _T.TENDON: (0.9, 0.5, 38, 10, 8),
    _T.FATTY_MARROW: (0.6, 0.4, 60, 60, 30),
    _T.OEDEMA: (2.0, 0.4, 22, 5, 4),
    _T.STOMACH: (1.7, 0.6, 25, 20, 20),
    _T.METAL: (0.1, 0.5, 3000, 1, 1),
    _T.SILICONE: (0.1, 0.5, 90, 60, 5),
    _T.BROWN_FAT: (5.0, 0.6, -75, 15, 8),
    _T.THYMUS: (1.5, 0.5, 20, 30, 12),
    _T.FIBROSIS: (1.6, 0.5, -200, 150, 120),
    _T.ADRENAL: (1.6, 0.4, 25, 12, 6),
    _T.GONAD: (2.0, 0.6, 35, 8, 6),
    _T.CONTRAST_GUT: (1.8, 0.6, 260, 100, 50),
    _T.EYE_MUSCLE: (2.5, 0.4, 45, 8, 4),
}
_ENHANCEMENT: Final[dict[Tissue, float]] = {  # relative to blood
    _T.BLOOD: 1.0, _T.KIDNEY: 1.0, _T.LIVER: 0.42, _T.SPLEEN: 0.55, _T.MYOCARDIUM: 0.5, _T.RIGHT_HEART: 0.5,
    _T.GLAND: 0.4, _T.ADRENAL: 0.4, _T.VESSEL: 0.5, _T.TENDON: 0.3, _T.MUSCLE: 0.1, _T.URINE: 0.4, _T.THYMUS: 0.2,
}  # fmt: skip
_FOCUS_MM: Final = 9.0, 0.5  # median radius, SD of its logarithm
_MASS_MM: Final = 22.0, 0.35
_MASS_SHARE: Final = 0.3
# where tumours lie beside organs as hot as they are: lung, mediastinum, adrenal glands
_BESIDE_ORGANS: Final = ((_T.LUNG,), (_T.MEDIASTINUM,), (_T.ADRENAL,))
_STRUCTURE_SD: Final = 0.30  # of the logarithm of the uptake of a structure relative to its tissue


@dataclass(frozen=True, eq=False)
class Sample:
    """A training sample on cubic voxels of `GRID_MM`.

    Attributes:
        image: (2, slices, rows, columns) float32, SUV and HU.
        labels: (slices, rows, columns) uint8, values of `STRUCTURES`.
    """

    image: Field
    labels: NDArray[np.uint8]


class Scanner:
    """Draws samples from painted bodies."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self._noise = noise_field(self.rng, _BANK, [1.0, 1.0, 1.0])
        self._waves = noise_field(self.rng, _BANK, [6.0, 6.0, 6.0])

    def sample(self, body: PaintedBody, *, crop: tuple[int, int, int] | None = CROP) -> Sample:
        """Scan a body.

        Args:
            body: what is scanned.
            crop: voxels of the sample, anywhere over the body; None for the whole body, not deformed.
        """
        tissues, structures, points = self._place(body, crop)
        suv, hu = self._images(tissues, structures)
        self._add_lesions(suv, hu, tissues)
        suv = ndimage.gaussian_filter(suv, self.rng.uniform(3.5, 9.0) / _FWHM / SPACING_MM, truncate=2.5)
        hu = ndimage.gaussian_filter(hu, self.rng.uniform(0.35, 0.8), truncate=2.5)
        breath = np.array([self.rng.normal(0, 0.9), self.rng.normal(0, 0.3), self.rng.normal(0, 0.3)])
        labels = ndimage.map_coordinates(structures, points, order=0, mode="constant")
        ct = ndimage.map_coordinates(hu, points, order=1, mode="constant", cval=-1000)
        pet = ndimage.map_coordinates(suv, points + breath[:, None, None, None], order=1, mode="constant")
        return Sample(self._with_noise(pet, ct), np.asarray(labels, np.uint8))

    def _place(
        self, body: PaintedBody, crop: tuple[int, int, int] | None
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], Field]:
        """The slab of the body that is seen, and the place in it of every voxel of the sample."""
        rng, ratio = self.rng, GRID_MM / SPACING_MM
        shape = np.array(body.tissues.shape)
        if crop is None:
            size = np.ceil(shape / ratio / 16).astype(int) * 16
            grid = np.stack(np.meshgrid(*[np.arange(n) * ratio for n in size], indexing="ij")).astype(np.float32)
            return body.tissues, body.structures, grid
        size = np.array(crop)
        scale = np.exp(rng.normal(0, 0.06) + rng.normal(0, 0.05, 3))
        turn = np.eye(3) + _skew(rng.normal(0, 0.08, 3)) + rng.normal(0, 0.03, (3, 3))
        centre = shape / 2 + rng.normal(0, [1, 3, 5])
        half = size[0] * ratio / 2
        centre[0] = rng.uniform(min(0.55 * half, shape[0] / 2), max(shape[0] - 0.55 * half, shape[0] / 2))
        axes = [(np.arange(n, dtype=np.float32) - n / 2) * ratio for n in size]
        z, y, x = axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]
        matrix = (turn * scale).astype(np.float32)
        bend = self._displacement(crop)
        points = np.stack([
            matrix[i, 0] * z + matrix[i, 1] * y + matrix[i, 2] * x + np.float32(centre[i]) + bend[i] for i in range(3)
        ])  # fmt: skip
        low = int(max(np.floor(points[0].min()) - 4, 0))
        high = int(min(np.ceil(points[0].max()) + 5, shape[0]))
        points[0] -= low
        return body.tissues[low:high], body.structures[low:high], points

    def _displacement(self, crop: tuple[int, int, int]) -> list[Field]:
        """A smooth random displacement along each axis, voxels of the body."""
        coarse = (7, 5, 6)
        fields = []
        for _ in range(3):
            knots = self.rng.normal(0, self.rng.uniform(0.5, 2.2), coarse).astype(np.float32)
            for axis, (n, size) in enumerate(zip(coarse, crop, strict=True)):
                knots = np.moveaxis(_spline(size, n) @ np.moveaxis(knots, axis, -2), -2, axis)
            fields.append(np.asarray(knots, np.float32))
        return fields

    def _images(self, tissues: NDArray[np.uint8], structures: NDArray[np.uint8]) -> tuple[Field, Field]:
        """Ideal SUV and HU of every voxel."""
        rng = self.rng
        suv, hu, grain = (np.zeros(256, np.float32) for _ in range(3))
        density, wide = float(rng.normal(0, 5)), float(rng.uniform(0.6, 1.4))
        contrast = float(rng.uniform(60, 220)) if rng.random() < 0.35 else 0.0
        for tissue, (median, spread, mean, sd, rough) in _LOOKS.items():
            suv[tissue] = median * np.exp(rng.normal(0, spread))
            hu[tissue] = rng.normal(mean, sd) + (density if mean > -900 else 0) + contrast * _ENHANCEMENT.get(tissue, 0)
            grain[tissue] = rough * wide
        suv[_T.WHITE_MATTER] = suv[_T.CORTEX] * rng.uniform(0.25, 1.0)  # blurred together on coarse scanners
        if rng.random() < 0.3:
            suv[_T.RIGHT_HEART] = suv[_T.MYOCARDIUM] * rng.uniform(0.3, 1.0)
        factor = np.exp(rng.normal(0, _STRUCTURE_SD, 256)).astype(np.float32)
        factor[[0, STRUCTURES["muscle"]]] = 1.0
        for name in ("bladder", "renal_pelvis_right", "renal_pelvis_left", "ureter_right", "ureter_left"):
            factor[STRUCTURES[name]] = np.exp(rng.normal(0, 0.7))
        offset = np.asarray(rng.normal(0, 4, 256), np.float32)
        noise, waves = self._from_bank(self._noise, tissues.shape, 1), self._from_bank(self._waves, tissues.shape, 1)
        mottle = np.float32(rng.uniform(0.03, 0.15))
        uptake = suv[tissues] * factor[structures] * np.maximum(1 + mottle * noise + 0.10 * waves, 0.1)
        if rng.random() < 0.2:  # exercised muscle
            active = (tissues == _T.MUSCLE) & (self._from_bank(self._waves, tissues.shape, 1) > rng.uniform(0.3, 1.5))
            uptake[active] *= np.float32(rng.uniform(2, 6))
        uptake *= np.float32(np.exp(rng.normal(0, 0.12)))
        return uptake, hu[tissues] + offset[structures] * (tissues > 0) + grain[tissues] * noise

    def _from_bank(self, bank: Field, shape: tuple[int, ...], turns: int) -> Field:
        """Part of a noise bank, repeated to `shape`, from a random place."""
        index = [
            (np.arange(n) * turns + int(self.rng.integers(size))) % size
            for n, size in zip(shape, bank.shape, strict=True)
        ]
        return np.asarray(bank[index[0]][:, index[1]][:, :, index[2]], np.float32)

    def _add_lesions(self, suv: Field, hu: Field, tissues: NDArray[np.uint8]) -> None:
        """Hot and cold foci, some as large as a primary tumour; the structures stay what they are."""
        rng = self.rng
        coarse = tissues[::4, ::4, ::4]
        anywhere = np.argwhere((coarse > 0) & (coarse != Tissue.COUCH)) * 4
        beside_organs = [np.argwhere(np.isin(coarse, kinds)) * 4 for kinds in _BESIDE_ORGANS]
        for _ in range(int(rng.integers(0, 10))):
            mass = rng.random() < _MASS_SHARE
            places = beside_organs[int(rng.integers(len(beside_organs)))] if rng.random() < 0.5 else anywhere
            places = places if len(places) else anywhere
            centre = places[int(rng.integers(len(places)))]
            median, spread = _MASS_MM if mass else _FOCUS_MM
            radii = np.exp(rng.normal(np.log(median), spread)) * np.exp(rng.normal(0, 0.2, 3)) / SPACING_MM
            low = np.maximum(np.floor(centre - radii), 0).astype(int)
            high = np.minimum(np.ceil(centre + radii) + 1, tissues.shape).astype(int)
            box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            level = sum(
                ((np.arange(a, b) - c) / r).reshape([-1 if i == axis else 1 for i in range(3)]) ** 2
                for axis, (a, b, c, r) in enumerate(zip(low, high, centre, radii, strict=True))
            )
            inside = (level < 1) & (tissues[box] > 0)
            suv[box][inside] = np.exp(rng.normal(np.log(7), 0.65))
            if mass or rng.random() < 0.7:
                hu[box][inside] = rng.normal(40, 15)
            if mass and rng.random() < 0.4:  # necrosis
                suv[box][inside & (level < rng.uniform(0.1, 0.6))] = rng.uniform(0.5, 2.0)

    def _with_noise(self, pet: Field, ct: Field) -> Field:
        """Noise of the detectors, a table of other density, streaks of nothing: (2, ...)."""
        rng = self.rng
        strength = float(np.exp(rng.uniform(np.log(0.01), np.log(0.14))))
        grain = self._from_bank(self._noise, pet.shape, 1)
        pet = np.maximum(pet + strength * np.sqrt(np.maximum(pet, 0.05)) * grain, 0)
        ct = ct + np.float32(np.exp(rng.uniform(np.log(1), np.log(22)))) * self._from_bank(self._noise, ct.shape, 1)
        return np.stack([pet, np.clip(ct, -1024, 3071)]).astype(np.float32)


def _skew(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    a, b, c = angles
    return np.array([[0, -c, b], [c, 0, -a], [-b, a, 0]])


def _spline(size: int, knots: int) -> Field:
    """Cubic B-spline weights of `size` places over `knots` control points."""
    at = np.linspace(1, knots - 2, size)[:, None]
    d = np.abs(at - np.arange(knots)[None])
    return np.where(d < 1, 2 / 3 - d**2 + d**3 / 2, np.where(d < 2, (2 - d) ** 3 / 6, 0)).astype(np.float32)
