from __future__ import annotations

import csv

import numpy as np
import pytest

from fedpet.core.errors import ArgumentError
from fedpet.imaging.lesions.delineation import connected_components, threshold_components
from fedpet.imaging.lesions.masks import read_mask
from fedpet.imaging.lesions.quantities import main_point, quantify
from fedpet.imaging.lesions.suv_peak import RADIUS_MM, binary_sphere_kernel, fractional_sphere_kernel, sphere_means
from fedpet.imaging.loading import load_study
from fedpet.imaging.volume import Volume


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
    with pytest.raises(ArgumentError, match="another grid than the PET"):
        quantify(pet, volume(np.zeros((20, 12, 12)), "label", spacing=(4, 4, 3)), method="x")


def test_lesion_numbers_are_the_labels_even_with_gaps(pet):
    labels = pet.like(np.where(threshold_components(pet).array == 1, 7, 0).astype(np.uint16), "label")
    (lesion,) = quantify(pet, labels, method="x").lesions
    assert lesion.id == 7
    assert lesion.region == "unknown"


def test_suv_peak_local_is_the_mean_around_the_hottest_voxel():
    suv = np.full((11, 11, 11), 1.0)
    suv[4:9, 4:9, 4:9] = 6.0
    suv[4, 4, 4] = 7.0
    pet = volume(suv)
    (lesion,) = quantify(pet, threshold_components(pet), method="x").lesions
    corner = np.clip(np.array([[0, 0, 0], *np.eye(3, dtype=int), *-np.eye(3, dtype=int)]), -1, 1) + 4
    diagonal = [[4 + a, 4 + b, 4] for a in (-1, 1) for b in (-1, 1)]
    diagonal += [[4 + a, 4, 4 + b] for a in (-1, 1) for b in (-1, 1)] + [
        [4, 4 + a, 4 + b] for a in (-1, 1) for b in (-1, 1)
    ]
    expected = np.mean([suv[tuple(place)] for place in [*corner, *diagonal]])
    assert lesion.suv_peak_local == pytest.approx(expected)
    assert lesion.suv_peak_local < lesion.suv_peak


def test_partial_voxels_of_the_sphere_are_weighted_by_their_share():
    kernel = fractional_sphere_kernel(np.diag([4.0, 4.0, 4.0, 1.0]))
    assert kernel.sum() == pytest.approx(1.0)
    assert kernel.max() == pytest.approx(0.064, rel=0.01)  # a whole voxel of 64 mm3 in 1 cm3
    points = np.random.default_rng(0).uniform(-RADIUS_MM, RADIUS_MM, (200_000, 3))
    inside = points[np.linalg.norm(points, axis=1) <= RADIUS_MM]
    share = (np.rint(inside / 4.0) == [0, 0, 1]).all(axis=1).mean()
    middle = np.array(kernel.shape) // 2
    assert kernel[middle[0], middle[1], middle[2] + 1] == pytest.approx(share, abs=0.002)


def test_a_sphere_takes_the_voxels_whose_centres_it_holds_on_any_grid():
    """5.47 x 5.47 x 3.27 mm: 7 voxels of the 45 around."""
    kernel = binary_sphere_kernel(np.diag([5.46875, 5.46875, 3.27, 1.0]))
    index = np.argwhere(kernel > 0) - np.array(kernel.shape) // 2
    assert (np.linalg.norm(index * [3.27, 5.46875, 5.46875], axis=1) <= RADIUS_MM).all()
    assert len(index) == 7
    oblique = np.array([[0.0, 0.0, 3.27, 0], [5.46875, 0, 0, 0], [0, 5.46875, 0, 0], [0, 0, 0, 1]])
    assert (binary_sphere_kernel(oblique) > 0).sum() == 7


def test_peaks_at_the_border_of_the_image_continue_it():
    pet = volume(np.full((5, 5, 5), 3.0))
    corners = np.array([[0, 0, 0], [4, 4, 4]])
    assert sphere_means(pet, corners, binary_sphere_kernel(pet.affine)) == pytest.approx([3.0, 3.0])


def test_volumes_by_other_thresholds_within_a_lesion():
    suv = np.full((9, 9, 9), 0.5)
    suv[2:5, 2:5, 2:5] = 3.0
    suv[3, 3, 2:5] = (4.0, 10.0, 4.2)
    pet = volume(suv)
    (lesion,) = quantify(pet, pet.like((suv >= 3).astype(np.uint8), "label"), method="x").lesions
    assert lesion.mtv_41pct_ml == pytest.approx(2 * 0.064)
    assert lesion.mtv_suv4_ml == pytest.approx(3 * 0.064)


@pytest.mark.reference_data
@pytest.mark.parametrize("patient", ["STS_002", "STS_008", "STS_042"])
def test_published_values_of_real_sarcomas_in_every_column(reference_data, patient):
    """SUVpeak counts voxels by their centres; weighting them by their share of the sphere gives 2 to 7 % less."""
    folder = reference_data / "sts"
    with (folder / "expected_pet.csv").open(newline="") as table:
        expected = next(row for row in csv.DictReader(table) if row["patient"] == patient)
    study = load_study(folder / patient / "PET" / "image", pseudonym_key=b"k" * 32)
    labels = read_mask(folder / patient / "nifti" / "PET_mask.nii.gz", study.pet).labels
    measured = quantify(study.pet, labels, method="given_mask")
    (lesion,) = measured.lesions
    columns = {
        "MTV_ml": lesion.mtv_ml,
        "SUVmax": lesion.suv_max,
        "SUVmean": lesion.suv_mean,
        "SUVpeak_local": lesion.suv_peak_local,
        "SUVpeak_global": lesion.suv_peak,
        "TLG": lesion.tlg,
        "MTV41_ml": lesion.mtv_41pct_ml,
        "MTV4_ml": lesion.mtv_suv4_ml,
        "mask_vox": np.count_nonzero(labels.array),
    }
    assert columns == pytest.approx({name: float(expected[name]) for name in columns}, rel=1e-3)
    assert 0.92 < lesion.suv_peak_partial / lesion.suv_peak < 0.985
    assert (measured.tmtv_ml, measured.suv_peak) == (lesion.mtv_ml, lesion.suv_peak)


def test_the_main_point_is_the_hottest_voxel_of_the_largest_lesion_wherever_its_centroid_is(pet):
    labels = threshold_components(pet)
    measured = quantify(pet, labels, method="x")
    assert measured.largest == measured.lesions[0]
    assert main_point(pet, labels, measured) == pytest.approx((12.0, 12.0, 12.0))
    hollow = labels.like(labels.array.copy(), "label")
    hollow.array[3, 3, 3] = 0
    around = quantify(pet, hollow, method="x")
    assert around.largest.centroid_mm == pytest.approx((12.0, 12.0, 12.0))
    assert np.linalg.norm(np.subtract(main_point(pet, hollow, around), (12.0, 12.0, 12.0))) == pytest.approx(4.0)
    pet.array[4, 4, 2] = 12.0  # its corner is the hottest: there, and not at its middle
    assert main_point(pet, hollow, quantify(pet, hollow, method="x")) == pytest.approx(tuple(pet.to_mm([4, 4, 2])))


def test_without_lesions_the_main_point_is_the_middle_of_the_pet(pet):
    nothing = pet.like(np.zeros(pet.shape, np.uint16), "label")
    measured = quantify(pet, nothing, method="x")
    assert measured.largest is None
    assert main_point(pet, nothing, measured) == pet.centre == pytest.approx((22.0, 22.0, 38.0))
