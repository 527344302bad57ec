"""Every value that enters the SUV must be one value: all slices of a series are compared, none rules the others.

A value that some slices state and others lack differs, too: such slices are of another origin (but for the sex, which
hardly enters the SUV). Numbers are equal within
rounding, whatever unit they are written in; times within a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from functools import partial, reduce
from typing import TYPE_CHECKING, Final

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.tag import Tag

from fedpet.core.messages import Message
from fedpet.imaging.dicom.headers.attributes import private_text, text, texts
from fedpet.imaging.dicom.headers.readings import date_time_reading, shown, time_reading
from fedpet.imaging.dicom.headers.scanner_clock import clock_difference, date_time, moment
from fedpet.imaging.suv.header_values import DOSE, HALF_LIFE, HEIGHT, WEIGHT, dose, half_life, height, weight
from fedpet.imaging.suv.timing import INJECTION_TIME, START_OF_SCAN
from fedpet.imaging.suv.tracer import code, radiopharmaceutical, radiopharmaceuticals

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from pydicom.dataset import Dataset

    from fedpet.imaging.dicom.headers.readings import Reading
    from fedpet.imaging.suv.header_values import HeaderValue

_ROUNDING: Final = 1e-4  # relative; 70 kg beside 70.005 kg
_SECOND: Final = timedelta(seconds=1)
_MOST_SHOWN: Final = 4  # values named in a message
_TOP_LEVEL: Final = tuple(
    Tag(keyword)
    for keyword in (
        "PatientWeight", "PatientSize", "PatientSex", "Units", "DecayCorrection", "SUVType", "TimezoneOffsetFromUTC",
        "CorrectedImage", "SeriesDate", "StudyDate", "SeriesTime", "DecayCorrectionDateTime",
        "RadiopharmaceuticalInformationSequence",
    )
)  # fmt: skip
_PRIVATE_TIMES: Final = ("GE scan", "GE administration", "Siemens decay correction")


@dataclass(frozen=True)
class _Stated:
    """What one image states of a quantity: a value that can be compared, and its text; None states nothing."""

    value: Hashable
    text: str


def conflicts(headers: Sequence[Dataset]) -> dict[str, Message]:
    """The quantities in which the slices of a series differ, each with its values and how many slices have each.

    Keys are those of a person's corrections where there is one ("weight_kg", "height_m", "dose_mbq", "injection_time",
    "scan_start"), else the keyword of the attribute.
    """
    groups = _distinct(headers)
    if len(groups) == 1:
        return {}
    found: dict[str, Message] = {}
    for name, what, read in _QUANTITIES:
        counted = _counted((read(header), count) for header, count in groups)
        if len(counted) > 1:
            found.setdefault(name, _differs(what, counted, len(headers)))
    return found


def _distinct(headers: Sequence[Dataset]) -> list[tuple[Dataset, int]]:
    """One header of each kind and how many there are: the slices of a series repeat the same bytes."""
    groups: dict[Hashable, list[Dataset]] = {}
    for header in headers:
        content = (
            *(_content(header, tag) for tag in _TOP_LEVEL),
            *(private_text(header, name) for name in _PRIVATE_TIMES),
        )
        groups.setdefault(content, []).append(header)
    return [(same[0], len(same)) for same in groups.values()]


def _content(header: Dataset, tag: int) -> Hashable:
    if tag not in header:
        return None
    element: object = header.get_item(tag, keep_deferred=True)
    if isinstance(element, DataElement) and element.VR == "SQ":
        return tuple(map(id, element.value))
    return element.value if isinstance(element, RawDataElement) else str(header.get(tag))


def _counted(stated: Iterable[tuple[_Stated, int]]) -> list[tuple[_Stated, int]]:
    """The values that differ, the most frequent first."""
    counted: list[tuple[_Stated, int]] = []
    for one, count in stated:
        if one.value is None:
            continue
        place = next((at for at, (other, _) in enumerate(counted) if _same(one.value, other.value)), None)
        if place is None:
            counted.append((one, count))
        else:
            counted[place] = counted[place][0], counted[place][1] + count
    return sorted(counted, key=lambda each: -each[1])


def _same(one: Hashable, other: Hashable) -> bool:
    """Whether two values are equal within rounding."""
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= _ROUNDING * max(abs(one), abs(other))
    if isinstance(one, datetime) and isinstance(other, datetime) and (one.tzinfo is None) is (other.tzinfo is None):
        return abs(one - other) <= _SECOND
    if isinstance(one, time) and isinstance(other, time):
        return abs(clock_difference(one, other)) <= _SECOND
    return one == other


def _differs(what: Message, counted: Sequence[tuple[_Stated, int]], slices: int) -> Message:
    parts = [
        Message("{value} in {n} of {all} slices", value=one.text or Message("no value"), n=count, all=slices)
        for one, count in counted[:_MOST_SHOWN]
    ]
    listed = reduce(lambda one, other: Message("{one}, {other}", one=one, other=other), parts)
    return Message("{what} differs between the slices: {values}.", what=what, values=listed)


def _number(header: Dataset, *, read: Callable[[Dataset], HeaderValue], written: Callable[[Dataset], str]) -> _Stated:
    value = read(header).value
    return _Stated(value if value is not None else written(header), shown(written(header)))


def _attribute(header: Dataset, *, keyword: str) -> _Stated:
    values = "\\".join(texts(header, keyword))
    return _Stated(values.casefold(), values[:32])


def _sex(header: Dataset) -> _Stated:
    """A slice without it is no other patient's: see `fedpet.imaging.dicom.headers.patient_module`."""
    sex = text(header, "PatientSex").upper()
    return _Stated(sex or None, sex[:32])


def _tracer(header: Dataset) -> _Stated:
    """Name and codes of the radiopharmaceuticals."""
    named = radiopharmaceuticals(header)
    names = "\\".join(text(one, "Radiopharmaceutical") for one in named)
    codes = [
        code(one, sequence)
        for one in named
        for sequence in ("RadiopharmaceuticalCodeSequence", "RadionuclideCodeSequence")
    ]
    return _Stated((names.casefold(), *codes), " ".join(one for one in (names[:32], *codes) if one))


def _correction(header: Dataset) -> _Stated:
    """Whether the image is said to be corrected for decay."""
    corrected = "DECY" in texts(header, "CorrectedImage")
    return _Stated(corrected, "DECY" if corrected else "")


def _time(header: Dataset, *, read: Callable[[Dataset], Reading[time] | Reading[datetime]]) -> _Stated:
    reading = read(header)
    return _Stated(reading.text if reading.value is None else reading.value, shown(reading.text))


def _private_time(header: Dataset, *, name: str) -> _Stated:
    written = private_text(header, name)
    return _Stated(date_time(written, header) or written, shown(written))


def _series_start(header: Dataset) -> _Stated:
    """Series date and time."""
    written = time_reading(header, "SeriesTime")
    return _Stated(
        moment(header, "Series") or written.text, shown(" ".join((text(header, "SeriesDate"), written.text)))
    )


def _in_tracer(keyword: str) -> Callable[[Dataset], str]:
    return lambda header: "\\".join(texts(radiopharmaceutical(header), keyword))


def _at_top(keyword: str) -> Callable[[Dataset], str]:
    return lambda header: "\\".join(texts(header, keyword))


# Where a quantity has several lines, the first in which the slices differ is the one named.
_QUANTITIES: Final[tuple[tuple[str, Message, Callable[[Dataset], _Stated]], ...]] = (
    ("PatientSex", Message("The patient's sex"), _sex),
    ("weight_kg", WEIGHT, partial(_number, read=weight, written=_at_top("PatientWeight"))),
    ("height_m", HEIGHT, partial(_number, read=height, written=_at_top("PatientSize"))),
    ("Radiopharmaceutical", Message("The radiopharmaceutical"), _tracer),
    ("dose_mbq", DOSE, partial(_number, read=dose, written=_in_tracer("RadionuclideTotalDose"))),
    ("RadionuclideHalfLife", HALF_LIFE, partial(_number, read=half_life, written=_in_tracer("RadionuclideHalfLife"))),
    (
        "injection_time",
        INJECTION_TIME,
        partial(_time, read=lambda header: time_reading(radiopharmaceutical(header), "RadiopharmaceuticalStartTime")),
    ),
    (
        "injection_time",
        INJECTION_TIME,
        partial(
            _time,
            read=lambda header: date_time_reading(radiopharmaceutical(header), "RadiopharmaceuticalStartDateTime"),
        ),
    ),
    ("injection_time", INJECTION_TIME, partial(_private_time, name="GE administration")),
    ("scan_start", START_OF_SCAN, _series_start),
    (
        "scan_start",
        START_OF_SCAN,
        partial(_time, read=lambda header: date_time_reading(header, "DecayCorrectionDateTime")),
    ),
    ("scan_start", START_OF_SCAN, partial(_private_time, name="GE scan")),
    ("scan_start", START_OF_SCAN, partial(_private_time, name="Siemens decay correction")),
    ("Units", Message("The unit of the pixels"), partial(_attribute, keyword="Units")),
    ("SUVType", Message("The kind of SUV"), partial(_attribute, keyword="SUVType")),
    ("DecayCorrection", Message("The decay correction"), partial(_attribute, keyword="DecayCorrection")),
    ("CorrectedImage", Message("The decay correction"), _correction),
    (
        "TimezoneOffsetFromUTC",
        Message("The time zone"),
        partial(_attribute, keyword="TimezoneOffsetFromUTC"),
    ),
)
