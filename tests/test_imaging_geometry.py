from __future__ import annotations

import numpy as np
import pytest

from fedpet.errors import GeometryRefused
from imaging.geometry import geometry_of

SUV = np.ones((8, 4, 5))


def test_affine_of_an_oblique_series_puts_every_slice_where_its_header_says(dicom):
    angle = np.deg2rad(20)
    along_row, along_column = np.array([np.cos(angle), np.sin(angle), 0]), np.array([-np.sin(angle), np.cos(angle), 0])
    slices = dicom.pet(SUV, spacing=(2.0, 3.0, 4.0), ImageOrientationPatient=[*along_row, *along_column])
    geometry = geometry_of(slices)
    assert geometry.shape == (8, 4, 5)
    assert geometry.spacing == pytest.approx((2.0, 3.0, 4.0))
    position = np.array(slices[5].ImagePositionPatient, float)
    expected = position + 3 * 2.0 * along_row + 2 * 3.0 * along_column
    np.testing.assert_allclose((geometry.affine @ (3, 2, 5, 1))[:3], expected, atol=1e-9)


def test_a_tilted_gantry_keeps_its_shear(dicom):
    slices = dicom.ct(np.zeros((8, 4, 5), int))
    for k, one in enumerate(slices):
        one.ImagePositionPatient = [-40, round(-40 + k * 0.7, 3), round(k * 4.0, 3)]
    geometry = geometry_of(slices)
    np.testing.assert_allclose(geometry.affine[:3, 2], (0, 0.7, 4.0))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda s: s[:4], "4 slices"),
        (lambda s: s[:2] + s[4:], "2 slices are missing in 1 gaps"),
        (lambda s: s[:2] + s[3:5] + s[6:], "2 slices are missing in 2 gaps"),
        (lambda s: [setattr(s[3], "ImagePositionPatient", [-40, -40, 13.0]), s][1], "spacing varies from 3.00 to 5.00"),
        (lambda s: [setattr(s[3], "ImagePositionPatient", [-30, -40, 12.0]), s][1], "spacing varies"),
        (lambda s: [setattr(s[3], "PixelSpacing", [4.1, 4]), s][1], "orientation, matrix or pixel size"),
        (lambda s: [setattr(s[3], "Rows", 6), s][1], "orientation, matrix or pixel size"),
        (lambda s: [delattr(s[3], "ImagePositionPatient"), s][1], "no position"),
        (lambda s: [delattr(s[0], "ImageOrientationPatient"), s][1], "missing or not valid"),
        (lambda s: [setattr(s[0], "ImageOrientationPatient", [1, 0, 0, 1, 0, 0]), s][1], "missing or not valid"),
        (lambda s: [setattr(s[0], "PixelSpacing", [0, 4]), s][1], "missing or not valid"),
    ],
)
def test_slices_that_form_no_volume_are_refused(dicom, spoil, sentence):
    with pytest.raises(GeometryRefused, match=sentence):
        geometry_of(spoil(dicom.pet(SUV)))


def test_head_foot_extent_does_not_depend_on_the_order_of_the_slices(dicom):
    upward = geometry_of(dicom.pet(SUV))
    downward = geometry_of(dicom.pet(SUV, ImageOrientationPatient=[1, 0, 0, 0, -1, 0]))
    assert upward.head_foot_mm == downward.head_foot_mm == (0.0, 28.0)
    assert downward.order == tuple(reversed(range(8)))
