from __future__ import annotations

import gdcm
import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRBigEndian, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from fedpet.errors import GeometryRefused
from fedpet.progress import silent
from imaging.intake import IntakeLimits, taken_in
from imaging.loading import load_study
from imaging.pixels import read_ct
from imaging.stacks import grouped

SUV = np.random.default_rng(7).uniform(0.1, 6, (6, 64, 72))


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_lossless_compression_gives_the_same_volume(tmp_path, dicom, syntax):
    plain = load_study(dicom.save(dicom.pet(SUV), tmp_path / "plain"), pseudonym_key=b"k")
    folder = tmp_path / "compressed"
    folder.mkdir()
    for k, path in enumerate(sorted((tmp_path / "plain").iterdir())):
        dataset = pydicom.dcmread(path)
        dataset.compress(syntax, generate_instance_uid=False)
        dataset.save_as(folder / str(k))
    compressed = load_study(folder, pseudonym_key=b"k")
    np.testing.assert_array_equal(compressed.pet.array, plain.pet.array)


def test_big_endian_and_bare_files(tmp_path, dicom):
    folder = tmp_path / "p"
    folder.mkdir()
    slices = dicom.pet(SUV)
    for k, one in enumerate(slices):
        if k % 2:
            one.save_as(folder / str(k), implicit_vr=True, little_endian=True, enforce_file_format=False)
            continue
        one.PixelData = np.frombuffer(one.PixelData, "<i2").astype(">i2").tobytes()
        dicom.to_bytes(one)
        one.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        one.save_as(folder / str(k), enforce_file_format=True)
    np.testing.assert_allclose(load_study(folder, pseudonym_key=b"k").pet.array, SUV, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("signed", [0, 1])
def test_unused_high_bits_are_ignored(tmp_path, dicom, signed):
    """12 bits stored in 16: overlays of old scanners live in the other four."""
    hu = np.random.default_rng(3).integers(-1024, 900, (6, 10, 12))
    slices = dicom.ct(hu, BitsStored=12, HighBit=11, PixelRepresentation=signed, RescaleIntercept="0")
    for one, image in zip(slices, hu, strict=True):
        values = image if signed else image + 1024
        one.RescaleIntercept = "0" if signed else "-1024"
        one.PixelData = ((values & 0x0FFF) | 0x9000).astype("<u2").tobytes()
    study = load_study(dicom.save(dicom.pet(SUV) + slices, tmp_path / "p"), pseudonym_key=b"k")
    np.testing.assert_array_equal(study.ct.array, hu)


def test_jpeg_lossless_of_older_scanners_decodes(tmp_path, dicom):
    """Process 14, selection value 1: written by GDCM from a plain file."""
    plain = dicom.save(dicom.pet(SUV), tmp_path / "plain")
    folder = tmp_path / "compressed"
    folder.mkdir()
    for path in sorted(plain.iterdir()):
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(path))
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFileName(str(folder / path.name))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
    assert pydicom.dcmread(folder / "00000").file_meta.TransferSyntaxUID == JPEGLosslessSV1
    expected = load_study(plain, pseudonym_key=b"k").pet.array
    np.testing.assert_array_equal(load_study(folder, pseudonym_key=b"k").pet.array, expected)


@pytest.mark.reference_data
def test_a_real_jpeg_2000_ct_decodes(reference_data):
    with taken_in(reference_data / "small" / "ct_mct_j2klossless_20slices", IntakeLimits(), silent) as pile:
        (series,) = grouped(pile.instances)
        assert not isinstance(series.geometry, GeometryRefused)
        volume = read_ct(series.ordered(), series.geometry, progress=silent)
    assert volume.shape == (20, 512, 512)
    assert volume.array.dtype == np.int16
    centre = volume.array[:, 200:312, 200:312]
    assert volume.array.min() == -1024
    assert 0 < np.median(centre) < 80  # soft tissue
