"""A finished model is calibrated again from node data, and nothing else of it changes."""

from __future__ import annotations

import pytest
import torch

from fedpet.core.errors import NodeDataError
from inference.bundle.storage import Bundle, write_bundle
from inference.calibration import RiskCalibration, SetLimits
from inference.network import build_network
from training.bundle.export import export_onnx, serialized_parameters
from training.bundle.recalibration import recalibrate

RATES = {"pfs_12m": 0.4, "dcb_6m": 0.55, "early_failure_3m": 0.25}


@pytest.fixture(scope="module")
def before(tmp_path_factory, training_nodes):
    """A bundle of version 0.2 that only reads the record, untrained."""
    torch.manual_seed(0)
    contract = training_nodes.small_contract()
    network = build_network("clinical", contract)
    covariance = tuple(tuple(0.01 * (i == j) for j in range(6)) for i in range(6))
    limits = dict.fromkeys(RATES, SetLimits(0.6, 0.6))
    evaluation = {"patients": 9, "conformal_sets": {"old": 1}}
    network_entry = {"name": "clinical", "config": {}}
    card = {"name": "before", "version": "1", "synthetic": True, "evaluation": evaluation, "network": network_entry}
    return write_bundle(
        tmp_path_factory.mktemp("bundle") / "before",
        onnx=export_onnx(network, contract),
        weights=serialized_parameters(network),
        contract=contract,
        calibration=RiskCalibration(0.1, 1.0, (0.0,) * 4, covariance, 0.8, RATES, (-0.2, 0.2), limits),
        card=card,
    )


def test_it_knows_its_centres_and_how_far_they_differ(before, training_nodes, tmp_path):
    data = [training_nodes.write_node(tmp_path / name, before.contract, 40, seed=at) for at, name in enumerate("abc")]
    told = recalibrate(before.folder, data, tmp_path / "new", holdout=data[:1], version="2")
    new = Bundle.load(tmp_path / "new")
    assert new.calibration == told
    assert set(told.centres) == {"a", "b", "c"}
    assert told.between_centres > 0
    assert before.calibration.between_centres is None
    assert new.onnx.read_bytes() == before.onnx.read_bytes()
    assert new.card["version"] == "2"
    assert new.card["recalibration"]["from_bundle"] == before.digest
    assert new.card["recalibration"]["sites"]["b"]["patients"] == 40
    assert new.card["evaluation"]["patients"] == 9
    assert set(new.card["evaluation"]["conformal_sets"]["pfs_12m"]["by_centre"]) == {"a"}
    assert set(new.card["conformal_sets"]["pfs_12m"]["by_site"]) == {"a", "b", "c"}
    without = recalibrate(before.folder, data, tmp_path / "unjudged")
    assert without == told
    card = Bundle.load(tmp_path / "unjudged").card
    by_others = card["evaluation"]["conformal_sets"]["pfs_12m"]
    assert by_others["by_centre"] == card["conformal_sets"]["pfs_12m"]["by_site"]


def test_what_was_fitted_can_stay_so_that_no_probability_of_an_unknown_centre_changes(before, training_nodes, tmp_path):
    data = [training_nodes.write_node(tmp_path / name, before.contract, 40, seed=at) for at, name in enumerate("abc")]
    told, old = recalibrate(before.folder, data, tmp_path / "new", keep=True), before.calibration
    assert (told.a, told.b, told.shifts, told.covariance) == (old.a, old.b, old.shifts, old.covariance)
    assert set(told.centres) == {"a", "b", "c"}
    assert told.thresholds != old.thresholds


def test_a_centre_given_twice_is_refused(before, training_nodes, tmp_path):
    data = training_nodes.write_node(tmp_path / "a", before.contract, 10, seed=0)
    with pytest.raises(NodeDataError, match="twice"):
        recalibrate(before.folder, [data, data], tmp_path / "new")
    assert not (tmp_path / "new").exists()
