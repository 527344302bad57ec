"""Rules tried on one synthetic patient: as drawn, and without lesions but with hot foci planted in organs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy
from fedpet.imaging.anatomy.structures import STRUCTURES
from fedpet.imaging.lesions.delineation import delineate
from fedpet.imaging.lesions.detection.foci import _NEIGHBOURS, Focus, find_foci, organ_uptake
from fedpet.imaging.lesions.detection.thresholds import threshold_for
from fedpet.imaging.lesions.detection.uptake_classification import PHYSIOLOGICAL_SITES, _verdict, classify_uptake
from fedpet.imaging.lesions.detection.watershed import watershed_basins
from fedpet.imaging.resampling import Grid, resample
from fedpet.imaging.volume import Volume
from training.simulation.acquisition.scanner import ct_image, pet_image
from training.simulation.patients.centres import SITES
from training.simulation.patients.population import draw_patient
from training.simulation.phantom.rendering import render


@pytest.fixture(scope="module")
def patient():
    """Large lung tumour, supraclavicular nodes, liver, bone and brain metastases; hot myocardium and urine."""
    return draw_patient(SITES[0], 3, seed=1)


@pytest.fixture(scope="module")
def body(patient):
    return render(patient, (4.0, 4.0, 6.0))


@pytest.fixture(scope="module")
def scan(patient, body):
    return PatientAnatomy(pet_image(body, patient), ct_image(body, patient))


@pytest.fixture(scope="module")
def found(scan):
    return delineate(scan.pet, scan)


@pytest.fixture(scope="module")
def healthy(patient):
    """The same patient without any lesion."""
    bare = render(patient, (4.0, 4.0, 6.0), without=range(len(patient.lesions)))
    return PatientAnatomy(pet_image(bare, patient), ct_image(bare, patient))


def middle(organs, name):
    """A voxel well inside an organ, LPS mm."""
    depth = ndimage.distance_transform_edt(organs.mask(name))
    return organs.labels.to_mm(np.array(np.unravel_index(depth.argmax(), depth.shape), float))


def ball(pet, centre_mm, radius_mm):
    """Voxels of the PET within a radius."""
    index = np.indices(pet.shape).reshape(3, -1).T
    near = np.linalg.norm(pet.to_mm(index.astype(float)) - centre_mm, axis=1) <= radius_mm
    return near.reshape(pet.shape)


@pytest.fixture(scope="module")
def planted(healthy):
    """The healthy patient with foci, and the voxels of each focus by name."""
    pet, organs = healthy.pet, healthy.organs
    bladder = middle(organs, "bladder")
    gland = middle(organs, "salivary_glands")
    head = middle(organs, "brain")
    wall = organs.labels.to_mm(np.argwhere(organs.mask("bladder")).astype(float)).max(axis=0)[0]
    centres = {
        "beside_bladder": (np.array([wall + 18, *bladder[1:]]), 12.0),
        "gland": (gland, 8.0),
        "other_gland": (np.array([2 * head[0] - gland[0], *gland[1:]]), 8.0),
        "bowel": (middle(organs, "bowel"), 9.0),
        "liver": (middle(organs, "liver"), 10.0),
        "air": (head - np.array([0.0, 150.0, 0.0]), 9.0),
        "lung": (middle(organs, "lung_left"), 9.0),
        "end": (np.array([40.0, 0.0, pet.bounds[0][2] + 4.0]), 5.0),
    }
    foci = {name: ball(pet, centre, radius) for name, (centre, radius) in centres.items()}
    suv = pet.array.copy()
    bridge = ball(pet, np.array([wall + 6, *bladder[1:]]), 8.0)
    suv[bridge] = np.maximum(suv[bridge], 4.5)
    for name, focus in foci.items():
        suv[focus] = 12.0 if name == "beside_bladder" else 8.0
    return replace(healthy, pet=Volume(suv, pet.affine, "g/ml")), foci


@pytest.fixture(scope="module")
def hot_liver(healthy):
    """The healthy patient with about five times the uptake in the whole liver, and where that is."""
    pet, organs = healthy.pet, healthy.organs
    liver = organs.labels.like(organs.mask("liver"), "label")
    inside = resample(liver, Grid.of(pet), interpolation="nearest", outside=0).array > 0
    suv = np.where(inside, np.minimum(5 * pet.array, 10), pet.array).astype(np.float32)
    return replace(healthy, pet=pet.like(suv, "g/ml")), inside


@pytest.fixture(scope="module")
def judged(planted):
    """Component that holds each planted focus."""
    anatomy, foci = planted
    result = delineate(anatomy.pet, anatomy)
    return {name: component_of(result, focus) for name, focus in foci.items()}


def test_exercised_muscle_is_no_lesion_and_a_hotter_focus_in_muscle_is_one(healthy):
    """All muscle of the left side at SUV 5, so that no symmetry helps; a focus of SUV 14 on the right."""
    pet, organs, images = healthy.pet, healthy.organs, healthy.images
    soft = np.zeros(organs.labels.shape, bool)
    soft[images.box] = (images.smooth_hu > 20) & (images.smooth_hu < 90) & images.body
    labels = organs.labels.array.copy()
    labels[soft & (labels == 0)] = STRUCTURES["muscle"].number
    named = replace(organs, labels=organs.labels.like(labels, "label"))
    to_left = np.arange(labels.shape[2]) > labels.shape[2] // 2
    left = ndimage.binary_erosion(named.mask("muscle") & to_left).astype(np.uint8)
    inside = resample(organs.labels.like(left, "label"), Grid.of(pet), interpolation="nearest", outside=0).array > 0
    right = replace(organs, labels=organs.labels.like(np.where(to_left, 0, labels).astype(np.uint8), "label"))
    focus = ball(pet, middle(right, "muscle"), 9.0)
    suv = np.where(focus, 14.0, np.where(inside, 5.0, pet.array)).astype(np.float32)
    anatomy = replace(healthy, pet=pet.like(suv, "g/ml"))
    vars(anatomy)["organs"] = named
    result = delineate(anatomy.pet, anatomy)
    counted = result.lesions.array > 0
    assert inside.sum() * pet.voxel_ml > 1000
    assert (counted & inside).sum() * pet.voxel_ml < 10
    assert component_of(result, focus).included


def component_of(delineation, voxels):
    number = int(np.bincount(delineation.labels.array[voxels]).argmax())
    return delineation.components[number - 1]


def test_brain_heart_kidneys_and_bladder_are_recognised_and_excluded(found):
    places = {one.place for one in found.components if not one.included}
    assert {"brain", "heart", "kidney", "bladder"} <= places <= set(PHYSIOLOGICAL_SITES)
    brain = max((one for one in found.components if one.place == "brain"), key=lambda one: one.volume_ml)
    assert brain.volume_ml > 500
    assert "Physiological uptake (brain)" in str(brain.reason)


def test_lesions_are_included_and_hardly_anything_else(found, body, patient):
    """All but the brain metastases, which FDG does not show beside the cortex."""
    kinds = dict(enumerate((lesion.kind for lesion in patient.lesions), start=1))
    included = found.lesions.array > 0
    hit = {number: bool(included[body.lesions == number].any()) for number in kinds}
    assert {number: kinds[number] != "brain" for number in kinds} == hit
    false = [one for one in found.components if one.included and not (body.lesions[found.labels.array == one.id]).any()]
    assert sum(one.volume_ml for one in false) < 3.0
    shown = np.isin(body.lesions, [n for n, kind in kinds.items() if kind != "brain"]) & ~body.necrosis
    assert 2 * (included & shown).sum() / (included.sum() + shown.sum()) > 0.8


def test_a_lesion_has_the_region_as_its_place(found, body):
    tumour = component_of(found, (body.lesions == 1) & (found.labels.array > 0))
    assert tumour.place.startswith("lung_right")
    assert str(tumour.reason) == "No physiological uptake was recognised here."


def test_a_lesion_that_touches_the_bladder_is_cut_off_it(judged, planted):
    anatomy, foci = planted
    pet = anatomy.pet
    hot = ndimage.label(pet.array >= 4, structure=np.ones((3, 3, 3)))[0]
    bladder = hot[foci["beside_bladder"]].max()
    assert (hot == bladder).sum() * pet.voxel_ml > 150  # one component by the threshold alone
    lesion = judged["beside_bladder"]
    assert lesion.included
    assert lesion.volume_ml == pytest.approx(foci["beside_bladder"].sum() * pet.voxel_ml, rel=0.5)


def test_glands_hot_on_both_sides_are_physiological(judged):
    assert judged["gland"].place == judged["other_gland"].place == "salivary_glands"
    assert not judged["gland"].included


def test_a_gland_hot_on_one_side_is_a_lesion(healthy, planted):
    pet, lone = healthy.pet, planted[1]["gland"]
    hot = replace(healthy, pet=pet.like(np.where(lone, 8.0, pet.array).astype(np.float32), "g/ml"))
    (focus,) = find_foci(hot, lone.astype(np.int32), None)
    assert focus.shares["salivary_glands"] >= 0.5
    assert focus.mirror_ratio < 0.5
    assert component_of(delineate(hot.pet, hot), lone).included


def test_bowel_is_excluded_unless_the_model_s_map_is_sure(judged, planted):
    anatomy, foci = planted
    pet = anatomy.pet
    assert (judged["bowel"].place, judged["bowel"].included) == ("bowel", False)
    for probability, included in ((0.8, False), (0.95, True)):
        seen = pet.like(np.where(foci["bowel"] | foci["beside_bladder"], probability, 0).astype(np.float32), "1")
        result = delineate(pet, anatomy, lesion_map=seen)
        assert result.method == "suv4_model_map"
        assert component_of(result, foci["bowel"]).included is included


def test_no_map_makes_a_lesion_of_the_brain_or_the_bladder(scan):
    everywhere = scan.pet.like(np.ones(scan.pet.shape, np.float32), "1")
    result = delineate(scan.pet, scan, lesion_map=everywhere)
    left_out = {one.place for one in result.components if not one.included}
    assert {"brain", "bladder", "kidney"} <= left_out
    assert "heart" not in left_out


def test_focal_uptake_stands_out_from_the_liver_by_the_bound_of_percist(judged, healthy):
    assert judged["liver"].included
    own = organ_uptake(healthy, "liver")
    assert own.focal_threshold == pytest.approx(1.5 * own.median + 2 * own.sd)
    assert f"SUVpeak above {own.focal_threshold:.1f}" in str(judged["liver"].reason)


def test_a_hot_liver_without_a_focus_is_physiological(hot_liver):
    anatomy, inside = hot_liver
    largest = component_of(delineate(anatomy.pet, anatomy), inside)
    assert (largest.place, largest.included) == ("liver", False)


def test_what_lies_outside_the_body_or_in_the_last_slices_is_no_lesion(judged):
    assert judged["air"].place == "outside"
    assert judged["end"].place == "end"
    assert not judged["air"].included
    assert not judged["end"].included


def test_a_focus_in_the_lung_is_a_lesion(judged):
    assert judged["lung"].included
    assert judged["lung"].place.startswith("lung_left")


def test_the_facts_of_a_focus_are_measured(planted):
    anatomy, foci = planted
    pet, basins = anatomy.pet, foci["lung"].astype(np.int32)
    (focus,) = find_foci(anatomy, basins, None)
    assert (focus.suv_max, focus.suv_peak) == pytest.approx((8.0, 8.0))
    assert focus.volume_ml == pytest.approx(foci["lung"].sum() * pet.voxel_ml)
    assert focus.length_mm == np.flatnonzero(foci["lung"].any(axis=(1, 2))).size * 6.0
    assert focus.section_cm2 == pytest.approx(foci["lung"].sum(axis=(1, 2)).max() * 0.16)
    assert focus.probability is None
    assert focus.shares["lung"] == 1.0
    assert focus.shares["bladder"] == 0.0


def test_urine_in_a_ureter_is_excluded(healthy):
    """A warm column of 6 cm within the corridor of the ureter."""
    pet, organs = healthy.pet, healthy.organs
    corridor = np.argwhere(organs.mask("ureter_left"))
    levels = np.unique(corridor[:, 0])
    chosen = levels[len(levels) // 2 :][:15]
    axis = organs.labels.to_mm(np.array([corridor[corridor[:, 0] == level].mean(axis=0) for level in chosen]))
    column = np.any([ball(pet, centre, 4.5) for centre in axis], axis=0)
    hot = replace(healthy, pet=pet.like(np.where(column, 9.0, pet.array).astype(np.float32), "g/ml"))
    urine = component_of(delineate(hot.pet, hot), column)
    assert (urine.place, urine.included) == ("ureter", False)


def test_a_bare_threshold_counts_several_times_the_lesions(found):
    everything = sum(one.volume_ml for one in found.components)
    assert everything > 3 * sum(one.volume_ml for one in found.components if one.included)


def test_the_reader_learns_that_only_brain_and_bladder_are_known_without_a_ct(scan):
    result = delineate(scan.pet, None)
    left_out = [one for one in result.components if not one.included]
    assert {one.place for one in left_out} == {"brain", "bladder"}
    assert sum(one.volume_ml for one in left_out if one.place == "brain") > 500
    assert all("without a CT" in str(one.reason) for one in left_out)


def test_a_chest_alone_without_a_ct_excludes_nothing(scan):
    pet = scan.pet
    chest = Volume(pet.array[95:135], pet.affine, "g/ml")
    assert all(verdict.lesion for verdict in classify_uptake(chest, None, watershed_basins(chest, chest.array >= 4)))


def test_percist_takes_one_and_a_half_times_the_liver_and_two_deviations(scan):
    result = delineate(scan.pet, scan, method="percist")
    liver = scan.references.liver
    assert result.method == "percist_liver"
    assert result.threshold == pytest.approx(1.5 * liver.suv_mean + 2 * liver.suv_sd)


def test_percist_takes_the_same_voxels_on_lean_body_mass(scan):
    """SUL is SUVbw times a constant of the patient, and so is the threshold."""
    lean = replace(scan, pet=scan.pet.like(scan.pet.array * np.float32(0.75), "g/ml"))
    assert threshold_for("percist", lean.references).suv == pytest.approx(
        0.75 * threshold_for("percist", scan.references).suv, rel=1e-3
    )


def test_percist_takes_twice_the_blood_pool_where_the_liver_is_not_normal(hot_liver):
    anatomy, _ = hot_liver
    threshold = threshold_for("percist", anatomy.references)
    pool = anatomy.references.blood_pool
    assert threshold.method == "percist_blood_pool"
    assert threshold.suv == pytest.approx(2.0 * pool.suv_mean + 2 * pool.suv_sd)


@pytest.mark.parametrize(
    ("region", "hu", "bone", "doubtful"),
    [
        ("abdomen", 0.0, 0.0, True),  # a calyx or bowel that was not recognised
        ("adrenal_right", 150.0, 0.0, True),  # excreted contrast medium
        ("pelvis", 35.0, 0.0, False),
        ("abdomen", 0.0, 1.0, False),
        ("lung_left", -20.0, 0.0, False),
    ],
)
def test_uptake_without_the_density_of_soft_tissue_below_the_diaphragm_is_to_be_confirmed(region, hu, bone, doubtful):
    shares = dict.fromkeys(_NEIGHBOURS, 0.0) | {"body": 1.0, "end": 0.0, "fat": 0.0, "bone": bone}
    focus = Focus(17.0, 13.0, 5.0, 2.0, 25.0, 6.0, region, 60.0, 0.1, hu, None, shares)
    uptakes = dict.fromkeys(("liver", "spleen", "bowel", "heart", "muscle", "bone"))
    verdict = _verdict(focus, uptakes, {"bowel", "heart"})
    assert verdict.lesion
    assert verdict.doubtful == doubtful
