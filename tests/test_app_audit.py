"""The audit trail: what is appended stays as it was, and any change shows."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from app.audit import Audit
from app.command import main
from app.store import Store
from fedpet.settings import Settings


@pytest.fixture
def engine(tmp_path, database):
    store = Store.open(Settings(home=tmp_path / "home", database=database))
    yield store.engine
    store.close()


@pytest.fixture
def audit(engine, tmp_path):
    made = Audit(engine, tmp_path)
    for action in ("case.created", "prediction.computed", "verdict.signed"):
        made.record("Dr A", action, case="c1", model="ab" * 32, detail={"note": action})
    return made


def _run(engine, statement):
    with engine.begin() as connection:
        connection.execute(text(statement))


def test_entries_come_back_newest_first_and_by_case(audit):
    audit.record("Dr B", "case.created", case="c2")
    assert [entry.action for entry in audit.entries(case="c1")] == [
        "verdict.signed", "prediction.computed", "case.created",
    ]  # fmt: skip
    assert [entry.actor for entry in audit.entries(newest=1)] == ["Dr B"]


def test_an_untouched_trail_is_sound(audit):
    verdict = audit.verify()
    assert (verdict.entries, verdict.broken) == (3, None)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET actor = 'Dr X' WHERE number = 2",
        'UPDATE audit SET detail = \'{"note": "other"}\' WHERE number = 2',
        "DELETE FROM audit WHERE number = 2",
        "DELETE FROM audit WHERE number = 3",
        "DELETE FROM audit",
    ],
)
def test_a_changed_or_removed_entry_shows(audit, engine, statement):
    _run(engine, statement)
    assert audit.verify().broken is not None


def test_an_end_cut_off_and_written_again_shows(audit, engine, tmp_path):
    _run(engine, "DELETE FROM audit WHERE number = 3")
    (tmp_path / "elsewhere").mkdir()
    Audit(engine, tmp_path / "elsewhere").record("Dr A", "verdict.signed", case="c1", detail={"note": "forged"})
    assert audit.verify().broken is not None


def test_the_export_holds_every_entry_oldest_first(audit):
    lines = [json.loads(line) for line in audit.export()]
    assert [line["number"] for line in lines] == [1, 2, 3]
    assert lines[1]["previous"] == lines[0]["digest"]


def test_writers_at_the_same_moment_keep_one_chain(audit):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: audit.record("Dr A", "case.opened", case=f"c{number}"), range(40)))
    verdict = audit.verify()
    assert (verdict.entries, verdict.broken) == (43, None)


def test_the_command_verifies_and_exports(audit, engine, database, tmp_path, monkeypatch):  # noqa: ARG001  the trail must exist
    home = tmp_path / "home"
    monkeypatch.setenv("FEDPET_DATABASE", database)
    monkeypatch.setenv("FEDPET_HOME", str(home))
    Audit(engine, home).record("fedpet", "case.erased", case="c1")
    runner = CliRunner()
    assert len(runner.invoke(main, ["audit", "export"]).stdout.splitlines()) == 4
    sound = runner.invoke(main, ["audit", "verify", "--json"])
    assert (sound.exit_code, json.loads(sound.stdout)) == (0, {"entries": 4, "sound": True, "broken": None})
    _run(engine, "UPDATE audit SET action = 'x' WHERE number = 1")
    broken = runner.invoke(main, ["audit", "verify", "--json"])
    assert (broken.exit_code, json.loads(broken.stdout)["sound"]) == (2, False)
