"""Attributes of a DICOM header, read one way: a value that is absent, empty or unreadable is absent.

Only the attributes listed in `TAGS` are read from a file. `without_identity` takes the patient's name away, and name
and identifier out of the one free text that is shown.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time
from typing import TYPE_CHECKING

import pydicom
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.valuerep import DA, DT, TM

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pydicom.tag import BaseTag

# Real files break value rules; what matters is checked here. pydicom's warnings would also quote values.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

_KEYWORDS = (
    "SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "StudyDate", "SeriesDate", "AcquisitionDate",
    "StudyTime", "SeriesTime", "AcquisitionTime", "TimezoneOffsetFromUTC", "Modality", "Manufacturer",
    "SeriesDescription", "ManufacturerModelName", "PatientName", "PatientID", "PatientSex", "PatientSize",
    "PatientWeight", "ContrastBolusAgent", "TriggerTime", "ActualFrameDuration", "StudyInstanceUID",
    "SeriesInstanceUID", "SeriesNumber", "ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID",
    "TemporalPositionIdentifier", "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "PixelSpacing",
    "CorrectedImage", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue",
    "RescaleIntercept", "RescaleSlope", "RadiopharmaceuticalInformationSequence", "NumberOfTimeSlices",
    "NumberOfSlices", "SeriesType", "Units", "SUVType", "DecayCorrection", "FrameReferenceTime", "DecayFactor",
)  # fmt: skip
_PLAIN = frozenset(("CS", "DA", "DS", "DT", "IS", "TM", "UI"))  # representations in ASCII (PS3.5 6.2)
_TAG_OF = {keyword: Tag(keyword) for keyword in _KEYWORDS}
_SHORTEST_NAME = 3  # shorter parts of a name are found in too many words
_GE_SCAN_DATETIME = 0x0D  # element of the private block GEMS_PETD_01 (0009,xx0D): PET scan_datetime
TAGS: list[BaseTag] = [
    *_TAG_OF.values(),
    *(Tag(0x0009, block) for block in range(0x10, 0x18)),
    *(Tag(0x0009, (block << 8) + _GE_SCAN_DATETIME) for block in range(0x10, 0x18)),
]


def without_identity(header: Dataset) -> Dataset:
    """The header without PatientName; its parts and PatientID are blotted out of SeriesDescription."""
    parts = {*re.split(r"[\^= ,]+", text(header, "PatientName")), text(header, "PatientID")}
    description = text(header, "SeriesDescription")
    for part in sorted((part for part in parts if len(part) >= _SHORTEST_NAME), key=len, reverse=True):
        description = re.sub(re.escape(part), "***", description, flags=re.IGNORECASE)
    header.SeriesDescription = description
    if "PatientName" in header:
        del header.PatientName
    return header


def texts(header: Dataset, keyword: str) -> tuple[str, ...]:
    """The values of an attribute as text; empty where absent.

    Values in plain text that pydicom has not converted yet are split here: a study has thousands of them.
    """
    tag = _TAG_OF.get(keyword)
    raw: object = header.get_item(tag) if tag is not None else None
    if isinstance(raw, RawDataElement) and (raw.VR or dictionary_VR(raw.tag)) in _PLAIN:
        parts = (raw.value or b"").decode("ascii", "replace").split("\\")
        return tuple(stripped for part in parts if (stripped := part.strip(" \0")))
    value = header.get(keyword)
    values = value if isinstance(value, (list, tuple, pydicom.multival.MultiValue)) else [value]
    return tuple(str(item).strip() for item in values if item is not None and str(item).strip())


def text(header: Dataset, keyword: str) -> str:
    """The first value as text; "" where absent."""
    return next(iter(texts(header, keyword)), "")


def numbers(header: Dataset, keyword: str) -> tuple[float, ...]:
    """The values of an attribute as numbers; empty where absent or unreadable."""
    try:
        return tuple(float(item) for item in texts(header, keyword))
    except (ValueError, TypeError, OverflowError):  # a DS or IS that is no number
        return ()


def number(header: Dataset, keyword: str) -> float | None:
    """The first value as a number, or None."""
    return next(iter(numbers(header, keyword)), None)


def moment(header: Dataset, kind: str) -> datetime | None:
    """`<kind>Date` and `<kind>Time` joined, local time; a missing date is the series', else the study's."""
    day = next((found for name in (kind, "Series", "Study") if (found := _day(text(header, f"{name}Date")))), None)
    clock = time_of_day(text(header, f"{kind}Time"))
    return datetime.combine(day, clock) if day and clock else None


def time_of_day(value: str) -> time | None:
    """A DICOM TM, or None."""
    try:
        parsed = TM(value.replace(":", ""))
    except ValueError:
        return None
    return parsed.replace(tzinfo=None) if parsed else None


def date_time(value: str, header: Dataset) -> datetime | None:
    """A DICOM DT in the header's local time (PS3.3 C.12.1.1.8 Timezone Offset From UTC), or None."""
    try:
        parsed = DT(value.strip())
    except ValueError:
        return None
    if not parsed or len(value.strip()) < 12:  # without hours and minutes it tells no time
        return None
    offset = text(header, "TimezoneOffsetFromUTC")
    if parsed.tzinfo is not None and len(offset) == 5:
        parsed = parsed.astimezone(datetime.strptime(offset, "%z").tzinfo)
    return datetime.combine(parsed.date(), parsed.time())


def ge_scan_datetime(header: Dataset) -> datetime | None:
    """GE's PET scan_datetime, private (0009,xx0D) of GEMS_PETD_01, or None."""
    try:
        value = header.private_block(0x0009, "GEMS_PETD_01")[_GE_SCAN_DATETIME].value
    except KeyError:
        return None
    return date_time(value.decode("ascii", "replace") if isinstance(value, bytes) else str(value), header)


def _day(value: str) -> date | None:
    try:
        return DA(value) or None
    except ValueError:
        return None
