"""The identity is read again on purpose, from the very instances of the study, and shows itself nowhere."""

import io
import shutil
from dataclasses import replace

import numpy as np
import pytest

from fedpet.core.errors import SeriesNotFoundError
from fedpet.imaging.dicom.files import InputLimits
from fedpet.imaging.dicom.patient_identity import read_identity
from fedpet.imaging.loading import load_study

KEY = b"k" * 32
PATIENT = {
    "SpecificCharacterSet": "ISO_IR 100",
    "PatientName": "LEFÈVRE^Zoé",
    "PatientID": "HOSP-4711",
    "PatientBirthDate": "19580704",
    "PatientSex": "F",
    "IssuerOfPatientID": "CHU",
    "AccessionNumber": "ACC-1",
    "StudyID": "42",
    "StudyDescription": "TEP au FDG",
    "ReferringPhysicianName": "MARTIN^Élise",
    "PatientComments": "adresse et telephone",
}
RNG = np.random.default_rng(5)
SUV, HU = RNG.uniform(0.5, 3.0, (8, 10, 12)), RNG.integers(-100, 100, (8, 10, 12))


def files(dicom, folder, **tags):
    """A PET, its CT and a shorter PET that is not chosen, in shuffled files."""
    for series in (dicom.pet(SUV, **PATIENT | tags), dicom.ct(HU, **PATIENT | tags)):
        dicom.save(series, folder, shuffle=3)
    return dicom.save(dicom.pet(SUV[:6], series="short", **PATIENT | tags), folder, shuffle=4)


@pytest.fixture(scope="module")
def folder(dicom, tmp_path_factory):
    return files(dicom, tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def study(folder):
    return load_study(folder, pseudonym_key=KEY)


def test_the_headers_are_those_of_the_chosen_instances_in_their_order(folder, study):
    headers = read_identity(folder, study)
    assert [header.SOPInstanceUID for header in headers.pet] == list(study.source_uids["PT"])
    assert [header.SOPInstanceUID for header in headers.ct] == list(study.source_uids["CT"])
    positions = [header.ImagePositionPatient[2] for header in headers.pet]
    assert positions == sorted(positions)
    assert not any("PixelData" in header for header in (*headers.pet, *headers.ct))


def test_the_patient_is_the_source_s_and_only_what_is_needed_is_read(folder, study):
    headers = read_identity(folder, study)
    for keyword in PATIENT.keys() - {"SpecificCharacterSet", "PatientComments"}:
        assert str(headers.patient[keyword].value) == PATIENT[keyword]
    assert headers.patient.SpecificCharacterSet == "ISO_IR 192"
    assert headers.patient.StudyInstanceUID == headers.pet[0].StudyInstanceUID != ""
    assert "PatientComments" not in headers.patient
    assert "PatientWeight" not in headers.patient
    for header in (*headers.pet, *headers.ct):
        assert not any(header[keyword].value for keyword in ("PatientName", "PatientID", "PatientBirthDate"))


def test_it_shows_nothing(folder, study, caplog, recwarn):
    caplog.set_level("DEBUG")
    headers = read_identity(folder, study)
    assert repr(headers) == str(headers) == f"{headers}" == "SourceHeaders(8 PT, 8 CT)"
    said = caplog.text + "".join(str(warning.message) for warning in recwarn)
    assert not any(value in said for value in ("LEFÈVRE", "Zoé", "HOSP-4711", "19580704"))


def test_what_the_source_lacks_is_empty(dicom, tmp_path):
    bare = dict.fromkeys(("PatientBirthDate", "StudyID", "AccessionNumber"), "")
    folder = dicom.save(dicom.pet(SUV, PatientName="", **bare), tmp_path / "bare")
    headers = read_identity(folder, load_study(folder, pseudonym_key=KEY))
    assert headers.ct == ()
    for keyword in ("PatientName", "PatientBirthDate", "ReferringPhysicianName", "AccessionNumber"):
        assert keyword in headers.patient
        assert not headers.patient[keyword].value


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "LEFÈVRE^Zoé"),
        ("ISO_IR 192", "Świątek^Łucja"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ],
)
def test_names_survive_the_change_to_utf_8(dicom, tmp_path, charset, name):
    folder = dicom.save(dicom.pet(SUV, SpecificCharacterSet=charset, PatientName=name), tmp_path / "names")
    patient = read_identity(folder, load_study(folder, pseudonym_key=KEY)).patient
    written = io.BytesIO()
    patient.save_as(written, implicit_vr=False, little_endian=True)
    assert name.encode() in written.getvalue()
    assert patient.PatientName == name


def test_an_archive_is_read_as_a_folder(dicom, folder, study, tmp_path):
    archive = dicom.zipped([(path.name, path.read_bytes()) for path in folder.iterdir()], tmp_path / "study.zip")
    headers = read_identity(archive, study, limits=InputLimits(max_files=100))
    assert headers.patient == read_identity(folder, study).patient


def test_a_missing_instance_is_refused(folder, study, tmp_path):
    other = shutil.copytree(folder, tmp_path / "other")
    for path in sorted(other.iterdir())[:3]:
        path.unlink()
    with pytest.raises(SeriesNotFoundError) as refused:
        read_identity(other, study)
    assert "5 of the 8 images" in str(refused.value)
    assert str(tmp_path) not in str(refused.value)


def test_two_patients_are_refused(dicom, tmp_path):
    ct = dicom.ct(HU, PatientID="ANOTHER", PatientName="AUTRE^Patient")
    dicom.save(dicom.pet(SUV), tmp_path / "two")
    folder = dicom.save(ct, tmp_path / "two")
    study = load_study(folder, pseudonym_key=KEY)
    mixed = replace(study, source_uids=study.source_uids | {"CT": tuple(slice_.SOPInstanceUID for slice_ in ct)})
    with pytest.raises(SeriesNotFoundError) as refused:
        read_identity(folder, mixed)
    assert "2 different identifiers (8, 8 images)" in str(refused.value)
    assert not any(value in str(refused.value) for value in ("ANOTHER", "AUTRE", "DUPONT"))
