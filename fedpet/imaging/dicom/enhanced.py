"""Enhanced multi-frame PET and CT, original or converted from classic series, as one flat header per frame.

An enhanced object holds what its frames share and what differs between them in functional groups (DICOM PS3.3
C.7.6.16). Here each frame gets a header as a classic single-frame image has it, so that everything after the intake
treats both alike:

- every attribute of `fedpet.imaging.dicom.headers.attributes.TAGS` found in a functional group, also among the
  unassigned converted attributes of legacy-converted objects (C.7.6.16.2.25, which only fill gaps);
- times, temporal position, frame type and contrast agent under their classic names;
- of a PET (C.8.22): the correction flags as `CorrectedImage`, the decay correction as `DecayCorrection` with
  `DecayCorrectionDateTime`, the units and slope of the real world value mapping as `Units`, `SUVType`, `RescaleSlope`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedPETImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedPETImageStorage,
    PositronEmissionTomographyImageStorage,
)

from fedpet.imaging.dicom.headers.attributes import TAGS, number, text
from fedpet.imaging.dicom.headers.parser import ITEM_BYTES, MAX_SEQUENCE_ITEMS, parse_header
from fedpet.imaging.dicom.headers.scanner_clock import date_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from fedpet.imaging.dicom.files import DicomInstance

CLASSES: Mapping[str, str] = {
    EnhancedPETImageStorage: "PT",
    LegacyConvertedEnhancedPETImageStorage: "PT",
    EnhancedCTImageStorage: "CT",
    LegacyConvertedEnhancedCTImageStorage: "CT",
}
IMAGES: Mapping[str, str] = {PositronEmissionTomographyImageStorage: "PT", CTImageStorage: "CT", **CLASSES}
_CORRECTIONS = {  # flags of the Enhanced PET Corrections module (C.8.22.6) -> Corrected Image (C.8.9.1)
    "DecayCorrected": "DECY",
    "AttenuationCorrected": "ATTN",
    "ScatterCorrected": "SCAT",
    "DeadTimeCorrected": "DTIM",
    "GantryMotionCorrected": "MOTN",
    "PatientMotionCorrected": "PMOT",
    "CountLossNormalizationCorrected": "CLN",
    "RandomsCorrected": "RAN",
    "NonUniformRadialSamplingCorrected": "RADL",
    "SensitivityCalibrated": "DCAL",
    "DetectorNormalizationCorrection": "NORM",
}
_UNITS = {  # UCUM codes (PS3.16 CID 84, 85) in the order in which a mapping is preferred (IBSI) -> Units, SUVType
    "g/ml{suvbw}": ("GML", "BW"),
    "g/ml{suvlbm}": ("GML", "LBM"),
    "g/ml{suvlbm(james128)}": ("GML", "LBMJAMES128"),
    "g/ml{suvlbm(janma)}": ("GML", "LBMJANMA"),
    "g/ml{suvibw}": ("GML", "IBW"),
    "cm2/ml{suvbsa}": ("CM2ML", "BSA"),
    "bq/ml": ("BQML", ""),
    "g/ml": ("GML", ""),
    "{counts}": ("CNTS", ""),
    "{counts}/s": ("CPS", ""),
    "{propcounts}": ("PROPCNTS", ""),
    "{propcounts}/s": ("PROPCPS", ""),
}
_SHARED, _PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
_READ = {
    Tag(keyword)
    for keyword in (
        "SpecificCharacterSet", "NumberOfFrames", "DecayCorrectionDateTime", "ContrastBolusAgentSequence", _SHARED,
        _PER_FRAME, *_CORRECTIONS,
    )
}  # fmt: skip
_UNASSIGNED = ("UnassignedSharedConvertedAttributesSequence", "UnassignedPerFrameConvertedAttributesSequence")
_OF_THE_SERIES = frozenset(  # what a frame states otherwise than the object contradicts it, and is not passed over
    Tag(keyword)
    for keyword in (
        "PatientWeight", "PatientSize", "PatientSex", "RadiopharmaceuticalInformationSequence", "Units", "SUVType",
        "DecayCorrection", "CorrectedImage", "SeriesDate", "SeriesTime", "TimezoneOffsetFromUTC",
    )
)  # fmt: skip
_WANTED = {*TAGS, Tag("StackID")} - {Tag("PatientName"), Tag("SeriesDescription")}
_RENAMED = {  # attribute of a functional group -> the classic attribute that says the same
    "FrameType": "ImageType",
    "FrameAcquisitionNumber": "AcquisitionNumber",
    "TemporalPositionIndex": "TemporalPositionIdentifier",
    "NominalCardiacTriggerDelayTime": "TriggerTime",
    "NominalRespiratoryTriggerDelayTime": "TriggerTime",
}


def split_into_frames(instance: DicomInstance) -> tuple[DicomInstance, ...]:
    """One instance for each frame of an enhanced PET or CT, `frame` numbered from 0; any other instance alone.

    An enhanced object whose functional groups do not fit its number of frames stays alone, too: nothing is known of
    its frames.

    Raises:
        ValueError: more groups than an image has. Other damage raises what pydicom raises.
    """
    modality = CLASSES.get(text(instance.header, "SOPClassUID"))
    if modality is None:
        return (instance,)
    whole = _whole(instance)
    shared, groups = _item(whole, _SHARED), whole.get(_PER_FRAME) or ()
    if not groups or len(groups) != number(whole, "NumberOfFrames"):
        return (instance,)
    common = _copy(instance.header)
    _flatten(shared, common)
    if modality == "PT":
        _say_corrections(whole, common)
    flat = [_copy(common) for _ in groups]
    for header, own in zip(flat, groups, strict=True):
        _flatten(own, header)
        _say_times(header, (_item(own, "FrameContentSequence"), _item(shared, "FrameContentSequence")))
        if modality == "PT":
            _say_units(header, (own, shared))
            _say_tracer(header, (own, shared))
        else:
            _say_contrast(whole, header, (own, shared))
    return tuple(replace(instance, header=header, frame=index) for index, header in enumerate(flat))


def _whole(instance: DicomInstance) -> Dataset:
    """What the header does not keep: functional groups and flags."""
    with instance.file.open("rb") as stream:
        whole = parse_header(stream, _READ).header
    groups = whole.get_item(_PER_FRAME)
    if groups is not None and isinstance(groups.value, bytes) and groups.value.count(ITEM_BYTES) > MAX_SEQUENCE_ITEMS:
        raise ValueError("more items than the functional groups of an image have")
    return whole


def _item(dataset: Dataset, sequence: str) -> Dataset:
    """The first item of a sequence; an empty one where absent."""
    return next(iter(dataset.get(sequence) or ()), Dataset())


def _copy(header: Dataset) -> Dataset:
    flat = Dataset()
    flat.update(header)
    return flat


def _flatten(groups: Dataset, header: Dataset) -> None:
    """Put the wanted attributes of all functional groups into the header.

    Unassigned ones only fill gaps, but for what must be one value in a series and stands in a frame.
    """
    for element in groups:
        if element.VR != "SQ" or element.keyword in _UNASSIGNED:
            continue
        for item in element.value:
            header.update({tag: item.get_item(tag) for tag in item.keys() & _WANTED})
            for keyword in (keyword for keyword in _RENAMED if keyword in item):
                setattr(header, _RENAMED[keyword], item.get(keyword))
    for sequence in _UNASSIGNED:
        item = _item(groups, sequence)
        own = _OF_THE_SERIES if sequence == _UNASSIGNED[1] else frozenset()
        header.update({tag: item.get_item(tag) for tag in (item.keys() & _WANTED) - (header.keys() - own)})


def _say_times(header: Dataset, contents: Iterable[Dataset]) -> None:
    """Acquisition time, duration (ms) and reference time (ms after the time of decay correction) of a frame."""
    for content in contents:
        if written := text(content, "FrameAcquisitionDateTime"):
            header.AcquisitionDateTime = written
        if acquired := date_time(written, header):
            header.AcquisitionDate, header.AcquisitionTime = acquired.strftime("%Y%m%d"), acquired.strftime("%H%M%S.%f")
        if (duration := number(content, "FrameAcquisitionDuration")) is not None:
            header.ActualFrameDuration = round(duration)
        reference = date_time(text(content, "FrameReferenceDateTime"), header)
        corrected_to = date_time(text(header, "DecayCorrectionDateTime"), header)
        if reference and corrected_to:
            header.FrameReferenceTime = (reference - corrected_to).total_seconds() * 1000


def _say_corrections(whole: Dataset, header: Dataset) -> None:
    """CorrectedImage and DecayCorrection; the time of the correction is the injection (ADMIN) or any other (START)."""
    if "AttenuationCorrected" not in whole:
        return  # legacy-converted: both have come with the unassigned attributes
    header.CorrectedImage = [code for flag, code in _CORRECTIONS.items() if text(whole, flag) == "YES"]
    told = text(whole, "DecayCorrectionDateTime")
    corrected_to = date_time(told, header)
    if text(whole, "DecayCorrected") != "YES":
        header.DecayCorrection = "NONE"
    elif corrected_to is not None:
        header.DecayCorrectionDateTime = told
        header.DecayCorrection = "ADMIN" if corrected_to in _injections(header) else "START"


def _injections(header: Dataset) -> list[datetime | None]:
    tracers = header.get("RadiopharmaceuticalInformationSequence") or ()
    return [date_time(text(tracer, "RadiopharmaceuticalStartDateTime"), header) for tracer in tracers]


def _say_units(header: Dataset, groups: Iterable[Dataset]) -> None:
    """Units and slope of the preferred real world value mapping; else the rescale type, which names the units."""
    if text(header, "Units"):
        return  # legacy-converted
    linear = [
        (code, mapping)
        for group in groups
        for mapping in group.get("RealWorldValueMappingSequence") or ()
        if (code := text(_item(mapping, "MeasurementUnitsCodeSequence"), "CodeValue").lower()) in _UNITS
        and number(mapping, "RealWorldValueSlope") is not None
    ]
    if not linear:
        header.Units = text(header, "RescaleType")
        return
    code, mapping = min(linear, key=lambda one: [*_UNITS].index(one[0]))
    header.Units, header.SUVType = _UNITS[code]
    header.RescaleSlope = number(mapping, "RealWorldValueSlope")
    header.RescaleIntercept = number(mapping, "RealWorldValueIntercept") or 0.0


def _say_tracer(header: Dataset, groups: Iterable[Dataset]) -> None:
    """Of several radiopharmaceuticals, those that the frame shows."""
    used = {
        number(usage, "RadiopharmaceuticalAgentNumber")
        for group in groups
        for usage in group.get("RadiopharmaceuticalUsageSequence") or ()
    }
    tracers = header.get("RadiopharmaceuticalInformationSequence") or ()
    shown = [tracer for tracer in tracers if number(tracer, "RadiopharmaceuticalAgentNumber") in used]
    if shown:
        header.RadiopharmaceuticalInformationSequence = shown


def _say_contrast(whole: Dataset, header: Dataset, groups: Iterable[Dataset]) -> None:
    """The name of the contrast agents, unless each frame says that none was administered yet."""
    usages = [usage for group in groups for usage in group.get("ContrastBolusUsageSequence") or ()]
    if usages and all(text(usage, "ContrastBolusAgentAdministered") == "NO" for usage in usages):
        return
    agents = whole.get("ContrastBolusAgentSequence") or ()
    if agents and not text(header, "ContrastBolusAgent"):
        header.ContrastBolusAgent = ", ".join(text(agent, "CodeMeaning") or "contrast agent" for agent in agents)
