"""The monitoring finds what was planted, and rarely anything else."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from inference.input_contract import table_contract
from inference.monitoring import LEAST, MonitorReference, compare
from tests.support.monitored_streams import PLANTED, START, Population

UNTIL = START + timedelta(days=400)


@pytest.fixture(scope="module")
def population():
    """Simulated patients of all centres, drawn once."""
    return Population(800)


def judged(population, rng, count=100, **planted):
    return compare(population.stream(count, rng, **planted), population.reference(400, rng), until=UNTIL, level=0.8)


def test_sound_streams_are_rarely_alarming(population):
    rng = np.random.default_rng(0)
    assert sum(bool(judged(population, rng).findings) for _ in range(40)) <= 4


@pytest.mark.parametrize("name", PLANTED)
def test_what_was_planted_is_found(population, name):
    """More often than not; benchmarks/monitor.py measures how often."""
    planted, kind, place = PLANTED[name]
    rng = np.random.default_rng(1)
    pages = [judged(population, rng, 100, **planted) for _ in range(10)]
    found = sum(any((one.kind, one.name) == (kind, place) for one in page.findings) for page in pages)
    assert found >= 4


def test_sets_that_fail_too_often_are_found(population):
    rng = np.random.default_rng(2)
    cases = population.stream(100, rng)
    wrong = [replace(one, verdict={"free": "progression", "progression": "free"}.get(one.verdict)) for one in cases]
    page = compare(wrong, population.reference(400, rng), until=UNTIL, level=0.8)
    assert "coverage" in {one.kind for one in page.findings}


def test_few_cases_are_not_compared_and_days_after_the_last_do_not_count(population):
    rng = np.random.default_rng(3)
    assert judged(population, rng, LEAST - 1).comparisons == ()
    cases, reference = population.stream(100, rng), population.reference(400, rng)
    half = compare(cases, reference, until=START + timedelta(days=49), level=0.8)
    assert (half.cases, half.compared) == (50, 50)
    newest = compare(cases, reference, until=UNTIL, level=0.8, newest=30)
    assert (newest.cases, newest.compared) == (100, 30)


def test_the_reference_is_that_of_the_card_else_the_contract(population):
    reference = population.reference(400, np.random.default_rng(4))
    assert MonitorReference.from_card({"reference": reference.to_json()}, table_contract()) == reference
    unsure = replace(reference, inputs={"age": replace(reference.inputs["age"], missing=float("nan"))})
    told = json.loads(json.dumps(unsure.to_json(), allow_nan=False))
    read = MonitorReference.from_card({"reference": told}, table_contract())
    known = compare(population.stream(50, np.random.default_rng(6)), read, until=UNTIL, level=0.8)
    assert [one.name for one in known.comparisons if one.kind in {"input", "missing"}] == ["age"]
    rounded = MonitorReference.from_card({}, table_contract())
    assert rounded.patients == 0
    assert rounded.inputs["albumin"].sd == 1.0
    assert rounded.inputs["ecog_2"].sd == pytest.approx((0.22 * 0.78) ** 0.5)
    assert "lesion:bone_ml" not in rounded.inputs  # not centred, so its mean is not known
    page = compare(population.stream(100, np.random.default_rng(5)), rounded, until=UNTIL, level=0.8)
    assert {one.kind for one in page.comparisons} == {"input", "calibration", "coverage"}
