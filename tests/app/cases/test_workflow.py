"""What a reader does with a case, and the trace it leaves; the images are read by the real job."""

from __future__ import annotations

import time

import numpy as np
import pytest
from pydicom import dcmread
from pypdfium2 import PdfDocument

from app.cases.earlier_report import earlier_report
from app.cases.options import CaseOptions
from app.cases.tables import BUSY, Decision, Status
from app.screens.case.concordance import compare
from app.services import open_services
from app.viewer.description import read_description
from fedpet.clinical.reading import record_from_mapping
from fedpet.core.errors import TransitionError
from fedpet.core.messages import Message
from fedpet.core.settings import Settings
from fedpet.imaging.suv.overrides import parse_override
from reports.verification import verify_report
from tests.support import report_content as cases


@pytest.fixture
def services(tmp_path, untrained_bundle):
    signer, _ = cases.certificate("Centre Exemple", tmp_path)
    (tmp_path / "password").write_text("secret")
    (tmp_path / "password").chmod(0o600)
    opened = open_services(
        Settings(
            home=tmp_path / "home",
            model=untrained_bundle.folder,
            report_signer=signer,
            report_signer_password_file=tmp_path / "password",
        )
    )
    yield opened
    opened.jobs.stop()
    opened.store.close()


SUV = np.ones((12, 24, 24))
SUV[5:8, 8:12, 8:12] = 9.0
FRAME = {"spacing": (4.0, 4.0, 4.0), "origin": (-48.0, -48.0, 0.0)}


def _receive(services, dicom, **attributes):
    """A small PET/CT of no chest: it can be measured, and the model abstains."""
    case = services.workflow.create("fr", actor="Dr A", record={"age": 60.0})
    slices = [*dicom.pet(SUV, **FRAME, **attributes), *dicom.ct(np.zeros(SUV.shape, int), **FRAME)]
    dicom.save(slices, services.store.source(case.id))
    services.workflow.receive_images(case.id, files=len(slices), size=1000, actor="Dr A")
    return case


def _wait(services, case):
    """Until a job has ended and told the audit trail so, which it does after it has kept the answer."""
    while (found := services.store.get(case.id)).status in BUSY:
        time.sleep(0.1)
    while found.status is Status.READY and "answer.computed" not in _actions(services, case):
        time.sleep(0.1)
    return found


def _actions(services, case):
    return [entry.action for entry in services.workflow.audit.entries(case=case.id)][::-1]


def test_a_case_is_checked_answered_read_signed_and_amended(services, dicom, tmp_path):
    case, workflow = _receive(services, dicom), services.workflow
    checked = _wait(services, case)
    assert (checked.status, checked.inspection["refused"]) == (Status.CHECKED, None)
    workflow.confirm_record(case.id, actor="Dr A")
    ready = _wait(services, case)
    assert ready.status is Status.READY, ready.sentence
    assert ready.result["prediction"]["quantities"]["suv_max"] == pytest.approx(9.0, abs=0.01)
    workflow.mark_read(ready, actor="Dr B")
    (tmp_path / "password").chmod(0o644)
    workflow.sign(case.id, Decision.AMEND, "No chest.", actor="Dr B")
    unsealed = _wait(services, case)
    assert (unsealed.status, services.store.versions(case.id)) == (Status.READ, [])
    assert "certificate that signs" in str(unsealed.sentence)
    (tmp_path / "password").chmod(0o600)
    workflow.sign(case.id, Decision.AMEND, "  No chest. ", conclusion=" One hot square. ", actor="Dr B")
    signed = _wait(services, case)
    assert signed.status is Status.SIGNED, signed.sentence
    version = services.store.versions(case.id)[0]
    assert (version.number, version.reader, version.comment) == (1, "Dr B", "No chest.")
    folder = services.store.version_folder(case.id, 1)
    for language in ("fr", "en"):
        found = verify_report(folder / f"report.{language}.pdf", trust=[tmp_path / "Centre Exemple.pem"])
        assert (found.valid, found.content_hash) == (True, version.content_hash)
    words = " ".join(page.get_textpage().get_text_range() for page in PdfDocument(folder / "report.en.pdf"))
    assert "No chest." in words
    assert "One hot square." in words
    assert "hypermetabolic lesion" not in words  # the composed sentences gave way
    assert "Dr B" in words
    assert version.content_hash[:12] in words.replace(" ", "")
    workflow.open_version(case.id, actor="Dr B")
    assert services.store.get(case.id).version == 2
    assert (folder / "report.fr.pdf").is_file()
    assert _actions(services, case) == [
        *("case.created", "images.received", "record.confirmed", "answer.computed"),
        *("answer.read", "verdict.signed", "version.opened"),
    ]
    assert workflow.audit.verify().broken is None


def test_a_signed_report_is_compared_with_the_examination_signed_before(services, dicom, monkeypatch):
    """One that nobody signed counts for nothing; the lesion keeps its tracking UID."""
    monkeypatch.setattr(services.settings, "report_signer", None)
    store, made = services.store, []
    for year in ("2023", "2025"):
        case = _receive(services, dicom, StudyDate=f"{year}0302")
        _wait(services, case)
        services.workflow.confirm_record(case.id, actor="Dr A")
        made.append(_wait(services, case))
        assert made[-1].status is Status.READY
    assert earlier_report(store, made[1], lambda of: read_description(store.folder(of))["body"]) is None
    tracking, pages = [], []
    for case in made:
        services.workflow.sign(case.id, Decision.ACCEPT, "", actor="Dr B")
        assert _wait(services, case).status is Status.SIGNED
        folder = store.version_folder(case.id, 1)
        tracking.append([one.TrackingUID for one in dcmread(folder / "dicom" / "lesions.dcm").SegmentSequence])
        pages.append(PdfDocument(folder / "report.en.pdf")[0].get_textpage().get_text_range())
    assert "Compared with the earlier examination" not in pages[0]
    assert "Compared with the earlier examination" in pages[1]
    assert "2 March 2023" in pages[1]
    assert "One lesion matched; 0 new; 0 gone" in pages[1]
    assert tracking[0] == tracking[1]


def test_a_record_that_contradicts_the_images_goes_back_to_its_reader_until_confirmed(services, dicom):
    """Confirmed while the images are checked; the factory's patient is a woman."""
    case, workflow = _receive(services, dicom, PatientAge="061Y"), services.workflow
    services.store.save_draft(case.id, {"age": 60.0, "sex": "M", "pet_to_treatment_days": 20.0}, "fr")
    workflow.confirm_record(case.id, actor="Dr A")
    back = _wait(services, case)
    assert (back.status, back.confirmed, back.result) == (Status.CHECKED, False, None)
    found = compare(record_from_mapping(back.record), back.stored_inspection.patient.facts, b"")
    assert [item.name for item in found.contradictions] == ["sex"]
    workflow.confirm_record(case.id, actor="Dr A", contradicting=found, reason="wrong at the console")
    ready = _wait(services, case)
    assert ready.status is Status.READY, ready.sentence
    stored = ready.stored_result.concordance
    assert (stored.confirmation.reason, stored.confirmation.by) == ("wrong at the console", "Dr A")
    assert next(check.level for check in ready.stored_result.checks if check.name == "record_fits") == "warn"
    entry = next(one for one in services.workflow.audit.entries(case=case.id) if one.action == "record.confirmed")
    assert entry.detail == {"contradictions": ["sex"], "reason": "wrong at the console"}
    words = PdfDocument(services.store.folder(case.id) / "report.en.pdf")[0].get_textpage().get_text_range()
    assert "wrong at the console" in words
    workflow.reopen_record(case.id, actor="Dr A")  # other contradictions are not covered by that reason
    services.store.save_draft(case.id, {"age": 81.0, "sex": "M", "pet_to_treatment_days": 20.0}, "fr")
    workflow.confirm_record(case.id, actor="Dr A")
    assert _wait(services, case).status is Status.CHECKED


def test_images_without_suv_can_be_seen_and_a_correction_rescues_them(services, dicom):
    case = _receive(services, dicom, PatientWeight="0")
    checked = _wait(services, case)
    assert checked.status is Status.CHECKED
    assert "weight" in str(Message.from_json(checked.inspection["refused"]["found"]))
    assert (services.store.folder(case.id) / "pet.bin").is_file()
    weight = parse_override("weight_kg", "70", reason="as told by the patient", by="Dr A")
    services.workflow.change_images(case.id, CaseOptions(corrections=(weight,)), actor="Dr A")
    corrected = _wait(services, case)
    assert corrected.inspection["refused"] is None
    assert corrected.inspection["corrections"][0]["new"] == 70
    change = next(entry for entry in services.workflow.audit.entries(case=case.id) if entry.action == "case.changed")
    assert change.detail["corrections"]["new"][0]["reason"] == "as told by the patient"


def test_of_two_examinations_a_reader_chooses_one_on_the_page(services, dicom):
    case = services.workflow.create("fr", actor="Dr A")
    slices = [*dicom.pet(SUV, **FRAME), *dicom.pet(SUV, series="other", StudyInstanceUID="1.2.3", **FRAME)]
    dicom.save(slices, services.store.source(case.id))
    services.workflow.receive_images(case.id, files=len(slices), size=1, actor="Dr A")
    refused = _wait(services, case)
    assert refused.status is Status.REFUSED
    assert "different examinations" in str(refused.sentence)
    numbers = [one.id for one in refused.stored_series if one.modality == "PT"]
    assert len(numbers) == 2
    services.workflow.change_images(case.id, CaseOptions(pet_series=numbers[1]), actor="Dr A")
    checked = _wait(services, case)
    assert checked.status is Status.CHECKED, checked.sentence
    assert [one.id for one in checked.stored_inspection.series if one.chosen] == [numbers[1]]


def test_an_erased_case_leaves_only_its_proof(services, dicom):
    case = _receive(services, dicom)
    _wait(services, case)
    folder = services.store.folder(case.id)
    count = sum(path.is_file() for path in folder.rglob("*"))
    assert services.workflow.erase(case.id, actor="Dr A", reason="asked by the patient")
    assert not folder.exists()
    proof = services.workflow.audit.entries(case=case.id)[0]
    assert (proof.action, proof.detail["files"], proof.detail["reason"]) == (
        "case.erased", count, "asked by the patient",
    )  # fmt: skip
    assert len(proof.detail["sha256"]) == 64


def test_a_busy_case_is_neither_changed_nor_erased(services, dicom):
    case = _receive(services, dicom)
    with pytest.raises(TransitionError):
        services.workflow.change_images(case.id, CaseOptions(ct_series=1), actor="Dr A")
    with pytest.raises(TransitionError):
        services.workflow.erase(case.id, actor="Dr A")
    assert services.store.get(case.id).options == {}
    _wait(services, case)
