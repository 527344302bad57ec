"""The node's own account of epsilon: what is counted, what is refused, and that nothing gets past it."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

from fedpet.core.errors import FederationError
from training.node import privacy_budget as budget
from training.node import steps
from training.node.privacy_budget import LEDGER, BudgetGuard, EpsilonLimit, PrivacyLedger
from training.task.method import FederatedMethod, Privacy
from training.task.privacy import PrivacySpending, epsilon, total_epsilon
from training.task.runs import plan_runs
from training.task.statistics import STATISTICS
from training.task.task import TrainingTask

PRIVATE = FederatedMethod(privacy=Privacy(clip=1.0, noise=1.5))
ROUND = PrivacySpending(patients=40, batch_size=4, epochs=1, noise=1.5)


def test_rounds_of_one_setting_cost_what_the_whole_training_costs():
    usual = {"patients": 40, "batch_size": 4, "noise": 1.5, "delta": 1e-5}
    assert total_epsilon([ROUND] * 12, 1e-5) == pytest.approx(epsilon(epochs=12, **usual))


def test_settings_are_composed_before_the_conversion():
    """Of two Gaussian mechanisms on everybody, one with the noise of both: sigma^-2 = sigma_1^-2 + sigma_2^-2."""
    first, second = (PrivacySpending(patients=4, batch_size=4, epochs=1, noise=noise) for noise in (3.0, 4.0))
    together = total_epsilon([first, second], 1e-5)
    assert together == pytest.approx(epsilon(patients=4, batch_size=4, epochs=1, noise=2.4, delta=1e-5))
    assert together < 0.8 * (total_epsilon([first], 1e-5) + total_epsilon([second], 1e-5))


def test_nothing_trained_costs_nothing_and_no_noise_costs_everything():
    assert total_epsilon([], 1e-5) == 0.0
    assert total_epsilon([ROUND, PrivacySpending(40, 4, 1, None)], 1e-5) == float("inf")


def test_what_would_go_beyond_is_refused_and_not_entered(tmp_path):
    ledger = PrivacyLedger(tmp_path)
    ledger.set_limit(EpsilonLimit(epsilon(patients=40, batch_size=4, epochs=3, noise=1.5, delta=1e-5) + 1e-6))
    for number in range(3):
        ledger.enter(ROUND, round=number)
    spent = ledger.read().epsilon()
    with pytest.raises(FederationError, match=r"bring epsilon from \d.\d\d to \d.\d\d. Needed: At most"):
        ledger.enter(ROUND, round=3)
    assert ledger.read().epsilon() == spent
    ledger.set_limit(EpsilonLimit(100.0))
    ledger.enter(ROUND)
    assert ledger.read().epsilon() > spent
    ledger.set_limit(EpsilonLimit(1.0))
    with pytest.raises(FederationError, match="At most 1 "):
        ledger.enter(PrivacySpending(40, 4, 1, 100.0))


@pytest.mark.filterwarnings("ignore:Optimal order is the")
@pytest.mark.parametrize("noise", [None, 1e-3])
def test_no_noise_and_too_little_are_refused(tmp_path, noise):
    PrivacyLedger(tmp_path).set_limit(EpsilonLimit(8.0))
    with pytest.raises(FederationError, match="without differential privacy" if noise is None else "At most 8 at"):
        PrivacyLedger(tmp_path).enter(PrivacySpending(40, 4, 1, noise))


def test_what_was_trained_before_the_limit_counts(tmp_path):
    PrivacyLedger(tmp_path).enter(PrivacySpending(40, 4, 1, None))
    PrivacyLedger(tmp_path).set_limit(EpsilonLimit(8.0))
    with pytest.raises(FederationError, match="from inf to inf"):
        PrivacyLedger(tmp_path).enter(ROUND)


@pytest.mark.parametrize("value", [0.0, float("inf"), float("nan")])
def test_a_limit_is_a_number(tmp_path, value):
    with pytest.raises(FederationError, match="An epsilon above 0"):
        PrivacyLedger(tmp_path).set_limit(EpsilonLimit(value))
    with pytest.raises(FederationError, match="between 0 and 1"):
        PrivacyLedger(tmp_path).set_limit(EpsilonLimit(8.0, delta=1.0))


def test_a_damaged_ledger_allows_nothing(tmp_path):
    PrivacyLedger(tmp_path).set_limit(EpsilonLimit(8.0))
    PrivacyLedger(tmp_path).enter(ROUND)
    path = tmp_path / LEDGER
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:-20], whole + b"{}\n", whole.replace(b'"epochs"', b'"epoch"')):
        path.write_bytes(damaged)
        for act in (
            lambda: PrivacyLedger(tmp_path).enter(ROUND),
            lambda: PrivacyLedger(tmp_path).set_limit(EpsilonLimit(9.0)),
        ):
            with pytest.raises(FederationError, match="is damaged"):
                act()
        assert path.read_bytes() == damaged


def test_two_at_a_time_do_not_both_spend_the_rest(tmp_path):
    """Every opening of the file has a lock of its own, in one process as in two."""
    PrivacyLedger(tmp_path).set_limit(EpsilonLimit(total_epsilon([ROUND] * 9, 1e-5) + 1e-6))

    def spend(_):
        try:
            PrivacyLedger(tmp_path).enter(ROUND)
        except FederationError:
            return 0
        return 1

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(spend, range(16))) == 9
    assert len(PrivacyLedger(tmp_path).read().trainings) == 9


@pytest.fixture
def node(tmp_path, training_nodes, monkeypatch):
    """This process as a node with a limit, by the command line that Fed-BioMed's nodes have."""
    monkeypatch.setattr(sys, "argv", ["node_pm.py", "--config", str(tmp_path), "--node-args", "{}"])
    PrivacyLedger(tmp_path).set_limit(EpsilonLimit(8.0))
    return SimpleNamespace(ledger=PrivacyLedger(tmp_path), contract=training_nodes.small_contract())


def refused(task):
    with pytest.raises(FederationError) as error:
        BudgetGuard(task)
    return str(error.value)


def test_the_gate_refuses_what_no_noise_covers(node):
    private = TrainingTask(contract=node.contract, method=PRIVATE)
    assert "without differential privacy" in refused(TrainingTask(contract=node.contract))
    assert "statistics" in refused(replace(private, network=STATISTICS))
    BudgetGuard(private)
    assert node.ledger.read().trainings == ()


def test_a_plan_that_would_not_last_is_refused_before_it_spends_anything(node):
    """Twelve rounds of the model and two epochs each of the baseline; the limit allows ten."""
    node.ledger.set_limit(EpsilonLimit(epsilon(patients=40, batch_size=4, epochs=10, noise=1.5, delta=1e-5)))
    runs = plan_runs(TrainingTask(contract=node.contract, method=PRIVATE, rounds=12), 1, (0,))
    assert {name: run.task.planned_epochs for name, run in runs.items()} == {"model": 36, "clinical": 24}
    with pytest.raises(FederationError, match=r"bring epsilon from 0\.00"):
        BudgetGuard(runs["model"].task).require_lasting(40, 0)
    BudgetGuard(runs["model"].task).require_lasting(40, 3)
    BudgetGuard(replace(runs["model"].task, planned_epochs=10)).require_lasting(40, 0)
    assert node.ledger.read().trainings == ()


def test_a_process_that_is_no_node_has_no_ledger(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pytest", "--config", "pyproject.toml"])
    assert budget.ledger_of_this_process() is None


def made_private(noise, patients=12):
    """Opacus' optimiser and loader, as Fed-BioMed attaches them before the first step."""
    from opacus import PrivacyEngine

    network = torch.nn.Linear(2, 1)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.zeros(patients, 2)), batch_size=4)
    _, optimizer, loader = PrivacyEngine().make_private(
        module=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        data_loader=loader,
        noise_multiplier=noise,
        max_grad_norm=1.0,
    )
    return optimizer, loader


ARGS = {"num_updates": None, "epochs": 1}


def test_a_round_is_entered_before_its_first_step_so_that_a_crash_counts(node):
    gate = BudgetGuard(TrainingTask(contract=node.contract, method=PRIVATE))
    gate.step(*made_private(1.5), ARGS, 4)
    (entry,) = node.ledger.read().trainings
    assert entry == PrivacySpending(patients=12, batch_size=4, epochs=1, noise=1.5)
    line = json.loads((node.ledger._path).read_text().splitlines()[-1])
    assert (line["network"], line["round"]) == ("evidence", 5)


def test_what_runs_is_counted_not_what_is_said(node):
    """Noise, epochs and steps of a researcher that says less than it asks for."""
    node.ledger.set_limit(EpsilonLimit(30.0))
    said = TrainingTask(contract=node.contract, method=PRIVATE)
    gate = BudgetGuard(said)
    little = made_private(0.9)
    for _ in range(7):  # of 3 that one epoch has
        gate.step(*little, ARGS, 0)
    assert [one.noise for one in node.ledger.read().trainings] == [0.9] * 3
    BudgetGuard(said).step(*made_private(1.5), {**ARGS, "num_updates": 7, "epochs": None}, 0)
    assert node.ledger.read().trainings[-1].epochs == 3
    plain = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    shuffled = torch.utils.data.DataLoader(little[1].dataset, batch_size=4)
    for optimizer, loader in ((plain, little[1]), (little[0], shuffled), made_private(0.0)):
        with pytest.raises(FederationError, match="without differential privacy"):
            BudgetGuard(said).step(optimizer, loader, ARGS, 0)


def test_a_node_reads_no_patient_of_a_refused_task(node, tmp_path):
    from fedbiomed.common.dataset_types import DataReturnFormat

    dataset = steps.NodeDataset()
    dataset.task = TrainingTask(contract=node.contract)
    with pytest.raises(Exception, match="without differential privacy"):  # Fed-BioMed wraps it in one of its own
        dataset.load(root=tmp_path, to_format=DataReturnFormat.TORCH)


def test_epsilon_grows_with_every_entry(tmp_path):
    ledger, spent = PrivacyLedger(tmp_path), []
    for noise in (2.0, 1.0, 3.0, 1.0):
        ledger.enter(PrivacySpending(40, 4, 1, noise))
        spent.append(ledger.read().epsilon())
    assert all(before < after for before, after in pairwise(spent))
