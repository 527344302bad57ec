"""SUVbw from a PET's headers (DICOM PS3.3 C.8.9.1; manual of the IBSI for SUV computation, 2025).

SUVbw [g/ml] = activity concentration [Bq/ml] x weight [g] / dose [Bq], image and dose taken to the same time. Which of
the rules below gave the factor is recorded in `PetFacts.factor_rule`:

- `Units` BQML, `DecayCorrection` START ("bqml_start"): the dose decays from the injection to the start of the scan (see
  `imaging.timing.scan_start`); ADMIN ("bqml_admin"): not at all; NONE ("bqml_none_per_slice"): each slice is corrected
  for the decay from the injection to its own acquisition, and within the frame.
- `Units` CNTS (Philips): the private SUV scale factor ("cnts_suv_scale_factor"), else the private activity
  concentration scale factor and the rules of BQML ("cnts_activity_scale_factor"). Both count under CNTS only.
- `Units` GML: `SUVType` empty or BW is SUVbw ("gml_bw"); LBM, LBMJAMES128, LBMJANMA, IBW are converted back with
  weight, height and sex ("gml_lbm", "gml_lbm_james128", "gml_lbm_janma", "gml_ibw").
- `Units` CM2ML: SUVbsa, converted back ("cm2ml_bsa").

Everything else is refused, saying what was found and what is needed.

A person's correction (`imaging.corrections`) of weight, dose or times rescales what the scanner computed with the
headers' values: SUVbw goes with weight / dose x decay, new over old. So it holds under every rule, also where the
scanner itself had normalised the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

from fedpet.messages import Message
from imaging.acquisition import corrected, filled, told_by
from imaging.factors import NOT_NEEDED, Factors, doublings, factors_of, not_computable, untimely
from imaging.header import number, text, texts
from imaging.study import Level, PetFacts, QualityCheck
from imaging.timing import decay_factor_disagreement, injection_times_apart_s
from imaging.tracer import code, radiopharmaceutical, tracer_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydicom.dataset import Dataset

    from fedpet.errors import StudyRefused
    from imaging.acquisition import Acquisition
    from imaging.corrections import AppliedCorrection, Correction

_CLOCKS_APART_S = 60.0  # two injection times that differ by more are a warning


@dataclass(frozen=True)
class Calibration:
    """How stored values become SUVbw: stored x slope x factor, slice by slice in the order of the headers given.

    Attributes:
        slopes: RescaleSlope.
        intercepts: RescaleIntercept; 0 wherever there is SUV.
        factors: SUVbw per rescaled unit; 1 where the SUV was refused.
        facts: what it rests on.
        corrections: what a person put in place of the headers' values.
        disagreement: relative difference of SUV if the reference time were read from DecayFactor; 0 where not given.
        doubts: what speaks against the SUV without ruling it out.
        refusal: why there is no SUV, or None.
    """

    slopes: tuple[float, ...]
    intercepts: tuple[float, ...]
    factors: tuple[float, ...]
    facts: PetFacts
    corrections: tuple[AppliedCorrection, ...] = ()
    disagreement: float = 0.0
    doubts: tuple[Message, ...] = ()
    refusal: StudyRefused | None = None

    @property
    def scales(self) -> tuple[float, ...]:
        """SUVbw per stored value of each slice."""
        return tuple(slope * factor for slope, factor in zip(self.slopes, self.factors, strict=True))

    def check(self) -> QualityCheck:
        """The check "suv"."""
        if self.refusal is not None:
            return QualityCheck("suv", Level.FAIL, self.refusal.found)
        if self.doubts:
            return QualityCheck("suv", Level.WARN, self.doubts[0])
        units, correction = self.facts.units, self.facts.decay_correction or "—"
        return QualityCheck(
            "suv", Level.PASS, Message("SUVbw from units {units}, decay correction {c}.", units=units, c=correction)
        )


def calibrate(headers: Sequence[Dataset], corrections: Sequence[Correction] = ()) -> Calibration:
    """The calibration of one static, attenuation-corrected PET series.

    Args:
        headers: one per slice, in the volume's order.
        corrections: a person's, at most one of each value.

    Raises:
        SuvNotComputable: the values cannot be turned into SUVbw.
        CorrectionRefused: the corrections do not fit the series.
    """
    _require_corrected_images(headers)
    slopes = _slopes(headers)
    told = told_by(headers)
    now, applied = corrected(told, corrections, headers[0])
    then = filled(told, now)
    factors = factors_of(headers, then)
    timed = factors.reference_time_source != NOT_NEEDED
    if timed and now.elapsed_s is not None and not now.is_timely:
        raise untimely(now.elapsed_s)
    change = _change(then, now)
    per_slice = tuple(factor * change for factor in factors.per_slice)
    disagreement = 0.0
    if timed and text(headers[0], "DecayCorrection") == "START" and now.start and now.half_life_s:
        disagreement = decay_factor_disagreement(headers, now.acquired, start=now.start, half_life_s=now.half_life_s)
    return Calibration(
        slopes=slopes,
        intercepts=(0.0,) * len(slopes),
        factors=per_slice,
        facts=_facts(headers[0], now, factors, per_slice),
        corrections=applied,
        disagreement=disagreement,
        doubts=_doubts(headers[0], now, factors),
    )


def uncalibrated(headers: Sequence[Dataset], corrections: Sequence[Correction], refusal: StudyRefused) -> Calibration:
    """What is left of a PET whose SUV was refused: its rescaled values and the facts."""
    now, applied = corrected(told_by(headers), corrections, headers[0])
    slopes = [number(header, "RescaleSlope") for header in headers]
    return Calibration(
        slopes=tuple(slope if slope is not None and isfinite(slope) else 1.0 for slope in slopes),
        intercepts=tuple(number(header, "RescaleIntercept") or 0.0 for header in headers),
        factors=(1.0,) * len(slopes),
        facts=_facts(headers[0], now, None, ()),
        corrections=applied,
        refusal=refusal,
    )


def _require_corrected_images(headers: Sequence[Dataset]) -> None:
    for keyword in ("Units", "DecayCorrection", "SUVType", "TimezoneOffsetFromUTC"):
        if len({text(header, keyword) for header in headers}) > 1:
            raise not_computable(
                Message("The slices differ in {keyword}.", keyword=keyword),
                Message("One value in the whole series."),
                Message("Export the series again, without images of other series."),
            )
    if not all("ATTN" in texts(header, "CorrectedImage") for header in headers):
        raise not_computable(
            Message("The PET is not corrected for attenuation."),
            Message("ATTN in Corrected Image."),
            Message("Choose the attenuation-corrected series."),
        )
    tracers = len(headers[0].get("RadiopharmaceuticalInformationSequence") or [])
    if tracers > 1:
        raise not_computable(
            Message("The PET names {n} radiopharmaceuticals.", n=tracers),
            Message("One radiopharmaceutical."),
            Message("Export the series of one tracer."),
        )


def _slopes(headers: Sequence[Dataset]) -> tuple[float, ...]:
    slopes = []
    for header in headers:
        slope, intercept = number(header, "RescaleSlope"), number(header, "RescaleIntercept") or 0.0
        if slope is None or not isfinite(slope) or slope <= 0 or intercept != 0:
            raise not_computable(
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


def _change(then: Acquisition, now: Acquisition) -> float:
    """How SUVbw changes from what the scanner knew to what is known now; 1 without corrections."""
    change = 1.0
    if then.weight_kg is not None and now.weight_kg is not None:
        change *= now.weight_kg / then.weight_kg
    if then.dose_bq is not None and now.dose_bq is not None:
        change *= then.dose_bq / now.dose_bq
    longer_s = (now.elapsed_s or 0.0) - (then.elapsed_s or 0.0)
    if longer_s == 0.0 or then.elapsed_s is None or now.elapsed_s is None:
        return change
    if now.half_life_s is None:
        raise not_computable(
            Message("A time is corrected, and the half-life is missing."),
            Message("Radionuclide Half Life in the PET headers."),
            Message("Export the PET with its radiopharmaceutical."),
        )
    return change * doublings(longer_s, now.half_life_s)


def _doubts(header: Dataset, now: Acquisition, factors: Factors) -> tuple[Message, ...]:
    doubts = []
    apart_s = injection_times_apart_s(header)
    if apart_s > _CLOCKS_APART_S and factors.reference_time_source != NOT_NEEDED and _read_from_header(now):
        doubts.append(Message("The headers give two injection times, {minutes:.0f} min apart.", minutes=apart_s / 60))
    if factors.rule == "cnts_suv_scale_factor" and text(header, "DecayCorrection") == "NONE":
        doubts.append(
            Message("The images are not decay-corrected; Philips' SUV scale factor is taken to allow for it.")
        )
    if now.sex == "O" and factors.rule.startswith(("gml_lbm", "gml_ibw")):
        doubts.append(Message("The patient's sex is given as other: the mean of the formulas of both sexes is used."))
    return tuple(doubts)


def _read_from_header(now: Acquisition) -> bool:
    return now.injection is not None and now.injection.source != "corrected"


def _facts(header: Dataset, now: Acquisition, factors: Factors | None, per_slice: Sequence[float]) -> PetFacts:
    tracer = radiopharmaceutical(header)
    source = factors.reference_time_source if factors else NOT_NEEDED
    if factors and now.start and source not in (NOT_NEEDED, "acquisition_time_per_slice"):
        source = now.start.source
    return PetFacts(
        units=text(header, "Units"),
        decay_correction=text(header, "DecayCorrection"),
        suv_factor_min=min(per_slice, default=None),
        suv_factor_max=max(per_slice, default=None),
        reference_time_source=source,
        reference_time=now.start.time if now.start else None,
        injection_time=now.injection.time if now.injection else None,
        uptake_min=None if now.elapsed_s is None else now.elapsed_s / 60,
        dose_bq=now.dose_bq,
        half_life_s=now.half_life_s,
        weight_kg=now.weight_kg,
        height_m=now.height_m,
        sex=now.sex,
        radiopharmaceutical=tracer_name(header),
        corrected_image=texts(header, "CorrectedImage"),
        manufacturer=text(header, "Manufacturer"),
        model=text(header, "ManufacturerModelName"),
        factor_rule=factors.rule if factors else "",
        suv_type=text(header, "SUVType"),
        injection_source=now.injection.source if now.injection else "",
        timezone=text(header, "TimezoneOffsetFromUTC"),
        weight_source=now.weight_source,
        height_source=now.height_source,
        dose_source=now.dose_source,
        half_life_source=now.half_life_source,
        radiopharmaceutical_code=code(tracer, "RadiopharmaceuticalCodeSequence"),
        radionuclide_code=code(tracer, "RadionuclideCodeSequence"),
    )
