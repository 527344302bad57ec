"""Dates and times of a header on one clock: the scanner's.

Dates and times, and date-times without an offset of their own, are on that clock. A date-time that states its offset
from UTC is converted to it by Timezone Offset From UTC (PS3.3 C.12.1.1.8) or, where that is absent, by what the headers
show of the clock: an Acquisition DateTime with an offset, beside the Acquisition Time where both are given. Where
nothing shows it, such a date-time is on another clock, and is not read as if it were on this one.
"""

from __future__ import annotations

from datetime import datetime, time, timedelta, timezone
from statistics import median_low
from typing import TYPE_CHECKING

from fedpet.imaging.dicom.headers.attributes import text
from fedpet.imaging.dicom.headers.readings import date_reading, date_time_reading, time_reading
from fedpet.imaging.dicom.headers.temporal_values import UnreadableValueError, read_date_time, read_utc_offset

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydicom.dataset import Dataset

LONGEST_SCAN = timedelta(hours=12)  # longest credible scan
DAY = timedelta(days=1)
QUARTER = timedelta(minutes=15)  # offsets from UTC are whole quarters of an hour
_ROUNDING = timedelta(minutes=1)  # of clocks that are otherwise the same
_NEAR_MIDNIGHT = timedelta(minutes=30)
_LONGEST_BED = timedelta(minutes=30)  # between the acquisitions of neighbouring beds
_FEW_SLICES = 0.05  # share of the slices: less than a bed


def moment(header: Dataset, kind: str) -> datetime | None:
    """`<kind>Date` and `<kind>Time` joined; a missing date is the series', else the study's."""
    day = next((day for one in (kind, "Series", "Study") if (day := date_reading(header, f"{one}Date").value)), None)
    clock = time_reading(header, f"{kind}Time").value
    return datetime.combine(day, clock) if day and clock is not None else None


def date_time(written: str, header: Dataset) -> datetime | None:
    """A DT on the scanner's clock; None where it cannot be read or is on a clock that is not known."""
    try:
        read = read_date_time(written)
    except UnreadableValueError:
        return None
    return on_scanner_clock(read, header)


def on_scanner_clock(read: datetime, header: Dataset) -> datetime | None:
    """A date-time as the scanner's clock showed it; None where it states an offset and the scanner's is not known."""
    if read.tzinfo is None:
        return read
    zone = scanner_zone(header)
    return None if zone is None else read.astimezone(zone).replace(tzinfo=None)


def scanner_zone(header: Dataset) -> timezone | None:
    """The offset of the scanner's clock from UTC, or None where nothing shows it."""
    try:
        return read_utc_offset(text(header, "TimezoneOffsetFromUTC"))
    except UnreadableValueError:
        return _shown_zone(header)


def _shown_zone(header: Dataset) -> timezone | None:
    for keyword in ("AcquisitionDateTime", "DecayCorrectionDateTime"):
        read = date_time_reading(header, keyword).value
        offset = None if read is None else read.utcoffset()
        if read is None or offset is None:
            continue
        clock = time_reading(header, "AcquisitionTime").value if keyword == "AcquisitionDateTime" else None
        apart = clock_difference(clock, read.time()) if clock is not None else timedelta(0)
        if is_whole_quarters(apart) and abs(offset + apart) < DAY:
            return timezone(offset + QUARTER * round(apart / QUARTER))
    return None


def clock_difference(one: time, other: time) -> timedelta:
    """How much later one clock is than the other, from -12 h up to 12 h."""
    day = datetime(2000, 1, 1)  # noqa: DTZ001  any day: only clocks are compared
    apart = (datetime.combine(day, one) - datetime.combine(day, other)) % DAY
    return apart - DAY if apart >= DAY / 2 else apart


def is_whole_quarters(apart: timedelta) -> bool:
    """Whether clocks differ by whole quarters of an hour, as those of two time zones do."""
    return abs(apart - QUARTER * round(apart / QUARTER)) < _ROUNDING


def is_lost_clock(clock: time, others: Iterable[time]) -> bool:
    """Whether 00:00:00 stands for a time of day that was lost: others are given, and none is near midnight."""
    others = list(others)
    midnight = time()
    near = (abs(clock_difference(other, midnight)) <= _NEAR_MIDNIGHT for other in others)
    return clock == midnight and bool(others) and not any(near)


def acquisition_times(headers: Sequence[Dataset]) -> tuple[datetime | None, ...]:
    """When each slice was acquired; a clock that passes midnight while the date stays is set right.

    A slice whose clock was lost (00:00:00 while others, or the series time, are far from midnight) has no time, nor has
    one that lies farther from most others than a scan lasts.
    """
    times = [moment(one, "Acquisition") or date_time(text(one, "AcquisitionDateTime"), one) for one in headers]
    stated = moment(headers[0], "Series")
    clocks = {one.time() for one in (*times, stated) if one}
    others = clocks - {time()}
    if len(others) < len(clocks) and is_lost_clock(time(), others):
        times = [None if one and one.time() == time() else one for one in times]
    series = None if text(headers[0], "AcquisitionDate") else stated
    latest = max((one for one in (*times, series) if one), default=None)
    times = [one + DAY if one and latest and latest - one > LONGEST_SCAN else one for one in times]
    known = [one for one in times if one]
    middle = median_low(known) if known else None
    return tuple(one if one and middle and abs(one - middle) <= LONGEST_SCAN else None for one in times)


def without_strays(acquired: Sequence[datetime | None]) -> tuple[tuple[datetime | None, ...], int]:
    """Acquisition times without those of a few slices alone and long before all others, and their number.

    The earliest acquisition can decide what the whole series is corrected to; an error in one slice must not.
    """
    known = sorted(one for one in acquired if one)
    gaps = [number for number in range(1, len(known)) if known[number] - known[number - 1] > _LONGEST_BED]
    strays = max((number for number in gaps if number <= _FEW_SLICES * len(known)), default=0)
    kept = tuple(None if strays and one and one < known[strays] else one for one in acquired)
    return kept, strays
