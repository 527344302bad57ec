"""Simulated bodies to train on: painted once on 4 mm, kept as labels, scanned anew each time they are shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from training.simulation.patients.centres import SITES
from training.simulation.patients.population import draw_patient
from training.simulation.phantom.canvas import Lattice
from training.simulation.phantom.varied.body import paint_varied

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SPACING_MM: Final = 4.0
_MARGIN: Final = 4  # voxels of air around the body


@dataclass(frozen=True, eq=False)
class PaintedBody:
    """Labels on cubic voxels of `SPACING_MM`, cropped to the body, `[slice, row, column]`.

    Attributes:
        tissues: values of `Tissue`, uint8.
        structures: values of `STRUCTURES`, uint8.
    """

    tissues: NDArray[np.uint8]
    structures: NDArray[np.uint8]


def paint_body(seed: int, number: int) -> PaintedBody:
    """Body `number` of `seed`; depends on these two and on nothing else."""
    site = SITES[number % len(SITES)]
    anatomy = draw_patient(site, number // len(SITES), seed=seed).anatomy
    spacing = (SPACING_MM, SPACING_MM, SPACING_MM)
    canvas = paint_varied(anatomy, Lattice.around(anatomy, spacing))
    occupied = canvas.labels > 0
    z, y, x = (_extent(occupied, axis) for axis in range(3))
    return PaintedBody(canvas.labels[z, y, x], canvas.structures[z, y, x])


def _extent(occupied: NDArray[np.bool_], axis: int) -> slice:
    """Where along an axis there is anything, with a margin."""
    others = tuple(other for other in range(3) if other != axis)
    places = np.flatnonzero(occupied.any(axis=others))
    return slice(max(int(places[0]) - _MARGIN, 0), int(places[-1]) + 1 + _MARGIN)


def kept_body(folder: Path, seed: int, number: int) -> PaintedBody:
    """The body from its file in `folder`; painted and written first where there is none."""
    path = folder / f"body-{seed}-{number:05d}.npz"
    if not path.exists():
        body = paint_body(seed, number)
        partial = path.with_suffix(".part.npz")
        np.savez_compressed(partial, tissues=body.tissues, structures=body.structures)
        partial.replace(path)
        return body
    with np.load(path) as stored:
        return PaintedBody(stored["tissues"], stored["structures"])
