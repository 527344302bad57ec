"""Regions of lesions in SNOMED CT, as an anatomic region of a segment and a finding site of a measurement.

A region is rough, found by rules on the CT: each has the nearest concept that does not say more than it. The estimated
vertebra and the lymph nodes of the proposed station stand beside it: as the primary anatomic structure of the segment,
and in an evaluation of the measurement that says that it is an estimate or a proposal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydicom.sr.coding import Code

from fedpet.imaging.anatomy.finer_places import STATIONS, VERTEBRAE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fedpet.imaging.lesions.lesion import Lesion

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

_NODES: Final[Mapping[str, str]] = {  # CID 7600
    "127926002": "highest mediastinal lymph node",
    "127927006": "upper paratracheal lymph node (mediastinal)",
    "127930004": "prevascular/retrotracheal lymph node",
    "127932007": "lower paratracheal (including azygous) lymph node",
    "127938006": "lymph node of aortopulmonary window",
    "127939003": "para-aortic lymph node of the anterior mediastinum",
    "28330007": "subcarinal lymph node",
    "127940001": "paraesophageal lymph node below carina",
    "53074004": "hilar lymph node",
    "127919002": "interlobar lymph node of the lung",
}


def finer_structure(lesion: Lesion) -> Site | None:
    """The estimated vertebra, or the lymph nodes of the proposed station with their side; None where it has neither."""
    if lesion.vertebra is not None:
        return _sct(VERTEBRAE[lesion.vertebra], f"{lesion.vertebra} vertebra"), None
    if lesion.station is not None:
        value = STATIONS[lesion.station]
        return _sct(value, _NODES[value]), {"R": _RIGHT, "L": _LEFT}.get(lesion.station[-1])
    return None
