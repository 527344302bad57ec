from __future__ import annotations

import sqlite3
import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert

from app.cases.prefill import copied
from app.cases.reading import Reading
from app.cases.store import INTERRUPTED, Search, Store
from app.cases.tables import Case, Decision, SignedVersion, Status
from app.database.base import Base
from fedpet.core.errors import TransitionError
from fedpet.core.messages import Message, translate_message
from fedpet.core.settings import Settings
from tests.support.case_files import alter_case


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
    store.finish_computation(case_id, result={"prediction": {"abstained": None}})


def _running(store):
    """A case whose images are checked and whose record is confirmed."""
    case = store.create("fr")
    store.start_check(case.id)
    store.confirm_record(case.id)
    assert store.finish_check(case.id, **CHECKED).status is Status.RUNNING
    return case


def _signed(store):
    case = _running(store)
    _finish(store, case.id)
    store.mark_read(case.id)
    store.start_signing(case.id, decision=Decision.AMEND, comment="Seen.", reader="Dr A")
    store.finish_signing(_version(case.id))
    return case


def _version(case_id, number=1):
    return SignedVersion(
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
    store.record_images(case.id, files=3, size=1000)
    store.start_check(case.id)
    store.record_progress(case.id, 0.4, Message("Reading {n} slices", n=7))
    checking = store.get(case.id)
    assert (checking.status, checking.fraction, str(checking.sentence)) == (Status.CHECKING, 0.4, "Reading 7 slices")
    checked = store.finish_check(case.id, **CHECKED)
    assert (checked.status, checked.pseudonym, checked.study_date) == (Status.CHECKED, "P-1", "2026-01-02")
    assert store.confirm_record(case.id)
    _finish(store, case.id)
    ready = store.get(case.id)
    assert (ready.status, ready.sentence, ready.received) == (Status.READY, None, {"files": 3, "bytes": 1000})
    assert (ready.owner, ready.origin) == ("Dr A", "pacs:main")
    assert store.mark_read(case.id)
    assert not store.mark_read(case.id)  # only the first time
    store.start_signing(case.id, decision=Decision.ACCEPT, comment="", reader="Dr A")
    store.finish_signing(_version(case.id))
    assert store.get(case.id).status is Status.SIGNED


def test_a_record_confirmed_while_the_images_are_checked_lets_the_case_run_on(store):
    assert store.get(_running(store).id).status is Status.RUNNING


def test_images_without_suv_do_not_run_on(store):
    case = store.create("fr")
    store.start_check(case.id)
    store.confirm_record(case.id)
    found = CHECKED | {"inspection": {"refused": {"found": {}}}}
    assert store.finish_check(case.id, **found).status is Status.CHECKED


def test_an_answer_that_comes_after_the_case_was_given_up_is_dropped(store):
    case = _running(store)
    store.record_failure(case.id, INTERRUPTED)
    with pytest.raises(TransitionError):
        _finish(store, case.id)
    assert store.get(case.id).result is None


def test_lesions_corrected_while_their_map_is_computed_are_not_lost(store):
    case = _running(store)
    edit = {"measured": {"prediction": {"abstained": None}}, "reading": Reading()}
    with pytest.raises(TransitionError):
        store.edit_lesions(case.id, options={"exclude": [1]}, **edit)  # there is no answer yet
    _finish(store, case.id)
    store.edit_lesions(case.id, options={"exclude": [1]}, **edit)
    store.start_refresh(case.id)
    store.edit_lesions(case.id, options={"exclude": [1, 2]}, **edit)
    assert (store.get(case.id).status, store.get(case.id).is_pending) == (Status.READY, True)
    store.start_refresh(case.id)
    with pytest.raises(TransitionError):  # the first process, which was slow
        store.finish_computation(case.id, result={"old": True}, options={"exclude": [1]})
    store.finish_computation(case.id, result={"new": True}, options={"exclude": [1, 2]})
    assert store.get(case.id).result == {"new": True}


def test_a_restart_finds_the_busy_cases_and_counts_the_attempts(store):
    running, waiting = _running(store), store.create("fr")
    assert [case.id for case in store.find_busy()] == [running.id]
    assert [store.start_attempt(running.id), store.start_attempt(running.id)] == [1, 2]
    with pytest.raises(TransitionError):
        store.start_attempt(waiting.id)
    store.record_failure(running.id, INTERRUPTED)
    failed = store.get(running.id)
    assert (
        translate_message("fr")(failed.sentence) == "Le serveur s’est arrêté deux fois pendant le calcul de ce dossier."
    )
    store.start_check(running.id)  # it may be started again, and is counted anew
    assert store.start_attempt(running.id) == 1


def test_a_report_that_could_not_be_written_leaves_the_case_to_be_read(store):
    case = _running(store)
    _finish(store, case.id)
    store.mark_read(case.id)
    store.start_signing(case.id, decision=Decision.ACCEPT, comment="", reader="Dr A")
    store.record_failure(case.id, Message("No space."))
    kept = {"decision": "accept", "comment": "", "conclusion": "", "reader": "Dr A", "shown": store.get(case.id).digest}
    assert (store.get(case.id).status, store.get(case.id).verdict) == (Status.READ, kept)


def test_a_change_after_the_signature_makes_a_new_version_and_keeps_the_old(store):
    case = _signed(store)
    store.reopen_record(case.id, options={"method": "suv41pct"})
    again = store.get(case.id)
    assert (again.status, again.version, again.options) == (Status.CHECKED, 2, {"method": "suv41pct"})
    store.confirm_record(case.id)
    _finish(store, case.id)
    store.mark_read(case.id)
    store.start_signing(case.id, decision=Decision.ACCEPT, comment="", reader="Dr A")
    with pytest.raises(TransitionError, match="version 2"):
        store.finish_signing(_version(case.id, number=1))
    store.finish_signing(_version(case.id, number=2))
    assert [version.number for version in store.versions(case.id)] == [2, 1]


def test_the_cases_of_a_patient_are_found_by_date(store):
    ids = {}
    for day in ("2026-03-02", "2026-01-05"):
        ids[day] = store.create("fr").id
        store.start_check(ids[day])
        store.finish_check(ids[day], **(CHECKED | {"study_date": day}))
    assert [case.id for case in store.find_by_patient("P-1")] == [ids["2026-01-05"], ids["2026-03-02"]]
    assert store.find_by_patient("P-2") == []


def test_a_refusal_keeps_its_three_sentences(store):
    case = store.create("fr")
    store.start_check(case.id)
    parts = {"found": Message("A."), "needed": Message("B {n}.", n=2), "advice": Message("C.")}
    store.record_refusal(case.id, Message("{found} {needed} {advice}", **parts))
    assert str(store.get(case.id).sentence) == "A. B 2. C."


def test_what_the_images_state_fills_the_fields_that_nobody_filled_in(store):
    case = store.create("fr", {"age": 61.0})
    facts = {"age": 60.0, "sex": "F", "weight_kg": 70.0}
    for stated in (facts, facts | {"weight_kg": 72.0}):  # checked again, with a weight corrected
        alter_case(store, case.id, status=Status.CHECKING)
        store.finish_check(case.id, **CHECKED, stated=stated)
    filled = store.get(case.id)
    assert filled.record == {"age": 61.0, "sex": "F", "weight_kg": 72.0}
    assert copied(filled) == {"sex", "weight_kg"}
    from_file = store.save_draft(case.id, {"weight_kg": 72.0}, "fr")  # a file that states what the images do
    assert (from_file.record, copied(from_file)) == (filled.record, {"sex"})
    alter_case(store, case.id, status=Status.CHECKING)
    again = store.finish_check(case.id, **CHECKED, stated=facts | {"weight_kg": 75.0})
    assert (again.record["weight_kg"], copied(again)) == (72.0, {"sex"})
    typed = store.save_draft(case.id, {"weight_kg": 80.0, "sex": None}, "fr")
    assert copied(typed) == set()


def test_a_draft_is_kept_until_the_case_runs(store):
    case = _running(store)
    with pytest.raises(TransitionError):
        store.save_draft(case.id, {"age": 70.0}, "fr")
    assert store.get(case.id).record == {}
    other = store.create("fr")
    store.start_check(other.id)
    store.save_draft(other.id, {"age": 70.0}, "en")
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


def test_the_list_is_searched_by_pseudonym_date_number_status_and_owner(store):
    mine, other = store.create("fr", owner="Dr A"), store.create("fr", owner="Dr B")
    store.start_check(mine.id)
    store.finish_check(mine.id, **(CHECKED | {"pseudonym": "P-xy12", "study_date": "2026-05-10"}))
    store.start_check(other.id)
    store.finish_check(other.id, **(CHECKED | {"pseudonym": "P-cd_4", "study_date": "2026-04-01"}))

    def found(**wanted):
        search = Search(**wanted)
        cases = [case.id for case in store.find(search, limit=10)]
        assert store.count(search) == len(cases)
        return cases

    assert found() == found(order="pseudonym") == [other.id, mine.id]
    assert found(order="study_date") == [mine.id, other.id]
    assert found(order="study_date", reverse=True) == [other.id, mine.id]
    assert found(words=" XY1 ") == [mine.id]
    assert found(words="2026-04") == [other.id]
    assert found(words=mine.id[:8]) == [mine.id]
    assert found(words="_") == [other.id]  # no wildcard
    assert found(statuses=[Status.RUNNING]) == []
    assert found(owner="Dr A", statuses=[Status.CHECKED]) == [mine.id]


def test_no_case_falls_out_of_the_list_or_of_the_results(store):
    now = datetime.now(UTC)
    known = {str(uuid.uuid4()): {"status": Status.READY, "created": now - timedelta(minutes=n)} for n in range(520)}
    with store.engine.begin() as connection:
        common = {
            "language": "fr", "origin": "pacs:main", "pseudonym": "", "study_date": "", "fraction": 1.0, "record": {},
            "received": {}, "owner": "", "confirmed": True, "options": {}, "version": 1, "attempts": 0,
        }  # fmt: skip
        connection.execute(insert(Case), [{"id": one, **common, **facts} for one, facts in known.items()])
    pages = [store.find(Search(), limit=100, offset=start) for start in range(0, 600, 100)]
    assert [case.id for page in pages for case in page] == list(known)
    assert store.count(Search()) == 520
    waiting = store.find_results("pacs:main", unsigned=True)
    assert [case_id for case_id, _ in waiting] == list(known)[::-1]
    assert (store.find_results("pacs:main", unsigned=False), store.find_results("pacs:b", unsigned=True)) == ([], [])
    signed = next(iter(known))
    alter_case(store, signed, status=Status.SIGNED)
    with store._session() as session, session.begin():
        session.add(_version(signed))
    assert store.find_results("pacs:main", unsigned=False) == [(signed, store.version_folder(signed, 1))]
    assert len(store.find_results("pacs:main", unsigned=True)) == 520


def test_ten_thousand_cases_are_paged_and_searched_by_the_database(tmp_path):
    store = Store.open(Settings(home=tmp_path / "home"))
    stored = {"study": {"date": "2026-01-02"}, "filler": "x" * 2000}
    rows = [
        {
            "id": str(uuid.UUID(int=number)), "created": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number),
            "status": Status.SIGNED if number % 3 else Status.CHECKED, "language": "fr",
            "pseudonym": f"P-{number:012x}", "owner": ("", "dr.a", "dr.b")[number % 3], "result": stored,
        }
        for number in range(10_000)
    ]  # fmt: skip
    with store.engine.begin() as connection:
        connection.execute(insert(Case), rows)
    start = time.perf_counter()
    mine = Search(only="dr.a")
    assert store.count(mine) == 6667
    first, last = store.find(mine, limit=20), store.find(mine, limit=20, offset=6660)
    assert [case.created for case in first] == sorted((case.created for case in first), reverse=True)
    assert len(last) == 7
    assert [case.pseudonym for case in store.find(Search(words=f"{4711:012x}"), limit=20)] == [f"P-{4711:012x}"]
    assert store.count(Search(statuses=(Status.CHECKED,))) == 3334
    assert time.perf_counter() - start < 5  # alone on a core, 0.1 s
    store.close()
