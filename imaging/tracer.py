"""What was injected and when, and when the scan started, as a PET's headers tell it (DICOM PS3.3 C.8.9.2)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import exp, isfinite, log
from typing import TYPE_CHECKING

from fedpet.errors import SuvNotComputable
from fedpet.messages import Message
from imaging.header import date_time, ge_scan_datetime, moment, number, text, time_of_day

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydicom.dataset import Dataset

_LARGEST_MBQ = 5e3  # a dose below is in MBq, one above _SMALLEST_BQ in Bq; real doses cluster near 4e2 and 4e8
_SMALLEST_BQ = 1e6
_LARGEST_BQ = 5e9
MOST_HALF_LIVES = 5.0  # longest credible time from injection to scan
_CLOCK_SLACK = timedelta(seconds=1)  # series and acquisition time are rounded differently


@dataclass(frozen=True)
class ScanStart:
    """When the scan started, and where that was read.

    `source` is "series_time", "ge_private_scan_datetime", "back_computed" or "earliest_acquisition".
    """

    time: datetime
    source: str


def scan_start(headers: Sequence[Dataset]) -> ScanStart | None:
    """The start of the scan, or None where no time is given.

    The series time, unless it is later than the earliest acquisition (then it is the time of a reprocessing, or
    missing): then GE's scan date and time, else computed back from the frame reference time of the earliest slice, else
    the earliest acquisition itself. Back-computation is not the first choice: in real series of several beds all slices
    may carry one acquisition time while the frame reference time varies (+1.3 % to -10.9 % of SUV).
    """
    timed = [(time, header) for header in headers if (time := moment(header, "Acquisition"))]
    series = moment(headers[0], "Series") if text(headers[0], "SeriesTime") else None
    if not timed:
        return ScanStart(series, "series_time") if series else None
    earliest = min(time for time, _ in timed)
    if series and series <= earliest + _CLOCK_SLACK:
        return ScanStart(series, "series_time")
    scan = ge_scan_datetime(headers[0])
    if scan and scan <= earliest + _CLOCK_SLACK and earliest - scan < timedelta(hours=12):
        return ScanStart(scan, "ge_private_scan_datetime")
    candidates = [header for time, header in timed if time == earliest]
    header = min(candidates, key=lambda one: number(one, "FrameReferenceTime") or 0.0)
    back = _before_frame(header)
    if back is None:
        return ScanStart(earliest, "earliest_acquisition")
    return ScanStart(earliest - back, "back_computed")


def _before_frame(header: Dataset) -> timedelta | None:
    """Time from the reference of the decay correction to the start of the frame; None where it is not given.

    The frame reference time is when the activity had its mean over the frame of length T: ln(lT / (1 - exp(-lT))) / l
    after the frame's start.
    """
    reference, duration = number(header, "FrameReferenceTime"), number(header, "ActualFrameDuration")
    half_life = half_life_s(header)
    if not reference or not duration or half_life is None:
        return None
    return timedelta(seconds=reference / 1000 - mean_activity_delay(duration / 1000, half_life))


def decay_factor_disagreement(headers: Sequence[Dataset]) -> float:
    """How far SUV would move if the scan start were taken from DecayFactor (PS3.3 C.8.9.4) of the earliest slice."""
    start, half_life = scan_start(headers), half_life_s(headers[0])
    told = [
        (time, factor, duration / 1000)
        for header in headers
        if (time := moment(header, "Acquisition"))
        and (factor := number(header, "DecayFactor") or 1.0) > 1.0005  # 1 is written where the factor is not known
        and (duration := number(header, "ActualFrameDuration"))
    ]
    if not told or start is None or half_life is None:
        return 0.0
    time, factor, duration_s = min(told)
    implied = mean_activity_delay(duration_s, half_life) - log(factor) * half_life / log(2)
    apart = (time - start.time).total_seconds() + implied
    return float(2.0 ** (apart / half_life) - 1.0)


def mean_activity_delay(duration_s: float, half_life_s: float) -> float:
    """Seconds from a frame's start to when the activity equals its mean over the frame."""
    rate = log(2) / half_life_s
    return log(rate * duration_s / (1 - exp(-rate * duration_s))) / rate


def injection_time(header: Dataset, start: datetime) -> datetime | None:
    """When the dose was given, or None.

    The date and time if they fit the scan; else the time alone, on the day of the scan or, if that is later than the
    scan, on the day before. A date that does not fit was shifted by de-identification.
    """
    tracer = radiopharmaceutical(header)
    if tracer is None:
        return None
    full = date_time(text(tracer, "RadiopharmaceuticalStartDateTime"), header)
    longest = timedelta(seconds=MOST_HALF_LIVES * (half_life_s(header) or 0.0))
    if full and timedelta(0) <= start - full <= longest:
        return full
    clock = time_of_day(text(tracer, "RadiopharmaceuticalStartTime")) or (full and full.time())
    if not clock:
        return None
    on_day = datetime.combine(start.date(), clock)
    return on_day if on_day <= start else on_day - timedelta(days=1)


def radiopharmaceutical(header: Dataset) -> Dataset | None:
    """The one item of Radiopharmaceutical Information Sequence, or None.

    Raises:
        SuvNotComputable: several were given.
    """
    items = header.get("RadiopharmaceuticalInformationSequence") or []
    if len(items) > 1:
        raise SuvNotComputable(
            found=Message("The PET names {n} radiopharmaceuticals.", n=len(items)),
            needed=Message("One radiopharmaceutical."),
            advice=Message("Export the series of one tracer."),
        )
    return items[0] if items else None


def dose_bq(header: Dataset) -> float | None:
    """RadionuclideTotalDose in Bq; up to 5000 it is taken as MBq; None where missing or neither."""
    tracer = radiopharmaceutical(header)
    dose = number(tracer, "RadionuclideTotalDose") if tracer is not None else None
    if dose is None or dose < 1:
        return None
    if dose <= _LARGEST_MBQ:
        return dose * 1e6
    return dose if _SMALLEST_BQ <= dose <= _LARGEST_BQ else None


def half_life_s(header: Dataset) -> float | None:
    """RadionuclideHalfLife in seconds, or None."""
    tracer = radiopharmaceutical(header)
    half_life = number(tracer, "RadionuclideHalfLife") if tracer is not None else None
    return half_life if half_life and isfinite(half_life) and half_life > 0 else None


def tracer_name(header: Dataset) -> str:
    """Radiopharmaceutical, else the meaning of its code."""
    tracer = radiopharmaceutical(header)
    if tracer is None:
        return ""
    codes = tracer.get("RadiopharmaceuticalCodeSequence") or []
    return text(tracer, "Radiopharmaceutical") or (text(codes[0], "CodeMeaning") if codes else "")
