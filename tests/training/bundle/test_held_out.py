"""The card's evaluation; its metrics are tested in test_training_metrics.py."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from inference.calibration import RiskCalibration, SetLimits
from inference.network import build_network
from training.bundle.comparators import compare_scores
from training.bundle.held_out import HeldOut, evaluate
from training.data.node_data import PreparedCase, clear_cases, read_node, write_case, write_node
from training.metrics import Sample


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


def test_a_published_score_stands_beside_the_model_and_says_what_it_lacks(tmp_path, training_nodes):
    """NLR, known in 30 of 40, ranks them perfectly; ALI does, upside down; nobody has a TMB for LORIS."""
    contract, folder = training_nodes.small_contract(), tmp_path / "nice"
    template = read_node(training_nodes.write_node(tmp_path / "template", contract, 1, seed=5), contract).cases[0]
    clear_cases(folder)
    prepared, months = [], np.arange(40) + 0.5
    for number, time in enumerate(months):
        case_id, known = f"P-{number:02d}", number % 4 > 0
        write_case(folder, case_id, replace(template, months=float(time), event=True))
        scores = {"nlr": 50 - time if known else None, "ali": float(time), "loris": None}
        lacking = {"loris": ("tmb",)} | ({} if known else {"nlr": ("lymphocytes",)})
        outcome = {"months": float(time), "event": True, "delineated": False, "vendor": ""}
        prepared.append(PreparedCase(case_id, scores=scores, lacking=lacking, **outcome))
    write_node(folder, prepared, contract, {})
    risk = np.where(np.arange(40) % 2, 1.0, -1.0) - months / 100
    sample = Sample.of(months, np.ones(40, bool), draws=50)
    found = compare_scores([read_node(folder, contract)], sample, risk, 20.0)["published_scores"]
    assert (found["nlr"]["patients"], found["nlr"]["missing"]) == (30, {"lymphocytes": 10})
    assert [found[name]["c_index"]["score"]["value"] for name in ("nlr", "ali")] == [1.0, 1.0]
    model = found["nlr"]["auc_20m"]["model"]["value"]
    assert abs(model - 175 / 225) < 1e-9  # 5 even before 10 odd ones are ranked wrongly
    assert found["nlr"]["auc_20m"]["difference"]["value"] == model - 1.0
    assert found["loris"] == {"label": "LORIS for NSCLC", "patients": 0, "missing": {"tmb": 40}, "too_few": True}
    assert "missing" not in found["ali"]
