"""Faults that users of other programs reported in public, in words and data of our own.

Each row names where a fault of its kind was reported (project and number); "ours" are of variants that we made. Every
series holds SUVbw 2 with a lesion of SUV 9: what comes out is 9, or a refusal that names the cause. A number that is
wrong without a word never comes out.
"""

from __future__ import annotations

import struct
import warnings

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from fedpet.core.errors import FedpetError
from fedpet.imaging.lesions.masks import read_mask
from fedpet.imaging.loading import load_study
from tests.support.dicom_factory import DOSE_BQ, bqml_per_suv, pet, save, tracer

SUV = np.full((8, 8, 8), 2.0)
SUV[3:5, 3:5, 3:5] = 9.0


def each(**tags):
    """The series with attributes of every slice set; None removes one."""

    def plant():
        slices = pet(SUV)
        for one in slices:
            for keyword, value in tags.items():
                delattr(one, keyword) if value is None else setattr(one, keyword, value)
        return slices

    return plant


def injected(**tags):
    return lambda: pet(SUV, drug=tracer(**tags))


def administration():
    """Decay-corrected to the injection: nothing is left to correct."""
    return pet(SUV, scale=bqml_per_suv(0), DecayCorrection="ADMIN")


def over_midnight():
    """Injected at 23:30 and scanned at 00:30 of the next day, with full date-times."""
    slices = pet(
        SUV, drug=tracer(RadiopharmaceuticalStartTime="233000", RadiopharmaceuticalStartDateTime="20240305233000")
    )
    for one in slices:
        one.SeriesDate = one.AcquisitionDate = "20240306"
        one.SeriesTime = one.AcquisitionTime = "003000"
    return slices


def late_series_time():
    """The series was made an hour after its acquisition began: the decay is corrected to the acquisition."""
    slices = pet(SUV)
    for one in slices:
        one.SeriesTime = "110000"
    return slices


def part_of_an_acquisition():
    """The last 20 minutes of a scan that began at 10:00, corrected to that beginning."""
    slices = pet(SUV)
    for one in slices:
        one.AcquisitionTime, one.FrameReferenceTime = "104000", "2460000"
    return slices


def any_order():
    """Instance numbers that follow no position, and beds with reference times of their own."""
    slices = pet(SUV)
    for k, one in enumerate(slices):
        one.InstanceNumber = (5 * k) % len(slices) + 1
        one.AcquisitionTime, one.FrameReferenceTime = ("100000", "60000") if k > 3 else ("100300", "240000")
    return slices


def counts(units="CNTS", factor=None):
    """Counts, with Philips' factor to SUV (7053,1000) or without."""

    def plant():
        slices = pet(SUV, scale=1000.0, Units=units)
        for one in slices:
            if factor is not None:
                one.add_new((0x7053, 0x0010), "LO", "Philips PET Private Group")
                one.add_new((0x7053, 0x1000), *factor)
        return slices

    return plant


def binary_factor():
    return struct.pack("<d", 0.001)


def padded(more):
    """`more` bytes behind the pixels."""

    def plant():
        slices = pet(SUV)
        for one in slices:
            one.PixelData += bytes(more)
        return slices

    return plant


def one_slice(keyword, value):
    def plant():
        slices = pet(SUV)
        setattr(slices[2], keyword, value)
        return slices

    return plant


def early_slice():
    """One slice of thirty says that it was acquired 55 minutes before the series began."""
    slices = pet(np.repeat(SUV, 4, axis=0)[:30])
    slices[14].AcquisitionTime = "090500"
    return slices


def in_bits(stored, high, *, syntax=None):
    """Sixteen bits are in use, whatever the header says."""

    def plant():
        slices = pet(SUV)
        for one in slices:
            if syntax:
                one.file_meta = FileMetaDataset()
                one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
                one.set_original_encoding(is_implicit_vr=False, is_little_endian=True)
                one.compress(syntax, generate_instance_uid=False)
            one.BitsStored, one.HighBit = stored, high
        return slices

    return plant


def unsigned_or_not():
    """Negative values, as some reconstructions leave them, and nothing that says whether they are."""
    slices = pet(np.where(SUV > 5, SUV, -0.5))
    for one in slices:
        del one.PixelRepresentation
    return slices


def twice_in_place():
    """Two time points of one place."""
    slices = pet(SUV, SeriesType=["DYNAMIC", "IMAGE"]) + pet(SUV, series="pet", SeriesType=["DYNAMIC", "IMAGE"])
    for k, one in enumerate(slices[8:]):
        one.SOPInstanceUID += ".1"
        one.AcquisitionTime, one.InstanceNumber = "101000", 9 + k
    return slices


CASES = {
    # clocks and decay
    "horosproject/horos #653: ADMIN is corrected once more": (administration, 9.0),
    "QIICR/Slicer-PETDICOMExtension #28: the date is ignored": (over_midnight, 9.0),
    "QIICR/Slicer-PETDICOMExtension #20: only the start date-time is there": (
        injected(RadiopharmaceuticalStartTime=None, RadiopharmaceuticalStartDateTime="20240305090000"),
        9.0,
    ),
    "OHIF/Viewers #3805: the series time is later than the acquisition": (late_series_time, 9.0),
    "rordenlab/dcm2niix #983: an image of the last minutes of a scan": (part_of_an_acquisition, 9.0),
    "fo-dicom/fo-dicom #951: seven decimals of a second": (each(AcquisitionTime="100000.0000000"), 9.0),
    "Therapixel/pacsanini #3: three decimals of a second": (each(SeriesTime="100000.000"), 9.0),
    "exini/dicom-streams #31: decimals without a point": (injected(RadiopharmaceuticalStartTime="090000000000"), 9.0),
    "blairconrad/dicognito #182: colons in times, points in dates": (
        each(AcquisitionTime="10:00:00", SeriesDate="2024.03.05"),
        9.0,
    ),
    "fli-iam/shanoir-ng #3708: hours and minutes alone": (injected(RadiopharmaceuticalStartTime="0900"), 9.0),
    # units and factors
    "OHIF/Viewers #1418: Philips counts with a private factor": (counts(factor=("DS", "0.001")), 9.0),
    "OHIF/Viewers #6096: Philips' factor as binary": (counts(factor=("UN", binary_factor())), 9.0),
    "ENHANCE-PET/MOOSE #230: Philips counts without a factor": (counts(), "counts"),
    "OHIF/Viewers #3439: SUV shown for proportional counts": (counts("PROPCNTS"), "PROPCNTS|attenuation|counts"),
    "cornerstonejs/calculate-suv #19: a weight of zero": (each(PatientWeight="0"), "weight"),
    "AustralianCancerDataNetwork/pydicer #36: a half-life made up": (injected(RadionuclideHalfLife=None), "half-life"),
    "OHIF/Viewers #3805: another dose in one slice": (
        one_slice("RadiopharmaceuticalInformationSequence", [tracer(RadionuclideTotalDose=str(DOSE_BQ / 2))]),
        "dose",
    ),
    # pixels and order
    "innolitics/dicom-numpy #1: a slope of its own in every slice": (each(), 9.0),
    "rordenlab/dcm2niix #698: instance numbers that follow no position": (any_order, 9.0),
    "pydicom/pydicom #801: padding behind the pixels": (padded(2), 9.0),
    "QIICR/dcmqi #341: fewer bytes than pixels": (one_slice("PixelData", bytes(64)), "pixel|bytes|damaged"),
    "scifio/scifio #311: MONOCHROME1 turned over": (each(PhotometricInterpretation="MONOCHROME1"), 9.0),
    "medical-physics-usz/z-rad #285: another pixel size in a later slice": (
        one_slice("PixelSpacing", [5.0, 5.0]),
        "size|spacing|grid|slice",
    ),
    "ours: bits beyond Bits Stored": (in_bits(12, 11), "bits"),
    "ours: bits beyond Bits Stored in RLE": (in_bits(12, 11, syntax=RLELossless), "bits"),
    "ours: values so large that they reach the bit of the sign": (in_bits(15, 14), "bits"),
    "ours: no Pixel Representation beside negative values": (unsigned_or_not, "Pixel Representation is missing"),
    "ours: a high bit that is not that of the pixels": (in_bits(12, 15), "bits"),
    "ours: an acquisition time long before the others in one slice": (early_slice, 9.0),
    "ours: no units": (each(Units=None), "units is missing"),
    "imageio/imageio #349: several times of one place stacked": (twice_in_place, "dynamic|gated|time"),
}


@pytest.mark.parametrize("report", CASES)
def test_what_other_programs_got_wrong(report, tmp_path):
    plant, right = CASES[report]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom names the values that are planted
        save(plant(), tmp_path / "study")
    if isinstance(right, str):
        with pytest.raises(FedpetError, match=f"(?i){right}"):
            load_study(tmp_path / "study", pseudonym_key=b"k")
        return
    study = load_study(tmp_path / "study", pseudonym_key=b"k")
    assert study.pet.array.max() == pytest.approx(right, rel=0.002)


@pytest.mark.parametrize(
    "moved",
    [
        pytest.param(
            np.array([[1, 0, 0, 40], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
            id="spinalcordtoolbox/spinalcordtoolbox #2106: a shift",
        ),
        pytest.param(np.diag([-1, 1, 1, 1]), id="MRtrix3/mrtrix3 #94: left and right"),
    ],
)
def test_a_nifti_mask_whose_two_forms_disagree_is_refused(moved, tmp_path):
    study = load_study(save(pet(SUV), tmp_path / "study"), pseudonym_key=b"k")
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ study.pet.affine  # NIfTI's RAS from DICOM's LPS
    image = nib.Nifti1Image((np.moveaxis(SUV, 0, -1) > 5).astype(np.uint8), affine)
    image.set_qform(affine, code=1)
    image.set_sform(moved @ affine, code=1)
    nib.save(image, tmp_path / "mask.nii.gz")
    with pytest.raises(FedpetError, match=r"(?i)qform|sform"):
        read_mask(tmp_path / "mask.nii.gz", study.pet)
