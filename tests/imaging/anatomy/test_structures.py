"""Names, numbers and codes of structures, and segmentations made of them."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.sr._concepts_dict import concepts

from fedpet.imaging.anatomy.organ_segmentation import OrganSegmentation, OrganSource
from fedpet.imaging.anatomy.structures import (
    GROUPS,
    SIDE_CODES,
    STRUCTURES,
    structure_coded,
    structure_named,
)
from fedpet.imaging.volume import Volume

BEYOND_PYDICOM = {"74281007", "29836001"}  # of TotalSegmentator's DICOM output: myocardium, hip


def labels(**voxels):
    array = np.zeros((4, 4, 4), np.uint8)
    for name, number in voxels.items():
        array[0, 0, number] = STRUCTURES[name].number
    return Volume(array, np.diag([10.0, 10.0, 10.0, 1.0]), "label")


def test_every_code_is_one_of_the_standard_with_its_meaning():
    known = {code: meaning.lower() for words in concepts["SCT"].values() for code, (meaning, _) in words.items()}
    for one in STRUCTURES.values():
        assert one.code in known or one.code in BEYOND_PYDICOM, one
    assert len({one.number for one in STRUCTURES.values()}) == len(STRUCTURES) < 255


def test_numbers_never_change():
    """Networks and stored label volumes rest on them."""
    firm = {
        "brain": 1,
        "heart": 7,
        "lung_right": 12,
        "liver": 14,
        "spleen": 16,
        "bladder": 31,
        "bone": 56,
        "marrow": 57,
    }
    assert {name: STRUCTURES[name].number for name in firm} == firm
    assert STRUCTURES["vertebra_C1"].number == 60
    assert STRUCTURES["vertebra_L5"].number == 83


def test_every_member_of_a_group_is_a_structure():
    assert {name for names in GROUPS.values() for name in names} <= set(STRUCTURES)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("spleen", "spleen"),
        ("kidney_cyst_left", "kidney_left"),
        ("lung_middle_lobe_right", "lung_right"),
        ("vertebrae_T12", "vertebra_T12"),
        ("vertebrae_S1", "sacrum"),
        ("rib_left_11", "ribs_left"),
        ("clavicula_right", "clavicle_right"),
        ("hip_left", "hip_bone_left"),
        ("adrenal_gland_right", "adrenal_right"),
        ("urinary_bladder", "bladder"),
        ("duodenum", "small_bowel"),
        ("heart_myocardium", "heart_wall"),
        ("heart_atrium_left", "heart_cavity"),
        ("autochthon_left", "muscle"),
        ("inferior_vena_cava", "great_vessels"),
        ("parotid_gland_left", "salivary_glands"),
        ("Thyroid gland", "thyroid"),
        ("costal_cartilages", None),
        ("vertebrae_T13", None),
        ("tumour", None),
    ],
)
def test_names_of_totalsegmentator_are_understood(theirs, ours):
    assert structure_named(theirs) == ours


def test_a_code_and_its_side_name_a_structure():
    for name, one in STRUCTURES.items():
        side = SIDE_CODES[one.side][0] if one.side else None
        assert structure_coded(one.code, side) == name
    assert structure_coded("64033007", None) is None  # a kidney of no side
    assert structure_coded("1", None) is None


def test_a_group_is_asked_like_an_organ():
    one = OrganSegmentation(
        labels(kidney_right=0, renal_pelvis_right=1, heart_wall=2, vertebra_L3=3), OrganSource.GIVEN
    )
    assert one.mask("kidney_right").sum() == 2
    assert one.mask("heart").sum() == one.mask("bone").sum() == one.mask("vertebrae").sum() == 1
    assert one.volume_ml("kidney_right") == pytest.approx(2.0)
    assert one.present == {"kidney_right", "renal_pelvis_right", "heart_wall", "vertebra_L3"}


def test_rules_fill_in_what_the_source_does_not_know_and_nothing_else():
    known = frozenset({"liver", "heart_wall", "spine_lumbar"})
    given = OrganSegmentation(labels(liver=0), OrganSource.LEARNED, known=known)
    rules = OrganSegmentation(labels(ureter_left=1, heart=2, bone=3), OrganSource.RULES)
    whole = given.completed_by(rules)
    assert whole.present == {"liver", "ureter_left"}  # it knows hearts and bones, and saw none
    assert whole.filled_in == {"ureter_left"}
    assert whole.source is OrganSource.LEARNED
    covered = OrganSegmentation(labels(ureter_left=0), OrganSource.RULES)
    assert given.completed_by(covered).present == {"liver"}  # no voxel of the source is taken


def test_the_source_is_said():
    assert "last resort" in str(OrganSource.RULES.sentence)
    assert len({str(one.sentence) for one in OrganSource}) == len(OrganSource)
