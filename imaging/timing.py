"""When a PET was acquired and when its dose was given, as the headers tell it (DICOM PS3.3 C.8.9).

All times are told on the scanner's clock: Timezone Offset From UTC holds for dates and times and for date-times without
an offset of their own; a date-time with one is converted.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import exp, log
from typing import TYPE_CHECKING

from imaging.header import date_time, moment, number, private_text, text, time_of_day
from imaging.tracer import radiopharmaceutical

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydicom.dataset import Dataset

MOST_HALF_LIVES = 5.0  # longest credible time from injection to scan
_CLOCK_SLACK = timedelta(seconds=1)  # series and acquisition time are rounded differently
_HALF_A_DAY = timedelta(hours=12)  # longest credible scan
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Moment:
    """A time and where it was read: a stable identifier such as "series_time"."""

    time: datetime
    source: str


def acquisition_times(headers: Sequence[Dataset]) -> tuple[datetime | None, ...]:
    """When each slice was acquired; a clock that passes midnight while the date stays is set right."""
    times = [moment(one, "Acquisition") or date_time(text(one, "AcquisitionDateTime"), one) for one in headers]
    series = None if text(headers[0], "AcquisitionDate") else moment(headers[0], "Series")
    latest = max((time for time in (*times, series) if time), default=None)
    return tuple(time + _DAY if time and latest and latest - time > _HALF_A_DAY else time for time in times)


def scan_start(
    headers: Sequence[Dataset], acquired: Sequence[datetime | None], half_life_s: float | None
) -> Moment | None:
    """The time that `DecayCorrection` START refers to, or None where no time is given.

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
    to_start = text(first, "DecayCorrection") == "START"  # else the times of decay correction tell another moment
    corrected_to = date_time(text(first, "DecayCorrectionDateTime"), first) if to_start else None
    if corrected_to:
        return Moment(corrected_to, "decay_correction_datetime")
    siemens = private_text(first, "Siemens decay correction") if to_start else ""
    told = {
        "series_time": moment(first, "Series") if text(first, "SeriesTime") else None,
        "ge_private_scan_datetime": date_time(private_text(first, "GE scan"), first),
        "siemens_private_decay_correction_datetime": date_time(siemens, first),
    }
    timed = [(time, header) for time, header in zip(acquired, headers, strict=True) if time]
    earliest = min((time for time, _ in timed), default=None)
    for source, time in told.items():
        if time and (earliest is None or -_HALF_A_DAY <= time - earliest <= _CLOCK_SLACK):
            return Moment(time, source)
    if earliest is None:
        return None
    back = _before_first_frame([header for time, header in timed if time == earliest], half_life_s)
    return Moment(earliest, "earliest_acquisition") if back is None else Moment(earliest - back, "back_computed")


def _before_first_frame(headers: Sequence[Dataset], half_life_s: float | None) -> timedelta | None:
    """Time from the reference of the decay correction to the start of the first frame; None where it is not given.

    The frame reference time is when the activity had its mean over the frame of length T: ln(lT / (1 - exp(-lT))) / l
    after the frame's start. Zero is written where it is not known.
    """
    header = min(headers, key=lambda one: number(one, "FrameReferenceTime") or 0.0)
    reference, duration = number(header, "FrameReferenceTime"), frame_s(header)
    if not reference or abs(reference) > _DAY / timedelta(milliseconds=1) or duration is None or half_life_s is None:
        return None
    back = timedelta(seconds=reference / 1000 - mean_activity_delay(duration, half_life_s))
    return back if abs(back) <= _HALF_A_DAY else None


def decay_factor_disagreement(
    headers: Sequence[Dataset], acquired: Sequence[datetime | None], *, start: Moment, half_life_s: float
) -> float:
    """How far SUV would move if `start` were taken from DecayFactor (PS3.3 C.8.9.4) of the earliest slice."""
    told = [
        (time, factor, duration)
        for time, header in zip(acquired, headers, strict=True)
        if time
        and (factor := number(header, "DecayFactor") or 1.0) > 1.0005  # 1 is written where the factor is not known
        and (duration := frame_s(header)) is not None
    ]
    if not told:
        return 0.0
    time, factor, duration = min(told)
    implied = mean_activity_delay(duration, half_life_s) - log(factor) * half_life_s / log(2)
    apart = (time - start.time).total_seconds() + implied
    return float(2.0 ** min(apart / half_life_s, 100.0) - 1.0)


def mean_activity_delay(duration_s: float, half_life_s: float) -> float:
    """Seconds from a frame's start to when the activity equals its mean over the frame."""
    rate = log(2) / half_life_s
    return log(rate * duration_s / (1 - exp(-rate * duration_s))) / rate


def frame_s(header: Dataset) -> float | None:
    """ActualFrameDuration in seconds, or None."""
    duration = number(header, "ActualFrameDuration")
    return duration / 1000 if duration and 0 < duration < _DAY.total_seconds() * 1000 else None


def injection(header: Dataset, start: datetime, half_life_s: float | None) -> Moment | None:
    """When the dose was given, or None.

    The date and time if they fit the scan; else the time alone, on the day of the scan or, if that is later than the
    scan, on the day before; else GE's private time. A date that does not fit was shifted by de-identification: its
    clock is used where no time alone is given.
    """
    tracer = radiopharmaceutical(header)
    longest = timedelta(seconds=min(MOST_HALF_LIVES * half_life_s, 1e6)) if half_life_s else _HALF_A_DAY
    full = date_time(text(tracer, "RadiopharmaceuticalStartDateTime"), header)
    if full and timedelta(0) <= start - full <= longest:
        return Moment(full, "start_datetime")
    clock = time_of_day(text(tracer, "RadiopharmaceuticalStartTime"))
    if clock:
        return _on_the_day(datetime.combine(start.date(), clock), start, "start_time")
    if full:
        return _on_the_day(datetime.combine(start.date(), full.time()), start, "start_datetime_without_its_date")
    private = date_time(private_text(header, "GE administration"), header)
    if private and timedelta(0) <= start - private <= longest:
        return Moment(private, "ge_private_admin_datetime")
    return None


def _on_the_day(time: datetime, start: datetime, source: str) -> Moment:
    return Moment(time, source) if time <= start else Moment(time - _DAY, f"{source}_previous_day")


def injection_times_apart_s(header: Dataset) -> float:
    """How far the clocks of the two injection times in the headers are apart, in seconds; 0 where only one is given."""
    tracer = radiopharmaceutical(header)
    full = date_time(text(tracer, "RadiopharmaceuticalStartDateTime"), header)
    clock = time_of_day(text(tracer, "RadiopharmaceuticalStartTime"))
    if full is None or clock is None:
        return 0.0
    apart = abs((datetime.combine(full.date(), clock) - full).total_seconds())
    return min(apart, _DAY.total_seconds() - apart)
