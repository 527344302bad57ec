"""Organs against the truth of synthetic patients; the floors lie just under what was measured (docs/imaging.md)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy
from fedpet.imaging.anatomy.pet_only import find_brain_and_bladder
from fedpet.imaging.volume import Volume
from training.simulation.phantom.canvas import Canvas
from training.simulation.phantom.tissues import Tissue

PATIENTS = ("slim", "opacified", "heavy")
SIDES = ("right", "left")


@pytest.fixture(params=PATIENTS)
def case(request, scanned):
    return scanned[request.param]


def found(case):
    return case.anatomy.organs


def cut(volume, low, high):
    """Slices low to high."""
    affine = volume.affine.copy()
    affine[:3, 3] = volume.to_mm(np.array([low, 0.0, 0.0]))
    return Volume(volume.array[low:high], affine, volume.unit)


@pytest.mark.parametrize(
    ("organ", "dice"),
    [
        ("brain", 0.70),
        ("heart", 0.88),
        ("liver", 0.84),
        ("spleen", 0.74),
        ("kidney_right", 0.60),
        ("kidney_left", 0.58),
        ("bladder", 0.85),
        ("bowel", 0.55),
        ("bone", 0.68),
        ("marrow", 0.66),
        ("lung_right", 0.95),
        ("lung_left", 0.95),
    ],
)
def test_organs_agree_with_what_was_painted(case, organ, dice):
    assert case.dice(organ) > dice


def test_the_descending_aorta_lies_in_the_blood(case):
    levels = np.flatnonzero(found(case).mask("aorta").any(axis=(1, 2)))
    assert 4.0 * (levels > case.anatomy.landmarks.diaphragm).sum() > 100  # mm
    assert case.aorta_in_blood > 0.75


def test_salivary_glands_are_found_on_both_sides(case):
    glands, truth = found(case).mask("salivary_glands"), case.true_organs["salivary_glands"]
    column = np.arange(glands.shape[2]) > case.anatomy.body.midline[-1]
    for side in (column, ~column):
        assert (glands & truth & side).sum() / (truth & side).sum() > 0.15


@pytest.mark.parametrize("side", SIDES)
def test_the_ureter_runs_from_the_kidney_to_the_bladder_on_its_side(case, side):
    organs = found(case)
    ureter, kidney, bladder = (organs.mask(name) for name in (f"ureter_{side}", f"kidney_{side}", "bladder"))
    levels = np.flatnonzero(ureter.any(axis=(1, 2)))
    assert len(levels) == levels[-1] - levels[0] + 1  # without a gap
    for end in (kidney, bladder):
        inside = np.flatnonzero(end.any(axis=(1, 2)))
        assert inside[0] <= levels[-1]
        assert inside[-1] >= levels[0]
    away = np.nonzero(ureter)[2] - case.anatomy.body.midline[np.nonzero(ureter)[0]]
    assert np.all(away < 0 if side == "right" else away > 0)


def test_landmarks_lie_at_their_true_height(case):
    """Within 2 cm; the lower edge of the symphysis, found by its bone, within 4."""
    landmarks, canvas = case.anatomy.landmarks, Canvas(case.patient.anatomy, case.body.lattice)
    reference = {"carina": ((0, 4, 694), 20), "apex": ((-30, 0, 788), 20), "symphysis": ((0, -42, 196), 40)}
    for name, (point, tolerance) in reference.items():
        true_mm = canvas.to_patient(point)[0, 2]
        found_mm = found(case).labels.to_mm(np.array([getattr(landmarks, name), 0.0, 0.0]))[2]
        assert found_mm == pytest.approx(true_mm, abs=tolerance), name


def test_what_was_not_scanned_is_absent(scanned):
    """The chest with the dome of the liver: neither head nor pelvis, and the dome passes for no other organ."""
    case = scanned["slim"]
    pet, ct = (cut(volume, 95, 135) for volume in (case.pet, case.ct))
    anatomy = PatientAnatomy(pet, ct)
    landmarks, present = anatomy.landmarks, anatomy.organs.present
    assert {"lung_right", "lung_left", "heart", "aorta", "bone", "marrow"} <= present
    assert not present & {
        "brain", "salivary_glands", "kidney_right", "kidney_left", "ureter_right", "ureter_left", "bladder", "bowel",
    }  # fmt: skip
    assert landmarks.skull_base is None
    assert landmarks.symphysis is None
    assert landmarks.sacrum is None


def test_a_block_of_water_has_no_organs():
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    hu = np.full((100, 80, 80), -1000, np.int16)
    hu[:, 15:65, 15:65] = 0
    ct = Volume(hu, affine, "HU")
    pet = Volume(np.where(hu == 0, 1, 0).astype(np.float32), affine, "g/ml")
    anatomy = PatientAnatomy(pet, ct)
    assert not anatomy.organs.labels.array.any()
    assert anatomy.landmarks.apex is anatomy.landmarks.diaphragm is anatomy.landmarks.first_lumbar is None


def test_the_way_voxels_are_stored_changes_nothing(scanned):
    """Image and affine turned over along every axis: the same patient."""
    case = scanned["slim"]
    turned = [turned_over(volume) for volume in (case.pet, case.ct)]
    np.testing.assert_array_equal(PatientAnatomy(*turned).organs.labels.array, found(case).labels.array)


def turned_over(volume):
    affine = volume.affine @ np.diag([-1.0, -1.0, -1.0, 1.0])
    affine[:3, 3] = volume.to_mm(np.array(volume.shape) - 1.0)
    return Volume(np.flip(volume.array).copy(), affine, volume.unit)


def test_each_part_is_computed_once_and_only_when_read(scanned):
    anatomy = PatientAnatomy(scanned["slim"].pet, scanned["slim"].ct)
    assert set(vars(anatomy)) == {"pet", "ct", "segmenter"}
    assert anatomy.organs is anatomy.organs
    assert set(vars(anatomy)) == {"pet", "ct", "segmenter", "body", "suv", "images", "landmarks", "organs"}
    assert replace(anatomy).organs is not anatomy.organs  # nothing is shared but what is passed on


def test_an_adrenal_metastasis_on_a_kidney_is_not_part_of_it(scanned):
    case = scanned["slim"]
    kidneys = found(case).mask("kidney_right") | found(case).mask("kidney_left")
    numbers = [i for i, one in enumerate(case.patient.lesions, start=1) if one.kind == "adrenal"]
    for number in numbers:
        assert kidneys[case.on_coarse_grid(case.body.lesions == number)].mean() < 0.3


def test_brain_and_bladder_are_told_by_the_pet_alone(case):
    brain, bladder = find_brain_and_bladder(case.pet, case.pet.array >= 4)
    cortex = np.isin(case.body.tissues, [Tissue.CORTEX, Tissue.WHITE_MATTER])
    assert (brain & cortex).sum() / brain.sum() > 0.75
    urine = (case.body.tissues == Tissue.URINE) & (np.arange(len(cortex)) < 60)[:, None, None]
    assert (bladder & ndimage.binary_dilation(urine, iterations=2)).sum() / bladder.sum() > 0.9
    assert bladder.sum() >= 0.8 * urine.sum()


def test_a_hot_head_alone_is_no_brain_without_its_size(scanned):
    """Of the trunk alone nothing is taken for the brain, and then no bladder is told either."""
    pet = cut(scanned["slim"].pet, 0, 120)
    brain, bladder = find_brain_and_bladder(pet, pet.array >= 4)
    assert not brain.any()
    assert not bladder.any()
