"""The audit trail: what is appended stays as it was, and any change shows."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from app.audit.anchor import Anchor
from app.audit.trail import AuditTrail
from app.cases.store import Store
from app.cli.main import main
from fedpet.core.settings import Settings


@pytest.fixture
def engine(tmp_path, database):
    store = Store.open(Settings(home=tmp_path / "home", database=database))
    yield store.engine
    store.close()


@pytest.fixture
def audit(engine, tmp_path):
    made = AuditTrail(engine, tmp_path / "home")
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
    AuditTrail(engine, tmp_path / "elsewhere").record("Dr A", "verdict.signed", case="c1", detail={"note": "forged"})
    assert audit.verify().broken is not None


def _head(tmp_path):
    return tmp_path / "home" / "audit.head"


def test_a_cut_end_still_shows_after_as_many_new_entries(audit, engine):
    _run(engine, "DELETE FROM audit WHERE number >= 2")
    for number in range(5):  # more than were cut off
        audit.record("Dr A", "case.opened", case=f"c{number}")
        assert audit.verify().broken is not None


def test_a_trail_written_anew_in_the_database_shows_however_long_it_goes_on(audit, engine, tmp_path):
    _run(engine, "DELETE FROM audit")
    (tmp_path / "elsewhere").mkdir()
    forger = AuditTrail(engine, tmp_path / "elsewhere")  # has the database, but neither key nor head
    for action in ("case.created", "prediction.computed", "verdict.signed"):
        forger.record("Dr A", action, case="c1", detail={"note": "forged"})
    for number in range(3):
        audit.record("Dr A", "case.opened", case=f"c{number}")
    assert "3" in str(audit.verify().broken)


@pytest.mark.parametrize("content", [None, "", "garbage", '{"number": "x"}', '{"number": 3, "digest": "ab"}'])
def test_a_head_that_is_gone_empty_or_forged_is_reported_and_stops_nothing(audit, tmp_path, content):
    head = _head(tmp_path)
    head.unlink() if content is None else head.write_text(content)
    for _ in range(2):
        assert "audit.head" in str(audit.verify().broken)
        audit.record("Dr A", "case.opened")
    entry = audit.reseal(actor="chief", reason="disk replaced")
    assert (entry.action, entry.detail["reason"]) == ("audit.resealed", "disk replaced")
    assert "audit.head" in entry.detail["what"]
    assert audit.verify().broken is None
    audit.record("Dr A", "case.opened")
    assert audit.verify().broken is None


def test_a_head_made_with_the_right_digest_but_without_the_key_is_reported(audit, tmp_path):
    head = _head(tmp_path)
    known = json.loads(head.read_text())
    head.write_text(json.dumps({"number": known["number"], "digest": known["digest"]}))
    assert "seal" in str(audit.verify().broken)


def test_a_head_from_before_heads_were_sealed_is_taken_over(audit, engine, tmp_path):
    folder = _head(tmp_path).parent
    known = json.loads(_head(tmp_path).read_text())
    del known["seal"]
    (folder / "audit.key").unlink()
    _head(tmp_path).write_text(json.dumps(known))
    assert audit.verify().broken is None
    AuditTrail(engine, folder).record("Dr A", "case.opened")
    assert "seal" in json.loads(_head(tmp_path).read_text())
    assert audit.verify().broken is None


def test_what_is_anchored_shows_a_trail_that_was_rewritten_with_its_head_and_key(engine, tmp_path):
    anchor = tmp_path / "elsewhere.jsonl"
    home = tmp_path / "home"
    AuditTrail(engine, home, str(anchor)).record("Dr A", "verdict.signed", detail={"decision": "reject"})
    _run(engine, "DELETE FROM audit")
    for name in ("audit.head", "audit.key"):
        (home / name).unlink()
    AuditTrail(engine, home).record("Dr A", "verdict.signed", detail={"decision": "accept"})
    assert AuditTrail(engine, home).verify().broken is None
    assert "1" in str(AuditTrail(engine, home, str(anchor)).verify().broken)
    (tmp_path / "full").mkdir()
    AuditTrail(engine, home, str(tmp_path / "full")).record("Dr A", "case.opened")  # no file: the work goes on


def test_the_system_log_gets_every_digest(engine, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(tmp_path / "log"))
        log.settimeout(5)
        entry = AuditTrail(engine, tmp_path / "home").record("Dr A", "verdict.signed")
        Anchor("syslog", socket=str(tmp_path / "log")).write(entry)
        assert entry.digest.encode() in log.recv(4096)


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
    AuditTrail(engine, home).record("fedpet", "case.erased", case="c1")
    runner = CliRunner()
    assert len(runner.invoke(main, ["audit", "export"]).stdout.splitlines()) == 4
    sound = runner.invoke(main, ["audit", "verify", "--json"])
    assert (sound.exit_code, json.loads(sound.stdout)) == (0, {"entries": 4, "sound": True, "broken": None})
    _run(engine, "UPDATE audit SET action = 'x' WHERE number = 1")
    broken = runner.invoke(main, ["audit", "verify", "--json"])
    assert (broken.exit_code, json.loads(broken.stdout)["sound"]) == (2, False)
