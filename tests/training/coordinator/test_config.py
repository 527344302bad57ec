"""The configuration of a training: its file, the options of a simulation, and the runs that it plans."""

from __future__ import annotations

import json
import shlex

import pytest
from typer.testing import CliRunner

from fedpet.core.errors import FederationError, SettingsError
from training.bundle.model_card import SiteSummary, TrainingSummary, site_epsilon
from training.coordinator.config import read_run_file
from training.coordinator.federation import HospitalFederation
from training.coordinator.train import train
from training.task.method import FederatedMethod, Privacy
from training.task.privacy import epsilon
from training.task.runs import BASELINE, MODEL, Run, members, plan_runs
from training.task.task import TrainingTask

FILE = """
name = "m"
version = "1"
out = "bundle"
work = "work"
[researcher]
host = "10.220.0.2"
folder = "identity"
[sites]
expected = ["a", "b", "c"]
"""


def read(tmp_path, more="", text=FILE):
    path = tmp_path / "run.toml"
    path.write_text(text + more)
    return read_run_file(path)


def train_file(file, **options):
    return train(file, HospitalFederation.of(file, "run.toml"), **options)


def test_defaults_are_the_safe_ones(tmp_path):
    settings = read(tmp_path)
    task = settings.task()
    assert task.method.masked
    federation = HospitalFederation.of(settings, "run.toml")
    assert (federation.minimum, task.minimum_patients, settings.limits.retries) == (3, 10, 3)
    assert federation.command(settings) == "fedpet train run run.toml"
    assert settings.out == tmp_path / "bundle"
    assert settings.researcher.folder == tmp_path / "identity"


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ("minimum = 4", "A minimum of 4"),
        ("[training]\nrounds = 0", "training.rounds"),
        ("[training]\nseeds = []", "training.seeds"),
        ("[study]\nsponsor = 'nobody'", "study.sponsor"),
        ("[training]\nepochs = 3", "training.epochs"),
        ("[aggregation]\nmethod = 'magic'", "aggregation.method"),
        ("[privacy]\nnoise = -1.0", "privacy.noise"),
        ("[researcher", "no TOML"),
    ],
)
def test_what_cannot_be_is_refused_by_its_key(tmp_path, more, word):
    with pytest.raises(SettingsError, match=word):
        read(tmp_path, more)


def test_a_certificate_needs_its_key(tmp_path):
    text = FILE.replace('folder = "identity"', 'folder = "identity"\ncertificate = "server.pem"')
    with pytest.raises(SettingsError, match="Only one of certificate"):
        read(tmp_path, text=text)


def test_an_unsound_method_is_refused_before_anything_starts(tmp_path):
    with pytest.raises(FederationError, match="Scaffold with secure"):
        train_file(read(tmp_path, "[aggregation]\nmethod = 'scaffold'"))
    assert not (tmp_path / "work").exists()


@pytest.fixture
def nodes(training_nodes, tmp_path):
    contract = training_nodes.small_contract()
    (tmp_path / "contract.json").write_text(json.dumps(contract.to_json()))
    for site in ("a", "b", "c"):
        training_nodes.write_node(tmp_path / "nodes" / site, contract, 26, seed=1)
    return tmp_path / "nodes"


def run_command(*words):
    from app.cli.main import main

    return CliRunner().invoke(main, [str(word) for word in words], env={"FEDPET_LANGUAGE": "en"})


def test_a_simulation_refuses_the_same(nodes, tmp_path):
    folders = [word for site in ("a", "b", "c") for word in ("--nodes", nodes / site)]
    places = ("--contract", tmp_path / "contract.json", "--out", tmp_path / "bundle", "--work", tmp_path / "work")
    refused = run_command("train", "simulate", *folders, *places, "--aggregation", "scaffold", "--secure", "lom")
    assert (refused.exit_code, "Scaffold with secure" in refused.stderr) == (2, True)
    refused = run_command("train", "simulate", *folders, *places, "--aggregation", "magic")
    assert (refused.exit_code, "aggregation.method" in refused.stderr) == (2, True)
    assert not (tmp_path / "work").exists()


def test_the_old_name_of_the_command_is_an_alias_that_is_not_shown():
    shown = run_command("train", "--help").stdout
    assert "simulate" in shown
    assert "rehearse" not in shown
    new, old = (run_command("train", name, "--help").stdout for name in ("simulate", "rehearse"))
    assert old.replace("rehearse", "simulate") == new


@pytest.mark.usefixtures("nodes")
def test_the_command_in_the_card_trains_the_same_again(tmp_path, monkeypatch):
    """Every option that is not the default is in it; folders are relative to the folder above the nodes'."""
    from training.coordinator import train as module

    calls = []
    monkeypatch.setattr(module, "train", lambda config, federation, **_: calls.append((config, federation)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEDPET_HOME", str(tmp_path / "home"))
    options = "--rounds 3 --local-epochs 2 --batch-size 5 --learning-rate 0.004 --network clinical --seed 7 --seed 8"
    more = "--aggregation fedprox --proximal 0.01 --server yogi --server-rate 0.02 --secure lom --frozen head"
    words = f"train simulate --nodes nodes/a --nodes nodes/b --nodes nodes/c --holdout nodes/a {options} {more}".split()
    places = ["--contract", "contract.json", "--out", "bundle", "--work", "work"]
    assert run_command(*words, *places).exit_code == 0
    command = calls[0][1].command(calls[0][0])
    assert command.startswith("fedpet train simulate ")
    assert run_command(*shlex.split(command)[1:], "--out", "bundle", "--work", "work").exit_code == 0
    assert calls[0][0] == calls[1][0]
    assert [list(federation.nodes) for _, federation in calls] == [["a", "b", "c"]] * 2
    assert [len(federation.held_out) for _, federation in calls] == [1, 1]
    assert calls[0][0].training.statistics is False


def test_nothing_to_resume(tmp_path):
    with pytest.raises(FederationError, match="no training to resume"):
        train_file(read(tmp_path), resume=True)


def test_epsilon_counts_every_time_that_a_site_was_asked(training_nodes):
    task = TrainingTask(
        contract=training_nodes.small_contract(), method=FederatedMethod(privacy=Privacy(clip=1.0, noise=2.0))
    )
    runs = {MODEL: Run(task, 1), BASELINE: Run(task, 2)}

    history = {"asked": {"a": 10}}
    trained = TrainingSummary(runs, {}, {MODEL: history, BASELINE: history}, b"")
    usual = {"patients": 40, "batch_size": task.batch_size, "noise": 2.0, "delta": 0.5e-3}
    expected = epsilon(epochs=10, **usual) + epsilon(epochs=20, **usual)
    assert site_epsilon(trained, SiteSummary("a", 40, 10, synthetic=True)) == pytest.approx(expected)


def test_several_seeds_make_an_average_which_costs_no_privacy(training_nodes):
    task = TrainingTask(
        contract=training_nodes.small_contract(), method=FederatedMethod(privacy=Privacy(clip=1.0, noise=2.0))
    )
    runs = plan_runs(task, 1, (7, 8))
    assert members(runs) == ["model-1", "model-2"]
    assert [run.task.seed for run in runs.values()] == [7, 8, 7, 7]
    assert (runs[MODEL].task.trains, runs[MODEL].task.rounds, runs[MODEL].task.method.masked) == (False, 1, True)
    assert members(plan_runs(task, 1, (7,))) == [MODEL]
    history = {"asked": {"a": 4}}
    histories = {MODEL: history, "model-1": history, "model-2": history, BASELINE: history}
    usual = {"patients": 40, "batch_size": task.batch_size, "noise": 2.0, "delta": 1e-3 / 3}
    expected = 2 * epsilon(epochs=4, **usual) + epsilon(epochs=8, **usual)
    assert site_epsilon(
        TrainingSummary(runs, {}, histories, b""), SiteSummary("a", 40, 10, synthetic=True)
    ) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("method", "frozen"),
    [({}, ("nothing",)), ({}, ("maps", "head", "image_head")), ({"method": "scaffold"}, ("maps",))],
)
def test_frozen_parameters_that_leave_no_work_are_refused(training_nodes, method, frozen):
    method = FederatedMethod(aggregation=method, privacy=Privacy(secure_aggregation="none"))
    task = TrainingTask(contract=training_nodes.small_contract(), frozen=frozen, method=method)
    with pytest.raises(FederationError, match="frozen = "):
        task.require_sound(3)


def test_personal_parameters_cannot_be_averaged_over_seeds(training_nodes):
    aggregation = {"personal": ["head"]}
    task = TrainingTask(contract=training_nodes.small_contract(), method=FederatedMethod(aggregation=aggregation))
    with pytest.raises(FederationError, match="2 seeds with personal"):
        plan_runs(task, 1, (0, 1))


def test_a_table_is_fitted_by_newton_s_method_in_eight_rounds(tmp_path):
    told = read(tmp_path, "[training]\nnetwork = 'table'")
    assert (told.aggregation.method, told.training.rounds) == ("newton", 8)
    runs = plan_runs(told.task(), 1, (0,))
    assert {name: run.task.newton is not None for name, run in runs.items()} == {MODEL: True, BASELINE: True}
    runs[MODEL].task.require_sound(3)
    averaged = read(tmp_path, "[training]\nnetwork = 'table'\n[aggregation]\nmethod = 'fedavg'")
    assert (averaged.task().newton, averaged.training.rounds) == (None, 12)
    clinical = read(tmp_path, "[training]\nnetwork = 'clinical'\nrounds = 9\n[aggregation]\nmethod = 'newton'")
    assert clinical.task().newton.rounds == 9
    assert read(tmp_path).aggregation.method == "fedavg"


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ("seeds = [0, 1]", "2 seeds with Newton"),
        ("rounds = 5", "Newton's method with 5 rounds"),
        ("frozen = ['head']", "frozen = head"),
        ("initial = 'bundle-before'", "First parameters"),
        ("[privacy]\nclip = 1.0\nnoise = 1.0", "Newton's method with local differential privacy"),
        ("[aggregation]\npersonal = ['head']", "personal parameters"),
        ("[aggregation]\nserver = 'adam'\nserver_rate = 0.1", "Newton's method with a server optimiser"),
    ],
)
def test_what_an_exact_fit_cannot_be_is_refused(tmp_path, more, word):
    with pytest.raises(FederationError, match=word):
        train_file(read(tmp_path, f"[training]\nnetwork = 'table'\n{more}"))


def test_newton_s_method_is_refused_for_maps(tmp_path):
    with pytest.raises(FederationError, match="not linear"):
        train_file(read(tmp_path, "[aggregation]\nmethod = 'newton'"))
