from __future__ import annotations

import io

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    CTImageStorage,
    EnhancedPETImageStorage,
    SecondaryCaptureImageStorage,
    XRayRadiationDoseSRStorage,
)

from fedpet.core.errors import SeriesNotFoundError, SliceGeometryError, StudyError, SuvError
from fedpet.imaging.loading import load_study
from fedpet.imaging.study import CheckStatus

SUV = np.full((10, 6, 6), 2.0)
HU = np.zeros((10, 8, 8), int)


def load(folder, **options):
    return load_study(folder, pseudonym_key=b"k", **options)


def chosen(study):
    return {one.modality: one.description for one in study.series if one.chosen}


def reason(study, description):
    return next(str(one.reason) for one in study.series if one.description == description)


NEVER = {
    "non-AC": ({"CorrectedImage": ["NORM", "DECY"]}, "without attenuation correction"),
    "non-AC by its name": ({"SeriesDescription": "PET NAC"}, "its name says that it is not corrected"),
    "non-AC by its French name": ({"SeriesDescription": "TEP non corrigée"}, "its name says that it is not corrected"),
    "MIP": ({"ImageType": ["DERIVED", "SECONDARY", "MIP"]}, "projection"),
    "MIP by its name": ({"SeriesDescription": "AC_MIP_3D"}, "projection"),
    "reprojection": ({"SeriesType": ["WHOLE BODY", "REPROJECTION"]}, "projection"),
    "dynamic": ({"SeriesType": ["DYNAMIC", "IMAGE"]}, "gated or dynamic"),
    "gated": ({"SeriesType": ["GATED", "IMAGE"]}, "gated or dynamic"),
    "respiratory gate": ({"ImageType": ["ORIGINAL", "PRIMARY", "RESP_GATED"]}, "gated or dynamic"),
    "secondary capture": ({"SOPClassUID": SecondaryCaptureImageStorage}, "secondary capture"),
    "PT of the CT class": ({"SOPClassUID": CTImageStorage}, "contradicts the class"),
    "undescribed frames": ({"SOPClassUID": EnhancedPETImageStorage}, "frames are not described"),
    "screenshot": ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "screenshot"),
    "colour": ({"SamplesPerPixel": 3}, "colour"),
    "palette": ({"PhotometricInterpretation": "PALETTE COLOR"}, "not a grey-scale image"),
    "count rates": ({"Units": "PROPCPS"}, "units PROPCPS"),
}


@pytest.mark.parametrize(("tags", "why"), NEVER.values(), ids=NEVER)
def test_a_longer_pet_of_the_wrong_kind_is_never_chosen(tmp_path, dicom, tags, why):
    """The other series has more slices, so that only its kind speaks against it."""
    other = dicom.pet(np.full((14, 6, 6), 9.0), series="other", **({"SeriesDescription": "OTHER"} | tags))
    folder = dicom.save(dicom.pet(SUV) + other, tmp_path / "p", shuffle=1)
    study = load(folder)
    assert chosen(study)["PT"] == "PET AC"
    assert study.pet.array.max() == pytest.approx(2.0, rel=1e-3)
    (refused,) = (one for one in study.series if not one.chosen)
    assert why in str(refused.reason)
    with pytest.raises(StudyError):
        load(folder, pet_series=refused.id)


ONE_IMAGE = {name: NEVER[name] for name in ("dynamic", "gated", "respiratory gate", "screenshot")}


@pytest.mark.parametrize("place", [0, 6, 13])
@pytest.mark.parametrize(("tags", "why"), ONE_IMAGE.values(), ids=ONE_IMAGE)
def test_what_one_image_says_holds_for_its_series(tmp_path, dicom, tags, why, place):
    other = dicom.pet(np.full((14, 6, 6), 9.0), series="other", SeriesDescription="OTHER")
    for keyword, value in tags.items():
        setattr(other[place], keyword, value)
    study = load(dicom.save(dicom.pet(SUV) + other, tmp_path / "p", shuffle=1))
    assert chosen(study)["PT"] == "PET AC"
    assert any(why in str(one.reason) for one in study.series)


COUNTS = ("NumberOfTimeSlices", "NumberOfTimeSlots", "NumberOfRRIntervals")


@pytest.mark.parametrize("keyword", COUNTS)
@pytest.mark.parametrize("kind", ["STATIC", "WHOLE BODY", ""])
@pytest.mark.parametrize("where", ["all", "one"])
def test_a_count_alone_makes_no_series_dynamic(tmp_path, dicom, keyword, kind, where):
    """Scanners and exporters count the beds, or write one number in all slices, of static series too."""
    slices = dicom.pet(SUV, SeriesType=[kind, "IMAGE"] if kind else None)
    for k, one in enumerate(slices if where == "all" else slices[2:3]):
        setattr(one, keyword, 3)
        one.AcquisitionTime = f"10{5 * (k // 3):02d}00"
    study = load(dicom.save(slices, tmp_path / "p"))
    assert study.pet.array.max() == pytest.approx(2.0, rel=1e-3)
    (check,) = (one for one in study.header_checks if one.name == "slices")
    assert check.level is CheckStatus.PASS
    assert f"{keyword} 3" in str(check.reason)


@pytest.mark.parametrize("tags", [{}, {"NumberOfTimeSlices": 2, "SeriesType": ["STATIC", "IMAGE"]}])
@pytest.mark.parametrize("keyword", ["AcquisitionTime", "FrameReferenceTime", "TemporalPositionIdentifier"])
def test_images_that_share_a_place_and_differ_in_time_are_dynamic_whatever_the_series_says(
    tmp_path, dicom, tags, keyword
):
    early, late = (dicom.pet(SUV, series="dynamic", **tags, **{keyword: value}) for value in ("100000", "100500"))
    for one in late:
        one.SOPInstanceUID += ".2"
    with pytest.raises(StudyError, match="gated or dynamic"):
        load(dicom.save(early + late, tmp_path / "p"))


def test_a_dose_report_is_never_chosen(tmp_path, dicom):
    """It has the modality SR, or wrongly that of the CT it belongs to."""
    for modality in ("SR", "CT"):
        report = dicom.ct(np.zeros((6, 6, 6)), series="report", SOPClassUID=XRayRadiationDoseSRStorage)
        for one in report:
            one.Modality, one.SeriesDescription = modality, "Dose Report"
            del one.PixelData
        study = load(dicom.save(dicom.pet(SUV) + report, tmp_path / modality, shuffle=1))
        assert chosen(study) == {"PT": "PET AC"}
        assert study.ct is None


@pytest.mark.parametrize(
    "name", ["PET AC", "PET WB AC 3D", "TEP corrigée", "TEP CA", "FDG Shim 2i24s", "sans correction de diffusé", "naCl"]
)
def test_an_innocent_name_refuses_no_pet(tmp_path, dicom, name):
    assert load(dicom.save(dicom.pet(SUV, SeriesDescription=name), tmp_path / "p")).series[0].chosen


def test_only_an_uncorrected_pet_is_refused_with_its_reason(tmp_path, dicom):
    with pytest.raises(SeriesNotFoundError, match="No PET series that can be used: PET without attenuation correction"):
        load(dicom.save(dicom.pet(SUV, CorrectedImage=["DECY"]), tmp_path / "p"))


def test_the_reason_of_the_only_pet_is_the_reason_of_the_refusal(tmp_path, dicom):
    with pytest.raises(SuvError, match="units PROPCNTS"):
        load(dicom.save(dicom.pet(SUV, Units="PROPCNTS"), tmp_path / "p"))


def test_the_longest_pet_is_chosen(tmp_path, dicom):
    bed = dicom.pet(np.full((6, 6, 6), 3.0), series="bed", SeriesDescription="ONE BED")
    study = load(dicom.save(bed + dicom.pet(SUV), tmp_path / "p"))
    assert chosen(study)["PT"] == "PET AC"
    assert reason(study, "ONE BED") == "another attenuation-corrected PET is longer"
    assert reason(study, "PET AC") == "attenuation-corrected PET, the best of 2"


@pytest.mark.parametrize(
    ("tags", "slices", "why"),
    [
        ({"ImageType": ["DERIVED", "PRIMARY"]}, 10, "derived image; the original PET is there"),
        ({"FrameOfReferenceUID": "1.2.3"}, 10, "no CT belongs to it"),
        ({"SliceThickness": 5.1}, 8, "another PET of this length has more slices"),
        ({"AcquisitionTime": "113000", "SeriesTime": "113000"}, 10, "acquired later than another PET of this length"),
        ({"SeriesNumber": 3}, 10, "another PET as good has a lower series number"),
        ({}, 10, "no better than the one chosen, which comes first in the list"),
    ],
)
def test_of_pets_as_long_one_is_preferred_for_a_reason(tmp_path, dicom, tags, slices, why):
    spacing = (4.0, 4.0, 36 / (slices - 1))
    other = dicom.pet(
        np.ones((slices, 6, 6)), series="other", spacing=spacing, **({"SeriesDescription": "OTHER"} | tags)
    )
    study = load(dicom.save(other + dicom.pet(SUV) + dicom.ct(HU), tmp_path / "p"))
    if tags:
        assert chosen(study)["PT"] == "PET AC"
    assert why in [str(one.reason) for one in study.series]


@pytest.mark.parametrize("keyword", ["PatientID", "StudyInstanceUID"])
def test_two_examinations_in_one_pile_are_refused(tmp_path, dicom, keyword):
    other = dicom.pet(SUV, series="other", **{keyword: "1.2.3"})
    with pytest.raises(SeriesNotFoundError, match="2 different examinations"):
        load(dicom.save(dicom.pet(SUV) + other, tmp_path / "p"))


def test_series_are_listed_once_with_their_geometry(tmp_path, dicom):
    study = load(dicom.save(dicom.pet(SUV) + dicom.ct(HU), tmp_path / "p", shuffle=5))
    facts = {one.modality: one for one in study.series}
    assert len(study.series) == 2
    assert (facts["PT"].instances, facts["PT"].shape, facts["PT"].spacing) == (10, (10, 6, 6), (4.0, 4.0, 4.0))
    assert (facts["CT"].shape, facts["CT"].spacing) == ((10, 8, 8), (2.0, 2.0, 4.0))


def test_a_person_chooses_other_series(tmp_path, dicom):
    bed = dicom.pet(np.full((6, 6, 6), 3.0), series="bed", SeriesDescription="ONE BED")
    contrast = dicom.ct(HU + 5, series="contrast", SeriesDescription="PORTAL", ContrastBolusAgent="IOMERON")
    folder = dicom.save(bed + dicom.pet(SUV) + dicom.ct(HU) + contrast, tmp_path / "p")
    ids = {one.description: one.id for one in load(folder).series}
    assert sorted(ids.values()) == [1, 2, 3, 4]
    study = load(folder, pet_series=ids["ONE BED"], ct_series=ids["PORTAL"])
    assert chosen(study) == {"PT": "ONE BED", "CT": "PORTAL"}
    assert study.pet.shape == (6, 6, 6)
    assert (study.ct.array == 5).all()
    assert reason(study, "ONE BED") == reason(study, "PORTAL") == "chosen by the reader"
    assert {one.description: one.id for one in study.series} == ids


def test_a_person_chooses_among_several_examinations(tmp_path, dicom):
    """Which would otherwise be refused."""
    other = dicom.pet(SUV * 2, series="other", SeriesDescription="OTHER", StudyInstanceUID="1.2.3")
    folder = dicom.save(dicom.pet(SUV) + other, tmp_path / "p")
    series = [load(folder, pet_series=number).pet.array.max() for number in (1, 2)]
    assert sorted(series) == pytest.approx([2.0, 4.0], rel=1e-3)


@pytest.mark.parametrize(
    ("kind", "tags", "why"),
    [
        ("ct", {}, "there is no CT series with this number"),  # the number of the PET
        ("ct", {"FrameOfReferenceUID": "1.2.3"}, "another frame of reference"),
        ("ct", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        ("ct", {"PatientID": "HOSP-1"}, "another patient"),
        ("pet", {"CorrectedImage": ["DECY"]}, "without attenuation correction"),
    ],
)
def test_an_unfit_choice_is_refused_with_the_reason(tmp_path, dicom, kind, tags, why):
    make = dicom.ct if kind == "ct" and tags else dicom.pet
    other = make(HU[:, :6, :6] if make is dicom.ct else SUV, series="o", SeriesDescription="OTHER", **tags)
    folder = dicom.save(dicom.pet(SUV) + other, tmp_path / "p")
    number = next(one.id for one in load(folder).series if one.description == "OTHER")
    with pytest.raises(SeriesNotFoundError, match=f"Series {number} cannot be used: .*{why}"):
        load(folder, **{f"{kind}_series": number})


def test_a_number_that_no_series_has_is_refused(tmp_path, dicom):
    with pytest.raises(SeriesNotFoundError, match="no PT series with this number"):
        load(dicom.save(dicom.pet(SUV), tmp_path / "p"), pet_series=7)


def test_an_incomplete_choice_is_refused_for_its_geometry(tmp_path, dicom):
    gap = dicom.pet(SUV, series="gap", SeriesDescription="GAP")
    folder = dicom.save(dicom.pet(SUV) + gap[:4] + gap[6:], tmp_path / "p")
    number = next(one.id for one in load(folder).series if one.description == "GAP")
    with pytest.raises(SliceGeometryError, match="2 slices are missing"):
        load(folder, pet_series=number)


BARE = {
    "lower-case modality": {"Modality": "pt"},
    "modality PET": {"Modality": "PET"},
    "empty modality": {"Modality": ""},
    "empty class": {"SOPClassUID": ""},
    "no instance number": {"InstanceNumber": None},
    "no series number": {"SeriesNumber": None},
    "empty image type": {"ImageType": ""},
    "no samples per pixel": {"SamplesPerPixel": None},
    "no photometric interpretation": {"PhotometricInterpretation": None},
    "empty description": {"SeriesDescription": ""},
    "no instance UID": {"SOPInstanceUID": ""},
    "no series UID": {"SeriesInstanceUID": ""},
    "no times of acquisition": {"AcquisitionTime": "", "AcquisitionDate": ""},
    "no manufacturer": {"Manufacturer": "", "ManufacturerModelName": ""},
}


@pytest.mark.parametrize("tags", BARE.values(), ids=BARE)
def test_what_is_missing_and_not_needed_is_tolerated(tmp_path, dicom, tags):
    (tmp_path / "p").mkdir()
    for one in dicom.pet(SUV):
        file = pydicom.dcmread(io.BytesIO(dicom.to_bytes(one)))  # with the whole file meta information
        for keyword, value in tags.items():
            setattr(file, keyword, value)
            if value is None:
                del file[keyword]
        file.save_as(tmp_path / "p" / one.SOPInstanceUID)
    dicom.save(dicom.ct(HU), tmp_path / "p")
    study = load(tmp_path / "p")
    assert study.pet.array.max() == pytest.approx(2.0, rel=1e-3)
    assert study.ct is not None
