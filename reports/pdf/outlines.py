"""Outlines of lesions as vectors, and the numbers beside them, each tied by a line to the lesion that it names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from contourpy import contour_generator
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]
    Points = NDArray[np.float64]  # (n, 2): x from the left, y from the top

_SMOOTH = 0.6  # standard deviation, voxels
_FINEST = 0.2  # voxels between two points of an outline


def outlines(mask: Mask, voxel: float) -> list[Points]:
    """Closed lines around a mask (height, width), in pixels from its upper left corner.

    The steps of the voxels, `voxel` pixels each, are smoothed away; a mask narrower than that keeps its outline.
    """
    if not mask.any():
        return []
    rim = int(np.ceil(voxel)) + 2
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    soft = ndimage.gaussian_filter(np.pad(part.astype(np.float32), rim), _SMOOTH * voxel)
    level = min(0.5, 0.5 * float(soft.max()))
    lines = contour_generator(z=soft).lines(level)
    corner = np.array([columns[0], rows[0]]) - rim + 0.5  # of the upper left pixel, whose centre is the origin
    every = max(1, round(_FINEST * voxel))
    return [np.asarray(line, np.float64)[::every] + corner for line in lines]


def anchor(mask: Mask) -> tuple[float, float]:
    """A point (x, y) inside a mask, the one nearest to its centre, in pixels from the upper left corner."""
    rows, columns = np.nonzero(mask)
    nearest = int(np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2))
    return float(columns[nearest]) + 0.5, float(rows[nearest]) + 0.5


@dataclass(frozen=True)
class Callout:
    """A name in the margin of an image, and the point that it names; points from the image's upper left corner."""

    name: str
    at: tuple[float, float]
    left: bool  # in the left margin
    y: float  # of the middle of the name


def callouts(
    points: Mapping[str, tuple[float, float]], *, middle: float, height: float, step: float
) -> tuple[Callout, ...]:
    """Place names in the two margins of an image so that no two overlap and lines on one side do not cross.

    Args:
        points: name -> the point that it names, the most important first; those that find no place are left out.
        middle: x that parts the sides.
        height: of the image.
        step: smallest distance of two names below each other.
    """
    room = max(1, int(height // step))
    sides: dict[bool, list[str]] = {True: [], False: []}
    for name, (x, _y) in points.items():
        near = x < middle
        for side in (near, not near):
            if len(sides[side]) < room:
                sides[side].append(name)
                break
    placed = []
    for side, names in sides.items():
        ordered = sorted(names, key=lambda name: points[name][1])
        heights = _spread([points[name][1] for name in ordered], height=height, step=step)
        placed += [Callout(name, points[name], side, y) for name, y in zip(ordered, heights, strict=True)]
    return tuple(placed)


def _spread(wanted: Sequence[float], *, height: float, step: float) -> list[float]:
    """Ascending heights near the wanted ones, at least `step` apart and within the image."""
    places: list[float] = []
    for y in wanted:
        places.append(max(y, places[-1] + step if places else step / 2))
    last = height - step / 2
    for i in range(len(places) - 1, -1, -1):
        places[i] = min(places[i], last)
        last = places[i] - step
    return places
