"""Foci grown under a point, against spheres whose place and size are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from fedpet.core.errors import ArgumentError
from fedpet.imaging.lesions.delineation import delineate
from fedpet.imaging.lesions.interactive import (
    ERASED,
    BrushStroke,
    GrownFocus,
    LesionEdits,
    MergedLesions,
    apply_edits,
    grow_focus,
    rename_regions,
)
from fedpet.imaging.lesions.quantities import quantify
from fedpet.imaging.volume import Volume

SPACING = 3.0
HOT, FAINT, BESIDE = (0.0, 0.0, 0.0), (-60.0, 30.0, 45.0), (24.0, 0.0, 0.0)  # LPS mm
RADIUS = 10.5


@pytest.fixture(scope="module")
def pet():
    """Spheres of SUV 12, 5 and 9 (the last beside the first) in tissue of SUV 1, blurred as a PET of 6 mm."""
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    affine[:3, 3] = (-120.0, -90.0, -90.0)
    empty = Volume(np.ones((61, 61, 81), np.float32), affine, "g/ml")
    where = empty.to_mm(np.stack(np.indices(empty.shape), axis=-1).astype(float))
    for centre, suv in ((HOT, 12.0), (FAINT, 5.0), (BESIDE, 9.0)):
        empty.array[np.linalg.norm(where - centre, axis=-1) <= RADIUS] = suv
    return empty.like(ndimage.gaussian_filter(empty.array, 2.55 / SPACING), "g/ml")


def _sphere(pet, centre):
    where = pet.to_mm(np.stack(np.indices(pet.shape), axis=-1).astype(float))
    return np.linalg.norm(where - centre, axis=-1) <= RADIUS


def _mask(pet, focus):
    whole = np.zeros(pet.shape, bool)
    whole[focus.box] = focus.inside
    return whole


def _dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("centre", [HOT, FAINT, BESIDE])
@pytest.mark.parametrize("off", [(0.0, 0.0, 0.0), (6.0, -5.0, 0.0), (0.0, 5.0, -7.0)])
def test_a_point_anywhere_on_a_focus_finds_it_and_not_its_neighbour(pet, centre, off):
    focus = grow_focus(pet, tuple(np.add(centre, off)))
    assert np.linalg.norm(np.subtract(focus.hottest_mm, centre)) < 7.0
    assert _dice(_mask(pet, focus), _sphere(pet, centre)) > 0.8
    others = [one for one in (HOT, FAINT, BESIDE) if one != centre]
    assert not any(_mask(pet, focus)[tuple(np.rint(pet.to_index(np.array(one))).astype(int))] for one in others)


def test_a_lower_threshold_makes_a_larger_focus_within_its_bounds(pet):
    volumes = [grow_focus(pet, HOT, suv).volume_ml for suv in (9.0, 6.0, 4.0)]
    assert volumes == sorted(volumes)
    assert volumes[0] < volumes[-1]
    for suv in (0.1, 99.0):
        focus = grow_focus(pet, HOT, suv)
        assert focus.lowest <= focus.threshold <= focus.highest < focus.suv_max
        assert focus.inside.any()


def test_the_same_numbers_give_the_same_voxels(pet):
    once, again = (grow_focus(pet, (4.0, 3.0, 0.0), 5.0) for _ in range(2))
    assert (once.inside == again.inside).all()
    assert once.hottest_mm == again.hottest_mm


def test_a_long_focus_is_not_cut_by_the_box_it_is_looked_for_in():
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    rod = np.ones((15, 15, 90), np.float32)
    rod[6:9, 6:9, 5:85] = 8.0
    focus = grow_focus(Volume(rod, affine, "g/ml"), (45 * SPACING, 7 * SPACING, 7 * SPACING), 5.0)
    assert focus.inside.sum() == 9 * 80


def test_points_outside_and_images_without_uptake_are_refused(pet):
    with pytest.raises(ArgumentError, match="outside"):
        grow_focus(pet, (500.0, 0.0, 0.0))
    with pytest.raises(ArgumentError, match="no uptake"):
        grow_focus(pet.like(np.zeros_like(pet.array), "g/ml"), HOT)


def test_a_focus_that_the_program_missed_is_added_and_measured(pet):
    found = delineate(pet, None)
    faint = next((one for one in found.components if np.allclose(one.centroid_mm, FAINT, atol=6.0)), None)
    new = max(one.id for one in found.components) + 1
    edited = apply_edits(found, pet, LesionEdits((GrownFocus(new, FAINT, 2.6),)))
    added = edited.components[-1]
    assert (added.id, added.included, added.switched) == (new, True, True)
    assert np.allclose(added.centroid_mm, FAINT, atol=1.5)
    assert faint is None or faint.id not in {one.id for one in edited.components}  # outlined anew
    measured = quantify(pet, edited.lesions, method="suv4")
    lesion = next(one for one in measured.lesions if one.id == new)
    assert lesion.mtv_ml == pytest.approx(added.volume_ml)
    assert lesion.mtv_ml == pytest.approx(4 / 3 * np.pi * RADIUS**3 / 1000, rel=0.25)
    assert found.labels.array.max() < new  # what was found is as it was


def test_two_foci_that_were_found_as_one_are_split_by_outlining_one_of_them(pet):
    found = delineate(pet, None, method="suv25")
    assert (
        len({found.labels.array[tuple(np.rint(pet.to_index(np.array(one))).astype(int))] for one in (HOT, BESIDE)}) == 1
    )
    new = max(one.id for one in found.components) + 1
    edited = apply_edits(found, pet, LesionEdits((GrownFocus(new, BESIDE, 4.0),)))
    numbers = {edited.labels.array[tuple(np.rint(pet.to_index(np.array(one))).astype(int))] for one in (HOT, BESIDE)}
    assert len(numbers) == 2
    assert {one.id for one in edited.components} == {one.id for one in found.components} | {new}
    whole = sum(one.volume_ml for one in edited.components)
    assert whole == pytest.approx((edited.labels.array > 0).sum() * pet.voxel_ml)


def test_a_stroke_adds_a_capsule_and_another_takes_it_away(pet):
    found = delineate(pet, None)
    new, ends = max(one.id for one in found.components) + 1, ((-60.0, -60.0, -60.0), (-30.0, -60.0, -60.0))
    draw, erase = BrushStroke(new, ends, 9.0), BrushStroke(ERASED, ends[1:], 9.0)
    drawn = apply_edits(found, pet, LesionEdits((draw,)))
    volume = np.pi * 81 * (30 + 12) / 1000
    assert drawn.components[-1].volume_ml == pytest.approx(volume, rel=0.05)
    assert drawn.components[-1].centroid_mm == pytest.approx((-45.0, -60.0, -60.0), abs=0.1)
    half = apply_edits(found, pet, LesionEdits((draw, erase)))
    ball = 4 / 3 * np.pi * 9**3 / 1000
    assert half.components[-1].volume_ml == pytest.approx(volume - ball, rel=0.08)
    assert apply_edits(found, pet, LesionEdits((draw, BrushStroke(ERASED, ends, 12.0)))).components == found.components
    warm = apply_edits(found, pet, LesionEdits((BrushStroke(new, (FAINT,), 25.0, at_least=2.6),)))
    assert warm.labels.array[warm.labels.array == new].size == ((pet.array >= 2.6) & (warm.labels.array == new)).sum()


def test_a_stroke_enlarges_a_lesion_takes_from_another_and_leaves_what_does_not_count(pet):
    found = delineate(pet, None, exclude=(2,))
    first, second = found.components[:2]
    hot = apply_edits(found, pet, LesionEdits((BrushStroke(ERASED, (first.centroid_mm, second.centroid_mm), 40.0),)))
    assert [one.id for one in hot.components] == [one.id for one in found.components if one.id != first.id]
    assert hot.components[0] == second  # an excluded focus is not erased
    wide = apply_edits(found, pet, LesionEdits((BrushStroke(first.id, (first.centroid_mm,), 16.0),)))
    more = next(one for one in wide.components if one.id == first.id)
    assert more.volume_ml > first.volume_ml
    assert (more.reason, more.switched, more.place) == (more.reason, True, first.place)
    assert more.reason != first.reason
    with pytest.raises(ArgumentError, match="outside"):
        apply_edits(found, pet, LesionEdits((BrushStroke(9, ((500.0, 0.0, 0.0),), 5.0),)))


def test_two_lesions_become_one(pet):
    found = delineate(pet, None)
    one, other = found.components[:2]
    merged = apply_edits(found, pet, LesionEdits((MergedLesions(one.id, other.id),)))
    whole = merged.components[0]
    assert other.id not in {each.id for each in merged.components}
    assert whole.volume_ml == pytest.approx(one.volume_ml + other.volume_ml)
    assert whole.suv_max == max(one.suv_max, other.suv_max)
    measured = quantify(pet, merged.lesions, method="suv4")
    assert len(measured.lesions) == len(found.components) - 1


def test_numbers_that_are_taken_and_unknown_regions_are_refused(pet):
    found = delineate(pet, None)
    with pytest.raises(ArgumentError, match="same number"):
        apply_edits(found, pet, LesionEdits((GrownFocus(1, HOT, 4.0),)))
    quantities = quantify(pet, found.lesions, method="suv4")
    assert rename_regions(quantities, {1: "liver"}, None).lesions[0].region == "liver"
    with pytest.raises(ArgumentError, match="no region"):
        rename_regions(quantities, {1: "tail"}, None)
