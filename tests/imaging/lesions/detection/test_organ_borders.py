"""A lesion that merges with a hot organ: a ball in fat that reaches into a box of bladder, as hot as it is."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from fedpet.core.messages import Message
from fedpet.imaging.anatomy.organ_segmentation import OrganSegmentation, OrganSource
from fedpet.imaging.anatomy.structures import STRUCTURES
from fedpet.imaging.lesions.detection.organ_borders import cut_at_organs
from fedpet.imaging.lesions.detection.uptake_classification import UptakeClassification
from fedpet.imaging.volume import Volume

LESION = UptakeClassification(
    lesion=True, place="pelvis", reason=Message("No physiological uptake was recognised here.")
)


def scene(lesion_suv=10.0, *, bladder_suv=10.0, reach=4):
    """Voxels of 4 mm; the bladder fills columns below 15, the lesion columns from 15 - `reach` to 30."""
    suv = np.full((20, 20, 40), 1.0, np.float32)
    suv[5:15, 5:15, 2:15] = bladder_suv
    lesion = np.zeros(suv.shape, bool)
    lesion[7:12, 7:12, 15 - reach : 30] = True
    suv[lesion] = lesion_suv
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    labels = np.zeros(suv.shape, np.uint8)
    labels[5:15, 5:15, 2:15] = STRUCTURES["bladder"].number
    organs = OrganSegmentation(Volume(labels, affine, "label"), OrganSource.GIVEN)
    anatomy = SimpleNamespace(pet=Volume(suv, affine, "g/ml"), organs=organs)
    return anatomy, lesion.astype(np.int32), labels > 0


def test_what_lies_in_the_organ_is_cut_off_and_named_after_it():
    anatomy, basins, bladder = scene()
    cut, found = cut_at_organs(anatomy, basins, [LESION], 4.0)
    assert [one.lesion for one in found] == [True, False]
    assert found[1].place == "bladder"
    assert "cut at its border" in str(found[1].reason)
    np.testing.assert_array_equal(cut == 1, (basins == 1) & ~bladder)
    np.testing.assert_array_equal(cut == 2, (basins == 1) & bladder)


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ({"lesion_suv": 16.0, "reach": 2}, "it is hotter than the organ"),
        ({"bladder_suv": 2.0}, "the organ is cold"),
        ({"reach": 0}, "it only touches the organ"),
        ({"reach": 13}, "most of it lies in the outline of the organ"),
    ],
)
def test_a_lesion_stays_whole(case, why):
    anatomy, basins, _ = scene(**case)
    if case.get("reach") == 13:
        basins[:, :, 20:] = 0
    cut, found = cut_at_organs(anatomy, basins, [LESION], 4.0)
    np.testing.assert_array_equal(cut, basins, err_msg=why)
    assert found == [LESION]
