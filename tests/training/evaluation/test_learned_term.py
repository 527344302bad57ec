"""The learned term beside the table: found where it is planted, kept out where not, exported, explained as one sum."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from explain.attribution import explain_prediction
from explain.lesion_effects import LearnedTerms, TableScore, shapley_credits
from fedpet.clinical.record import ClinicalRecord
from fedpet.core.errors import ArgumentError, FederationError
from fedpet.imaging.lesions.lesion_table import LesionTable, TableLesion
from inference.answer import answer
from inference.bundle.storage import write_bundle
from inference.counterfactual import counterfactuals
from inference.engine import Engine
from inference.input_contract import LEARNED_TERM
from inference.lesion_crops import LesionCrops
from inference.missing_inputs import input_weights
from inference.network import build_network
from inference.predict import predict
from tests.support.case_files import make_study
from tests.support.header_checks_only import HeaderChecksOnly
from tests.support.planted_crops import draw_centre, small_crops
from training.bundle.export import export_onnx, serialized_parameters, verify_onnx
from training.evaluation.learned_gate import fit_learned_term, gate_in_process
from training.simulation.acquisition.scanner import ct_image, pet_image
from training.simulation.patients.centres import SITES as SIMULATED
from training.simulation.patients.population import draw_patient, with_stranding
from training.simulation.phantom.rendering import render
from training.task.learned_term import GateResult, LearnedTerm
from training.task.method import UNPROTECTED_METHOD, Aggregation, FederatedMethod, Privacy
from training.task.task import TrainingTask

SITES = {"nice": 70, "lyon": 60, "dijon": 50}
LEARNED = LearnedTerm(rounds=5)


def task():
    method = UNPROTECTED_METHOD.model_copy(update={"aggregation": Aggregation(method="newton")})
    return TrainingTask(contract=small_crops(), network="table", rounds=6, batch_size=64, method=method)


def centres(effect):
    return [draw_centre(site, n, effect, seed=n) for site, n in SITES.items()]


@pytest.mark.parametrize(("effect", "found"), [(0.9, True), (0.0, False)])
def test_the_gate_lets_in_what_adds_at_centres_left_out(effect, found):
    """`benchmarks/learned_term.py` gives how often, on rendered patients."""
    gate = gate_in_process(task(), LEARNED, centres(effect))
    assert gate.passed is found, gate.to_json()
    assert {site: count for site, (count, _, _) in gate.by_centre.items()} == SITES
    assert gate.patients == sum(SITES.values())


def test_a_gate_without_centres_that_may_say_lets_nothing_in():
    assert not GateResult.of({"nice": [{"n": 5.0}]}).passed


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    fitted, _ = fit_learned_term(task(), LEARNED, centres(0.9))
    assert fitted.calibration is not None
    model = export_onnx(fitted.network, small_crops())
    assert verify_onnx(model, fitted.network, draw_centre("x", 5, 0.9, seed=1).cases) < 1e-4
    card = {"name": "learned", "version": "0", "synthetic": True}
    return write_bundle(
        tmp_path_factory.mktemp("learned") / "bundle",
        onnx=model,
        weights=serialized_parameters(fitted.network),
        contract=small_crops(),
        calibration=fitted.calibration,
        card=card,
    )


@pytest.fixture(scope="module")
def patient():
    """Five lesions, of which the network reads the three largest."""
    contract, rng = small_crops(), np.random.default_rng(3)
    found: dict[int, np.ndarray] = {}
    while len(found) < 5:
        bag = draw_centre("x", 1, 0.9, seed=int(rng.integers(1000))).cases[0].image.astype(np.float32)
        found[len(found) + 1] = bag[0]
    rows = [
        TableLesion(n, "lung_left", 0.512 * float(crop[2].sum()) + n / 100, 30.0, 9.0, 7.0, (20.0 * n, 0, 0), 0.1, 9.0)
        for n, crop in found.items()
    ]
    return LesionTable(tuple(rows), 0.7, 0.9, organs="learned"), LesionCrops(contract, found)


def test_the_answer_needs_the_crops_and_its_terms_are_one_sum(bundle, patient):
    table, crops = patient
    engine, record = Engine(bundle, provider="cpu"), ClinicalRecord(age=60.0, ecog_ps=1)
    answered = answer(bundle, engine, record, table, crops=crops)
    raw = (answered.risk_score - bundle.calibration.a) / bundle.calibration.b
    assert sum(answered.contributions.values()) == pytest.approx(raw, abs=1e-5)
    assert abs(answered.contributions[LEARNED_TERM]) > 0.05
    with pytest.raises(ArgumentError):
        answer(bundle, engine, record, table)
    score = TableScore(
        bundle.contract, input_weights(engine, bundle.contract), record, table, LearnedTerms.of(engine, crops)
    )
    for taken in ((), (1,), (2, 4), (1, 2, 3, 4, 5)):  # what-if by the graph, and as the explanation counts it
        left = table.without(taken)
        other = answer(bundle, engine, record, left, crops=crops)
        raw = (other.risk_score - bundle.calibration.a) / bundle.calibration.b
        assert score([n for n in score.lesions if n not in taken]) == pytest.approx(raw, abs=1e-4)
    shared = shapley_credits(score, score.lesions)
    whole = score(score.lesions) - score(())
    assert sum(one.value for one in shared.values()) == pytest.approx(whole, abs=1e-6)


def test_a_study_is_answered_and_explained_with_the_term(bundle):
    """Images to crops to answer; the terms of the explanation sum to it, and what-if and map say the same."""
    drawn = with_stranding(draw_patient(SIMULATED[0], 8, seed=7), seed=7)
    body = render(drawn, (4.0, 4.0, 6.0))
    images = {"pet": pet_image(body, drawn), "ct": ct_image(body, drawn)}
    analysis = HeaderChecksOnly(replace(make_study(), **images, header_checks=(), study_date="2026-03-10"))
    engine = Engine(bundle, provider="cpu", threads=1)
    prediction = predict(analysis, drawn.record, bundle, engine=engine)
    assert prediction.contributions[LEARNED_TERM] != 0
    explained = explain_prediction(analysis, drawn.record, bundle, prediction)
    assert explained.reliable, explained
    raw = (prediction.risk_score - bundle.calibration.a) / bundle.calibration.b
    assert sum(term.score for term in explained.terms) + explained.reference_score == pytest.approx(raw, abs=1e-4)
    what_if = counterfactuals(analysis.study, drawn.record, bundle, prediction, engine=engine)
    changes = {one.lesion: one.change for one in what_if}
    told = {term.lesion: term.points for term in explained.terms if term.lesion in changes}
    assert told == pytest.approx({lesion: -changes[lesion] for lesion in told}, abs=1e-5)


def test_training_skips_empty_places_and_gives_the_same():
    network = build_network("table_and_crops", small_crops())
    torch.nn.init.normal_(network.crops.rate.weight)
    cases = draw_centre("x", 6, 0.9, seed=2).cases
    image = torch.from_numpy(np.stack([case.image for case in cases]).astype(np.float32))
    image[0] = 0  # a patient without lesions
    training, evaluating = network.crops.train()(image), network.crops.eval()(image)
    torch.testing.assert_close(training, evaluating)
    assert training[0] == 0
    assert training[1:].abs().min() > 0


def test_what_the_gradients_by_lesion_do_not_allow_is_refused():
    learned = LEARNED.task(task())
    private = FederatedMethod(privacy=Privacy(secure_aggregation="none", clip=1.0, noise=1.0))
    with pytest.raises(FederationError, match="learned term"):
        private.require_sound(learned.build(), 3)
    assert learned.is_frozen("head.baseline")
    assert not learned.is_frozen("crops.rate.weight")
