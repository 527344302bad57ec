"""The explanation of an answer that rests on the lesion table: terms, map, gates, and what they refuse."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from explain.attribution import explain_prediction
from explain.lesion_effects import ablation_credits, free_after, score_terms
from explain.map_sums import lesion_sums
from explain.model_gates import behaviour_gates, trained_weights
from explain.table_explanation import table_gates, table_score, term_map
from fedpet.core.errors import ArgumentError
from inference.answer import answer
from inference.counterfactual import counterfactuals
from inference.engine import Engine
from inference.predict import predict
from tests.support.case_files import make_study
from tests.support.header_checks_only import HeaderChecksOnly
from tests.support.lesion_tables import draw_record, draw_table, good_and_spoiled_maps
from tests.support.table_bundle import WEIGHTS, table_bundle
from training.simulation.acquisition.scanner import ct_image, pet_image
from training.simulation.patients.centres import SITES
from training.simulation.patients.population import draw_patient
from training.simulation.phantom.rendering import render

NO_REGIONS: dict = {}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return table_bundle(tmp_path_factory.mktemp("bundle") / "table")


@pytest.fixture(scope="module")
def engine(bundle):
    return Engine(bundle, provider="cpu", threads=1)


@pytest.fixture(scope="module")
def case(bundle, engine):
    """A simulated patient with the answer of the table."""
    drawn = draw_patient(SITES[0], 8, seed=7)
    body = render(drawn, (4.0, 4.0, 6.0))
    images = {"pet": pet_image(body, drawn), "ct": ct_image(body, drawn)}
    analysis = HeaderChecksOnly(replace(make_study(), **images, header_checks=(), study_date="2026-03-10"))
    return analysis, drawn.record, predict(analysis, drawn.record, bundle, engine=engine)


@pytest.fixture(scope="module")
def explained(case, bundle):
    return explain_prediction(case[0], case[1], bundle, case[2])


def test_the_whole_way_on_a_simulated_patient(case, explained, bundle, engine):
    analysis, record, prediction = case
    assert explained.reliable, explained
    assert [gate.name for gate in explained.gates] == [
        "same_score", "completeness", "sign", "lesion_credit", "containment", "randomisation", "stability", "deletion",
    ]  # fmt: skip
    raw = (prediction.risk_score - bundle.calibration.a) / bundle.calibration.b
    assert sum(term.score for term in explained.terms) + explained.reference_score == pytest.approx(raw, abs=1e-4)
    what_if = counterfactuals(analysis.study, record, bundle, prediction, engine=engine)
    changes = {one.lesion: one.change for one in what_if}
    for term in explained.terms:
        if term.lesion in changes:
            assert term.points == pytest.approx(-changes[term.lesion], abs=1e-5)
    of_lesions = [term.points for term in explained.terms if term.lesion is not None or term.name == "common"]
    assert sum(of_lesions) == pytest.approx(-changes["all"], abs=1e-5)  # one by one, and what they have in common
    alone = ablation_credits(score := table_score(bundle, record, prediction), score.lesions)
    for number in changes.keys() - {"all"}:
        inside = prediction.lesion_labels.array == number
        credit = next(term.score for term in explained.terms if term.lesion == number)
        assert credit == pytest.approx(alone[number].value, abs=1e-6)  # in the map what it does in the table
        assert explained.attribution.array[inside].sum(dtype=float) == pytest.approx(credit, abs=1e-5)
    names = {term.name for term in explained.terms}
    assert "organ:marrow_to_liver" in names
    marrow = next(term.score for term in explained.terms if term.name == "organ:marrow_to_liver")
    outside = explained.attribution.array[prediction.lesion_labels.array == 0].sum(dtype=float)
    spleen = next(term.score for term in explained.terms if term.name == "organ:spleen_to_liver")
    assert outside == pytest.approx(marrow + spleen, abs=1e-5)


def test_a_method_for_images_does_not_explain_a_table(case, bundle):
    with pytest.raises(ArgumentError, match="ablation, shapley"):
        explain_prediction(case[0], case[1], bundle, case[2], method="integrated_gradients")


def test_shapley_values_share_what_the_lesions_have_in_common(case, bundle, explained):
    found = explain_prediction(case[0], case[1], bundle, case[2], method="shapley")
    common = next(term for term in explained.terms if term.name == "common")
    assert next(term for term in found.terms if term.name == "common") == replace(common, score=0.0)
    sums = [sum(term.score for term in one.terms if term.lesion is not None) for one in (found, explained)]
    assert sums[0] - sums[1] == pytest.approx(common.score, abs=1e-5)
    assert [term.points for term in found.terms if term.lesion] == [
        term.points for term in explained.terms if term.lesion
    ]
    assert "common to several" in str(explained.description)
    assert found.reliable, found


def test_weights_that_no_training_reported_hide_the_map(case, bundle):
    weights = table_score(bundle, case[1], case[2]).weights
    names = bundle.contract.inputs
    ratios = [
        {"input": name, "lower": float(np.exp(weight - 0.1)), "upper": float(np.exp(weight + 0.1))}
        for name, weight in zip(names, weights, strict=True)
    ]
    card = {**bundle.card, "risk_model": {"hazard_ratios": ratios}}
    assert trained_weights(bundle.card, names, weights) is None
    assert trained_weights(card, names, weights).passed
    other = np.random.default_rng(0).permutation(weights)
    assert not trained_weights(card, names, other).passed


def test_an_explanation_of_another_score_has_no_terms(case, bundle):
    other = replace(case[2], risk_score=case[2].risk_score + 0.1)
    found = explain_prediction(case[0], case[1], bundle, other)
    assert not found.reliable
    assert found.terms == ()
    assert not found.gates[0].passed


def test_no_torch_is_loaded():
    code = (
        "import sys\nimport numpy as np, explain.table_explanation, explain.attribution\n"
        "from explain.lesion_effects import TableScore, ablation_credits\n"
        "from inference.input_contract import table_contract\n"
        "from tests.support.lesion_tables import draw_record, draw_table, good_and_spoiled_maps\n"
        "rng, contract = np.random.default_rng(0), table_contract()\n"
        "score = TableScore(contract, np.ones(len(contract.inputs)), draw_record(rng), draw_table(rng, 3)[0])\n"
        "print(len(ablation_credits(score, score.lesions)), {'torch', 'captum'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "3 set()"


PATIENTS = 50


@pytest.fixture(scope="module")
def patients(bundle, engine):
    """Patients who do not exist, with their answers, terms and maps under plausible weights."""
    return [_patient(seed, bundle, engine) for seed in range(PATIENTS)]


def _patient(seed, bundle, engine):
    rng = np.random.default_rng(seed)
    table, pet, labels = draw_table(rng, int(rng.integers(1, 9)))
    record = draw_record(rng)
    answered = answer(bundle, engine, record, table, confirmed=True)
    score = table_score(bundle, record, _WithTable(table))
    terms = score_terms(score, ablation_credits(score, score.lesions), answered.survival, bundle.calibration.b)
    return table, pet, labels, record, answered, score, terms


class _WithTable:
    def __init__(self, table):
        self.table = table


def test_table_map_and_what_if_never_disagree_in_sign(patients, bundle, engine):
    """Above two points: the term of a lesion, its voxels in the map, and the answer without it."""
    judged = 0
    for table, pet, labels, record, answered, score, terms in patients:
        found = term_map(score, terms, pet, labels, NO_REGIONS)
        gates = table_gates(found, labels, terms, NO_REGIONS)
        at = answered.survival.months.index(12.0)
        for term in terms:
            if term.lesion is None:
                continue
            less = answer(bundle, engine, record, table.without([term.lesion]), confirmed=True)
            effect = answered.survival.probability[at] - less.survival.probability[at]
            assert term.points == pytest.approx(effect, abs=1e-5)
            if abs(effect) > 0.02 and all(gate.passed for gate in gates):
                judged += 1
                assert term.score * effect < 0
                assert found.array[labels.array == term.lesion].sum() * effect < 0
                assert not np.any(found.array[labels.array == term.lesion] * effect > 0)  # no voxel against it
        assert free_after(answered.survival, 0.0) == pytest.approx(answered.survival.probability[at])
    assert judged > PATIENTS


def test_sound_maps_pass_and_spoiled_ones_fail(patients, bundle):
    """At least 95 % each; a benchmark measures the rates on more patients."""
    passed = Counter()
    for number, (_table, pet, labels, _record, answered, score, terms) in enumerate(patients):
        maps = good_and_spoiled_maps(score, terms, pet, labels, np.random.default_rng(number))
        for kind, one in maps.items():
            asked = behaviour_gates(
                score, "ablation", lesion_sums(one, labels), answered.survival, bundle.calibration.b
            )
            passed[kind] += all(gate.passed for gate in (*table_gates(one, labels, terms, NO_REGIONS), *asked))
    assert len(passed) == 4
    assert passed["sound"] >= 0.95 * PATIENTS, passed
    assert max(count for kind, count in passed.items() if kind != "sound") <= 0.05 * PATIENTS, passed


def test_the_reference_has_no_lesion_term(patients):
    """A patient without liver lesions is told of none."""
    for table, _pet, _labels, _record, _answered, score, terms in patients:
        liver = {one.id for one in table.lesions if one.organ == "liver"}
        with_liver = {term.lesion for term in terms if term.lesion in liver}
        assert with_liver == liver
        assert not [term for term in terms if "liver_lesion" in term.name]
        assert score.weights[score.contract.inputs.index("lesion:tmtv_ml")] == pytest.approx(WEIGHTS["lesion:tmtv_ml"])
