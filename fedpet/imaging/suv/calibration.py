"""SUVbw from a PET's headers (DICOM PS3.3 C.8.9.1; manual of the IBSI for SUV computation, 2025).

SUVbw [g/ml] = activity concentration [Bq/ml] x weight [g] / dose [Bq], image and dose taken to the same time. Which of
the rules below gave the factor is recorded in `PetFacts.factor_rule`:

- `Units` BQML, `DecayCorrection` START ("bqml_start"): the dose decays from the injection to the start of the scan (see
  `fedpet.imaging.suv.timing.scan_start`); ADMIN ("bqml_admin"): not at all; NONE ("bqml_none_per_slice"): each slice is
  corrected for the decay from the injection to its own acquisition, and within the frame.
- `Units` CNTS (Philips): the private SUV scale factor ("cnts_suv_scale_factor"), else the private activity
  concentration scale factor and the rules of BQML ("cnts_activity_scale_factor"). Both count under CNTS only.
- `Units` GML: `SUVType` empty or BW is SUVbw ("gml_bw"); LBM, LBMJAMES128, LBMJANMA, IBW are converted back with
  weight, height and sex ("gml_lbm", "gml_lbm_james128", "gml_lbm_janma", "gml_ibw").
- `Units` CM2ML: SUVbsa, converted back ("cm2ml_bsa").

Everything else is refused, saying what was found and what is needed.

A person's correction (`fedpet.imaging.suv.overrides`) of weight, dose or times rescales what the scanner computed with
the headers' values: SUVbw goes with weight / dose x decay, new over old. So it holds under every rule, also where the
scanner itself had normalised the image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING

from fedpet.core.messages import Message
from fedpet.imaging.dicom.headers.attributes import number, private_text, text, texts
from fedpet.imaging.dicom.headers.readings import number_reading, shown
from fedpet.imaging.dicom.headers.scanner_clock import DAY
from fedpet.imaging.study import CheckStatus, PetFacts, QualityCheck
from fedpet.imaging.suv.inputs import OVERRIDDEN, fill_missing, from_headers, with_overrides
from fedpet.imaging.suv.overrides import NAMES
from fedpet.imaging.suv.rules import (
    NOT_NEEDED,
    SuvConversion,
    half_lives_elapsed,
    implausible_delay,
    implausible_times,
    not_computable,
    suv_conversion,
)
from fedpet.imaging.suv.timing import lost_injection_clock
from fedpet.imaging.suv.tracer import code, most_radiopharmaceuticals, radiopharmaceutical, tracer_name
from fedpet.imaging.suv.witness import suv_paths, witness_check

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydicom.dataset import Dataset

    from fedpet.core.errors import StudyError
    from fedpet.imaging.study import AppliedOverride
    from fedpet.imaging.suv.inputs import SuvInputs
    from fedpet.imaging.suv.overrides import ManualOverride


@dataclass(frozen=True)
class SuvCalibration:
    """How stored values become SUVbw: stored x slope x factor, slice by slice in the order of the headers given.

    Attributes:
        slopes: RescaleSlope.
        intercepts: RescaleIntercept; 0 wherever there is SUV.
        factors: SUVbw per rescaled unit; 1 where the SUV was refused.
        facts: what it rests on.
        corrections: what a person put in place of the headers' values.
        doubts: what speaks against the SUV without ruling it out.
        refusal: why there is no SUV, or None.
    """

    slopes: tuple[float, ...]
    intercepts: tuple[float, ...]
    factors: tuple[float, ...]
    facts: PetFacts
    corrections: tuple[AppliedOverride, ...] = ()
    doubts: tuple[Message, ...] = ()
    refusal: StudyError | None = None

    @property
    def scales(self) -> tuple[float, ...]:
        """SUVbw per stored value of each slice."""
        return tuple(slope * factor for slope, factor in zip(self.slopes, self.factors, strict=True))

    def checks(self) -> tuple[QualityCheck, ...]:
        """The check "suv" and, where there is SUV, "suv_witness"."""
        return (self._suv(),) if self.refusal is not None else (self._suv(), witness_check(self.facts.suv_paths))

    def _suv(self) -> QualityCheck:
        if self.refusal is not None:
            return QualityCheck("suv", CheckStatus.FAIL, self.refusal.found)
        if self.doubts:
            return QualityCheck("suv", CheckStatus.WARN, self.doubts[0])
        units, correction = self.facts.units, self.facts.decay_correction or "—"
        return QualityCheck(
            "suv",
            CheckStatus.PASS,
            Message("SUVbw from units {units}, decay correction {c}.", units=units, c=correction),
        )


def calibrate_suv(headers: Sequence[Dataset], corrections: Sequence[ManualOverride] = ()) -> SuvCalibration:
    """The calibration of one static, attenuation-corrected PET series.

    Args:
        headers: one per slice, in the volume's order.
        corrections: a person's, at most one of each value.

    Raises:
        SuvError: the values cannot be turned into SUVbw.
        OverrideError: the corrections do not fit the series.
    """
    _require_corrected_images(headers)
    slopes = _slopes(headers)
    stated = from_headers(headers)
    corrected = frozenset(one.name for one in corrections)
    _require_one_value(stated, corrected, headers)
    now, applied = with_overrides(stated, corrections, headers[0])
    then = fill_missing(stated, now)
    factors = suv_conversion(headers, then)
    if factors.reference_time_source != NOT_NEEDED:
        _require_timely(now)
    change = _change(then, now)
    per_slice = tuple(factor * change for factor in factors.per_slice)
    paths = suv_paths(headers, then, factors, corrected)
    return SuvCalibration(
        slopes=slopes,
        intercepts=(0.0,) * len(slopes),
        factors=per_slice,
        facts=replace(_facts(headers[0], now, factors, per_slice), suv_paths=paths),
        corrections=applied,
        doubts=_warnings(headers[0], now, factors),
    )


def _require_one_value(stated: SuvInputs, corrected: frozenset[str], headers: Sequence[Dataset]) -> None:
    """Refuse slices that differ in what enters the SUV, unless a person said which value holds.

    Where the scanner normalised the image itself, a correction rescales what it computed: it cannot mend slices that
    were computed with different values.
    """
    units = text(headers[0], "Units")
    by_scanner = units in ("GML", "CM2ML") or (units == "CNTS" and private_text(headers[0], "Philips SUV") != "")
    timed = not by_scanner and text(headers[0], "DecayCorrection") != "ADMIN"
    for name, found in stated.conflicts.items():
        mended = name in corrected and not by_scanner
        if mended or (name == "scan_start" and not timed):
            continue
        raise not_computable(
            found,
            Message("One value in the whole series."),
            Message("Correct the value, giving the reason, or export the series again without images of other series.")
            if name in NAMES and not by_scanner
            else Message("Export the series again, without images of other series."),
        )


def _require_timely(now: SuvInputs) -> None:
    """Refuse an injection after the scan, more than 5 half-lives before it, or without its clock."""
    if now.start is None or now.injection is None or now.elapsed_s is None:
        return
    start, injected = now.start.time, now.injection.time
    if not now.is_timely:
        if now.injection.source.endswith("_previous_day"):
            injected += DAY
        if injected <= start:
            raise implausible_delay(now.elapsed_s)
        raise implausible_times(
            Message(
                "The injection ({injection}) is later than the start of the scan ({start}).",
                injection=f"{injected:%H:%M:%S}",
                start=f"{start:%H:%M:%S}",
            )
        )
    if lost_injection_clock(now.injection, now.start):
        raise implausible_times(Message("The injection time is 00:00:00: a date without its time of day."))


def uncalibrated(
    headers: Sequence[Dataset], corrections: Sequence[ManualOverride], refusal: StudyError
) -> SuvCalibration:
    """What is left of a PET whose SUV was refused: its rescaled values and the facts."""
    now, applied = with_overrides(from_headers(headers), corrections, headers[0])
    slopes = [number(header, "RescaleSlope") for header in headers]
    return SuvCalibration(
        slopes=tuple(slope if slope is not None and isfinite(slope) else 1.0 for slope in slopes),
        intercepts=tuple(number(header, "RescaleIntercept") or 0.0 for header in headers),
        factors=(1.0,) * len(slopes),
        facts=_facts(headers[0], now, None, ()),
        corrections=applied,
        refusal=refusal,
    )


def _require_corrected_images(headers: Sequence[Dataset]) -> None:
    if not all("ATTN" in texts(header, "CorrectedImage") for header in headers):
        raise not_computable(
            Message("The PET is not corrected for attenuation."),
            Message("ATTN in Corrected Image."),
            Message("Choose the attenuation-corrected series."),
        )
    tracers = most_radiopharmaceuticals(headers)
    if tracers > 1:
        raise not_computable(
            Message("The PET names {n} radiopharmaceuticals.", n=tracers),
            Message("One radiopharmaceutical."),
            Message("Export the series of one tracer."),
        )


def _slopes(headers: Sequence[Dataset]) -> tuple[float, ...]:
    slopes = []
    for header in headers:
        slope, intercept = number_reading(header, "RescaleSlope"), number_reading(header, "RescaleIntercept")
        if slope.value is None or slope.value <= 0 or intercept.value or intercept.unreadable:
            raise not_computable(
                Message(
                    "A slice has rescale slope {slope} and intercept {intercept}.",
                    slope=shown(slope.text) or Message("no value"),
                    intercept=shown(intercept.text) or Message("no value"),
                ),
                Message("A positive slope and no intercept in every slice (PS3.3 C.8.9.4)."),
                Message("Export the original PET series."),
            )
        slopes.append(slope.value)
    return tuple(slopes)


def _change(then: SuvInputs, now: SuvInputs) -> float:
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
    return change * half_lives_elapsed(longer_s, now.half_life_s)


def _warnings(header: Dataset, now: SuvInputs, factors: SuvConversion) -> tuple[Message, ...]:
    doubts: list[Message] = []
    if factors.reference_time_source != NOT_NEEDED:
        doubts += [
            doubt
            for used, reading in ((now.start, now.starts), (now.injection, now.injections))
            if used and used.source != OVERRIDDEN
            for doubt in reading.doubts
        ]
    if factors.rule == "cnts_suv_scale_factor" and text(header, "DecayCorrection") == "NONE":
        doubts.append(
            Message("The images are not decay-corrected; Philips' SUV scale factor is taken to allow for it.")
        )
    if now.sex == "O" and factors.rule.startswith(("gml_lbm", "gml_ibw")):
        doubts.append(Message("The patient's sex is given as other: the mean of the formulas of both sexes is used."))
    return tuple(doubts)


def _facts(header: Dataset, now: SuvInputs, factors: SuvConversion | None, per_slice: Sequence[float]) -> PetFacts:
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
