"""Attributes of a DICOM header as text and as numbers; `readings`, beside this, tells absent from unreadable.

Only the attributes listed in `TAGS` are read from a file. `without_identity` takes the patient's name and birth date
away, and name and identifier out of the one free text that is shown.
"""

from __future__ import annotations

import re
import struct
from functools import lru_cache
from math import isfinite
from typing import TYPE_CHECKING

import pydicom
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.errors import BytesLengthException
from pydicom.tag import Tag

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pydicom.tag import BaseTag

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
    "ReconstructionDiameter", "RescaleType", "IssuerOfPatientID", "PatientBirthDate", "PatientAge",
    "PatientIdentityRemoved", "LongitudinalTemporalInformationModified",
)  # fmt: skip
_PLAIN = frozenset(("AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI"))  # representations in ASCII (PS3.5 6.2)
_UNREADABLE = (  # what pydicom raises where a value does not fit its representation
    BytesLengthException, ValueError, TypeError, LookupError, AttributeError, NotImplementedError, ArithmeticError,
    struct.error,
)  # fmt: skip
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_FREE = frozenset(("LO", "PN", "SH"))  # free text; where all bytes are ASCII, the character set does not matter
_TAG_OF = {keyword: Tag(keyword) for keyword in _KEYWORDS}
_SHORTEST_NAME = 3  # shorter parts of a name are found in too many words
_GE, _PHILIPS, _SIEMENS = "GEMS_PETD_01", "Philips PET Private Group", "SIEMENS MED PT"
PRIVATE: dict[str, tuple[int, str, int]] = {  # name -> group, creator, element
    "GE scan": (0x0009, _GE, 0x0D),  # PET scan_datetime, DT
    "GE administration": (0x0009, _GE, 0x3B),  # PET admin_datetime, DT
    "Siemens decay correction": (0x0071, _SIEMENS, 0x22),  # Decay Correction DateTime, DT
    "Philips SUV": (0x7053, _PHILIPS, 0x00),  # SUV Scale Factor, DS
    "Philips activity": (0x7053, _PHILIPS, 0x09),  # Activity Concentration Scale Factor, DS
}
_NUMERIC = {"FD": {8: "d"}, "FL": {4: "f"}, "OD": {8: "d"}, "OF": {4: "f"}}  # representation -> bytes -> struct
_BINARY = {**_NUMERIC, **{vr: {8: "d", 4: "f"} for vr in ("UN", "OB", "OW")}}
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
    """The header without name, birth date and issuer; name and PatientID are blotted out of SeriesDescription."""
    parts = {*re.split(r"[\^= ,]+", text(header, "PatientName")), text(header, "PatientID")}
    written = description = text(header, "SeriesDescription")
    for part in sorted((part for part in parts if len(part) >= _SHORTEST_NAME), key=len, reverse=True):
        description = re.sub(re.escape(part), "***", description, flags=re.IGNORECASE)
    if description != written:
        header.SeriesDescription = description
    for keyword in ("PatientName", "PatientBirthDate", "IssuerOfPatientID"):
        header.pop(_TAG_OF[keyword], None)
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
                split = _split.__wrapped__ if keyword == "PatientBirthDate" else _split
                return split(raw.value or b"")
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
    """The values of an attribute as numbers; empty where absent or where one cannot be read."""
    written = texts(header, keyword)
    try:
        values = tuple(map(float, written))
    except ValueError:  # a DS or IS that is no number
        return ()
    return () if any("_" in text for text in written) or not all(map(isfinite, values)) else values


def number(header: Dataset, keyword: str) -> float | None:
    """The first value as a number, or None."""
    return next(iter(numbers(header, keyword)), None)


def private_text(header: Dataset, name: str) -> str:
    """A vendor's private value as text, "" where absent; `name` is a key of `PRIVATE`.

    Where the private creator was removed, the element is taken where the vendors' statements have it: (gggg,10ee).
    """
    group, creator, element = PRIVATE[name]
    creators = {block: _ascii(header, Tag(group, block)) for block in _BLOCKS if Tag(group, block) in header}
    blocks = [block for block, found in creators.items() if found.lower() == creator.lower()]
    if not blocks and _BLOCKS[0] not in creators:
        blocks = [_BLOCKS[0]]
    return next((text for block in blocks if (text := _ascii(header, Tag(group, (block << 8) + element)))), "")


def _ascii(header: Dataset, tag: BaseTag) -> str:
    """An element as text, whatever its representation says; "" where absent.

    A number in binary (FD, FL and the like, or of unknown representation) becomes its shortest decimal form.
    """
    if tag not in header:
        return ""
    element = header.get_item(tag, keep_deferred=True)
    value = element.value
    if not isinstance(value, bytes):
        return "" if value is None else str(value).strip(" \0")
    text = value.decode("ascii", "replace").strip(" \0")
    form = _BINARY.get(element.VR or "UN", {}).get(len(value))
    if form is None or (element.VR not in _NUMERIC and text.isprintable() and text.isascii()):
        return text
    order = "<" if getattr(element, "is_little_endian", True) else ">"
    return repr(struct.unpack(order + form, value)[0])
