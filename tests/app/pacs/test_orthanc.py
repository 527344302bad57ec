"""DIMSE and DICOMweb against a real Orthanc: what is found, fetched, sent, refused and lost."""

from __future__ import annotations

import base64
import logging
import os
from datetime import date

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import RLELossless, generate_uid

from app.pacs.dicomweb import WebPacs
from app.pacs.dimse import DimsePacs
from app.pacs.query import Query
from app.pacs.transfer import fetch_study, send_files
from fedpet.core.errors import PacsError, PacsUnavailableError, UnreadableStudyError
from fedpet.core.messages import LANGUAGES, translate_message
from fedpet.core.pacs_settings import PacsSettings
from fedpet.imaging.dicom.files import InputLimits
from fedpet.imaging.loading import load_study

KINDS = ("get", "move", "web")
NAME, PATIENT, ACCESSION = "ZQXW^Marked", "MARKED-0815", "ACC-7731"
SLICES = 12  # of the PET and of the CT
ALL = 2 * SLICES


@pytest.fixture(scope="module")
def archive(orthanc):
    """Our Orthanc, reached in one of three ways; fields of the settings can be changed."""
    os.environ["ORTHANC_SECRET"] = orthanc.credentials

    def build(kind, **changed):
        quick = {"timeout_s": 30, "retries": 1, "backoff_s": 0.01}
        web = {"url": orthanc.url, "secret_env": "ORTHANC_SECRET"}
        dimse = {
            "host": "127.0.0.1",
            "port": orthanc.dicom_port,
            "called_ae": orthanc.ae,
            "retrieve": kind,
            "move_port": orthanc.move_port,
        }
        if kind == "web":
            return WebPacs("orthanc", PacsSettings(**quick | web | changed))
        return DimsePacs("orthanc", PacsSettings(**quick | dimse | changed))

    yield build
    del os.environ["ORTHANC_SECRET"]


def make_study(dicom, folder):
    """A small PET/CT with a study of its own; returns its identifier and the folder."""
    uid = generate_uid()
    suv, hu, origin = dicom.thorax((SLICES, 30, 30))
    tags = {
        "StudyInstanceUID": uid,
        "PatientName": NAME,
        "PatientID": PATIENT,
        "AccessionNumber": ACCESSION,
        "FrameOfReferenceUID": generate_uid(),
    }
    dicom.save(dicom.pet(suv, origin=origin, series=f"{uid}.1", **tags), folder)
    dicom.save(dicom.ct(hu, spacing=(4.0, 4.0, 4.0), origin=origin, series=f"{uid}.2", **tags), folder)
    return uid, folder


@pytest.fixture
def study(dicom, tmp_path):
    return make_study(dicom, tmp_path / "study")


@pytest.fixture(scope="module")
def stored(dicom, tmp_path_factory, archive):
    """A study that Orthanc holds; no test changes it."""
    made = make_study(dicom, tmp_path_factory.mktemp("stored") / "study")
    send_files(archive("get"), made[1])
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_the_pacs_answers(archive, kind):
    archive(kind).echo()


@pytest.mark.parametrize("kind", KINDS)
def test_a_study_comes_back_with_identical_volumes(archive, study, kind, tmp_path):
    uid, folder = study
    pacs, told = archive(kind), []
    sent = send_files(pacs, folder)
    assert (sent.objects, sent.skipped, sent.attempts) == (ALL, 0, 1)
    fetched = fetch_study(
        pacs,
        uid,
        tmp_path / "fetched",
        limits=InputLimits(),
        progress=lambda done, message: told.append((done, message)),
    )
    names = sorted(path.name for path in (tmp_path / "fetched").iterdir())
    assert names == [f"{number:06d}" for number in range(ALL)]
    assert (fetched.images, fetched.attempts) == (ALL, 1)
    key = bytes(32)
    before, after = (load_study(path, pseudonym_key=key) for path in (folder, tmp_path / "fetched"))
    for one, other in ((before.pet, after.pet), (before.ct, after.ct)):
        assert np.array_equal(one.array, other.array)
        assert np.array_equal(one.affine, other.affine)
    assert before.pseudonym == after.pseudonym
    assert told[-1][0] == 1.0
    assert translate_message("fr")(told[-1][1]) == f"{ALL} images reçues sur {ALL}"


@pytest.mark.parametrize("kind", KINDS)
def test_compressed_images_travel_as_they_are(archive, study, kind, tmp_path):
    uid, folder = study
    for path in folder.iterdir():
        packed = dcmread(path)
        packed.compress(RLELossless, generate_instance_uid=False)
        packed.save_as(path)
    before = {one.SOPInstanceUID: one for one in map(dcmread, folder.iterdir())}
    send_files(archive(kind), folder)
    fetch_study(archive(kind), uid, tmp_path / "fetched", limits=InputLimits())
    after = {one.SOPInstanceUID: one for one in map(dcmread, (tmp_path / "fetched").iterdir())}
    assert after.keys() == before.keys()
    for one in after.values():
        assert one.file_meta.TransferSyntaxUID == RLELossless
        assert one.PixelData == before[one.SOPInstanceUID].PixelData


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_series_of_a_modality_are_fetched(archive, stored, kind, tmp_path):
    fetched = fetch_study(archive(kind), stored[0], tmp_path / "pt", limits=InputLimits(), modalities=("PT",))
    assert fetched.images == SLICES


@pytest.mark.parametrize("kind", ["get", "web"])
def test_patients_studies_and_series_are_found(archive, stored, kind):
    uid, pacs = stored[0], archive(kind)
    (patient,) = pacs.find(Query(patient_id=PATIENT), "patient", 10)
    assert (patient["patient_name"], patient["sex"]) == (NAME, "F")
    (found,) = pacs.find(Query(study_uid=uid), "study", 10)
    assert (found["patient_id"], found["accession"], found["date"]) == (PATIENT, ACCESSION, "20240305")
    assert (set(found["modalities"].split(", ")), found["images"]) == ({"PT", "CT"}, str(ALL))
    series = pacs.find(Query(study_uid=uid), "series", 10)
    assert {(one["modality"], one["images"]) for one in series} == {("PT", str(SLICES)), ("CT", str(SLICES))}
    assert [one["modality"] for one in pacs.find(Query(study_uid=uid, modality="CT"), "series", 10)] == ["CT"]


@pytest.mark.parametrize("kind", ["get", "web"])
@pytest.mark.parametrize(
    ("criteria", "expected"),
    [
        ({"patient_id": "MARKED*"}, True),
        ({"patient_id": "MARKED-081?"}, True),
        ({"patient_id": "MARKED"}, False),
        ({"accession": ACCESSION}, True),
        ({"accession": "ACC-0000"}, False),
        ({"patient_id": PATIENT, "since": date(2024, 3, 5), "until": date(2024, 3, 5)}, True),
        ({"patient_id": PATIENT, "since": date(2024, 3, 6)}, False),
        ({"patient_id": PATIENT, "until": date(2024, 3, 4)}, False),
        ({"patient_id": PATIENT, "modality": "PT"}, True),
        ({"patient_id": PATIENT, "modality": "MR"}, False),
    ],
)
def test_a_study_is_found_by_its_criteria_only(archive, stored, kind, criteria, expected):
    found = archive(kind).find(Query(**criteria), "study", 1000)
    assert (stored[0] in {row["study_uid"] for row in found}) is expected


@pytest.mark.parametrize("kind", ["get", "web"])
def test_no_more_answers_come_than_asked_for(archive, stored, kind):
    assert len(archive(kind).find(Query(study_uid=stored[0]), "series", 1)) == 1


@pytest.mark.parametrize(
    ("kind", "changed", "kind_of_error", "words"),
    [
        ("get", {"called_ae": "OTHER"}, PacsError, "“OTHER” is not its AE title"),
        ("get", {"our_ae": "STRANGER"}, PacsError, "does not know our AE title “STRANGER”"),
        ("get", {"tls": True}, PacsUnavailableError, "does not answer at its address"),
        ("web", {"secret_env": ""}, PacsError, "does not accept our credentials (HTTP 401)"),
        ("web", {"secret_env": "NOT_SET"}, PacsError, "secret of the PACS “orthanc” is missing"),
    ],
)
def test_why_the_pacs_does_not_serve_us_is_said(archive, kind, changed, kind_of_error, words):
    with pytest.raises(kind_of_error) as caught:
        archive(kind, **changed).echo()
    assert words in str(caught.value)
    assert type(caught.value) is kind_of_error
    assert all(caught.value.translate(translate_message(language)) for language in LANGUAGES)


def test_a_closed_port_is_said_and_tried_again(archive, study, orthanc, tmp_path):
    for pacs in (
        archive("get", port=orthanc.free_port()),
        archive("web", url=f"http://127.0.0.1:{orthanc.free_port()}/x"),
    ):
        with pytest.raises(PacsUnavailableError, match="does not answer"):
            pacs.echo()
        with pytest.raises(PacsUnavailableError, match="does not answer"):
            send_files(pacs, study[1])
        with pytest.raises(PacsUnavailableError, match="does not answer"):
            fetch_study(pacs, study[0], tmp_path / "none", limits=InputLimits())


def test_an_address_that_is_not_dicomweb_is_said(archive, orthanc):
    with pytest.raises(PacsError, match="HTTP 404"):
        archive("web", url=orthanc.url.replace("dicom-web", "elsewhere")).echo()
    with pytest.raises(PacsError, match="cannot be used"):
        archive("web", url=orthanc.url.replace("/dicom-web", "/app/explorer.html?")).echo()


def test_a_refused_store_is_a_failure(archive, study, orthanc):
    with pytest.raises(PacsError, match=f"did not store {ALL} of {ALL} objects"):
        send_files(archive("get", our_ae="READONLY"), study[1])
    assert orthanc.instances(study[0]) == {}


def test_a_move_port_that_is_taken_is_said(archive, stored, orthanc, tmp_path):
    with pytest.raises(PacsError, match="cannot be received"):
        fetch_study(archive("move", move_port=orthanc.http_port), stored[0], tmp_path / "x", limits=InputLimits())


@pytest.mark.parametrize(
    ("kind", "limits"),
    [
        ("get", InputLimits(max_files=7)),
        ("move", InputLimits(max_files=7)),
        ("web", InputLimits(max_files=7)),
        ("web", InputLimits(max_bytes=30_000)),
    ],
)
def test_a_study_beyond_the_limits_is_refused_while_it_arrives(archive, stored, kind, limits, tmp_path):
    with pytest.raises(UnreadableStudyError):
        fetch_study(archive(kind), stored[0], tmp_path / "fetched", limits=limits)
    assert not [path for path in tmp_path.iterdir() if path != stored[1]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_study_that_is_not_there_is_said(archive, kind, tmp_path):
    with pytest.raises(PacsError, match="lists no image"):
        fetch_study(archive(kind), generate_uid(), tmp_path / "none", limits=InputLimits())


@pytest.mark.parametrize("kind", KINDS)
def test_images_that_vanish_while_they_are_fetched_leave_no_study(archive, study, kind, orthanc, tmp_path):
    send_files(archive("get"), study[1])
    pacs = archive(kind)
    fetch = pacs.fetch

    def lose_then_fetch(*arguments):
        for instance in list(orthanc.instances(study[0]).values())[:2]:
            orthanc.delete(instance)
        return fetch(*arguments)

    pacs.fetch = lose_then_fetch
    with pytest.raises(PacsError, match=rf"Only \d+ of {ALL} images came") as caught:
        fetch_study(pacs, study[0], tmp_path / "fetched", limits=InputLimits())
    assert "a part of it is not used" in str(caught.value)
    assert not [path for path in tmp_path.iterdir() if path != study[1]]


def test_a_folder_that_exists_is_not_mixed_with_a_study(archive, study):
    with pytest.raises(PacsError, match="exists already"):
        fetch_study(archive("get"), study[0], study[1], limits=InputLimits())
    assert len(list(study[1].iterdir())) == ALL


def test_files_that_are_no_dicom_are_counted_and_not_sent(archive, study):
    (study[1] / "letter.txt").write_text("Dear colleague")
    assert send_files(archive("get"), study[1]).skipped == 1
    with pytest.raises(PacsError, match="None of 1 files is a DICOM file"):
        send_files(archive("get"), study[1] / "letter.txt")


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_that_identifies_is_logged(archive, study, kind, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    for name in list(logging.root.manager.loggerDict):
        if not name.startswith(("pynetdicom", "dicomweb_client", "urllib3", "requests")):
            logging.getLogger(name).setLevel(logging.NOTSET)
    pacs = archive(kind)
    send_files(pacs, study[1])
    pacs.find(Query(patient_id=PATIENT), "study", 10)
    fetch_study(pacs, study[0], tmp_path / "fetched", limits=InputLimits())
    with pytest.raises(PacsError) as caught:
        fetch_study(pacs, study[0], tmp_path / "less", limits=InputLimits(), modalities=("MR",))
    secret = base64.b64encode(b"tester:").decode()[:8]
    for marked in (NAME.split("^", 1)[0], PATIENT, ACCESSION, study[0], secret):
        assert marked not in caplog.text
        assert marked not in str(caught.value)
        assert marked not in "".join(map(str, (caught.value.__cause__, caught.value.__context__)))
