"""Rules that name the bone, or the part of the body, at places of a patient; the first rule that holds names it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from imaging.anatomy import LEFT, RIGHT
from imaging.coarse import COARSE_MM

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imaging.atlas import Atlas, Spots
    from imaging.coarse import Mask

    Floats = NDArray[np.float64]
    Keys = NDArray[np.str_]
    Rules = list[tuple[str, Mask]]

_DEEP = 0.6  # share of a lesion in a solid organ that makes it a lesion of that organ
_IN_LUNG, _ALL_AIR = 0.45, 0.8  # share of air around a lesion of the lung; of one that is no hilar node either


def bone_part(spots: Spots, atlas: Atlas) -> Keys:
    """Bone at each place."""
    marks = atlas.landmarks
    level, aside, behind = spots.level, spots.aside, spots.behind
    axial = (aside < 34) & (behind > -30)
    high = _above(level, _up(marks.apex, -60))
    hip = _below(level, _up(marks.symphysis, 60)) & (aside > 72)
    crest = _below(level, _up(marks.sacrum, 60)) & (aside > 34)
    face = _above(level, marks.apex) & (behind < -25) & (aside < 70)
    rules = [
        ("bone_skull", in_head(spots, atlas) | face),
        ("bone_humerus", (aside > spots.reach + 70) | (high & (aside > 135))),
        ("bone_femur", hip),
        ("bone_pelvis", _below(level, marks.sacrum) | crest),
        ("bone_spine_cervical", axial & _above(level, marks.apex)),
        ("bone_spine_lumbar", axial & _below(level, marks.first_lumbar)),
        ("bone_spine_thoracic", axial & np.isfinite(spots.above)),
        ("bone_sternum", (aside < 32) & (behind < -60) & _above(level, marks.diaphragm)),
        ("bone_shoulder", high & ~spots.in_chest & (aside > 34)),
        ("bone_rib", _above(level, marks.first_lumbar)),
    ]
    return _first(rules, otherwise="bone", size=len(level))


def in_column(spots: Spots, atlas: Atlas) -> Mask:
    """Within the vertebral column, dense or not."""
    column = np.isfinite(atlas.anatomy.spine.row)[spots.level.astype(int)]
    return np.asarray(column & (spots.aside < 18) & (spots.behind > -14) & (spots.behind < 36))


def in_head(spots: Spots, atlas: Atlas) -> Mask:
    """Above the jaw."""
    return _above(spots.level, _up(atlas.landmarks.skull_base, -30))


def soft_part(spots: Spots, atlas: Atlas, *, air: float) -> Keys:
    """Part of the body at each place outside bone; `air` is the share of lung around the lesion."""
    marks = atlas.landmarks
    if marks.diaphragm is None and marks.symphysis is None and marks.skull_base is None:
        return np.full(len(spots.level), "unknown")
    rules = [rule for part in (_head, _organs, _chest, _abdomen) for rule in part(spots, atlas, air)]
    return _first(rules, otherwise="unknown", size=len(spots.level))


def _head(spots: Spots, atlas: Atlas, air: float) -> Rules:
    marks = atlas.landmarks
    level, aside = spots.level, spots.aside
    beside = _above(level, _up(marks.apex, -12)) & ~_above(level, _up(marks.apex, 45)) & (aside > 24) & (aside < 85)
    beside &= (spots.behind < 20) & ~spots.in_cage & (air < _IN_LUNG)
    return [
        ("brain", spots.within("brain")),
        ("head_neck", in_head(spots, atlas) | spots.within("salivary_glands")),
        ("supraclavicular_right", beside & (spots.left < 0)),
        ("supraclavicular_left", beside & (spots.left > 0)),
        ("neck", _above(level, _up(marks.apex, 8)) & (aside < 85)),
    ]


def _organs(spots: Spots, atlas: Atlas, air: float) -> Rules:
    rules: Rules = []
    adrenal = (spots.aside > 16) & (spots.aside < 54) & (spots.behind > -34) & (spots.behind < 14)
    solid = [(name, spots.within(name)) for name in ("liver", "spleen", "kidney_right", "kidney_left", "heart")]
    deep = any(mask.mean() > _DEEP for _, mask in solid)
    for side, name in ((RIGHT, "adrenal_right"), (LEFT, "adrenal_left")):
        if (top := atlas.kidney_tops.get(side)) is not None:
            near = (spots.level > top - 25 / COARSE_MM) & (spots.level < top + 45 / COARSE_MM)
            beside = spots.left * (1 if side == LEFT else -1) > 0
            rules.append((name, adrenal & near & beside & (not deep)))
    return [*rules, *(solid if air < _IN_LUNG else []), ("pelvis", spots.within("bladder"))]


def _chest(spots: Spots, atlas: Atlas, air: float) -> Rules:
    marks = atlas.landmarks
    if marks.apex is None or marks.diaphragm is None or marks.carina is None:
        return []
    level, left, aside = spots.level, spots.left, spots.aside
    chest = (spots.above > -8) & (level <= marks.apex + 2)
    third = (marks.apex - marks.diaphragm) / 3
    hilar = chest & spots.in_chest & (level < marks.carina) & (level > marks.carina - 50 / COARSE_MM)
    hilar &= (aside > 26) & (aside < (58 if air < _IN_LUNG else 46 if air < _ALL_AIR else 0))
    central = chest & spots.in_chest & (air < _IN_LUNG)
    central &= (aside < 30) | (spots.in_lung == 0) | ((aside < 48) & (level > marks.carina))
    axilla = chest & (level > marks.diaphragm + 1.4 * third) & (aside > 70) & (aside > spots.reach + 8)
    axilla &= aside < spots.reach + 90
    rules = [("hilum_right", hilar & (left < 0)), ("hilum_left", hilar & (left > 0)), ("mediastinum", central)]
    for side, name in ((RIGHT, "lung_right"), (LEFT, "lung_left")):
        lung = chest & ((spots.in_lung == side) | (spots.in_cage & (left * (1 if side == LEFT else -1) > 0)))
        rules += [
            (f"{name}_upper", lung & (level >= marks.apex - third)),
            (f"{name}_lower", lung & (level <= marks.diaphragm + third)),
            (name, lung),
        ]
    return [
        *rules,
        ("axilla_right", axilla & (left < 0)),
        ("axilla_left", axilla & (left > 0)),
        ("soft_tissue", (chest & (aside > spots.reach + 70)) | (level > marks.apex + 2)),
        ("chest_wall", chest),
    ]


def _abdomen(spots: Spots, atlas: Atlas, air: float) -> Rules:  # noqa: ARG001  one signature for all rules
    level, aside, behind = spots.level, spots.aside, spots.behind
    sacrum = atlas.landmarks.sacrum
    below = _below(level, atlas.landmarks.symphysis)
    pelvic = _below(level, sacrum) & ~below
    abdominal = ~below & ~pelvic & ((spots.above <= 0) | np.isnan(spots.above))
    known = np.full(len(level), sacrum is not None)
    return [
        ("retroperitoneum", abdominal & (aside < 46) & (behind > -66) & (behind < 10)),
        ("bowel", (abdominal | pelvic) & spots.within("bowel")),
        ("pelvis", pelvic & (aside < 95) & (behind < 65)),
        ("abdomen", abdominal & known & (aside < 100) & (behind < 20)),
        ("soft_tissue", (below | pelvic | abdominal) & known),
        ("abdomen_pelvis", spots.above <= 0),
    ]


def _up(level: float | None, mm: float) -> float | None:
    return None if level is None else level + mm / COARSE_MM


def _above(level: Floats, mark: float | None) -> Mask:
    """At or above a height; nowhere if it is not known."""
    return np.zeros(len(level), bool) if mark is None else level >= mark


def _below(level: Floats, mark: float | None) -> Mask:
    """Below a height; nowhere if it is not known."""
    return np.zeros(len(level), bool) if mark is None else level < mark


def _first(rules: Rules, *, otherwise: str, size: int) -> Keys:
    """For each place the first key whose rule holds."""
    conditions = [np.broadcast_to(rule, (size,)) for _, rule in rules]
    return np.select(conditions, [np.array(key) for key, _ in rules], default=otherwise)
