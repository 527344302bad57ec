"""`fedpet doctor` finds what is planted, and says what to do."""

import json
import shutil
import sqlite3

import pytest
from typer.testing import CliRunner

from app.cli.main import main
from app.services import open_services
from fedpet.core.settings import Settings


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDPET_HOME", str(tmp_path / "home"))
    services = open_services(Settings())
    case = services.store.create("fr")
    services.workflow.audit.record("Dr A", "case.created", case=case.id)
    services.jobs.stop()
    services.store.close()
    return tmp_path / "home"


def _examined():
    told = CliRunner().invoke(main, ["doctor", "--json"])
    assert told.exception is None or isinstance(told.exception, SystemExit), told.exception
    report = json.loads(told.stdout)
    return told.exit_code, {one["name"]: one["found"] for one in report["findings"] if not one["sound"]}


def test_a_sound_installation_has_no_fault_and_says_why_other_providers_do_not_run(home):  # noqa: ARG001  as made
    assert _examined() == (0, {})
    report = json.loads(CliRunner().invoke(main, ["doctor", "--json"]).stdout)
    said = {one["name"]: one["found"] for one in report["findings"]}
    assert "runs" in said["onnxruntime cpu"]
    assert said["onnxruntime cuda"].startswith("It ")
    assert "whole" in json.dumps(report)
    lines = CliRunner().invoke(main, ["doctor"], env={"FEDPET_LANGUAGE": "en", "COLUMNS": "300"}).stderr.splitlines()
    marks = {line[2:].split(":")[0]: line[0] for line in lines if line[1:2] == " "}
    assert (marks["database"], marks["onnxruntime cpu"]) == ("✓", "✓")
    assert marks["onnxruntime cuda"] == ("–" if "not run" in said["onnxruntime cuda"] else "✓")


def test_a_damaged_database_is_found(home):
    path = home / "cases.sqlite"
    content = bytearray(path.read_bytes())
    content[4096 + 100 : 4096 * 3] = b"\xff" * (4096 * 2 - 100)
    path.write_bytes(content)
    code, faults = _examined()
    assert code == 2
    assert "database" in faults


def test_a_file_that_is_no_database_is_found_with_the_way_back(home):
    (home / "cases.sqlite").write_bytes(b"garbage" * 1000)
    code, faults = _examined()
    assert code == 2
    assert "not a database" in faults["database"]
    assert "backup" in faults["database"]


def test_a_cut_trail_and_a_lost_folder_are_found(home):
    shutil.rmtree(next((home / "cases").iterdir()))
    _, faults = _examined()
    assert "1 without their folder" in faults["database"]
    with sqlite3.connect(home / "cases.sqlite") as connection:
        connection.execute("DELETE FROM audit")
    code = CliRunner().invoke(main, ["doctor"])
    assert code.exit_code == 2
    assert "missing at the end" in json.dumps(json.loads(CliRunner().invoke(main, ["doctor", "--json"]).stdout))


def test_a_pacs_that_does_not_answer_is_found_and_can_be_left_out(home, monkeypatch):  # noqa: ARG001  as made
    monkeypatch.setenv("FEDPET_PACS", '{"main": {"host": "127.0.0.1", "port": 1, "timeout_s": 1, "retries": 0}}')
    code, faults = _examined()
    assert (code, list(faults)) == (2, ["pacs main"])
    assert CliRunner().invoke(main, ["doctor", "--no-pacs"]).exit_code == 0


def test_a_folder_that_others_can_read_is_found(home):
    home.chmod(0o755)
    assert "chmod 700" in _examined()[1]["home"]
