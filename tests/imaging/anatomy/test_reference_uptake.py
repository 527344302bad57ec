"""References of healthy uptake against the truth of synthetic patients."""

from __future__ import annotations

import numpy as np
import pytest

from fedpet.core.errors import ArgumentError
from fedpet.imaging.anatomy.morphology import erode
from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy
from fedpet.imaging.anatomy.reference_uptake import place_liver_sphere, remark_on_lesions
from fedpet.imaging.resampling import Grid, resample
from fedpet.imaging.volume import Volume
from training.simulation.acquisition.scanner import ct_image, pet_image
from training.simulation.patients.centres import SITES
from training.simulation.patients.population import draw_patient
from training.simulation.phantom.rendering import render
from training.simulation.phantom.tissues import Tissue

TISSUES = {"liver": Tissue.LIVER, "blood_pool": Tissue.BLOOD, "spleen": Tissue.SPLEEN, "marrow": Tissue.MARROW}


@pytest.fixture(params=["slim", "opacified", "heavy"])
def case(request, scanned):
    return scanned[request.param]


def voxels_in(case, reference, *, radius_mm, half_mm=None):
    """Tissues and lesions of the voxels within a sphere, or a cylinder along the body, around a reference."""
    index = np.indices(case.pet.shape).reshape(3, -1).T
    away = case.pet.to_mm(index.astype(float)) - reference.centroid_mm
    if half_mm is None:
        inside = np.linalg.norm(away, axis=1) <= radius_mm
    else:
        inside = (np.hypot(away[:, 0], away[:, 1]) <= radius_mm) & (np.abs(away[:, 2]) <= half_mm)
    at = tuple(index[inside].T)
    return case.body.tissues[at], case.body.lesions[at]


def with_uptake(case, organ, change):
    """The PET with another uptake in an organ as it was found."""
    organs = case.anatomy.organs
    label = organs.labels.like(organs.mask(organ), "label")
    inside = resample(label, Grid.of(case.pet), interpolation="nearest", outside=0).array > 0
    suv = case.pet.array.copy()
    suv[inside] = change(suv[inside])
    return case.pet.like(suv, "g/ml")


@pytest.mark.parametrize(("name", "tolerance"), [("liver", 0.05), ("blood_pool", 0.10), ("spleen", 0.08)])
def test_references_measure_the_true_uptake(case, name, tolerance):
    reference = getattr(case.references, name)
    assert reference.suv_mean == pytest.approx(case.true_suv(TISSUES[name].name), rel=tolerance)
    shown = case.pet.array[tuple(case.anatomy.reference_voxels[name].T)]  # by the viewer
    assert reference.suv_mean == pytest.approx(shown.mean(), rel=0.02)


def test_the_marrow_is_measured_with_the_blur_of_small_bones(case):
    ratio = case.references.marrow.suv_mean / case.true_suv("marrow")
    assert 0.80 < ratio < 1.0


def test_the_liver_sphere_of_3_cm_lies_in_healthy_liver_of_the_right_lobe(case):
    liver = case.references.liver
    assert liver.method == "sphere_3cm_right_lobe"
    assert liver.volume_ml == pytest.approx(4 / 3 * np.pi * 1.5**3, rel=0.1)
    tissues, lesions = voxels_in(case, liver, radius_mm=15)
    assert np.mean(tissues == Tissue.LIVER) > 0.97
    assert not lesions.any()
    assert liver.centroid_mm[0] < 0  # LPS: the right side


def test_a_sphere_that_a_reader_places_says_where_it_lies_outside_of_the_liver_or_on_a_lesion(case):
    organs, rng = case.anatomy.organs, np.random.default_rng(3)
    liver = organs.mask("liver")

    def placed(mask):
        index = rng.choice(np.argwhere(mask))
        return place_liver_sphere(case.references, case.pet, organs, tuple(organs.labels.to_mm(index.astype(float))))

    within = [placed(erode(liver, 9)) for _ in range(20)]
    beyond = [placed(~liver & (np.nan_to_num(case.anatomy.suv) > 0.1)) for _ in range(20)]
    outside = "outside of the liver"
    assert [any(outside in str(one) for one in found.liver_remarks) for found in (*within, *beyond)] == [False] * 20 + [
        True
    ] * 20
    found = within[0]
    assert found.liver.method == "sphere_3cm_by_reader"
    assert f"{case.references.liver.suv_mean:.1f}" in str(found.liver_remarks[0])
    assert found.spleen_to_liver == pytest.approx(found.spleen.suv_mean / found.liver.suv_mean)
    lesions = case.pet.like(np.zeros(case.pet.shape, np.uint16), "label")
    assert remark_on_lesions(found, case.pet, lesions) == found
    lesions.array[tuple(np.rint(case.pet.to_index(np.array(found.liver.centroid_mm))).astype(int))] = 4
    assert "of lesions" in str(remark_on_lesions(found, case.pet, lesions).liver_remarks[-1])
    with pytest.raises(ArgumentError, match="outside of the PET"):
        place_liver_sphere(case.references, case.pet, organs, (0.0, 0.0, 9000.0))


def test_the_cylinder_of_1_by_2_cm_lies_in_the_blood_of_the_aorta(case):
    pool = case.references.blood_pool
    assert pool.method == "cylinder_1x2cm_descending_aorta"
    tissues, lesions = voxels_in(case, pool, radius_mm=5, half_mm=10)
    assert np.mean(tissues == Tissue.BLOOD) > 0.9
    assert not lesions.any()


def test_lesions_of_the_marrow_are_left_out(scanned):
    """Of `slim`, T8 and L3 hold lesions of SUV 9."""
    case = scanned["slim"]
    assert case.references.marrow.suv_mean < 1.05 * case.true_suv("marrow")


def test_large_metastases_do_not_draw_the_sphere(scanned):
    """Four liver metastases of 8 to 58 ml leave little healthy liver in the right lobe."""
    patient = draw_patient(SITES[5], 0, seed=7)
    assert sum(one.ml for one in patient.lesions if one.kind == "liver") > 130
    case = type(scanned["slim"]).of(patient, (4.0, 4.0, 6.0))
    assert case.references.liver.suv_mean == pytest.approx(case.true_suv("liver"), rel=0.05)


def test_a_liver_full_of_metastases_gives_way_to_the_blood_pool(scanned):
    case = scanned["heavy"]
    pet = with_uptake(case, "liver", lambda suv: np.where(np.arange(len(suv)) % 10 < 3, 3 * suv, suv))
    found = PatientAnatomy(pet, case.ct).references
    assert found.liver is None
    assert "the blood pool is to be used" in str(found.reasons["liver"])
    assert found.marrow_to_liver is None
    assert found.spleen_to_liver is None
    assert found.blood_pool.suv_mean == pytest.approx(case.references.blood_pool.suv_mean, rel=0.02)


def test_the_share_of_the_liver_that_is_hot_is_named(scanned):
    """The lower quarter of the voxels, far from the sphere."""
    case = scanned["slim"]
    pet = with_uptake(case, "liver", lambda suv: np.where(np.arange(len(suv)) < len(suv) / 4, 4 * suv, suv))
    reason = str(PatientAnatomy(pet, case.ct).references.reasons["liver"])
    assert "% of the liver is hotter than normal liver tissue" in reason
    assert 20 < float(reason.split(maxsplit=1)[0]) < 35


@pytest.mark.parametrize("suv", [0.5, 8.0])
def test_a_liver_beyond_normal_uptake_is_not_a_reference(scanned, suv):
    case = scanned["slim"]
    pet = with_uptake(case, "liver", lambda values: np.full_like(values, suv))
    found = PatientAnatomy(pet, case.ct).references
    assert found.liver is None
    assert "is not that of a normal liver" in str(found.reasons["liver"])


def test_the_ratios_are_those_of_the_means(case):
    found = case.references
    assert found.marrow_to_liver == pytest.approx(found.marrow.suv_mean / found.liver.suv_mean)
    assert found.spleen_to_liver == pytest.approx(found.spleen.suv_mean / found.liver.suv_mean)
    true = case.patient.anatomy.spleen / case.patient.anatomy.liver
    assert found.spleen_to_liver == pytest.approx(true, rel=0.08)


def test_a_hot_spleen_changes_its_own_ratio_only(scanned):
    case = scanned["slim"]
    found = PatientAnatomy(with_uptake(case, "spleen", lambda suv: 2 * suv), case.ct).references
    assert found.spleen_to_liver == pytest.approx(2 * case.references.spleen_to_liver, rel=0.02)
    assert found.marrow_to_liver == pytest.approx(case.references.marrow_to_liver, rel=0.02)


def test_references_go_with_the_unit_of_the_pet(scanned):
    """SUL is SUVbw times a constant of the patient."""
    case = scanned["slim"]
    lean = case.anatomy.measure_references(case.pet.like(case.pet.array * np.float32(0.75), "g/ml"))
    for name in TISSUES:
        assert getattr(lean, name).suv_mean == pytest.approx(0.75 * getattr(case.references, name).suv_mean, rel=1e-3)


def test_a_chest_without_abdomen_has_reasons_instead_of_guesses(scanned):
    case = scanned["slim"]
    above = case.pet.affine.copy()
    above[:3, 3] = case.pet.to_mm(np.array([105.0, 0.0, 0.0]))
    pet, ct = Volume(case.pet.array[105:150], above, "g/ml"), Volume(case.ct.array[105:150], above, "HU")
    found = PatientAnatomy(pet, ct).references
    assert found.liver is found.spleen is None
    assert "No place for a sphere of 30 mm" in str(found.reasons["liver"])
    assert "No place for a sphere of 20 mm" in str(found.reasons["spleen"])
    assert found.blood_pool.suv_mean == pytest.approx(case.true_suv("blood"), rel=0.12)
    assert set(found.reasons) | {name for name in TISSUES if getattr(found, name)} == set(TISSUES)


def test_nothing_is_measured_in_a_pelvis(scanned):
    case = scanned["slim"]
    pet, ct = Volume(case.pet.array[:50], case.pet.affine, "g/ml"), Volume(case.ct.array[:50], case.ct.affine, "HU")
    found = PatientAnatomy(pet, ct).references
    assert [getattr(found, name) for name in TISSUES] == [None] * 4
    assert "The descending thoracic aorta was not found." in str(found.reasons["blood_pool"])
    assert "of vertebral bodies was found" in str(found.reasons["marrow"])


def test_a_pet_that_does_not_reach_the_liver_measures_none(scanned):
    case = scanned["slim"]
    beyond = case.pet.affine.copy()
    beyond[:3, 3] = case.pet.to_mm(np.array([120.0, 0.0, 0.0]))
    found = PatientAnatomy(Volume(case.pet.array[120:], beyond, "g/ml"), case.ct).references
    assert found.liver is None
    assert found.blood_pool is None
    assert {"liver", "blood_pool"} <= set(found.reasons)


def test_the_reference_is_measured_on_the_voxels_of_the_pet(scanned):
    patient = scanned["slim"].patient
    body = render(patient, (4.0, 4.0, 6.0))
    pet, ct = pet_image(body, patient, voxel_mm=(5.5, 5.5, 3.3)), ct_image(body, patient)
    liver = PatientAnatomy(pet, ct).references.liver
    assert liver.volume_ml == pytest.approx(4 / 3 * np.pi * 1.5**3, rel=0.05)
    assert liver.suv_mean == pytest.approx(scanned["slim"].true_suv("liver"), rel=0.05)
