"""`fedpet model`: the registry by command, and the trace it leaves."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from app.audit.trail import AuditTrail
from app.cases.store import Store
from app.cli.main import main
from fedpet.core.settings import Settings
from inference.bundle.storage import load_model
from inference.registry import REPORT_FORMAT
from inference.report_signature import own_signer


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDPET_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("FEDPET_MODEL", raising=False)

    def command(*words):
        done = CliRunner().invoke(main, ["model", *map(str, words)])
        return done.exit_code, json.loads(done.stdout) if done.stdout.startswith("{") else done.stderr

    return command


def test_a_bundle_is_added_promoted_shown_and_rolled_back(run, untrained_bundle, tmp_path):
    own, new = load_model().digest, untrained_bundle.digest
    code, told = run("add", untrained_bundle.folder, "--json")
    assert (code, told["digest"]) == (0, new)
    code, told = run("promote", new[:12], "--reason", "hurry", "--json")
    assert code == 2
    assert "evaluation report" in told["error"]["found"]
    report = {"format": REPORT_FORMAT, "bundle": new, "patients": 40, "sites": {"a": 40}, "auc": 0.7}
    for name, content in (("none", {"patients": 1}), ("report", report)):
        (tmp_path / f"{name}.json").write_text(json.dumps(own_signer(tmp_path / "home").sign(content)))
    assert "no report on this model" in str(run("evaluated", new, tmp_path / "none.json", "--json")[1])
    assert run("evaluated", new[:12], tmp_path / "report.json", "--reason", "two sites", "--json")[0] == 0
    assert run("promote", new[:12], "--reason", "evaluated", "--json")[0] == 0
    assert run("show", "--json")[1]["digest"] == run("verify", "--json")[1]["digest"] == new
    listed = run("list", "--json")[1]
    assert [(one["digest"], one["in_force"], one["patients"]) for one in listed["models"]] == [
        (own, False, 174), (new, True, 40),
    ]  # fmt: skip
    assert [(act["act"], act["why"]) for act in listed["history"]] == [
        ("added", ""), ("evaluated", "two sites"), ("promoted", "evaluated"),
    ]  # fmt: skip
    assert run("rollback", "--reason", "worse", "--json")[1]["digest"] == own
    assert run("rollback", "--reason", "again")[0] == 2
    settings = Settings(home=tmp_path / "home")
    store = Store.open(settings)
    entries = AuditTrail(store.engine, settings.folder).entries()
    assert [(entry.action, entry.model, entry.detail["reason"]) for entry in entries] == [
        ("model.rolled_back", own, "worse"), ("model.promoted", new, "evaluated"),
        ("model.evaluated", new, "two sites"), ("model.added", new, ""),
    ]  # fmt: skip
    store.close()


def test_the_list_is_for_people_too(run, monkeypatch):
    monkeypatch.setenv("FEDPET_LANGUAGE", "en")
    code, told = run("list")
    assert code == 0
    assert "fedpet-demonstration 0.3.1: trained on synthetic patients" in told
    assert "in force" in told
    monkeypatch.setenv("FEDPET_LANGUAGE", "fr")
    assert "entraîné sur des patients synthétiques, évalué sur" in run("list")[1]
    assert "Vérifié" in run("verify")[1]
