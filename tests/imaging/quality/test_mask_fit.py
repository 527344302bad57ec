"""Masks in their place and out of it, on a body with lesions planted; `benchmarks/mask_fit.py` has the figures."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from fedpet.core.messages import translate_message
from fedpet.imaging.quality.mask_fit import assess_mask_fit
from fedpet.imaging.study import CheckStatus
from fedpet.imaging.volume import Volume

SHAPE, STEP = (60, 48, 52), (5.0, 4.0, 4.0)  # slices, rows, columns; mm along each
AFFINE = np.diag([STEP[2], STEP[1], STEP[0], 1.0])
AFFINE[:3, 3] = -110.0, -95.0, -400.0
LESIONS = ((14, 20, 15, 12.0), (30, 30, 33, 9.0), (44, 17, 19, 16.0))  # slice, row, column, radius in mm


def ball(z, y, x, radius):
    index = np.indices(SHAPE).T - np.array([z, y, x])
    return radius**2 >= ((index * np.array(STEP)) ** 2).sum(axis=-1).T


@pytest.fixture
def labels():
    array = np.zeros(SHAPE, np.uint8)
    for number, place in enumerate(LESIONS, start=1):
        array[ball(*place)] = number
    return Volume(array, AFFINE, "label")


def scan(*hot, body=0.9):
    """A body of SUV 0.9 with noise, air around it, and (mask, SUV) in it, blurred by 6 mm."""
    rng = np.random.default_rng(3)
    _, y, x = np.indices(SHAPE)
    array = np.where(((y - 23.5) / 20) ** 2 + ((x - 25.5) / 23) ** 2 < 1, body, 0.0)
    for mask, suv in hot:
        array = np.where(mask, suv, array)
    array = ndimage.gaussian_filter(array, [6 / 2.355 / step for step in STEP])
    return Volume(np.maximum(array + rng.normal(0, 0.08, SHAPE), 0).astype(np.float32), AFFINE, "g/ml")


@pytest.fixture
def pet(labels):
    return scan(*((labels.array == number, 6.0) for number in (1, 2, 3)))


def moved(labels, *by):
    return labels.like(np.roll(labels.array, by, axis=(0, 1, 2)), "label")


def only(labels, number):
    return labels.like(np.where(labels.array == number, labels.array, 0), "label")


def test_a_mask_in_its_place_fits(pet, labels):
    fit = assess_mask_fit(labels, pet)
    assert fit.status is CheckStatus.PASS
    assert fit.fit > 0.95
    assert set(fit.lesions) == {1, 2, 3}
    assert fit.elsewhere is None
    assert "all 3" in str(fit.check().reason)


@pytest.mark.parametrize(
    ("axis", "way"), [(2, "mirrored from left to right"), (1, "mirrored from front to back"), (0, "from head to foot")]
)
def test_a_mirrored_mask_fails_and_the_axis_is_named(pet, labels, axis, way):
    fit = assess_mask_fit(labels.like(np.flip(labels.array, axis).copy(), "label"), pet)
    assert fit.status is CheckStatus.FAIL
    assert fit.elsewhere.fit > 0.95
    assert way in str(fit.check().reason)
    assert "of another patient" in str(fit.check().reason)
    french = translate_message("fr")(fit.check().reason)
    assert {2: "de gauche à droite", 1: "d’avant en arrière", 0: "de la tête aux pieds"}[axis] in french


def test_axes_are_named_by_the_patients_directions(pet, labels):
    """The same study stored with its slices along x."""
    affine = AFFINE[:, [2, 1, 0, 3]]
    turned = Volume(pet.array.transpose(2, 1, 0), affine, "g/ml")
    mask = np.flip(labels.array, 2).transpose(2, 1, 0).copy()
    assert "from left to right" in str(assess_mask_fit(turned.like(mask, "label"), turned).check().reason)


@pytest.mark.parametrize(("axes", "names"), [((1, 2), "x and y"), ((0, 1), "y and z"), ((0, 2), "x and z")])
def test_exchanged_axes_are_named(pet, labels, axes, names):
    swapped = np.swapaxes(labels.array, *axes)
    mask = np.zeros(SHAPE, np.uint8)
    common = tuple(slice(0, min(pair)) for pair in zip(swapped.shape, SHAPE, strict=True))
    mask[common] = swapped[common]
    fit = assess_mask_fit(labels.like(mask, "label"), pet)
    assert fit.status is CheckStatus.FAIL
    assert f"axes {names} exchanged" in str(fit.check().reason)


def test_the_other_sign_of_coordinates_is_named(pet, labels):
    """LPS taken for RAS: x and y about the origin, which is not the middle of the array."""
    points = labels.to_mm(np.argwhere(labels.array).astype(float)) * [-1, -1, 1]
    index = np.rint(labels.to_index(points)).astype(int)
    mask = np.zeros(SHAPE, np.uint8)
    mask[tuple(index.T)] = labels.array[labels.array > 0]
    assert "LPS taken for RAS" in str(assess_mask_fit(labels.like(mask, "label"), pet).check().reason)


@pytest.mark.parametrize("by", [(6, 0, 0), (0, 8, 0), (0, 0, -9), (-5, 4, 6)])
def test_a_shifted_mask_fails_and_the_shift_back_is_named(pet, labels, by):
    fit = assess_mask_fit(moved(labels, *by), pet)
    assert fit.status is CheckStatus.FAIL
    named = fit.elsewhere.description.values
    expected = -np.array(by)[::-1] * STEP[::-1]
    np.testing.assert_allclose([named["x"], named["y"], named["z"]], expected, atol=6)


def test_a_mask_that_fits_nowhere_fails_without_a_place(labels):
    fit = assess_mask_fit(labels, scan())
    assert fit.status is CheckStatus.FAIL
    assert fit.elsewhere is None
    assert "No mirrored, axis-swapped or shifted copy" in str(fit.check().reason)


def test_a_mask_beside_the_body_fails(pet, labels):
    air = labels.like(np.zeros(SHAPE, np.uint8), "label")
    air.array[20:24, 0:4, 0:4] = 1
    assert assess_mask_fit(air, pet).status is CheckStatus.FAIL


def test_lesions_with_a_cold_core_fit(labels):
    rim = [(labels.array == number, 6.0) for number in (1, 2, 3)]
    cold = [(ball(z, y, x, 0.65 * radius), 0.5) for z, y, x, radius in LESIONS]
    assert assess_mask_fit(labels, scan(*rim, *cold)).status is CheckStatus.PASS


def test_a_small_lesion_and_one_beside_the_bladder_fit(labels):
    small, beside = ball(20, 24, 20, 4.0), ball(45, 20, 15, 8.0)
    pet = scan((ball(45, 20, 23, 22.0), 40.0), (beside, 7.0), (small, 7.0))
    mask = labels.like(small + np.uint8(2) * (beside & ~ball(45, 20, 23, 22.0)), "label")
    assert assess_mask_fit(mask, pet).status is CheckStatus.PASS


def test_a_small_region_within_a_large_tumour_fits():
    tumour = ball(30, 24, 24, 34.0)
    core = Volume(ball(30, 24, 24, 8.0).astype(np.uint8), AFFINE, "label")
    assert assess_mask_fit(core, scan((tumour, 8.0))).status is CheckStatus.PASS


def test_outlines_drawn_generously_or_tightly_fit(pet, labels):
    grown = ndimage.grey_dilation(labels.array, footprint=np.ones((3, 5, 5)))
    assert assess_mask_fit(labels.like(grown, "label"), pet).status is CheckStatus.PASS
    tight = np.where(ndimage.binary_erosion(labels.array > 0), labels.array, 0)
    assert assess_mask_fit(labels.like(tight, "label"), pet).status is CheckStatus.PASS


def test_a_lesion_in_a_hot_organ_is_doubtful_and_not_refused():
    """A metastasis that does not stand out from the brain."""
    brain = ball(50, 24, 26, 60.0)
    lesion = Volume(ball(50, 24, 22, 8.0).astype(np.uint8), AFFINE, "label")
    fit = assess_mask_fit(lesion, scan((brain, 7.0)))
    assert fit.status is CheckStatus.WARN
    assert "hot itself" in str(fit.check().reason)


def test_a_minority_without_uptake_passes_and_is_named(labels):
    fit = assess_mask_fit(labels, scan(*((labels.array == number, 6.0) for number in (1, 3))))
    assert fit.status is CheckStatus.PASS
    assert "2 of 3; without: 2." in str(fit.check().reason)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_single_lesion_is_enough(pet, labels, number):
    alone = only(labels, number)
    assert assess_mask_fit(alone, pet).status is CheckStatus.PASS
    assert assess_mask_fit(moved(alone, 0, 0, 12), pet).status is CheckStatus.FAIL


def test_an_empty_mask_has_no_fit(pet, labels):
    assert assess_mask_fit(labels.like(np.zeros(SHAPE, np.uint8), "label"), pet) is None
