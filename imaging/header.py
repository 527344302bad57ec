"""Attributes of a DICOM header, read one way: a value that is absent, empty or unreadable is absent.

Only the attributes listed in `TAGS` are read from a file. `without_identity` takes the patient's name away, and name
and identifier out of the one free text that is shown.
"""

from __future__ import annotations

import re
import struct
from datetime import date, datetime, time, timedelta, timezone
from functools import lru_cache
from math import isfinite
from typing import TYPE_CHECKING

import pydicom
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.errors import BytesLengthException
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
    "NumberOfSlices", "NumberOfFrames", "LossyImageCompression", "SeriesType", "Units", "SUVType",
    "DecayCorrection", "FrameReferenceTime", "DecayFactor", "AcquisitionDateTime", "DecayCorrectionDateTime",
    "AcquisitionNumber", "ConvolutionKernel", "Exposure", "KVP", "NumberOfRRIntervals", "NumberOfTimeSlots",
    "ReconstructionDiameter", "RescaleType",
)  # fmt: skip
_PLAIN = frozenset(("CS", "DA", "DS", "DT", "IS", "TM", "UI"))  # representations in ASCII (PS3.5 6.2)
_UNREADABLE = (  # what pydicom raises where a value does not fit its representation
    BytesLengthException, ValueError, TypeError, LookupError, AttributeError, NotImplementedError, ArithmeticError,
    struct.error,
)  # fmt: skip
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_FREE = frozenset(("LO", "PN", "SH"))  # free text; where all bytes are ASCII, the character set does not matter
_TAG_OF = {keyword: Tag(keyword) for keyword in _KEYWORDS}
_YEARS = range(1900, 2200)  # others are damage, and leave no room to count with
_SHORTEST_NAME = 3  # shorter parts of a name are found in too many words
_GE, _PHILIPS, _SIEMENS = "GEMS_PETD_01", "Philips PET Private Group", "SIEMENS MED PT"
PRIVATE: dict[str, tuple[int, str, int]] = {  # name -> group, creator, element
    "GE scan": (0x0009, _GE, 0x0D),  # PET scan_datetime, DT
    "GE administration": (0x0009, _GE, 0x3B),  # PET admin_datetime, DT
    "Siemens decay correction": (0x0071, _SIEMENS, 0x22),  # Decay Correction DateTime, DT
    "Philips SUV": (0x7053, _PHILIPS, 0x00),  # SUV Scale Factor, DS
    "Philips activity": (0x7053, _PHILIPS, 0x09),  # Activity Concentration Scale Factor, DS
}
_BLOCKS = range(0x10, 0x14)  # where private creators are looked for
TAGS: list[BaseTag] = [
    *_TAG_OF.values(),
    *(Tag(group, block) for group in sorted({group for group, _, _ in PRIVATE.values()}) for block in _BLOCKS),
    *(Tag(group, (block << 8) + element) for group, _, element in PRIVATE.values() for block in _BLOCKS),
]
TAG_SET = frozenset(TAGS)
_VR_OF = {tag: dictionary_VR(tag) for tag in _TAG_OF.values()}
SEQUENCES = tuple(tag for tag, vr in _VR_OF.items() if vr == "SQ")


def without_identity(header: Dataset) -> Dataset:
    """The header without PatientName; its parts and PatientID are blotted out of SeriesDescription."""
    parts = {*re.split(r"[\^= ,]+", text(header, "PatientName")), text(header, "PatientID")}
    written = description = text(header, "SeriesDescription")
    for part in sorted((part for part in parts if len(part) >= _SHORTEST_NAME), key=len, reverse=True):
        description = re.sub(re.escape(part), "***", description, flags=re.IGNORECASE)
    if description != written:
        header.SeriesDescription = description
    header.pop(_TAG_OF["PatientName"], None)
    return header


def texts(header: Dataset, keyword: str) -> tuple[str, ...]:
    """The values of an attribute as text; empty where absent.

    What pydicom has not converted yet is read from its bytes where that is plain: a study has thousands of values.
    """
    tag = _TAG_OF.get(keyword)
    if tag is not None:
        raw: object = header.get_item(tag, keep_deferred=True)
        if raw is None:
            return ()
        if isinstance(raw, RawDataElement):
            vr = raw.VR or _VR_OF[tag]
            if vr in _PLAIN:
                return _split(raw.value or b"")
            if vr == "US" and raw.is_little_endian:
                return _words(raw.value or b"")
            if vr in _FREE and (raw.value or b"").isascii() and b"\x1b" not in (raw.value or b""):
                return _split.__wrapped__(raw.value or b"")  # names and identifiers are not kept
    try:
        value = header.get(keyword)
        values = value if isinstance(value, (list, tuple, pydicom.multival.MultiValue)) else [value]
        return tuple(clean for item in values if item is not None and (clean := _clean(str(item))))
    except _UNREADABLE:
        return ()


@lru_cache(maxsize=8192)
def _split(value: bytes) -> tuple[str, ...]:
    return tuple(clean for part in value.decode("ascii", "replace").split("\\") if (clean := _clean(part)))


def _clean(value: str) -> str:
    """A value up to its first control character: with a wrong length it runs into what follows, names too."""
    return _CONTROL.split(value.strip(" \0\t\r\n"), maxsplit=1)[0].rstrip()


@lru_cache(maxsize=1024)
def _words(value: bytes) -> tuple[str, ...]:
    return tuple(str(word) for (word,) in struct.iter_unpack("<H", value[: len(value) // 2 * 2]))


def text(header: Dataset, keyword: str) -> str:
    """The first value as text; "" where absent."""
    return next(iter(texts(header, keyword)), "")


def numbers(header: Dataset, keyword: str) -> tuple[float, ...]:
    """The values of an attribute as numbers; empty where absent or unreadable."""
    try:
        values = tuple(map(float, texts(header, keyword)))
    except ValueError:  # a DS or IS that is no number
        return ()
    return values if all(map(isfinite, values)) else ()


def number(header: Dataset, keyword: str) -> float | None:
    """The first value as a number, or None."""
    return next(iter(numbers(header, keyword)), None)


def moment(header: Dataset, kind: str) -> datetime | None:
    """`<kind>Date` and `<kind>Time` joined, local time; a missing date is the series', else the study's."""
    day = next((found for name in (kind, "Series", "Study") if (found := _day(text(header, f"{name}Date")))), None)
    clock = time_of_day(text(header, f"{kind}Time"))
    return datetime.combine(day, clock) if day and clock else None


@lru_cache(maxsize=4096)
def time_of_day(value: str) -> time | None:
    """A DICOM TM, or None."""
    try:
        parsed = TM(value.replace(":", ""))
    except ValueError:
        return None
    return parsed.replace(tzinfo=None) if parsed else None


def date_time(value: str, header: Dataset) -> datetime | None:
    """A DICOM DT in the header's local time (PS3.3 C.12.1.1.8 Timezone Offset From UTC), or None.

    A DT that states its own offset is told on the header's clock; where the header states none, as it was written.
    """
    try:
        parsed = DT(value.strip())
    except ValueError:
        return None
    if not parsed or len(value.strip()) < 12 or parsed.year not in _YEARS:  # without hours and minutes it tells no time
        return None
    offset = utc_offset(header)
    if parsed.tzinfo is not None and offset is not None:
        parsed = parsed.astimezone(offset)
    return datetime.combine(parsed.date(), parsed.time())


def utc_offset(header: Dataset) -> timezone | None:
    """TimezoneOffsetFromUTC (&ZZXX), or None where absent or no offset."""
    found = re.fullmatch(r"([+-])(\d\d)([0-5]\d)", text(header, "TimezoneOffsetFromUTC"))
    if found is None or int(found[2]) > 14:  # DICOM allows -1200 to +1400
        return None
    offset = timedelta(hours=int(found[2]), minutes=int(found[3]))
    return timezone(offset if found[1] == "+" else -offset)


def private_text(header: Dataset, name: str) -> str:
    """A vendor's private value as text, "" where absent; `name` is a key of `PRIVATE`.

    Where the private creator was removed, the element is taken where the vendors' statements have it: (gggg,10ee).
    """
    group, creator, element = PRIVATE[name]
    creators = {block: _ascii(header, Tag(group, block)) for block in _BLOCKS if Tag(group, block) in header}
    blocks = [block for block, found in creators.items() if found.lower() == creator.lower()]
    if not blocks and _BLOCKS[0] not in creators:
        blocks = [_BLOCKS[0]]
    return next((told for block in blocks if (told := _ascii(header, Tag(group, (block << 8) + element)))), "")


def _ascii(header: Dataset, tag: BaseTag) -> str:
    """An element as it stands in the file, for elements whose representation need not be known; "" where absent."""
    value = header.get_item(tag, keep_deferred=True).value if tag in header else None
    return (value.decode("ascii", "replace") if isinstance(value, bytes) else str(value or "")).strip(" \0")


@lru_cache(maxsize=256)
def _day(value: str) -> date | None:
    try:
        parsed = DA(value)
    except ValueError:
        return None
    return parsed if parsed and parsed.year in _YEARS else None
