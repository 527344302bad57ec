"""A node does not take a model that is far worse on its own validation patients, and says by how much it changed."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from fedpet.core.errors import FederationError
from training.node import steps
from training.node.admission import CurrentRequest, RoundRequest
from training.node.policy import TaskRules
from training.node.veto import ACCEPTED, Accepted, accept, read_accepted
from training.task.carried import CARRIED
from training.task.method import Aggregation, FederatedMethod
from training.task.pooled import pooled_change, vetoed, worsened
from training.task.statistics import STATISTICS
from training.task.task import TrainingTask

LOSSES = torch.tensor([1.0, 1.2, 0.8, 1.1, 0.9, 1.0], dtype=torch.float64)  # mean 1, standard error 0.058


@pytest.fixture
def node(tmp_path, monkeypatch):
    """This process as a node in a training."""
    monkeypatch.setattr(sys, "argv", ["node_pm.py", "--config", str(tmp_path), "--node-args", "{}"])
    monkeypatch.setattr(CurrentRequest, "_request", RoundRequest("NODE_a", experiment="e1"))
    return tmp_path


@pytest.fixture
def task(training_nodes):
    return TrainingTask(contract=training_nodes.small_contract(), network="clinical")


def judged(task, value, losses):
    """A network whose parameters are all `value` when it arrives, after the judgement; and what is counted."""
    network = task.build_shared()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(value)
    validation = SimpleNamespace(losses=losses, result={})
    steps.take_or_veto(network, SimpleNamespace(task=task, limits=TaskRules()), validation)
    kept = {float(value.flatten()[0]) for name, value in network.state_dict().items() if name != CARRIED}
    assert len(kept) == 1
    return kept.pop(), validation.result


def test_a_model_that_is_far_worse_is_not_taken(node, task):
    assert judged(task, 1.0, LOSSES) == (1.0, {"vetoes": 0.0})
    kept, said = judged(task, 2.0, LOSSES + 0.1)  # within three standard errors
    assert (kept, said["vetoes"], said["changed"]) == (2.0, 0.0, 6.0)
    assert said["change"] == pytest.approx(0.1)
    kept, said = judged(task, 3.0, LOSSES + 0.3)
    assert (kept, said["vetoes"], said["worse"]) == (2.0, 1.0, 1.0)  # the last one that was taken
    assert judged(task, 4.0, LOSSES + 0.16)[0] == 4.0  # still compared with the best one, not with the last
    assert judged(task, 5.0, LOSSES + float("nan"))[0] == 4.0
    assert (node / ACCEPTED).is_file()


def test_a_new_training_begins_anew(node, task):
    judged(task, 1.0, LOSSES)
    CurrentRequest.set(RoundRequest("NODE_a", experiment="e2"))
    assert judged(task, 3.0, LOSSES + 5.0) == (3.0, {"vetoes": 0.0})
    assert read_accepted(node, "e1") is None


@pytest.mark.usefixtures("node")
def test_what_only_validates_is_judged_and_stays(task):
    judged(task, 1.0, LOSSES)
    kept, said = judged(replace(task, validates_only=True), 3.0, LOSSES + 5.0)
    assert (kept, said["vetoes"]) == (3.0, 1.0)
    assert judged(task, 2.0, LOSSES)[1]["change"] == 0.0  # it was not recorded


@pytest.mark.usefixtures("node")
@pytest.mark.parametrize(
    "change", [{"network": STATISTICS, "network_config": {}}, {"evaluated": ("nice",), "validates_only": True}]
)
def test_statistics_and_evaluations_are_not_judged(task, change):
    judged(task, 1.0, LOSSES)
    asked = replace(task, **change)
    validation = SimpleNamespace(losses=LOSSES + 5.0, result={})
    steps.take_or_veto(asked.build_shared(), SimpleNamespace(task=asked, limits=TaskRules()), validation)
    assert validation.result == {}


@pytest.mark.usefixtures("node")
def test_few_patients_have_no_veto(task):
    judged(task, 1.0, LOSSES[:4])
    assert judged(task, 3.0, LOSSES[:4] + 9.0) == (3.0, {})


@pytest.mark.usefixtures("node")
def test_scaffold_is_refused_with_the_reason(task):
    scaffold = replace(task, method=FederatedMethod(aggregation=Aggregation(method="scaffold")))
    judged(scaffold, 1.0, LOSSES)
    with pytest.raises(FederationError, match="worsens the loss"):
        judged(scaffold, 3.0, LOSSES + 5.0)


def test_other_patients_are_not_compared(tmp_path):
    accept(tmp_path, "e", {"w": torch.ones(2)}, LOSSES)
    known = read_accepted(tmp_path, "e")
    assert known.compared(LOSSES[:5]) == {}
    assert isinstance(known, Accepted)
    assert known.parameters["w"].tolist() == [1.0, 1.0]


def test_counts_and_changes_of_the_sites_together():
    sites = [
        {"sites": 1.0, "vetoes": 1.0, "worse": 1.0, "changed": 10.0, "change": 0.2, "change_square": 0.08},
        {"sites": 1.0, "changed": 30.0, "change": -0.2, "change_square": 0.08},
    ]
    mean, error = pooled_change(sites)
    assert mean == pytest.approx(-0.1)
    assert error == pytest.approx(((0.08 - 0.01) / 40) ** 0.5)
    assert not vetoed(sites)
    assert vetoed([{"sites": 3.0, "vetoes": 2.0}])
    assert worsened(sites)
    assert not worsened([{"sites": 3.0, "worse": 1.0}])
    assert not worsened([{"sites": 0.0}])
