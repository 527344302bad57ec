"""Computations in their own process: what they leave in the database and on disk."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from app.cases.store import INTERRUPTED, Store
from app.cases.tables import BUSY, Status
from app.jobs.reporting import NO_ROOM, full_disk_told
from app.jobs.scheduler import JobScheduler
from fedpet.core.locks import try_lock
from fedpet.core.messages import translate_message
from fedpet.core.settings import Settings


@pytest.fixture
def settings(tmp_path, untrained_bundle):
    return Settings(home=tmp_path / "home", model=untrained_bundle.folder)


@pytest.fixture
def store(settings):
    opened = Store.open(settings)
    yield opened
    opened.close()


@pytest.fixture
def jobs(settings, store):
    made = JobScheduler(settings, store)
    yield made
    made.stop()


def _received(store, content):
    case = store.create("fr", {"age": 60.0})
    folder = store.source(case.id)
    folder.mkdir()
    (folder / "000000").write_bytes(content)
    return case


def _submit(store, jobs, case):
    store.start_check(case.id)
    jobs.submit(case.id)


def _wait(store, case_id):
    while store.get(case_id).status in BUSY:
        time.sleep(0.1)
    return store.get(case_id)


def test_files_that_are_no_study_refuse_the_case_and_say_why(store, jobs, tmp_path, monkeypatch):
    """Started in a folder with another program called app, which is not run in the place of ours."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").write_text("raise SystemExit(99)")
    monkeypatch.chdir(tmp_path)
    case = _received(store, b"no DICOM")
    _submit(store, jobs, case)
    refused = _wait(store, case.id)
    assert refused.status is Status.REFUSED
    assert "DICOM" in translate_message("fr")(refused.sentence)


def test_what_ran_and_what_waited_is_taken_up_by_the_next_server(settings, store, jobs):
    running, waiting = _received(store, b"no DICOM"), _received(store, b"no DICOM")
    _submit(store, jobs, running)
    _submit(store, jobs, waiting)
    jobs.stop()
    assert store.get(waiting.id).status is Status.CHECKING
    restarted = JobScheduler(settings, store)
    restarted.resume()
    assert {_wait(store, case.id).status for case in (running, waiting)} == {Status.REFUSED}
    restarted.stop()


def test_work_that_is_cancelled_ends_and_fails_nothing(store, jobs):
    case = _received(store, b"no DICOM")
    _submit(store, jobs, case)
    while not jobs.processes():
        time.sleep(0.01)
    jobs.cancel(case.id)
    while jobs.processes():
        time.sleep(0.01)
    assert store.get(case.id).status is Status.CHECKING
    jobs.submit(case.id)
    assert _wait(store, case.id).status is Status.REFUSED
    jobs.cancel(case.id)  # nothing to cancel


def test_a_case_that_stops_every_server_is_given_up(store, jobs):
    case = _received(store, b"no DICOM")
    store.start_check(case.id)
    store.start_attempt(case.id)
    store.start_attempt(case.id)
    jobs.resume()
    given_up = _wait(store, case.id)
    assert (given_up.status, given_up.sentence) == (Status.FAILED, INTERRUPTED)


def test_a_process_that_dies_fails_the_case_with_its_code(store, jobs):
    case = _received(store, b"no DICOM")
    (store.source(case.id) / "000000").unlink()
    store.source(case.id).rmdir()  # the process ends with an error nobody expected
    _submit(store, jobs, case)
    failed = _wait(store, case.id)
    assert (failed.status, failed.sentence.values["code"]) == (Status.FAILED, 1)


def test_a_computation_ends_with_its_server_however_that_ends():
    """The next server takes the case up again, and must not meet another process at it."""
    child = (
        "from app.jobs.reporting import read_task; import time; print(read_task()['case'], flush=True); time.sleep(600)"
    )
    server = (
        "import json, subprocess, sys, time; "
        f"one = subprocess.Popen([sys.executable, '-c', {child!r}], stdin=subprocess.PIPE, bufsize=0); "
        "one.stdin.write(b'{\"case\": 1}\\n'); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", server], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "1\n"  # the computation is under way
        process.kill()
        assert process.stdout.read() == ""  # it held the other end, and has ended


def test_a_case_that_another_process_has_is_left_to_it_and_taken_up_when_it_ends(store, jobs, monkeypatch):
    monkeypatch.setattr("app.jobs.scheduler._ENDING_S", 0.2)
    monkeypatch.setattr("app.jobs.scheduler._RETRY_S", 0.5)
    case = _received(store, b"no DICOM")
    lease = try_lock(store.folder(case.id))  # as the receiver, which computes a case of its own
    store.start_check(case.id)
    for _ in range(5):  # servers that take up what is busy
        jobs.submit(case.id)
    time.sleep(1.5)
    assert (store.get(case.id).status, store.get(case.id).attempts) == (Status.CHECKING, 0)
    os.close(lease)
    assert _wait(store, case.id).status is Status.REFUSED


def test_a_case_waits_where_the_disk_is_full_says_so_and_goes_on(store, jobs, monkeypatch):
    monkeypatch.setattr("app.jobs.scheduler._RETRY_S", 0.5)
    case = _received(store, b"no DICOM")
    monkeypatch.setattr("app.jobs.scheduler._ROOM", 2**60)
    _submit(store, jobs, case)
    while store.get(case.id).sentence.template != "Waiting for room on the disk: {free:.0f} MB are free.":
        time.sleep(0.1)
    assert (store.get(case.id).status, store.get(case.id).attempts) == (Status.CHECKING, 0)
    monkeypatch.setattr("app.jobs.scheduler._ROOM", 0)
    assert _wait(store, case.id).status is Status.REFUSED


def test_a_disk_that_becomes_full_while_a_case_is_computed_costs_no_attempt(store, jobs, monkeypatch):
    monkeypatch.setattr("app.jobs.scheduler._RETRY_S", 0.5)
    program = (
        "import errno, os; from app.jobs.reporting import full_disk_told, read_task; task = read_task()\n"
        "with full_disk_told(): open('/dev/full', 'wb', buffering=0).write(b'x')\n"
    )
    real, codes = subprocess.Popen, []

    class Full(real):
        """The process of a computation, whose disk is full three times."""

        def __init__(self, command, **options):
            full = len(codes) < 3
            super().__init__([sys.executable, "-c", program] if full else command, **options)

        def wait(self, timeout=None):
            codes.append(super().wait(timeout))
            return codes[-1]

    monkeypatch.setattr("app.jobs.scheduler.subprocess.Popen", Full)
    case = _received(store, b"no DICOM")
    _submit(store, jobs, case)
    assert _wait(store, case.id).status is Status.REFUSED
    assert set(codes[:3]) == {NO_ROOM}


def test_a_database_without_room_is_told_apart_from_one_that_is_broken(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path / 'small.sqlite'}")
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 2")
        connection.exec_driver_sql("CREATE TABLE t (x TEXT)")
        with pytest.raises(SystemExit) as ended, full_disk_told():
            connection.execute(text("INSERT INTO t VALUES (:x)"), {"x": "x" * 100_000})
    assert ended.value.code == NO_ROOM
    with engine.connect() as connection, pytest.raises(OperationalError), full_disk_told():
        connection.execute(text("SELECT * FROM nothing"))


def _as(monkeypatch, program):
    """Let the process of a computation run another program."""
    real = subprocess.Popen

    class Other(real):
        def __init__(self, _, **options):
            super().__init__([sys.executable, "-c", program], **options)

    monkeypatch.setattr("app.jobs.scheduler.subprocess.Popen", Other)


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("with full_disk_told(): bytearray(4 * 2**30)", "max_memory_mb"),
        ("import os; os.abort()", "max_memory_mb"),
        ("import time; time.sleep(600)", "max_minutes"),
    ],
)
def test_a_computation_has_so_much_memory_and_time_and_no_more(store, settings, monkeypatch, program, words):
    limited = settings.model_copy(update={"max_memory_mb": 1024, "max_minutes": 0.1})
    head = (
        "from app.jobs.reporting import full_disk_told, limit_memory, read_task; "
        "from fedpet.core.settings import Settings; limit_memory(Settings(**read_task()['settings'])); "
    )
    _as(monkeypatch, f"{head}\n{program}")
    jobs = JobScheduler(limited, store)
    case = _received(store, b"no DICOM")
    _submit(store, jobs, case)
    failed = _wait(store, case.id)
    assert failed.status is Status.FAILED
    assert words in str(failed.sentence)
    jobs.stop()
