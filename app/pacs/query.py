"""Queries to a PACS and their answers, the same for C-FIND and QIDO-RS.

A row of an answer may name the patient: it is for the user who searched, never for a log.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from fedpet.core.errors import PacsError
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

Level = Literal["patient", "study", "series"]
Row = dict[str, str]

# the names of a row's fields and the attributes behind them (PS3.4 C.6.1.1 and C.6.2.1)
_PATIENT = {
    "patient_id": "PatientID",
    "patient_name": "PatientName",
    "birth_date": "PatientBirthDate",
    "sex": "PatientSex",
}
FIELDS: Mapping[Level, Mapping[str, str]] = {
    "patient": _PATIENT,
    "study": {
        **_PATIENT,
        "study_uid": "StudyInstanceUID",
        "date": "StudyDate",
        "accession": "AccessionNumber",
        "description": "StudyDescription",
        "modalities": "ModalitiesInStudy",
        "images": "NumberOfStudyRelatedInstances",
    },
    "series": {
        "study_uid": "StudyInstanceUID",
        "series_uid": "SeriesInstanceUID",
        "modality": "Modality",
        "number": "SeriesNumber",
        "description": "SeriesDescription",
        "images": "NumberOfSeriesRelatedInstances",
    },
}
_FORMS = {  # of valid criteria; a backslash would separate several values (PS3.5 6.4)
    "patient_id": r"[^\\\x00-\x1f]{0,64}",
    "accession": r"[^\\\x00-\x1f]{0,16}",
    "modality": r"[A-Z0-9_ ]{0,16}",
    "study_uid": r"[0-9.]{0,64}",
}


@dataclass(frozen=True)
class Query:
    """The criteria of a search; empty ones are not sent. `*` and `?` are wildcards in `patient_id` and `accession`.

    Raises:
        PacsError: no criterion (that would list every patient of the hospital), or one that DICOM cannot express.
    """

    patient_id: str = ""
    accession: str = ""
    since: date | None = None
    until: date | None = None
    modality: str = ""
    study_uid: str = ""

    def __post_init__(self) -> None:
        for name, form in _FORMS.items():
            if not re.fullmatch(form, getattr(self, name)):
                raise PacsError(
                    found=Message("The criterion “{name}” cannot be sent to a PACS.", name=name),
                    needed=Message("Plain text without backslash, within the length of its DICOM attribute."),
                    advice=Message("Correct the criterion."),
                )
        if not (self.patient_id.strip("*? ") or self.accession.strip("*? ") or self.study_uid or self.since):
            raise PacsError(
                found=Message("The search has no criterion that narrows it."),
                needed=Message("A patient identifier, an accession number, a study or a first date."),
                advice=Message("Give one of them; a modality or wildcards alone would list the whole hospital."),
            )

    def dates(self) -> str:
        """The range of study dates as DICOM writes it (PS3.4 C.2.2.2.5); "" without one."""
        if self.since is None and self.until is None:
            return ""
        since, until = (f"{day:%Y%m%d}" if day else "" for day in (self.since, self.until))
        return f"{since}-{until}"


def criteria(query: Query, level: Level) -> dict[str, str]:
    """The criteria that apply at a level: attribute keywords and their values.

    Raises:
        PacsError: the level needs a criterion that is missing.
    """
    if level == "patient":
        wanted, needed = {"PatientID": query.patient_id}, query.patient_id
    elif level == "series":
        wanted, needed = {"StudyInstanceUID": query.study_uid, "Modality": query.modality}, query.study_uid
    else:
        wanted, needed = (
            {
                "PatientID": query.patient_id,
                "AccessionNumber": query.accession,
                "StudyDate": query.dates(),
                "ModalitiesInStudy": query.modality,
                "StudyInstanceUID": query.study_uid,
            },
            "all",
        )
    if not needed:
        raise PacsError(
            found=Message("This level of search lacks its criterion."),
            needed=Message("A patient identifier to search patients, a study to search series."),
            advice=Message("Give it, or search studies."),
        )
    return {keyword: value for keyword, value in wanted.items() if value}


def identifier(query: Query, level: Level) -> Dataset:
    """The identifier of a C-FIND: the criteria, and the attributes wanted in return."""
    built = Dataset()
    built.QueryRetrieveLevel = level.upper()
    for keyword in FIELDS[level].values():
        setattr(built, keyword, "")
    for keyword, value in criteria(query, level).items():
        setattr(built, keyword, value)
    if not f"{query.patient_id}{query.accession}".isascii():
        built.SpecificCharacterSet = "ISO_IR 192"
    return built


def row(answer: Dataset, level: Level) -> Row:
    """An answer as text, by the names of `FIELDS`, without characters that cannot be printed."""
    return {name: _text(answer.get(keyword)) for name, keyword in FIELDS[level].items()}


def _text(value: object) -> str:
    if value is None:
        return ""
    text = ", ".join(map(str, value)) if isinstance(value, MultiValue) else str(value)
    return "".join(filter(str.isprintable, text))


def matches(found: Row, query: Query, level: Level) -> bool:
    """Whether an answer has the modality of the query: a PACS may ignore that criterion (PS3.4 C.2.2.1.3)."""
    name = "modality" if level == "series" else "modalities"
    held = found.get(name, "")
    return not query.modality or not held or query.modality in held.split(", ")
