"""Regions of lesions in SNOMED CT, as an anatomic region of a segment and a finding site of a measurement.

A region is rough, found by rules on the CT: each has the nearest concept that does not say more than it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydicom.sr.coding import Code

if TYPE_CHECKING:
    from collections.abc import Mapping

    Site = tuple[Code, Code | None]  # the structure and its side

_RIGHT, _LEFT = Code("24028007", "SCT", "Right"), Code("7771000", "SCT", "Left")


def _sct(value: str, meaning: str) -> Code:
    return Code(value, "SCT", meaning)


_PAIRED: Final[Mapping[str, Code]] = {
    "supraclavicular": _sct("77621008", "Supraclavicular region of neck"),
    "axilla": _sct("91470000", "Axilla"),
    "lung": _sct("39607008", "Lung"),
    "hilum": _sct("46750007", "Hilum of lung"),
    "adrenal": _sct("23451007", "Adrenal gland"),
    "kidney": _sct("64033007", "Kidney"),
}
_LUNG_ZONES: Final[Mapping[str, Code]] = {
    "upper": _sct("281392002", "Upper zone of lung"),
    "lower": _sct("281394001", "Lower zone of lung"),
}
_SINGLE: Final[Mapping[str, Code]] = {
    "brain": _sct("12738006", "Brain"),
    "head_neck": _sct("774007", "Head and Neck"),
    "neck": _sct("45048000", "Neck"),
    "mediastinum": _sct("72410000", "Mediastinum"),
    "heart": _sct("80891009", "Heart"),
    "chest_wall": _sct("816094009", "Chest"),
    "liver": _sct("10200004", "Liver"),
    "spleen": _sct("78961009", "Spleen"),
    "bowel": _sct("818981001", "Abdomen"),
    "retroperitoneum": _sct("82849001", "Retroperitoneum"),
    "abdomen": _sct("818981001", "Abdomen"),
    "pelvis": _sct("816092008", "Pelvis"),
    "abdomen_pelvis": _sct("818982008", "Abdomen and Pelvis"),
    "soft_tissue": _sct("87784001", "Soft tissue"),
    "bone": _sct("272673000", "Bone"),
    "bone_skull": _sct("89546000", "Skull"),
    "bone_spine_cervical": _sct("122494005", "Cervical spine"),
    "bone_spine_thoracic": _sct("122495006", "Thoracic spine"),
    "bone_spine_lumbar": _sct("122496007", "Lumbar spine"),
    "bone_sternum": _sct("56873002", "Sternum"),
    "bone_rib": _sct("113197003", "Rib"),
    "bone_shoulder": _sct("16982005", "Shoulder"),
    "bone_pelvis": _sct("816092008", "Pelvis"),
    "bone_femur": _sct("71341001", "Femur"),
    "bone_humerus": _sct("371195002", "Bone of upper limb"),
}
_SIDES: Final[Mapping[str, Code]] = {"right": _RIGHT, "left": _LEFT}

SITES: Final[Mapping[str, Site]] = {
    **{name: (code, None) for name, code in _SINGLE.items()},
    **{f"{name}_{side}": (code, which) for name, code in _PAIRED.items() for side, which in _SIDES.items()},
    **{f"lung_{side}_{zone}": (code, which) for zone, code in _LUNG_ZONES.items() for side, which in _SIDES.items()},
}
