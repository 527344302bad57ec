"""Images asked of a PACS and results sent to it, in their own processes, against a real Orthanc."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from pydicom.uid import generate_uid
from streamlit.runtime.context import ContextProxy
from streamlit.testing.v1 import AppTest

import app
from app.cases.deliveries import Deliveries
from app.cases.tables import BUSY, Decision, DeliveryState, Status
from app.exchange.cases import RESULTS, connect, study_of
from app.pacs.transfer import send_files
from app.services import open_services, pages_use
from fedpet.core.errors import TransitionError
from fedpet.core.messages import translate_message
from fedpet.core.pacs_settings import PacsSettings
from fedpet.core.settings import Settings
from tests.support import case_files as cases

SLICES = 12  # of the PET and of the CT
PATIENT, NAME = "TRANSFER-4711", "ZQXW^Marked"


@pytest.fixture(scope="module")
def archive(orthanc):
    return PacsSettings(
        host="127.0.0.1", port=orthanc.dicom_port, called_ae=orthanc.ae, timeout_s=10, retries=0, backoff_s=0.01,
        ohif="https://ohif.example/viewer?StudyInstanceUIDs={study_uid}",
    )  # fmt: skip


@pytest.fixture
def settings(tmp_path, untrained_bundle, archive):
    nobody = archive.model_copy(update={"port": 1})
    return Settings(home=tmp_path / "home", model=untrained_bundle.folder, pacs={"hospital": archive, "nobody": nobody})


@pytest.fixture
def services(settings):
    opened = open_services(settings)
    yield opened
    opened.jobs.stop()
    opened.store.close()


@pytest.fixture(scope="module")
def stored(dicom, tmp_path_factory, archive):
    """A study that Orthanc holds."""
    uid, folder = generate_uid(), tmp_path_factory.mktemp("stored") / "study"
    suv, hu, origin = dicom.thorax((SLICES, 30, 30))
    tags = {"StudyInstanceUID": uid, "PatientID": PATIENT, "PatientName": NAME, "FrameOfReferenceUID": generate_uid()}
    dicom.save(dicom.pet(suv, origin=origin, series=f"{uid}.1", **tags), folder)
    dicom.save(dicom.ct(hu, spacing=(4.0, 4.0, 4.0), origin=origin, series=f"{uid}.2", **tags), folder)
    send_files(connect(Settings(pacs={"hospital": archive})), folder)
    return uid, folder


def _wait(services, case_id, busy=BUSY):
    while (case := services.store.get(case_id)).status in busy:
        time.sleep(0.1)
    return case


def _actions(services, case):
    return [entry.action for entry in services.workflow.audit.entries(case=case.id)][::-1]


def test_a_study_is_asked_for_comes_and_is_checked(services, stored):
    case = services.workflow.create_from_pacs("fr", pacs="hospital", study_uid=stored[0], actor="Dr A")
    assert services.store.get(case.id).status is Status.FETCHING
    checked = _wait(services, case.id)
    assert checked.status is Status.CHECKED, checked.sentence
    assert checked.received["files"] == 2 * SLICES
    assert "study_uid" not in checked.received  # asked for no longer
    assert (checked.origin, checked.owner) == ("pacs:hospital", "Dr A")
    assert len(list(services.store.source(case.id).iterdir())) == 2 * SLICES
    assert _actions(services, case) == ["case.created", "images.received"]


def test_a_study_that_does_not_come_says_why_and_is_asked_for_again(services, stored):
    case = services.workflow.create_from_pacs("fr", pacs="nobody", study_uid=stored[0], actor="Dr A")
    failed = _wait(services, case.id)
    assert failed.status is Status.FAILED
    assert "nobody" in translate_message("fr")(failed.sentence)
    assert not services.store.source(case.id).exists()
    services.workflow.start_check(case.id)
    assert services.store.get(case.id).status is Status.FETCHING
    assert _wait(services, case.id).status is Status.FAILED


def test_what_was_coming_when_the_server_stopped_comes_with_the_next(settings, services, stored):
    case = services.workflow.create_from_pacs("fr", pacs="hospital", study_uid=stored[0], actor="Dr A")
    services.jobs.stop()
    assert services.store.get(case.id).status is Status.FETCHING
    again = open_services(settings)
    again.jobs.resume()
    assert _wait(again, case.id).status is Status.CHECKED
    again.jobs.stop()
    again.store.close()


def _signed(services, folder):
    """A signed case whose objects are in `folder`."""
    case = services.store.create("fr", owner="Dr A")
    shutil.copytree(folder, services.store.version_folder(case.id, 1) / RESULTS)
    cases.sign_version(services.store, case, Decision.ACCEPT)
    return case


def _delivered(services, case):
    outbox = Deliveries(services.store.engine)
    while (delivery := outbox.get(case.id, 1)).state is DeliveryState.UNDER_WAY:
        time.sleep(0.1)
    return delivery


def test_signed_results_go_to_the_pacs(services, orthanc, dicom, tmp_path):
    uid = generate_uid()
    suv, _, origin = dicom.thorax((3, 20, 20))
    dicom.save(dicom.pet(suv, origin=origin, series=f"{uid}.1", StudyInstanceUID=uid), tmp_path / "objects")
    assert study_of(tmp_path / "objects") == uid
    case = _signed(services, tmp_path / "objects")
    services.workflow.send(case.id, 1, pacs="hospital", actor="Dr B")
    with pytest.raises(TransitionError, match="on their way"):
        services.workflow.send(case.id, 1, pacs="hospital", actor="Dr B")
    sent = _delivered(services, case)
    assert (sent.state, sent.pacs, sent.actor) == (DeliveryState.DONE, "hospital", "Dr B")
    assert len(orthanc.instances(uid)) == 3
    assert _actions(services, case) == ["results.sent"]
    services.store.delete(case.id)
    assert Deliveries(services.store.engine).get(case.id, 1) is None


def test_a_pacs_that_refuses_is_told_and_asked_again_when_the_server_comes_back(settings, services, dicom, tmp_path):
    suv, _, origin = dicom.thorax((2, 20, 20))
    dicom.save(dicom.pet(suv, origin=origin), tmp_path / "objects")
    case = _signed(services, tmp_path / "objects")
    services.workflow.send(case.id, 1, pacs="nobody", actor="Dr B")
    refused = _delivered(services, case)
    assert refused.state is DeliveryState.REFUSED
    assert "nobody" in translate_message("fr")(refused.sentence)
    assert _actions(services, case) == ["results.refused"]
    Deliveries(services.store.engine).queue(case.id, 1, pacs="hospital", actor="Dr B")  # and the server stops here
    again = open_services(settings)
    again.jobs.resume()
    assert _delivered(again, case).state is DeliveryState.DONE
    again.jobs.stop()
    again.store.close()


@pytest.fixture
def page(services, monkeypatch):
    monkeypatch.setattr(ContextProxy, "cookies", {services.access.cookie: services.access.new_cookie()})
    with pages_use(services):
        shown = AppTest.from_file(str(Path(app.__path__[0]) / "main.py"), default_timeout=60).run()
        pages = shown._registered_pages
        shown._page_hash = next(key for key, known in pages.items() if known["url_pathname"] == "new")
        shown.run()
        yield shown


def _search(page, **fields):
    page.segmented_control[-1].select("pacs").run()
    page.selectbox[0].select("hospital")
    for field, value in zip(page.text_input, (fields.get("patient", ""), fields.get("accession", "")), strict=True):
        field.set_value(value)
    next(button for button in page.button if button.label == "Chercher dans le PACS").click().run()
    assert not page.exception
    return page


def test_a_study_is_found_on_the_page_and_imported(page, services, stored):
    _search(page, patient=PATIENT)
    assert [box.label for box in page.checkbox] == ["ZQXW Marked"]
    assert PATIENT in [caption.value.replace("\\", "") for caption in page.caption]
    assert page.get("link_button")[0].proto.url == f"https://ohif.example/viewer?StudyInstanceUIDs={stored[0]}"
    page.checkbox[0].check().run()
    next(button for button in page.button if button.label == "Importer l’étude").click().run()
    assert page.title[0].value == "Dossiers"
    assert _wait(services, services.store.newest()[0].id, {Status.FETCHING}).received["files"] == 2 * SLICES
    searched = services.workflow.audit.entries(words="pacs.searched")[0]
    assert searched.detail == {"pacs": "hospital", "answers": 1}


def test_a_search_that_would_list_the_hospital_is_refused(page):
    assert "restreigne" in _search(page, patient="*").error[0].value


def test_no_answer_is_said(page):
    assert "aucun examen" in _search(page, patient="NOBODY-AT-ALL").info[0].value
