"""Flipped labels of a site found by the model of the other sites, and honest sites that differ as sites do let be."""

from __future__ import annotations

import numpy as np
import pytest

from inference.calibration import SEGMENTS
from inference.input_contract import default_contract
from inference.network import reference_baseline
from tests.training.task.test_newton import EDGES, INPUTS, patients
from training.task.agreement import LIMIT, SiteDerivatives, contradicting, disagreement
from training.task.method import FederatedMethod
from training.task.newton import CentreTable, Prior
from training.task.runs import AGREEMENT, agreement_run
from training.task.task import TrainingTask

FEDERATIONS = 10
PRIOR = Prior.of(30.0, np.ones(INPUTS), reference_baseline(EDGES))
START = np.array([*np.zeros(INPUTS), *reference_baseline(EDGES)])


def derivatives(sizes, seed, flipped=()):
    """Of sites whose baselines differ by a standard deviation of 0.3."""
    shifts, found = np.random.default_rng(seed).normal(0, 0.3, len(sizes)), {}
    for number, (size, shift) in enumerate(zip(sizes, shifts, strict=True)):
        cases = patients(size, shift, 100 * seed + number)
        if number in flipped:
            ends = sum(agg(case.months for case in cases) for agg in (min, max))
            for case in cases:
                case.months, case.event = ends - case.months, not case.event
        there = CentreTable.of(cases, EDGES, [True] * INPUTS).at(START, 35.0)
        found[str(number)] = SiteDerivatives(there.gradient(), there.hessian())
    return found


def named(sizes, **how):
    return [contradicting(derivatives(sizes, seed, **how), START, PRIOR, EDGES) for seed in range(FEDERATIONS)]


@pytest.mark.parametrize("sizes", [(30, 30, 30, 30), (60, 60, 60, 180), (120, 120, 120, 120)])
def test_honest_sites_are_let_be(sizes):
    assert sum(site is not None for site in named(sizes)) <= 1


@pytest.mark.parametrize("sizes", [(90, 60, 60, 60), (180, 60, 60, 60), (90, 60, 60, 60, 60, 60)])
def test_flipped_labels_are_found(sizes):
    """Also where the site has half of the patients; an honest one is never named in its place."""
    found = named(sizes, flipped=(0,))
    assert found.count("0") >= 0.9 * FEDERATIONS
    assert set(found) <= {"0", None}


def test_the_statistic_is_small_where_sites_agree():
    values = [value for seed in range(FEDERATIONS) for value in _values((120,) * 4, seed)]
    assert np.mean(values) < SEGMENTS + 1 < LIMIT


def _values(sizes, seed):
    return disagreement(derivatives(sizes, seed), START, PRIOR, EDGES).values()


def test_the_sites_are_compared_only_where_one_could_be_left_out():
    task = TrainingTask(contract=default_contract(), method=FederatedMethod())
    noisy = FederatedMethod()
    noisy = noisy.model_copy(update={"privacy": noisy.privacy.model_copy(update={"clip": 1.0, "noise": 1.0})})
    run = agreement_run(task, 4, 3)[AGREEMENT].task
    assert (run.network, run.newton is None, run.method.masked) == ("clinical", False, True)
    assert not agreement_run(task, 3, 3)
    assert not agreement_run(task, 4, 4)
    assert not agreement_run(TrainingTask(contract=default_contract(), method=noisy), 4, 3)
