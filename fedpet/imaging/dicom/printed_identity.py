"""The identity that a page shows and a report prints for the hospital's file: read from the images then, kept nowhere.

Only where the images are those of the report: the pseudonym of their patient and the day of the examination are
compared.
"""

from __future__ import annotations

import zipfile
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING, Final

import pydicom

from fedpet.core.errors import SeriesNotFoundError
from fedpet.core.messages import Message
from fedpet.core.progress import no_progress
from fedpet.imaging.dicom.files import DAMAGED, InputLimits, open_dicom_files
from fedpet.imaging.dicom.headers.attributes import text
from fedpet.imaging.dicom.headers.patient_module import PatientModule, examination_uid, one_patient
from fedpet.imaging.dicom.headers.temporal_values import UnreadableValueError, read_date
from fedpet.imaging.dicom.headers.unvalidated import values_as_written

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pydicom.dataset import Dataset

    from fedpet.imaging.dicom.files import DicomInstance

_NO_LIMITS_GIVEN = InputLimits()
_TAGS: Final = [
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "OtherPatientIDsSequence",
    *("IssuerOfPatientID", "StudyInstanceUID", "StudyDate"),
]
_HEAD_BYTES: Final = 2**18  # of a file: its patient stands before its pixels
_TRIED: Final = 20  # first files that are asked alone before all are read together
# The national identifier of France (INS): object identifiers of its authorities, NIR and NIA (ANS, "Référentiel INS").
_NATIONAL: Final = ("1.2.250.1.213.1.4.8", "1.2.250.1.213.1.4.9")


@dataclass(frozen=True, repr=False)
class PrintedIdentity:
    """Who the patient is. Never log it, never keep it, never store it beside a pseudonym.

    Attributes:
        name: family name and given names, as the images write them.
        birth_date: YYYY-MM-DD; "" where not stated or not a date.
        sex: as the images write it; "" where not stated.
        patient_id: identifier in the hospital.
        accession: accession number of the examination.
        national_id: national identifier (INS); "" where the images do not name it as such.
    """

    name: str
    birth_date: str
    sex: str
    patient_id: str
    accession: str
    national_id: str

    def __repr__(self) -> str:
        return "PrintedIdentity(...)"


@values_as_written()
def read_printed_identity(
    source: Path, *, pseudonym: str, study_date: str, key: bytes, limits: InputLimits = _NO_LIMITS_GIVEN
) -> PrintedIdentity:
    """Read whose images these are, provided that they are of the patient and of the day of a report.

    Args:
        source: folder, archive or file with the images.
        pseudonym: of the patient in the report.
        study_date: of the examination in the report, YYYY-MM-DD; "" where it states none.
        key: secret of the centre, from which the pseudonym was made.
        limits: files and bytes taken in at most.

    Raises:
        UnreadableStudyError: nothing there, a damaged archive, limits exceeded.
        SeriesNotFoundError: no PET of that patient and day is there.
    """
    for header in islice(_headers(source), _TRIED):
        if (
            _pseudonym(PatientModule.from_header(header), header, key) == pseudonym
            and _day(header, "StudyDate") == study_date
        ):
            return _identity(header)
    with open_dicom_files(source, limits, no_progress) as file_set:
        studies: dict[str, list[DicomInstance]] = defaultdict(list)
        for instance in file_set.instances:
            if text(instance.header, "Modality") in {"PT", "CT"}:
                studies[text(instance.header, "StudyInstanceUID")].append(instance)
        for instances in studies.values():
            pet = [one for one in instances if text(one.header, "Modality") == "PT"]
            if (
                pet
                and _shared_pseudonym(instances, pet[0], key) == pseudonym
                and _day(pet[0].header, "StudyDate") == study_date
            ):
                return _identity(pydicom.dcmread(pet[0].file, stop_before_pixels=True, force=True, specific_tags=_TAGS))
    raise SeriesNotFoundError(
        found=Message("The images are not of the patient and the day of the report."),
        needed=Message("The images that the report was made of, and the key of the centre that made it."),
        advice=Message(
            "Give the folder or archive that was predicted, on the machine or with the settings that did so."
        ),
    )


def _headers(source: Path) -> Iterator[Dataset]:
    """The heads of the files of a study one after the other, those in archives too; what is no DICOM is passed."""
    paths = sorted(one for one in source.rglob("*") if one.is_file()) if source.is_dir() else [source]
    for path in paths:
        if zipfile.is_zipfile(path):
            with suppress(*DAMAGED, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
                for member in archive.infolist():
                    with archive.open(member) as stream:
                        yield from _header(stream.read(_HEAD_BYTES))
        else:
            with path.open("rb") as stream:
                yield from _header(stream.read(_HEAD_BYTES))


def _header(head: bytes) -> Iterator[Dataset]:
    with suppress(*DAMAGED):
        yield pydicom.dcmread(BytesIO(head), stop_before_pixels=True, specific_tags=_TAGS)


def _pseudonym(patient: PatientModule, image: Dataset, key: bytes) -> str:
    """As `load_study` makes it, of what one image or several state of a patient; `image` names the examination."""
    return patient.pseudonym("" if patient.patient_id else examination_uid(image), key)


def _shared_pseudonym(instances: Sequence[DicomInstance], pet: DicomInstance, key: bytes) -> str:
    """Of all images together; "" where they name several patients."""
    try:
        return _pseudonym(one_patient(one.patient for one in instances), pet.header, key)
    except SeriesNotFoundError:
        return ""


def _identity(header: Dataset) -> PrintedIdentity:
    header.decode()
    return PrintedIdentity(
        name=_name(text(header, "PatientName")),
        birth_date=_day(header, "PatientBirthDate"),
        sex=text(header, "PatientSex"),
        patient_id=text(header, "PatientID"),
        accession=text(header, "AccessionNumber"),
        national_id=next(filter(None, map(_national, header.get("OtherPatientIDsSequence") or ())), ""),
    )


def _name(written: str) -> str:
    """The first group of a name that is stated, its parts separated by spaces (PS3.5 6.2.1.1)."""
    group = next(filter(None, (part.strip() for part in written.split("="))), "")
    return " ".join(part for part in group.replace("^", " ").split())


def _national(item: Dataset) -> str:
    """The identifier of an item of Other Patient IDs whose issuer is that of the INS; else ""."""
    qualifiers = item.get("IssuerOfPatientIDQualifiersSequence") or ()
    issuers = {text(one, "UniversalEntityID") for one in qualifiers} | {text(item, "IssuerOfPatientID")}
    return text(item, "PatientID") if issuers & set(_NATIONAL) else ""


def _day(header: Dataset, keyword: str) -> str:
    try:
        day = read_date.__wrapped__(text(header, keyword))  # birth dates are not kept in its cache
    except UnreadableValueError:
        return ""
    return day.isoformat() if day else ""
