"""The SUV at the edge of a lesion: a fraction of its own maximum, by three rules.

41 % is a convention. The other two follow from the blur of the scanner: in the image of a sphere of radius r blurred by
a Gaussian of standard deviation s, uptake at the true edge is a fraction of the highest that depends on r / s alone.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.special import erf

from fedpet.imaging.resampling import sample_nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpet.imaging.volume import Volume

    Floats = NDArray[np.float64]

Level = Literal["41pct", "gradient", "adaptive"]
MAXIMUM_SHARE = 0.41  # EANM guidelines 2.0 (Boellaard 2015)
HOTTEST_SHARE = 0.7  # of the maximum: voxels whose mean stands for the uptake of a lesion (Schaefer 2008)
_STEEPEST = np.arange(0.25, 0.81, 0.05)  # fractions among which the steepest is looked for
_LEVEL_WIDTH = 0.06  # of a level, relative to the maximum
_BLUR_MM = 2.7  # standard deviation of a PET of 6.5 mm FWHM: blur moves the steepest fall of a small lesion inwards
_ROUNDS, _HIGHEST = 10, 0.9  # of the adaptive threshold: iterations, largest fraction of the maximum
_AROUND_MM = 10.0  # beyond the radius of a lesion, where its surroundings are measured


def surroundings(pet: Volume, hottest: NDArray[np.intp], volume_ml: Floats) -> Floats:
    """Median SUV around foci, 1 cm beyond their radius.

    Args:
        pet: SUV, g/ml.
        hottest: shape (n, 3), their hottest voxels.
        volume_ml: shape (n,).
    """
    directions = np.array([d for d in np.ndindex(3, 3, 3) if d != (1, 1, 1)], float) - 1.0
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    radius = np.cbrt(3000.0 * volume_ml / (4.0 * np.pi)) + _AROUND_MM
    points = pet.to_mm(hottest.astype(float))[:, None] + radius[:, None, None] * directions
    around = sample_nearest(pet, points.reshape(-1, 3), outside=0.0).reshape(len(hottest), -1)
    return np.asarray(np.median(around, axis=1), float)


def adaptive_fraction(
    values: NDArray[np.float32], background: float, spacing: tuple[float, ...], blur_mm: float = _BLUR_MM
) -> float:
    """Fraction of the maximum at the edge of a lesion, between its uptake and its background.

    The relative threshold of a blurred sphere of the lesion's size, above the background, found by iteration (van Dalen
    2007, Nucl Med Commun 28:485); the uptake of the lesion is the mean of its voxels of at least 70 % of the maximum
    (Schaefer 2008, Eur J Nucl Med Mol Imaging 35:1989), which noise raises less than the maximum.

    Args:
        values: SUV of the voxels in and around the lesion, shape (n,).
        background: SUV around it.
        spacing: of the voxels, mm.
        blur_mm: standard deviation of the resolution.
    """
    maximum, voxel_mm3 = float(values.max()), float(np.prod(spacing))
    uptake = float(values[values >= HOTTEST_SHARE * maximum].mean())
    radii, fractions = _edge_of_spheres()
    fraction, before = 0.45, 0.0
    for _ in range(_ROUNDS):
        if abs(fraction - before) < 0.005:
            break
        volume = max(float((values >= background + fraction * (uptake - background)).sum()), 1.0) * voxel_mm3
        before = fraction
        fraction = float(np.interp(np.cbrt(3 * volume / (4 * np.pi)) / blur_mm, radii, fractions))
    return min((background + fraction * (uptake - background)) / maximum, _HIGHEST)


@cache
def _edge_of_spheres() -> tuple[Floats, Floats]:
    """Radii of blurred spheres in standard deviations of the blur, and the fraction at their edge.

    Of the mean over the voxels of at least 70 % of the highest value, by the radial profile in closed form.
    """
    radii = np.geomspace(0.7, 30.0, 60)
    fractions = np.zeros(len(radii))
    for i, radius in enumerate(radii):
        r = np.linspace(0.01, radius + 5.0, 2000)
        inside = (erf((radius - r) / 2**0.5) + erf((radius + r) / 2**0.5)) / 2
        edge = np.exp(-((r - radius) ** 2) / 2) - np.exp(-((r + radius) ** 2) / 2)
        profile = inside - edge / (r * (2 * np.pi) ** 0.5)
        hottest = profile >= HOTTEST_SHARE * profile[0]
        mean = np.average(profile[hottest], weights=r[hottest] ** 2)
        fractions[i] = np.interp(radius, r, profile) / mean
    return radii, fractions


def steepest_fraction(
    suv: NDArray[np.float32], zone: NDArray[np.bool_], maximum: float, spacing: tuple[float, ...]
) -> float:
    """Fraction of the maximum at the edge of a lesion: where uptake falls most steeply, on average over the level.

    Edge detection as in Geets 2007, Eur J Nucl Med Mol Imaging 34:1427. In a blurred sphere of radius r the steepest
    fall lies by blur^2 / r inside of the true edge; the fraction is lowered by what uptake falls on that way.

    Args:
        suv: around the lesion, shape (slices, rows, columns).
        zone: the voxels that belong to it, same shape.
        maximum: of the lesion.
        spacing: of the voxels (column, row, slice), mm.
    """
    gradient = np.zeros(suv.shape)
    for axis, step in enumerate(spacing[::-1]):
        gradient += (np.gradient(suv, step, axis=axis) if suv.shape[axis] > 1 else 0.0) ** 2
    slope, level = np.sqrt(gradient[zone]), suv[zone] / maximum
    weights = np.exp(-(((level - _STEEPEST[:, None]) / _LEVEL_WIDTH) ** 2) / 2)
    steepness = (weights @ slope) / np.maximum(weights.sum(axis=1), 1e-6)
    best = int(steepness.argmax())
    radius = np.cbrt(3 * (level >= _STEEPEST[best]).sum() * np.prod(spacing) / (4 * np.pi))
    inwards = steepness[best] / maximum * _BLUR_MM**2 / max(float(radius), _BLUR_MM)
    return float(max(_STEEPEST[best] - inwards, _STEEPEST[0]))
