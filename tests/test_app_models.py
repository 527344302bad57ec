"""`fedpet model`: the registry by command, and the trace it leaves."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from app.audit import Audit
from app.command import main
from app.store import Store
from fedpet.settings import Settings
from inference.bundle import Bundle


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDPET_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("FEDPET_MODEL", raising=False)

    def command(*words):
        done = CliRunner().invoke(main, ["model", *map(str, words)])
        return done.exit_code, json.loads(done.stdout) if done.stdout.startswith("{") else done.stderr

    return command


def test_a_bundle_is_added_promoted_shown_and_rolled_back(run, untrained_bundle, tmp_path):
    own, new = Bundle.chosen(None).digest, untrained_bundle.digest
    code, told = run("add", untrained_bundle.folder, "--json")
    assert (code, told["digest"]) == (0, new)
    code, told = run("promote", new[:12], "--reason", "hurry", "--json")
    assert code == 2
    assert "evaluation report" in told["error"]["found"]
    (tmp_path / "home" / "models" / new / "evaluation.json").write_text('{"patients": 40, "auc": 0.7}')
    assert run("promote", new[:12], "--reason", "evaluated", "--json")[0] == 0
    assert run("show", "--json")[1]["digest"] == run("verify", "--json")[1]["digest"] == new
    listed = run("list", "--json")[1]
    assert [(one["digest"], one["in_force"], one["patients"]) for one in listed["models"]] == [
        (own, False, 400), (new, True, 40),
    ]  # fmt: skip
    assert [(act["act"], act["why"]) for act in listed["history"]] == [("added", ""), ("promoted", "evaluated")]
    assert run("rollback", "--reason", "worse", "--json")[1]["digest"] == own
    assert run("rollback", "--reason", "again")[0] == 2
    settings = Settings(home=tmp_path / "home")
    store = Store.open(settings)
    entries = Audit(store.engine, settings.folder).entries()
    assert [(entry.action, entry.model, entry.detail["reason"]) for entry in entries] == [
        ("model.rolled_back", own, "worse"), ("model.promoted", new, "evaluated"), ("model.added", new, ""),
    ]  # fmt: skip
    store.close()


def test_the_list_is_for_people_too(run):
    code, told = run("list")
    assert code == 0
    assert "fedpet-demonstration 0.2.0: trained on synthetic patients" in told
    assert "in force" in told
