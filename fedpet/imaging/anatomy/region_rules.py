"""Rules that name the bone or the region of the body at each point of a lesion; the first rule that holds wins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fedpet.imaging.anatomy.body import LEFT, RIGHT
from fedpet.imaging.anatomy.morphology import GRID_MM

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpet.imaging.anatomy.morphology import Mask
    from fedpet.imaging.anatomy.region_features import PointFeatures, RegionFeatureExtractor

    Floats = NDArray[np.float64]
    Keys = NDArray[np.str_]
    Rules = list[tuple[str, Mask]]

_ORGAN_SHARE = 0.6  # share of a lesion in a solid organ from which it is a lesion of that organ
_GLAND_SHARE = 0.15  # share of a lesion in an adrenal gland, much smaller than most lesions of it
_LUNG_AROUND, _AIR_AROUND = 0.45, 0.8  # share of lung around a lesion of the lung; around one that is no hilar node


def bone_region(features: PointFeatures, extractor: RegionFeatureExtractor) -> Keys:
    """Name the bone at each point: keys of `fedpet.imaging.anatomy.regions.REGIONS`, shape (n,)."""
    landmarks = extractor.landmarks
    level, lateral, posterior = features.level, features.lateral_mm, features.posterior_mm
    axial = (lateral < 34) & (posterior > -30)
    high = _above(level, _shift(landmarks.apex, -60))
    hip = _below(level, _shift(landmarks.symphysis, 60)) & (lateral > 72)
    iliac_crest = _below(level, _shift(landmarks.sacrum, 60)) & (lateral > 34)
    face = _above(level, landmarks.apex) & (posterior < -25) & (lateral < 70)
    named = [(f"bone_{part}", features.is_in(part)) for part in ("spine_cervical", "spine_thoracic", "spine_lumbar")]
    rules = [
        *named,
        ("bone_skull", in_head(features, extractor) | face),
        ("bone_humerus", (lateral > features.lung_reach_mm + 70) | (high & (lateral > 135))),
        ("bone_femur", hip),
        ("bone_pelvis", _below(level, landmarks.sacrum) | iliac_crest),
        ("bone_spine_cervical", axial & _above(level, landmarks.apex)),
        ("bone_spine_lumbar", axial & _below(level, landmarks.first_lumbar)),
        ("bone_spine_thoracic", axial & np.isfinite(features.above_lung_base_mm)),
        ("bone_sternum", (lateral < 32) & (posterior < -60) & _above(level, landmarks.diaphragm)),
        ("bone_shoulder", high & ~features.in_chest & (lateral > 34)),
        ("bone_rib", _above(level, landmarks.first_lumbar)),
    ]
    return _first(rules, default="bone", size=len(level))


def in_column(features: PointFeatures, extractor: RegionFeatureExtractor) -> Mask:
    """Which points lie within the vertebral column, dense or not."""
    column = np.isfinite(extractor.body.spine.row)[features.level.astype(int)]
    return np.asarray(
        column & (features.lateral_mm < 18) & (features.posterior_mm > -14) & (features.posterior_mm < 36)
    )


def in_head(features: PointFeatures, extractor: RegionFeatureExtractor) -> Mask:
    """Which points lie above the jaw."""
    return _above(features.level, _shift(extractor.landmarks.skull_base, -30))


def soft_tissue_region(features: PointFeatures, extractor: RegionFeatureExtractor, *, air: float) -> Keys:
    """Name the region at each point outside bone.

    Args:
        features: of n points.
        extractor: that described them.
        air: share of lung around the lesion.

    Returns:
        Keys of `fedpet.imaging.anatomy.regions.REGIONS`, shape (n,).
    """
    landmarks = extractor.landmarks
    if landmarks.diaphragm is None and landmarks.symphysis is None and landmarks.skull_base is None:
        return np.full(len(features.level), "unknown")
    rules = [rule for part in (_head, _organs, _chest, _abdomen) for rule in part(features, extractor, air)]
    return _first(rules, default="unknown", size=len(features.level))


def _head(features: PointFeatures, extractor: RegionFeatureExtractor, air: float) -> Rules:
    landmarks = extractor.landmarks
    level, lateral = features.level, features.lateral_mm
    lateral_neck = (
        _above(level, _shift(landmarks.apex, -12))
        & ~_above(level, _shift(landmarks.apex, 45))
        & (lateral > 24)
        & (lateral < 85)
    )
    lateral_neck &= (features.posterior_mm < 20) & ~features.in_rib_cage & (air < _LUNG_AROUND)
    return [
        ("brain", features.is_in("brain")),
        ("head_neck", in_head(features, extractor) | features.is_in("salivary_glands")),
        ("supraclavicular_right", lateral_neck & (features.left_mm < 0)),
        ("supraclavicular_left", lateral_neck & (features.left_mm > 0)),
        ("neck", _above(level, _shift(landmarks.apex, 8)) & (lateral < 85)),
    ]


def _organs(features: PointFeatures, extractor: RegionFeatureExtractor, air: float) -> Rules:
    rules: Rules = []
    adrenal = (
        (features.lateral_mm > 16)
        & (features.lateral_mm < 54)
        & (features.posterior_mm > -34)
        & (features.posterior_mm < 14)
    )
    known = [(name, features.is_in(name)) for name in ("adrenal_right", "adrenal_left")]
    rules += [(name, np.full(len(mask), mask.mean() >= _GLAND_SHARE)) for name, mask in known if mask.any()]
    solid = [(name, features.is_in(name)) for name in ("liver", "spleen", "kidney_right", "kidney_left", "heart")]
    in_organ = any(mask.mean() > _ORGAN_SHARE for _, mask in solid)
    for side, name in ((RIGHT, "adrenal_right"), (LEFT, "adrenal_left")):
        if (top := extractor.kidney_tops.get(side)) is not None:
            near = (features.level > top - 25 / GRID_MM) & (features.level < top + 45 / GRID_MM)
            same_side = features.left_mm * (1 if side == LEFT else -1) > 0
            rules.append((name, adrenal & near & same_side & (not in_organ)))
    return [*rules, *(solid if air < _LUNG_AROUND else []), ("pelvis", features.is_in("bladder"))]


def _chest(features: PointFeatures, extractor: RegionFeatureExtractor, air: float) -> Rules:
    landmarks = extractor.landmarks
    if landmarks.apex is None or landmarks.diaphragm is None or landmarks.carina is None:
        return []
    level, left_mm, lateral = features.level, features.left_mm, features.lateral_mm
    chest = (features.above_lung_base_mm > -8) & (level <= landmarks.apex + 2)
    third = (landmarks.apex - landmarks.diaphragm) / 3
    hilar = chest & features.in_chest & (level < landmarks.carina) & (level > landmarks.carina - 50 / GRID_MM)
    hilar &= (lateral > 26) & (lateral < (58 if air < _LUNG_AROUND else 46 if air < _AIR_AROUND else 0))
    central = chest & features.in_chest & (air < _LUNG_AROUND)
    central &= (lateral < 30) | (features.in_lung == 0) | ((lateral < 48) & (level > landmarks.carina))
    axilla = (
        chest & (level > landmarks.diaphragm + 1.4 * third) & (lateral > 70) & (lateral > features.lung_reach_mm + 8)
    )
    axilla &= lateral < features.lung_reach_mm + 90
    rules = [("hilum_right", hilar & (left_mm < 0)), ("hilum_left", hilar & (left_mm > 0)), ("mediastinum", central)]
    for side, name in ((RIGHT, "lung_right"), (LEFT, "lung_left")):
        lung = chest & (
            (features.in_lung == side) | (features.in_rib_cage & (left_mm * (1 if side == LEFT else -1) > 0))
        )
        rules += [
            (f"{name}_upper", lung & (level >= landmarks.apex - third)),
            (f"{name}_lower", lung & (level <= landmarks.diaphragm + third)),
            (name, lung),
        ]
    return [
        *rules,
        ("axilla_right", axilla & (left_mm < 0)),
        ("axilla_left", axilla & (left_mm > 0)),
        ("soft_tissue", (chest & (lateral > features.lung_reach_mm + 70)) | (level > landmarks.apex + 2)),
        ("chest_wall", chest),
    ]


def _abdomen(features: PointFeatures, extractor: RegionFeatureExtractor, air: float) -> Rules:  # noqa: ARG001  one signature for all rules
    level, lateral, posterior = features.level, features.lateral_mm, features.posterior_mm
    sacrum = extractor.landmarks.sacrum
    below = _below(level, extractor.landmarks.symphysis)
    pelvic = _below(level, sacrum) & ~below
    abdominal = ~below & ~pelvic & ((features.above_lung_base_mm <= 0) | np.isnan(features.above_lung_base_mm))
    has_sacrum = np.full(len(level), sacrum is not None)
    return [
        ("retroperitoneum", abdominal & (lateral < 46) & (posterior > -66) & (posterior < 10)),
        ("bowel", (abdominal | pelvic) & features.is_in("bowel")),
        ("pelvis", pelvic & (lateral < 95) & (posterior < 65)),
        ("abdomen", abdominal & has_sacrum & (lateral < 100) & (posterior < 20)),
        ("soft_tissue", (below | pelvic | abdominal) & has_sacrum),
        ("abdomen_pelvis", features.above_lung_base_mm <= 0),
    ]


def _shift(level: float | None, mm: float) -> float | None:
    return None if level is None else level + mm / GRID_MM


def _above(level: Floats, landmark: float | None) -> Mask:
    """Which points lie at or above a landmark; none where it is not known."""
    return np.zeros(len(level), bool) if landmark is None else level >= landmark


def _below(level: Floats, landmark: float | None) -> Mask:
    """Which points lie below a landmark; none where it is not known."""
    return np.zeros(len(level), bool) if landmark is None else level < landmark


def _first(rules: Rules, *, default: str, size: int) -> Keys:
    """For each point the first key whose rule holds."""
    conditions = [np.broadcast_to(rule, (size,)) for _, rule in rules]
    return np.select(conditions, [np.array(key) for key, _ in rules], default=default)
