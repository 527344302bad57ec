from __future__ import annotations

import numpy as np
import pytest

from imaging.delineation import connected_components, threshold_components
from imaging.quantities import quantify
from imaging.volume import Volume


def volume(array, unit="g/ml", spacing=(4.0, 4.0, 4.0)):
    return Volume(np.asarray(array, np.float32), np.diag([*spacing, 1.0]), unit)


@pytest.fixture
def pet():
    """Two blocks: 3 x 3 x 3 voxels of SUV 5 with a centre of 9, and 2 x 2 x 2 of SUV 6, 40 mm apart along z."""
    suv = np.full((20, 12, 12), 0.5)
    suv[2:5, 2:5, 2:5] = 5.0
    suv[3, 3, 3] = 9.0
    suv[13:15, 3:5, 3:5] = 6.0
    return volume(suv)


def test_components_are_numbered_by_volume_and_small_ones_left_out(pet):
    labels = threshold_components(pet, minimum_ml=0.5)
    assert labels.array.dtype == np.uint16
    assert np.bincount(labels.array.ravel())[1:].tolist() == [27, 8]
    assert np.bincount(threshold_components(pet, minimum_ml=0.6).array.ravel())[1:].tolist() == [27]
    assert threshold_components(pet, threshold=9.5).array.max() == 0


def test_the_threshold_itself_is_inside(pet):
    assert threshold_components(pet, threshold=6.0, minimum_ml=0.0).array.astype(bool).sum() == 8 + 1


def test_voxels_that_touch_by_a_corner_are_one_component():
    mask = np.zeros((4, 4, 4))
    mask[1, 1, 1] = mask[2, 2, 2] = 1
    assert connected_components(volume(mask, "label")).array.max() == 1


def test_quantities_of_two_blocks_worked_out_by_hand(pet):
    measured = quantify(pet, threshold_components(pet), method="SUV >= 4")
    first, second = measured.lesions
    assert measured.method == "SUV >= 4"
    assert first.mtv_ml == pytest.approx(27 * 0.064)
    assert first.suv_mean == pytest.approx((26 * 5 + 9) / 27)
    assert (first.suv_max, first.suv_min, first.suv_median) == (9.0, 5.0, 5.0)
    assert first.tlg == pytest.approx((26 * 5 + 9) * 0.064)
    assert first.centroid_mm == pytest.approx((12.0, 12.0, 12.0))
    assert second.centroid_mm == pytest.approx((14.0, 14.0, 54.0))
    assert measured.tmtv_ml == pytest.approx(35 * 0.064)
    assert measured.tlg == pytest.approx((26 * 5 + 9 + 8 * 6) * 0.064)
    assert measured.dmax_mm == pytest.approx(np.sqrt(2**2 + 2**2 + 42**2))
    assert measured.suv_max == 9.0


def test_suv_peak_is_the_mean_of_the_voxels_within_one_cubic_centimetre(pet):
    # 4 mm voxels: the centre, 6 neighbours at 4 mm and 12 at 5.66 mm lie within 6.2035 mm; 8 at 6.93 mm do not
    first, second = quantify(pet, threshold_components(pet), method="x").lesions
    assert first.suv_peak == pytest.approx((9 + 18 * 5) / 19)
    assert second.suv_peak == pytest.approx((7 * 6 + 12 * 0.5) / 19)


def test_suv_peak_may_be_centred_off_the_hottest_voxel():
    suv = np.full((11, 11, 11), 1.0)
    suv[4:9, 4:9, 4:9] = 6.0
    suv[4, 4, 4] = 7.0  # hottest at a corner, where the sphere is half outside
    pet = volume(suv)
    measured = quantify(pet, threshold_components(pet), method="x")
    assert measured.suv_max == 7.0
    assert measured.suv_peak == pytest.approx(6.0)


def test_nothing_delineated(pet):
    measured = quantify(pet, threshold_components(pet, threshold=99), method="x")
    assert measured.lesions == ()
    assert (measured.tmtv_ml, measured.tlg, measured.suv_max, measured.suv_peak, measured.dmax_mm) == (0, 0, 0, 0, 0)


def test_labels_of_another_grid_are_an_error(pet):
    with pytest.raises(ValueError, match="grid of the PET"):
        quantify(pet, volume(np.zeros((20, 12, 12)), "label", spacing=(4, 4, 3)), method="x")


def test_lesion_numbers_are_the_labels_even_with_gaps(pet):
    labels = pet.like(np.where(threshold_components(pet).array == 1, 7, 0).astype(np.uint16), "label")
    (lesion,) = quantify(pet, labels, method="x").lesions
    assert lesion.id == 7
    assert lesion.region == "unknown"
