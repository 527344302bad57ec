"""The structures that a varied body names voxel by voxel."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES: Final[tuple[str, ...]] = (
    "brain",
    "eyes",
    "salivary_glands",
    "tonsils",
    "thyroid",
    "heart_wall",
    "heart_cavity",
    "aorta",
    "great_vessels",
    "lung_right",
    "lung_left",
    "liver",
    "gallbladder",
    "spleen",
    "kidney_right",
    "kidney_left",
    "renal_pelvis_right",
    "renal_pelvis_left",
    "ureter_right",
    "ureter_left",
    "adrenal_right",
    "adrenal_left",
    "stomach",
    "small_bowel",
    "colon",
    "bladder",
    "prostate",
    "uterus",
    "testes",
    "ovaries",
    "skull",
    "spine_cervical",
    "spine_thoracic",
    "spine_lumbar",
    "sacrum",
    "ribs",
    "sternum",
    "clavicles",
    "scapulae",
    "humeri",
    "hip_bones",
    "femora",
    "muscle",
    "brown_fat",
    "oesophagus",
    "pancreas",
    "trachea",
    "spinal_cord",
)
STRUCTURES: Final[Mapping[str, int]] = MappingProxyType({name: number for number, name in enumerate(NAMES, start=1)})
