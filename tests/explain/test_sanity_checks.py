"""Each gate passes what it should and fails what it should."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from explain.explanation import Explanation
from explain.methods import fitting_method
from explain.sanity_checks import (
    check_completeness,
    check_concentration,
    check_containment,
    check_deletion,
    check_lesion_credit,
    check_parameter_randomization,
    check_score_agreement,
    check_sign_agreement,
    check_stability,
    check_trained_weights,
    check_weight_dependence,
    rank_correlation,
    relative_distance,
)
from fedpet.imaging.volume import Volume


@pytest.mark.parametrize(("error", "passed"), [(0.0, True), (0.01, True), (0.011, False), (1.6, False)])
def test_completeness(error, passed):
    verdict = check_completeness(error)
    assert verdict.passed is passed
    assert f"{100 * error:.2f} %" in str(verdict.reason)


@pytest.mark.parametrize(("predicted", "passed"), [(0.7, True), (0.7005, True), (0.72, False), (-0.7, False)])
def test_same_score(predicted, passed):
    assert check_score_agreement(0.7, predicted).passed is passed


def test_randomisation_fails_a_map_that_does_not_depend_on_the_weights():
    rng = np.random.default_rng(0)
    sensitivity = rng.normal(size=5000)
    other = rng.normal(size=5000)
    verdict = check_parameter_randomization(sensitivity, {"head": sensitivity, "encoder": other})
    assert verdict.passed  # judged at the end of the cascade
    assert " 1.00, " in str(verdict.reason)
    for same in (sensitivity**3, -sensitivity):
        assert not check_parameter_randomization(sensitivity, {"head": other, "encoder": same}).passed


def test_randomisation_fails_a_model_that_ignores_the_image():
    verdict = check_parameter_randomization(np.zeros(100), {"encoder": np.random.default_rng(0).normal(size=100)})
    assert not verdict.passed
    assert "no weight" in str(verdict.reason)


def test_rank_correlation_is_spearmans():
    rng = np.random.default_rng(1)
    a = rng.normal(size=300)
    b = np.round(a + rng.normal(size=300), 1)  # with ties
    assert rank_correlation(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)
    assert rank_correlation(a, np.ones(300)) == 0.0


@pytest.mark.parametrize(("share", "passed"), [(0.21, True), (0.2, False), (0.05, False)])
def test_concentration_wants_more_than_every_network_that_has_learnt_nothing(share, passed):
    verdict = check_concentration(share, [0.02, 0.2, 0.1])
    assert verdict.passed is passed
    assert "at most 20 %" in str(verdict.reason)


def test_the_sign_is_judged_for_every_lesion_above_two_points():
    effects = {1: -0.15, 2: -0.03, 3: 0.019}
    assert check_sign_agreement({1: 0.4, 2: 0.01, 3: 0.3}, effects).passed  # the third is below
    wrong = check_sign_agreement({1: -0.4, 2: 0.01, 3: 0.3}, effects)
    assert not wrong.passed
    assert "For lesion 1 " in str(wrong.reason)
    assert "-15 points" in str(wrong.reason)
    assert not check_sign_agreement({1: 0.4, 2: 0.0, 3: 0.3}, effects).passed  # silence about an effect
    assert check_sign_agreement({}, {}).passed


def test_a_lesion_has_in_the_map_what_it_has_in_the_table():
    assert check_lesion_credit({1: 0.502, 2: -0.2}, {1: 0.5, 2: -0.2}).passed
    assert not check_lesion_credit({1: 0.49, 2: -0.2}, {1: 0.5, 2: -0.2}).passed
    assert not check_lesion_credit({1: -0.2, 2: 0.5}, {1: 0.5, 2: -0.2}).passed  # the lesions mixed up


def test_the_map_lies_on_what_was_read():
    read = np.arange(100) < 20
    inside = np.where(read, 1.0, 0.0)
    assert check_containment(inside, read).passed
    assert not check_containment(inside + np.where(read, 0.0, 0.01), read).passed
    assert not check_containment(np.roll(inside, 30), read).passed
    assert "no weight" in str(check_containment(0 * inside, read).reason)


def test_the_map_follows_its_own_weights_its_lesions_and_the_answer():
    own, other = np.array([0.4, 0.1, -0.1]), np.array([-0.2, 0.3, 0.1])
    assert relative_distance(own, own) == 0.0
    assert relative_distance(own, -own) == pytest.approx(2.0)
    assert check_weight_dependence(0.03, [relative_distance(own, other)] * 19).passed
    assert not check_weight_dependence(0.5, [0.5, 0.9]).passed  # one of no weights is as near to any model
    assert check_stability([0.02, 0.9, 0.1]).passed  # in the middle
    assert not check_stability([0.3, 0.2, 0.9]).passed
    assert check_deletion(0.50, 0.44, 0.47).passed
    assert not check_deletion(0.50, 0.52, 0.47).passed
    assert check_deletion(0.50, 0.44, 0.51).passed  # lesions that hide each other
    assert not check_deletion(0.50, 0.44, 0.53).passed
    assert check_trained_weights(30, 32).passed
    assert not check_trained_weights(28, 32).passed


def test_one_failed_gate_makes_the_explanation_unreliable():
    pet = Volume(np.zeros((2, 2, 2), np.float32), np.eye(4), "g/ml")
    good, bad = check_completeness(0.001), check_completeness(0.5)
    assert Explanation("m", pet, {0: 1.0}, {}, 0.001, (good, good)).reliable
    assert not Explanation("m", pet, {0: 1.0}, {}, 0.5, (good, bad)).reliable


def test_a_method_is_taken_where_it_fits_the_model():
    assert fitting_method("ablation", "table") == "ablation"
    assert fitting_method("ablation", "images") is None
    assert fitting_method("", "table") is None
