"""One SeriesInstanceUID that holds several stacks, and one that only looks as if it did."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.uid import generate_uid

from fedpet.core.errors import SeriesNotFoundError, SliceGeometryError, StudyError
from fedpet.imaging.analysis import StudyAnalysis
from fedpet.imaging.loading import load_study

SUV = np.full((10, 6, 6), 2.0)
HU = np.zeros((10, 8, 8), int)
SAGITTAL = [0, 1, 0, 0, 0, -1]


def load(folder):
    return load_study(folder, pseudonym_key=b"k")


def facts(study, modality):
    return {(one.instances, one.chosen): str(one.reason) for one in study.series if one.modality == modality}


@pytest.mark.parametrize("tags", [{"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, {}])
@pytest.mark.parametrize("images", [1, 2])
def test_a_localizer_in_the_series_is_told_apart(tmp_path, dicom, tags, images):
    """With its image type, or by its orientation alone."""
    localizer = dicom.ct(HU[:images] + 9, ImageOrientationPatient=SAGITTAL, **tags)
    for number, one in enumerate(localizer):
        one.SOPInstanceUID = generate_uid(entropy_srcs=["localizer", str(number)])
    study = load(dicom.save(dicom.pet(SUV) + localizer + dicom.ct(HU), tmp_path / "p", shuffle=1))
    assert (study.ct.array == 0).all()
    reasons = facts(study, "CT")
    assert set(reasons) == {(images, False), (10, True)}
    assert all("of 2 in one series: " in why for why in reasons.values())


@pytest.mark.parametrize("order", [1, -1])
def test_pet_with_and_without_attenuation_correction_in_one_series(tmp_path, dicom, order):
    uncorrected = dicom.pet(SUV + 7, CorrectedImage=["NORM", "DECY"])
    for one in uncorrected:
        one.SOPInstanceUID = generate_uid()
    both = [uncorrected, dicom.pet(SUV)][::order]
    study = load(dicom.save([*both[0], *both[1]], tmp_path / "p"))
    assert study.pet.array.max() == pytest.approx(2.0, rel=1e-3)
    assert min(why for why in facts(study, "PT").values() if "without" in why).endswith(
        "in one series: PET without attenuation correction"
    )


@pytest.mark.parametrize(
    "tags",
    [
        {"AcquisitionNumber": 2},
        {"ConvolutionKernel": "B70f"},
        {"ImageType": ["DERIVED", "SECONDARY", "AXIAL"]},
    ],
)
def test_two_reconstructions_or_acquisitions_of_a_ct_in_one_series(tmp_path, dicom, tags):
    defaults = {"AcquisitionNumber": 1, "ConvolutionKernel": "B30f"}
    first = dicom.ct(HU, **defaults)
    second = dicom.ct(np.full((9, 8, 8), 7), **(defaults | tags))
    for one in second:
        one.SOPInstanceUID = generate_uid()
        one.AcquisitionTime = "103000"
    study = load(dicom.save(dicom.pet(SUV) + second + first, tmp_path / "p", shuffle=1))
    assert (study.ct.array == 0).all()
    assert set(facts(study, "CT")) == {(10, True), (9, False)}


def test_two_acquisitions_of_different_spacing_in_one_series(tmp_path, dicom):
    """The chest in thin slices above the whole body in thick ones."""
    thin = dicom.ct(np.full((9, 8, 8), 7), spacing=(2, 2, 1.0), origin=(-40, -40, 40), AcquisitionNumber=2)
    for one in thin:
        one.SOPInstanceUID = generate_uid()
    study = load(dicom.save(dicom.pet(SUV) + thin + dicom.ct(HU, AcquisitionNumber=1), tmp_path / "p", shuffle=1))
    assert (study.ct.array == 0).all()
    assert set(facts(study, "CT")) == {(10, True), (9, False)}


def test_axial_images_and_coronal_reformats_in_one_series(tmp_path, dicom):
    coronal = dicom.ct(np.full((8, 10, 8), 7), ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    for number, one in enumerate(coronal):
        one.SOPInstanceUID, one.ImagePositionPatient = generate_uid(), [-40, -40 + 2 * number, 36]
    study = load(dicom.save(dicom.pet(SUV) + coronal + dicom.ct(HU), tmp_path / "p", shuffle=1))
    assert {one.shape for one in study.series if one.modality == "CT"} == {(8, 10, 8), (10, 8, 8)}


def test_beds_with_a_missing_slice_between_them_are_not_two_series(tmp_path, dicom):
    """Each bed has its own acquisition number, and without the missing slice each is a volume."""
    pet = dicom.pet(np.full((13, 6, 6), 2.0))
    for number, one in enumerate(pet):
        one.AcquisitionNumber = 1 + number // 7
    with pytest.raises(SliceGeometryError, match="1 slices are missing in 1 gaps"):
        load(dicom.save(pet[:6] + pet[7:], tmp_path / "p"))
    assert load(dicom.save(pet, tmp_path / "whole")).pet.shape == (13, 6, 6)


@pytest.mark.parametrize(
    "keyword", ["AcquisitionTime", "FrameReferenceTime", "TriggerTime", "TemporalPositionIdentifier"]
)
@pytest.mark.parametrize(
    "told", [{}, {"AcquisitionNumber": (1, 2)}, {"ImageType": (["ORIGINAL", "A"], ["ORIGINAL", "B"])}]
)
def test_a_dynamic_pet_is_refused_and_not_cut_into_static_ones(tmp_path, dicom, keyword, told):
    phases = []
    for phase, time in enumerate(("100000", "101000")):
        slices = dicom.pet(SUV, **{keyword: time}, **{name: values[phase] for name, values in told.items()})
        for one in slices:
            one.SOPInstanceUID = generate_uid()
        phases += slices
    with pytest.raises(SliceGeometryError, match="gated or dynamic"):
        load(dicom.save(phases, tmp_path / "p"))


def test_the_static_series_beside_a_dynamic_one_is_chosen(tmp_path, dicom):
    phases = [one for time in ("100000", "101000") for one in dicom.pet(SUV + 5, series="d", AcquisitionTime=time)]
    for one in phases:
        one.SOPInstanceUID = generate_uid()
    study = load(dicom.save(phases + dicom.pet(SUV[:8]), tmp_path / "p"))
    assert study.pet.shape == (8, 6, 6)
    assert "gated or dynamic" in facts(study, "PT")[20, False]


@pytest.mark.parametrize(
    "spoil",
    [
        {"PixelSpacing": [4.4, 4.4]},
        {"Units": "CNTS"},
        {"CorrectedImage": ["DECY"]},
        {"Rows": 5, "PixelData": b"\0" * 60},
    ],
)
def test_a_spoiled_last_slice_is_not_left_out(tmp_path, dicom, spoil):
    """It may be the end of the volume."""
    pet = dicom.pet(SUV)
    for keyword, value in spoil.items():
        setattr(pet[-1], keyword, value)
    with pytest.raises(StudyError):
        load(dicom.save(pet, tmp_path / "p"))


@pytest.mark.parametrize("modality", ["PT", "CT"])
def test_frames_of_reference_that_differ_inside_a_series_are_refused(tmp_path, dicom, modality):
    """Two halves that each look whole."""
    slices = dicom.pet(SUV) if modality == "PT" else dicom.ct(HU)
    for one in slices[5:]:
        one.FrameOfReferenceUID = "1.2.3"
    if modality == "PT":
        with pytest.raises(SeriesNotFoundError, match="its images name several frames of reference"):
            load(dicom.save(slices, tmp_path / "p"))
    else:
        assert load(dicom.save(slices + dicom.pet(SUV), tmp_path / "p")).ct is None


def test_a_frame_of_reference_missing_in_some_slices_is_that_of_the_others(tmp_path, dicom):
    ct = dicom.ct(HU)
    ct[0].FrameOfReferenceUID = ct[4].FrameOfReferenceUID = ""
    assert load(dicom.save(dicom.pet(SUV) + ct, tmp_path / "p")).ct.shape == (10, 8, 8)


def test_identical_copies_are_left_out_and_different_ones_refused(tmp_path, dicom):
    copies = dicom.pet(SUV)[3:5]
    study = load(dicom.save(dicom.pet(SUV) + copies, tmp_path / "same"))
    assert study.pet.shape == (10, 6, 6)
    for one in copies:
        one.PixelData = b"\1" * len(one.PixelData)
        one.SOPInstanceUID = generate_uid()
    with pytest.raises(SliceGeometryError, match="Two different images lie at the same place"):
        load(dicom.save(dicom.pet(SUV) + copies, tmp_path / "different"))


def test_an_acquisition_number_for_each_image_is_no_stack(tmp_path, dicom):
    """As axial scanners count; with a missing slice it is still one series with a gap."""
    ct = dicom.ct(np.zeros((50, 8, 8), int), origin=(-40, -40, -80))
    for number, one in enumerate(ct):
        one.AcquisitionNumber = number
    assert load(dicom.save(dicom.pet(SUV) + ct, tmp_path / "p")).ct.shape == (50, 8, 8)
    study = load(dicom.save(dicom.pet(SUV) + ct[:20] + ct[21:], tmp_path / "gap"))
    assert study.ct is None
    (check,) = (one for one in StudyAnalysis(study).checks if one.name == "ct_present")
    assert "1 slices are missing in 1 gaps" in str(check.reason)
