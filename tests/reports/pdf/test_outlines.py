"""Every number lies on the lesion that it names, and no two numbers cover each other."""

from itertools import pairwise

import numpy as np
import pytest

from explain.figures.projections import CORONAL, SAGITTAL
from reports.locale import Locale
from reports.pdf.outlines import anchor, callouts, outlines
from reports.pdf.projections import NAMED, views
from tests.support import report_content as cases


def ring(size=40):
    y, x = np.mgrid[:size, :size] - size / 2
    distance = np.hypot(x, y)
    return (distance < 15) & (distance > 9)


def test_the_anchor_of_a_ring_is_on_the_ring():
    mask = ring()
    x, y = anchor(mask)
    assert mask[int(y), int(x)]


def test_an_outline_encloses_its_mask_and_keeps_a_single_pixel():
    mask = np.zeros((30, 40), bool)
    mask[10:20, 5:25] = True
    (line,) = outlines(mask, voxel=1.0)
    low, high = line.min(axis=0), line.max(axis=0)
    assert low == pytest.approx((5, 10), abs=0.6)
    assert high == pytest.approx((25, 20), abs=0.6)
    assert len(outlines(ring(), voxel=1.0)) == 2
    single = np.zeros((9, 9), bool)
    single[4, 6] = True
    (around,) = outlines(single, voxel=1.0)
    assert around.mean(axis=0) == pytest.approx((6.5, 4.5), abs=0.2)
    assert outlines(np.zeros((5, 5), bool), voxel=1.0) == []


@pytest.mark.parametrize("count", [1, 5, 24])
def test_names_stay_in_the_image_apart_from_each_other_and_in_the_order_of_their_points(count):
    points = {str(i): (float(37 * i % 100), 50.0 + 0.1 * i) for i in range(count)}  # all at one height
    placed = callouts(points, middle=50.0, height=160.0, step=10.0)
    assert {one.name for one in placed} == set(points)
    for side in (True, False):
        column = sorted((one for one in placed if one.left is side), key=lambda one: one.y)
        assert all(later.y - earlier.y >= 10.0 - 1e-9 for earlier, later in pairwise(column))
        assert all(5.0 <= one.y <= 155.0 for one in column)
        assert [one.at[1] for one in column] == sorted(one.at[1] for one in column)  # their lines do not cross


def test_what_finds_no_place_is_the_least_important():
    points = {str(i): (10.0, 10.0) for i in range(9)}
    assert {one.name for one in callouts(points, middle=50.0, height=30.0, step=10.0)} == {"0", "1", "2", "3", "4", "5"}


@pytest.mark.parametrize("change", [lambda content: content, cases.with_many_lesions])
def test_on_both_views_every_number_points_at_its_own_lesion(change):
    content = change(cases.make_content())
    labels, lesions = content.prediction.lesion_labels, content.prediction.quantities.lesions
    front, left = views(content, Locale("en"))
    assert (front.frame.view, left.frame.view) == (CORONAL, SAGITTAL)
    for view in (front, left):
        largest = sorted(lesions, key=lambda one: -one.mtv_ml)[:NAMED]
        assert set(view.named) == {str(one.id) for one in largest}
        for lesion in largest:
            voxels = labels.to_mm(np.argwhere(labels.array == lesion.id).astype(float))
            seen = np.array([view.frame.to_pixel(point) for point in voxels])
            apart = np.abs(seen - view.named[str(lesion.id)]).max(axis=1).min()
            assert apart <= labels.spacing[0] * view.frame.scale  # within a voxel of one of the lesion's own
