from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fedpet.imaging.anatomy.body import LEFT, RIGHT, segment_body
from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy
from fedpet.imaging.anatomy.regions import REGIONS, locate_lesions
from fedpet.imaging.dicom.geometry import slice_geometry
from fedpet.imaging.quality.checks import header_checks, image_checks
from fedpet.imaging.study import CheckStatus
from fedpet.imaging.suv.calibration import calibrate_suv
from fedpet.imaging.volume import Volume

SPACING = (4.0, 4.0, 4.0)


@pytest.fixture(scope="module")
def patient(dicom):
    """PET and CT of the crude thorax, 80 cm long."""
    suv, hu, origin = dicom.thorax((200, 100, 100), spacing=SPACING)
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = origin
    return Volume(suv.astype(np.float32), affine, "g/ml"), Volume(hu.astype(np.int16), affine, "HU")


def named(checks):
    return {one.name: one for one in checks}


def checked(pet, ct, **facts):
    return named(image_checks(pet, ct and PatientAnatomy(pet, ct), **facts))


def cut(volume, low, high):
    """Slices low to high of a volume."""
    affine = volume.affine.copy()
    affine[:3, 3] = volume.to_mm(np.array([low, 0, 0]))
    return Volume(volume.array[low:high], affine, volume.unit)


def test_a_whole_patient_passes_every_image_check(patient):
    """But those that need a heart, an aorta and muscle of their own, which the crude thorax has not."""
    checks = checked(*patient)
    levels = {name: one.level.value for name, one in checks.items()}
    assert levels == dict.fromkeys(checks, "pass") | dict.fromkeys(("sides", "fasting"), "warn")
    assert "800 mm" in str(checks["pet_extent"].reason)
    assert "of the liver 2.2" in str(checks["suv_plausible"].reason)


def test_lungs_are_found_on_their_sides_with_their_volume(patient):
    anatomy = segment_body(patient[1])
    ellipsoid = 4 / 3 * np.pi * 60 * 80 * 105 / 1000
    assert anatomy.lung_ml(LEFT) == pytest.approx(ellipsoid, rel=0.02)
    assert anatomy.lung_ml(RIGHT) == pytest.approx(
        ellipsoid - 4 / 3 * np.pi * 20**3 / 1000, rel=0.03
    )  # less the lesion
    columns = np.argwhere(anatomy.lungs == RIGHT)[:, 2]
    assert columns.max() < anatomy.lungs.shape[2] / 2  # the patient's right has small x


def test_a_scan_that_ends_within_the_chest_warns(patient):
    anatomy = segment_body(patient[1])
    low, high = anatomy.lung_slices
    middle = (low + high) // 2
    for first, last in ((0, high - 5), (low + 5, len(patient[1].array))):
        assert first < middle < last
        checks = checked(*(cut(volume, first, last) for volume in patient))
        assert checks["chest_covered"].level is CheckStatus.WARN
        assert "ends within the chest" in str(checks["chest_covered"].reason)


def test_weight_must_fit_the_body_seen(patient):
    """The thorax is 80 cm long: too short for an upper limit; stretched to 90 cm it has one."""
    pet, ct = patient
    affine = ct.affine.copy()
    affine[2, 2] *= 1.125
    longer = Volume(ct.array, affine, "HU")
    litres = segment_body(longer).body.sum() * 64e-6  # of a voxel of 4 mm
    for factor, level in (
        (0.8, CheckStatus.WARN),
        (1.0, CheckStatus.PASS),
        (1.8, CheckStatus.PASS),
        (2.0, CheckStatus.WARN),
    ):
        told = checked(pet, longer, weight_kg=factor * float(litres))["weight_fits"]
        assert told.level is level, factor
    short = float(segment_body(ct).body.sum()) * 64e-6  # of a voxel of 4 mm
    assert "weight_fits" not in checked(pet, ct, weight_kg=3 * short)
    assert checked(pet, ct, weight_kg=0.8 * short)["weight_fits"].level is CheckStatus.WARN
    assert checked(pet, ct, weight_kg=0.5 * short)["weight_fits"].level is CheckStatus.FAIL
    assert checked(pet, longer, weight_kg=2.3 * float(litres))["weight_fits"].level is CheckStatus.FAIL
    assert "weight_fits" not in checked(pet, ct)


def test_an_abdomen_is_no_chest(patient):
    pet, ct = (cut(volume, 0, 80) for volume in patient)
    checks = checked(pet, ct)
    assert checks["chest_covered"].level is CheckStatus.FAIL
    assert checks["pet_extent"].level is CheckStatus.FAIL
    assert checks["orientation"].level is CheckStatus.WARN


@pytest.mark.parametrize(
    ("slices", "level"),
    [(176, CheckStatus.PASS), (174, CheckStatus.WARN), (100, CheckStatus.WARN), (99, CheckStatus.FAIL)],
)
def test_bounds_of_the_extent(patient, slices, level):
    pet = cut(patient[0], 0, slices)
    assert checked(pet, None)["pet_extent"].level is level


@pytest.mark.parametrize(
    ("factor", "level"),
    [
        (1, CheckStatus.PASS),
        (5, CheckStatus.WARN),
        (0.25, CheckStatus.WARN),
        (1000, CheckStatus.FAIL),
        (0.001, CheckStatus.FAIL),
    ],
)
def test_suv_off_by_a_factor_is_noticed(patient, factor, level):
    pet = patient[0].like(patient[0].array * np.float32(factor), "g/ml")
    assert checked(pet, patient[1])["suv_plausible"].level is level


def test_a_patient_upside_down_is_noticed(patient):
    flipped = [volume.like(volume.array[::-1].copy(), volume.unit) for volume in patient]
    assert checked(*flipped)["orientation"].level is CheckStatus.FAIL


@pytest.mark.parametrize(
    ("shift_mm", "level"),
    [((0, 0, 0), CheckStatus.PASS), ((120, 0, 0), CheckStatus.WARN), ((0, 0, 600), CheckStatus.FAIL)],
)
def test_a_shifted_ct_is_noticed(patient, shift_mm, level):
    pet, ct = patient
    affine = ct.affine.copy()
    affine[:3, 3] += shift_mm
    assert checked(pet, Volume(ct.array, affine, "HU"))["alignment"].level is level


def headers_checked(dicom, **changes):
    slices = dicom.pet(np.ones((6, 4, 4)))
    facts = replace(calibrate_suv(slices).facts, **changes)
    return named(header_checks(facts, pet=slice_geometry(slices), stated_slices=None))


@pytest.mark.parametrize(
    ("name", "changes", "level"),
    [
        ("tracer", {}, "pass"),
        ("tracer", {"radiopharmaceutical": "Fluorodeoxyglucose F^18^"}, "pass"),
        ("tracer", {"radiopharmaceutical": ""}, "warn"),
        ("tracer", {"radiopharmaceutical": "Fluorothymidine F^18^"}, "fail"),
        ("tracer", {"half_life_s": 4057.7}, "fail"),
        ("tracer", {"half_life_s": 6588.0}, "pass"),
        ("uptake_time", {"uptake_min": 60.0}, "pass"),
        ("uptake_time", {"uptake_min": 120.0}, "warn"),
        ("uptake_time", {"uptake_min": 5.0}, "fail"),
        ("uptake_time", {"uptake_min": None}, "warn"),
        ("dose", {"dose_bq": 3e8}, "pass"),
        ("dose", {"dose_bq": 3e7}, "warn"),
        ("dose", {"dose_bq": 3e6}, "fail"),
        ("dose", {"dose_bq": None}, "warn"),
        ("weight", {"weight_kg": 70.0}, "pass"),
        ("weight", {"weight_kg": 250.0}, "warn"),
        ("weight", {"weight_kg": 4.0}, "fail"),
        ("weight", {"weight_kg": None}, "warn"),
    ],
)
def test_levels_of_the_header_checks(dicom, name, changes, level):
    assert headers_checked(dicom, **changes)[name].level.value == level


def test_slices_stated_but_absent(dicom):
    slices = dicom.pet(np.ones((6, 4, 4)))
    checks = named(header_checks(calibrate_suv(slices).facts, pet=slice_geometry(slices), stated_slices=324))
    assert checks["slices"].level is CheckStatus.WARN
    assert "state 324" in str(checks["slices"].reason)


@pytest.mark.parametrize(
    ("place", "region"),
    [
        ((-90, -10, 155), "lung_right"),  # the lesion of the phantom
        ((85, 20, 160), "lung_left"),
        ((0, -10, 150), "mediastinum"),
        ((-145, 0, 150), "chest_wall"),
        ((0, 70, 150), "bone_spine_thoracic"),
        ((0, 70, -100), "bone_spine_lumbar"),
        ((-80, 0, 10), "liver"),
        ((-80, 0, -200), "bowel"),
        ((80, 0, -50), "bowel"),
        ((0, 0, 330), "neck"),
    ],
)
def test_regions_of_lesions_in_the_crude_thorax(patient, place, region):
    pet, ct = patient
    index = np.stack(np.meshgrid(*[np.arange(n) for n in pet.shape], indexing="ij"), -1)
    near = np.linalg.norm(pet.to_mm(index.astype(float)) - np.array(place), axis=-1) <= 9
    assert locate_lesions(pet.like(near.astype(np.uint16), "label"), PatientAnatomy(pet, ct)) == {1: region}
    assert region in REGIONS


def test_without_a_chest_regions_are_not_guessed(patient):
    pet, ct = (cut(volume, 0, 60) for volume in patient)
    labels = pet.like((pet.array > 0.7).astype(np.uint16), "label")
    assert locate_lesions(labels, PatientAnatomy(pet, ct)) == {1: "unknown"}
    assert locate_lesions(labels, None) == {1: "unknown"}
