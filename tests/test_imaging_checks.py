from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from imaging.anatomy import LEFT, RIGHT, anatomy_of
from imaging.checks import header_checks, image_checks
from imaging.geometry import geometry_of
from imaging.regions import REGIONS, lesion_regions
from imaging.study import Level
from imaging.suv import calibrate
from imaging.volume import Volume

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


def cut(volume, low, high):
    """Slices low to high of a volume."""
    affine = volume.affine.copy()
    affine[:3, 3] = volume.to_mm(np.array([low, 0, 0]))
    return Volume(volume.array[low:high], affine, volume.unit)


def test_a_whole_patient_passes_every_image_check(patient):
    checks = named(image_checks(*patient))
    assert {name: one.level.value for name, one in checks.items()} == dict.fromkeys(checks, "pass")
    assert "800 mm" in str(checks["pet_extent"].reason)
    assert "of the liver 2.2" in str(checks["suv_plausible"].reason)


def test_lungs_are_found_on_their_sides_with_their_volume(patient):
    anatomy = anatomy_of(patient[1])
    ellipsoid = 4 / 3 * np.pi * 60 * 80 * 105 / 1000
    assert anatomy.lung_ml(LEFT) == pytest.approx(ellipsoid, rel=0.02)
    assert anatomy.lung_ml(RIGHT) == pytest.approx(
        ellipsoid - 4 / 3 * np.pi * 20**3 / 1000, rel=0.03
    )  # less the lesion
    columns = np.argwhere(anatomy.lungs == RIGHT)[:, 2]
    assert columns.max() < anatomy.lungs.shape[2] / 2  # the patient's right has small x


def test_a_scan_that_ends_within_the_chest_warns(patient):
    anatomy = anatomy_of(patient[1])
    low, high = anatomy.lung_slices
    middle = (low + high) // 2
    for first, last in ((0, high - 5), (low + 5, len(patient[1].array))):
        assert first < middle < last
        checks = named(image_checks(*(cut(volume, first, last) for volume in patient)))
        assert checks["chest_covered"].level is Level.WARN
        assert "ends within the chest" in str(checks["chest_covered"].reason)


def test_weight_must_fit_the_body_seen(patient):
    """The thorax is 80 cm long: too short for an upper limit; stretched to 90 cm it has one."""
    pet, ct = patient
    affine = ct.affine.copy()
    affine[2, 2] *= 1.125
    longer = Volume(ct.array, affine, "HU")
    litres = anatomy_of(longer).body.sum() * 64e-6  # of a voxel of 4 mm
    for factor, level in ((0.8, Level.WARN), (1.0, Level.PASS), (1.8, Level.PASS), (2.0, Level.WARN)):
        told = named(image_checks(pet, longer, weight_kg=factor * float(litres)))["weight_fits"]
        assert told.level is level, factor
    short = float(anatomy_of(ct).body.sum()) * 64e-6  # of a voxel of 4 mm
    assert "weight_fits" not in named(image_checks(pet, ct, weight_kg=3 * short))
    assert named(image_checks(pet, ct, weight_kg=0.5 * short))["weight_fits"].level is Level.WARN
    assert "weight_fits" not in named(image_checks(pet, ct))


def test_an_abdomen_is_no_chest(patient):
    pet, ct = (cut(volume, 0, 80) for volume in patient)
    checks = named(image_checks(pet, ct))
    assert checks["chest_covered"].level is Level.FAIL
    assert checks["pet_extent"].level is Level.FAIL
    assert checks["orientation"].level is Level.WARN


@pytest.mark.parametrize(
    ("slices", "level"), [(176, Level.PASS), (174, Level.WARN), (100, Level.WARN), (99, Level.FAIL)]
)
def test_bounds_of_the_extent(patient, slices, level):
    pet = cut(patient[0], 0, slices)
    assert named(image_checks(pet, None))["pet_extent"].level is level


@pytest.mark.parametrize(
    ("factor", "level"), [(1, Level.PASS), (5, Level.WARN), (0.25, Level.WARN), (1000, Level.FAIL), (0.001, Level.FAIL)]
)
def test_suv_off_by_a_factor_is_noticed(patient, factor, level):
    pet = patient[0].like(patient[0].array * np.float32(factor), "g/ml")
    assert named(image_checks(pet, patient[1]))["suv_plausible"].level is level


def test_a_patient_upside_down_is_noticed(patient):
    flipped = [volume.like(volume.array[::-1].copy(), volume.unit) for volume in patient]
    assert named(image_checks(*flipped))["orientation"].level is Level.FAIL


@pytest.mark.parametrize(
    ("shift_mm", "level"), [((0, 0, 0), Level.PASS), ((120, 0, 0), Level.WARN), ((0, 0, 600), Level.FAIL)]
)
def test_a_shifted_ct_is_noticed(patient, shift_mm, level):
    pet, ct = patient
    affine = ct.affine.copy()
    affine[:3, 3] += shift_mm
    assert named(image_checks(pet, Volume(ct.array, affine, "HU")))["alignment"].level is level


def headers_checked(dicom, **changes):
    slices = dicom.pet(np.ones((6, 4, 4)))
    facts = replace(calibrate(slices).facts, **changes)
    return named(header_checks(facts, disagreement=0.0, pet=geometry_of(slices), told_slices=None))


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


def test_slices_announced_but_absent_and_a_contradicting_decay_factor(dicom):
    slices = dicom.pet(np.ones((6, 4, 4)))
    checks = named(header_checks(calibrate(slices).facts, disagreement=-0.06, pet=geometry_of(slices), told_slices=324))
    assert checks["slices"].level is Level.WARN
    assert "announce 324" in str(checks["slices"].reason)
    assert checks["uptake_time"].level is Level.WARN
    assert "-6 %" in str(checks["uptake_time"].reason)


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
    assert lesion_regions(pet.like(near.astype(np.uint16), "label"), ct, pet) == {1: region}
    assert region in REGIONS


def test_without_a_chest_regions_are_not_guessed(patient):
    pet, ct = (cut(volume, 0, 60) for volume in patient)
    labels = pet.like((pet.array > 0.7).astype(np.uint16), "label")
    assert lesion_regions(labels, ct, pet) == {1: "unknown"}
    assert lesion_regions(labels, None, pet) == {1: "unknown"}
