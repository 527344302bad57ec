"""Closed planar contours of one plane as one area (DICOM PS3.3 C.8.8.6.1 and C.8.8.6.3).

The standard says how contours of type CLOSEDPLANAR_XOR are combined: by exclusive or. Of CLOSED_PLANAR it says that a
hole is drawn as a keyhole, one contour that reaches its hole through an arbitrarily narrow channel; in the files of
planning systems a contour inside another is a hole as well. So, of CLOSED_PLANAR:

- a contour drawn twice counts once, whatever its first point, direction and rounding;
- a contour inside another is a hole, one inside that hole is not, and so on;
- contours that overlap in part are taken together.

How two contours lie to each other is found on samples of the smaller one, which is exact enough and indifferent to
contours that touch or cross themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Points = NDArray[np.float64]  # (n, 2), mm in the plane

_SAME_POINT_MM = 1e-3
_SAME_OUTLINE_MM = 0.1  # mean distance of two outlines that are one: coordinates rounded to 0.1 mm
_SAME_AREA = 0.02  # of the area: what two contours may differ by, or share, by drawing
_CHANNEL_MM = 0.5  # the widest channel of a keyhole
_BACK = -0.99  # cosine between its two sides
_THIN_RIM_MM = 1.0
_SAMPLES = 96  # along each side of a contour
_APART, _OVERLAP, _INSIDE, _SAME = range(4)


@dataclass(frozen=True, eq=False)
class Contour:
    """One closed contour; what is inside is found by the even-odd rule, without the channels of keyholes."""

    points: Points

    @cached_property
    def bounds(self) -> Points:
        """(2, 2): smallest and largest coordinates."""
        return np.stack([self.points.min(axis=0), self.points.max(axis=0)])

    @cached_property
    def samples(self) -> Points:
        """Points inside, evenly spread over the contour's bounds."""
        spread = _spread(self.bounds)
        return spread[self.contains(spread)]

    @cached_property
    def area(self) -> float:
        """mm2, of the samples."""
        return len(self.samples) / _SAMPLES**2 * float(np.prod(np.diff(self.bounds, axis=0)))

    @cached_property
    def length(self) -> float:
        """mm, once around."""
        return float(np.linalg.norm(np.roll(self.points, -1, axis=0) - self.points, axis=1).sum())

    @property
    def tolerance(self) -> float:
        """The area, mm2, that is only a matter of drawing."""
        return min(_SAME_OUTLINE_MM * self.length, _SAME_AREA * self.area)

    @cached_property
    def crosses_itself(self) -> bool:
        """Whether it runs around one part of its area the other way round than another part, or more than once.

        A keyhole does not: it runs around its hole not at all. What is smaller than the tolerance does not count.
        """
        turns = _turns(_spread(self.bounds), self.points)
        usual = 1 if (turns > 0).sum() >= (turns < 0).sum() else -1
        odd = np.count_nonzero((turns != 0) & (turns != usual))
        return bool(odd / _SAMPLES**2 * np.prod(np.diff(self.bounds, axis=0)) > self.tolerance)

    def contains(self, points: Points) -> NDArray[np.bool_]:
        """Which points (m, 2) are inside."""
        low, high = self.bounds
        inside = np.zeros(len(points), bool)
        near = np.flatnonzero(((points >= low) & (points <= high)).all(axis=1))
        inside[near] = _even_odd(points[near], self.points)
        for strip in self.channels:
            inside[near] |= _even_odd(points[near], strip)
        return inside

    @cached_property
    def channels(self) -> list[Points]:
        """The strips, four corners each, between edges that run back beside one another: channels of keyholes."""
        starts, ends = self.points, np.roll(self.points, -1, axis=0)
        if not _pinched(self.points):
            return []
        along = ends - starts
        length = np.linalg.norm(along, axis=1)
        unit = along / length[:, None]
        pairs = np.argwhere(np.triu(unit @ unit.T < _BACK))
        return [
            np.stack([starts[one], ends[one], starts[other], ends[other]])
            for one, other in pairs
            if _beside(starts[one], unit[one], length[one], starts[other], ends[other])
        ]


@dataclass(frozen=True, eq=False)
class PlanarArea:
    """The area that the contours of one plane draw.

    Attributes:
        contours: each once.
        depths: for each, in how many of the others it lies, one within the other: odd ones are holes.
        inside: (n, n), whether the first contour lies within the second one.
        exclusive: combined by exclusive or, as CLOSEDPLANAR_XOR says.
        duplicates: contours left out because they are there already.
        overlapping: contours that overlap another one in part.
    """

    contours: tuple[Contour, ...]
    depths: tuple[int, ...]
    inside: NDArray[np.bool_]
    exclusive: bool
    duplicates: int
    overlapping: int

    @property
    def holes(self) -> int:
        """Contours that take away."""
        return sum(depth % 2 for depth in self.depths)

    @property
    def thin_rims(self) -> int:
        """Holes that leave less than 1 mm, on average, of a contour around them: perhaps a contour drawn twice."""
        return sum(
            self.depths[hole] % 2 == 1
            and self.contours[around].area - self.contours[hole].area < _THIN_RIM_MM * self.contours[around].length
            for hole, around in np.argwhere(self.inside)
            if self.depths[hole] == self.depths[around] + 1
        )

    @cached_property
    def bounds(self) -> Points:
        """(2, 2): smallest and largest coordinates."""
        every = np.concatenate([contour.bounds for contour in self.contours])
        return np.stack([every.min(axis=0), every.max(axis=0)])

    @cached_property
    def area(self) -> float:
        """mm2, of samples."""
        share = self.contains(_spread(self.bounds, 2 * _SAMPLES)).mean()
        return float(share) * float(np.prod(np.diff(self.bounds, axis=0)))

    def contains(self, points: Points) -> NDArray[np.bool_]:
        """Which points (m, 2) are inside."""
        held = np.array([contour.contains(points) for contour in self.contours])
        if self.exclusive:
            return np.asarray(np.logical_xor.reduce(held))
        found = np.zeros(len(points), bool)
        for number, depth in enumerate(self.depths):
            if depth % 2 == 0:
                holes = [n for n in np.flatnonzero(self.inside[:, number]) if self.depths[n] == depth + 1]
                found |= held[number] & ~held[holes].any(axis=0)
        return found


def clean_outline(points: Points) -> tuple[Points, int]:
    """A contour without repeated points, and how often it runs around beyond once.

    Args:
        points: (n, 2); a last point that repeats the first is allowed.
    """
    ahead = np.roll(points, -1, axis=0)
    kept = points[np.linalg.norm(ahead - points, axis=1) > _SAME_POINT_MM]
    for turns in (3, 2):
        once = len(kept) // turns
        if once >= 3 and len(kept) % turns == 0:
            rounds = kept.reshape(turns, once, 2)
            if np.abs(rounds - rounds[0]).max() <= _SAME_OUTLINE_MM:
                return rounds[0], turns - 1
    return kept, 0


def combine(contours: list[Contour], *, exclusive: bool) -> PlanarArea:
    """The area of contours of one plane.

    Args:
        contours: one at least, each with an area.
        exclusive: they are of the type CLOSEDPLANAR_XOR.
    """
    ordered = sorted(contours, key=lambda contour: contour.area)
    relations = {pair: _relation(ordered[pair[0]], ordered[pair[1]]) for pair in combinations(range(len(ordered)), 2)}
    twice = {small for (small, _), relation in relations.items() if relation == _SAME}
    kept = [number for number in range(len(ordered)) if number not in twice]
    inside = np.zeros((len(kept), len(kept)), bool)
    overlapping = set()
    for (small, large), relation in relations.items():
        if small in twice or large in twice:
            continue
        inside[kept.index(small), kept.index(large)] = relation == _INSIDE
        if relation == _OVERLAP:
            overlapping |= {small, large}
    depths = np.zeros(len(kept), int)
    for number in reversed(range(len(kept))):  # from the largest: those around it are known
        around = depths[inside[number]]
        depths[number] = 1 + around.max() if len(around) else 0
    return PlanarArea(
        contours=tuple(ordered[number] for number in kept),
        depths=tuple(int(depth) for depth in depths),
        inside=inside,
        exclusive=exclusive,
        duplicates=len(twice),
        overlapping=len(overlapping),
    )


def _relation(small: Contour, large: Contour) -> int:
    (low, high), (large_low, large_high) = small.bounds, large.bounds
    if (high < large_low).any() or (low > large_high).any():
        return _APART
    shared = float(large.contains(small.samples).mean()) * small.area
    if shared <= small.tolerance:
        return _APART
    if shared < small.area - small.tolerance:
        return _OVERLAP
    return _SAME if large.area - small.area <= large.tolerance else _INSIDE


def _pinched(points: Points) -> bool:
    """Whether the outline comes back to where it was, as at the mouth of a channel."""
    steps = np.linalg.norm(np.diff(points, axis=0, append=points[:1]), axis=1)
    at = np.cumsum(steps) - steps
    pairs = cKDTree(points).query_pairs(_CHANNEL_MM, output_type="ndarray")
    around = np.abs(at[pairs[:, 0]] - at[pairs[:, 1]])
    return bool((np.minimum(around, steps.sum() - around) > 3 * _CHANNEL_MM).any())


def _beside(start: Points, unit: Points, length: float, first: Points, last: Points) -> bool:
    """Whether an edge (first, last) lies beside another one, both of its ends no wider than a channel away."""
    across = [abs(unit[0] * (end - start)[1] - unit[1] * (end - start)[0]) for end in (first, last)]
    low, high = sorted((float((first - start) @ unit), float((last - start) @ unit)))
    return max(across) <= _CHANNEL_MM and min(high, length) - max(low, 0.0) > 0


def _spread(bounds: Points, count: int = _SAMPLES) -> Points:
    """`count` x `count` points within bounds; each row is shifted, so that few share a column."""
    steps = (np.arange(count) + 0.5) / count
    shifts = (np.arange(count) * 0.618034 % 1.0 - 0.5) / count
    columns = steps[None, :] + shifts[:, None]
    unit = np.stack([columns, np.broadcast_to(steps[:, None], columns.shape)], axis=-1).reshape(-1, 2)
    return np.asarray(bounds[0] + unit * (bounds[1] - bounds[0]))


def _even_odd(points: Points, corners: Points) -> NDArray[np.bool_]:
    """Which points (m, 2) a polygon (n, 2) runs around an odd number of times."""
    return np.asarray(_turns(points, corners) % 2 == 1)


def _turns(points: Points, corners: Points) -> NDArray[np.intp]:
    """How often a polygon (n, 2) runs around points (m, 2); negative where it does so the other way round.

    The edges to the right of a point are counted, row by row of points. They are taken upwards, so that the two edges
    of a keyhole's channel are crossed at the very same place.
    """
    starts, ends = corners, np.roll(corners, -1, axis=0)
    up = starts[:, 1] <= ends[:, 1]
    (low_x, low_y), (high_x, high_y) = np.where(up[:, None], starts, ends).T, np.where(up[:, None], ends, starts).T
    slope = (high_x - low_x) / np.where(high_y > low_y, high_y - low_y, 1.0)
    signs = np.where(up, 1, -1)
    turns = np.empty(len(points), np.intp)
    rows, row_of_point, sizes = np.unique(points[:, 1], return_inverse=True, return_counts=True)
    members = np.split(np.argsort(row_of_point, kind="stable"), np.cumsum(sizes)[:-1])
    for y, row in zip(rows, members, strict=False):  # of no points, split makes one empty row
        crossed = np.flatnonzero((low_y <= y) & (y < high_y))
        edges = low_x[crossed] + (y - low_y[crossed]) * slope[crossed]
        order = np.argsort(edges)
        to_the_right = np.append(np.cumsum(signs[crossed[order]][::-1])[::-1], 0)
        turns[row] = to_the_right[np.searchsorted(edges[order], points[row, 0], side="right")]
    return turns
