"""A second opinion on the SUV: the factor along every other path that the headers allow.

The SUV of a series rests on one choice of times and factors. Headers state most of them more than once: the start of
the scan as the series time, as acquisition times, in vendors' private elements, and through the frame reference times
and the decay factors of the slices; the injection as a time and as a date-time; the half-life also as the code of the
radionuclide; the whole factor as Philips' private ones. Each is a path, which says how far SUV would move if it were
taken. A path that is known to be unreliable is shown and does not count.

- An acquisition time alone is a path only where no slice says how long after the reference it was acquired, for the
  first slice of a series need not lie at the start of the scan.
- Frame reference time and decay factor (PS3.3 C.8.9.4) say for each slice how long after the reference it was acquired:
  taken from its acquisition time, all slices must come to one start of the scan. In real series of several beds all
  slices may carry one acquisition time while those offsets vary; then they only bound the start, between what the
  shortest and the longest offset give.
- Where all slices carry the series time as their acquisition time and Philips' factors confirm the start, offsets that
  contradict it count from the same time, and do not count.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import log
from typing import TYPE_CHECKING, Final

import numpy as np

from fedpet.core.messages import Message
from fedpet.imaging.dicom.headers.attributes import number, private_text, text
from fedpet.imaging.dicom.headers.scanner_clock import clock_difference
from fedpet.imaging.study import CheckStatus, QualityCheck, SuvPath
from fedpet.imaging.suv.timing import frame_offset_s, frame_s, mean_activity_delay
from fedpet.imaging.suv.tracer import HALF_LIVES_S, code, radiopharmaceutical

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydicom.dataset import Dataset

    from fedpet.imaging.suv.inputs import SuvInputs
    from fedpet.imaging.suv.rules import SuvConversion
    from fedpet.imaging.suv.timing import SourcedTime

AGREES: Final = 0.02  # relative difference of SUV within which a path passes
BEARABLE: Final = 0.10  # beyond it the check fails
_UNKNOWN_FACTOR = 1.0005  # a decay factor up to this is written where it is not known
_ROUNDED = 1e-4  # of factors that are otherwise the same
_SAME_START_S = 60.0  # starts of the scan that the slices imply may differ by so much
_ODD_SLICES = 0.2  # share of slices that may differ from the others before none is believed
_SAME_TIME = timedelta(seconds=2)
_MOST_DOUBLINGS = 40.0
_CORRECTED = Message("corrected by a person")


@dataclass(frozen=True)
class _ImpliedStart:
    """When the scan started by the offsets of the slices: between two times, the same where all agree."""

    earliest: datetime
    latest: datetime
    doubt: Message | None = None

    def nearest(self, time: datetime) -> datetime:
        """The time between both that is closest to the one used."""
        return min(max(time, self.earliest), self.latest)


def suv_paths(
    headers: Sequence[Dataset], then: SuvInputs, conversion: SuvConversion, corrected: frozenset[str]
) -> tuple[SuvPath, ...]:
    """The paths to the SUV of one series, the one in use first.

    Args:
        headers: one per slice.
        then: what the headers state.
        conversion: the factors in use, by the headers' values.
        corrected: names of the values that a person corrected.
    """
    used = SuvPath(conversion.rule, 0.0, used=True)
    philips = _philips(headers, then, conversion)
    paths = [
        *_starts(headers, then, conversion),
        *_injections(then, conversion),
        *_half_life(headers[0], then, conversion),
    ]
    if corrected & {"scan_start", "injection_time"}:
        paths = [replace(one, counts=False, remark=_CORRECTED) for one in paths]
    if corrected:
        philips = [replace(one, counts=False, remark=_CORRECTED) for one in philips]
    if any(one.counts and abs(one.deviation) <= AGREES for one in philips) and _is_one_time(then):
        paths = [_outvoted(one) for one in paths]
    return (used, *paths, *philips, *_factors_of_slices(headers[0], conversion))


def witness_check(paths: Sequence[SuvPath]) -> QualityCheck:
    """The check "suv_witness": the largest difference of a path that counts; up to 2 % passes, up to 10 % warns."""
    name = "suv_witness"
    counted = [one for one in paths if one.counts and not one.used]
    doubts = [one for one in paths if one.doubt is not None]
    if not counted and not doubts:
        return QualityCheck(name, CheckStatus.PASS, Message("The headers give no second path to the SUV."))
    worst = max(counted, key=lambda one: abs(one.deviation), default=None)
    if worst is None or (abs(worst.deviation) <= AGREES and doubts):
        return QualityCheck(name, CheckStatus.WARN, _doubtful(doubts[0]))
    percent = 100 * worst.deviation
    if abs(worst.deviation) <= AGREES:
        agree = Message(
            "The other paths through the headers ({n}) give the same SUV ({percent:+.1f} % at most).",
            n=len(counted),
            percent=percent,
        )
        return QualityCheck(name, CheckStatus.PASS, agree)
    level = CheckStatus.WARN if abs(worst.deviation) <= BEARABLE else CheckStatus.FAIL
    differs = Message(
        "The headers contradict each other: by {path} the SUV would differ by {percent:+.0f} %.",
        path=PATHS.get(worst.name, worst.name),
        percent=percent,
    )
    return QualityCheck(name, level, differs)


def _doubtful(path: SuvPath) -> Message:
    return Message("{path}: {doubt}.", path=PATHS.get(path.name, path.name), doubt=path.doubt)


def _starts(headers: Sequence[Dataset], then: SuvInputs, conversion: SuvConversion) -> list[SuvPath]:
    """The start of the scan by its other times. What decays to the administration does not depend on it."""
    decayed_to = _decayed_to(headers[0], then, conversion)
    if decayed_to is None or then.half_life_s is None:
        return []
    implied = {"decay_factor": _by_decay_factor(headers, then.acquired, then.half_life_s)}
    paths = []
    if conversion.reference_time_source != "not needed" and then.start:
        implied["frame_reference_time"] = _by_reference_time(headers, then.acquired, then.half_life_s)
        paths = [
            SuvPath(
                one.source,
                _moved(one.time - decayed_to, then.half_life_s),
                counts=one.counts,
                remark=None if one.counts else one.set_aside,
            )
            for one in then.starts.candidates
            if one.source != then.start.source
        ]
        offsets = any(one is not None for one in implied.values())
        paths += _earliest_acquisition(then, then.start, then.half_life_s, implied=offsets)
    for name, start in implied.items():
        if start is not None:
            apart = start.nearest(decayed_to) - decayed_to
            paths.append(SuvPath(name, _moved(apart, then.half_life_s), doubt=start.doubt))
    return paths


def _decayed_to(first: Dataset, then: SuvInputs, conversion: SuvConversion) -> datetime | None:
    """The time that the image is corrected to, as the rule in use takes it; None where it is not decay-corrected."""
    if conversion.rule in ("bqml_start", "cnts_activity_scale_factor") and text(first, "DecayCorrection") == "START":
        return None if then.start is None else then.start.time
    if text(first, "DecayCorrection") == "ADMIN" and conversion.rule in ("bqml_admin", "cnts_activity_scale_factor"):
        return None if then.injection is None else then.injection.time
    return None


def _earliest_acquisition(then: SuvInputs, start: SourcedTime, half_life_s: float, *, implied: bool) -> list[SuvPath]:
    """The earliest acquisition time; `implied`: the slices say how long after the start they were acquired."""
    earliest = min((time for time in then.acquired if time), default=None)
    if earliest is None or start.source in ("earliest_acquisition", "decay_correction_datetime"):
        return []
    remark = Message("the slices say themselves how long after the start they were acquired") if implied else None
    deviation = _moved(earliest - start.time, half_life_s)
    return [SuvPath("earliest_acquisition", deviation, counts=not implied, remark=remark)]


def _by_reference_time(
    headers: Sequence[Dataset], acquired: Sequence[datetime | None], half_life_s: float
) -> _ImpliedStart | None:
    return _implied(
        [(time, frame_offset_s(header, half_life_s)) for time, header in zip(acquired, headers, strict=True)]
    )


def _by_decay_factor(
    headers: Sequence[Dataset], acquired: Sequence[datetime | None], half_life_s: float
) -> _ImpliedStart | None:
    """DecayFactor is 2 to the power of the time from the reference to when the activity had its mean over the frame."""
    offsets = []
    for time, header in zip(acquired, headers, strict=True):
        factor, duration = number(header, "DecayFactor") or 1.0, frame_s(header)
        known = factor > _UNKNOWN_FACTOR and duration is not None
        delay = mean_activity_delay(duration, half_life_s) if duration is not None else 0.0
        offsets.append((time, log(factor) * half_life_s / log(2) - delay if known else None))
    start = _implied(offsets)
    if start is None or start.doubt or (start.latest - start.earliest).total_seconds() <= _SAME_START_S:
        return start
    if len({time for time, _ in offsets}) == 1:
        return start
    return replace(start, doubt=Message("they do not follow the acquisition times: each bed may have its own start"))


def _implied(offsets: Sequence[tuple[datetime | None, float | None]]) -> _ImpliedStart | None:
    """The start of the scan by acquisition times and offsets from it in seconds; None where no slice has both."""
    starts = [(time, time - timedelta(seconds=offset)) for time, offset in offsets if time and offset is not None]
    if not starts:
        return None
    base = starts[0][1]
    apart = np.array([(start - base).total_seconds() for _, start in starts])
    middle = float(np.median(apart))
    odd = int((np.abs(apart - middle) > _SAME_START_S).sum())
    if odd > _ODD_SLICES * len(apart):
        return _ImpliedStart(base + timedelta(seconds=apart.min()), base + timedelta(seconds=apart.max()))
    start = base + timedelta(seconds=middle)
    doubt = Message("{n} of {all} slices do not fit the others", n=odd, all=len(apart)) if odd else None
    return _ImpliedStart(start, start, doubt)


def _injections(then: SuvInputs, conversion: SuvConversion) -> list[SuvPath]:
    """The injection by its other times: only clocks are compared, for dates may have been shifted."""
    if conversion.reference_time_source == "not needed" or then.injection is None or then.half_life_s is None:
        return []
    used = then.injection
    return [
        SuvPath(
            one.source.removesuffix("_previous_day"),
            _moved(-clock_difference(one.time.time(), used.time.time()), then.half_life_s),
            counts=one.counts,
            remark=None if one.counts else one.set_aside,
        )
        for one in then.injections.candidates
        if one.source != used.source
    ]


def _half_life(first: Dataset, then: SuvInputs, conversion: SuvConversion) -> list[SuvPath]:
    """The half-life by the code of the radionuclide."""
    known = HALF_LIVES_S.get(code(radiopharmaceutical(first), "RadionuclideCodeSequence"))
    if known is None or then.half_life_s is None or then.elapsed_s is None or then.half_life_source != "header":
        return []
    if conversion.reference_time_source == "not needed":
        return []
    doublings = then.elapsed_s / known - then.elapsed_s / then.half_life_s
    return [SuvPath("radionuclide_code", _powered(doublings))]


def _philips(headers: Sequence[Dataset], then: SuvInputs, conversion: SuvConversion) -> list[SuvPath]:
    """Philips' two private factors: SUV over activity is weight over dose decayed to the start, as the scanner had it.

    In a series of activity it is compared with the factor in use; in one of counts, whose SUV factor is in use, the
    other way is that of the activity factor. The slice that differs most counts.
    """
    counts = conversion.rule == "cnts_suv_scale_factor"
    if text(headers[0], "DecayCorrection") != "START" or not (counts or conversion.rule == "bqml_start"):
        return []
    if then.weight_kg is None or then.dose_bq is None or then.half_life_s is None or then.elapsed_s is None:
        return []
    by_header = 1000 * then.weight_kg / then.dose_bq * (1 + _powered(then.elapsed_s / then.half_life_s))
    ratios = np.array([_ratio(header) for header in headers])
    if not (np.isfinite(ratios) & (ratios > 0)).all():
        return []
    deviations = by_header / ratios - 1 if counts else ratios / by_header - 1
    worst = float(deviations[np.abs(deviations).argmax()])
    return [SuvPath("philips_activity_factor" if counts else "philips_factors", worst)]


def _factors_of_slices(first: Dataset, conversion: SuvConversion) -> list[SuvPath]:
    """Philips' factors of counts hold for the series: the slice that differs most from the others counts."""
    of_the_series = conversion.rule == "cnts_suv_scale_factor" or (
        conversion.rule == "cnts_activity_scale_factor" and text(first, "DecayCorrection") != "NONE"
    )
    factors = np.array(conversion.per_slice)
    deviations = factors / np.median(factors) - 1
    worst = float(deviations[np.abs(deviations).argmax()])
    return [SuvPath("philips_factors_of_slices", worst)] if of_the_series and abs(worst) > _ROUNDED else []


def _ratio(header: Dataset) -> float:
    """SUV scale factor over activity concentration scale factor; NaN where one is missing."""
    try:
        return float(private_text(header, "Philips SUV")) / float(private_text(header, "Philips activity"))
    except (ValueError, ZeroDivisionError):
        return float("nan")


def _is_one_time(then: SuvInputs) -> bool:
    """Whether all slices carry the start in use as their acquisition time."""
    return then.start is not None and all(
        time is not None and abs(time - then.start.time) <= _SAME_TIME for time in then.acquired
    )


def _outvoted(path: SuvPath) -> SuvPath:
    if path.name not in ("frame_reference_time", "decay_factor"):
        return path
    remark = Message("all slices carry one acquisition time, and Philips' factors confirm the start")
    return replace(path, counts=False, remark=remark)


def _moved(later: timedelta, half_life_s: float) -> float:
    """How SUV changes if the time from injection to the reference is longer by so much."""
    return _powered(later.total_seconds() / half_life_s)


def _powered(doublings: float) -> float:
    return float(2.0 ** min(max(doublings, -_MOST_DOUBLINGS), _MOST_DOUBLINGS) - 1.0)


PATHS: Final = {
    "series_time": Message("the series time"),
    "decay_correction_datetime": Message("the decay correction date-time"),
    "ge_private_scan_datetime": Message("GE's private scan date-time"),
    "siemens_private_decay_correction_datetime": Message("Siemens' private decay correction date-time"),
    "earliest_acquisition": Message("the earliest acquisition time"),
    "frame_reference_time": Message("the frame reference times"),
    "decay_factor": Message("the decay factors"),
    "start_datetime": Message("the injection date-time"),
    "start_datetime_without_its_date": Message("the clock of the injection date-time"),
    "start_time": Message("the injection time alone"),
    "ge_private_admin_datetime": Message("GE's private administration date-time"),
    "radionuclide_code": Message("the half-life of the radionuclide's code"),
    "philips_factors": Message("Philips' private factors"),
    "philips_activity_factor": Message("Philips' activity factor"),
    "philips_factors_of_slices": Message("Philips' factor of another slice"),
}
