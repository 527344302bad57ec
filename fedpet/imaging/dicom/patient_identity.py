"""Whose images they are: the chosen instances read once more, with identity, for DICOM output alone.

`load_study` lets go of the patient's identity. An object that a PACS stores must carry it, or it lands in no patient's
folder: so it is read again, on purpose, from the same files, and only the attributes listed here. Keep the result no
longer than the objects are being written; never log it, never write it beside a result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pydicom
from pydicom.dataset import Dataset

from fedpet.core.errors import SeriesNotFoundError
from fedpet.core.messages import Message
from fedpet.core.progress import no_progress
from fedpet.imaging.dicom.files import InputLimits, open_dicom_files
from fedpet.imaging.dicom.headers.attributes import text
from fedpet.imaging.dicom.headers.patient_module import PatientModule, one_patient
from fedpet.imaging.dicom.headers.unvalidated import values_as_written

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fedpet.imaging.study import PetCtStudy

_NO_LIMITS_GIVEN = InputLimits()
# Patient and Study information entities (PS3.3 C.7.1.1, C.7.2.1) that objects of one study share.
_REQUIRED: Final = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate", "StudyTime",
    "ReferringPhysicianName", "StudyID", "AccessionNumber",
)  # fmt: skip
_OPTIONAL: Final = (
    "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "PatientIdentityRemoved", "DeidentificationMethod",
    "DeidentificationMethodCodeSequence", "StudyDescription", "IssuerOfAccessionNumberSequence",
    "TimezoneOffsetFromUTC",
)  # fmt: skip
# What a reference to an image and a place on its grid need.
_IMAGE: Final = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "Modality",
    "FrameOfReferenceUID", "PositionReferenceIndicator", "Rows", "Columns", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "NumberOfFrames", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", "LossyImageCompression", "LossyImageCompressionRatio",
    "LossyImageCompressionMethod", "Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions",
)  # fmt: skip
_UTF_8: Final = "ISO_IR 192"


@dataclass(frozen=True, eq=False, repr=False)
class PatientHeaders:
    """Headers of the PET and CT that a study was made of. Holds a patient's identity: see the module.

    Attributes:
        patient: attributes of the patient and of the study, as in the source, text as UTF-8.
        pet: one header an instance, in the order of `PetCtStudy.source_uids`, without pixels; what identifies is there,
            but empty.
        ct: the same; empty where the study has no CT.
    """

    patient: Dataset
    pet: tuple[Dataset, ...]
    ct: tuple[Dataset, ...]

    def __repr__(self) -> str:
        return f"SourceHeaders({len(self.pet)} PT, {len(self.ct)} CT)"


@values_as_written()
def read_identity(source: Path, study: PetCtStudy, *, limits: InputLimits = _NO_LIMITS_GIVEN) -> PatientHeaders:
    """Read the headers of the instances that `study` was made of.

    Args:
        source: the folder, archive or file that `study` was loaded from.
        study: as `load_study` returned it; its `source_uids` say which instances.
        limits: files and bytes taken in at most.

    Raises:
        UnreadableStudyError: nothing there, a damaged archive, limits exceeded.
        SeriesNotFoundError: an instance of the study is not there any more, or they name several patients.
    """
    with open_dicom_files(source, limits, no_progress) as file_set:
        files: dict[str, Path] = {}
        for instance in file_set.instances:
            files.setdefault(text(instance.header, "SOPInstanceUID"), instance.file)
        pet, ct = (_read(files, study.source_uids.get(modality, ())) for modality in ("PT", "CT"))
    one_patient(map(PatientModule.from_header, (*pet, *ct)))
    if len({text(header, "PatientID") for header in (*pet, *ct)}) != 1:
        raise SeriesNotFoundError(
            found=Message("The images of this examination name no patient, or several."),
            needed=Message("PET and CT of one patient."),
            advice=Message("Export the examination again from the PACS."),
        )
    return PatientHeaders(_patient(pet[0]), tuple(map(_image, pet)), tuple(map(_image, ct)))


def _read(files: Mapping[str, Path], uids: tuple[str, ...]) -> list[Dataset]:
    """Headers of the instances in the order of `uids`; the frames of one file share its UID."""
    wanted = tuple(dict.fromkeys(uids))
    found = [files[uid] for uid in wanted if uid in files]
    if len(found) < len(wanted):
        raise SeriesNotFoundError(
            found=Message("{n} of the {total} images of this examination are there.", n=len(found), total=len(wanted)),
            needed=Message("The files that the examination was loaded from."),
            advice=Message("Give the same folder or archive again, complete and unchanged."),
        )
    tags = list(dict.fromkeys((*_REQUIRED, *_OPTIONAL, *_IMAGE)))
    headers: list[Dataset] = [
        pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=tags) for file in found
    ]
    for header in headers:
        header.decode()  # while the character set of the source is known
    return headers


def _patient(header: Dataset) -> Dataset:
    """The patient's and the study's attributes; those that every object must have are there, empty where unknown."""
    patient = Dataset()
    for keyword in (*_REQUIRED, *_OPTIONAL):
        if keyword in header:
            patient[keyword] = header[keyword]
        elif keyword in _REQUIRED:
            setattr(patient, keyword, "")
    patient.SpecificCharacterSet = _UTF_8
    return patient


def _image(header: Dataset) -> Dataset:
    image = Dataset()
    for keyword in _REQUIRED:
        setattr(image, keyword, "")
    for keyword in _IMAGE:
        if keyword in header:
            image[keyword] = header[keyword]
    image.SpecificCharacterSet = _UTF_8
    return image
