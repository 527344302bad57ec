"""The receiver: from an association or a folder to a case, and its results back to the PACS."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage, generate_uid
from pynetdicom import AE, evt

from app.audit.trail import AuditTrail
from app.cases.store import Store
from app.cases.tables import Decision, SignedVersion, Status
from app.cases.workflow import Workflow
from app.exchange.cases import RESULTS, connect, import_case, send_results
from app.exchange.receiver import Listener
from app.pacs.storage_scp import configure_connection
from fedpet.core.errors import PacsError
from fedpet.core.messages import translate_message
from fedpet.core.settings import Settings
from fedpet.imaging.loading import load_study
from tests.support import ROOT

SLICES = 6
QUIET = 0.2  # seconds


class Noted:
    """Stands for the queue of computations, which have tests of their own."""

    def __init__(self):
        self.submitted = []

    def submit(self, case_id):
        self.submitted.append(case_id)


@pytest.fixture
def place(tmp_path, orthanc):
    """A receiver with a home of its own: `make(...)` gives the listener, its workflow and what it tells."""
    stores = []

    def make(**listen):
        pacs = {"host": "127.0.0.1", "port": orthanc.dicom_port, "called_ae": orthanc.ae, "retries": 0, "timeout_s": 5}
        usual = {"ae": "FEDPETIN", "port": orthanc.listen_port, "quiet_s": QUIET, "pacs": "orthanc"}
        settings = Settings(home=tmp_path / "home", pacs={"orthanc": pacs}, pacs_listen=usual | listen)
        store = Store.open(settings)
        stores.append(store)
        workflow = Workflow(store, AuditTrail(store.engine, settings.folder), Noted())
        told = []
        return Listener(settings, workflow, told.append), workflow, told

    yield make
    for store in stores:
        store.close()


@contextmanager
def running(listener, told):
    """The receiver in a thread; what it tells begins once it listens."""
    stop = threading.Event()
    thread = threading.Thread(target=listener.run, args=(stop,))
    thread.start()
    try:
        until(lambda: told)
        assert told.pop(0).kind == "listening"
        yield
    finally:
        stop.set()
        thread.join()


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


def settled(listener):
    """Let the study become quiet, and do what is due."""
    time.sleep(QUIET + 0.05)
    listener.step()


@pytest.fixture
def study(dicom, tmp_path):
    """A small PET/CT of its own: its identifier, the folder, and its slices."""
    uid = generate_uid()
    suv, hu, origin = dicom.thorax((SLICES, 20, 20))
    tags = {"StudyInstanceUID": uid, "FrameOfReferenceUID": generate_uid()}
    slices = [
        *dicom.pet(suv, origin=origin, series=f"{uid}.1", **tags),
        *dicom.ct(hu, spacing=(4.0, 4.0, 4.0), origin=origin, series=f"{uid}.2", **tags),
    ]
    dicom.save(slices, tmp_path / "study")
    return uid, tmp_path / "study", slices


@contextmanager
def associated(orthanc, caller="ORTHANC", called="FEDPETIN"):
    ae = AE(caller)
    for kind in (CTImageStorage, "1.2.840.10008.5.1.4.1.1.128"):
        ae.add_requested_context(kind)
    handlers = [(evt.EVT_CONN_OPEN, configure_connection)]
    association = ae.associate("127.0.0.1", orthanc.listen_port, ae_title=called, evt_handlers=handlers)
    yield association
    if association.is_established:
        association.release()


def stored(association, slices):
    return [association.send_c_store(one).get("Status") for one in slices]


def test_a_study_that_the_pacs_sends_becomes_a_case(place, study, orthanc):
    uid, folder, _ = study
    listener, workflow, told = place()
    send_to_orthanc(listener, folder)
    with running(listener, told):
        orthanc.rest("/modalities/listen/store", list(orthanc.instances(uid).values()))
        until(lambda: told)
    (case,) = workflow.store.newest()
    assert (case.status, case.origin, case.received["files"]) == (Status.CHECKING, "pacs:orthanc", 2 * SLICES)
    assert workflow.jobs.submitted == [case.id]
    assert [(one.kind, one.case) for one in told] == [("queued", case.id)]
    assert translate_message("fr")(told[0].message) == f"Un examen de {2 * SLICES} images est devenu un dossier."
    source = workflow.store.source(case.id)
    assert sorted(path.name for path in source.iterdir()) == [f"{number:06d}" for number in range(2 * SLICES)]
    sent, received = (load_study(one, pseudonym_key=bytes(32)) for one in (folder, source))
    assert np.array_equal(sent.pet.array, received.pet.array)
    assert np.array_equal(sent.ct.array, received.ct.array)
    assert case.received["bytes"] == sum(path.stat().st_size for path in source.iterdir())


def send_to_orthanc(listener, folder):
    from app.pacs.transfer import send_files

    send_files(connect(listener._settings), folder)


def test_a_sender_that_breaks_off_makes_no_case_until_it_sends_again(place, study, orthanc):
    listener, workflow, told = place()
    _, _, slices = study
    with running(listener, told):
        with associated(orthanc) as sender:
            assert stored(sender, slices[: SLICES + 2]) == [0x0000] * (SLICES + 2)
            sender.abort()
        until(lambda: told)
        assert (told[0].kind, workflow.store.newest()) == ("waiting", [])
        with associated(orthanc) as sender:
            stored(sender, slices[SLICES:])
        until(lambda: len(told) > 1)
    (case,) = workflow.store.newest()
    assert case.received["files"] == 2 * SLICES
    assert [one.kind for one in told] == ["waiting", "queued"]


def test_a_connection_that_is_cut_counts_as_broken_off(place, study, orthanc):
    listener, workflow, told = place()
    with running(listener, told):
        with associated(orthanc) as sender:
            stored(sender, study[2][:3])
            sender.dul.socket.socket.close()
        until(lambda: told)
    assert (told[0].kind, workflow.store.newest()) == ("waiting", [])


def test_the_pacs_completes_a_study_that_broke_off(place, study, orthanc):
    uid, folder, slices = study
    listener, workflow, told = place(check=True)
    send_to_orthanc(listener, folder)
    with running(listener, told):
        with associated(orthanc) as sender:
            stored(sender, slices[:3])
            sender.abort()
        until(lambda: told)
    (case,) = workflow.store.newest()
    assert case.received["files"] == 2 * SLICES
    assert len(orthanc.instances(uid)) == 2 * SLICES


def test_a_study_that_the_pacs_cannot_confirm_waits(place, study, orthanc):
    listener, workflow, told = place(check=True)
    with running(listener, told), associated(orthanc) as sender:
        stored(sender, study[2])
        sender.release()
        until(lambda: told)
        time.sleep(2 * QUIET + 0.3)
    assert workflow.store.newest() == []
    assert [one.kind for one in told] == ["waiting"]  # said once
    assert "lists no image" in str(told[0].message)


def test_callers_and_called_titles_that_are_not_ours_are_rejected(place, study, orthanc):
    listener, workflow, told = place(callers=["ORTHANC"])
    with running(listener, told):
        for caller, called in (("STRANGER", "FEDPETIN"), ("ORTHANC", "OTHER")):
            with associated(orthanc, caller, called) as sender:
                assert sender.is_rejected
        with associated(orthanc) as sender:
            assert stored(sender, study[2][:1]) == [0x0000]
    assert workflow.store.newest() == []


def test_an_object_that_is_too_large_aborts_its_association(place, study, orthanc):
    listener, workflow, told = place(max_instance_mb=1)
    large = copy.deepcopy(study[2][-1])
    large.PixelData = bytes(2**21)
    with running(listener, told):
        with associated(orthanc) as sender:
            assert stored(sender, [study[2][-2], large]) == [0x0000, None]
        with associated(orthanc) as sender:
            assert stored(sender, study[2][-2:]) == [0x0000, 0x0000]
        until(workflow.store.newest)  # between the two it may have told that the study waits
    assert len(workflow.store.newest()) == 1


def test_an_object_that_is_not_what_it_says_is_refused(place, study, orthanc):
    listener, _, told = place()
    false = copy.deepcopy(study[2][-1])
    del false.SeriesInstanceUID
    with running(listener, told), associated(orthanc) as sender:
        assert stored(sender, [false]) == [0xC211]


def test_a_study_beyond_the_limits_is_refused_and_removed(place, study, orthanc):
    listener, workflow, told = place()
    listener.inbox._limits = listener.inbox._limits.__class__(max_files=SLICES)
    with running(listener, told):
        with associated(orthanc) as sender:
            assert set(stored(sender, study[2])) == {0x0000, 0xA700}
        until(lambda: told)
    assert told[0].kind == "refused"
    assert f"more than {SLICES} images" in str(told[0].message)
    assert workflow.store.newest() == []
    assert not [path for path in listener.inbox._folder.rglob("*") if path.name.isdigit()]


def test_late_images_wait_and_the_whole_study_again_is_a_new_case(place, study, orthanc):
    listener, workflow, told = place()
    slices = study[2]
    with running(listener, told):
        for part, count in ((slices[:-1], 1), (slices[-1:], 2), (slices[:-1], 3)):
            with associated(orthanc) as sender:
                stored(sender, part)
            until(lambda count=count: len(told) == count)
    assert [one.kind for one in told] == ["queued", "waiting", "queued"]
    newest, first = workflow.store.newest()
    assert (newest.received["files"], first.received["files"]) == (2 * SLICES, 2 * SLICES - 1)


def test_the_same_study_again_is_dropped_until_its_case_is_erased(place, study, orthanc):
    listener, workflow, told = place()

    def send(count):
        with associated(orthanc) as sender:
            stored(sender, study[2])
        until(lambda: len(told) == count)

    with running(listener, told):
        send(1)
        send(2)
        workflow.store.record_failure(told[0].case, told[0].message)
        assert workflow.erase(told[0].case, actor="reader")
        send(3)
    assert [one.kind for one in told] == ["queued", "repeated", "queued"]


def test_a_watched_folder_is_emptied_into_cases(place, study, tmp_path):
    watched = tmp_path / "watched"
    (watched / "deeper").mkdir(parents=True)
    listener, workflow, told = place(watch=watched)
    for number, path in enumerate(study[1].iterdir()):
        path.rename(watched / "deeper" / f"{number}.dcm")
    (watched / "letter.txt").write_text("Dear colleague")
    (watched / "link").symlink_to(tmp_path / "home")
    listener.step()
    assert len(list((watched / "deeper").iterdir())) == 2 * SLICES  # perhaps still being written
    listener.step()
    assert sorted(path.name for path in watched.rglob("*")) == ["deeper", "letter.txt", "link"]
    settled(listener)
    assert [one.kind for one in told] == ["queued"]
    assert workflow.store.newest()[0].received["files"] == 2 * SLICES


def test_prediction_may_start_without_a_record(place, study, tmp_path):
    watched = study[1]
    listener, workflow, _ = place(watch=watched, predict=True)
    listener.step()
    listener.step()
    settled(listener)
    assert workflow.store.newest()[0].confirmed
    assert tmp_path.exists()


def test_a_hand_over_that_was_cut_short_is_finished_at_the_next_start(place, study):
    listener, workflow, _ = place(watch=study[1])
    listener.step()
    listener.step()
    (incoming,) = listener.inbox.studies.values()
    case = workflow.create("fr", actor="fedpet", origin="pacs:orthanc")
    incoming.assign(case.id)  # and the process is killed
    again, workflow, told = place()
    again.resume()
    assert workflow.store.get(case.id).received["files"] == 2 * SLICES
    assert workflow.jobs.submitted == [case.id]
    assert [one.kind for one in told] == ["queued"]
    third, workflow, told = place()
    third.resume()  # the case that was being checked is taken up
    assert (workflow.jobs.submitted, told) == ([case.id], [])


@pytest.fixture
def answered(place, study):
    """A case from the PACS with DICOM objects: what `make` gives, and the case."""

    def make(signed=False, **listen):
        listener, workflow, told = place(watch=study[1], **listen)
        listener.step()
        listener.step()
        settled(listener)
        case = workflow.store.newest()[0].id
        folder = workflow.store.version_folder(case, 1) if signed else workflow.store.folder(case)
        result = copy.deepcopy(study[2][0])
        result.SOPInstanceUID = result.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        result.SeriesInstanceUID = generate_uid()
        (folder / RESULTS).mkdir(parents=True)
        result.save_as(folder / RESULTS / "segmentation.dcm", enforce_file_format=True)
        told.clear()
        return listener, workflow, told, case, result.SOPInstanceUID

    return make


def finish(workflow, case):
    store = workflow.store
    store.finish_check(case, pseudonym="P-1", study_date="2024-03-05", inspection={})
    store.confirm_record(case)
    store.finish_computation(case, result={"prediction": {"model": {"digest": "d"}}})


def sign(workflow, case):
    finish(workflow, case)
    store = workflow.store
    store.mark_read(case)
    store.start_signing(case, decision=Decision.ACCEPT, comment="", reader="reader")
    facts = {"signed": store.get(case).created, "reader": "reader", "decision": Decision.ACCEPT, "comment": ""}
    store.finish_signing(SignedVersion(case=case, number=1, report_uid="2.25.1", content_hash="0", result={}, **facts))


def test_results_go_back_once_they_are_ready(answered, study, orthanc):
    listener, workflow, told, case, uid = answered(send_back="ready")
    listener.send_back()
    assert uid not in orthanc.instances(study[0])
    finish(workflow, case)
    listener.send_back()
    listener.send_back()
    assert uid in orthanc.instances(study[0])
    assert [(one.kind, one.case) for one in told] == [("sent", case)]
    note = json.loads((workflow.store.folder(case) / "dicom.sent.json").read_text())
    assert (note["pacs"], note["objects"]) == ("orthanc", 1)
    entry = next(one for one in workflow.audit.entries() if one.action == "results.sent")
    assert (entry.case, entry.detail) == (case, {"pacs": "orthanc", "objects": 1})


@pytest.mark.parametrize(("send_back", "goes"), [("signed", True), ("ready", True), ("no", False)])
def test_signed_results_go_back_where_it_is_wanted(answered, study, orthanc, send_back, goes):
    listener, workflow, told, case, uid = answered(signed=True, send_back=send_back)
    listener.send_back()
    assert told == []
    sign(workflow, case)
    listener.send_back()
    assert (uid in orthanc.instances(study[0])) is goes
    assert [one.kind for one in told] == ["sent"] * goes


def test_results_that_are_only_ready_do_not_go_before_they_are_signed(answered, study, orthanc):
    listener, workflow, told, case, uid = answered(send_back="signed")
    finish(workflow, case)
    listener.send_back()
    assert (uid in orthanc.instances(study[0]), told) == (False, [])


def test_results_that_could_not_be_sent_are_sent_later(answered, orthanc, study):
    listener, workflow, told, case, uid = answered(send_back="ready")
    finish(workflow, case)
    reachable = listener._pacs.settings
    listener._pacs.settings = reachable.model_copy(update={"port": orthanc.free_port()})
    listener.send_back()
    listener.step()  # not due yet
    assert [one.kind for one in told] == ["unsent"]
    listener._pacs.settings = reachable
    listener._unsent = {folder: (0.0, wait) for folder, (_, wait) in listener._unsent.items()}
    listener.send_back()
    assert [one.kind for one in told] == ["unsent", "sent"]
    assert uid in orthanc.instances(study[0])


def test_our_own_results_begin_no_study(answered, study, orthanc):
    listener, workflow, told, case, _ = answered(send_back="ready")
    finish(workflow, case)
    path = next((workflow.store.folder(case) / RESULTS).iterdir())
    result = dcmread(path)
    result.SOPClassUID = result.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"
    result.save_as(path)
    with running(listener, told):
        until(lambda: told)
        orthanc.rest("/modalities/listen/store", list(orthanc.instances(study[0]).values()))
        time.sleep(2 * QUIET)
    assert len(workflow.store.newest()) == 1


def test_a_study_is_imported_as_a_case_or_leaves_nothing(place, study):
    listener, workflow, _ = place()
    settings, pacs = listener._settings, connect(listener._settings)
    send_to_orthanc(listener, study[1])
    case = import_case(workflow, settings, pacs, study[0], language="en", actor="reader")
    kept = workflow.store.get(case)
    assert (kept.origin, kept.owner, kept.language) == ("pacs:orthanc", "reader", "en")
    assert kept.received["files"] == 2 * SLICES
    with pytest.raises(PacsError):
        import_case(workflow, settings, pacs, generate_uid(), language="en", actor="reader")
    assert [one.id for one in workflow.store.newest()] == [case]
    assert list((settings.folder / "pacs" / "fetched").iterdir()) == []
    with pytest.raises(PacsError):
        send_results(workflow.audit, pacs, case, workflow.store.folder(case) / "none", actor="reader")


# the command, as a process that is killed


@contextmanager
def listening(home, orthanc):
    (home / "fedpet.toml").write_text(
        f'home = "{home / "home"}"\n[pacs.orthanc]\nhost = "127.0.0.1"\nport = {orthanc.dicom_port}\n'
        f'called_ae = "{orthanc.ae}"\n[pacs_listen]\nae = "FEDPETIN"\nport = {orthanc.listen_port}\nquiet_s = 1.0\n'
        'pacs = "orthanc"\nsend_back = "ready"\n'
    )
    environment = {**os.environ, "FEDPET_CONFIG": str(home / "fedpet.toml"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", "from app.cli.pacs import commands; commands()", "listen", "--json"]
    with subprocess.Popen(command, env=environment, cwd=ROOT, text=True, stdout=subprocess.PIPE) as process:
        try:
            assert json.loads(process.stdout.readline())["event"] == "listening"
            yield process
        finally:
            process.kill()


def test_a_receiver_that_is_killed_goes_on_and_the_case_is_checked(study, orthanc, tmp_path):
    slices = study[2]
    with listening(tmp_path, orthanc) as process, associated(orthanc) as sender:
        assert stored(sender, slices[:4]) == [0x0000] * 4
        process.kill()
    with listening(tmp_path, orthanc) as process:
        with associated(orthanc) as sender:
            assert stored(sender, slices) == [0x0000] * len(slices)
        event = next(one for one in map(json.loads, process.stdout) if one["event"] != "waiting")
        assert event["event"] == "queued"
        store = Store.open(Settings(home=tmp_path / "home"))
        until(lambda: store.get(event["case"]).status not in {Status.RECEIVED, Status.CHECKING}, seconds=120)
        case = store.get(event["case"])
        store.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert (case.status, case.received["files"]) == (Status.CHECKED, 2 * SLICES)
    assert case.pseudonym
