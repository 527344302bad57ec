"""What the variants of a body look like beyond a table of tissues: exercised muscle, hot bowel, streaks of metal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from training.simulation.phantom.tissues import Tissue

if TYPE_CHECKING:
    from training.simulation.phantom.canvas import Field
    from training.simulation.phantom.varied.canvas import VariedCanvas

_METFORMIN: Final = 3.0  # uptake of bowel under metformin, relative to active bowel
_STREAK_HU: Final = 350.0
_STREAK_MM: Final = 70.0  # distance over which streaks fade


def vary_appearance(canvas: VariedCanvas, suv: Field, hu: Field) -> None:
    """Change ideal images in place as the traits of the body say.

    Args:
        canvas: the painted body.
        suv: uptake, g/ml, on the lattice of the canvas.
        hu: density, HU, on the same lattice.
    """
    traits = canvas.traits
    if traits.bowel == "metformin":
        suv[canvas.labels == Tissue.GUT_HIGH] *= _METFORMIN
    if traits.muscle_activity > 1:
        active = (canvas.labels == Tissue.MUSCLE) & (canvas.smooth_field(80.0) > 0.6)
        suv[active] *= np.float32(traits.muscle_activity)
    _streaks(canvas, hu)


def _streaks(canvas: VariedCanvas, hu: Field) -> None:
    """Bright and dark rays from metal in its slices."""
    metal = canvas.labels == Tissue.METAL
    _, y, x = canvas.lattice.axes()
    for level in np.flatnonzero(metal.any(axis=(1, 2))):
        rows, columns = np.nonzero(metal[level])
        dy, dx = y[:, None] - y[rows].mean(), x[None, :] - x[columns].mean()
        rays = np.sin(float(canvas.rng.integers(5, 9)) * np.arctan2(dy, dx) + float(canvas.rng.uniform(0, 6.3)))
        fading = np.exp(-np.hypot(dx, dy) / _STREAK_MM)
        body = canvas.labels[level] != Tissue.AIR
        hu[level][body & ~metal[level]] += (_STREAK_HU * rays * fading).astype(np.float32)[body & ~metal[level]]
