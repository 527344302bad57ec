"""What is missing widens the answer by what it could have changed, and by no more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from inference.answer import answer
from inference.encoding import encode, input_label, missing_inputs
from inference.engine import Engine
from inference.input_contract import table_contract
from inference.missing_inputs import covariance, input_weights, unknown_variance
from tests.support.lesion_tables import draw_table
from tests.support.table_bundle import WEIGHTS, table_bundle
from training.simulation.patients.centres import SITES
from training.simulation.patients.population import draw_patient

USED = {**WEIGHTS, "nlr": 0.3, "albumin": -0.2, "pdl1_1": -0.2, "pdl1_50": -0.4, "missing:nlr": 0.05}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A bundle of the lesion table with weights for what will be missing, and its engine."""
    bundle = table_bundle(tmp_path_factory.mktemp("bundle") / "table", USED)
    return bundle, Engine(bundle, provider="cpu", threads=1)


@pytest.fixture(scope="module")
def patient():
    """A complete record and a table."""
    generator = np.random.default_rng(5)
    return draw_patient(SITES[0], 3, seed=9).record, draw_table(generator, 4)[0]


def width(model, record, table, name="pfs_12m"):
    endpoint = next(one for one in answer(*model, record, table).endpoints if one.name == name)
    return endpoint.upper - endpoint.lower


def test_weights_are_those_of_the_graph(model):
    bundle, engine = model
    found = dict(zip(bundle.contract.inputs, input_weights(engine, bundle.contract), strict=True))
    assert found == pytest.approx({name: USED.get(name, 0.0) for name in bundle.contract.inputs})


@pytest.mark.parametrize("missing", [("neutrophils",), ("pdl1_tps",), ("albumin",), ("ecog_ps",)])
def test_a_missing_variable_makes_every_interval_wider(model, patient, missing):
    record, table = patient
    lacking = replace(record, **dict.fromkeys(missing))
    for name in ("pfs_12m", "dcb_6m", "early_failure_3m"):
        assert width(model, lacking, table, name) > 1.02 * width(model, record, table, name)


def test_more_missing_is_wider_and_what_has_no_weight_changes_nothing(model, patient):
    record, table = patient
    widths = [width(model, record, table)]
    for name in ("neutrophils", "pdl1_tps", "albumin", "ecog_ps"):
        record = replace(record, **{name: None})
        widths.append(width(model, record, table))
    assert np.all(np.diff(widths) > 0)
    assert width(model, replace(record, smoking=None), table) == pytest.approx(widths[-1])


def test_a_quantity_that_could_not_be_measured_counts_too(model, patient):
    record, table = patient
    without = replace(table, marrow_to_liver=None)
    assert width(model, record, without) > width(model, record, table)
    bundle, engine = model
    variance = unknown_variance(record, bundle.contract, engine, without)
    assert variance == pytest.approx(USED["lesion:marrow_to_liver"] ** 2)
    assert missing_inputs(record, bundle.contract, table) == ()
    named = missing_inputs(replace(record, albumin=None), bundle.contract, without)
    assert named == ("albumin", "lesion:marrow_to_liver")
    assert [str(input_label(name)) for name in named] == ["Serum albumin", "Marrow-to-liver ratio"]


def test_terms_of_one_variable_vary_together():
    """Against the variance of drawn patients, with the shares of the contract."""
    terms = {term.name: term for term in table_contract().terms}
    pair, generator = [terms["pdl1_1"], terms["pdl1_50"]], np.random.default_rng(0)
    tps = np.where(generator.random(200_000) < 0.65, np.where(generator.random(200_000) < 0.4 / 0.65, 60, 5), 0)
    drawn = np.stack([tps >= 1, tps >= 50]).astype(float)
    np.testing.assert_allclose(covariance(pair), np.cov(drawn), atol=0.003)


def test_the_complete_score_lies_in_the_interval_as_often_as_said(model):
    """80 % of the scores with everything known lie within 1.28 standard deviations of those with variables missing."""
    bundle, engine = model
    weights, generator = input_weights(engine, bundle.contract), np.random.default_rng(1)
    held = []
    for number in range(300):
        table = draw_table(generator, 3)[0]
        record = draw_patient(SITES[0], number, seed=9).record
        lacking = replace(record, neutrophils=None, pdl1_tps=None, albumin=None, ecog_ps=None)
        spread = unknown_variance(lacking, bundle.contract, engine, table) ** 0.5
        full, part = (encode(one, bundle.contract, table).values @ weights for one in (record, lacking))
        held.append(abs(full - part) < 1.2816 * spread)
    assert 0.72 < np.mean(held) < 0.92
