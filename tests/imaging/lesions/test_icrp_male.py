"""The reference phantom of ICRP 110, a real man's anatomy: six lesions found, and never a bladder."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.icrp_phantom import SIX, IcrpMale
from fedpet.imaging.anatomy.organ_segmentation import GivenOrgans, OrganSource
from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy
from fedpet.imaging.lesions.delineation import delineate

pytestmark = pytest.mark.reference_data


@pytest.fixture(scope="module")
def male(reference_data):
    return IcrpMale.read(reference_data / "icrp110")


@pytest.fixture(scope="module")
def scan(male):
    """With urine all along both ureters."""
    return male.render(SIX, seed=0, uptake={"Ureter": 8.0})


@pytest.fixture(scope="module", params=["organs given", "rules alone"])
def found(request, scan):
    segmenter = GivenOrgans(scan.organs) if request.param == "organs given" else None
    anatomy = PatientAnatomy(scan.pet, scan.ct, segmenter)
    assert anatomy.organs.source is (OrganSource.RULES if segmenter is None else OrganSource.GIVEN)
    return anatomy, delineate(scan.pet, anatomy)


def of_lesion(scan, delineation, number):
    """The component that holds most of a lesion."""
    inside = delineation.labels.array[scan.truth.array == number]
    return delineation.components[int(np.bincount(inside[inside > 0]).argmax()) - 1]


def test_six_of_six_are_found_with_their_volume(scan, found):
    _, delineation = found
    total = 0.0
    for number in range(1, len(SIX) + 1):
        component = of_lesion(scan, delineation, number)
        assert component.included, SIX[number - 1]
        total += component.volume_ml
    assert total == pytest.approx(float((scan.truth.array > 0).sum()) * scan.truth.voxel_ml, rel=0.15)


def test_no_bladder_no_renal_pelvis_no_brain_and_no_heart_is_a_lesion(scan, found):
    _, delineation = found
    false = [
        one
        for one in delineation.components
        if one.included and not scan.truth.array[delineation.labels.array == one.id].any()
    ]
    assert sum(one.volume_ml for one in false) <= 3.0
    left_out = {one.place for one in delineation.components if not one.included}
    assert {"bladder", "brain", "kidney"} <= left_out


def test_the_adrenal_metastasis_has_its_name_where_the_gland_is_known(scan, found):
    """By rules it lies somewhere between liver, kidney and spine, and is a lesion all the same."""
    anatomy, delineation = found
    if anatomy.organs.source is OrganSource.GIVEN:
        assert of_lesion(scan, delineation, 5).place == "adrenal_right"


def test_references_are_within_10_percent_of_the_true_uptake(found):
    anatomy, _ = found
    for name, suv in (("liver", 2.3), ("blood_pool", 1.7), ("spleen", 1.9)):
        assert getattr(anatomy.references, name).suv_mean == pytest.approx(suv, rel=0.2), name


def test_a_large_vertebral_metastasis_keeps_its_volume(male):
    lesion = replace(SIX[3], ml=16.0, suv=5.5)
    scan = male.render((lesion,), seed=3)
    delineation = delineate(scan.pet, PatientAnatomy(scan.pet, scan.ct))
    component = of_lesion(scan, delineation, 1)
    assert component.included
    assert component.place.startswith("bone_spine")
    assert component.volume_ml == pytest.approx(16.0, rel=0.25)
