"""Each gate passes what it should and fails what it should."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from explain.explanation import Explanation
from explain.gates import completeness, localisation, randomisation, rank_correlation, same_score
from imaging.volume import Volume


@pytest.mark.parametrize(("error", "passed"), [(0.0, True), (0.01, True), (0.011, False), (1.6, False)])
def test_completeness(error, passed):
    verdict = completeness(error)
    assert verdict.passed is passed
    assert f"{100 * error:.2f} %" in str(verdict.reason)


@pytest.mark.parametrize(("predicted", "passed"), [(0.7, True), (0.7005, True), (0.72, False), (-0.7, False)])
def test_same_score(predicted, passed):
    assert same_score(0.7, predicted).passed is passed


def test_randomisation_fails_a_map_that_does_not_depend_on_the_weights():
    rng = np.random.default_rng(0)
    sensitivity = rng.normal(size=5000)
    assert randomisation(sensitivity, rng.normal(size=5000)).passed
    assert not randomisation(sensitivity, sensitivity**3).passed
    assert not randomisation(sensitivity, -sensitivity).passed


def test_randomisation_fails_a_model_that_ignores_the_image():
    verdict = randomisation(np.zeros(100), np.random.default_rng(0).normal(size=100))
    assert not verdict.passed
    assert "no weight" in str(verdict.reason)


def test_rank_correlation_is_spearmans():
    rng = np.random.default_rng(1)
    a = rng.normal(size=300)
    b = np.round(a + rng.normal(size=300), 1)  # with ties
    assert rank_correlation(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)
    assert rank_correlation(a, np.ones(300)) == 0.0


def _body() -> tuple[Volume, Volume]:
    """1,000 body voxels among 8,000, of which 10 are a lesion."""
    pet = Volume(np.zeros((20, 20, 20), np.float32), np.eye(4), "g/ml")
    pet.array[:10, :10, :10] = 1.0
    labels = pet.like(np.zeros(pet.shape, np.uint16), "label")
    labels.array[0, 0, :10] = 1
    return pet, labels


@pytest.mark.parametrize(("inside", "passed"), [(0.06, True), (0.04, False), (1.0, True)])
def test_localisation_wants_five_times_the_lesions_part_of_the_body(inside, passed):
    pet, labels = _body()
    verdict = localisation({0: 1 - inside, 1: inside}, labels, pet)
    assert verdict.passed is passed
    assert f"{inside * 100:.0f} times" in str(verdict.reason)


def test_localisation_has_nothing_to_say_without_lesions():
    pet, labels = _body()
    assert localisation({0: 1.0}, labels.like(np.zeros_like(labels.array), "label"), pet).passed


def test_one_failed_gate_makes_the_explanation_unreliable():
    pet, _ = _body()
    good, bad = completeness(0.001), completeness(0.5)
    assert Explanation("m", pet, {0: 1.0}, {}, 0.001, (good, good)).reliable
    assert not Explanation("m", pet, {0: 1.0}, {}, 0.5, (good, bad)).reliable
