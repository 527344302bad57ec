"""The file of `fedpet train run`, what it asks for, and what the screen shows."""

from __future__ import annotations

import io
import json

import pytest

from fedpet.errors import FederationError, SettingsError
from training.card import Site, Trained, site_epsilon
from training.deployment import read_run_file, run
from training.method import Method, Privacy
from training.privacy import epsilon
from training.runs import BASELINE, MODEL, Run, members, plan_runs
from training.task import Task

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


def test_defaults_are_the_safe_ones(tmp_path):
    settings = read(tmp_path)
    task = settings.task()
    assert task.method.masked
    assert (settings.minimum, task.minimum_patients, settings.limits.retries) == (3, 10, 3)
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
        run(read(tmp_path, "[aggregation]\nmethod = 'scaffold'"))
    assert not (tmp_path / "work").exists()


def test_a_rehearsal_refuses_the_same(training_nodes, tmp_path):
    from training.method import read_method
    from training.rehearsal import rehearse

    contract = training_nodes.small_contract()
    nodes = [training_nodes.write_node(tmp_path / site, contract, site, 26, seed=1) for site in ("a", "b", "c")]
    method = read_method({"method": "scaffold"}, {})
    with pytest.raises(FederationError, match="Scaffold with secure"):
        rehearse(nodes, out=tmp_path / "bundle", work=tmp_path / "work", contract=contract, method=method)
    assert not (tmp_path / "work").exists()


def test_nothing_to_resume(tmp_path):
    with pytest.raises(FederationError, match="no training to resume"):
        run(read(tmp_path), resume=True)


def test_epsilon_counts_every_time_that_a_site_was_asked(training_nodes):
    task = Task(contract=training_nodes.small_contract(), method=Method(privacy=Privacy(clip=1.0, noise=2.0)))
    runs = {MODEL: Run(task, 1), BASELINE: Run(task, 2)}

    history = {"asked": {"a": 10}}
    trained = Trained(runs, {}, {MODEL: history, BASELINE: history}, b"")
    usual = {"patients": 40, "batch_size": task.batch_size, "noise": 2.0, "delta": 0.5e-3}
    expected = epsilon(epochs=10, **usual) + epsilon(epochs=20, **usual)
    assert site_epsilon(trained, Site("a", 40, 10, synthetic=True)) == pytest.approx(expected)


def test_several_seeds_make_an_average_which_costs_no_privacy(training_nodes):
    task = Task(contract=training_nodes.small_contract(), method=Method(privacy=Privacy(clip=1.0, noise=2.0)))
    runs = plan_runs(task, 1, (7, 8))
    assert members(runs) == ["model-1", "model-2"]
    assert [run.task.seed for run in runs.values()] == [7, 8, 7, 7]
    assert (runs[MODEL].task.trains, runs[MODEL].task.rounds, runs[MODEL].task.method.masked) == (False, 1, True)
    assert members(plan_runs(task, 1, (7,))) == [MODEL]
    history = {"asked": {"a": 4}}
    histories = {MODEL: history, "model-1": history, "model-2": history, BASELINE: history}
    usual = {"patients": 40, "batch_size": task.batch_size, "noise": 2.0, "delta": 1e-3 / 3}
    expected = 2 * epsilon(epochs=4, **usual) + epsilon(epochs=8, **usual)
    assert site_epsilon(Trained(runs, {}, histories, b""), Site("a", 40, 10, synthetic=True)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("method", "frozen"),
    [({}, ("nothing",)), ({}, ("maps", "head", "image_head")), ({"method": "scaffold"}, ("maps",))],
)
def test_frozen_parameters_that_leave_no_work_are_refused(training_nodes, method, frozen):
    method = Method(aggregation=method, privacy=Privacy(secure_aggregation="none"))
    task = Task(contract=training_nodes.small_contract(), frozen=frozen, method=method)
    with pytest.raises(FederationError, match="frozen = "):
        task.require_sound(3)


def test_personal_parameters_cannot_be_averaged_over_seeds(training_nodes):
    aggregation = {"personal": ["head"]}
    task = Task(contract=training_nodes.small_contract(), method=Method(aggregation=aggregation))
    with pytest.raises(FederationError, match="2 seeds with personal"):
        plan_runs(task, 1, (0, 1))


@pytest.mark.parametrize("language", ["fr", "en"])
def test_the_screen_names_sites_and_troubles(language):
    from rich.console import Console

    from app.training_screen import Screen
    from fedpet.messages import Message

    screen = Screen(language)
    screen.event({"event": "waiting", "certificate": "ab" * 32})
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(screen)
    assert "ab" * 32 in console.export_text()
    screen.event({"event": "ready", "sites": ["nice", "dijon"]})
    screen.event({"event": "repeated", "run": MODEL, "round": 1, "reasons": {"dijon": "no answer"}})
    told = {"patients": {"nice": 21}, "validation": {"nice": {"loss": 1.25}}, "seconds": 5.0, "concordance": None}
    screen.event({"event": "round", "run": MODEL, "round": 1, **told})
    screen.progress(0.2, Message("Waiting for the sites"))
    console.print(screen)
    shown = console.export_text()
    assert all(word in shown for word in ("nice", "dijon", "no answer", "1.250", "21"))


def test_watch_writes_journal_and_tensorboard(training_nodes, tmp_path):
    from fedpet.journal import Journal, read_run
    from training.watch import Watch

    runs = {MODEL: Run(Task(contract=training_nodes.small_contract(), rounds=2), 1)}
    told = []
    journal = Journal(tmp_path / "run")
    journal.write("started", name="m", version="1", sites=["a"], rounds={MODEL: 2})
    with Watch(
        runs, lambda done, words: told.append((done, str(words))), journal=journal, tensorboard=tmp_path / "tb"
    ) as watch:
        watch({"event": "ready", "sites": ["a"], "facts": {"a": {"patients": 5}}})
        watch({"event": "repeated", "run": MODEL, "round": 1, "reasons": {"a": "no answer"}})
        for number in (1, 2):
            watch(
                {
                    "event": "round",
                    "run": MODEL,
                    "round": number,
                    "seconds": 1.0,
                    "patients": {"a": 4},
                    "validation": {"a": {"loss": 1.0, "n": 1.0}},
                    "concordance": float("nan"),
                }
            )
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert any("a (no answer)" in words for _, words in told)
    assert len(read_run(tmp_path / "run").rounds[MODEL]) == 2
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    assert [one.step for one in events.Scalars(f"{MODEL}/loss/a")] == [1, 2]
    assert json.dumps(watch.facts) == '{"a": {"patients": 5}}'
