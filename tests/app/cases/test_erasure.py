"""Erasure reaches what is outside the cases, searches it afterwards, and fails where something stays."""

import hashlib
import json
import os
import sqlite3
import time
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from app.cases.erasure import erase_patient, find_expired, purge
from app.cases.remains import FETCHED, INBOX, QUARANTINE
from app.cases.tables import Status
from app.exchange.inbox import Inbox
from app.pacs.object_store import parse
from app.services import open_services
from fedpet.core.errors import ErasureError, OutdatedError, SettingsError
from fedpet.core.pseudonyms import pseudonym
from fedpet.core.settings import Settings
from fedpet.imaging.dicom.files import InputLimits

MARKED = "ZZIPP-80012"


@pytest.fixture
def services(tmp_path):
    opened = open_services(Settings(home=tmp_path / "home"))
    yield opened
    opened.jobs.stop()
    opened.store.close()


@pytest.fixture
def images(dicom):
    """Images of the marked patient and of another one, in two studies."""

    def of(patient, study):
        built = dicom.ct(dicom.thorax((3, 8, 8))[1], StudyInstanceUID=study, PatientID=patient)
        for one in built:
            one.PatientName = one.PatientBirthDate = ""
            one.PatientID = patient
        return [dicom.to_bytes(one) for one in built]

    return of(MARKED, "1.2.826.0.77"), of("OTHER-1", "1.2.826.0.78")


def _checked(services, name):
    case = services.store.create("fr", {"drug": "pembrolizumab"})
    services.store.start_check(case.id)
    services.store.finish_check(case.id, pseudonym=name, study_date="2026-01-02", inspection={"refused": None})
    (services.store.folder(case.id) / "pet.bin").write_bytes(b"12345")
    return case


def test_what_is_left_of_a_patient_anywhere_is_removed_searched_and_proven(services, images):
    store, key, home = services.store, services.settings.pseudonym_key(), services.settings.folder
    known = pseudonym(MARKED, key)
    case, other = _checked(services, known), _checked(services, "P-other")
    inbox = Inbox(home, key, InputLimits(), max_bytes=2**30)
    for half in images:
        for content in half[:2]:
            assert inbox.receive(parse(content), "sender") == 0
    for place in (QUARANTINE, FETCHED):
        for number, whole in enumerate(images):
            folder = home / place / str(number)
            folder.mkdir(parents=True)
            (folder / "000000").write_bytes(whole[0])
    reader = sqlite3.connect(home / "cases.sqlite")  # as another process: the log is shared
    path = erase_patient(services.workflow, known, services.proofs, actor="chief", reason="asked")
    proof = json.loads(path.read_text())
    assert proof["elsewhere"]["removed"] == 3
    assert proof["elsewhere"]["found"] == []
    assert proof["elsewhere"]["searched"][INBOX] >= 2
    assert {"cases.sqlite", "cases.sqlite-wal"} <= set(proof["elsewhere"]["searched"])
    assert proof["pseudonym_sha256"] == hashlib.sha256(known.encode()).hexdigest()
    assert store.get(case.id) is None
    assert store.get(other.id) is not None
    left = [one for one in home.rglob("*") if one.is_file() and MARKED.encode() in one.read_bytes()]
    assert left == []
    kept = [one for one in home.rglob("*") if one.is_file() and b"OTHER-1" in one.read_bytes()]
    assert len(kept) == 4
    inbox.end("sender", well=True)  # its study was erased under it
    assert len(inbox.studies) == 1
    reader.close()


def test_a_half_received_study_is_erased_although_there_is_no_case(services, images):
    home, key = services.settings.folder, services.settings.pseudonym_key()
    Inbox(home, key, InputLimits(), max_bytes=2**30).receive(parse(images[0][0]))
    erase = [services.workflow, pseudonym(MARKED, key), services.proofs]
    assert json.loads(erase_patient(*erase, actor="chief", reason="asked").read_text())["elsewhere"]["removed"] == 1
    assert erase_patient(*erase, actor="chief", reason="asked") is None


def test_what_waited_longer_than_the_retention_is_erased_with_its_proof(services, images):
    home, day = services.settings.folder, 86_400
    for number, (place, age) in enumerate([(QUARANTINE, 31), (INBOX, 31), (FETCHED, 31), (QUARANTINE, 29)]):
        folder = home / place / f"study-{number}"
        folder.mkdir(parents=True)
        (folder / "000000").write_bytes(images[0][number % 3])
        os.utime(folder / "000000", (time.time() - age * day,) * 2)
    remembered = home / INBOX / "became-a-case" / "state.json"
    remembered.parent.mkdir()
    remembered.write_text('{"case": "1"}')
    os.utime(remembered, (0, 0))
    old = find_expired(services.store, 30)
    assert (len(old.cases), len(old.waiting)) == (0, 3)
    with pytest.raises(OutdatedError):
        purge(services.workflow, 30, services.proofs, actor="chief", shown=find_expired(services.store, 1000).digest)
    path = purge(services.workflow, 30, services.proofs, actor="chief", shown=old.digest)
    assert json.loads(path.read_text())["elsewhere"]["removed"] == 3
    assert [one.parent.name for one in (home / "pacs").rglob("000000")] == ["study-3"]
    assert remembered.is_file()
    assert purge(services.workflow, 30, services.proofs, actor="chief") is None
    assert not find_expired(services.store, 0)


def test_a_file_that_cannot_be_removed_makes_the_erasure_fail_and_the_case_stays(services, monkeypatch):
    known = pseudonym(MARKED, services.settings.pseudonym_key())
    case, remove = _checked(services, known), os.unlink

    def refuse(path, *args, **kwargs):
        if str(path).endswith("pet.bin"):
            raise PermissionError(1, "Operation not permitted")
        remove(path, *args, **kwargs)

    with monkeypatch.context() as held:  # root, as which tests run, may remove everything
        held.setattr(os, "unlink", refuse)
        with pytest.raises(ErasureError) as refused:
            erase_patient(services.workflow, known, services.proofs, actor="chief", reason="asked")
    assert "1 cases" in str(refused.value)
    assert services.store.get(case.id).status is Status.CHECKED
    (path,) = services.proofs.iterdir()
    assert json.loads(path.read_text())["not_removed"] == [case.id]
    assert not [one for one in services.workflow.audit.entries() if one.action == "case.erased"]


def test_a_log_that_is_still_being_read_is_found_and_said(services):
    known = pseudonym(MARKED, services.settings.pseudonym_key())
    _checked(services, known)
    reader = sqlite3.connect(services.settings.folder / "cases.sqlite")
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM cases").fetchone()  # holds the state before the erasure
    with services.store.engine.connect() as connection:
        connection.execute(text("PRAGMA busy_timeout=50"))
    with pytest.raises(ErasureError) as refused:
        erase_patient(services.workflow, known, services.proofs, actor="chief", reason="asked")
    assert "write-ahead log" in str(refused.value)
    reader.close()


def test_an_error_of_the_database_holds_no_value(services):
    case = _checked(services, "P-1")
    holder = sqlite3.connect(services.settings.folder / "cases.sqlite", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with services.store.engine.connect() as connection:
        connection.execute(text("PRAGMA busy_timeout=50"))
    with pytest.raises(OperationalError) as locked:
        services.store.save_draft(case.id, {"drug": "ZZRECORDMARK"}, "fr")
    assert "locked" in str(locked.value)
    assert "ZZRECORDMARK" not in str(locked.value)
    holder.close()


def test_erasing_one_case_leaves_nothing_of_it_in_the_log_of_the_database(services):
    case = _checked(services, "P-ZZPSEUDO")
    services.workflow.erase(case.id, actor="chief")
    files = list(services.settings.folder.glob("cases.sqlite*"))
    assert files
    assert not [one for one in files if b"P-ZZPSEUDO" in one.read_bytes()]


@pytest.mark.parametrize("jump", [timedelta(days=-3), timedelta(days=4000)])
def test_a_clock_that_jumps_erases_nothing_by_age_and_breaks_no_trail(services, monkeypatch, jump):
    case = _checked(services, "P-1")
    services.workflow.audit.record("Dr A", "case.created", case=case.id)

    class Clock(datetime):
        @classmethod
        def now(cls, zone=None):
            return datetime.now(zone) + jump

    monkeypatch.setattr("app.cases.erasure.datetime", Clock)
    monkeypatch.setattr("app.audit.trail.datetime", Clock)
    with pytest.raises(SettingsError, match="clock"):
        purge(services.workflow, 30, services.proofs, actor="chief")
    assert services.store.get(case.id) is not None
    services.workflow.audit.record("Dr A", "case.opened", case=case.id)
    assert services.workflow.audit.verify().broken is None
