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

from fedpet.errors import FederationError
from training import budget, steps
from training.budget import LEDGER, Gate, Ledger, Limit
from training.method import Method, Privacy
from training.privacy import Spending, composed, epsilon
from training.statistics import STATISTICS
from training.task import Task

PRIVATE = Method(privacy=Privacy(clip=1.0, noise=1.5))
ROUND = Spending(patients=40, batch_size=4, epochs=1, noise=1.5)


def test_rounds_of_one_setting_cost_what_the_whole_training_costs():
    usual = {"patients": 40, "batch_size": 4, "noise": 1.5, "delta": 1e-5}
    assert composed([ROUND] * 12, 1e-5) == pytest.approx(epsilon(epochs=12, **usual))


def test_settings_are_composed_before_the_conversion():
    """Of two Gaussian mechanisms on everybody, one with the noise of both: sigma^-2 = sigma_1^-2 + sigma_2^-2."""
    first, second = (Spending(patients=4, batch_size=4, epochs=1, noise=noise) for noise in (3.0, 4.0))
    together = composed([first, second], 1e-5)
    assert together == pytest.approx(epsilon(patients=4, batch_size=4, epochs=1, noise=2.4, delta=1e-5))
    assert together < 0.8 * (composed([first], 1e-5) + composed([second], 1e-5))


def test_nothing_trained_costs_nothing_and_no_noise_costs_everything():
    assert composed([], 1e-5) == 0.0
    assert composed([ROUND, Spending(40, 4, 1, None)], 1e-5) == float("inf")


def test_what_would_go_beyond_is_refused_and_not_entered(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.set_limit(Limit(epsilon(patients=40, batch_size=4, epochs=3, noise=1.5, delta=1e-5) + 1e-6))
    for number in range(3):
        ledger.enter(ROUND, round=number)
    spent = ledger.read().epsilon()
    with pytest.raises(FederationError, match=r"bring epsilon from \d.\d\d to \d.\d\d. At most"):
        ledger.enter(ROUND, round=3)
    assert ledger.read().epsilon() == spent
    ledger.set_limit(Limit(100.0))
    ledger.enter(ROUND)
    assert ledger.read().epsilon() > spent
    ledger.set_limit(Limit(1.0))
    with pytest.raises(FederationError, match="At most 1 "):
        ledger.enter(Spending(40, 4, 1, 100.0))


@pytest.mark.filterwarnings("ignore:Optimal order is the")
@pytest.mark.parametrize("noise", [None, 1e-3])
def test_no_noise_and_too_little_are_refused(tmp_path, noise):
    Ledger(tmp_path).set_limit(Limit(8.0))
    with pytest.raises(FederationError, match="without differential privacy" if noise is None else "At most 8 at"):
        Ledger(tmp_path).enter(Spending(40, 4, 1, noise))


def test_what_was_trained_before_the_limit_counts(tmp_path):
    Ledger(tmp_path).enter(Spending(40, 4, 1, None))
    Ledger(tmp_path).set_limit(Limit(8.0))
    with pytest.raises(FederationError, match="from inf to inf"):
        Ledger(tmp_path).enter(ROUND)


@pytest.mark.parametrize("value", [0.0, float("inf"), float("nan")])
def test_a_limit_is_a_number(tmp_path, value):
    with pytest.raises(FederationError, match="An epsilon above 0"):
        Ledger(tmp_path).set_limit(Limit(value))
    with pytest.raises(FederationError, match="between 0 and 1"):
        Ledger(tmp_path).set_limit(Limit(8.0, delta=1.0))


def test_a_damaged_ledger_allows_nothing(tmp_path):
    Ledger(tmp_path).set_limit(Limit(8.0))
    Ledger(tmp_path).enter(ROUND)
    path = tmp_path / LEDGER
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:-20], whole + b"{}\n", whole.replace(b'"epochs"', b'"epoch"')):
        path.write_bytes(damaged)
        for act in (lambda: Ledger(tmp_path).enter(ROUND), lambda: Ledger(tmp_path).set_limit(Limit(9.0))):
            with pytest.raises(FederationError, match="is damaged"):
                act()
        assert path.read_bytes() == damaged


def test_two_at_a_time_do_not_both_spend_the_rest(tmp_path):
    """Every opening of the file has a lock of its own, in one process as in two."""
    Ledger(tmp_path).set_limit(Limit(composed([ROUND] * 9, 1e-5) + 1e-6))

    def spend(_):
        try:
            Ledger(tmp_path).enter(ROUND)
        except FederationError:
            return 0
        return 1

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(spend, range(16))) == 9
    assert len(Ledger(tmp_path).read().trainings) == 9


@pytest.fixture
def node(tmp_path, training_nodes, monkeypatch):
    """This process as a node with a limit, by the command line that Fed-BioMed's nodes have."""
    monkeypatch.setattr(sys, "argv", ["node_pm.py", "--config", str(tmp_path), "--node-args", "{}"])
    Ledger(tmp_path).set_limit(Limit(8.0))
    return SimpleNamespace(ledger=Ledger(tmp_path), contract=training_nodes.small_contract())


def refused(task):
    with pytest.raises(FederationError) as error:
        Gate(task)
    return str(error.value)


def test_the_gate_refuses_what_no_noise_covers(node):
    private = Task(contract=node.contract, method=PRIVATE)
    assert "without differential privacy" in refused(Task(contract=node.contract))
    assert "statistics" in refused(replace(private, network=STATISTICS))
    assert "would validate" in refused(replace(private, validation_fraction=0.9))
    Gate(private)
    assert node.ledger.read().trainings == ()


def test_a_process_that_is_no_node_has_no_ledger(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pytest", "--config", "pyproject.toml"])
    assert budget.of_this_process() is None


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
    gate = Gate(Task(contract=node.contract, method=PRIVATE))
    gate.step(*made_private(1.5), ARGS, 4)
    (entry,) = node.ledger.read().trainings
    assert entry == Spending(patients=12, batch_size=4, epochs=1, noise=1.5)
    line = json.loads((node.ledger._path).read_text().splitlines()[-1])
    assert (line["network"], line["round"]) == ("evidence", 5)


def test_what_runs_is_counted_not_what_is_said(node):
    """Noise, epochs and steps of a researcher that says less than it asks for."""
    node.ledger.set_limit(Limit(30.0))
    said = Task(contract=node.contract, method=PRIVATE)
    gate = Gate(said)
    little = made_private(0.9)
    for _ in range(7):  # of 3 that one epoch has
        gate.step(*little, ARGS, 0)
    assert [one.noise for one in node.ledger.read().trainings] == [0.9] * 3
    Gate(said).step(*made_private(1.5), {**ARGS, "num_updates": 7, "epochs": None}, 0)
    assert node.ledger.read().trainings[-1].epochs == 3
    plain = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    shuffled = torch.utils.data.DataLoader(little[1].dataset, batch_size=4)
    for optimizer, loader in ((plain, little[1]), (little[0], shuffled), made_private(0.0)):
        with pytest.raises(FederationError, match="without differential privacy"):
            Gate(said).step(optimizer, loader, ARGS, 0)


def test_a_node_reads_no_patient_of_a_refused_task(node, tmp_path):
    from fedbiomed.common.dataset_types import DataReturnFormat

    dataset = steps.NodeDataset()
    dataset.task = Task(contract=node.contract)
    with pytest.raises(Exception, match="without differential privacy"):  # Fed-BioMed wraps it in one of its own
        dataset.load(root=tmp_path, to_format=DataReturnFormat.TORCH)


def test_epsilon_grows_with_every_entry(tmp_path):
    ledger, spent = Ledger(tmp_path), []
    for noise in (2.0, 1.0, 3.0, 1.0):
        ledger.enter(Spending(40, 4, 1, noise))
        spent.append(ledger.read().epsilon())
    assert all(before < after for before, after in pairwise(spent))
