from __future__ import annotations

import numpy as np
import pytest

from fedpet.core.errors import FedpetError, ReferenceUptakeError, UnknownComponentError
from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy
from fedpet.imaging.lesions.delineation import delineate
from fedpet.imaging.lesions.detection.isocontour import isocontour
from fedpet.imaging.lesions.detection.watershed import watershed_basins
from fedpet.imaging.volume import Volume

STEP = 4.0
ML = STEP**3 / 1000


def grid(array, unit="g/ml"):
    return Volume(np.asarray(array, np.float32), np.diag([STEP, STEP, STEP, 1.0]), unit)


def delineated(pet, ct, **options):
    return delineate(pet, PatientAnatomy(pet, ct), **options)


def blob(centre, height, sigma_mm, shape=(40, 40, 40)):
    """A Gaussian of SUV `height`, centre in voxels."""
    z, y, x = np.indices(shape)
    away = ((np.stack([z, y, x], -1) - centre) ** 2).sum(-1) * STEP**2
    return height * np.exp(-away / (2 * sigma_mm**2))


def volume_of_gaussian(share, sigma_mm):
    """Where a Gaussian is at least `share` of its height, ml."""
    return 4 / 3 * np.pi * (sigma_mm * np.sqrt(2 * np.log(1 / share))) ** 3 / 1000


@pytest.fixture(scope="module")
def water():
    """A block of water in air: a body in which no organ can be found."""
    hu = np.full((40, 40, 40), -1000.0)
    hu[:, 3:37, 3:37] = 40.0
    return Volume(hu.astype(np.int16), np.diag([STEP, STEP, STEP, 1.0]), "HU")


@pytest.fixture(scope="module")
def two(water):
    """A large lesion (SUV 12) and a small one (SUV 8), 64 mm apart."""
    pet = grid(0.5 + blob((20, 20, 12), 12, 10) + blob((20, 20, 28), 8, 6))
    return pet, water


def test_every_hot_component_is_in_the_result_with_place_reason_and_measure(two):
    found = delineated(*two)
    assert (found.method, found.threshold) == ("suv4", 4.0)
    assert [one.id for one in found.components] == [1, 2]
    large, small = found.components
    assert large.included
    assert small.included
    assert not large.switched
    assert "No physiological uptake" in str(large.reason)
    assert large.suv_max == pytest.approx(12.5, abs=0.1)
    assert large.centroid_mm == pytest.approx((48, 80, 80), abs=1.0)
    assert large.volume_ml == pytest.approx((found.labels.array == 1).sum() * ML)
    assert found.labels.array.dtype == np.uint16
    assert ((found.labels.array > 0) == (two[0].array >= 4.0)).all()


def test_a_person_switches_components_and_the_numbers_stay(two):
    plain, chosen = delineated(*two), delineated(*two, exclude=[1], include=(2,))
    assert (chosen.labels.array == plain.labels.array).all()
    assert [(one.included, one.switched) for one in chosen.components] == [(False, True), (True, True)]
    assert [str(one.reason) for one in chosen.components] == ["Excluded by the reader.", "Included by the reader."]
    assert np.unique(chosen.lesions.array).tolist() == [0, 2]
    assert np.unique(plain.lesions.array).tolist() == [0, 1, 2]


@pytest.mark.parametrize("switches", [{"include": [3]}, {"exclude": [0]}, {"include": [1], "exclude": [1]}])
def test_switching_what_is_not_there_is_an_error_that_names_the_number(two, switches):
    with pytest.raises(UnknownComponentError, match=r"both included and excluded: \d\.") as caught:
        delineated(*two, **switches)
    assert isinstance(caught.value, FedpetError)


def test_nothing_hot_gives_no_component(water):
    found = delineated(grid(np.ones((40, 40, 40))), water)
    assert found.components == ()
    assert found.lesions.array.max() == 0


def test_specks_below_the_smallest_volume_are_no_components(water):
    suv = np.ones((40, 40, 40))
    suv[20, 20, 10:12] = 9.0  # 0.13 ml
    suv[20, 20, 25:28] = 9.0  # 0.19 ml
    assert [one.volume_ml for one in delineated(grid(suv), water).components] == pytest.approx([3 * ML])


def test_without_a_ct_the_reason_says_what_cannot_be_recognised(two):
    found = delineate(two[0], None)
    assert {one.place for one in found.components} == {"unknown"}
    assert all("Without a CT" in str(one.reason) and one.included for one in found.components)


def test_41_percent_of_a_known_profile(water):
    pet = grid(blob((20, 20, 20), 20, 18))
    (lesion,) = delineated(pet, water, method="suv41pct").components
    assert lesion.volume_ml == pytest.approx(volume_of_gaussian(0.41, 18), rel=0.03)
    (fixed,) = delineated(pet, water).components
    assert fixed.volume_ml == pytest.approx(volume_of_gaussian(4 / 20, 18), rel=0.03)


def test_41_percent_belongs_to_each_lesion_and_never_reaches_into_its_neighbour(water):
    """At SUV 2.5 both are one component; at 41 % of the hotter one the colder one would vanish."""
    hot, cold = blob((20, 20, 12), 30, 9), blob((20, 20, 20), 7, 7.5)
    pet = grid(hot + cold)
    assert len(delineated(pet, water, method="suv25").components) == 1
    found = delineated(pet, water, method="suv41pct")
    assert len(found.components) == 2
    by_peak = {round(one.suv_max): one for one in found.components}
    assert by_peak[30].volume_ml == pytest.approx(volume_of_gaussian(0.41, 9), rel=0.1)
    assert by_peak[7].volume_ml == pytest.approx(volume_of_gaussian(0.41, 7.5), rel=0.25)
    assert not ((found.labels.array == by_peak[7].id) & (hot > 2 * cold)).any()


def test_a_maximum_within_the_contour_of_a_higher_one_is_the_same_lesion(water):
    pet = grid(np.maximum(blob((20, 20, 15), 20, 9), blob((20, 20, 21), 14, 9)))
    assert watershed_basins(pet, pet.array >= 4).max() == 2
    (lesion,) = delineated(pet, water, method="suv41pct").components
    assert lesion.suv_max == pytest.approx(20.0)


def test_a_contour_that_leaks_into_its_surroundings_is_drawn_higher():
    suv = np.full((40, 40, 40), 2.7)  # 41 and 50 % of 5 are less, 60 % is not
    suv[20, 20, 15:26] = 3.5
    suv[20, 20, 18:23] = 5.0
    pet = grid(suv)
    outline = isocontour(pet, (pet.array >= 4).astype(np.int32), np.array([True]))
    assert ((outline > 0) == (suv >= 3.0)).all()


def test_outlines_leave_what_is_no_lesion_alone():
    pet = grid(blob((20, 20, 12), 20, 9) + blob((20, 20, 24), 20, 9))
    basins = watershed_basins(pet, pet.array >= 4)
    assert basins.max() == 2
    left = basins[20, 20, 12]
    outline = isocontour(pet, basins, np.array([left == 1, left == 2]))
    assert set(np.unique(outline)) == {0, left}
    assert not (outline[basins != left] > 0).any() or (basins[outline > 0] != 3 - left).all()


def test_touching_hot_regions_are_cut_at_the_valley_between_them():
    pet = grid(np.maximum(blob((20, 20, 15), 20, 9), blob((20, 20, 21), 14, 9)))
    basins = watershed_basins(pet, pet.array >= 4)
    assert ((basins > 0) == (pet.array >= 4)).all()
    left, right = basins[20, 20, 15], basins[20, 20, 21]
    assert left != right
    valley = 15 + int(np.argmin(pet.array[20, 20, 15:22]))
    assert (basins[20, 20, 13:valley] == left).all()
    assert (basins[20, 20, valley + 1 : 24] == right).all()


def test_noise_does_not_cut_a_lesion():
    rng = np.random.default_rng(1)
    pet = grid(blob((20, 20, 20), 12, 14) * rng.normal(1, 0.05, (40, 40, 40)))
    assert watershed_basins(pet, pet.array >= 6).max() == 1


def test_percist_without_a_reference_is_refused(two):
    with pytest.raises(ReferenceUptakeError, match="liver"):
        delineated(*two, method="percist")
    with pytest.raises(ReferenceUptakeError, match="fixed threshold"):
        delineate(two[0], None, method="percist")
