"""The measures of the autoPET challenge on masks computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fedpet.imaging.lesions.agreement import lesion_agreement


def mask(*boxes):
    array = np.zeros((10, 10, 10), np.uint8)
    for box in boxes:
        array[box] = 1
    return array


ONE, OTHER, AWAY = np.s_[0:2, 0:2, 0:2], np.s_[5:8, 5:8, 5:8], np.s_[0:2, 8:10, 8:10]


def test_a_component_that_touches_a_lesion_is_no_false_positive_and_the_others_are():
    found, truth = mask(np.s_[0:2, 0:2, 1:3], AWAY), mask(ONE, OTHER)
    agreement = lesion_agreement(found, truth, voxel_ml=0.5)
    assert agreement.false_positive_ml == 8 * 0.5
    assert agreement.false_negative_ml == 27 * 0.5
    assert agreement.dice == pytest.approx(2 * 4 / (16 + 35))
    assert (agreement.found_ml, agreement.reference_ml) == (8.0, 17.5)


def test_corners_do_not_connect_but_edges_do():
    found = mask(np.s_[0, 0, 0], np.s_[0, 1, 1], np.s_[1, 2, 2])
    truth = mask(np.s_[0, 0, 0])
    assert lesion_agreement(found, truth, voxel_ml=1.0).false_positive_ml == 1.0


def test_without_lesions_there_is_no_dice_and_everything_found_is_false():
    agreement = lesion_agreement(mask(ONE), mask(), voxel_ml=1.0)
    assert np.isnan(agreement.dice)
    assert agreement.false_positive_ml == 8.0
    assert lesion_agreement(mask(), mask(ONE), voxel_ml=1.0).dice == 0.0


def test_masks_of_different_grids_are_not_compared():
    with pytest.raises(ValueError, match="different grids"):
        lesion_agreement(mask(), np.zeros((3, 3, 3)), voxel_ml=1.0)
