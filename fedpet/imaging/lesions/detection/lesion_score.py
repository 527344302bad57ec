"""How likely a focus is a lesion: a logistic model on what its rule says and on its heat, contrast, size and shape.

Fitted by `benchmarks/lesion_score.py` on synthetic patients of a development seed that no figure is measured on; the
coefficients below are its output. A rule gives the reason in words; the score weighs how often such a rule is wrong.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np

from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fedpet.imaging.lesions.detection.foci import Focus

LESION, PHYSIOLOGICAL = 0.75, 0.25  # a lesion below, and what is left out above, are to be confirmed
INCLUDED = 0.5  # from here up counted, where no physiological uptake was recognised
_LATERAL_MM = 15.0  # from the midline, beyond which there is another side
# Verdicts of the rules that are wrong about equally often.
VERDICT_GROUPS: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("brain", "bladder", "kidney", "outside", "end"), "certain"),
        **dict.fromkeys(("heart", "liver", "spleen", "salivary_glands", "tonsils", "thyroid", "testes"), "organ"),
        **dict.fromkeys(("oesophagus", "muscle", "brown_fat", "marrow"), "diffuse"),
        "bowel": "bowel",
        "ureter": "ureter",
        "lesion": "lesion",
        "focal": "focal",
    }
)
COEFFICIENTS: Final[Mapping[str, float]] = MappingProxyType(
    {
        "lesion": -0.10, "focal": 1.34, "certain": -6.71, "organ": -3.33, "diffuse": -3.53, "bowel": -5.74,
        "ureter": -3.13, "found_heat": 1.77, "found_contrast": 1.94, "found_size": 0.51, "beside_urine": -0.20,
        "beside_bowel": -2.06, "bone": 0.43, "lung": 1.19, "head": -0.24, "symmetric": -0.85, "slender": -2.18,
        "organ_heat": 1.28, "organ_contrast": 0.58, "organ_relative": 0.90, "organ_size": 0.20, "organ_lung": 0.77,
    }
)  # fmt: skip


def score_features(focus: Focus, verdict: str, relative: float = 1.0) -> dict[str, float]:
    """What the score is computed from.

    Args:
        focus: as described.
        verdict: a key of `VERDICT_GROUPS`: the physiological site that a rule named, "lesion" where none applied,
            "focal" where a focus stands out from its organ.
        relative: uptake relative to the bound from which it would stand out of its organ.
    """
    group = VERDICT_GROUPS[verdict]
    found = group in ("lesion", "focal")
    heat, contrast = np.log(focus.suv_max / 4.0), np.log(np.clip(focus.contrast, 1.0, 20.0) / 3.0)
    size = np.log(np.clip(focus.volume_ml, 0.1, 200.0))
    features = {group: 1.0}
    if found:
        features |= {
            "found_heat": heat,
            "found_contrast": contrast,
            "found_size": size,
            "beside_urine": max(focus.shares["beside_ureter"], focus.shares["beside_kidney"]),
            "beside_bowel": focus.shares["beside_bowel"],
            "bone": focus.shares["bone"],
            "lung": focus.shares["lung"],
            "head": float(focus.region in ("head_neck", "brain", "bone_skull")),
            "symmetric": max(focus.mirror_ratio - 0.5, 0.0) if focus.lateral_mm > _LATERAL_MM else 0.0,
        }
    elif group in ("organ", "bowel", "diffuse", "ureter"):
        features |= {
            "organ_heat": heat,
            "organ_contrast": contrast,
            "organ_relative": np.log(np.clip(relative, 0.2, 5.0)),
            "organ_size": size,
            "organ_lung": focus.shares["lung"],
        }
    if found or group == "ureter":
        features["slender"] = max(np.log(focus.slenderness), 0.0)
    return features


def lesion_probability(features: Mapping[str, float]) -> float:
    """Probability that a focus is a lesion, from `score_features`."""
    logit = sum(COEFFICIENTS.get(name, 0.0) * value for name, value in features.items())
    return float(1.0 / (1.0 + np.exp(-logit)))


def evidence(focus: Focus) -> tuple[Message, ...]:
    """What was measured of a focus, in words."""
    words = [
        Message("SUVmax {suv:.1f}, {times:.1f} times its surroundings.", suv=focus.suv_max, times=focus.contrast),
        Message("{ml:.1f} ml at 41 % of its maximum, {hu:.0f} HU.", ml=focus.volume_ml, hu=focus.hu),
    ]
    if focus.lateral_mm > _LATERAL_MM and focus.mirror_ratio >= 0.7:
        words.append(
            Message("About as hot at the same place on the other side ({share:.0%}).", share=focus.mirror_ratio)
        )
    if focus.slenderness >= 2.0 and focus.shares["beside_ureter"] > 0:
        words.append(Message("Long and narrow, near the course of the ureter."))
    return tuple(words)
