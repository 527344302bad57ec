from __future__ import annotations

import io
import resource
from collections import deque

import gdcm
import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from scipy import ndimage

from fedpet.core.errors import SeriesNotFoundError, SliceGeometryError, UnreadableStudyError
from fedpet.core.progress import no_progress
from fedpet.imaging.analysis import StudyAnalysis
from fedpet.imaging.dicom.files import InputLimits, open_dicom_files
from fedpet.imaging.dicom.pixel_data import read_ct
from fedpet.imaging.dicom.stacks import split_into_stacks
from fedpet.imaging.loading import load_study
from fedpet.imaging.study import CheckStatus

SUV = np.random.default_rng(7).uniform(0.1, 6, (6, 64, 72))


def by_pydicom(path, syntax):
    """The file at `path` in another transfer syntax, written by pydicom."""
    dataset = pydicom.dcmread(path)
    if syntax.is_encapsulated:
        dataset.compress(syntax, generate_instance_uid=False)
    elif not syntax.is_little_endian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").astype(">i2").tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    deque(dataset.iterall(), maxlen=0)  # elements not yet converted cannot change their byte order
    dataset.set_original_encoding(syntax.is_implicit_VR, syntax.is_little_endian)
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    path.write_bytes(stream.getvalue())


def by_gdcm(path, syntax):
    """The same, written by GDCM."""
    kinds = {
        JPEGLossless: gdcm.TransferSyntax.JPEGLosslessProcess14,
        JPEGLosslessSV1: gdcm.TransferSyntax.JPEGLosslessProcess14_1,
        JPEG2000Lossless: gdcm.TransferSyntax.JPEG2000Lossless,
    }
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(kinds[syntax]))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


def transcoded(folder, syntax, write):
    for path in sorted(folder.iterdir()):
        write(path, syntax)
        assert pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID == syntax
    return folder


SYNTAXES = [
    (ImplicitVRLittleEndian, by_pydicom),
    (ExplicitVRLittleEndian, by_pydicom),
    (ExplicitVRBigEndian, by_pydicom),
    (DeflatedExplicitVRLittleEndian, by_pydicom),
    (RLELossless, by_pydicom),
    (JPEGLosslessSV1, by_gdcm),
    (JPEGLossless, by_gdcm),
    (JPEGLSLossless, by_pydicom),
    (JPEG2000Lossless, by_pydicom),
    (JPEG2000Lossless, by_gdcm),
]


@pytest.mark.parametrize(("syntax", "write"), SYNTAXES)
def test_every_lossless_transfer_syntax_gives_the_same_pet(tmp_path, dicom, syntax, write):
    plain = load_study(dicom.save(dicom.pet(SUV), tmp_path / "plain"), pseudonym_key=b"k")
    folder = transcoded(dicom.save(dicom.pet(SUV), tmp_path / "other"), syntax, write)
    other = load_study(folder, pseudonym_key=b"k")
    np.testing.assert_array_equal(other.pet.array, plain.pet.array)
    assert {check.name: check.level for check in other.header_checks}["compression"] is CheckStatus.PASS


@pytest.mark.parametrize(("syntax", "write"), SYNTAXES)
@pytest.mark.parametrize("signed", [0, 1])
def test_every_lossless_transfer_syntax_gives_the_same_ct(tmp_path, dicom, syntax, write, signed):
    hu = np.random.default_rng(3).integers(-1024, 3000, (6, 40, 37))
    slices = dicom.ct(hu, PixelRepresentation=signed)
    for one, image in zip(slices, hu, strict=True):
        one.RescaleIntercept = "0" if signed else "-1024"
        one.PixelData = (image if signed else image + 1024).astype("<i2" if signed else "<u2").tobytes()
    np.testing.assert_array_equal(ct_of(transcoded(dicom.save(slices, tmp_path / "ct"), syntax, write)).array, hu)


def ct_of(folder):
    """The one CT of a folder."""
    with open_dicom_files(folder, InputLimits(), no_progress) as files:
        (series,) = split_into_stacks(files.instances)
        assert not isinstance(series.geometry, SliceGeometryError)
        return read_ct(series.ordered(), series.geometry, progress=no_progress)


def _with_size(content, rows, columns):
    """A file whose codestream states another size than its header."""
    siz, sof = content.find(b"\xff\x4f\xff\x51"), content.find(b"\xff\xf7")
    if siz >= 0:
        at, numbers = siz + 8, columns.to_bytes(4, "big") + rows.to_bytes(4, "big")
    else:
        at, numbers = sof + 5, rows.to_bytes(2, "big") + columns.to_bytes(2, "big")
    return content[:at] + numbers + content[at + len(numbers) :]


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
@pytest.mark.parametrize(("rows", "columns"), [(60_000, 60_000), (40, 38), (0, 0), (39, 37)])
def test_a_codestream_of_another_size_than_its_header_is_refused_before_it_takes_memory(
    tmp_path, dicom, syntax, rows, columns
):
    hu = np.random.default_rng(3).integers(-1024, 3000, (6, 40, 37))
    folder = transcoded(dicom.save(dicom.ct(hu, PixelRepresentation=1), tmp_path / "ct"), syntax, by_pydicom)
    (path, *_) = sorted(folder.iterdir())
    path.write_bytes(_with_size(path.read_bytes(), rows, columns))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UnreadableStudyError):
        ct_of(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB; one of 60,000 took 7.3 GB


@pytest.mark.parametrize(("options", "most"), [({"jls_error": 3}, 3), ({"j2k_cr": [4]}, 500)])
def test_compression_with_loss_is_a_warning(tmp_path, dicom, options, most):
    syntax = JPEGLSNearLossless if "jls_error" in options else JPEG2000
    suv = ndimage.gaussian_filter(SUV, 3)
    plain = load_study(dicom.save(dicom.pet(suv), tmp_path / "plain"), pseudonym_key=b"k")
    folder = dicom.save(dicom.pet(suv), tmp_path / "lossy")
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.compress(syntax, generate_instance_uid=False, **options)
        dataset.save_as(path)
    lossy = load_study(folder, pseudonym_key=b"k")
    away = np.abs(lossy.pet.array - plain.pet.array).max() / (plain.pet.array.max() / 30_000)
    assert 0 < away <= most + 0.5
    (check,) = [one for one in lossy.header_checks if one.name == "compression"]
    assert check.level is CheckStatus.WARN
    assert "(PET)" in str(check.reason)


def test_loss_before_an_uncompressed_export_is_a_warning(tmp_path, dicom):
    slices = dicom.pet(SUV, LossyImageCompression="01")
    study = load_study(dicom.save(slices, tmp_path / "p"), pseudonym_key=b"k")
    assert {check.name: check.level for check in study.header_checks}["compression"] is CheckStatus.WARN


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


@pytest.mark.reference_data
def test_a_real_jpeg_2000_ct_decodes(reference_data):
    volume = ct_of(reference_data / "small" / "ct_mct_j2klossless_20slices")
    assert volume.shape == (20, 512, 512)
    assert volume.array.dtype == np.int16
    centre = volume.array[:, 200:312, 200:312]
    assert volume.array.min() == -1024
    assert 0 < np.median(centre) < 80  # soft tissue


def test_a_file_that_vanishes_before_its_pixels_are_read_is_refused(tmp_path, dicom):
    folder = dicom.save(dicom.ct(np.zeros((6, 8, 8), int)), tmp_path / "ct")
    with open_dicom_files(folder, InputLimits(), no_progress) as files:
        (series,) = split_into_stacks(files.instances)
        (folder / "00003").unlink()
        with pytest.raises(UnreadableStudyError, match="cannot be decoded"):
            read_ct(series.ordered(), series.geometry, progress=no_progress)


@pytest.mark.parametrize(
    "tags",
    [{"Rows": 65535, "Columns": 65535}, {"Rows": 20000, "Columns": 20000}, {"PixelSpacing": [1e9, 1e9]}],
)
def test_a_header_that_claims_a_huge_image_allocates_nothing(tmp_path, dicom, tags):
    folder = dicom.save(dicom.pet(SUV, **tags), tmp_path / "p")
    with pytest.raises(SliceGeometryError, match="claims"):
        load_study(folder, pseudonym_key=b"k")


@pytest.mark.parametrize("spoil", ["cut", "short", "missing", "compressed by an unknown method"])
def test_damaged_pixels_are_refused(tmp_path, dicom, spoil):
    slices = dicom.pet(SUV)
    folder = dicom.save(slices, tmp_path / "p")
    path = folder / "00002"
    if spoil == "cut":
        path.write_bytes(path.read_bytes()[:-1000])
    elif spoil == "compressed by an unknown method":
        content = path.read_bytes()
        path.write_bytes(content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.4.104\0"[:20]))
    else:
        if spoil == "missing":
            del slices[2].PixelData
        else:
            slices[2].PixelData = slices[2].PixelData[:-2]
        path.write_bytes(dicom.to_bytes(slices[2]))
    with pytest.raises(UnreadableStudyError, match="cannot be decoded"):
        load_study(folder, pseudonym_key=b"k")


@pytest.mark.parametrize(
    ("bits", "stored", "high"), [(8, 8, 7), (16, 12, 11), (16, 12, 15), (16, 16, 15), (32, 20, 19)]
)
def test_allocated_stored_and_high_bit(tmp_path, dicom, bits, stored, high):
    """PS3.5 8.1.1: the value sits below the high bit; old scanners put it at the top of the word."""
    values = np.random.default_rng(5).integers(0, 2 ** min(stored, 11), (6, 9, 7))
    slices = dicom.ct(values, BitsAllocated=bits, BitsStored=stored, HighBit=high, PixelRepresentation=0)
    for one, image in zip(slices, values, strict=True):
        one.RescaleIntercept = "0"
        packed = (image << (high - stored + 1)).astype(f"<u{bits // 8}").tobytes()
        one.PixelData = packed + bytes(len(packed) % 2)
    np.testing.assert_array_equal(ct_of(dicom.save(slices, tmp_path / "ct")).array, values)


def test_a_ct_of_fractional_slope_is_read_and_checked(tmp_path, dicom):
    suv, hu, origin = dicom.thorax((20, 40, 40), spacing=(8.0, 8.0, 8.0))
    place = {"spacing": (8.0, 8.0, 8.0), "origin": origin}
    slices = dicom.ct(hu, RescaleSlope="0.5", **place)
    for one, image in zip(slices, hu, strict=True):
        one.PixelData = (2 * (image + 1024)).astype("<i2").tobytes()
    study = load_study(dicom.save(dicom.pet(suv, **place) + slices, tmp_path / "p"), pseudonym_key=b"k")
    assert study.ct.array.dtype == np.float32
    np.testing.assert_array_equal(study.ct.array, hu)
    assert {check.name: check.level for check in StudyAnalysis(study).checks}["ct_present"] is CheckStatus.PASS


PADDING = {
    "two bytes": b"\0\0", "a blank": b" ", "odd bytes": b"\1\2\3", "a row less one": b"\x7f\1" * 71,
    "a block of zeros": bytes(512), "a block of ones": b"\xff" * 2048,
}  # fmt: skip


def with_pixels(path, change):
    """The file at `path` with the value of its Pixel Data changed, whatever its length becomes."""
    content = path.read_bytes()
    at = content.rindex(b"\xe0\x7f\x10\x00O")
    value = change(content[at + 12 :])
    path.write_bytes(content[: at + 8] + len(value).to_bytes(4, "little") + value)


@pytest.mark.parametrize("where", ["one", "all"])
@pytest.mark.parametrize("padding", PADDING.values(), ids=PADDING)
def test_padding_behind_the_pixels_does_not_matter(tmp_path, dicom, padding, where):
    """PS3.5 8.1.1 allows one byte; files have two, or a block."""
    folder = dicom.save(dicom.pet(SUV), tmp_path / "p")
    expected = load_study(folder, pseudonym_key=b"k").pet.array
    for path in sorted(folder.iterdir())[: 1 if where == "one" else None]:
        with_pixels(path, lambda pixels: pixels + padding)
    np.testing.assert_array_equal(load_study(folder, pseudonym_key=b"k").pet.array, expected)


@pytest.mark.parametrize("behind", [b"\1\2" * 200, bytes(64 * 72 * 2), bytes(5 * 64 * 72 * 2)])
def test_what_may_be_more_pixels_is_no_padding(tmp_path, dicom, behind):
    folder = dicom.save(dicom.pet(SUV), tmp_path / "p")
    with_pixels(sorted(folder.iterdir())[2], lambda pixels: pixels + behind)
    with pytest.raises(UnreadableStudyError, match="cannot be decoded"):
        load_study(folder, pseudonym_key=b"k")


@pytest.mark.parametrize("padded", [b"", b"\0"])
def test_an_odd_number_of_bytes_needs_no_pad(tmp_path, dicom, padded):
    small = np.round(SUV[:, :9, :9] / SUV.max() * 200)
    slices = dicom.pet(small, BitsAllocated=8, BitsStored=8, HighBit=7, PixelRepresentation=0)
    for one, image in zip(slices, small, strict=True):
        one.RescaleSlope = f"{dicom.bqml_per_suv():.8g}"
        one.PixelData = image.astype("u1").tobytes() + b"\0"
    folder = dicom.save(slices, tmp_path / "p")
    for path in folder.iterdir():
        with_pixels(path, lambda pixels: pixels[:81] + padded)
    np.testing.assert_allclose(load_study(folder, pseudonym_key=b"k").pet.array, small, rtol=1e-5)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless])
def test_monochrome1_only_says_how_a_pet_is_shown(tmp_path, dicom, syntax):
    expected = load_study(dicom.save(dicom.pet(SUV), tmp_path / "p"), pseudonym_key=b"k").pet.array
    folder = dicom.save(dicom.pet(SUV, PhotometricInterpretation="MONOCHROME1"), tmp_path / "q")
    for path in folder.iterdir():
        by_pydicom(path, syntax)
    np.testing.assert_array_equal(load_study(folder, pseudonym_key=b"k").pet.array, expected)


def test_a_number_of_frames_beside_the_pixels_of_one_is_a_wrong_count(tmp_path, dicom):
    folder = dicom.save(dicom.pet(SUV, NumberOfFrames=6), tmp_path / "p")
    assert load_study(folder, pseudonym_key=b"k").pet.shape == SUV.shape


@pytest.mark.parametrize("files", [1, 3])
def test_a_classic_pet_of_several_frames_is_refused_by_its_name(tmp_path, dicom, files):
    slices = dicom.pet(SUV)
    several = slices[:files]
    for one in several:
        one.NumberOfFrames = len(slices)
        one.PixelData = b"".join(each.PixelData for each in slices)
    with pytest.raises(SeriesNotFoundError, match="multi-frame object of a single-frame class"):
        load_study(dicom.save(several, tmp_path / "p"), pseudonym_key=b"k")
