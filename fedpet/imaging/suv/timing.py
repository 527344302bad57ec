"""When a PET was acquired and when its dose was given, as the headers state it (DICOM PS3.3 C.8.9).

All times are on the scanner's clock, see `fedpet.imaging.dicom.headers.scanner_clock`. Every time that the headers
give is a candidate; one that cannot be right is set aside with the reason, and the first of the others is chosen. The
rest is what `fedpet.imaging.suv.witness` compares the choice with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from math import exp, log
from typing import TYPE_CHECKING

from fedpet.core.messages import Message
from fedpet.imaging.dicom.headers.attributes import number, private_text, text
from fedpet.imaging.dicom.headers.readings import date_reading, date_time_reading, time_reading
from fedpet.imaging.dicom.headers.scanner_clock import (
    DAY,
    LONGEST_SCAN,
    clock_difference,
    date_time,
    is_lost_clock,
    is_whole_quarters,
    moment,
    on_scanner_clock,
)
from fedpet.imaging.suv.tracer import radiopharmaceutical

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydicom.dataset import Dataset

    from fedpet.imaging.dicom.headers.readings import Reading

MAX_HALF_LIVES = 5.0  # longest credible time from injection to scan
START_OF_SCAN = Message("The start of the scan")
DATE_OF_SCAN = Message("The date of the scan")
INJECTION_TIME = Message("The injection time")
_CLOCK_SLACK = timedelta(seconds=1)  # series and acquisition time are rounded differently
_ROUNDING = timedelta(minutes=1)
_LONGEST_FROM_MIDNIGHT = timedelta(hours=3)  # an injection at 00:00:00 sharp longer before the scan is a lost clock
_LOST = Message("its clock was lost: 00:00:00 beside other times")
_OTHER_DATE = Message("its date does not fit the acquisitions")
_LATE = Message("later than the earliest acquisition: written by a reprocessing")
_NOT_NEEDED = Message("the headers name the time of the decay correction itself")


@dataclass(frozen=True)
class SourcedTime:
    """A time and where it was read: a stable identifier such as "series_time".

    Attributes:
        set_aside: why it cannot be right; None where it can.
        counts: whether it may be compared with the time that is used.
    """

    time: datetime
    source: str
    set_aside: Message | None = None
    counts: bool = True


@dataclass(frozen=True)
class TimeReading:
    """One event as the headers time it.

    Attributes:
        chosen: the time used, or None.
        candidates: every time that the headers give for it.
        doubts: what a person should know of the choice.
        problem: why no time can be used; None where one is chosen.
    """

    chosen: SourcedTime | None
    candidates: tuple[SourcedTime, ...] = ()
    doubts: tuple[Message, ...] = ()
    problem: Message | None = None


def scan_start(
    headers: Sequence[Dataset], acquired: Sequence[datetime | None], half_life_s: float | None
) -> TimeReading:
    """The time that `DecayCorrection` START refers to.

    Decay Correction DateTime, which only enhanced objects have, says it outright, whenever that was. Else in this
    order, the first that is not later than the earliest acquisition (a later one was written by a reprocessing): the
    series time, GE's PET scan_datetime, Siemens' Decay Correction DateTime; then computed back from the frame reference
    time of the earliest slice; then the earliest acquisition itself. Back-computation is not the first choice, although
    the manual of the IBSI proposes it: in real series of several beds all slices may carry one acquisition time while
    the frame reference time varies (+1.3 % to -10.9 % of SUV).

    Args:
        headers: one per slice.
        acquired: `acquisition_times` of them.
        half_life_s: of the radionuclide, for the back-computation.
    """
    first = headers[0]
    timed = [(time, header) for time, header in zip(acquired, headers, strict=True) if time]
    earliest = min((time for time, _ in timed), default=None)
    last = max((time for time, _ in timed), default=None)
    candidates = tuple(_judged(one, earliest, last) for one in _stated_starts(first))
    chosen = next((one for one in candidates if one.set_aside is None), None)
    if chosen is None and earliest is not None:
        back = _before_first_frame([header for time, header in timed if time == earliest], half_life_s)
        first_acquired = SourcedTime(earliest, "earliest_acquisition")
        chosen = first_acquired if back is None else SourcedTime(earliest - back, "back_computed")
    if chosen and chosen.source == "decay_correction_datetime":
        candidates = tuple(replace(one, set_aside=_NOT_NEEDED, counts=False) for one in candidates if one != chosen)
    written = time_reading(first, "SeriesTime")
    problem = written.problem(START_OF_SCAN)
    if chosen is None:
        return TimeReading(None, candidates, problem=problem or _dateless(first))
    doubts = [problem] if written.unreadable and problem else []
    if any(one.set_aside is _LOST for one in candidates):
        doubts.append(Message("The series time is 00:00:00 and was not used; the acquisition times were."))
    return TimeReading(chosen, candidates, tuple(doubts))


def _dateless(first: Dataset) -> Message:
    for keyword in ("SeriesDate", "StudyDate"):
        if (written := date_reading(first, keyword)).unreadable:
            return written.problem(DATE_OF_SCAN) or Message("{what} is missing.", what=DATE_OF_SCAN)
    return Message("{what} is missing.", what=DATE_OF_SCAN)


def _stated_starts(first: Dataset) -> list[SourcedTime]:
    to_start = text(first, "DecayCorrection") == "START"  # else the times of decay correction are of another event
    corrected_to = text(first, "DecayCorrectionDateTime") if to_start else ""
    siemens = private_text(first, "Siemens decay correction") if to_start else ""
    stated = {
        "decay_correction_datetime": date_time(corrected_to, first),
        "series_time": moment(first, "Series") if text(first, "SeriesTime") else None,
        "ge_private_scan_datetime": date_time(private_text(first, "GE scan"), first),
        "siemens_private_decay_correction_datetime": date_time(siemens, first),
    }
    return [SourcedTime(time, source) for source, time in stated.items() if time]


def _judged(stated: SourcedTime, earliest: datetime | None, last: datetime | None) -> SourcedTime:
    """A stated start, set aside where the acquisitions rule it out.

    One that lies between them contradicts the earlier ones, and is compared with the time that is used.
    """
    if earliest is None or last is None or stated.source == "decay_correction_datetime":
        return stated
    if is_lost_clock(stated.time.time(), [earliest.time()]):
        return replace(stated, set_aside=_LOST, counts=False)
    if stated.time - earliest > _CLOCK_SLACK:
        return replace(stated, set_aside=_LATE, counts=stated.time <= last)
    if earliest - stated.time > LONGEST_SCAN:
        return replace(stated, set_aside=_OTHER_DATE, counts=False)
    return stated


def _before_first_frame(headers: Sequence[Dataset], half_life_s: float | None) -> timedelta | None:
    """Time from the reference of the decay correction to the start of the first frame; None where it is not given."""
    header = min(headers, key=lambda one: number(one, "FrameReferenceTime") or 0.0)
    offset = None if half_life_s is None else frame_offset_s(header, half_life_s)
    return None if offset is None else timedelta(seconds=offset)


def frame_offset_s(header: Dataset, half_life_s: float) -> float | None:
    """Seconds from the reference of the decay correction to the start of a frame, by FrameReferenceTime, or None.

    The frame reference time is when the activity had its mean over the frame of length T: ln(lT / (1 - exp(-lT))) / l
    after the frame's start. Zero is written where it is not known.
    """
    reference, duration = number(header, "FrameReferenceTime"), frame_s(header)
    if not reference or abs(reference) > DAY / timedelta(milliseconds=1) or duration is None:
        return None
    offset = reference / 1000 - mean_activity_delay(duration, half_life_s)
    return offset if abs(offset) <= LONGEST_SCAN.total_seconds() else None


def mean_activity_delay(duration_s: float, half_life_s: float) -> float:
    """Seconds from a frame's start to when the activity equals its mean over the frame."""
    rate = log(2) / half_life_s
    return log(rate * duration_s / (1 - exp(-rate * duration_s))) / rate


def frame_s(header: Dataset) -> float | None:
    """ActualFrameDuration in seconds, or None."""
    duration = number(header, "ActualFrameDuration")
    return duration / 1000 if duration and 0 < duration < DAY.total_seconds() * 1000 else None


def injection(header: Dataset, start: datetime, half_life_s: float | None) -> TimeReading:
    """When the dose was given.

    The date and time if they fit the scan; else the time alone, on the day of the scan or, if that is later than the
    scan, on the day before; else GE's private time. A date that does not fit was shifted by de-identification: its
    clock is used where no time alone is given. Set aside: a clock of 00:00:00 beside another, and a date-time on the
    clock of another time zone, which the time alone shows.
    """
    tracer = radiopharmaceutical(header)
    longest = timedelta(seconds=min(MAX_HALF_LIVES * half_life_s, 1e6)) if half_life_s else LONGEST_SCAN
    stamp, clock = (
        date_time_reading(tracer, "RadiopharmaceuticalStartDateTime"),
        time_reading(tracer, "RadiopharmaceuticalStartTime"),
    )
    private = date_time(private_text(header, "GE administration"), header)
    other = clock.value
    if other is None and private is not None:
        other = private.time()
    full, doubts = _stamp_on_scanner_clock(stamp, header, other)
    candidates = [
        *([_dated(full, start, longest)] if full else []),
        *([_on_the_day(clock.value, start, "start_time")] if clock.value is not None else []),
        *([SourcedTime(private, "ge_private_admin_datetime")] if private else []),
    ]
    judged = tuple(_judged_injection(one, candidates, start, longest) for one in candidates)
    chosen = next((one for one in judged if one.set_aside is None), None)
    doubts += tuple(
        Message("An injection time of 00:00:00 was not used: the headers give another.")
        for one in judged
        if one.set_aside is _LOST and chosen
    )
    if chosen:
        doubts += tuple(
            problem for one in (stamp, clock) if one.unreadable and (problem := one.problem(INJECTION_TIME))
        )
    return TimeReading(chosen, judged, doubts, None if chosen else _no_injection(stamp, clock, doubts))


def _stamp_on_scanner_clock(
    stamp: Reading[datetime], header: Dataset, other: time | None
) -> tuple[datetime | None, tuple[Message, ...]]:
    """StartDateTime on the scanner's clock; None where it is on another that is not known.

    Where nothing shows the scanner's zone, a date-time with an offset is taken as written, unless the time alone
    differs by whole quarters of an hour, or there is none to compare with.
    """
    if stamp.value is None:
        return None, ()
    here = on_scanner_clock(stamp.value, header)
    if here is not None:
        return here, ()
    written = stamp.value.replace(tzinfo=None)
    if other is None:
        clock = Message(
            "The injection date-time states its offset from UTC ({text}), and nothing shows the clock of the scanner.",
            text=stamp.text[:32],
        )
        return None, (clock,)
    apart = clock_difference(other, written.time())
    if abs(apart) < _ROUNDING or not is_whole_quarters(apart):
        return written, ()
    followed = Message(
        "The injection date-time ({text}) is on the clock of another time zone; the injection time {time} was used.",
        text=stamp.text[:32],
        time=other.strftime("%H:%M:%S"),
    )
    return None, (followed,)


def _dated(full: datetime, start: datetime, longest: timedelta) -> SourcedTime:
    """StartDateTime as it stands, or its clock alone where its date does not fit the scan."""
    if timedelta(0) <= start - full <= longest:
        return SourcedTime(full, "start_datetime")
    return _on_the_day(full.time(), start, "start_datetime_without_its_date")


def _on_the_day(clock: time, start: datetime, source: str) -> SourcedTime:
    given = datetime.combine(start.date(), clock)
    return SourcedTime(given, source) if given <= start else SourcedTime(given - DAY, f"{source}_previous_day")


def _judged_injection(
    one: SourcedTime, candidates: Sequence[SourcedTime], start: datetime, longest: timedelta
) -> SourcedTime:
    """An injection time, set aside where another of the headers is the better one."""
    others = [other for other in candidates if other is not one]
    credible = [other for other in others if timedelta(0) <= start - other.time <= longest]
    if is_lost_clock(one.time.time(), [other.time.time() for other in credible]):
        return replace(one, set_aside=_LOST, counts=False)
    if one.source == "ge_private_admin_datetime" and not timedelta(0) <= start - one.time <= longest:
        return replace(one, set_aside=_OTHER_DATE, counts=False)
    if "without_its_date" in one.source and any(other.source.startswith("start_time") for other in others):
        return replace(one, set_aside=_OTHER_DATE)  # its clock is compared
    return one


def _no_injection(stamp: Reading[datetime], clock: Reading[time], doubts: tuple[Message, ...]) -> Message:
    """Why no injection time can be used."""
    if doubts:
        return doubts[0]
    unreadable = clock if clock.unreadable else stamp
    return unreadable.problem(INJECTION_TIME) or Message("{what} is missing.", what=INJECTION_TIME)


def lost_injection_clock(injected: SourcedTime, start: SourcedTime) -> bool:
    """Whether an injection at 00:00:00 sharp can only be a date without its clock."""
    if injected.source == "corrected" or injected.time.time() != time():
        return False
    return start.time.time() == time() or start.time - injected.time > _LONGEST_FROM_MIDNIGHT
