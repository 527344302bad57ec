"""SUVbw from a PET's headers (DICOM PS3.3 C.8.9.1; IBSI manual for SUV computation, 2025).

SUVbw [g/ml] = activity concentration [Bq/ml] x weight [g] / dose [Bq], the dose decayed to the time the image was
decay-corrected to:

- `DecayCorrection` START: from injection to the start of the scan (see `imaging.tracer.scan_start`).
- `DecayCorrection` ADMIN: not at all.
- `Units` GML with `SUVType` empty or BW: the image already is SUVbw.

Everything else is refused, saying what was found and what is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, isfinite, log
from typing import TYPE_CHECKING

from fedpet.errors import SuvNotComputable
from fedpet.messages import Message
from imaging.header import number, numbers, text, texts
from imaging.study import PetFacts
from imaging.tracer import (
    MOST_HALF_LIVES,
    decay_factor_disagreement,
    dose_bq,
    half_life_s,
    injection_time,
    scan_start,
    tracer_name,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydicom.dataset import Dataset

_LARGEST_KG = 1000.0  # a weight above is in grams
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
    disagreement = decay_factor_disagreement(headers) if decayed else 0.0
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
    half_life = half_life_s(first)
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
    if elapsed > MOST_HALF_LIVES * half_life:
        raise _not_computable(
            Message("Injection would lie {hours:.1f} h before the scan.", hours=elapsed / 3600),
            Message("An injection on the day of the scan, within {n:.0f} half-lives.", n=MOST_HALF_LIVES),
            Message("Correct the injection time in the PET headers."),
        )
    return dose * exp(-log(2) * elapsed / half_life)


def weight_kg(header: Dataset) -> float | None:
    """PatientWeight in kg; above 1000 it is taken as grams; zero is missing."""
    weight = number(header, "PatientWeight")
    if weight is None or not isfinite(weight) or weight <= 0:
        return None
    return weight / 1000 if weight > _LARGEST_KG else weight


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
        half_life_s=half_life_s(first),
        weight_kg=weight_kg(first),
        height_m=heights[0] if heights and heights[0] > 0 else None,
        sex=text(first, "PatientSex") if text(first, "PatientSex") in ("F", "M") else "",
        radiopharmaceutical=tracer_name(first),
        corrected_image=texts(first, "CorrectedImage"),
        manufacturer=text(first, "Manufacturer"),
        model=text(first, "ManufacturerModelName"),
    )


def _not_computable(found: Message, needed: Message, advice: Message) -> SuvNotComputable:
    return SuvNotComputable(found=found, needed=needed, advice=advice)
