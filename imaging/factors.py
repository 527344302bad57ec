"""The rules by which a PET's values become SUVbw, one for each kind of `Units` (DICOM PS3.3 C.8.9.1).

Each rule reads the headers as they are and the acquisition as the scanner knew it; see `imaging.suv` for the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, isfinite, log
from typing import TYPE_CHECKING

from fedpet.errors import SuvNotComputable
from fedpet.messages import Message
from imaging.header import private_text, text, texts
from imaging.normalization import (
    body_surface_m2,
    ideal_body_weight_kg,
    james_lean_body_mass_kg,
    lean_body_mass_kg,
    needed_weight_and_height,
)
from imaging.timing import MOST_HALF_LIVES, frame_s

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pydicom.dataset import Dataset

    from imaging.acquisition import Acquisition

    Rule = Callable[[Sequence[Dataset], Acquisition], "Factors"]

NOT_NEEDED = "not needed"
_MOST_DOUBLINGS = 40.0  # beyond, times are wrong and powers overflow


@dataclass(frozen=True)
class Factors:
    """SUVbw per rescaled unit of each slice, the rule that gave it, and how the reference time was found.

    `reference_time_source` is "not needed" where the times do not enter.
    """

    rule: str
    per_slice: tuple[float, ...]
    reference_time_source: str = NOT_NEEDED


def factors_of(headers: Sequence[Dataset], then: Acquisition) -> Factors:
    """The factors of one series.

    Args:
        headers: one per slice; `Units`, `SUVType` and `DecayCorrection` alike in all.
        then: what the scanner knew.

    Raises:
        SuvNotComputable: the units are none of those with a rule, or something the rule needs is missing.
    """
    units = text(headers[0], "Units")
    if units not in _RULES:
        raise not_computable(
            Message("The PET is in units {units}.", units=units or "—"),
            Message("Units BQML, CNTS with Philips' scale factors, GML or CM2ML."),
            _ADVICE.get(units, Message("Export the attenuation-corrected PET in BQML.")),
        )
    return _RULES[units](headers, then)


def doublings(elapsed_s: float, half_life_s: float) -> float:
    """2 to the power of elapsed / half-life: how much more activity there was that long before.

    Raises:
        SuvNotComputable: so long that a time must be wrong.
    """
    if abs(elapsed_s) > _MOST_DOUBLINGS * half_life_s:
        raise untimely(elapsed_s)
    return float(2.0 ** (elapsed_s / half_life_s))


def untimely(elapsed_s: float) -> SuvNotComputable:
    """The error that injection and scan do not fit each other."""
    return not_computable(
        Message("Injection would lie {hours:.1f} h before the scan.", hours=elapsed_s / 3600),
        Message("An injection on the day of the scan, within {n:.0f} half-lives.", n=MOST_HALF_LIVES),
        Message("Correct the injection time, giving the reason."),
    )


def not_computable(found: Message, needed: Message, advice: Message) -> SuvNotComputable:
    """The error of this room's calibration."""
    return SuvNotComputable(found=found, needed=needed, advice=advice)


def _from_activity(headers: Sequence[Dataset], then: Acquisition) -> Factors:
    """BQML: weight over the dose, the dose taken to the time the image is corrected to."""
    correction, decayed = text(headers[0], "DecayCorrection"), "DECY" in texts(headers[0], "CorrectedImage")
    if correction not in _DECAYS or decayed is (correction == "NONE"):
        raise not_computable(
            Message(
                "Decay Correction is {correction}, Corrected Image is {corrected}.",
                correction=correction or "—",
                corrected=", ".join(texts(headers[0], "CorrectedImage")) or "—",
            ),
            Message("Decay Correction START or ADMIN with DECY in Corrected Image, or NONE without it."),
            Message("Export the decay-corrected PET series."),
        )
    return _DECAYS[correction](headers, then)


def _decayed_to_start(headers: Sequence[Dataset], then: Acquisition) -> Factors:
    if then.half_life_s is None or then.start is None or then.elapsed_s is None:
        raise _times_missing()
    factor = _per_dose(then) * doublings(then.elapsed_s, then.half_life_s)
    return Factors("bqml_start", (factor,) * len(headers), then.start.source)


def _decayed_to_administration(headers: Sequence[Dataset], then: Acquisition) -> Factors:
    return Factors("bqml_admin", (_per_dose(then),) * len(headers))


def _not_decayed(headers: Sequence[Dataset], then: Acquisition) -> Factors:
    """Each slice from its own acquisition: l T / (1 - exp(-l T)) within the frame, exp(l t) since the injection."""
    if then.half_life_s is None or then.injection is None:
        raise _times_missing()
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
        since = doublings((acquired - then.injection.time).total_seconds(), then.half_life_s)
        factors.append(_per_dose(then) * since * rate * frame / (1 - exp(-rate * frame)))
    return Factors("bqml_none_per_slice", tuple(factors), "acquisition_time_per_slice")


def _from_counts(headers: Sequence[Dataset], then: Acquisition) -> Factors:
    """CNTS: Philips' private factors of each slice; zero means that the counts cannot be converted."""
    to_suv = [_scale(header, "Philips SUV") for header in headers]
    if all(scale > 0 for scale in to_suv):
        return Factors("cnts_suv_scale_factor", tuple(to_suv))
    to_activity = [_scale(header, "Philips activity") for header in headers]
    if not all(scale > 0 for scale in to_activity):
        raise not_computable(
            Message("The PET is in counts, and Philips' scale factors are missing or zero."),
            Message("The private SUV Scale Factor (7053,xx00) or Activity Concentration Scale Factor (7053,xx09)."),
            Message("Export the PET with its private attributes, or in BQML."),
        )
    activity = _from_activity(headers, then)
    factors = tuple(scale * factor for scale, factor in zip(to_activity, activity.per_slice, strict=True))
    return Factors("cnts_activity_scale_factor", factors, activity.reference_time_source)


def _scale(header: Dataset, name: str) -> float:
    """A private factor; 0 where it is missing or no number."""
    try:
        scale = float(private_text(header, name))
    except ValueError:
        return 0.0
    return scale if isfinite(scale) else 0.0


def _from_mass(headers: Sequence[Dataset], then: Acquisition) -> Factors:
    """GML: SUV of body weight, or converted back from another mass."""
    kind = text(headers[0], "SUVType") or "BW"
    if kind == "BW":
        return Factors("gml_bw", (1.0,) * len(headers))
    if kind not in _MASSES:
        raise not_computable(
            Message("The PET holds SUV of type {kind} in g/ml.", kind=kind),
            Message("SUV Type empty, BW, LBM, LBMJAMES128, LBMJANMA or IBW."),
            Message("Export the PET in BQML or as SUVbw."),
        )
    weight, height = needed_weight_and_height(then.weight_kg, then.height_m)
    factor = weight / _MASSES[kind](weight, height, then.sex)
    return Factors(f"gml_{_RULE_OF_MASS.get(kind, kind.lower())}", (factor,) * len(headers))


def _from_surface(headers: Sequence[Dataset], then: Acquisition) -> Factors:
    """CM2ML: converted back from body surface, 1e3 g per kg and 1e4 cm2 per m2."""
    kind = text(headers[0], "SUVType")
    if kind not in ("", "BSA"):
        raise not_computable(
            Message("The PET holds SUV of type {kind} in cm²/ml.", kind=kind),
            Message("SUV Type BSA or empty, for units CM2ML."),
            Message("Export the PET in BQML or as SUVbw."),
        )
    weight, height = needed_weight_and_height(then.weight_kg, then.height_m)
    return Factors("cm2ml_bsa", (weight / (10.0 * body_surface_m2(weight, height)),) * len(headers))


def _per_dose(then: Acquisition) -> float:
    """Weight over dose, g/Bq."""
    if then.weight_kg is None:
        raise not_computable(
            Message("The patient's weight is missing or zero."),
            Message("Patient Weight in kg."),
            Message("Correct the weight to that of the day of the scan, giving the reason."),
        )
    if then.dose_bq is None:
        raise not_computable(
            Message("The administered dose is missing or is neither in Bq nor in MBq."),
            Message("Radionuclide Total Dose in Bq."),
            Message("Correct the administered dose, giving the reason."),
        )
    return 1000.0 * then.weight_kg / then.dose_bq


def _times_missing() -> SuvNotComputable:
    return not_computable(
        Message("Half-life, injection time or scan time is missing."),
        Message("Radionuclide Half Life, Radiopharmaceutical Start Time and Series Time."),
        Message("Correct the injection time, giving the reason, or export the PET again."),
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
