"""Answers that rest on the lesion table: one simulated patient, and tables made by hand."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pytest

from fedpet.clinical.record import ClinicalRecord
from fedpet.core.errors import ArgumentError, SeriesNotFoundError
from fedpet.imaging.lesions.lesion_table import LesionTable, TableLesion
from inference.abstention import unconfirmed_reason, undecided_reason
from inference.answer import answer
from inference.counterfactual import counterfactuals
from inference.encoding import encode
from inference.engine import Engine
from inference.measured_lesions import measure_lesions
from inference.overall_survival import OverallSurvivalModel
from inference.predict import predict
from tests.support import case_files
from tests.support.header_checks_only import HeaderChecksOnly
from tests.support.table_bundle import WEIGHTS, table_bundle
from training.simulation.acquisition.scanner import ct_image, pet_image
from training.simulation.patients.centres import SITES
from training.simulation.patients.population import draw_patient
from training.simulation.phantom.rendering import render


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return table_bundle(tmp_path_factory.mktemp("bundle") / "table")


@pytest.fixture(scope="module")
def engine(bundle):
    return Engine(bundle, provider="cpu", threads=1)


def simulated(number, seed):
    """Analysis and record of a simulated patient."""
    drawn = draw_patient(SITES[0], number, seed=seed)
    body = render(drawn, (4.0, 4.0, 6.0))
    images = {"pet": pet_image(body, drawn), "ct": ct_image(body, drawn)}
    study = replace(case_files.make_study(), **images, header_checks=(), study_date="2026-03-10")
    return HeaderChecksOnly(study), drawn.record


@pytest.fixture(scope="module")
def patient():
    return simulated(8, seed=7)


@pytest.fixture(scope="module")
def prediction(patient, bundle, engine):
    return predict(*patient, bundle, engine=engine)


def test_the_answer_is_that_of_the_lesion_table(patient, prediction, bundle, engine):
    analysis, record = patient
    assert prediction.abstained is None
    assert len(prediction.quantities.lesions) >= 2
    assert prediction.table == measure_lesions(analysis).table
    assert [one.id for one in prediction.table.lesions] == [one.id for one in prediction.quantities.lesions]
    again = answer(bundle, engine, record, prediction.table)
    assert prediction.endpoints == again.endpoints
    inputs = encode(record, bundle.contract, prediction.table).values
    expected = {n: WEIGHTS.get(n, 0.0) * x for n, x in zip(bundle.contract.inputs, inputs, strict=True)}
    assert prediction.contributions == pytest.approx(expected, abs=1e-6)
    assert sum(expected.values()) == pytest.approx(prediction.risk_score, abs=1e-5)


def test_taking_a_lesion_out_changes_the_answer_as_the_table_says(patient, prediction, bundle, engine):
    gone = max(prediction.table.lesions, key=lambda one: one.mtv_ml).id
    edited = predict(*patient, bundle, engine=engine, exclude=(gone,))
    assert edited.table == prediction.table.without({gone})
    assert edited.endpoints == answer(bundle, engine, patient[1], prediction.table.without({gone})).endpoints
    assert edited.endpoint("pfs_12m").probability > prediction.endpoint("pfs_12m").probability + 0.01
    assert (edited.pet_seen, edited.painted_out) == (None, ())


def test_overall_survival_is_answered_beside_it_from_the_same_table(patient, prediction, bundle, engine):
    """By hand: the complements of the hazards of its own fit; a lesion less and a missing variable change it."""
    analysis, record = patient
    contract, calibration = bundle.contract, bundle.calibration
    weights = dict.fromkeys(contract.inputs, 0.0) | {"lesion:tmtv_ml": 0.5, "albumin": -0.4}
    calibration = replace(calibration, thresholds={}, base_rates={})
    model = OverallSurvivalModel(weights, (-3.0,) * (len(contract.month_edges) - 1), calibration, 0.4)
    model = OverallSurvivalModel.from_json(json.loads(json.dumps(model.to_json())), contract)
    with_it = replace(bundle, overall_survival=model)
    alive = predict(analysis, record, with_it, engine=engine).overall_survival
    inputs = dict(zip(contract.inputs, encode(record, contract, prediction.table).values, strict=True))
    score = 0.5 * inputs["lesion:tmtv_ml"] - 0.4 * inputs["albumin"]
    columns = calibration.shifts, calibration.a, calibration.b
    logits = -3.0 + columns[1] + columns[2] * score + np.array([columns[0][i] for i in (0, 0, 1, 1, 2, 2, 3, 3)])
    assert contract.month_edges == (0.0, 1.5, 3.0, 4.5, 6.0, 9.0, 12.0, 18.0, 24.0)
    assert alive.probability == pytest.approx(np.prod(1 / (1 + np.exp(logits))), abs=1e-6)
    assert alive.lower < alive.probability < alive.upper
    assert (alive.months, alive.base_rate, alive.probability) == (24.0, 0.4, alive.curve.probability[-1])
    largest = max(prediction.table.lesions, key=lambda one: one.mtv_ml).id
    less = answer(with_it, engine, record, prediction.table.without({largest})).overall_survival
    assert less.probability > alive.probability
    unknown = answer(with_it, engine, replace(record, albumin=None), prediction.table).overall_survival
    assert unknown.upper - unknown.lower > alive.upper - alive.lower
    assert prediction.overall_survival is None  # of the bundle without it
    with pytest.raises(ValueError, match="inputs and intervals"):
        OverallSurvivalModel.from_json({**model.to_json(), "baseline": [0.0]}, contract)


def test_what_if_is_the_table_without_the_lesion(patient, prediction, bundle, engine):
    analysis, record = patient
    *single, last = counterfactuals(analysis.study, record, bundle, prediction, engine=engine)
    assert {one.lesion for one in single} == {one.id for one in prediction.table.lesions}
    for one in single:
        without = answer(bundle, engine, record, prediction.table.without({one.lesion}))
        assert one.probability == without.survival.probability[without.survival.months.index(12.0)]
        assert one.change == pytest.approx(one.probability - prediction.endpoint("pfs_12m").probability)
    assert last.lesion == "all"
    assert "No hypermetabolic lesion" in str(last.abstained)


def test_the_readers_mask_is_what_is_measured(patient, prediction, bundle, engine):
    analysis, record = patient
    first = prediction.table.lesions[0].id
    mask = prediction.lesion_labels.like((prediction.lesion_labels.array == first).astype(np.uint16), "label")
    given = predict(analysis, record, bundle, engine=engine, lesions=mask)
    kept = prediction.table.without([one.id for one in prediction.table.lesions if one.id != first])
    assert given.table.values() == kept.values()
    assert given.endpoints == answer(bundle, engine, record, kept).endpoints


def test_another_delineation_than_that_of_the_training_is_not_answered(patient, bundle, engine):
    other = predict(*patient, bundle, engine=engine, method="suv25")
    assert "another method" in str(other.abstained)
    assert other.table.lesions
    assert other.endpoints == ()


def test_a_tumour_that_touches_the_heart_counts_and_is_never_left_out_without_a_reader(bundle, engine):
    """174 ml of SUV 22: were it taken for myocardium, its score would keep the model from an answer."""
    analysis, record = simulated(0, seed=501)
    counted = predict(analysis, record, bundle, engine=engine)
    tumour = max((one for one in counted.components if one.included), key=lambda one: one.volume_ml)
    assert tumour.included
    assert counted.abstained is None
    assert counted.table.values()["tmtv_ml"] > 150
    left_out = [replace(one, included=one.included and one.id != tumour.id) for one in counted.components]
    assert f"Component {tumour.id} of {tumour.volume_ml:.0f} ml was left out" in str(undecided_reason(left_out))
    excluded = predict(analysis, record, bundle, engine=engine, exclude=(tumour.id,))
    assert undecided_reason(excluded.components) is None
    assert excluded.table.values()["tmtv_ml"] < 10


def test_without_a_certain_lesion_a_reader_is_asked(prediction):
    def reason(*, to_confirm, **changed):
        return unconfirmed_reason([replace(one, to_confirm=one.id in to_confirm, **changed) for one in components])

    components = prediction.components
    largest, *others = sorted((one for one in components if one.included), key=lambda one: -one.volume_ml)
    every = {one.id for one in components}
    assert f"component {largest.id} of" in str(reason(to_confirm=every))
    assert reason(to_confirm=every - {largest.id}) is None
    assert reason(to_confirm=every, included=False) is None
    assert len(others) >= 1


def test_without_a_ct_there_is_no_answer(patient, bundle, engine):
    study = replace(patient[0].study, ct=None)
    with pytest.raises(SeriesNotFoundError):
        predict(HeaderChecksOnly(study), patient[1], bundle, engine=engine)


def lesion(number=1, region="lung_left", ml=30.0, suv=12.0, x=0.0):
    return TableLesion(number, region, ml, ml * suv / 2, suv, 0.9 * suv, (x, 0.0, 0.0), 2.0, ml + 2.0)


def table(*lesions, marrow=0.65, spleen=0.9):
    return LesionTable(lesions, marrow, spleen)


def said(bundle, engine, measured, *, confirmed=False):
    return answer(bundle, engine, ClinicalRecord(), measured, confirmed=confirmed)


@pytest.mark.parametrize(
    ("measured", "reason"),
    [
        (table(), "No hypermetabolic lesion"),
        (table(lesion(ml=0.9), lesion(2, ml=0.5)), "No hypermetabolic lesion"),
        (table(lesion(), marrow=1.6), "far outside the patients the model was trained on: Marrow-to-liver ratio"),
        (table(lesion(suv=300.0)), "far outside"),
    ],
)
def test_lesions_that_the_model_does_not_know_are_said(bundle, engine, measured, reason):
    assert reason in str(said(bundle, engine, measured).abstained)


def test_a_small_lesion_that_a_reader_confirmed_is_answered(bundle, engine):
    small = table(lesion(ml=0.9))
    assert said(bundle, engine, small).abstained is not None
    assert said(bundle, engine, small, confirmed=True).abstained is None
    assert said(bundle, engine, table(), confirmed=True).abstained is not None


def test_a_great_burden_is_no_reason_to_abstain(bundle, engine):
    burdened = [lesion(n, "bone_spine_lumbar", 150.0, x=60.0 * n) for n in range(12)]
    assert said(bundle, engine, table(*burdened)).abstained is None


def test_the_liver_has_a_term_where_a_lesion_lies_in_it_and_none_else(bundle, engine):
    without = said(bundle, engine, table(lesion(), lesion(2, "bone_rib", x=50.0)))
    with_one = said(bundle, engine, table(lesion(), lesion(2, "liver", x=50.0)))
    assert without.contributions["lesion:liver_lesion"] == 0.0
    assert with_one.contributions["lesion:liver_lesion"] == pytest.approx(WEIGHTS["lesion:liver_lesion"])
    assert with_one.risk_score == pytest.approx(without.risk_score + WEIGHTS["lesion:liver_lesion"], abs=1e-6)


def test_a_ratio_that_is_not_measurable_adds_nothing(bundle, engine):
    assert said(bundle, engine, table(lesion(), marrow=None)).contributions["lesion:marrow_to_liver"] == 0.0


def test_a_table_of_other_rules_is_refused(bundle, engine):
    with pytest.raises(ArgumentError, match="rules"):
        said(bundle, engine, replace(table(lesion()), version="0"))


def test_an_answer_takes_milliseconds(bundle, engine):
    measured = table(*(lesion(n, x=10.0 * n) for n in range(60)))
    durations = []
    for _ in range(20):
        start = time.process_time()
        said(bundle, engine, measured)
        durations.append(time.process_time() - start)
    assert np.median(durations) < 0.02
