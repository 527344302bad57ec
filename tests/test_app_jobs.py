"""Computations in their own process: what they leave in the database and on disk."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from app.jobs import Jobs
from app.store import INTERRUPTED, Store
from app.tables import BUSY, Status
from fedpet.messages import say
from fedpet.settings import Settings


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
    made = Jobs(settings, store)
    yield made
    made.stop()


def _received(store, content):
    case = store.create("fr", {"age": 60.0})
    folder = store.source(case.id)
    folder.mkdir()
    (folder / "000000").write_bytes(content)
    return case


def _submit(store, jobs, case):
    assert store.start(case.id)
    jobs.submit(case.id)


def _wait(store, case_id):
    while store.get(case_id).status in BUSY:
        time.sleep(0.1)
    return store.get(case_id)


def test_files_that_are_no_study_refuse_the_case_and_say_why(store, jobs):
    case = _received(store, b"no DICOM")
    _submit(store, jobs, case)
    refused = _wait(store, case.id)
    assert refused.status is Status.REFUSED
    assert "DICOM" in say("fr")(refused.sentence)


def test_what_ran_and_what_waited_is_taken_up_by_the_next_server(settings, store, jobs):
    running, waiting = _received(store, b"no DICOM"), _received(store, b"no DICOM")
    _submit(store, jobs, running)
    _submit(store, jobs, waiting)
    jobs.stop()
    assert store.get(waiting.id).status is Status.CHECKING
    restarted = Jobs(settings, store)
    restarted.resume()
    assert {_wait(store, case.id).status for case in (running, waiting)} == {Status.REFUSED}
    restarted.stop()


def test_a_case_that_stops_every_server_is_given_up(store, jobs):
    case = _received(store, b"no DICOM")
    store.start(case.id)
    store.begin(case.id)
    store.begin(case.id)
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
    child = "from app.telling import task; import time; print(task()['case'], flush=True); time.sleep(600)"
    server = (
        "import json, subprocess, sys, time; "
        f"one = subprocess.Popen([sys.executable, '-c', {child!r}], stdin=subprocess.PIPE, bufsize=0); "
        "one.stdin.write(b'{\"case\": 1}\\n'); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", server], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "1\n"  # the computation is under way
        process.kill()
        assert process.stdout.read() == ""  # it held the other end, and has ended
