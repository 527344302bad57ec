"""Values that break DICOM's rules are read without a warning that would quote them, and without a switch for others."""

import warnings

import numpy as np
import pydicom
import pytest

from app.exchange.cases import study_of
from app.pacs.object_store import parse
from fedpet.imaging.deidentification.study_copy import deidentify
from fedpet.imaging.dicom.headers.unvalidated import values_as_written
from fedpet.imaging.dicom.patient_identity import read_identity
from fedpet.imaging.loading import inspect_study, load_study
from training.data.study_folders import read_study_folders

KEY = b"a key"
UID = "1.2.0003.MARKED"  # a leading zero and letters
NAME = "Éléonore-MARKED" * 9  # longer than 64, and not ASCII


@pytest.fixture(scope="module")
def folder(dicom, tmp_path_factory):
    with values_as_written():
        tags = {"SpecificCharacterSet": "ISO_IR 192", "StudyInstanceUID": UID}
        slices = dicom.pet(np.ones((6, 8, 8)), **tags) + dicom.ct(np.zeros((6, 16, 16), int), **tags)
        for one in slices:
            one.PatientName, one.PatientID, one.AccessionNumber = NAME, NAME, NAME
            one.StudyDate, one.StudyTime = "2024-MARKED", "MARKED"
        return dicom.save(slices, tmp_path_factory.mktemp("marked") / "study")


READERS = {
    "load": lambda folder, _: load_study(folder, pseudonym_key=KEY),
    "inspect": lambda folder, _: inspect_study(folder, pseudonym_key=KEY),
    "identity": lambda folder, _: read_identity(folder, load_study(folder, pseudonym_key=KEY)),
    "deidentify": lambda folder, out: deidentify(folder, out / "copy", key=KEY),
    "object store": lambda folder, _: parse(min(folder.iterdir()).read_bytes()),
    "delivery": lambda folder, _: study_of(folder),
    "eligibility": lambda folder, _: read_study_folders(folder.parent, b"key"),
}


@pytest.mark.parametrize("reader", READERS)
def test_nothing_is_quoted(reader, folder, tmp_path, caplog):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        READERS[reader](folder, tmp_path)
    assert [str(one.message) for one in caught] == []
    assert caplog.text == ""


def test_others_still_get_the_validation_of_pydicom(folder):
    load_study(folder, pseudonym_key=KEY)
    assert pydicom.config.settings.reading_validation_mode == pydicom.config.WARN
    with pytest.warns(UserWarning, match="MARKED"):
        str(pydicom.dcmread(min(folder.iterdir())).StudyInstanceUID)
