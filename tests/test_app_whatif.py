"""A lesion painted out of a PET, and the answer without it."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app import whatif
from app.whatif import lesion_terms, what_if
from clinical.record import ClinicalRecord
from cohort.population import draw_patient
from cohort.rendering import render
from cohort.scanner import ct_image, pet_image
from cohort.sites import SITES
from explain.explanation import Explanation, GateVerdict
from fedpet.messages import Message
from imaging.volume import Volume
from inference.bundle import Bundle
from inference.engine import Engine
from inference.painting import painted_out
from inference.predict import predict

_spec = importlib.util.spec_from_file_location("app_cases", Path(__file__).with_name("app_cases.py"))
cases = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(cases)

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
    painted = painted_out(pet, labels, {1}).array
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
    painted = painted_out(pet.like(tissue, "g/ml"), labels, {1})
    assert painted.array[LESION] == pytest.approx(np.median(tissue[near]))


def test_a_lesion_that_fills_its_surroundings_takes_what_is_left(scene):
    pet, labels = scene
    full = labels.array.copy()
    full[full == 0] = 2
    full[0, 0, :] = 0
    painted = painted_out(pet, labels.like(full, "label"), {1})
    assert (painted.array[LESION] == 1.0).all()


def test_unknown_numbers_change_nothing(scene):
    pet, labels = scene
    assert (painted_out(pet, labels, {7}).array == pet.array).all()


@pytest.fixture(scope="module")
def patient():
    """A simulated patient, and the same without one lesion."""
    drawn = draw_patient(SITES[0], 8, seed=7)
    whole, less = (render(drawn, (4.0, 4.0, 6.0), without=without) for without in ((), {0}))
    study = replace(
        cases.make_study(), pet=pet_image(whole, drawn), ct=ct_image(whole, drawn), checks=(), study_date="2026-03-10"
    )
    return study, replace(study, pet=pet_image(less, drawn)), drawn


@pytest.fixture(scope="module")
def answered(patient):
    study, without, drawn = patient
    bundle = Bundle.chosen(None)
    engine = Engine(bundle, threads=1)
    with_it, without_it = (predict(one, drawn.record, bundle, engine=engine) for one in (study, without))
    return with_it, without_it, what_if(study, drawn.record, bundle, with_it, engine=engine)


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


def test_a_lesion_that_the_reader_takes_out_is_not_shown_to_the_model(patient, answered):
    study, _, drawn = patient
    with_it, without_it, found = answered
    bundle = Bundle.chosen(None)
    gone = next(lesion.id for lesion in with_it.quantities.lesions if not _still_there(lesion, without_it))
    prediction = predict(study, drawn.record, bundle, engine=Engine(bundle, threads=1), exclude=(gone,))
    assert prediction.painted_out == (gone,)
    assert gone not in {lesion.id for lesion in prediction.quantities.lesions}
    told = next(one.probability for one in found if one.lesion == gone)
    assert prediction.endpoint("pfs_12m").probability == pytest.approx(told)
    assert prediction.pet_seen.array[with_it.lesion_labels.array == gone].max() < 4.0
    left = next(lesion for lesion in prediction.quantities.lesions)
    assert left in with_it.quantities.lesions  # measured on the PET as it is


def test_without_any_lesion_the_model_would_abstain_and_that_is_told(answered):
    last = answered[2][-1]
    assert "no hypermetabolic lesion" in str(last.abstained)


def test_the_lesions_share_of_the_score_is_the_sum_of_their_voxels(answered):
    prediction = answered[0]
    labels = prediction.lesion_labels
    credit = labels.like(np.where(labels.array > 0, labels.array * 0.01, 5.0).astype(np.float32), "1")
    good = Explanation("", credit, {}, {}, 0.0, (GateVerdict("completeness", passed=True, reason=Message("")),))
    terms = lesion_terms(good, prediction)
    assert list(terms) == [str(lesion.id) for lesion in prediction.quantities.lesions]
    for lesion in prediction.quantities.lesions:
        assert terms[str(lesion.id)] == pytest.approx(0.01 * lesion.id * (labels.array == lesion.id).sum())
    failed = replace(good, gates=(GateVerdict("completeness", passed=False, reason=Message("")),))
    assert lesion_terms(failed, prediction) == lesion_terms(None, prediction) == {}


def test_an_abstention_has_no_what_if(patient):
    study, bundle = patient[0], Bundle.chosen(None)
    engine = Engine(bundle, threads=1)
    silent = predict(study, ClinicalRecord(), bundle, engine=engine)
    assert silent.abstained is not None
    assert what_if(study, ClinicalRecord(), bundle, silent, engine=engine) == ()


def test_the_largest_lesions_only_are_tried_one_by_one(patient, answered, monkeypatch):
    monkeypatch.setattr(whatif, "MOST", 2)
    study, _, drawn = patient
    prediction, bundle = answered[0], Bundle.chosen(None)
    one = prediction.quantities.lesions[0]
    many = tuple(replace(one, id=number, mtv_ml=float(number)) for number in range(1, 5))
    crowded = replace(prediction, quantities=replace(prediction.quantities, lesions=many))
    found = what_if(study, drawn.record, bundle, crowded, engine=Engine(bundle, threads=1))
    assert [one.lesion for one in found] == [4, 3, "all"]
