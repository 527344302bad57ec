"""Expected AUC and C-index against brute force."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch

from inference.calibration import Calibration
from inference.network import build_network
from training.evaluation import HeldOut, bootstrap_auc, concordance, evaluate, expected_auc
from training.node_data import read_node


def test_expected_auc_by_brute_force():
    generator = np.random.default_rng(0)
    score, truth = generator.integers(0, 5, 12).astype(float), generator.random(12)
    total = good = 0.0
    for i, j in permutations(range(12), 2):
        weight = truth[i] * (1 - truth[j])
        total += weight
        good += weight * (1.0 if score[i] < score[j] else 0.5 if score[i] == score[j] else 0.0)
    assert expected_auc(score, truth) == pytest.approx(good / total)


def test_expected_auc_with_certain_outcomes_is_the_auc():
    truth = np.array([1.0, 1.0, 0.0, 0.0])
    assert expected_auc(np.array([0.1, 0.5, 0.4, 0.9]), truth) == 0.75
    assert np.isnan(expected_auc(np.arange(4.0), np.ones(4)))


def test_nothing_beats_the_ceiling():
    generator = np.random.default_rng(1)
    truth = generator.beta(1, 2, 200)
    ceiling = expected_auc(-truth, truth)
    assert expected_auc(-truth + generator.normal(0, 0.1, 200), truth) < ceiling
    assert expected_auc(truth, truth) == pytest.approx(1 - ceiling)


def test_bootstrap_interval_covers_the_value_and_narrows():
    generator = np.random.default_rng(2)
    truth = generator.beta(1, 2, 400)
    score = -truth + generator.normal(0, 0.2, 400)
    few, many = bootstrap_auc(score[:50], truth[:50]), bootstrap_auc(score, truth)
    assert many.lower < many.value < many.upper
    assert many.upper - many.lower < 0.6 * (few.upper - few.lower)
    assert many == bootstrap_auc(score, truth)


def test_concordance_by_hand():
    months, event = np.array([2.0, 4.0, 4.0, 6.0]), np.array([True, False, True, False])
    score = np.array([3.0, 1.0, 1.0, 2.0])
    # comparable: patient 0 against 1, 2 and 3 (3 right), patient 2 against 3 (wrong)
    assert concordance(score, months, event) == pytest.approx(3 / 4)


def test_evaluate_reports_model_baseline_and_ceiling(tmp_path, training_nodes):
    contract = training_nodes.small_contract()
    node = read_node(training_nodes.write_node(tmp_path / "t", contract, "test", 20, seed=5), contract)
    torch.manual_seed(0)
    networks = {name: build_network(kind, contract) for name, kind in (("model", "evidence"), ("clinical", "clinical"))}
    with torch.no_grad():
        networks["clinical"].head.clinical.weight[0, 0] = 0.6  # the planted effect
    calibration = Calibration(0.0, 1.0, ((0.01, 0.0), (0.0, 0.01)), 0.8, {}, (0.0, 0.0))
    report = evaluate(HeldOut.of([node]), networks, calibration, contract)
    auc = report["expected_auc_pfs_12m"]
    assert report["patients"] == 20
    assert set(auc) == {"model", "clinical", "bayes_ceiling"}
    assert auc["model"]["value"] == 0.5  # untrained: all scores are 0
    assert 0.55 < auc["clinical"]["value"] < auc["bayes_ceiling"]["value"]
    assert 0 < report["calibration_pfs_12m"]["mean_predicted"] < 1
