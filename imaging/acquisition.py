"""What SUV rests on besides the pixels: patient, dose and times, from the headers and from a person's corrections."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from math import isfinite
from typing import TYPE_CHECKING, Any

from fedpet.errors import CorrectionRefused
from fedpet.messages import Message
from imaging.corrections import AppliedCorrection, refused
from imaging.header import date_time, number, text
from imaging.timing import MOST_HALF_LIVES, Moment, acquisition_times, injection, scan_start
from imaging.tracer import half_life, radiopharmaceutical

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydicom.dataset import Dataset

    from imaging.corrections import Correction, Name

_LARGEST_KG = 1000.0  # a weight above is in grams
_HEIGHT_M = (0.4, 2.6)
_HEIGHT_CM = (100.0, 260.0)  # below, it may be a weight in the wrong place
_LARGEST_MBQ = 5e3  # a dose below is in MBq, one above _SMALLEST_BQ in Bq; real doses cluster near 4e2 and 4e8
_SMALLEST_BQ = 1e6
_LARGEST_BQ = 5e9
CORRECTED = "corrected"


@dataclass(frozen=True)
class Acquisition:
    """Patient, dose and times; None where they are not known, a source being how each was read.

    Attributes:
        sex: "F", "M", "O" or "".
        start: when the scan started, the time that `DecayCorrection` START refers to.
        acquired: when each slice was acquired.
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
    start: Moment | None
    injection: Moment | None
    acquired: tuple[datetime | None, ...]

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
        return 0 <= self.elapsed_s <= MOST_HALF_LIVES * self.half_life_s


def told_by(headers: Sequence[Dataset]) -> Acquisition:
    """What the headers of one series tell, in the order of its slices."""
    first = headers[0]
    half_life_s, half_life_source = half_life(first)
    acquired = acquisition_times(headers)
    start = scan_start(headers, acquired, half_life_s)
    weight, weight_source = _weight(first)
    height, height_source = _height(first)
    dose, dose_source = _dose(first)
    sex = text(first, "PatientSex")
    return Acquisition(
        weight_kg=weight,
        weight_source=weight_source,
        height_m=height,
        height_source=height_source,
        sex=sex if sex in ("F", "M", "O") else "",
        dose_bq=dose,
        dose_source=dose_source,
        half_life_s=half_life_s,
        half_life_source=half_life_source,
        start=start,
        injection=injection(first, start.time, half_life_s) if start else None,
        acquired=acquired,
    )


def corrected(
    told: Acquisition, corrections: Sequence[Correction], header: Dataset
) -> tuple[Acquisition, tuple[AppliedCorrection, ...]]:
    """The acquisition as a person corrected it, and what was changed.

    Args:
        told: by the headers.
        corrections: at most one of each name.
        header: of the first slice: an injection time of it is read anew when the start of the scan is corrected.

    Raises:
        CorrectionRefused: two corrections of one value, times that do not fit each other, or a time alone where the day
            of the scan is not known.
    """
    by_name = {one.name: one for one in corrections}
    if len(by_name) < len(corrections):
        raise refused(Message("One value is corrected twice."), Message("One correction for each value."))
    now = told
    for name in ("weight_kg", "height_m", "dose_mbq", "scan_start", "injection_time"):
        if name in by_name:
            now = _put(now, name, by_name[name].value, header)
    if {"scan_start", "injection_time"} & set(by_name):
        _require_timely(now)
    return now, tuple(
        AppliedCorrection(name, _value(told, name), _value(now, name), one.reason, one.by)
        for name, one in by_name.items()
    )


def filled(told: Acquisition, now: Acquisition) -> Acquisition:
    """What the scanner knew when it computed: the headers' values; corrected ones only where the headers have none."""
    missing = ("weight_kg", "height_m", "dose_bq", "start", "injection")
    return replace(told, **{name: getattr(now, name) for name in missing if getattr(told, name) is None})


def _put(now: Acquisition, name: Name, value: Any, header: Dataset) -> Acquisition:  # noqa: ANN401  checked by Correction
    if name == "weight_kg":
        return replace(now, weight_kg=value, weight_source=CORRECTED)
    if name == "height_m":
        return replace(now, height_m=value, height_source=CORRECTED)
    if name == "dose_mbq":
        return replace(now, dose_bq=value * 1e6, dose_source=CORRECTED)
    if name == "scan_start":
        start = Moment(_on_day_of_scan(value, now, header), CORRECTED)
        return replace(now, start=start, injection=injection(header, start.time, now.half_life_s))
    given = _on_day_of_scan(value, now, header)
    if isinstance(value, time) and now.start and given > now.start.time:
        given -= timedelta(days=1)
    return replace(now, injection=Moment(given, CORRECTED))


def _on_day_of_scan(value: datetime | time, now: Acquisition, header: Dataset) -> datetime:
    if isinstance(value, datetime):
        return value
    days = (date_time(text(header, f"{kind}Date") + "0000", header) for kind in ("Series", "Study"))
    day = now.start.time if now.start else next((found for found in days if found), None)
    if day is None:
        raise refused(Message("The day of the scan is not known."), Message("The corrected time with its date."))
    return datetime.combine(day.date(), value)


def _require_timely(now: Acquisition) -> None:
    if now.elapsed_s is not None and not now.is_timely:
        raise CorrectionRefused(
            found=Message("Injection would lie {hours:.1f} h before the scan.", hours=now.elapsed_s / 3600),
            needed=Message("An injection within {n:.0f} half-lives before the scan.", n=MOST_HALF_LIVES),
            advice=Message("Check what was typed and try again."),
        )


def _value(acquisition: Acquisition, name: Name) -> Any:  # noqa: ANN401  float or datetime, by the name
    if name in ("scan_start", "injection_time"):
        moment = acquisition.start if name == "scan_start" else acquisition.injection
        return moment and moment.time
    if name == "dose_mbq":
        return None if acquisition.dose_bq is None else acquisition.dose_bq / 1e6
    return acquisition.weight_kg if name == "weight_kg" else acquisition.height_m


def _weight(header: Dataset) -> tuple[float | None, str]:
    """PatientWeight in kg; above 1000 it is taken as grams; zero is missing."""
    weight = number(header, "PatientWeight")
    if weight is None or not isfinite(weight) or weight <= 0:
        return None, ""
    return (weight / 1000, "g read as kg") if weight > _LARGEST_KG else (weight, "kg")


def _height(header: Dataset) -> tuple[float | None, str]:
    """PatientSize in m; 100 to 260 is taken as cm; anything else is missing."""
    height = number(header, "PatientSize")
    if height is not None and _HEIGHT_M[0] <= height <= _HEIGHT_M[1]:
        return height, "m"
    if height is not None and _HEIGHT_CM[0] <= height <= _HEIGHT_CM[1]:
        return height / 100, "cm read as m"
    return None, ""


def _dose(header: Dataset) -> tuple[float | None, str]:
    """RadionuclideTotalDose in Bq; up to 5000 it is taken as MBq; None where missing or neither."""
    dose = number(radiopharmaceutical(header), "RadionuclideTotalDose")
    if dose is not None and 1 <= dose <= _LARGEST_MBQ:
        return dose * 1e6, "MBq read as Bq"
    if dose is not None and _SMALLEST_BQ <= dose <= _LARGEST_BQ:
        return dose, "Bq"
    return None, ""
