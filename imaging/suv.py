"""SUVbw from a PET's headers (DICOM PS3.3 C.8.9.1; IBSI manual for SUV computation, 2025).

SUVbw [g/ml] = activity concentration [Bq/ml] x weight [g] / dose [Bq], the dose decayed to the time the image was
decay-corrected to:

- `DecayCorrection` START: from injection to the start of the scan (see `scan_start`).
- `DecayCorrection` ADMIN: not at all.
- `Units` GML with `SUVType` empty or BW: the image already is SUVbw.

Everything else is refused, saying what was found and what is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import exp, isfinite, log
from typing import TYPE_CHECKING

from fedpet.errors import SuvNotComputable
from fedpet.messages import Message
from imaging.header import date_time, ge_scan_datetime, moment, number, numbers, text, texts, time_of_day
from imaging.study import PetFacts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydicom.dataset import Dataset

_LARGEST_MBQ = 5e3  # a dose below is in MBq, one above _SMALLEST_BQ in Bq; real doses cluster near 4e2 and 4e8
_SMALLEST_BQ = 1e6
_LARGEST_BQ = 5e9
_LARGEST_KG = 1000.0  # a weight above is in grams
_HALF_LIVES = 5.0  # longest credible time from injection to scan
_CLOCK_SLACK = timedelta(seconds=1)  # series and acquisition time are rounded differently

_ADVICE_UNITS = {
    "CNTS": Message("Counts need Philips' private scale factors, which are not used yet: export the PET in BQML."),
    "CM2ML": Message("Normalised to body surface: export the PET in BQML."),
    "PROPCPS": Message("Not quantitative: choose the attenuation-corrected PET in BQML."),
    "PROPCNTS": Message("Not quantitative: choose the attenuation-corrected PET in BQML."),
}


@dataclass(frozen=True)
class Calibration:
    """How stored values become SUVbw: stored x slope x factor.

    Attributes:
        slopes: RescaleSlope of each slice, in the order of the headers given.
        factor: SUVbw per rescaled unit.
        disagreement: relative difference of SUV if the reference time were read from DecayFactor; 0 where not given.
        facts: what it rests on.
    """

    slopes: tuple[float, ...]
    factor: float
    disagreement: float
    facts: PetFacts


@dataclass(frozen=True)
class ScanStart:
    """When the scan started, and where that was read.

    `source` is "series_time", "ge_private_scan_datetime", "back_computed" or "earliest_acquisition".
    """

    time: datetime
    source: str


def calibrate(headers: Sequence[Dataset]) -> Calibration:
    """The calibration of one static, attenuation-corrected PET series.

    Args:
        headers: one per slice, in the volume's order.

    Raises:
        SuvNotComputable: the values cannot be turned into SUVbw.
    """
    _require_corrections(headers)
    slopes = _slopes(headers)
    first = headers[0]
    units, correction = text(first, "Units"), text(first, "DecayCorrection")
    if units == "GML":
        factor = _gml_factor(first)
    elif units == "BQML":
        factor = 1000.0 * _needed_weight(first) / _reference_dose(headers, correction)
    else:
        raise _not_computable(
            Message("The PET is in units {units}.", units=units or "—"),
            Message("Units BQML, or GML holding SUVbw."),
            _ADVICE_UNITS.get(units, Message("Export the attenuation-corrected PET in BQML.")),
        )
    decayed = units == "BQML" and correction == "START"
    disagreement = _decay_factor_disagreement(headers) if decayed else 0.0
    return Calibration(slopes, factor, disagreement, _facts(headers, factor, decayed=decayed))


def _require_corrections(headers: Sequence[Dataset]) -> None:
    for keyword in ("Units", "DecayCorrection", "SUVType"):
        if len({text(header, keyword) for header in headers}) > 1:
            raise _not_computable(
                Message("The slices differ in {keyword}.", keyword=keyword),
                Message("One value in the whole series."),
                Message("Export the series again, without images of other series."),
            )
    if not all("ATTN" in texts(header, "CorrectedImage") for header in headers):
        raise _not_computable(
            Message("The PET is not corrected for attenuation."),
            Message("ATTN in Corrected Image."),
            Message("Choose the attenuation-corrected series."),
        )


def _slopes(headers: Sequence[Dataset]) -> tuple[float, ...]:
    slopes = []
    for header in headers:
        slope, intercept = number(header, "RescaleSlope"), number(header, "RescaleIntercept") or 0.0
        if slope is None or not isfinite(slope) or slope <= 0 or intercept != 0:
            raise _not_computable(
                Message(
                    "A slice has rescale slope {slope} and intercept {intercept}.",
                    slope=str(slope),
                    intercept=intercept,
                ),
                Message("A positive slope and no intercept in every slice (PS3.3 C.8.9.4)."),
                Message("Export the original PET series."),
            )
        slopes.append(slope)
    return tuple(slopes)


def _gml_factor(header: Dataset) -> float:
    kind = text(header, "SUVType")
    if kind not in ("", "BW"):
        raise _not_computable(
            Message("The PET holds SUV of type {kind}.", kind=kind),
            Message("SUV normalised to body weight (SUV Type empty or BW)."),
            Message("Export the PET in BQML or as SUVbw."),
        )
    return 1.0


def _reference_dose(headers: Sequence[Dataset], correction: str) -> float:
    """Dose in Bq at the time the image is corrected to."""
    first = headers[0]
    if correction not in ("START", "ADMIN") or "DECY" not in texts(first, "CorrectedImage"):
        raise _not_computable(
            Message(
                "Decay Correction is {correction}, Corrected Image is {corrected}.",
                correction=correction or "—",
                corrected=", ".join(texts(first, "CorrectedImage")) or "—",
            ),
            Message("Decay Correction START or ADMIN, and DECY in Corrected Image."),
            Message("Export the decay-corrected PET series."),
        )
    dose = _needed_dose(first)
    if correction == "ADMIN":
        return dose
    half_life = _half_life(first)
    start = scan_start(headers)
    injection = injection_time(first, start.time) if start else None
    if half_life is None or start is None or injection is None:
        raise _not_computable(
            Message("Half-life, injection time or scan time is missing."),
            Message(
                "Radionuclide Half Life, Radiopharmaceutical Start Time and Series Time, since the correction is START."
            ),
            Message("Add the injection time at the scanner or in the export, then load again."),
        )
    elapsed = (start.time - injection).total_seconds()
    if elapsed > _HALF_LIVES * half_life:
        raise _not_computable(
            Message("Injection would lie {hours:.1f} h before the scan.", hours=elapsed / 3600),
            Message("An injection on the day of the scan, within {n:.0f} half-lives.", n=_HALF_LIVES),
            Message("Correct the injection time in the PET headers."),
        )
    return dose * exp(-log(2) * elapsed / half_life)


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
    half_life = _half_life(header)
    if not reference or not duration or half_life is None:
        return None
    return timedelta(seconds=reference / 1000 - mean_activity_delay(duration / 1000, half_life))


def _decay_factor_disagreement(headers: Sequence[Dataset]) -> float:
    """How far SUV would move if the scan start were taken from DecayFactor (PS3.3 C.8.9.4) of the earliest slice."""
    start, half_life = scan_start(headers), _half_life(headers[0])
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
    longest = timedelta(seconds=_HALF_LIVES * (_half_life(header) or 0.0))
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
        raise _not_computable(
            Message("The PET names {n} radiopharmaceuticals.", n=len(items)),
            Message("One radiopharmaceutical."),
            Message("Export the series of one tracer."),
        )
    return items[0] if items else None


def weight_kg(header: Dataset) -> float | None:
    """PatientWeight in kg; above 1000 it is taken as grams; zero is missing."""
    weight = number(header, "PatientWeight")
    if weight is None or not isfinite(weight) or weight <= 0:
        return None
    return weight / 1000 if weight > _LARGEST_KG else weight


def dose_bq(header: Dataset) -> float | None:
    """RadionuclideTotalDose in Bq; up to 5000 it is taken as MBq; None where missing or neither."""
    tracer = radiopharmaceutical(header)
    dose = number(tracer, "RadionuclideTotalDose") if tracer is not None else None
    if dose is None or dose < 1:
        return None
    if dose <= _LARGEST_MBQ:
        return dose * 1e6
    return dose if _SMALLEST_BQ <= dose <= _LARGEST_BQ else None


def _needed_weight(header: Dataset) -> float:
    weight = weight_kg(header)
    if weight is None:
        raise _not_computable(
            Message("The patient's weight is missing or zero."),
            Message("Patient Weight in kg."),
            Message("Add the weight of the day of the scan to the PET headers."),
        )
    return weight


def _needed_dose(header: Dataset) -> float:
    dose = dose_bq(header)
    if dose is None:
        raise _not_computable(
            Message("The administered dose is missing or is neither in Bq nor in MBq."),
            Message("Radionuclide Total Dose in Bq."),
            Message("Add the administered dose to the PET headers."),
        )
    return dose


def _half_life(header: Dataset) -> float | None:
    tracer = radiopharmaceutical(header)
    half_life = number(tracer, "RadionuclideHalfLife") if tracer is not None else None
    return half_life if half_life and isfinite(half_life) and half_life > 0 else None


def _tracer_name(header: Dataset) -> str:
    """Radiopharmaceutical, else the meaning of its code."""
    tracer = radiopharmaceutical(header)
    if tracer is None:
        return ""
    codes = tracer.get("RadiopharmaceuticalCodeSequence") or []
    return text(tracer, "Radiopharmaceutical") or (text(codes[0], "CodeMeaning") if codes else "")


def _facts(headers: Sequence[Dataset], factor: float, *, decayed: bool) -> PetFacts:
    first = headers[0]
    start = scan_start(headers)
    injection = injection_time(first, start.time) if start else None
    heights = numbers(first, "PatientSize")
    return PetFacts(
        units=text(first, "Units"),
        decay_correction=text(first, "DecayCorrection"),
        suv_factor_min=factor,
        suv_factor_max=factor,
        reference_time_source=start.source if start and decayed else "not needed",
        reference_time=start.time if start else None,
        injection_time=injection,
        uptake_min=(start.time - injection).total_seconds() / 60 if start and injection else None,
        dose_bq=dose_bq(first),
        half_life_s=_half_life(first),
        weight_kg=weight_kg(first),
        height_m=heights[0] if heights and heights[0] > 0 else None,
        sex=text(first, "PatientSex") if text(first, "PatientSex") in ("F", "M") else "",
        radiopharmaceutical=_tracer_name(first),
        corrected_image=texts(first, "CorrectedImage"),
        manufacturer=text(first, "Manufacturer"),
        model=text(first, "ManufacturerModelName"),
    )


def _not_computable(found: Message, needed: Message, advice: Message) -> SuvNotComputable:
    return SuvNotComputable(found=found, needed=needed, advice=advice)
