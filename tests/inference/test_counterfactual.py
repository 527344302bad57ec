"""A lesion painted out of a PET, and the answer without it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fedpet.clinical.record import ClinicalRecord
from fedpet.imaging.volume import Volume
from inference import counterfactual as whatif
from inference.bundle.storage import load_model
from inference.counterfactual import counterfactuals
from inference.engine import Engine
from inference.predict import predict
from inference.uptake_removal import remove_uptake
from tests.support import case_files as cases
from tests.support.header_checks_only import HeaderChecksOnly
from training.simulation.acquisition.scanner import ct_image, pet_image
from training.simulation.patients.centres import SITES
from training.simulation.patients.population import draw_patient
from training.simulation.phantom.rendering import render

STEP_MM = (4.0, 5.0, 2.0)  # column, row, slice
LESION = (slice(25, 31), slice(12, 14), slice(12, 15))
OTHER = (slice(25, 31), slice(12, 14), slice(16, 18))  # two columns further: one voxel between them


@pytest.fixture
def scene():
    """A PET of SUV 1 with air beyond column 22, one lesion and its neighbour."""
    suv = np.ones((60, 26, 30), np.float32)
    suv[..., 22:] = 0.0
    labels = np.zeros(suv.shape, np.uint16)
    for number, place in enumerate((LESION, OTHER), start=1):
        suv[place], labels[place] = 8.0 + number, number
    return Volume(suv, np.diag([*STEP_MM, 1.0]), "g/ml"), Volume(labels, np.diag([*STEP_MM, 1.0]), "label")


def grown(place):
    return tuple(slice(side.start - 1, side.stop + 1) for side in place)


def test_a_lesion_and_one_voxel_around_it_become_the_tissue_around(scene):
    pet, labels = scene
    pet.array[grown(LESION)] = np.maximum(pet.array[grown(LESION)], 3.0)  # the blurred rim of the lesion
    painted = remove_uptake(pet, labels, {1}).array
    changed = painted != pet.array
    assert (painted[grown(LESION)][labels.array[grown(LESION)] != 2] == 1.0).all()
    assert not changed[labels.array == 2].any()
    outside = np.ones(changed.shape, bool)
    outside[grown(LESION)] = False
    assert not changed[outside].any()
    assert pet.array[LESION].max() == 9.0  # the PET given is left alone


def test_the_background_is_the_median_one_to_two_centimetres_away(scene):
    pet, labels = scene
    distance = np.full(pet.shape, np.inf)  # to the nearest voxel of the lesion, by the definition
    spots, here = np.argwhere(labels.array == 1), np.argwhere(np.ones(pet.shape, bool))
    for spot in spots:
        steps = (here - spot) * STEP_MM[::-1]
        distance = np.minimum(distance, np.linalg.norm(steps, axis=1).reshape(pet.shape))
    rng = np.random.default_rng(5)
    tissue = rng.uniform(0.5, 2.0, pet.shape).astype(np.float32)
    tissue[distance < 10] = 7.0  # too near
    tissue[distance > 20] = 5.0  # too far
    tissue[labels.array > 0] = 9.0
    tissue[grown(OTHER)] = 9.0  # another lesion with its rim
    tissue[..., 22:] = 0.05  # air
    near = (distance >= 10) & (distance <= 20)
    near[grown(OTHER)] = near[..., 22:] = False
    painted = remove_uptake(pet.like(tissue, "g/ml"), labels, {1})
    assert painted.array[LESION] == pytest.approx(np.median(tissue[near]))


def test_a_lesion_that_fills_its_surroundings_takes_what_is_left(scene):
    pet, labels = scene
    full = labels.array.copy()
    full[full == 0] = 2
    full[0, 0, :] = 0
    painted = remove_uptake(pet, labels.like(full, "label"), {1})
    assert (painted.array[LESION] == 1.0).all()


def test_unknown_numbers_change_nothing(scene):
    pet, labels = scene
    assert (remove_uptake(pet, labels, {7}).array == pet.array).all()


@pytest.fixture(scope="module")
def patient():
    """A simulated patient, and the same without one lesion."""
    drawn = draw_patient(SITES[0], 3, seed=7)
    whole, less = (render(drawn, (4.0, 4.0, 6.0), without=without) for without in ((), {0}))
    study = replace(
        cases.make_study(),
        pet=pet_image(whole, drawn),
        ct=ct_image(whole, drawn),
        header_checks=(),
        study_date="2026-03-10",
    )
    return study, replace(study, pet=pet_image(less, drawn)), drawn


@pytest.fixture(scope="module")
def answered(patient):
    study, without, drawn = patient
    bundle = load_model()
    engine = Engine(bundle, threads=1)
    with_it, without_it = (
        predict(HeaderChecksOnly(one), drawn.record, bundle, engine=engine) for one in (study, without)
    )
    return with_it, without_it, counterfactuals(study, drawn.record, bundle, with_it, engine=engine)


def test_each_lesion_then_all_of_them_are_taken_out(answered):
    prediction, _, found = answered
    by_volume = sorted(prediction.quantities.lesions, key=lambda lesion: -lesion.mtv_ml)
    assert len(by_volume) >= 2
    assert [one.lesion for one in found] == [*(lesion.id for lesion in by_volume), "all"]
    for one in found:
        assert one.change == pytest.approx(one.probability - prediction.endpoint("pfs_12m").probability)
        assert 0 < one.probability < 1


def test_the_answer_without_a_lesion_is_near_that_of_the_same_patient_who_never_had_it(answered):
    with_it, without_it, found = answered
    true_change = without_it.endpoint("pfs_12m").probability - with_it.endpoint("pfs_12m").probability
    gone = {lesion.id for lesion in with_it.quantities.lesions if not _still_there(lesion, without_it)}
    assert len(gone) == 1
    counted = next(one.change for one in found if one.lesion in gone)
    assert true_change > 0.03
    assert counted == pytest.approx(true_change, abs=0.01)


def _still_there(lesion, prediction):
    return any(
        np.linalg.norm(np.subtract(lesion.centroid_mm, one.centroid_mm)) < 10 for one in prediction.quantities.lesions
    )


def test_a_lesion_that_the_reader_takes_out_is_not_in_the_table_that_answers(patient, answered):
    study, _, drawn = patient
    with_it, without_it, found = answered
    bundle = load_model()
    gone = next(lesion.id for lesion in with_it.quantities.lesions if not _still_there(lesion, without_it))
    prediction = predict(
        HeaderChecksOnly(study), drawn.record, bundle, engine=Engine(bundle, threads=1), exclude=(gone,)
    )
    assert gone not in {lesion.id for lesion in prediction.quantities.lesions}
    said = next(one.probability for one in found if one.lesion == gone)
    assert prediction.endpoint("pfs_12m").probability == pytest.approx(said)
    assert (prediction.painted_out, prediction.pet_seen) == ((), None)


def test_a_lesion_that_the_reader_takes_out_is_not_shown_to_a_network_that_reads_images(
    patient, answered, untrained_bundle
):
    study, _, drawn = patient
    with_it, bundle = answered[0], untrained_bundle
    engine, (gone, kept) = Engine(bundle, threads=1), (lesion.id for lesion in with_it.quantities.lesions[:2])
    prediction = predict(HeaderChecksOnly(study), drawn.record, bundle, engine=engine, include=(kept,), exclude=(gone,))
    assert prediction.painted_out == (gone,)
    assert prediction.pet_seen.array[with_it.lesion_labels.array == gone].max() < 4.0
    left = next(lesion for lesion in prediction.quantities.lesions)
    assert left in with_it.quantities.lesions  # measured on the PET as it is


def test_without_any_lesion_the_model_would_abstain_and_that_is_told(answered):
    last = answered[2][-1]
    assert "No hypermetabolic lesion" in str(last.abstained)


def test_an_abstention_has_no_what_if(patient):
    study, bundle = patient[0], load_model()
    engine = Engine(bundle, threads=1)
    silent = predict(HeaderChecksOnly(study), ClinicalRecord(), bundle, engine=engine)
    assert silent.abstained is not None
    assert counterfactuals(study, ClinicalRecord(), bundle, silent, engine=engine) == ()


def test_the_largest_lesions_only_are_tried_one_by_one(patient, answered, monkeypatch):
    monkeypatch.setattr(whatif, "MAX_LESIONS", 2)
    study, _, drawn = patient
    prediction, bundle = answered[0], load_model()
    many = tuple(
        replace(one, lesions=tuple(replace(one.lesions[0], id=n, mtv_ml=float(n)) for n in range(1, 5)))
        for one in (prediction.quantities, prediction.table)
    )
    crowded = replace(prediction, quantities=many[0], table=many[1])
    found = counterfactuals(study, drawn.record, bundle, crowded, engine=Engine(bundle, threads=1))
    assert [one.lesion for one in found] == [4, 3, "all"]
