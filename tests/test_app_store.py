from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from app.store import INTERRUPTED, Store
from app.tables import Base, Status
from fedpet.messages import Message, say
from fedpet.settings import Settings


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path / "home")


@pytest.fixture
def store(settings):
    opened = Store.open(settings)
    yield opened
    opened.close()


def _finish(store, case_id):
    return store.finish(case_id, pseudonym="P-1", study_date="2026-01-02", result={"prediction": {"abstained": None}})


def test_migrations_make_exactly_the_tables_of_the_models(settings, store):  # noqa: ARG001  opening the store makes the tables
    engine = create_engine(f"sqlite:///{settings.folder / 'cases.sqlite'}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_a_case_is_found_again_by_another_process(settings, store):
    case = store.create("fr", {"age": 61.0})
    other = Store.open(settings)
    found = other.get(case.id)
    assert (found.status, found.language, found.record) == (Status.RECEIVED, "fr", {"age": 61.0})
    assert found.created.tzinfo is UTC
    assert abs(found.created - datetime.now(UTC)) < timedelta(minutes=1)
    other.close()


def test_cases_are_listed_newest_first(store):
    made = [store.create("fr").id for _ in range(3)]
    assert [case.id for case in store.newest()] == made[::-1]
    assert [case.id for case in store.newest(limit=1)] == made[-1:]


def test_a_case_goes_from_received_to_ready(store):
    case = store.create("en")
    store.receive(case.id, files=3, size=1000)
    assert store.start(case.id)
    store.progress(case.id, 0.4, Message("Reading {n} slices", n=7))
    running = store.get(case.id)
    assert (running.status, running.fraction, str(running.sentence)) == (Status.RUNNING, 0.4, "Reading 7 slices")
    assert _finish(store, case.id)
    ready = store.get(case.id)
    assert (ready.status, ready.pseudonym, ready.study_date) == (Status.READY, "P-1", "2026-01-02")
    assert ready.sentence is None
    assert ready.received == {"files": 3, "bytes": 1000}


def test_a_case_is_started_only_once(store):
    case = store.create("fr")
    assert store.start(case.id)
    assert not store.start(case.id)


@pytest.mark.parametrize("change", [_finish, lambda store, case_id: store.stop(case_id, Status.FAILED, INTERRUPTED)])
def test_only_a_running_case_can_end(store, change):
    case = store.create("fr")
    assert not change(store, case.id)
    assert store.get(case.id).status is Status.RECEIVED


def test_an_answer_that_comes_after_the_case_was_given_up_is_dropped(store):
    case = store.create("fr")
    store.start(case.id)
    store.fail_interrupted()
    assert not _finish(store, case.id)
    assert store.get(case.id).result is None


def test_a_restart_fails_the_running_cases_only_and_says_why_in_french(store):
    running, waiting = store.create("fr"), store.create("fr")
    store.start(running.id)
    assert store.fail_interrupted() == 1
    assert store.get(waiting.id).status is Status.RECEIVED
    failed = store.get(running.id)
    assert failed.status is Status.FAILED
    assert say("fr")(failed.sentence) == "Le serveur s’est arrêté pendant le calcul de ce dossier."
    assert store.start(running.id)  # it may be started again


def test_a_refusal_keeps_its_three_sentences(store):
    case = store.create("fr")
    store.start(case.id)
    parts = {"found": Message("A."), "needed": Message("B {n}.", n=2), "advice": Message("C.")}
    store.stop(case.id, Status.REFUSED, Message("{found} {needed} {advice}", **parts))
    assert str(store.get(case.id).sentence) == "A. B 2. C."


def test_a_draft_is_kept_until_the_case_runs(store):
    case = store.create("fr")
    store.draft(case.id, {"age": 70.0}, "en")
    assert (store.get(case.id).record, store.get(case.id).language) == ({"age": 70.0}, "en")
    store.start(case.id)
    store.draft(case.id, {}, "fr")
    assert store.get(case.id).record == {"age": 70.0}


def test_removing_a_case_removes_its_files(store):
    case = store.create("fr")
    (store.folder(case.id) / "pet.bin").write_bytes(b"1")
    store.delete(case.id)
    assert store.get(case.id) is None
    assert not store.folder(case.id).exists()


@pytest.mark.parametrize("name", ["../other", "", "a/b", "x" * 36])
def test_no_other_folder_can_be_reached(store, name):
    with pytest.raises(ValueError, match="UUID"):
        store.folder(name)


def test_folders_are_the_owners_only(store):
    assert store.folder(store.create("fr").id).stat().st_mode & 0o077 == 0


def test_another_database_can_be_given_by_url(tmp_path):
    store = Store.open(Settings(home=tmp_path, database=f"sqlite:///{tmp_path / 'elsewhere.db'}"))
    case = store.create("fr")
    store.close()
    rows = sqlite3.connect(tmp_path / "elsewhere.db").execute("select id from cases").fetchall()
    assert rows == [(case.id,)]
