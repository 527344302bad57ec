"""What a reader does with a case, and the trace it leaves; the images are read by the real job."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import numpy as np
import pytest
from pypdfium2 import PdfDocument

from app.options import CaseOptions
from app.services import open_services
from app.tables import BUSY, Decision, Status
from fedpet.messages import Message
from fedpet.settings import Settings
from imaging.corrections import parse_correction
from reports.verification import verify_report

_spec = importlib.util.spec_from_file_location("report_cases", Path(__file__).with_name("report_cases.py"))
cases = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(cases)


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
    services.workflow.received(case.id, files=len(slices), size=1000, actor="Dr A")
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
    workflow.confirm(case.id, actor="Dr A")
    ready = _wait(services, case)
    assert ready.status is Status.READY, ready.sentence
    assert ready.result["prediction"]["quantities"]["suv_max"] == pytest.approx(9.0, abs=0.01)
    workflow.read(ready, actor="Dr B")
    (tmp_path / "password").chmod(0o644)
    assert workflow.sign(case.id, Decision.AMEND, "No chest.", actor="Dr B")
    unsealed = _wait(services, case)
    assert (unsealed.status, services.store.versions(case.id)) == (Status.READ, [])
    assert "certificate that signs" in str(unsealed.sentence)
    (tmp_path / "password").chmod(0o600)
    assert workflow.sign(case.id, Decision.AMEND, "  No chest. ", actor="Dr B")
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
    assert "Dr B" in words
    assert version.content_hash[:12] in words.replace(" ", "")
    assert workflow.amend(case.id, actor="Dr B")
    assert services.store.get(case.id).version == 2
    assert (folder / "report.fr.pdf").is_file()
    assert _actions(services, case) == [
        *("case.created", "images.received", "record.confirmed", "answer.computed"),
        *("answer.read", "verdict.signed", "version.opened"),
    ]
    assert workflow.audit.verify().broken is None


def test_images_without_suv_can_be_seen_and_a_correction_rescues_them(services, dicom):
    case = _receive(services, dicom, PatientWeight="0")
    checked = _wait(services, case)
    assert checked.status is Status.CHECKED
    assert "weight" in str(Message.from_json(checked.inspection["refused"]["found"]))
    assert (services.store.folder(case.id) / "pet.bin").is_file()
    weight = parse_correction("weight_kg", "70", reason="as told by the patient", by="Dr A")
    assert services.workflow.change_images(case.id, CaseOptions(corrections=(weight,)), actor="Dr A")
    corrected = _wait(services, case)
    assert corrected.inspection["refused"] is None
    assert corrected.inspection["corrections"][0]["new"] == 70
    change = next(entry for entry in services.workflow.audit.entries(case=case.id) if entry.action == "case.changed")
    assert change.detail["corrections"]["new"][0]["reason"] == "as told by the patient"


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
    assert not services.workflow.change_images(case.id, CaseOptions(ct_series=1), actor="Dr A")
    assert not services.workflow.erase(case.id, actor="Dr A")
    _wait(services, case)
