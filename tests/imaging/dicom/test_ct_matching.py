"""The CT that belongs to the PET is chosen among several, and every reason is said."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

from fedpet.imaging.analysis import StudyAnalysis
from fedpet.imaging.dicom.attenuation_ct import contrast
from fedpet.imaging.dicom.files import InputLimits, open_dicom_files
from fedpet.imaging.dicom.stacks import split_into_stacks
from fedpet.imaging.loading import load_study
from fedpet.imaging.resampling import Grid, resample
from fedpet.imaging.study import CheckStatus

SUV = np.full((10, 6, 6), 2.0)
HU = np.zeros((10, 8, 8), int)


def load(folder):
    return load_study(folder, pseudonym_key=b"k")


def reason(study, description):
    return next(str(one.reason) for one in study.series if one.description == description)


WORSE = {
    "another frame of reference": ({"FrameOfReferenceUID": "1.2.3"}, "another frame of reference than the PET"),
    "no frame of reference": ({"FrameOfReferenceUID": ""}, "only one of PET and CT names a frame of reference"),
    "another patient": ({"PatientID": "HOSP-1"}, "another patient than the PET's"),
    "reformatted": ({"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED"]}, "derived image; the original CT is there"),
    "contrast agent": ({"ContrastBolusAgent": "IOMERON 350"}, "with contrast agent; another CT is without"),
    "contrast by its name": ({"SeriesDescription": "ABDO_PORTAL"}, "with contrast agent; another CT is without"),
    "diagnostic by its name": ({"SeriesDescription": "POUMON FIN"}, "diagnostic CT: another has more signs"),
    "sharp kernel": ({"ConvolutionKernel": "B70f"}, "diagnostic CT: another has more signs"),
    "later": ({"AcquisitionTime": "110000"}, "another CT is closer to the PET in time"),
    "series number": ({"SeriesNumber": 3}, "another CT as good has a lower series number"),
    "localizer": ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
    "scout": ({"SeriesDescription": "Scout_Wb"}, "localizer"),
    "capture": ({"SOPClassUID": SecondaryCaptureImageStorage}, "secondary capture"),
    "MIP": ({"SeriesDescription": "Thorax MIP 8mm"}, "projection"),
    "spectral": ({"RescaleType": "MGML"}, "not in Hounsfield units"),
}


@pytest.mark.parametrize(("tags", "why"), WORSE.values(), ids=WORSE)
def test_the_ct_that_fits_the_pet_is_chosen_and_the_other_says_why_it_lost(tmp_path, dicom, tags, why):
    worse = dicom.ct(HU + 7, series="worse", **({"SeriesDescription": "WORSE"} | tags))
    better = dicom.ct(HU, SeriesDescription="BETTER")
    study = load(dicom.save(worse + dicom.pet(SUV) + better, tmp_path / "p", shuffle=2))
    assert (study.ct.array == 0).all()
    lost = next(one for one in study.series if one.modality == "CT" and not one.chosen)
    assert why in str(lost.reason)
    assert str(next(one.reason for one in study.series if one.chosen and one.modality == "CT")).startswith(
        "frame of reference of the PET, covers 100 % of it"
    )


def test_coverage_comes_first(tmp_path, dicom):
    short = dicom.ct(HU[:6] + 7, series="short", SeriesDescription="CT AC SHORT")
    study = load(dicom.save(short + dicom.pet(SUV) + dicom.ct(HU, SeriesDescription="PORTAL"), tmp_path / "p"))
    assert reason(study, "CT AC SHORT") == "another CT covers more of the PET"
    assert (study.ct.array == 0).all()


def test_the_attenuation_ct_is_preferred_to_a_diagnostic_one_that_covers_a_little_more(tmp_path, dicom):
    """As in most clinical studies: the low-dose CT ends a slice or two before the diagnostic one does."""
    suv = np.full((40, 6, 6), 2.0)
    attenuation = dicom.ct(
        np.zeros((37, 8, 8), int), spacing=(88, 88, 4.0), SeriesDescription="CT WB 3.75 AC", Exposure=30
    )
    portal = dicom.ct(np.full((80, 8, 8), 50), spacing=(45, 45, 2.0), series="p", SeriesDescription="TAP INJ")
    study = load(dicom.save(portal + dicom.pet(suv) + attenuation, tmp_path / "p"))
    assert (study.ct.array == 0).all()
    assert reason(study, "CT WB 3.75 AC") == (
        "frame of reference of the PET, covers 95 % of it, named for attenuation correction, wide field of view, "
        "slices as far apart as the PET's, low dose"
    )
    assert reason(study, "TAP INJ") == "with contrast agent; another CT is without"


@pytest.mark.parametrize("keyword", ["ReferencedImageSequence", "SourceImageSequence", "ReferencedSeriesSequence"])
def test_the_ct_that_the_pet_refers_to_is_chosen(tmp_path, dicom, keyword):
    """Although it is a contrast CT that was acquired later."""
    named = dicom.ct(HU + 5, series="named", ContrastBolusAgent="IOMERON", AcquisitionTime="103000")
    item = pydicom.Dataset()
    if keyword == "ReferencedSeriesSequence":
        item.SeriesInstanceUID = named[0].SeriesInstanceUID
    else:
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = named[0].SOPClassUID, named[3].SOPInstanceUID
    pet = dicom.pet(SUV, **{keyword: [item]})
    study = load(dicom.save(dicom.ct(HU, SeriesDescription="CT 2") + pet + named, tmp_path / "p"))
    assert (study.ct.array == 5).all()
    assert reason(study, "CT 2") == "the PET refers to another CT"


def test_a_contrast_ct_is_used_where_it_is_the_only_one_and_said(tmp_path, dicom):
    study = load(dicom.save(dicom.pet(SUV) + dicom.ct(HU, ContrastBolusAgent="IOMERON"), tmp_path / "p"))
    assert "covers 100 % of it, with contrast agent" in reason(study, "CT AC")


@pytest.mark.parametrize(
    ("name", "with_contrast"),
    [
        ("CT AC", False), ("CT sans injection", False), ("Thorax C-", False), ("WB native", False),
        ("Inventaire", False), ("CT_without contrast", False), ("THORAX NON INJ", False), ("Foie tardif", True),
        ("Thorax C+", True), ("TAP injecté", True), ("ABDO_PORTAL_1.25", True), ("Phase artérielle", True),
        ("CE-CT", True),
    ],
)  # fmt: skip
def test_contrast_is_read_from_the_name(tmp_path, dicom, name, with_contrast):
    with open_dicom_files(
        dicom.save(dicom.ct(HU, SeriesDescription=name), tmp_path / "p"), InputLimits(), print
    ) as files:
        (series,) = split_into_stacks(files.instances)
        assert contrast(series) is with_contrast


def test_a_ct_of_another_frame_is_no_ct(tmp_path, dicom):
    foreign = dicom.ct(HU, FrameOfReferenceUID=generate_uid())
    study = load(dicom.save(dicom.pet(SUV) + foreign, tmp_path / "p"))
    assert study.ct is None
    assert "another frame of reference" in reason(study, "CT AC")
    assert next(one for one in StudyAnalysis(study).checks if one.name == "ct_present").level is CheckStatus.FAIL


def unusable(study):
    """What is said of a CT that the PET is opened without."""
    (check,) = (one for one in StudyAnalysis(study).checks if one.name == "ct_present")
    assert check.level is CheckStatus.FAIL
    assert study.ct is None
    return str(check.reason)


def test_a_pet_opens_beside_an_incomplete_ct_unless_another_takes_its_place(tmp_path, dicom):
    ct = dicom.ct(HU)
    folder = dicom.save(dicom.pet(SUV) + ct[:3] + ct[5:], tmp_path / "p")
    assert "2 slices are missing" in unusable(load(folder))
    dicom.save(dicom.ct(HU, series="second", SeriesDescription="SECOND"), folder)
    study = load(folder)
    assert (study.ct.array == 0).all()
    assert "2 slices are missing" in reason(study, "CT AC")


def mixed_spacing(dicom):
    """Thin slices of the chest, thick ones of the abdomen, in one series."""
    ct = dicom.ct(np.zeros((30, 6, 6), int), origin=(-40, -40, -80), spacing=(2.0, 2.0, 1.25))
    for k, one in enumerate(ct[15:]):
        one.ImagePositionPatient[2] = -80 + 15 * 1.25 + 5.0 * k
    return ct


def turned(dicom):
    ct = dicom.ct(HU)
    ct[3].ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    return ct


def doubled(dicom):
    """Two reconstructions that nothing tells apart."""
    ct = dicom.ct(HU)
    for one in (others := dicom.ct(HU + 5)):
        one.SOPInstanceUID += ".2"
    return ct + others


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (mixed_spacing, "slice spacing varies from 1.25 to 5.00 mm"),
        (turned, "differ in orientation"),
        (doubled, "different images lie at the same place"),
        (lambda dicom: dicom.ct(HU)[:3], "slices of the series is 3"),
    ],
)
def test_a_ct_that_forms_no_volume_does_not_hide_the_pet(tmp_path, dicom, build, why):
    study = load(dicom.save(dicom.pet(SUV) + build(dicom), tmp_path / "p"))
    assert why in unusable(study)
    assert study.pet.array.max() == pytest.approx(2.0, rel=1e-3)


NO_FRAMES = {"FrameOfReferenceUID": ""}


def test_without_frames_of_reference_ct_and_pet_of_one_hour_scanner_and_place_belong_together(tmp_path, dicom):
    study = load(dicom.save(dicom.pet(SUV, **NO_FRAMES) + dicom.ct(HU, **NO_FRAMES), tmp_path / "p"))
    assert study.ct is not None
    assert "neither names a frame of reference" in reason(study, "CT AC")
    assert next(one for one in StudyAnalysis(study).checks if one.name == "ct_present").level is CheckStatus.WARN


@pytest.mark.parametrize(
    "tags",
    [
        {"AcquisitionTime": "123000"},
        {"ManufacturerModelName": "Another"},
        {"Manufacturer": ""},
        {"StudyInstanceUID": "1.2.3"},
        {"AcquisitionTime": "", "AcquisitionDate": "", "SeriesTime": ""},
    ],
)
def test_without_frames_of_reference_any_doubt_parts_ct_and_pet(tmp_path, dicom, tags):
    study = load(dicom.save(dicom.pet(SUV, **NO_FRAMES) + dicom.ct(HU, **(NO_FRAMES | tags)), tmp_path / "p"))
    assert study.ct is None
    assert "not certain that both belong together" in reason(study, "CT AC")


def test_without_frames_of_reference_a_ct_elsewhere_does_not_belong_to_the_pet(tmp_path, dicom):
    ct = dicom.ct(HU, origin=(-40, -40, 20), **NO_FRAMES)
    assert load(dicom.save(dicom.pet(SUV, **NO_FRAMES) + ct, tmp_path / "p")).ct is None


def test_a_ct_in_several_series_is_put_together(tmp_path, dicom):
    hu = np.arange(10)[:, None, None] * np.ones((10, 8, 8), int)
    whole = dicom.ct(hu)
    for number, one in enumerate(whole):
        one.SeriesInstanceUID = generate_uid(entropy_srcs=["upper" if number > 5 else "lower"])
        one.SeriesDescription = "CT UPPER" if number > 5 else "CT LOWER"
    other = dicom.ct(hu[:5] + 9, series="lung", ConvolutionKernel="B70f", SeriesDescription="LUNG")
    study = load(dicom.save(whole + dicom.pet(SUV) + other, tmp_path / "p", shuffle=4))
    np.testing.assert_array_equal(study.ct.array, hu)
    chosen = {one.description for one in study.series if one.chosen}
    assert chosen == {"PET AC", "CT UPPER", "CT LOWER"}
    assert "covers 100 % of it" in reason(study, "CT UPPER")
    assert "2 series together" in reason(study, "CT LOWER")


def test_series_that_make_no_volume_together_are_not_put_together(tmp_path, dicom):
    upper = dicom.ct(HU[:5] + 5, origin=(-40, -40, 22), series="upper", SeriesDescription="CT UPPER")
    study = load(dicom.save(dicom.ct(HU[:6], SeriesDescription="CT LOWER") + upper + dicom.pet(SUV), tmp_path / "p"))
    assert {one.description for one in study.series if one.chosen} == {"PET AC", "CT LOWER"}


def test_pet_and_ct_of_different_fields_of_view_and_matrices(tmp_path, dicom):
    ct = dicom.ct(np.zeros((30, 16, 12), int), spacing=(0.9, 1.1, 1.5), origin=(-10, -12, -3))
    study = load(dicom.save(dicom.pet(SUV, spacing=(4, 4, 4)) + ct, tmp_path / "p"))
    assert (study.pet.shape, study.ct.shape) == ((10, 6, 6), (30, 16, 12))
    assert study.ct.spacing == pytest.approx((0.9, 1.1, 1.5))


def test_a_tilted_ct_is_resampled_on_the_pet_and_not_taken_for_straight(tmp_path, dicom):
    """The gantry leans by 20 degrees while the table moves along z; the HU tell the height of each voxel."""
    angle = np.deg2rad(20)
    row, column = np.array([1.0, 0, 0]), np.array([0, np.cos(angle), np.sin(angle)])
    first, step = np.array([-40.0, -40.0, -20.0]), np.array([0, 0, 3.0])
    places = first + np.arange(30)[:, None, None, None] * step + np.arange(40)[:, None, None] * 2 * column
    heights = (places + np.arange(40)[:, None] * 2 * row)[..., 2]
    hu = np.rint(10 * heights).astype(int)
    ct = dicom.ct(hu, ImageOrientationPatient=[*row, *np.round(column, 6)])
    for one, place in zip(ct, places[:, 0, 0], strict=True):
        one.ImagePositionPatient = [*place]
    study = load(dicom.save(dicom.pet(SUV, origin=(-20, -20, 5)) + ct, tmp_path / "p"))
    on_pet = resample(study.ct, Grid.of(study.pet), outside=-1000).array
    expected = 10 * (5 + 4.0 * np.arange(10))[:, None, None] * np.ones(study.pet.shape)
    np.testing.assert_allclose(on_pet, expected, atol=1)


def test_coronal_pet_and_ct_cover_each_other_from_head_to_foot(tmp_path, dicom):
    coronal = {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}
    pet, ct = dicom.pet(SUV, **coronal), dicom.ct(HU, spacing=(3, 3, 4), **coronal)
    for slices in (pet, ct):
        for number, one in enumerate(slices):
            one.ImagePositionPatient = [-40, -40 + 4 * number, 20]
    study = load(dicom.save(pet + ct, tmp_path / "p", shuffle=3))
    assert "covers 100 % of it" in reason(study, "CT AC")
    assert study.pet.affine[:3, 1] == pytest.approx([0, 0, -4])
