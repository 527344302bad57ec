"""A real federation: three Fed-BioMed nodes and a researcher, as processes of this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import fedpet
from fedpet.core.errors import FederationError
from fedpet.core.journal import Journal, read_run, read_runs
from fedpet.core.progress import no_progress
from inference.bundle.storage import Bundle
from inference.engine import Engine
from inference.network import build_network
from tests.support import ROOT
from tests.support.running_federation import Running
from training.bundle.held_out import scores
from training.bundle.tripod import MISSING
from training.coordinator.config import training_config
from training.coordinator.federation import LocalFederation
from training.coordinator.processes import FederationProcesses
from training.coordinator.train import statistics_task, train
from training.data.node_data import read_node, split
from training.node.privacy_budget import LEDGER, EpsilonLimit, PrivacyLedger
from training.task.carried import ALL_SITES
from training.task.losses import survival_nll
from training.task.method import FederatedMethod
from training.task.privacy import PrivacySpending, total_epsilon
from training.task.registration import TAGS
from training.task.risk_table import OutcomeTable
from training.task.runs import BASELINE, MODEL
from training.task.statistics import STATISTICS, describe_statistics
from training.task.task import TrainingTask, node_facts

pytestmark = pytest.mark.federation
SITES = {"nice": 26, "lyon": 14, "dijon": 10}
ROUNDS = 3
CLEAR = {"secure_aggregation": "none"}
NOISE = {"clip": 1.0, "noise": 1.0, "secure_aggregation": "none"}


def method(aggregation, privacy):
    return FederatedMethod(aggregation=aggregation, privacy=privacy)


@pytest.fixture(scope="module")
def contract(training_nodes):
    return training_nodes.small_contract()


@pytest.fixture(scope="module")
def nodes(tmp_path_factory, training_nodes, contract):
    root = tmp_path_factory.mktemp("nodes")
    return {site: training_nodes.write_node(root / site, contract, n, seed=n) for site, n in SITES.items()}


def config(tasks, sites, out, **more):
    return {
        "tags": TAGS,
        "sites": list(sites),
        "minimum": len(sites),
        "args": {name: task.to_args() for name, task in tasks.items()},
        "local_epochs": dict.fromkeys(tasks, 1),
        "out": str(out),
        "round_seconds": 120.0,
        **more,
    }


@pytest.fixture(scope="module")
def federation(tmp_path_factory, nodes, contract):
    work = tmp_path_factory.mktemp("federation")
    known = {site: node_facts(read_node(folder, contract), contract) for site, folder in nodes.items()}
    with FederationProcesses(nodes, work, facts=known) as running:
        yield running


class Stage:
    """A run of the researcher: what it told, and what may be done when it tells something."""

    def __init__(self, federation, out):
        self.federation, self.out, self.events, self.acts = federation, out, [], {}
        out.mkdir(exist_ok=True)

    def when(self, name, run, act, number=None):
        self.acts[name, run, number] = act
        return self

    def __call__(self, event):
        self.events.append(event)
        for number in (event.get("round"), None):
            if act := self.acts.pop((event["event"], event.get("run"), number), None):
                act()

    def run(self, tasks, *, watch=True, **more):
        self.federation.run_researcher(config(tasks, SITES, self.out, **more), self, watch=watch)
        return self

    def told(self, name, run=None):
        return [event for event in self.events if event["event"] == name and run in {None, event.get("run")}]

    def weights(self, name):
        return load_file(self.out / f"{name}.safetensors")


def farthest(one, other):
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.fixture(scope="module")
def methods(federation, contract, tmp_path_factory):
    """Every method in one researcher; it is killed in the last, which repeats the first."""
    clear = TrainingTask(contract=contract, rounds=ROUNDS, batch_size=8)
    short = replace(clear, rounds=1)
    tasks = {
        MODEL: clear,
        BASELINE: TrainingTask(contract=contract, network="clinical", rounds=1, augment=False),
        "gentle": replace(clear, learning_rate=5e-4),
        "lom": replace(clear, learning_rate=5e-4, method=FederatedMethod()),
        "private": replace(short, method=method({}, {"clip": 1.0, "noise": 1.0})),
        "scaffold": replace(clear, rounds=2, learning_rate=1e-3, method=method({"method": "scaffold"}, CLEAR)),
        "prox": replace(short, method=method({"method": "fedprox", "proximal": 1e3}, CLEAR)),
        "yogi": replace(short, method=method({"server": "yogi", "server_rate": 0.01}, CLEAR)),
        "personal": replace(short, method=method({"personal": ["head", "image_head"]}, CLEAR)),
        STATISTICS: statistics_task(replace(clear, method=FederatedMethod())),
        "again": clear,
    }
    stage = Stage(federation, tmp_path_factory.mktemp("methods") / "out")
    stage.when("round", "again", lambda: federation.kill("researcher"), number=2)
    with pytest.raises(FederationError):
        stage.run(tasks, keep_last_round=True)
    stage.tasks = tasks
    stage.log = (federation.work / "researcher.log").read_text()
    return stage


@pytest.fixture(scope="module")
def resumed(methods):
    before = len(methods.events)
    methods.run(methods.tasks, resume=True)
    methods.after = methods.events[before:]
    return methods


@pytest.fixture(scope="module")
def survived(contract, resumed, tmp_path_factory):
    """A site that is stopped for a while, then, under secure aggregation, one that is killed and comes back."""
    federation = resumed.federation
    stage = Stage(federation, tmp_path_factory.mktemp("survived") / "out")
    stopped = federation._processes["dijon"].pid

    def restart():
        federation.kill("lyon")
        federation.start("lyon")

    clear = TrainingTask(contract=contract, rounds=2, batch_size=8)
    stage.when("round", "slow", lambda: os.killpg(stopped, signal.SIGSTOP), number=1)
    stage.when("repeated", "slow", lambda: os.killpg(stopped, signal.SIGCONT))
    stage.when("round", "lost", restart, number=1)
    tasks = {"slow": clear, "lost": replace(clear, method=FederatedMethod())}
    return stage.run(tasks, watch=False, round_seconds=6.0, retries=40, wait_seconds=300.0)  # a busy machine


@pytest.fixture(scope="module")
def refusing(contract, nodes, survived, tmp_path_factory):
    """A site with a damaged patient and one with another version: the third trains on, and says why alone."""
    federation = survived.federation
    damaged = next((nodes["lyon"] / "cases").glob("*.npz"))
    whole = damaged.read_bytes()
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(ROOT / "fedpet", other / "fedpet", ignore=shutil.ignore_patterns("__pycache__"))
    source = other / "fedpet" / "__init__.py"
    source.write_text(source.read_text().replace(fedpet.__version__, "0.0.9"))
    damaged.write_bytes(whole[:100])
    federation.kill("lyon")
    federation.start("lyon")
    federation.kill("dijon")
    federation.start("dijon", {"PYTHONPATH": os.pathsep.join([str(other), str(ROOT)])})
    stage = Stage(federation, tmp_path_factory.mktemp("refusing") / "out")
    task = TrainingTask(contract=contract, network="clinical", rounds=2, batch_size=8, minimum_patients=9)
    tasks = {BASELINE: task, "more": replace(task, minimum_patients=22)}
    try:
        with pytest.raises(FederationError) as few:
            stage.run(tasks, minimum=1, retries=3)
    finally:
        damaged.write_bytes(whole)
        federation.kill("dijon")
        federation.start("dijon")
    stage.few = few.value
    return stage


@pytest.fixture(scope="module")
def changed(refusing, contract, tmp_path_factory):
    """A plan that was changed after its approval, then the nodes' view of it."""
    federation = refusing.federation
    (federation.work / "modified_researcher.py").write_text(_MODIFIED)
    stage = Stage(federation, tmp_path_factory.mktemp("changed") / "out")
    task = {MODEL: TrainingTask(contract=contract, rounds=1)}
    with pytest.raises(FederationError) as refused:
        federation.run_researcher(config(task, SITES, stage.out), stage, module="modified_researcher")
    stage.refused = refused.value
    listed = subprocess.run(
        [
            sys.executable,
            "-m",
            "app.cli.main",
            "train",
            "node",
            "plans",
            str(federation.work / "nice"),
            "--text",
            "--json",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    stage.plans = json.loads(listed.stdout)
    return stage


@pytest.fixture(scope="module")
def limited(changed, contract, tmp_path_factory):
    """Two sites have just set a limit of epsilon: dijon's allows one round, and neither's one without noise."""
    federation = changed.federation
    once = PrivacySpending(patients=8, batch_size=8, epochs=1, noise=1.0)
    limits = {"dijon": total_epsilon([once], 1e-5) + 1e-6, "lyon": 50.0}
    ledgers = {site: federation.work / site / LEDGER for site in SITES}
    stage = Stage(federation, tmp_path_factory.mktemp("limited") / "out")
    stage.before = {site: PrivacyLedger(path.parent).read() for site, path in ledgers.items()}
    for site, epsilon in limits.items():
        ledgers[site].unlink()
        PrivacyLedger(federation.work / site).set_limit(EpsilonLimit(epsilon))
    private = TrainingTask(contract=contract, network="clinical", rounds=2, batch_size=8, method=method({}, NOISE))
    tasks = {"private": private, "clear": replace(private, method=method({}, CLEAR))}
    try:
        with pytest.raises(FederationError) as few:
            stage.run(tasks, minimum=2, retries=2)
        stage.dijon = PrivacyLedger(federation.work / "dijon").read()
    finally:
        for site in limits:
            ledgers[site].unlink()
    stage.few = few.value
    return stage


_MODIFIED = """
import sys
from pathlib import Path
import training.node.training_plan
source = Path(training.node.training_plan.__file__).read_text()
source = source.replace("return steps.training_loss(", "return 2 * steps.training_loss(")
path = Path(__file__).with_name("modified_plan.py")
path.write_text(source)
from modified_plan import FedPetPlan
from training.coordinator.researcher import main
main(Path(sys.argv[1]), FedPetPlan)
"""


def test_every_site_answers_in_every_round(methods):
    told = [(event["run"], event["round"]) for event in methods.told("round")]
    assert told[:4] == [(MODEL, 1), (MODEL, 2), (MODEL, 3), (BASELINE, 1)]
    for event in methods.told("round"):
        assert set(event["patients"]) == set(SITES)
        masked, nothing = methods.tasks[event["run"]].method.masked, event["run"] == STATISTICS
        assert set(event["validation"]) == (set() if nothing else {ALL_SITES} if masked else set(SITES))


def test_nodes_train_and_validate_on_their_own_split(methods, nodes, contract):
    last = methods.told("round", MODEL)[-1]
    for site, folder in nodes.items():
        training, validation = split(read_node(folder, contract).case_ids)
        assert last["patients"][site] == len(training)
        assert last["validation"][site]["n"] == len(validation)


def test_the_aggregate_is_the_mean_weighted_by_training_patients(methods):
    aggregate = methods.weights(MODEL)
    sent = {site: methods.weights(f"{MODEL}.{site}") for site in SITES}
    patients = methods.told("round", MODEL)[-1]["patients"]
    total = sum(patients.values())
    for name, value in aggregate.items():
        expected = sum(sent[site][name] * (patients[site] / total) for site in SITES)
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
    assert any((sent["nice"][name] != sent["lyon"][name]).any() for name in aggregate)


def test_secure_aggregation_equals_clear(methods):
    """Within its rounding. At high rates AdamW takes other steps where a gradient's sign hangs on the rounding."""
    clear, masked = methods.weights("gentle"), methods.weights("lom")
    assert 0 < farthest(clear, masked) < 5e-3
    drift = torch.cat([(masked[name] - clear[name]).flatten() for name in clear]).mean()
    assert abs(float(drift)) < 1e-4


def test_a_private_training_differs_by_its_noise(methods):
    """One round of noise 1 x clip on AdamW: every parameter moves, none beyond the learning rate's steps."""
    start = methods.tasks["private"]
    torch.manual_seed(start.seed)
    first = start.build().state_dict()
    assert farthest(first, methods.weights("private")) < 0.05
    assert farthest(methods.weights("personal"), methods.weights("private")) > 1e-3


def test_the_proximal_term_holds_the_sites(methods):
    start = methods.tasks["prox"]
    torch.manual_seed(start.seed)
    first = start.build().state_dict()

    def moved(name):
        weights = methods.weights(name)
        return sum(float((weights[key] - first[key]).square().sum()) for key in weights)

    assert 0 < moved("prox") < 0.7 * moved("private")


def test_scaffold_and_the_server_optimiser_train(methods):
    for name in ("scaffold", "yogi"):
        assert [event["round"] for event in methods.told("round", name)] == list(
            range(1, methods.tasks[name].rounds + 1)
        )
        assert farthest(methods.weights(name), methods.weights(MODEL)) > 0
    losses = [entry["validation"]["nice"]["concept_loss"] for entry in methods.told("round", "scaffold")]
    assert losses[1] < losses[0]


def test_no_loss_leaves_a_site_by_fedbiomed_s_own_channel(methods):
    """Its researcher logs every value that a node sends; one of a few patients carries no noise."""
    assert "VALIDATION" not in methods.log
    assert "mTRAINING" not in methods.log


def test_personal_parameters_never_leave_a_site(methods):
    assert not any(name.startswith(("head", "image_head")) for name in methods.weights("personal"))
    assert not any(name.startswith("head") for name in methods.weights("personal.nice"))
    assert any(name.startswith("maps") for name in methods.weights("personal"))


def test_statistics_are_those_of_all_patients(methods, nodes, contract):
    """Under secure aggregation; the planted terms are standard normal, without flags raised."""
    sites = [read_node(folder, contract) for folder in nodes.values()]
    rows = np.stack([case.clinical for site in sites for case in site.cases]).astype(float)
    found = describe_statistics(methods.weights(STATISTICS), contract)
    for term in contract.terms:
        row = next(row for row in found if row["term"] == term.name)
        values = rows[:, contract.inputs.index(term.name)]
        share = rows[:, contract.inputs.index(f"missing:{term.name}")].mean() if term.flag else 0.0
        known = 1.0 - min(max(share, 0.0), 1.0)
        assert row["mean"] == pytest.approx(term.mean + term.sd * values.mean() / known, abs=0.005 * term.sd)
        if not term.flag:
            assert row["sd"] == pytest.approx(term.sd * values.std(), rel=0.02)
            assert row["missing"] is None


def test_the_nodes_agree_with_a_validation_made_here(methods, nodes, contract):
    """The final metrics of a site, computed again from the exported parameters and the site's patients."""
    from training.task.losses import survival_nll

    network = methods.tasks[MODEL].build()
    network.load_state_dict(methods.weights(MODEL))
    node = read_node(nodes["nice"], contract)
    cases = [node.cases[index] for index in split(node.case_ids)[1]]
    with torch.no_grad():
        output = network(
            torch.from_numpy(np.stack([case.image.astype(np.float32) for case in cases])),
            torch.from_numpy(np.stack([case.clinical for case in cases])),
        )
    months, event = torch.tensor([case.months for case in cases]), torch.tensor([float(case.event) for case in cases])
    final = json.loads((methods.out / f"{MODEL}.json").read_text())["final"]["nice"]
    assert final["loss"] == pytest.approx(
        float(survival_nll(output.hazard_logits, months, event, contract.month_edges)), rel=1e-4
    )
    assert sum(value for name, value in final.items() if name.startswith("patients_")) == len(cases)


def test_masked_validation_is_the_sum_of_what_the_sites_send_in_clear(methods):
    """The same network at the same learning rate: losses and counts of the first round, before anything was trained."""
    clear, masked = (methods.told("round", name)[0]["validation"] for name in ("gentle", "lom"))
    (pooled,) = masked.values()
    n = sum(one["n"] for one in clear.values())
    assert (pooled["n"], pooled["sites"]) == (n, len(SITES))
    assert pooled["loss"] == pytest.approx(sum(one["loss"] * one["n"] for one in clear.values()) / n, rel=1e-3)
    final = json.loads((methods.out / "lom.json").read_text())["final"]
    assert set(final) == {ALL_SITES}


def test_small_nodes_send_no_table_and_nobody_sends_one_batch(methods):
    final = json.loads((methods.out / f"{MODEL}.json").read_text())["final"]
    assert not any(name.startswith(("patients_", "events_", "free_", "failed_", "followed")) for name in final["dijon"])
    assert final["dijon"]["n"] == 2
    assert OutcomeTable.from_metrics(final["nice"]).patients == final["nice"]["n"]


def test_a_resumed_training_equals_the_uninterrupted_one(resumed):
    assert [(event["run"], event["round"]) for event in resumed.after if event["event"] == "round"] == [("again", 3)]
    assert farthest(resumed.weights(MODEL), resumed.weights("again")) < 1e-6
    whole, again = (json.loads((resumed.out / f"{name}.json").read_text()) for name in (MODEL, "again"))
    assert [entry["patients"] for entry in again["rounds"]] == [entry["patients"] for entry in whole["rounds"]]
    assert again["final"]["nice"]["loss"] == pytest.approx(whole["final"]["nice"]["loss"], rel=1e-5)


def test_parameters_of_single_nodes_are_not_kept(resumed):
    assert list(resumed.federation.work.rglob("params_*.mpk")) == []
    for experiment in (resumed.federation.work / "researcher").rglob("Experiment_*"):
        assert len(list(experiment.glob("breakpoint_*"))) <= 1


def test_a_slow_site_costs_a_repetition_not_the_training(survived):
    assert survived.told("repeated", "slow")[0]["reasons"] == {"dijon": "no answer"}
    assert set(survived.told("round", "slow")[-1]["patients"]) == set(SITES)
    assert survived.told("round", "slow")[-1]["round"] == 2


def test_a_site_that_was_killed_comes_back_under_masks(survived):
    """Its round is repeated with new masks; what the others had sent masked is never aggregated."""
    assert any("lyon" in event["reasons"] for event in survived.told("repeated", "lost"))
    last = survived.told("round", "lost")[-1]
    assert (last["round"], set(last["patients"])) == (2, set(SITES))
    assert farthest(survived.weights("slow"), survived.weights("lost")) < 5e-3
    asked = json.loads((survived.out / "lost.json").read_text())["asked"]
    assert asked["nice"] > 2  # every repetition counts for its privacy


def test_sites_that_cannot_train_are_left_out_and_named(refusing):
    reasons = {}
    for event in refusing.told("repeated", BASELINE):
        reasons |= event["reasons"]
    assert set(reasons) == {"lyon", "dijon"}
    assert "A case file of a node cannot be read" in reasons["lyon"]
    assert "Error(" not in reasons["lyon"] + reasons["dijon"]
    assert "training plan with the arguments" in reasons["dijon"]
    log = (refusing.federation.work / "dijon.log").read_text()
    assert "differ in: fedpet_version" in log
    assert [set(event["patients"]) for event in refusing.told("round", BASELINE)] == [{"nice"}, {"nice"}]


def test_too_few_patients_are_said_with_their_number(refusing):
    assert "A node has 21 patients for the task. Needed: At least 22." in str(refusing.few)
    assert "nice" in str(refusing.few)


def test_a_changed_plan_is_refused_before_the_first_round(changed):
    assert "The training plan may not run at" in str(changed.refused)
    assert all(site in str(changed.refused) for site in SITES)
    assert changed.told("round") == []


def test_the_reviewer_sees_which_plan_is_the_installed_one(changed):
    plans = changed.plans["plans"]
    assert {(plan["status"], plan["installed"]) for plan in plans} == {("Approved", True), ("Pending", False)}
    assert "2 * steps.training_loss" in next(plan["text"] for plan in plans if not plan["installed"])
    assert len(changed.plans["sources_sha256"]) == 64


def test_a_site_whose_budget_is_spent_is_left_out_and_named(limited):
    assert [set(event["patients"]) for event in limited.told("round", "private")] == [set(SITES), {"nice", "lyon"}]
    (repeated,) = limited.told("repeated", "private")
    assert "This training would bring epsilon from" in repeated["reasons"]["dijon"]
    assert [one.noise for one in limited.dijon.trainings] == [1.0]
    assert limited.dijon.epsilon() == pytest.approx(limited.dijon.limit.epsilon, abs=1e-5)


def test_a_site_with_a_limit_trains_on_nothing_without_noise(limited):
    assert limited.told("round", "clear") == []
    assert "lyon (" in str(limited.few)
    assert "A training request without differential privacy" in str(limited.few)


def test_every_training_of_a_node_is_in_its_ledger(limited, methods):
    """Those without a limit too: who sets one later must know what was trained before."""
    said = [json.loads(line) for line in (methods.federation.work / "nice" / LEDGER).read_text().splitlines()]
    rounds = [line["round"] for line in said]
    assert rounds[: ROUNDS + 1] == [1, 2, 3, 1]
    assert [line["training"]["noise"] for line in said if line["network"] == "evidence"].count(1.0) == 1
    assert limited.before["nice"].epsilon() == float("inf")
    last = said[-4:]  # the round that dijon refused was repeated, and lyon refused the run in clear
    assert [(line["round"], line["training"]["noise"]) for line in last] == [(1, 1.0), (2, 1.0), (2, 1.0), (1, None)]
    assert last[0]["training"] == {"patients": 21, "batch_size": 8, "epochs": 1, "noise": 1.0}


def test_run_trains_with_nodes_that_it_did_not_start(changed, contract, tmp_path):
    """The command of the coordinating centre: secure aggregation by default, noise, a card with epsilon, a journal."""
    (tmp_path / "contract.json").write_text(json.dumps(contract.to_json()))
    (tmp_path / "run.toml").write_text(
        _RUN.format(port=changed.federation._port, folder=changed.federation.work / "researcher")
    )
    done = subprocess.run(
        [sys.executable, "-m", "app.cli.main", "train", "run", str(tmp_path / "run.toml")],
        env={**os.environ, "FEDPET_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT), "FEDPET_LANGUAGE": "en"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    card = Bundle.load(tmp_path / "bundle").card
    told = card["federation"]
    assert (told["secure_aggregation"], told["secure_aggregation_scheme"]) == (True, "lom")
    privacy = told["differential_privacy"]
    assert set(privacy["epsilon_by_site"]) == set(SITES)
    assert privacy["epsilon"] == max(privacy["epsilon_by_site"].values()) == privacy["epsilon_by_site"]["dijon"]
    assert 1 < privacy["epsilon"] < 100
    assert told["nodes"]["lyon"] == {"training": 11, "validation": 3}
    assert card["synthetic"] is True
    (run,) = read_runs(tmp_path / "home" / "runs")
    assert (run.state, run.sites, len(run.rounds[MODEL])) == ("done", ("dijon", "lyon", "nice"), 2)
    assert list((tmp_path / "work" / "tensorboard").glob("events.out.tfevents.*"))
    assert "Model: round 2 of 2" in done.stderr
    assert "lyon: 11 patients, validation loss –" in done.stderr
    assert "Final validation: 10 patients of 3 sites" in done.stderr


_RUN = """
name = "trial"
version = "1.0.0"
out = "bundle"
work = "work"
contract = "contract.json"

[researcher]
host = "localhost"
port = {port}
folder = "{folder}"

[sites]
expected = ["nice", "lyon", "dijon"]
wait_seconds = 120

[training]
rounds = 2
batch_size = 8
minimum_patients = 8
minimum_cell = 1

[privacy]
clip = 1.0
noise = 1.5
"""


def simulate(nodes, contract, root, holdout=(), *, journal=None, progress=no_progress, running=None, **tables):
    """Train on nodes of this machine by `train`, as `fedpet train simulate` does; on those that run, where given."""
    root.mkdir(exist_ok=True)
    (root / "contract.json").write_text(json.dumps(contract.to_json()))
    config = training_config(
        {
            "name": "trial",
            "version": "1",
            "out": root / "bundle",
            "work": root / "work",
            "contract": root / "contract.json",
            **tables,
        }
    )
    local = LocalFederation.read(list(nodes.values()), contract, holdout)
    if running is not None:
        local = Running(local.nodes, local.held_out, running)
    return Bundle.load(train(config, local, journal=journal, progress=progress))


@pytest.fixture(scope="module")
def simulated(tmp_path_factory, nodes, contract, training_nodes):
    root = tmp_path_factory.mktemp("simulation")
    held_out = training_nodes.write_node(root / "test", contract, 30, seed=99)
    reports = []
    bundle = simulate(
        nodes,
        contract,
        root,
        [held_out],
        journal=Journal(root / "run"),
        progress=lambda fraction, message: reports.append((fraction, str(message))),
        training={
            "rounds": 2,
            "learning_rate": 5e-3,
            "seeds": [3, 4],
            "minimum_patients": 1,
            "statistics": False,
        },
        privacy=CLEAR,
    )
    return SimpleNamespace(bundle=bundle, held_out=held_out, reports=reports, journal=root / "run")


def test_a_simulation_makes_a_bundle_that_predicts_like_torch(simulated, nodes, contract):
    bundle, told = simulated.bundle, simulated.reports
    described = bundle.card["network"]
    network = build_network(described["name"], contract, described["config"])
    network.load_state_dict(load_file(bundle.weights))
    case = read_node(simulated.held_out, contract).cases[0]
    image = case.image.astype(np.float32)
    answer = Engine(bundle, provider="cpu").run(image, case.clinical)
    with torch.no_grad():
        expected = network(torch.from_numpy(image[None]), torch.from_numpy(case.clinical[None]))
    np.testing.assert_allclose(answer.hazard_logits, expected.hazard_logits[0], atol=1e-4)
    np.testing.assert_allclose(answer.maps, expected.maps[0], atol=1e-4)
    assert answer.score == pytest.approx(float(expected.score), abs=1e-4)
    card = bundle.card
    assert card["synthetic"] is True
    assert card["federation"]["nodes"]["lyon"] == {"training": 11, "validation": 3}
    parts = ["model-1", "model-2"]
    assert set(card["evaluation"]["expected_auc_pfs_12m"]) == {*parts, MODEL, BASELINE, "bayes_ceiling"}
    assert len(card["validation"]["model-2"]["loss_by_round"]) == 3
    assert described == {
        "name": "ensemble",
        "config": {"network": "evidence", "members": 2, "config": {}},
        "parameters": sum(p.numel() for p in network.parameters()),
    }
    assert card["federation"]["seeds"] == [3, 4]
    seen = sum(case.event for folder in nodes.values() for case in read_node(folder, contract).cases)
    assert card["tripod_ai"]["21 Model development"] == f"50 patients, {seen} events."
    assert card["tripod_ai"]["18a Funding"] == MISSING
    members = [
        member(torch.from_numpy(image[None]), torch.from_numpy(case.clinical[None])) for member in network.members
    ]
    assert answer.score == pytest.approx(float(sum(member.score for member in members)) / 2, abs=1e-4)
    assert abs(float(members[0].score - members[1].score)) > 1e-4
    for site, told_there in card["validation"][MODEL]["final_by_node"].items():
        node = read_node(nodes[site], contract)
        validation = [node.cases[index] for index in split(node.case_ids)[1]]
        logits = torch.from_numpy(scores(network, validation)[1])
        months, event = (torch.tensor([getattr(one, key) for one in validation]) for key in ("months", "event"))
        here = float(survival_nll(logits, months, event, contract.month_edges))
        assert told_there["loss"] == pytest.approx(here, abs=1e-5)
    assert b"/" + b"work" not in bundle.onnx.read_bytes()
    assert [fraction for fraction, _ in told] == sorted(fraction for fraction, _ in told)
    assert told[-1][0] == 1.0
    run = read_run(simulated.journal)
    assert (run.sites, run.planned) == (("dijon", "lyon", "nice"), {**dict.fromkeys(parts, 2), MODEL: 1, BASELINE: 2})
    assert [len(run.rounds[name]) for name in run.planned] == [2, 2, 1, 2]
    assert run.rounds[parts[1]][0].patients["lyon"] == 11
    assert [one.pooled("loss") for one in run.rounds[parts[0]]] == pytest.approx(
        card["validation"][parts[0]]["loss_by_round"][:2]
    )


def test_heads_are_trained_on_the_maps_of_an_earlier_bundle(changed, simulated, nodes, contract, tmp_path):
    """With differential privacy and secure aggregation together, as hospitals without delineations would."""
    later = simulate(
        nodes,
        contract,
        tmp_path,
        training={
            "rounds": 1,
            "initial": simulated.bundle.folder,
            "frozen": ["maps"],
            "minimum_patients": 1,
            "minimum_cell": 1,
            "statistics": False,
        },
        privacy={"clip": 1.0, "noise": 1.5},
        running=changed.federation,
    )
    before, after = load_file(simulated.bundle.weights), load_file(later.weights)
    for name, value in after.items():
        same = torch.equal(value, before[f"members.0.{name}"])
        assert same == name.startswith("maps"), name
    card = later.card
    assert card["initial"]["digest"] == simulated.bundle.digest
    assert card["initial"]["frozen"] == ["maps"]
    assert card["federation"]["secure_aggregation"] is True
    spent = card["federation"]["differential_privacy"]["epsilon_by_site"]
    assert spent["dijon"] > spent["nice"] > 0  # the fewer patients, the larger the part of each batch


def test_a_lost_node_is_named(changed, contract, tmp_path):
    """The last on this federation."""
    federation = changed.federation
    federation._processes["dijon"].kill()
    with pytest.raises(FederationError, match="“dijon” ended"):
        Stage(federation, tmp_path / "out").run({MODEL: TrainingTask(contract=contract, rounds=1)})


def test_averaging_in_one_process_gives_what_the_federation_gave(methods, nodes, contract):
    """`fedpet train evaluate` compares models by this short cut."""
    from training.evaluation.cohort import pool_node_data
    from training.evaluation.in_process_fedavg import fit

    cohort = pool_node_data(list(nodes.values()), contract)
    everybody = np.ones(len(cohort.cases), bool)
    for name in (MODEL, BASELINE):
        there = methods.weights(name)
        here = fit(methods.tasks[name], list(cohort.by_site(everybody).values()))
        for key, value in here.network.state_dict().items():
            torch.testing.assert_close(value, there[key], rtol=1e-4, atol=1e-4)  # another order of sums, several steps
        history = json.loads((methods.out / f"{name}.json").read_text())
        last = history["final"].values()
        told = sum(one["loss"] * one["n"] for one in last) / sum(one["n"] for one in last)
        assert here.losses[-1] == pytest.approx(told, rel=1e-4)
