"""The rules by which a PET's values become SUVbw, one for each kind of `Units` (DICOM PS3.3 C.8.9.1).

Each rule reads the headers as they are and the acquisition as the scanner knew it; see `fedpet.imaging.suv.calibration`
for the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, isfinite, log
from typing import TYPE_CHECKING

from fedpet.core.errors import SuvError
from fedpet.core.messages import Message
from fedpet.imaging.dicom.headers.attributes import private_text, text, texts
from fedpet.imaging.dicom.headers.readings import shown
from fedpet.imaging.suv.header_values import DOSE, HALF_LIFE, WEIGHT
from fedpet.imaging.suv.normalization import (
    body_surface_m2,
    ideal_body_weight_kg,
    james_lean_body_mass_kg,
    lean_body_mass_kg,
    needed_weight_and_height,
)
from fedpet.imaging.suv.timing import INJECTION_TIME, MAX_HALF_LIVES, START_OF_SCAN, frame_s

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pydicom.dataset import Dataset

    from fedpet.imaging.suv.inputs import SuvInputs

    Rule = Callable[[Sequence[Dataset], SuvInputs], "SuvConversion"]

NOT_NEEDED = "not needed"
_MOST_DOUBLINGS = 40.0  # beyond, times are wrong and powers overflow


@dataclass(frozen=True)
class SuvConversion:
    """SUVbw per rescaled unit of each slice, the rule that gave it, and how the reference time was found.

    `reference_time_source` is "not needed" where the times do not enter.
    """

    rule: str
    per_slice: tuple[float, ...]
    reference_time_source: str = NOT_NEEDED


def suv_conversion(headers: Sequence[Dataset], then: SuvInputs) -> SuvConversion:
    """The factors of one series.

    Args:
        headers: one per slice; `Units`, `SUVType` and `DecayCorrection` alike in all.
        then: what the scanner knew.

    Raises:
        SuvError: the units are none of those with a rule, or something the rule needs is missing.
    """
    units = text(headers[0], "Units")
    if units not in _RULES:
        raise not_computable(
            Message("The PET is in units {units}.", units=units) if units else _missing("Units"),
            Message("Units BQML, CNTS with Philips' scale factors, GML or CM2ML."),
            _ADVICE.get(units, Message("Export the attenuation-corrected PET in BQML.")),
        )
    return _RULES[units](headers, then)


def half_lives_elapsed(elapsed_s: float, half_life_s: float) -> float:
    """2 to the power of elapsed / half-life: how much more activity there was that long before.

    Raises:
        SuvError: so long that a time must be wrong.
    """
    if abs(elapsed_s) > _MOST_DOUBLINGS * half_life_s:
        raise implausible_delay(elapsed_s)
    return float(2.0 ** (elapsed_s / half_life_s))


def implausible_delay(elapsed_s: float) -> SuvError:
    """The error that injection and scan do not fit each other."""
    return implausible_times(Message("Injection would lie {hours:.1f} h before the scan.", hours=elapsed_s / 3600))


def implausible_times(found: Message) -> SuvError:
    """The error that a time of injection or scan cannot be right."""
    return not_computable(
        found,
        Message("An injection on the day of the scan, within {n:.0f} half-lives.", n=MAX_HALF_LIVES),
        Message("Correct the injection time, giving the reason."),
    )


def not_computable(found: Message, needed: Message, advice: Message) -> SuvError:
    """The error of the calibration."""
    return SuvError(found=found, needed=needed, advice=advice)


def _from_activity(headers: Sequence[Dataset], then: SuvInputs) -> SuvConversion:
    """BQML: weight over the dose, the dose taken to the time the image is corrected to."""
    correction, decayed = text(headers[0], "DecayCorrection"), "DECY" in texts(headers[0], "CorrectedImage")
    if correction not in _DECAYS or decayed is (correction == "NONE"):
        raise not_computable(
            Message(
                "Decay Correction is {correction}, Corrected Image is {corrected}.",
                correction=correction,
                corrected=", ".join(texts(headers[0], "CorrectedImage")) or "—",
            )
            if correction
            else _missing("Decay Correction"),
            Message("Decay Correction START or ADMIN with DECY in Corrected Image, or NONE without it."),
            Message("Export the decay-corrected PET series."),
        )
    return _DECAYS[correction](headers, then)


def _missing(attribute: str) -> Message:
    return Message("{what} is missing.", what=attribute)


def _decayed_to_start(headers: Sequence[Dataset], then: SuvInputs) -> SuvConversion:
    if then.half_life_s is None or then.start is None or then.elapsed_s is None:
        raise _times_missing(then)
    factor = _per_dose(then) * half_lives_elapsed(then.elapsed_s, then.half_life_s)
    return SuvConversion("bqml_start", (factor,) * len(headers), then.start.source)


def _decayed_to_administration(headers: Sequence[Dataset], then: SuvInputs) -> SuvConversion:
    return SuvConversion("bqml_admin", (_per_dose(then),) * len(headers))


def _not_decayed(headers: Sequence[Dataset], then: SuvInputs) -> SuvConversion:
    """Each slice from its own acquisition: l T / (1 - exp(-l T)) within the frame, exp(l t) since the injection."""
    if then.half_life_s is None or then.injection is None:
        raise _times_missing(then)
    rate = log(2) / then.half_life_s
    factors = []
    for header, acquired in zip(headers, then.acquired, strict=True):
        frame = frame_s(header)
        if acquired is None or frame is None:
            raise not_computable(
                Message("The images are not corrected for decay, and a slice has no acquisition time or duration."),
                Message("Acquisition Time and Actual Frame Duration in every slice."),
                Message("Export the decay-corrected PET series."),
            )
        since = half_lives_elapsed((acquired - then.injection.time).total_seconds(), then.half_life_s)
        factors.append(_per_dose(then) * since * rate * frame / (1 - exp(-rate * frame)))
    return SuvConversion("bqml_none_per_slice", tuple(factors), "acquisition_time_per_slice")


def _from_counts(headers: Sequence[Dataset], then: SuvInputs) -> SuvConversion:
    """CNTS: Philips' private factors of each slice; zero means that the counts cannot be converted."""
    to_suv = [_scale(header, "Philips SUV") for header in headers]
    if all(scale > 0 for scale in to_suv):
        return SuvConversion("cnts_suv_scale_factor", tuple(to_suv))
    to_activity = [_scale(header, "Philips activity") for header in headers]
    if not all(scale > 0 for scale in to_activity):
        raise not_computable(
            _no_factors(headers),
            Message("The private SUV Scale Factor (7053,xx00) or Activity Concentration Scale Factor (7053,xx09)."),
            Message("Export the PET with its private attributes, or in BQML."),
        )
    activity = _from_activity(headers, then)
    factors = tuple(scale * factor for scale, factor in zip(to_activity, activity.per_slice, strict=True))
    return SuvConversion("cnts_activity_scale_factor", factors, activity.reference_time_source)


def _no_factors(headers: Sequence[Dataset]) -> Message:
    """Why Philips' factors cannot be used: the first that is no number above zero, or how many slices have none."""
    written = [private_text(header, name) for name in ("Philips SUV", "Philips activity") for header in headers]
    if unusable := next((one for one in written if one and not _factor(one) > 0), ""):
        return Message(
            "The PET is in counts, and a scale factor of Philips is no number above zero (“{text}”).",
            text=shown(unusable),
        )
    lacking = sum(not private_text(header, "Philips SUV") for header in headers)
    return Message(
        "The PET is in counts, and Philips' SUV scale factor is missing in {n} of {all} slices.",
        n=lacking,
        all=len(headers),
    )


def _scale(header: Dataset, name: str) -> float:
    """A private factor; 0 where it is missing or no number."""
    return _factor(private_text(header, name))


def _factor(written: str) -> float:
    try:
        scale = float(written)
    except ValueError:
        return 0.0
    return scale if isfinite(scale) else 0.0


def _from_mass(headers: Sequence[Dataset], then: SuvInputs) -> SuvConversion:
    """GML: SUV of body weight, or converted back from another mass."""
    kind = text(headers[0], "SUVType") or "BW"
    if kind == "BW":
        return SuvConversion("gml_bw", (1.0,) * len(headers))
    if kind not in _MASSES:
        raise not_computable(
            Message("The PET holds SUV of type {kind} in g/ml.", kind=kind),
            Message("SUV Type empty, BW, LBM, LBMJAMES128, LBMJANMA or IBW."),
            Message("Export the PET in BQML or as SUVbw."),
        )
    weight, height = _weight_and_height(then)
    factor = weight / _MASSES[kind](weight, height, then.sex)
    return SuvConversion(f"gml_{_RULE_OF_MASS.get(kind, kind.lower())}", (factor,) * len(headers))


def _from_surface(headers: Sequence[Dataset], then: SuvInputs) -> SuvConversion:
    """CM2ML: converted back from body surface, 1e3 g per kg and 1e4 cm2 per m2."""
    kind = text(headers[0], "SUVType")
    if kind not in ("", "BSA"):
        raise not_computable(
            Message("The PET holds SUV of type {kind} in cm²/ml.", kind=kind),
            Message("SUV Type BSA or empty, for units CM2ML."),
            Message("Export the PET in BQML or as SUVbw."),
        )
    weight, height = _weight_and_height(then)
    return SuvConversion("cm2ml_bsa", (weight / (10.0 * body_surface_m2(weight, height)),) * len(headers))


def _weight_and_height(then: SuvInputs) -> tuple[float, float]:
    """Both, in kg and m, or the problem of the one that is not known."""
    for name in ("weight_kg", "height_m"):
        if name in then.problems and getattr(then, name) is None:
            raise not_computable(
                then.problems[name],
                Message("Patient Weight in kg and Patient Size in m, for another SUV than that of body weight."),
                Message("Correct weight and height, giving the reason."),
            )
    return needed_weight_and_height(then.weight_kg, then.height_m)


def _per_dose(then: SuvInputs) -> float:
    """Weight over dose, g/Bq."""
    if then.weight_kg is None:
        raise not_computable(
            then.problems.get("weight_kg", Message("{what} is missing.", what=WEIGHT)),
            Message("Patient Weight in kg, the same in every slice."),
            Message("Correct the weight to that of the day of the scan, giving the reason."),
        )
    if then.dose_bq is None:
        raise not_computable(
            then.problems.get("dose_mbq", Message("{what} is missing.", what=DOSE)),
            Message("Radionuclide Total Dose in Bq, the same in every slice."),
            Message("Correct the administered dose, giving the reason."),
        )
    return 1000.0 * then.weight_kg / then.dose_bq


def _times_missing(then: SuvInputs) -> SuvError:
    """The error that decay cannot be computed, by what is missing first."""
    if then.half_life_s is None:
        return not_computable(
            then.problems.get("half_life", Message("{what} is missing.", what=HALF_LIFE)),
            Message("Radionuclide Half Life in seconds, the same in every slice."),
            Message("Export the PET with its radiopharmaceutical."),
        )
    name, what = ("scan_start", START_OF_SCAN) if then.start is None else ("injection_time", INJECTION_TIME)
    return not_computable(
        then.problems.get(name, Message("{what} is missing.", what=what)),
        Message("Radiopharmaceutical Start Time and Series Time, the same in every slice."),
        Message("Correct the injection time or the start of the scan, giving the reason, or export the PET again."),
    )


_RULES: Mapping[str, Rule] = {
    "BQML": _from_activity, "CNTS": _from_counts, "GML": _from_mass, "CM2ML": _from_surface,
}  # fmt: skip
_DECAYS: Mapping[str, Rule] = {
    "START": _decayed_to_start, "ADMIN": _decayed_to_administration, "NONE": _not_decayed,
}  # fmt: skip
_MASSES: Mapping[str, Callable[[float, float, str], float]] = {
    "LBM": lambda weight, height, sex: james_lean_body_mass_kg(weight, height, sex, male=120.0),
    "LBMJAMES128": james_lean_body_mass_kg,
    "LBMJANMA": lean_body_mass_kg,
    "IBW": lambda _, height, sex: ideal_body_weight_kg(height, sex),
}
_RULE_OF_MASS = {"LBMJAMES128": "lbm_james128", "LBMJANMA": "lbm_janma"}
_ADVICE = {
    "PROPCPS": Message("Not quantitative: choose the attenuation-corrected PET in BQML."),
    "PROPCNTS": Message("Not quantitative: choose the attenuation-corrected PET in BQML."),
    "CPS": Message("Count rates have no calibration to activity: choose the attenuation-corrected PET in BQML."),
    "1CM": Message("Attenuation coefficients, not a PET: choose the attenuation-corrected PET in BQML."),
}
