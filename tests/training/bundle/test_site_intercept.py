"""A site's own intercept: how it is drawn to the federation's, and the bundle that holds it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedpet.core.errors import BundleError, NodeDataError
from inference.bundle.storage import Bundle, write_bundle
from inference.calibration import RiskCalibration
from inference.network import build_network
from inference.registry import Registry
from training.bundle.export import export_onnx, serialized_parameters
from training.bundle.site_intercept import calibrate_to_site, fit_intercept


def site(shift, patients, seed):
    """Logits, exposure and events of simulated patients in 8 intervals."""
    generator = np.random.default_rng(seed)
    logits = np.linspace(-2.5, -1.5, 8) + generator.normal(0, 0.8, patients)[:, None]
    hit = generator.random(logits.shape) < 1 / (1 + np.exp(-(logits + shift)))
    followed = generator.integers(1, 9, patients)
    last = np.minimum(np.where(hit.any(1), hit.argmax(1) + 1, 8), followed)
    exposure = (np.arange(8) < last[:, None]).astype(float)
    return logits, exposure, exposure * hit


@pytest.mark.parametrize("shift", [-0.8, 0.0, 0.8])
def test_the_shift_is_found_and_drawn_to_zero(shift):
    many = fit_intercept(*site(shift, 3000, 1), prior_variance=0.25)
    assert many.shift == pytest.approx(shift, abs=0.1)
    few = [fit_intercept(*site(shift, 30, seed), prior_variance=0.25) for seed in range(60)]
    assert all(abs(one.shift) <= abs(one.unshrunken) for one in few)
    assert np.mean([one.unshrunken for one in few]) == pytest.approx(shift, abs=0.12)


def test_it_is_nearer_to_the_truth_than_without_a_prior_where_sites_differ_as_assumed():
    shifts = np.random.default_rng(0).normal(0, 0.5, 80)
    found = [fit_intercept(*site(shift, 30, seed), prior_variance=0.25) for seed, shift in enumerate(shifts)]
    error = {name: np.mean([(getattr(f, name) - s) ** 2 for f, s in zip(found, shifts, strict=True)])
             for name in ("shift", "unshrunken")}  # fmt: skip
    assert error["shift"] < error["unshrunken"]
    assert np.mean([abs(f.shift - s) < 1.96 * f.error for f, s in zip(found, shifts, strict=True)]) > 0.88
    assert error["shift"] < 0.5 * np.mean(shifts**2)  # of leaving the federation's intercept as it is


@pytest.fixture(scope="module")
def federations(tmp_path_factory, training_nodes):
    """A bundle that only reads the record, untrained."""
    torch.manual_seed(0)
    contract = training_nodes.small_contract()
    network = build_network("clinical", contract)
    covariance = tuple(tuple(0.01 * (i == j) for j in range(6)) for i in range(6))
    rates = {"pfs_12m": 0.4, "dcb_6m": 0.55, "early_failure_3m": 0.25}
    calibration = RiskCalibration(0.1, 1.0, (0.0,) * 4, covariance, 0.8, rates, (-0.2, 0.2), {})
    return write_bundle(
        tmp_path_factory.mktemp("bundle") / "federation",
        onnx=export_onnx(network, contract),
        weights=serialized_parameters(network),
        contract=contract,
        calibration=calibration,
        card={
            "name": "federation", "version": "1", "synthetic": True, "limits": [],
            "network": {"name": "clinical", "config": {}},
        },
    )  # fmt: skip


def test_the_bundle_has_its_provenance_and_needs_a_report_of_its_own(federations, training_nodes, tmp_path):
    data = training_nodes.write_node(tmp_path / "amiens", federations.contract, 30, seed=4)
    found = calibrate_to_site(federations.folder, data, tmp_path / "own")
    own = Bundle.load(tmp_path / "own")
    assert own.calibration.a == pytest.approx(0.1 + found.shift)
    assert own.calibration.b == federations.calibration.b
    assert own.onnx.read_bytes() == federations.onnx.read_bytes()
    covariance = np.array(own.calibration.covariance)
    assert covariance[0, 0] == pytest.approx(found.error**2)
    assert np.linalg.eigvalsh(covariance).min() > 0
    entry = own.card["site_intercept"]
    assert (entry["from_bundle"], entry["site"], entry["patients"]) == (federations.digest, "amiens", 30)
    assert "for patients of this site only" in own.card["limits"][-1]
    registry = Registry(tmp_path / "home" / "models")
    added = registry.add(own.folder, by="a")
    with pytest.raises(BundleError, match="no evaluation report"):
        registry.promote(added.digest, by="a", why="ours")


def test_too_few_patients_keep_the_federation_s_intercept(federations, training_nodes, tmp_path):
    data = training_nodes.write_node(tmp_path / "amiens", federations.contract, 19, seed=4)
    with pytest.raises(NodeDataError, match="19 patients"):
        calibrate_to_site(federations.folder, data, tmp_path / "own")
    assert not (tmp_path / "own").exists()
