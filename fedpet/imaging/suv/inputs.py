"""What SUV rests on besides the pixels: patient, dose and times, from the headers and from a person's corrections."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from fedpet.core.errors import OverrideError
from fedpet.core.messages import Message
from fedpet.imaging.dicom.headers.attributes import text
from fedpet.imaging.dicom.headers.readings import date_reading
from fedpet.imaging.dicom.headers.scanner_clock import acquisition_times, without_strays
from fedpet.imaging.study import AppliedOverride
from fedpet.imaging.suv.agreement import conflicts
from fedpet.imaging.suv.header_values import HeaderValue, dose, half_life, height, weight
from fedpet.imaging.suv.overrides import override_refused
from fedpet.imaging.suv.timing import INJECTION_TIME, MAX_HALF_LIVES, SourcedTime, TimeReading, injection, scan_start

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydicom.dataset import Dataset

    from fedpet.imaging.study import OverrideName
    from fedpet.imaging.suv.overrides import ManualOverride

OVERRIDDEN = "corrected"
_NOT_TIMED = TimeReading(None)


@dataclass(frozen=True)
class SuvInputs:
    """Patient, dose and times; None where they are not known, a source being how each was read.

    Attributes:
        sex: "F", "M", "O" or "".
        start: when the scan started, the time that `DecayCorrection` START refers to.
        acquired: when each slice was acquired.
        problems: why a quantity of the headers is not known, by the name of its correction or "half_life".
        conflicts: quantities in which the slices differ, see `fedpet.imaging.suv.agreement.conflicts`.
        starts, injections: all times that the headers give for the two events.
    """

    weight_kg: float | None
    weight_source: str
    height_m: float | None
    height_source: str
    sex: str
    dose_bq: float | None
    dose_source: str
    half_life_s: float | None
    half_life_source: str
    start: SourcedTime | None
    injection: SourcedTime | None
    acquired: tuple[datetime | None, ...]
    problems: Mapping[str, Message] = field(default_factory=dict)
    conflicts: Mapping[str, Message] = field(default_factory=dict)
    starts: TimeReading = _NOT_TIMED
    injections: TimeReading = _NOT_TIMED

    @property
    def elapsed_s(self) -> float | None:
        """Seconds from the injection to the start of the scan."""
        if self.start is None or self.injection is None:
            return None
        return (self.start.time - self.injection.time).total_seconds()

    @property
    def is_timely(self) -> bool:
        """Whether the injection lies within 5 half-lives before the scan; true where that is not known."""
        if self.elapsed_s is None or self.half_life_s is None:
            return True
        return 0 <= self.elapsed_s <= MAX_HALF_LIVES * self.half_life_s


def from_headers(headers: Sequence[Dataset]) -> SuvInputs:
    """What the headers of one series state, in the order of its slices; nothing of what the slices differ in."""
    first = headers[0]
    differing = conflicts(headers)
    lived = _unless(differing.get("RadionuclideHalfLife"), half_life(first))
    acquired, strays = without_strays(acquisition_times(headers))
    starts = scan_start(headers, acquired, lived.value)
    if strays:
        aside = Message(
            "Slices whose time of acquisition lies long before all others, and was not used: {n}.", n=strays
        )
        starts = replace(starts, doubts=(*starts.doubts, aside))
    if "scan_start" in differing:
        starts = replace(starts, chosen=None, problem=differing["scan_start"])
    injections = _injections(first, starts, lived.value)
    if "injection_time" in differing:
        injections = replace(injections, chosen=None, problem=differing["injection_time"])
    of = {
        "weight_kg": _unless(differing.get("weight_kg"), weight(first)),
        "height_m": _unless(differing.get("height_m"), height(first)),
        "dose_mbq": _unless(differing.get("dose_mbq"), dose(first)),
        "half_life": lived,
    }
    problems = {name: one.problem for name, one in of.items()}
    problems |= {"scan_start": starts.problem, "injection_time": injections.problem}
    sex = next(filter(None, (text(header, "PatientSex") for header in headers)), "")
    return SuvInputs(
        weight_kg=of["weight_kg"].value,
        weight_source=of["weight_kg"].source,
        height_m=of["height_m"].value,
        height_source=of["height_m"].source,
        sex=sex if sex in ("F", "M", "O") and "PatientSex" not in differing else "",
        dose_bq=of["dose_mbq"].value,
        dose_source=of["dose_mbq"].source,
        half_life_s=lived.value,
        half_life_source=lived.source,
        start=starts.chosen,
        injection=injections.chosen,
        acquired=acquired,
        problems={name: problem for name, problem in problems.items() if problem},
        conflicts=differing,
        starts=starts,
        injections=injections,
    )


def _unless(conflict: Message | None, stated: HeaderValue) -> HeaderValue:
    return stated if conflict is None else HeaderValue(None, problem=conflict)


def _injections(first: Dataset, starts: TimeReading, half_life_s: float | None) -> TimeReading:
    """The injection, for which the start of the scan gives the day."""
    if starts.chosen is None:
        return TimeReading(None, problem=starts.problem or Message("{what} is missing.", what=INJECTION_TIME))
    return injection(first, starts.chosen.time, half_life_s)


def with_overrides(
    stated: SuvInputs, corrections: Sequence[ManualOverride], header: Dataset
) -> tuple[SuvInputs, tuple[AppliedOverride, ...]]:
    """The acquisition as a person corrected it, and what was changed.

    Args:
        stated: by the headers.
        corrections: at most one of each name.
        header: of the first slice: an injection time of it is read anew when the start of the scan is corrected.

    Raises:
        OverrideError: two corrections of one value, times that do not fit each other, or a time alone where the day
            of the scan is not known.
    """
    by_name = {one.name: one for one in corrections}
    if len(by_name) < len(corrections):
        raise override_refused(Message("One value is corrected twice."), Message("One correction for each value."))
    now = stated
    for name in ("weight_kg", "height_m", "dose_mbq", "scan_start", "injection_time"):
        if name in by_name:
            now = _put(now, name, by_name[name].value, header)
    if {"scan_start", "injection_time"} & set(by_name):
        _require_timely(now)
    return now, tuple(
        AppliedOverride(name, _value(stated, name), _value(now, name), one.reason, one.by)
        for name, one in by_name.items()
    )


def fill_missing(stated: SuvInputs, now: SuvInputs) -> SuvInputs:
    """What the scanner knew when it computed: the headers' values; corrected ones only where the headers have none."""
    missing = ("weight_kg", "height_m", "dose_bq", "start", "injection")
    return replace(stated, **{name: getattr(now, name) for name in missing if getattr(stated, name) is None})


def _put(now: SuvInputs, name: OverrideName, value: Any, header: Dataset) -> SuvInputs:  # noqa: ANN401  checked by Correction
    if name == "weight_kg":
        return replace(now, weight_kg=value, weight_source=OVERRIDDEN)
    if name == "height_m":
        return replace(now, height_m=value, height_source=OVERRIDDEN)
    if name == "dose_mbq":
        return replace(now, dose_bq=value * 1e6, dose_source=OVERRIDDEN)
    if name == "scan_start":
        start = SourcedTime(_on_day_of_scan(value, now, header), OVERRIDDEN)
        injections = now.injections
        if "injection_time" not in now.conflicts:
            injections = injection(header, start.time, now.half_life_s)
        return replace(now, start=start, injection=injections.chosen, injections=injections)
    given = _on_day_of_scan(value, now, header)
    if isinstance(value, time) and now.start and given > now.start.time:
        given -= timedelta(days=1)
    return replace(now, injection=SourcedTime(given, OVERRIDDEN))


def _on_day_of_scan(value: datetime | time, now: SuvInputs, header: Dataset) -> datetime:
    if isinstance(value, datetime):
        return value
    days = (date_reading(header, f"{kind}Date").value for kind in ("Series", "Study"))
    day = now.start.time.date() if now.start else next((found for found in days if found), None)
    if day is None:
        raise override_refused(
            Message("The day of the scan is not known."), Message("The corrected time with its date.")
        )
    return datetime.combine(day, value)


def _require_timely(now: SuvInputs) -> None:
    if now.elapsed_s is not None and not now.is_timely:
        raise OverrideError(
            found=Message("Injection would lie {hours:.1f} h before the scan.", hours=now.elapsed_s / 3600),
            needed=Message("An injection within {n:.0f} half-lives before the scan.", n=MAX_HALF_LIVES),
            advice=Message("Check what was typed and try again."),
        )


def _value(acquisition: SuvInputs, name: OverrideName) -> Any:  # noqa: ANN401  float or datetime, by the name
    if name in ("scan_start", "injection_time"):
        moment = acquisition.start if name == "scan_start" else acquisition.injection
        return moment and moment.time
    if name == "dose_mbq":
        return None if acquisition.dose_bq is None else acquisition.dose_bq / 1e6
    return acquisition.weight_kg if name == "weight_kg" else acquisition.height_m
