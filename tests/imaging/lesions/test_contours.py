"""Contours of one plane against areas known from geometry."""

from __future__ import annotations

from math import pi

import numpy as np
import pytest

from fedpet.imaging.lesions.contours import Contour, clean_outline, combine


def box(left, right, low, high):
    return np.array([(left, low), (right, low), (right, high), (left, high)], float)


def circle(x, y, radius, corners=180):
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)


def area_of(*outlines, exclusive=False):
    return combine([Contour(clean_outline(points)[0]) for points in outlines], exclusive=exclusive)


def resampled(points):
    """A point added in the middle of each edge."""
    return np.stack([points, (points + np.roll(points, -1, axis=0)) / 2], axis=1).reshape(-1, 2)


@pytest.mark.parametrize(
    "again",
    [
        lambda p: p,
        lambda p: p[::-1],
        lambda p: np.roll(p, 3, axis=0),
        lambda p: np.concatenate([p, p[:1]]),
        lambda p: np.repeat(p, 2, axis=0),
        lambda p: p + np.random.default_rng(1).uniform(-1e-4, 1e-4, p.shape),
        lambda p: np.round(p, 1),
        resampled,
        lambda p: np.roll(np.round(p[::-1], 2), 5, axis=0),
        lambda p: np.concatenate([p, p]),  # runs around twice
    ],
)
@pytest.mark.parametrize("outline", [box(-10, 10, -8, 12), circle(1, 2, 4.3), circle(0, 0, 33)])
def test_a_contour_drawn_twice_counts_once(outline, again):
    both = area_of(outline, again(outline))
    once = area_of(outline)
    assert (both.duplicates, both.holes, both.overlapping, len(both.contours)) == (1, 0, 0, 1)
    assert both.area == pytest.approx(once.area, rel=0.02)


def test_a_contour_that_runs_around_twice_is_not_empty():
    outline, rounds = clean_outline(np.concatenate([circle(0, 0, 9), circle(0, 0, 9)[:1], circle(0, 0, 9)]))
    assert len(outline) == 180
    assert rounds == 1
    assert area_of(outline).area == pytest.approx(pi * 81, rel=0.02)


def test_drawn_three_times_counts_once():
    assert area_of(*[box(0, 10, 0, 10)] * 3).duplicates == 2
    assert area_of(*[box(0, 10, 0, 10)] * 3).area == pytest.approx(100, rel=0.01)


def test_nested_contours_are_holes_and_islands_by_depth():
    radii = (20, 15, 10, 5)
    nested = area_of(*(circle(0, 0, radius) for radius in (10, 20, 5, 15)))
    assert sorted(nested.depths) == [0, 1, 2, 3]
    assert nested.holes == 2
    assert nested.area == pytest.approx(
        pi * sum(s * r * r for s, r in zip((1, -1, 1, -1), radii, strict=True)), rel=0.02
    )


def test_a_hole_that_touches_the_rim_is_a_hole():
    touching = area_of(box(0, 20, 0, 20), box(10, 20, 5, 15))
    assert (touching.holes, touching.overlapping) == (1, 0)
    assert touching.area == pytest.approx(300, rel=0.02)


@pytest.mark.parametrize("gap", [0.0, 1e-4, -1e-4, 3.0])
def test_contours_side_by_side_are_both_there(gap):
    beside = area_of(box(0, 10, 0, 10), box(10 + gap, 20 + gap, 0, 10))
    assert (beside.holes, beside.overlapping, beside.duplicates) == (0, 0, 0)
    assert beside.area == pytest.approx(200, rel=0.02)


def test_contours_that_overlap_in_part_are_taken_together():
    crossed = area_of(box(0, 16, 0, 16), box(8, 24, 0, 16))
    assert (crossed.overlapping, crossed.holes) == (2, 0)
    assert crossed.area == pytest.approx(24 * 16, rel=0.01)


def test_a_hole_within_two_contours_that_overlap_is_a_hole():
    crossed = area_of(box(0, 20, 0, 20), box(8, 28, 0, 20), box(11, 17, 5, 15))
    assert (crossed.overlapping, crossed.holes) == (2, 1)
    assert crossed.area == pytest.approx(28 * 20 - 60, rel=0.01)


def test_a_contour_that_overlaps_a_hole_fills_what_it_covers():
    """Outer 0..30, hole 10..20, another contour over the rim and half of the hole."""
    crossed = area_of(box(0, 30, 0, 30), box(10, 20, 10, 20), box(15, 40, 5, 25))
    assert crossed.area == pytest.approx(900 - 100 + 10 * 20 + 5 * 10, rel=0.01)


def test_exclusive_contours_take_away_what_two_of_them_share():
    crossed = area_of(box(0, 16, 0, 16), box(8, 24, 0, 16), exclusive=True)
    assert crossed.area == pytest.approx(16 * 16, rel=0.01)
    nested = area_of(circle(0, 0, 20), circle(0, 0, 10), circle(0, 0, 5), exclusive=True)
    assert nested.holes == 1
    assert nested.area == pytest.approx(pi * (400 - 100 + 25), rel=0.02)
    assert area_of(box(0, 10, 0, 10), box(0, 10, 0, 10), exclusive=True).area == pytest.approx(100, rel=0.01)


@pytest.mark.parametrize("width", [0.0, 1e-3, 0.1, 0.4])
def test_a_keyhole_has_its_hole_and_no_channel(width):
    """The channel runs along y = 0 from the left."""
    channel = [(-20, -width / 2), (-5, -width / 2)], [(-5, width / 2), (-20, width / 2)]
    hole = [(-5, -5), (5, -5), (5, 5), (-5, 5)]
    keyhole = np.array([*channel[0], *hole, *channel[1], (-20, 20), (20, 20), (20, -20), (-20, -20)], float)
    drawn = area_of(keyhole)
    assert drawn.area == pytest.approx(1600 - 100, rel=0.02)
    assert drawn.contains(np.array([(-12.0, 0.0), (0.0, 0.0), (12.0, 0.0)])).tolist() == [True, False, True]
    assert area_of(keyhole, keyhole[::-1]).duplicates == 1


@pytest.mark.parametrize("width", [0.0, 0.1])
def test_a_keyhole_holds_the_points_of_a_hole_of_its_own(width):
    """Points on the corners and edges of the hole, and on the channel."""
    half = width / 2
    ring = [(-6, -8), (6, -8), (6, 8), (-6, 8)]
    keyhole = [
        (-20, half), (-6, half), (-6, 8), (6, 8), (6, -8), (-6, -8), (-6, -half), (-20, -half),
        (-20, -20), (20, -20), (20, 20), (-20, 20),
    ]  # fmt: skip
    points = np.array([(x, y) for x in range(-18, 20, 2) for y in range(-18, 20, 2)], float) + 1e-6
    apart = area_of(box(-20, 20, -20, 20), np.array(ring, float))
    np.testing.assert_array_equal(area_of(np.array(keyhole, float)).contains(points), apart.contains(points))


def test_a_contour_in_the_hole_of_a_keyhole_is_an_island():
    keyhole = [
        (-20, 0),
        (-10, 0),
        (-10, -10),
        (10, -10),
        (10, 10),
        (-10, 10),
        (-10, 0),
        (-20, 0),
        *box(-20, 20, -20, 20),
    ]
    both = area_of(np.array([*keyhole[:8], (-20, 20), (20, 20), (20, -20), (-20, -20)], float), circle(0, 0, 5))
    assert both.holes == 0
    assert both.area == pytest.approx(1600 - 400 + pi * 25, rel=0.02)


def test_a_hole_almost_as_large_as_its_contour_is_doubtful():
    assert area_of(circle(0, 0, 20), circle(0, 0, 19.4)).thin_rims == 1
    assert area_of(circle(0, 0, 20), circle(0, 0, 17)).thin_rims == 0
