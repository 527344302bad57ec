from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from fedpet.core.errors import SliceGeometryError
from fedpet.imaging.dicom.geometry import slice_geometry

SUV = np.ones((8, 4, 5))


def test_affine_of_an_oblique_series_puts_every_slice_where_its_header_says(dicom):
    angle = np.deg2rad(20)
    along_row, along_column = np.array([np.cos(angle), np.sin(angle), 0]), np.array([-np.sin(angle), np.cos(angle), 0])
    slices = dicom.pet(SUV, spacing=(2.0, 3.0, 4.0), ImageOrientationPatient=[*along_row, *along_column])
    geometry = slice_geometry(slices)
    assert geometry.shape == (8, 4, 5)
    assert geometry.spacing == pytest.approx((2.0, 3.0, 4.0))
    position = np.array(slices[5].ImagePositionPatient, float)
    expected = position + 3 * 2.0 * along_row + 2 * 3.0 * along_column
    np.testing.assert_allclose((geometry.affine @ (3, 2, 5, 1))[:3], expected, atol=1e-9)


def test_a_tilted_gantry_keeps_its_shear(dicom):
    slices = dicom.ct(np.zeros((8, 4, 5), int))
    for k, one in enumerate(slices):
        one.ImagePositionPatient = [-40, round(-40 + k * 0.7, 3), round(k * 4.0, 3)]
    geometry = slice_geometry(slices)
    np.testing.assert_allclose(geometry.affine[:3, 2], (0, 0.7, 4.0))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda s: s[:4], "slices of the series is 4"),
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
    with pytest.raises(SliceGeometryError, match=sentence):
        slice_geometry(spoil(dicom.pet(SUV)))


def test_real_jitter_of_the_slice_spacing_is_accepted(dicom):
    """3.19 to 3.29 mm, as real series have it; the grid is the mean one."""
    slices = dicom.pet(np.ones((60, 4, 5)), spacing=(4, 4, 3.24))
    rng = np.random.default_rng(5)
    for number, one in enumerate(slices):
        one.ImagePositionPatient = [-40, -40, round(3.24 * number + rng.choice((-0.025, 0.025)), 4)]
    geometry = slice_geometry(slices)
    assert geometry.spacing_range == pytest.approx((3.19, 3.29))
    assert geometry.spacing[2] == pytest.approx(3.24, abs=0.001)


@pytest.mark.parametrize("lost", [1, 2, 30])
def test_a_gap_is_refused_with_the_number_of_missing_slices(dicom, lost):
    slices = dicom.pet(np.ones((50, 4, 5)))
    with pytest.raises(SliceGeometryError, match=f"^{lost} slices are missing in 1 gaps"):
        slice_geometry(slices[:9] + slices[9 + lost :])


def test_any_order_of_the_slices_gives_the_same_volume(dicom):
    slices = dicom.pet(SUV)
    expected = slice_geometry(slices)
    for seed in range(5):
        shuffled = [slices[k] for k in np.random.default_rng(seed).permutation(len(slices))]
        geometry = slice_geometry(shuffled)
        np.testing.assert_array_equal(geometry.affine, expected.affine)
        assert [shuffled[k].InstanceNumber for k in geometry.order] == [one.InstanceNumber for one in slices]


PLANES = {
    "axial, head first": ([1, 0, 0], [0, 1, 0]),
    "axial, prone": ([-1, 0, 0], [0, -1, 0]),
    "axial, feet first": ([-1, 0, 0], [0, 1, 0]),
    "sagittal": ([0, 1, 0], [0, 0, -1]),
    "coronal": ([1, 0, 0], [0, 0, -1]),
    "oblique": ([0.8, 0.6, 0], [-0.48, 0.64, 0.6]),
}


@pytest.mark.parametrize(("row", "column"), PLANES.values(), ids=PLANES)
@pytest.mark.parametrize("direction", [1, -1])
def test_a_volume_in_any_plane_and_direction_lies_where_its_headers_say(dicom, row, column, direction):
    """Checked on a point of every slice; slices go up or down their normal."""
    normal = np.cross(row, column)
    slices = dicom.pet(SUV, spacing=(2.0, 3.0, 4.0), ImageOrientationPatient=[*row, *column])
    for number, one in enumerate(slices):
        one.ImagePositionPatient = [*np.round(np.array([5.0, -7.0, 11.0]) + direction * 4.0 * number * normal, 6)]
    geometry = slice_geometry(slices)
    assert np.linalg.det(geometry.affine[:3, :3]) == pytest.approx(2 * 3 * 4)
    for place, index in enumerate(geometry.order):
        position = np.array(slices[index].ImagePositionPatient, float)
        expected = position + 3 * 2.0 * np.array(row) + 2 * 3.0 * np.array(column)
        np.testing.assert_allclose((geometry.affine @ (3, 2, place, 1))[:3], expected, atol=1e-5)


def test_directions_rounded_by_the_scanner_are_one_orientation(dicom):
    slices = dicom.pet(SUV)
    for number, one in enumerate(slices):
        one.ImageOrientationPatient = [1, 0.0001 * (number % 2), 0, 0, 1, 0]
    assert slice_geometry(slices).shape == (8, 4, 5)


def test_copies_at_one_place_are_named_and_counted_once(dicom):
    slices = dicom.pet(SUV)
    geometry = slice_geometry([*slices, slices[3], slices[3]])
    assert geometry.shape[0] == 8
    assert [kept for kept, _ in geometry.copies] == [3, 3]


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PixelSpacing", b"inf\\4"), ("PixelSpacing", b"4"), ("PixelSpacing", b"a\\b"), ("PixelSpacing", b"-4\\4"),
        ("ImageOrientationPatient", b"nan\\0\\0\\0\\1\\0"), ("ImageOrientationPatient", b"0\\0\\0\\0\\0\\0"),
        ("ImagePositionPatient", b"0\\0\\inf"), ("ImagePositionPatient", b"0\\0"), ("ImagePositionPatient", b""),
        ("Rows", b""), ("Columns", b"\0\0"),
    ],
)  # fmt: skip
def test_values_that_are_no_geometry_are_refused_with_a_sentence(dicom, keyword, value):
    slices = dicom.pet(SUV)
    kind = "US" if keyword in ("Rows", "Columns") else "DS"
    slices[4][keyword] = RawDataElement(Tag(keyword), kind, len(value), value, 0, False, True)
    with pytest.raises(SliceGeometryError):
        slice_geometry(slices)


def test_head_foot_extent_does_not_depend_on_the_order_of_the_slices(dicom):
    upward = slice_geometry(dicom.pet(SUV))
    downward = slice_geometry(dicom.pet(SUV, ImageOrientationPatient=[1, 0, 0, 0, -1, 0]))
    assert upward.head_foot_mm == downward.head_foot_mm == (0.0, 28.0)
    assert downward.order == tuple(reversed(range(8)))
