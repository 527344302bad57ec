"""The card's evaluation; its metrics are tested in test_training_metrics.py."""

from __future__ import annotations

import torch

from inference.calibration import RiskCalibration, SetLimits
from inference.network import build_network
from training.bundle.held_out import HeldOut, evaluate
from training.data.node_data import read_node


def test_evaluate_reports_model_baseline_and_ceiling(tmp_path, training_nodes):
    contract = training_nodes.small_contract()
    node = read_node(training_nodes.write_node(tmp_path / "test", contract, 20, seed=5), contract)
    torch.manual_seed(0)
    networks = {name: build_network(kind, contract) for name, kind in (("model", "evidence"), ("clinical", "clinical"))}
    with torch.no_grad():
        networks["clinical"].head.clinical.weight[0, 0] = 0.6  # the planted effect
    covariance = tuple(tuple(0.01 * (i == j) for j in range(6)) for i in range(6))
    calibration = RiskCalibration(
        0.0, 1.0, (0.0,) * 4, covariance, 0.8, {}, (0.0, 0.0), {"pfs_12m": SetLimits(0.999, 0.999)}
    )
    report = evaluate(HeldOut.of([node]), networks, calibration, contract)
    auc = report["expected_auc_pfs_12m"]
    assert report["patients"] == 20
    assert set(auc) == {"model", "clinical", "bayes_ceiling"}
    assert auc["model"]["value"] == 0.5  # untrained: all scores are 0
    assert 0.55 < auc["clinical"]["value"] < auc["bayes_ceiling"]["value"]
    assert 0 < report["calibration_pfs_12m"]["mean_predicted"] < 1
    assert report["by_centre"]["test"]["expected_auc_pfs_12m"] == auc["model"]
    assert report["by_centre"]["test"]["patients"] == 20
    assert set(report["conformal_sets"]) == {"pfs_12m"}
    sets = report["conformal_sets"]["pfs_12m"]
    assert set(sets["by_centre"]) == {"test"}
    assert sets["all"]["coverage"]["value"] == sets["all"]["indeterminate"]["value"] == 1.0
    assert 0.5 < sets["all"]["coverage"]["lower"] < 1.0
