from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from fedpet.errors import GeometryRefused, UnreadableStudy
from imaging.masks import read_mask, read_nifti, write_nifti
from imaging.volume import Volume

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
    labels = read_mask(tmp_path / "m.nii.gz", pet).array
    assert labels.dtype == np.uint16
    assert labels[4, 4, 4] == 1
    assert labels[0, 0].tolist() == [2, 2, 0, 0, 0, 0, 0]


def test_labels_drawn_elsewhere_come_onto_the_pet(tmp_path, pet):
    fine = Volume(np.zeros((10, 12, 14), np.int32), pet.affine @ np.diag([0.5, 0.5, 0.5, 1]), "label")
    fine.array[2:5, 2:5, 2:5], fine.array[6:, 6:, 6:] = 4, 2
    write_nifti(fine, tmp_path / "m.nii")
    labels = read_mask(tmp_path / "m.nii", pet)
    assert labels.shape == pet.shape
    assert labels.array[1, 1, 1] == labels.array[2, 2, 2] == 4
    assert labels.array[4, 4, 4] == 2


def test_an_empty_mask_is_allowed_a_mask_beside_the_pet_is_not(tmp_path, pet):
    write_nifti(pet.like(np.zeros(pet.shape, np.uint8), "label"), tmp_path / "empty.nii")
    assert read_mask(tmp_path / "empty.nii", pet).array.max() == 0
    far = AFFINE.copy()
    far[:3, 3] += 1000
    write_nifti(Volume(np.ones(pet.shape, np.uint8), far, "label"), tmp_path / "far.nii")
    with pytest.raises(GeometryRefused, match="No voxel of the mask"):
        read_mask(tmp_path / "far.nii", pet)


@pytest.mark.parametrize("values", [-1.0, 70_000.0, 0.4])
def test_values_that_are_no_labels_are_refused(tmp_path, pet, values):
    write_nifti(pet.like(np.full(pet.shape, values, np.float32), "label"), tmp_path / "m.nii")
    with pytest.raises(UnreadableStudy, match="mask"):
        read_mask(tmp_path / "m.nii", pet)


@pytest.mark.parametrize("written", ["m.nii", "m.nii.gz"])
@pytest.mark.parametrize("given", ["upload", "mask.dcm", "mask.gz"])
def test_the_content_tells_what_a_file_is_not_its_name(tmp_path, pet, written, given):
    mask = np.zeros(pet.shape, np.uint8)
    mask[1:3, 2:4, 3:6] = 1
    write_nifti(pet.like(mask, "label"), tmp_path / written)
    (tmp_path / written).rename(tmp_path / given)
    np.testing.assert_array_equal(read_mask(tmp_path / given, pet).array, mask)


def test_dicom_that_is_no_mask_is_refused_whatever_its_name(dicom, tmp_path, pet):
    image = dicom.save(dicom.pet(np.ones((6, 4, 4))), tmp_path / "pet") / "00000"
    image.rename(tmp_path / "mask.nii.gz")
    with pytest.raises(UnreadableStudy, match="0 DICOM SEG or RT Structure Sets"):
        read_mask(tmp_path / "mask.nii.gz", pet)


def test_what_is_no_nifti_is_refused(tmp_path, pet):
    (tmp_path / "m.nii").write_bytes(b"no")
    with pytest.raises(UnreadableStudy, match="not a readable 3D NIfTI"):
        read_mask(tmp_path / "m.nii", pet)


def test_a_sheared_grid_is_not_written_wrongly(tmp_path, pet):
    sheared = pet.affine.copy()
    sheared[0, 1] += 1
    with pytest.raises(ValueError, match="sheared"):
        write_nifti(Volume(pet.array, sheared, "g/ml"), tmp_path / "m.nii")
