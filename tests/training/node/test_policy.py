"""The policy of a node: what it refuses, in words, below the wire. The attacks on real nodes are in
`tests/training/coordinator/test_hospital_federation.py`."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fedpet.core.errors import FederationError, NodeDataError, SettingsError
from fedpet.core.messages import translate_message
from tests.support import ROOT
from training.node import admission, steps
from training.node.admission import CurrentRequest, RequestLog, RoundRequest, admit
from training.node.newton import site_folds
from training.node.policy import (
    OPEN_POLICY,
    POLICY,
    NodePolicy,
    PeerRules,
    PrivacyRules,
    TaskRules,
    policy_text,
    read_policy,
    write_policy,
)
from training.node.privacy_budget import EpsilonLimit, PrivacyLedger
from training.task.method import FederatedMethod
from training.task.newton_fit import folds_of
from training.task.registration import EVALUATION_TAGS
from training.task.statistics import STATISTICS
from training.task.task import TrainingTask

THREE = RoundRequest("NODE_a", ("NODE_a", "NODE_b", "NODE_c"), "secrets:0")


@pytest.fixture
def task(training_nodes):
    return TrainingTask(contract=training_nodes.small_contract())


def refused(policy, task, request=THREE):
    with pytest.raises(FederationError) as error:
        policy.require(task, request)
    return str(error.value.found)


def test_the_file_gives_the_policy_back_and_is_documented(tmp_path):
    for policy in (
        NodePolicy(),
        OPEN_POLICY,
        NodePolicy(privacy=PrivacyRules(epsilon=8.0), peers=PeerRules(allowed=("x",))),
    ):
        write_policy(tmp_path, policy)
        assert read_policy(tmp_path) == policy
    assert policy_text(NodePolicy()).strip() in (ROOT / "docs" / "hospital_node.md").read_text()
    (tmp_path / POLICY).unlink()
    assert read_policy(tmp_path) == NodePolicy()


@pytest.mark.parametrize("text", ["[data]\nminimum = 3", "[data]\nminimum_training = 0", "[peers"])
def test_a_policy_that_cannot_be_is_refused(tmp_path, text):
    (tmp_path / POLICY).write_text(text)
    with pytest.raises(SettingsError):
        read_policy(tmp_path)


def test_tasks_within_the_policy_are_answered(task):
    average = {"network": "evidence", "members": 2, "config": {}}
    for allowed in (
        task,
        replace(task, network="clinical"),
        replace(task, network=STATISTICS),
        replace(task, network="ensemble", network_config=average),
    ):
        NodePolicy().require(allowed, THREE)


def test_another_split_would_single_a_patient_out(task):
    """Fractions 0.2 and 0.2036 differ by one patient; at 0.03 a single patient validates."""
    for fraction in (0.03, 0.2036, 0.9):
        assert f"A validation split of {fraction:g}" in refused(
            NodePolicy(), replace(task, validation_fraction=fraction)
        )


def test_networks_statistics_and_cells_are_those_that_the_site_allows(task):
    few = NodePolicy(tasks=TaskRules(networks=("clinical",), statistics=False))
    assert "evidence" in refused(few, task)
    assert "statistics" in refused(few, replace(task, network=STATISTICS))
    average = replace(task, network="ensemble", network_config={"network": "evidence", "members": 2})
    assert "evidence" in refused(few, average)
    assert "cells of 1" in refused(few, replace(task, network="clinical", minimum_cell=1))


def test_sums_without_each_fold_at_many_numbers_of_folds_would_single_patients_out(task):
    """At 2 to 20 folds the sums over 100 patients are equations that have a solution for every one of them."""
    names = [f"p{number:03d}" for number in range(100)]
    known = [folds_of(names, "nice", count, 5) == fold for count in range(2, 21) for fold in range(count)]
    values, singular, _ = np.linalg.svd(np.array(known, float).T, full_matrices=False)
    assert np.square(values[:, singular > 1e-8]).sum(1) == pytest.approx(1.0)
    for count in (2, 4, 6, 20):
        exact = FederatedMethod(aggregation={"method": "newton", "folds": count})
        assert f"An exact fit with {count} folds" in refused(NodePolicy(), replace(task, network="table", method=exact))


def test_the_folds_of_a_site_do_not_depend_on_what_the_centre_shows(task):
    cases = tuple(f"p{number}" for number in range(60))
    dataset = SimpleNamespace(node=SimpleNamespace(case_ids=cases, site="nice"), rules=NodePolicy().data)
    method, drawn = FederatedMethod(aggregation={"method": "newton"}), []
    for dataset.task in (replace(task, network="table", method=method, minimum_cell=cell) for cell in (5, 6, 20)):
        drawn.append(site_folds(dataset, dataset.task.newton).tolist())
    assert drawn[0] == drawn[1] == drawn[2]


def test_sums_have_enough_sites_and_only_known_ones(task):
    two = RoundRequest("NODE_a", ("NODE_a", "NODE_b"), "secrets:0")
    assert "A sum of 2 sites" in refused(NodePolicy(), task, two)
    twice = RoundRequest("NODE_a", ("NODE_a", "NODE_b", "NODE_b"), "secrets:0")
    assert "A sum of 2 sites" in refused(NodePolicy(), task, twice)
    assert "without secure aggregation" in refused(NodePolicy(), task, RoundRequest("NODE_a"))
    known = NodePolicy(peers=PeerRules(allowed=("NODE_b",)))
    assert "1 nodes in the sum" in refused(known, task)
    NodePolicy(peers=PeerRules(allowed=("NODE_b", "NODE_c"))).require(task, THREE)


@pytest.fixture
def node(tmp_path, monkeypatch):
    """This process as a node."""
    monkeypatch.setattr(sys, "argv", ["node_pm.py", "--config", str(tmp_path), "--node-args", "{}"])
    monkeypatch.setattr(CurrentRequest, "_request", None)
    return tmp_path


def test_a_node_answers_as_often_as_its_policy_says(node, task):
    write_policy(node, NodePolicy(tasks=TaskRules(rounds=3, statistics_requests=1, evaluations=1)))
    for number in range(3):
        CurrentRequest.set(replace(THREE, masks=f"secrets:{number}"))
        admit(task)
    CurrentRequest.set(replace(THREE, masks="secrets:3"))
    with pytest.raises(FederationError, match="has answered 3 requests"):
        admit(task)
    admit(replace(task, network=STATISTICS))
    CurrentRequest.set(replace(THREE, masks="secrets:4"))
    with pytest.raises(FederationError, match="has answered 1 requests"):
        admit(replace(task, network=STATISTICS))
    CurrentRequest.set(replace(THREE, masks="secrets:5", tags=EVALUATION_TAGS))
    admit(replace(task, evaluated=("nice",)))
    CurrentRequest.set(replace(THREE, masks="secrets:6", tags=EVALUATION_TAGS))
    with pytest.raises(FederationError, match="has answered 1 requests"):
        admit(replace(task, evaluated=("nice",)))
    assert RequestLog(node).counts() == {"evaluations": 1, "rounds": 3, "statistics": 1}


@pytest.mark.usefixtures("node")
def test_two_answers_under_one_mask_are_refused(task):
    """Their difference would be the site's own."""
    CurrentRequest.set(THREE)
    admit(task)
    with pytest.raises(FederationError, match="masks that were used before"):
        admit(replace(task, seed=1))


@pytest.mark.usefixtures("node")
def test_a_node_that_another_command_started_answers_nothing(task):
    with pytest.raises(FederationError, match="does not know who takes part"):
        admit(task)


def test_a_damaged_log_allows_nothing(node, task):
    CurrentRequest.set(THREE)
    admit(task)
    log = node / admission.REQUESTS
    for damaged in (log.read_text()[:-1], log.read_text() + "{}\n"):
        log.write_text(damaged)
        with pytest.raises(FederationError, match="is damaged"):
            admit(task)


def test_the_policy_sets_the_highest_limit_of_epsilon(tmp_path):
    write_policy(tmp_path, NodePolicy(privacy=PrivacyRules(epsilon=4.0)))
    ledger = PrivacyLedger(tmp_path)
    assert ledger.read().limit == EpsilonLimit(4.0, 1e-5)
    ledger.set_limit(EpsilonLimit(2.0))
    assert ledger.read().limit.epsilon == 2.0
    with pytest.raises(FederationError, match="At most 4, as the node's policy"):
        ledger.set_limit(EpsilonLimit(8.0))


@pytest.mark.parametrize(
    "part", [{"num_updates": 1}, {"epochs": 1, "batch_maxnum": 1}, {"epochs": 1, "dry_run": True}, {}]
)
def test_a_round_takes_every_patient(part):
    """One step of a batch of one would be one patient's gradient."""
    with pytest.raises(FederationError, match="part of the training patients"):
        steps.require_whole_passes(part)
    steps.require_whole_passes({"epochs": 2, "num_updates": None, "batch_maxnum": None, "dry_run": False})


def test_an_update_is_bounded_in_norm():
    first = {"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([4.0])}
    near = {"a": torch.tensor([3.0, 2.0]), "b": torch.tensor([5.0])}
    assert steps.bounded(near, first, 1.0) is near
    far = {"a": torch.tensor([33.0, 0.0]), "b": torch.tensor([44.0]), "carried": torch.ones(1)}
    found = steps.bounded(far, first, 1.0)
    assert found["a"].tolist() == pytest.approx([6.0, 0.0])
    assert found["b"].tolist() == pytest.approx([8.0])
    assert found["carried"].tolist() == [1.0]
    with pytest.raises(FederationError, match="not finite"):
        steps.bounded({"a": torch.tensor([3.0, float("nan")])}, first, 1.0)


def test_an_exact_fit_takes_all_patients_and_none_of_a_site_of_one(task):
    names, rules = tuple(f"p{i}" for i in range(10)), NodePolicy().data
    exact = replace(task, network="table", method=FederatedMethod(aggregation={"method": "newton"}))
    assert steps.patients_of(exact, names, rules) == (tuple(range(10)), tuple(range(10)))
    means = replace(task, network=STATISTICS)  # the difference to a fit would be that of two patients
    assert steps.patients_of(means, names, rules) == steps.patients_of(exact, names, rules)
    training, validation = steps.patients_of(task, names, rules)
    assert (len(training), len(validation)) == (8, 2)
    with pytest.raises(NodeDataError, match="holds 1 case"):
        steps.patients_of(exact, names[:1], rules)


@pytest.mark.parametrize("language", ["en", "fr"])
def test_the_policy_is_said_in_words(language):
    translate = translate_message(language)
    strict = NodePolicy(
        privacy=PrivacyRules(epsilon=8.0), tasks=TaskRules(statistics=False), peers=PeerRules(allowed=("x",))
    )
    for policy in (NodePolicy(), OPEN_POLICY, strict):
        said = [translate(sentence) for sentence in policy.sentences()]
        assert len(said) == 13
        assert all("{" not in one for one in said)
    assert "8" in said[-1]
