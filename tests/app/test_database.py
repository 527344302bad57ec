"""SQLite: what cannot be opened says why and how it comes back; processes that start together migrate once."""

import sqlite3
import subprocess
import sys

import pytest

from app.cases.store import Store
from fedpet.core.errors import SettingsError
from fedpet.core.settings import Settings

_OPEN = """
import sys
from app.database.connection import open_database
from fedpet.core.settings import Settings
sys.stdin.read()
open_database(Settings(home=sys.argv[1])).dispose()
"""


def _refusal(home):
    with pytest.raises(SettingsError) as refused:
        Store.open(Settings(home=home))
    return str(refused.value)


def test_a_file_that_is_no_database_says_so_with_the_way_back(tmp_path):
    (tmp_path / "cases.sqlite").write_bytes(b"garbage" * 1000)
    said = _refusal(tmp_path)
    assert "file is not a database" in said
    assert "fedpet doctor" in said
    assert "backup" in said


def test_the_database_of_another_program_is_left_as_it_is(tmp_path):
    with sqlite3.connect(tmp_path / "cases.sqlite") as connection:
        connection.execute("CREATE TABLE cases (name TEXT)")
    assert "another program" in _refusal(tmp_path)
    with sqlite3.connect(tmp_path / "cases.sqlite") as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("cases",)]


def test_processes_that_start_together_migrate_once(tmp_path):
    started = [
        subprocess.Popen([sys.executable, "-c", _OPEN, str(tmp_path)], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    for process in started:
        process.stdin.close()  # all at once
    assert [(process.wait(60), process.stderr.read()) for process in started] == [(0, b"")] * 3


@pytest.mark.parametrize("place", ["/proc/fedpet", "/sys/kernel", "file/home"])
def test_a_home_that_cannot_be_written_to_is_said(tmp_path, place):
    (tmp_path / "file").touch()
    said = _refusal(place if place.startswith("/") else tmp_path / place)
    assert "cannot be written to" in said
