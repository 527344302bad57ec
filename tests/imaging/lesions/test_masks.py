from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from fedpet.core.errors import SliceGeometryError, UnreadableStudyError
from fedpet.imaging.lesions.masks import read_mask
from fedpet.imaging.nifti import read_nifti, read_nifti_image, write_nifti
from fedpet.imaging.study import CheckStatus
from fedpet.imaging.volume import Volume

AFFINE = np.array([[0, 0, 3.0, -20], [2.0, 0, 0, 5], [0, 2.5, 0, 40], [0, 0, 0, 1]])  # axes permuted


@pytest.fixture
def pet():
    return Volume(np.random.default_rng(0).random((5, 6, 7)).astype(np.float32), AFFINE, "g/ml")


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
def test_what_is_written_is_read_back_and_always_the_same_bytes(tmp_path, pet, name):
    write_nifti(pet, tmp_path / name)
    back = read_nifti(tmp_path / name, "g/ml")
    np.testing.assert_array_equal(back.array, pet.array)
    np.testing.assert_allclose(back.affine, pet.affine, atol=1e-5)
    first = (tmp_path / name).read_bytes()
    write_nifti(pet, tmp_path / ("again" + name))
    assert (tmp_path / ("again" + name)).read_bytes() == first


def test_the_file_holds_the_ras_affine_of_the_standard(tmp_path, pet):
    """The sform in the bytes, by NIfTI-1's own layout: rows of floats at 280, RAS = LPS with x and y negated."""
    write_nifti(pet, tmp_path / "v.nii.gz")
    header = gzip.decompress((tmp_path / "v.nii.gz").read_bytes())[:348]
    assert struct.unpack("<8h", header[40:56])[:4] == (3, 7, 6, 5)  # columns, rows, slices
    sform = np.array(struct.unpack("<12f", header[280:328])).reshape(3, 4)
    np.testing.assert_allclose(sform, np.diag([-1, -1, 1]) @ AFFINE[:3], atol=1e-5)


def test_a_binary_mask_becomes_numbered_components_largest_first(tmp_path, pet):
    mask = np.zeros(pet.shape, np.uint8)
    mask[0, 0, :2], mask[3:, 3:, 3:] = 1, 1
    write_nifti(pet.like(mask, "label"), tmp_path / "m.nii.gz")
    labels = read_mask(tmp_path / "m.nii.gz", pet).labels.array
    assert labels.dtype == np.uint16
    assert labels[4, 4, 4] == 1
    assert labels[0, 0].tolist() == [2, 2, 0, 0, 0, 0, 0]


def test_labels_drawn_elsewhere_come_onto_the_pet(tmp_path, pet):
    fine = Volume(np.zeros((10, 12, 14), np.int32), pet.affine @ np.diag([0.5, 0.5, 0.5, 1]), "label")
    fine.array[2:5, 2:5, 2:5], fine.array[6:, 6:, 6:] = 4, 2
    write_nifti(fine, tmp_path / "m.nii")
    labels = read_mask(tmp_path / "m.nii", pet).labels
    assert labels.shape == pet.shape
    assert labels.array[1, 1, 1] == labels.array[2, 2, 2] == 4
    assert labels.array[4, 4, 4] == 2


def test_an_empty_mask_is_allowed_a_mask_beside_the_pet_is_not(tmp_path, pet):
    write_nifti(pet.like(np.zeros(pet.shape, np.uint8), "label"), tmp_path / "empty.nii")
    empty = read_mask(tmp_path / "empty.nii", pet)
    assert empty.labels.array.max() == 0
    assert [check.level for check in empty.checks if "nothing is measured" in str(check.reason)] == [CheckStatus.WARN]
    far = AFFINE.copy()
    far[:3, 3] += 1000
    write_nifti(Volume(np.ones(pet.shape, np.uint8), far, "label"), tmp_path / "far.nii")
    with pytest.raises(SliceGeometryError, match="No voxel of the mask"):
        read_mask(tmp_path / "far.nii", pet)


@pytest.mark.parametrize("values", [-1.0, 70_000.0, 0.4])
def test_values_that_are_no_labels_are_refused(tmp_path, pet, values):
    write_nifti(pet.like(np.full(pet.shape, values, np.float32), "label"), tmp_path / "m.nii")
    with pytest.raises(UnreadableStudyError, match="mask"):
        read_mask(tmp_path / "m.nii", pet)


@pytest.mark.parametrize("written", ["m.nii", "m.nii.gz"])
@pytest.mark.parametrize("given", ["upload", "mask.dcm", "mask.gz"])
def test_the_content_tells_what_a_file_is_not_its_name(tmp_path, pet, written, given):
    mask = np.zeros(pet.shape, np.uint8)
    mask[1:3, 2:4, 3:6] = 1
    write_nifti(pet.like(mask, "label"), tmp_path / written)
    (tmp_path / written).rename(tmp_path / given)
    np.testing.assert_array_equal(read_mask(tmp_path / given, pet).labels.array, mask)


def test_dicom_that_is_no_mask_is_refused_whatever_its_name(dicom, tmp_path, pet):
    image = dicom.save(dicom.pet(np.ones((6, 4, 4))), tmp_path / "pet") / "00000"
    image.rename(tmp_path / "mask.nii.gz")
    with pytest.raises(UnreadableStudyError, match="0 DICOM SEG or RT Structure Sets"):
        read_mask(tmp_path / "mask.nii.gz", pet)


def moved(volume, *by):
    affine = volume.affine.copy()
    affine[:3, 3] += by
    return affine


def levels(mask):
    return {check.name: check.level.value for check in mask.checks}


def boxed(pet):
    array = np.zeros(pet.shape, np.uint8)
    array[1:3, 2:4, 3:6] = 1
    return pet.like(array, "label")


def patched(path, at, layout, *values):
    """Overwrite fields of the header of an uncompressed NIfTI-1 file."""
    content = bytearray(path.read_bytes())
    struct.pack_into(layout, content, at, *values)
    path.write_bytes(content)
    return path


def test_a_header_without_a_position_is_refused(tmp_path, pet):
    write_nifti(boxed(pet), tmp_path / "m.nii")
    with pytest.raises(SliceGeometryError, match="both form codes are 0"):
        read_mask(patched(tmp_path / "m.nii", 252, "<2h", 0, 0), pet)


@pytest.mark.parametrize(
    ("codes", "source"), [((1, 0), "qform"), ((0, 1), "sform"), ((0, 2), "sform"), ((1, 1), "sform")]
)
def test_one_position_is_enough(tmp_path, pet, codes, source):
    write_nifti(boxed(pet), tmp_path / "m.nii")
    image = read_nifti_image(patched(tmp_path / "m.nii", 252, "<2h", *codes), "label")
    assert image.position == source
    np.testing.assert_allclose(image.volume.affine, pet.affine, atol=1e-4)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.nii", pet).labels.array, boxed(pet).array)


def test_two_positions_that_disagree_are_refused_with_both(tmp_path, pet):
    write_nifti(boxed(pet), tmp_path / "m.nii")
    (offset,) = struct.unpack_from("<f", (tmp_path / "m.nii").read_bytes(), 268)
    patched(tmp_path / "m.nii", 268, "<f", offset + 0.2)
    read_mask(tmp_path / "m.nii", pet)  # less than a voxel's quarter: rounding
    patched(tmp_path / "m.nii", 268, "<f", offset + 40)
    with pytest.raises(SliceGeometryError, match=r"qform: first voxel at \(-60\.0, .*sform: first voxel at \(-20\.0, "):
        read_mask(tmp_path / "m.nii", pet)
    patched(tmp_path / "m.nii", 268, "<f", offset)
    patched(tmp_path / "m.nii", 76, "<f", -struct.unpack_from("<f", (tmp_path / "m.nii").read_bytes(), 76)[0])
    with pytest.raises(SliceGeometryError, match="disagree"):  # the third axis runs the other way
        read_mask(tmp_path / "m.nii", pet)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (2, 2.5, 3), (-2, -2.5, 3)])
def test_an_image_without_a_position_of_its_own_is_refused_with_both(tmp_path, pet, spacing):
    """What programs write that know the voxels alone: an identity, or spacings, and no translation."""
    lost = Volume(boxed(pet).array, np.diag([*spacing, 1.0]), "label")
    write_nifti(lost, tmp_path / "m.nii")
    with pytest.raises(
        SliceGeometryError, match=r"Mask: first voxel at \(0\.0, 0\.0, 0\.0\).*PET: first voxel at \(-20"
    ):
        read_mask(tmp_path / "m.nii", pet)
    there = Volume(pet.array, lost.affine, "g/ml")  # a PET that does begin at the origin
    assert levels(read_mask(tmp_path / "m.nii", there)) == {"mask_read": "pass"}


def test_an_image_centred_on_the_origin_is_refused_where_the_pet_is_not(tmp_path, pet):
    shape = np.array(pet.shape[::-1])
    centred = np.diag([2.0, 2.0, 2.0, 1.0])
    centred[:3, 3] = -2.0 * (shape - 1) / 2
    write_nifti(Volume(boxed(pet).array, centred, "label"), tmp_path / "m.nii")
    with pytest.raises(SliceGeometryError, match="without a position"):
        read_mask(tmp_path / "m.nii", pet)


def test_the_matrix_of_the_pet_in_another_place_is_said_with_both(tmp_path, pet):
    write_nifti(Volume(boxed(pet).array, moved(pet, 0, 4, 0), "label"), tmp_path / "m.nii")
    (check,) = (check for check in read_mask(tmp_path / "m.nii", pet).checks if check.name == "mask_position")
    assert check.level.value == "warn"
    assert "Mask: first voxel at (-20.0, 9.0, 40.0)" in str(check.reason)
    assert "PET: first voxel at (-20.0, 5.0, 40.0)" in str(check.reason)


def test_the_same_box_stored_in_another_order_is_in_its_place(tmp_path, pet):
    flipped = pet.affine @ np.diag([-1.0, 1, 1, 1])
    flipped[:3, 3] += pet.affine[:3, 0] * (pet.shape[2] - 1)
    write_nifti(Volume(boxed(pet).array[:, :, ::-1], flipped, "label"), tmp_path / "m.nii")
    read = read_mask(tmp_path / "m.nii", pet)
    np.testing.assert_array_equal(read.labels.array, boxed(pet).array)
    assert levels(read) == {"mask_read": "pass"}


def test_coordinates_of_a_template_are_said(tmp_path, pet):
    write_nifti(boxed(pet), tmp_path / "m.nii")
    assert levels(read_mask(patched(tmp_path / "m.nii", 252, "<2h", 0, 4), pet))["mask_position"] == "warn"


def test_scaled_labels_one_volume_of_four_axes_and_other_numbers_are_read(tmp_path, pet):
    expected = boxed(pet).array
    stored = expected.astype(np.int16) * 200
    write_nifti(pet.like(stored, "label"), tmp_path / "scaled.nii")
    patched(tmp_path / "scaled.nii", 112, "<2f", 0.005, 0.0)
    np.testing.assert_array_equal(read_mask(tmp_path / "scaled.nii", pet).labels.array, expected)
    write_nifti(pet.like(expected, "label"), tmp_path / "four.nii")
    patched(tmp_path / "four.nii", 40, "<h", 4)
    np.testing.assert_array_equal(read_mask(tmp_path / "four.nii", pet).labels.array, expected)
    for kind in (np.float32, np.float64, np.int32, np.uint32, np.int8, np.int64):
        write_nifti(pet.like(expected.astype(kind), "label"), tmp_path / "k.nii.gz")
        np.testing.assert_array_equal(read_mask(tmp_path / "k.nii.gz", pet).labels.array, expected)


@pytest.mark.parametrize(
    ("at", "layout", "value"), [(40, "<2h", (4, 7)), (70, "<h", (128,)), (108, "<f", (1e9,)), (344, "<4s", (b"ni1\0",))]
)
def test_what_is_no_single_volume_of_numbers_is_refused(tmp_path, pet, at, layout, value):
    write_nifti(boxed(pet), tmp_path / "m.nii")
    patched(tmp_path / "m.nii", at, layout, *value)
    if at == 40:
        patched(tmp_path / "m.nii", 48, "<h", 2)
    with pytest.raises(UnreadableStudyError, match="not a readable 3D NIfTI"):
        read_mask(tmp_path / "m.nii", pet)


def test_a_truncated_image_is_refused(tmp_path, pet):
    for name in ("m.nii", "m.nii.gz"):
        write_nifti(pet, tmp_path / name)
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-40])
        with pytest.raises(UnreadableStudyError, match="not a readable 3D NIfTI"):
            read_mask(tmp_path / name, pet)


def test_how_a_mask_came_onto_the_pet_and_what_was_lost_is_said(tmp_path, pet):
    """A fine mask with a label between the centres of the PET's voxels."""
    fine = Volume(np.zeros((20, 24, 28), np.uint8), pet.affine @ np.diag([0.25, 0.25, 0.25, 1]), "label")
    fine.array[2:10, 2:10, 2:10], fine.array[14, 14, 14] = 1, 7
    write_nifti(fine, tmp_path / "m.nii")
    read = read_mask(tmp_path / "m.nii", pet)
    first, second = read.audit.regions
    assert (first.name, first.planes, second.name, second.ml) == ("1", 8, "7", 0.0)
    assert first.drawn_ml == pytest.approx(512 * fine.voxel_ml)
    assert "0.50 x 0.62 x 0.75 mm" in str(read.audit.sampled)
    assert levels(read) == {"mask_read": "warn"}
    assert "Not on the PET, and not measured: 7" in str(read.checks[0].reason)
    write_nifti(boxed(pet), tmp_path / "own.nii")
    assert "on the grid of the PET" in str(read_mask(tmp_path / "own.nii", pet).audit.sampled)


def test_what_is_no_nifti_is_refused(tmp_path, pet):
    (tmp_path / "m.nii").write_bytes(b"no")
    with pytest.raises(UnreadableStudyError, match="not a readable 3D NIfTI"):
        read_mask(tmp_path / "m.nii", pet)


def test_a_sheared_grid_is_not_written_wrongly(tmp_path, pet):
    sheared = pet.affine.copy()
    sheared[0, 1] += 1
    with pytest.raises(ValueError, match="sheared"):
        write_nifti(Volume(pet.array, sheared, "g/ml"), tmp_path / "m.nii")
