"""The structures that an organ segmentation names: one number, one name and one SNOMED CT code each.

A number is what a label volume holds, whatever the source, and never changes. A segmentation labels what its source
tells apart: "heart" where wall and cavity are one, "bone" where no region is known. A group is what a question is asked
of: "heart" is wall, cavity and what was only called heart.

Codes are those of DICOM PS3.16 (CID 7140 and others) and of TotalSegmentator's DICOM output.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Side = Literal["right", "left"]
SIDE_CODES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {"right": ("24028007", "Right"), "left": ("7771000", "Left")}
)
_VERTEBRAE: Final = {
    "C1": "14806007", "C2": "39976000", "C3": "113205007", "C4": "5329002", "C5": "36978003", "C6": "36054005",
    "C7": "87391001", "T1": "64864005", "T2": "53733008", "T3": "1626008", "T4": "73071006", "T5": "56401006",
    "T6": "45296009", "T7": "62487009", "T8": "11068009", "T9": "82687006", "T10": "7610001", "T11": "12989004",
    "T12": "23215003", "L1": "66794005", "L2": "14293000", "L3": "36470004", "L4": "11994002", "L5": "49668003",
}  # fmt: skip
VERTEBRAL_LEVELS: Final = tuple(_VERTEBRAE)


@dataclass(frozen=True)
class Structure:
    """One structure.

    Attributes:
        number: its value in a label volume, from 1.
        code: of SNOMED CT.
        meaning: of the code.
        side: None where there is only one, or where both sides are taken together.
    """

    number: int
    code: str
    meaning: str
    side: Side | None


_ROWS: Final = (
    ("brain", "12738006", "Brain"),
    ("eye_right", "81745001", "Eye"),
    ("eye_left", "81745001", "Eye"),
    ("salivary_glands", "385294005", "Salivary gland"),
    ("tonsils", "75573002", "Palatine tonsil"),
    ("thyroid", "69748006", "Thyroid"),
    ("heart", "80891009", "Heart"),
    ("heart_wall", "74281007", "Myocardium"),
    ("heart_cavity", "21814001", "Cardiac ventricle"),
    ("aorta", "15825003", "Aorta"),
    ("great_vessels", "59820001", "Blood vessel"),
    ("lung_right", "39607008", "Lung"),
    ("lung_left", "39607008", "Lung"),
    ("liver", "10200004", "Liver"),
    ("gallbladder", "28231008", "Gallbladder"),
    ("spleen", "78961009", "Spleen"),
    ("pancreas", "15776009", "Pancreas"),
    ("kidney_right", "64033007", "Kidney"),
    ("kidney_left", "64033007", "Kidney"),
    ("renal_pelvis_right", "25990002", "Renal pelvis"),
    ("renal_pelvis_left", "25990002", "Renal pelvis"),
    ("ureter_right", "87953007", "Ureter"),
    ("ureter_left", "87953007", "Ureter"),
    ("adrenal_right", "23451007", "Adrenal gland"),
    ("adrenal_left", "23451007", "Adrenal gland"),
    ("oesophagus", "32849002", "Esophagus"),
    ("stomach", "69695003", "Stomach"),
    ("small_bowel", "30315005", "Small intestine"),
    ("colon", "71854001", "Colon"),
    ("bowel", "818981001", "Abdomen"),
    ("bladder", "89837001", "Urinary bladder"),
    ("prostate", "41216001", "Prostate"),
    ("uterus", "35039007", "Uterus"),
    ("testes", "40689003", "Testis"),
    ("ovaries", "15497006", "Ovary"),
    ("trachea", "44567001", "Trachea"),
    ("spinal_cord", "2748008", "Spinal cord"),
    ("skull", "89546000", "Skull"),
    ("spine_cervical", "122494005", "Cervical spine"),
    ("spine_thoracic", "122495006", "Thoracic spine"),
    ("spine_lumbar", "122496007", "Lumbar spine"),
    ("sacrum", "54735007", "Sacrum"),
    ("ribs_right", "113197003", "Rib"),
    ("ribs_left", "113197003", "Rib"),
    ("sternum", "56873002", "Sternum"),
    ("clavicle_right", "51299004", "Clavicle"),
    ("clavicle_left", "51299004", "Clavicle"),
    ("scapula_right", "79601000", "Scapula"),
    ("scapula_left", "79601000", "Scapula"),
    ("humerus_right", "85050009", "Humerus"),
    ("humerus_left", "85050009", "Humerus"),
    ("hip_bone_right", "29836001", "Hip"),
    ("hip_bone_left", "29836001", "Hip"),
    ("femur_right", "71341001", "Femur"),
    ("femur_left", "71341001", "Femur"),
    ("bone", "272673000", "Bone"),
    ("marrow", "14016003", "Bone marrow"),
    ("muscle", "127954009", "Skeletal muscle"),
    ("brown_fat", "55603005", "Fat"),
    *((f"vertebra_{level}", code, f"{level} vertebra") for level, code in _VERTEBRAE.items()),
)
STRUCTURES: Final[Mapping[str, Structure]] = MappingProxyType(
    {
        name: Structure(
            number, code, meaning, "right" if name.endswith("_right") else "left" if name.endswith("_left") else None
        )
        for number, (name, code, meaning) in enumerate(_ROWS, start=1)
    }
)


def _levels(letter: str) -> tuple[str, ...]:
    return tuple(f"vertebra_{level}" for level in VERTEBRAL_LEVELS if level[0] == letter)


_SPINE: Final = {
    "spine_cervical": ("spine_cervical", *_levels("C")),
    "spine_thoracic": ("spine_thoracic", *_levels("T")),
    "spine_lumbar": ("spine_lumbar", *_levels("L")),
}
_BONES: Final = (
    "bone", "skull", "sacrum", "ribs_right", "ribs_left", "sternum", "clavicle_right", "clavicle_left", "scapula_right",
    "scapula_left", "humerus_right", "humerus_left", "hip_bone_right", "hip_bone_left", "femur_right", "femur_left",
    *(name for names in _SPINE.values() for name in names),
)  # fmt: skip
GROUPS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        **_SPINE,
        "vertebrae": tuple(name for names in _SPINE.values() for name in names),
        "bone": _BONES,
        "heart": ("heart", "heart_wall", "heart_cavity"),
        "kidney_right": ("kidney_right", "renal_pelvis_right"),
        "kidney_left": ("kidney_left", "renal_pelvis_left"),
        "bowel": ("bowel", "stomach", "small_bowel", "colon"),
        "lungs": ("lung_right", "lung_left"),
        "ureters": ("ureter_right", "ureter_left"),
    }
)

# Names of TotalSegmentator's classes (`total` of version 2 and of version 1, `heartchambers_highres`,
# `head_glands_cavities`, `tissue_types`) that differ from those here.
_ALIASES: Final[tuple[tuple[str, str], ...]] = (
    (r"vertebrae?_(C[1-7]|T[1-9]|T1[0-2]|L[1-5])", r"vertebra_\1"),
    (r"vertebrae_S1", "sacrum"),
    (r"rib_(left|right)_\d+", r"ribs_\1"),
    (r"lung_(?:upper|middle|lower)_lobe_(left|right)", r"lung_\1"),
    (r"clavicula_(left|right)", r"clavicle_\1"),
    (r"hip_(left|right)", r"hip_bone_\1"),
    (r"adrenal_gland_(left|right)", r"adrenal_\1"),
    (r"kidney_cyst_(left|right)", r"kidney_\1"),
    (r"(?:parotid|submandibular)_gland_(?:left|right)", "salivary_glands"),
    (r"eye_lens_(left|right)", r"eye_\1"),
    (r"urinary_bladder", "bladder"),
    (r"thyroid_gland", "thyroid"),
    (r"esophagus", "oesophagus"),
    (r"duodenum", "small_bowel"),
    (r"heart_myocardium", "heart_wall"),
    (r"heart_(?:atrium|ventricle)_(?:left|right)|atrial_appendage_left", "heart_cavity"),
    (r"gluteus_\w+|autochthon_\w+|iliopsoas_\w+|skeletal_muscle", "muscle"),
    (
        r"(?:pulmonary|iliac)_(?:vein|artery|vena)\w*|(?:brachiocephalic|subclavian|common_carotid)_\w+|\w+_vena_cava|portal_vein\w*",
        "great_vessels",
    ),
)


def structure_named(name: str) -> str | None:
    """The structure that a name of fedpet or of TotalSegmentator stands for; None for any other name."""
    plain = name.strip().replace(" ", "_")
    for candidate in (plain, plain.lower()):
        if candidate in STRUCTURES:
            return candidate
        for pattern, target in _ALIASES:
            if re.fullmatch(pattern, candidate):
                return re.sub(f"^(?:{pattern})$", target, candidate)
    return None


def structure_coded(code: str, side_code: str | None) -> str | None:
    """The structure of a SNOMED CT code and the code of its side; None for any other code."""
    sides = {value: side for side, (value, _) in SIDE_CODES.items()}
    side = sides.get(side_code or "")
    found = [name for name, one in STRUCTURES.items() if one.code == code]
    return next((name for name in found if STRUCTURES[name].side == side), found[0] if len(found) == 1 else None)
