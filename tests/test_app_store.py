from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from app.store import INTERRUPTED, Store
from app.tables import Base, Decision, Status, Version
from fedpet.messages import Message, say
from fedpet.settings import Settings


@pytest.fixture
def settings(tmp_path, database):
    return Settings(home=tmp_path / "home", database=database)


@pytest.fixture
def store(settings):
    opened = Store.open(settings)
    yield opened
    opened.close()


CHECKED = {"pseudonym": "P-1", "study_date": "2026-01-02", "inspection": {"refused": None}}


def _finish(store, case_id):
    return store.finish(case_id, result={"prediction": {"abstained": None}})


def _running(store):
    """A case whose images are checked and whose record is confirmed."""
    case = store.create("fr")
    store.start(case.id)
    store.confirm(case.id)
    assert store.checked(case.id, **CHECKED).status is Status.RUNNING
    return case


def _signed(store):
    case = _running(store)
    _finish(store, case.id)
    store.read(case.id)
    assert store.sign(case.id, decision=Decision.AMEND, comment="Seen.", reader="Dr A")
    assert store.signed(_version(case.id))
    return case


def _version(case_id, number=1):
    return Version(
        case=case_id, number=number, signed=datetime.now(UTC), reader="Dr A", decision=Decision.AMEND, comment="Seen.",
        report_uid="2.25.1", content_hash="ab" * 32, result={"n": number},
    )  # fmt: skip


def test_migrations_make_exactly_the_tables_of_the_models(store):
    with store.engine.connect() as connection:
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


def test_a_case_goes_from_received_to_signed(store):
    case = store.create("en", owner="Dr A", origin="pacs:main")
    store.receive(case.id, files=3, size=1000)
    assert store.start(case.id)
    store.progress(case.id, 0.4, Message("Reading {n} slices", n=7))
    checking = store.get(case.id)
    assert (checking.status, checking.fraction, str(checking.sentence)) == (Status.CHECKING, 0.4, "Reading 7 slices")
    checked = store.checked(case.id, **CHECKED)
    assert (checked.status, checked.pseudonym, checked.study_date) == (Status.CHECKED, "P-1", "2026-01-02")
    assert store.confirm(case.id)
    assert _finish(store, case.id)
    ready = store.get(case.id)
    assert (ready.status, ready.sentence, ready.received) == (Status.READY, None, {"files": 3, "bytes": 1000})
    assert (ready.owner, ready.origin) == ("Dr A", "pacs:main")
    assert store.read(case.id)
    assert not store.read(case.id)  # only the first time
    assert store.sign(case.id, decision=Decision.ACCEPT, comment="", reader="Dr A")
    assert store.signed(_version(case.id))
    assert store.get(case.id).status is Status.SIGNED


def test_a_record_confirmed_while_the_images_are_checked_lets_the_case_run_on(store):
    assert store.get(_running(store).id).status is Status.RUNNING


def test_images_without_suv_do_not_run_on(store):
    case = store.create("fr")
    store.start(case.id)
    store.confirm(case.id)
    found = CHECKED | {"inspection": {"refused": {"found": {}}}}
    assert store.checked(case.id, **found).status is Status.CHECKED


def test_a_case_is_started_only_once(store):
    case = store.create("fr")
    assert store.start(case.id)
    assert not store.start(case.id)


@pytest.mark.parametrize("change", [_finish, lambda store, case_id: store.stop(case_id, Status.FAILED, INTERRUPTED)])
def test_only_a_busy_case_can_end(store, change):
    case = store.create("fr")
    assert not change(store, case.id)
    assert store.get(case.id).status is Status.RECEIVED


def test_an_answer_that_comes_after_the_case_was_given_up_is_dropped(store):
    case = _running(store)
    store.stop(case.id, Status.FAILED, INTERRUPTED)
    assert not _finish(store, case.id)
    assert store.get(case.id).result is None


def test_a_restart_finds_the_busy_cases_and_counts_the_attempts(store):
    running, waiting = _running(store), store.create("fr")
    assert [case.id for case in store.interrupted()] == [running.id]
    assert [store.begin(running.id), store.begin(running.id)] == [1, 2]
    assert store.begin(waiting.id) == 0
    store.stop(running.id, Status.FAILED, INTERRUPTED)
    failed = store.get(running.id)
    assert say("fr")(failed.sentence) == "Le serveur s’est arrêté deux fois pendant le calcul de ce dossier."
    assert store.start(running.id)  # it may be started again, and is counted anew
    assert store.begin(running.id) == 1


def test_a_case_is_not_signed_unread_nor_twice(store):
    case = _running(store)
    _finish(store, case.id)
    assert not store.sign(case.id, decision=Decision.ACCEPT, comment="", reader="Dr A")
    signed = _signed(store)
    assert not store.sign(signed.id, decision=Decision.REJECT, comment="", reader="Dr B")
    assert [version.decision for version in store.versions(signed.id)] == [Decision.AMEND]


def test_a_report_that_could_not_be_written_leaves_the_case_to_be_read(store):
    case = _running(store)
    _finish(store, case.id)
    store.read(case.id)
    store.sign(case.id, decision=Decision.ACCEPT, comment="", reader="Dr A")
    assert store.not_signed(case.id, Message("No space."))
    assert (store.get(case.id).status, store.get(case.id).verdict) == (Status.READ, None)


def test_a_change_after_the_signature_makes_a_new_version_and_keeps_the_old(store):
    case = _signed(store)
    assert store.reopen(case.id, options={"method": "suv41pct"}, checked=True)
    again = store.get(case.id)
    assert (again.status, again.version, again.options) == (Status.CHECKED, 2, {"method": "suv41pct"})
    store.confirm(case.id)
    _finish(store, case.id)
    store.read(case.id)
    store.sign(case.id, decision=Decision.ACCEPT, comment="", reader="Dr A")
    assert not store.signed(_version(case.id, number=1))
    assert store.signed(_version(case.id, number=2))
    assert [version.number for version in store.versions(case.id)] == [2, 1]


def test_a_busy_case_cannot_be_changed(store):
    case = _running(store)
    assert not store.reopen(case.id, options={}, checked=False)


def test_the_cases_of_a_patient_are_found_by_date(store):
    ids = {}
    for day in ("2026-03-02", "2026-01-05"):
        ids[day] = store.create("fr").id
        store.start(ids[day])
        store.checked(ids[day], **(CHECKED | {"study_date": day}))
    assert [case.id for case in store.of_patient("P-1")] == [ids["2026-01-05"], ids["2026-03-02"]]
    assert store.of_patient("P-2") == []


def test_a_refusal_keeps_its_three_sentences(store):
    case = store.create("fr")
    store.start(case.id)
    parts = {"found": Message("A."), "needed": Message("B {n}.", n=2), "advice": Message("C.")}
    store.stop(case.id, Status.REFUSED, Message("{found} {needed} {advice}", **parts))
    assert str(store.get(case.id).sentence) == "A. B 2. C."


def test_a_draft_is_kept_until_the_case_runs(store):
    case = _running(store)
    store.draft(case.id, {"age": 70.0}, "fr")
    assert store.get(case.id).record == {}
    other = store.create("fr")
    store.start(other.id)
    store.draft(other.id, {"age": 70.0}, "en")
    assert (store.get(other.id).record, store.get(other.id).language) == ({"age": 70.0}, "en")


def test_removing_a_case_removes_its_files_and_versions(store):
    case = _signed(store)
    (store.folder(case.id) / "pet.bin").write_bytes(b"1")
    store.delete(case.id)
    assert store.get(case.id) is None
    assert store.versions(case.id) == []
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


def test_the_list_is_searched_by_pseudonym_date_status_and_owner(store):
    mine, other = store.create("fr", owner="Dr A"), store.create("fr", owner="Dr B")
    store.start(mine.id)
    store.checked(mine.id, **(CHECKED | {"pseudonym": "P-ab12", "study_date": "2026-03-10"}))
    store.start(other.id)
    store.checked(other.id, **(CHECKED | {"pseudonym": "P-cd_4", "study_date": "2026-04-01"}))

    def found(**wanted):
        return [case.id for case in store.listed(**wanted)]

    assert found() == [other.id, mine.id]
    assert found(words=" AB1 ") == [mine.id]
    assert found(words="2026-04") == [other.id]
    assert found(words="_") == [other.id]  # no wildcard
    assert found(statuses=[Status.RUNNING]) == []
    assert found(owner="Dr A", statuses=[Status.CHECKED]) == [mine.id]
