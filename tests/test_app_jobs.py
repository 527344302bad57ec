"""Computations in their own process: what they leave in the database and on disk."""

from __future__ import annotations

import time

import pytest

from app.jobs import Jobs
from app.store import Store
from app.tables import Status
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
    folder = store.upload(case.id)
    folder.mkdir()
    (folder / "000000").write_bytes(content)
    return case


def _wait(store, case_id, *, until=lambda case: case.status is not Status.RUNNING):
    while not until(store.get(case_id)):
        time.sleep(0.1)
    return store.get(case_id)


def test_files_that_are_no_study_refuse_the_case_and_are_removed(store, jobs):
    case = _received(store, b"no DICOM")
    jobs.submit(case.id)
    refused = _wait(store, case.id)
    assert refused.status is Status.REFUSED
    assert "DICOM" in say("fr")(refused.sentence)
    assert not store.upload(case.id).exists()


def test_a_model_that_must_not_be_used_fails_the_case_and_keeps_the_files(tmp_path, store, settings):
    jobs = Jobs(settings.model_copy(update={"model": tmp_path}), store)
    case = _received(store, b"no DICOM")
    jobs.submit(case.id)
    failed = _wait(store, case.id)
    jobs.stop()
    assert failed.status is Status.FAILED
    assert "SHA256SUMS" in say("fr")(failed.sentence)
    assert store.upload(case.id).is_dir()


def test_stopping_the_server_fails_what_runs_and_what_waits(store, jobs):
    running, waiting = _received(store, b"no DICOM"), _received(store, b"no DICOM")
    jobs.submit(running.id)
    jobs.submit(waiting.id)
    jobs.stop()
    assert {store.get(case.id).status for case in (running, waiting)} <= {Status.FAILED, Status.REFUSED}
    assert store.get(waiting.id).status is Status.FAILED


def test_a_process_that_dies_fails_the_case_with_its_code(store, jobs):
    case = _received(store, b"no DICOM")
    (store.upload(case.id) / "000000").unlink()
    store.upload(case.id).rmdir()  # the process ends with an error nobody expected
    jobs.submit(case.id)
    failed = _wait(store, case.id)
    assert (failed.status, failed.sentence.values["code"]) == (Status.FAILED, 1)
