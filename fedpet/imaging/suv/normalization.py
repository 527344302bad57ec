"""What SUV is normalised to: body weight, lean body mass (SUL), body surface (SUVbsa), ideal body weight.

Formulas of DICOM PS3.3 C.8.9.1 SUV Type (0054,1006) as the manual of the IBSI for SUV computation (2025) states them;
weight in kg, height in m. For sex "O" the mean of the two sexes is used, as that manual proposes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from fedpet.core.errors import SuvError
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fedpet.imaging.study import PetCtStudy
    from fedpet.imaging.volume import Unit, Volume

Normalization = Literal["bw", "lbm", "bsa"]
_SEXES: Final[Mapping[str, str]] = {"F": "F", "M": "M", "O": "FM"}


def lean_body_mass_kg(weight_kg: float, height_m: float, sex: str) -> float:
    """Lean body mass of Janmahasatian (Clin Pharmacokinet 2005;44:1051), kg: the one of SUL here.

    Args:
        weight_kg: body weight.
        height_m: body height.
        sex: "F", "M" or "O".

    Raises:
        SuvError: the sex is not given.
    """
    bmi = weight_kg / height_m**2
    return _by_sex(sex, F=9270 * weight_kg / (8780 + 244 * bmi), M=9270 * weight_kg / (6680 + 216 * bmi))


def lean_body_mass_if_known(weight_kg: float | None, height_m: float | None, sex: str) -> float | None:
    """Lean body mass as `lean_body_mass_kg`, kg; None where weight, height or sex is missing."""
    try:
        weight, height = needed_weight_and_height(weight_kg, height_m)
        return lean_body_mass_kg(weight, height, sex)
    except SuvError:
        return None


def james_lean_body_mass_kg(weight_kg: float, height_m: float, sex: str, *, male: float = 128.0) -> float:
    """Lean body mass of James and Morgan, kg, to convert images back; it collapses in obesity.

    Args:
        weight_kg: body weight.
        height_m: body height.
        sex: "F", "M" or "O".
        male: coefficient of men: 128 (SUV Type LBMJAMES128) or 120 (LBM, as Sugawara printed it).

    Raises:
        SuvError: the sex is not given, or the formula is not positive.
    """
    square = (weight_kg / (100 * height_m)) ** 2
    mass = _by_sex(sex, F=1.07 * weight_kg - 148 * square, M=1.10 * weight_kg - male * square)
    if mass <= 0:
        raise SuvError(
            found=Message(
                "James' lean body mass is not positive for {kg:.0f} kg and {m:.2f} m.", kg=weight_kg, m=height_m
            ),
            needed=Message("A weight and height for which the formula holds."),
            advice=Message("Export the PET in BQML."),
        )
    return mass


def ideal_body_weight_kg(height_m: float, sex: str) -> float:
    """Ideal body weight (SUV Type IBW), kg.

    Raises:
        SuvError: the sex is not given.
    """
    above = 100 * height_m - 152
    return _by_sex(sex, F=45.5 + 0.91 * above, M=48.0 + 1.06 * above)


def body_surface_m2(weight_kg: float, height_m: float) -> float:
    """Body surface of Du Bois, m2."""
    return float(0.007184 * (100 * height_m) ** 0.725 * weight_kg**0.425)


def normalize_suv(study: PetCtStudy, normalization: Normalization) -> Volume:
    """The PET as SUVbw, as SUL (lean body mass of Janmahasatian, g/ml) or as SUVbsa (cm2/ml).

    Raises:
        SuvError: the PET holds no SUV, or weight, height or sex are missing.
    """
    if study.suv_refusal is not None:
        raise study.suv_refusal
    if normalization == "bw":
        return study.pet
    facts = study.pet_facts
    weight, height = needed_weight_and_height(facts.weight_kg, facts.height_m)
    per_kg: Mapping[str, Callable[[], float]] = {
        "lbm": lambda: lean_body_mass_kg(weight, height, facts.sex) / weight,
        "bsa": lambda: 10.0 * body_surface_m2(weight, height) / weight,  # 1e4 cm2 per m2, 1e3 g per kg
    }
    unit: Unit = "g/ml" if normalization == "lbm" else "cm2/ml"
    return study.pet.like(study.pet.array * np.float32(per_kg[normalization]()), unit)


def needed_weight_and_height(weight_kg: float | None, height_m: float | None) -> tuple[float, float]:
    """Both, in kg and m.

    Raises:
        SuvError: one is missing.
    """
    if weight_kg is None or height_m is None:
        raise SuvError(
            found=Message("The patient's weight or height is missing."),
            needed=Message("Patient Weight in kg and Patient Size in m, for another SUV than that of body weight."),
            advice=Message("Correct weight and height, giving the reason."),
        )
    return weight_kg, height_m


def _by_sex(sex: str, **of: float) -> float:
    if sex not in _SEXES:
        raise SuvError(
            found=Message("The patient's sex is missing."),
            needed=Message("Patient Sex F, M or O, for lean body mass and ideal body weight."),
            advice=Message("Export the PET in BQML, or with the patient's sex."),
        )
    values = [of[one] for one in _SEXES[sex]]
    return sum(values) / len(values)
