from __future__ import annotations

import numpy as np
import pytest
from pydicom.uid import EnhancedPETImageStorage, SecondaryCaptureImageStorage, generate_uid

from fedpet.errors import SeriesNotFound, SuvNotComputable
from imaging.loading import load_study
from imaging.study import Level

SUV = np.full((10, 6, 6), 2.0)
HU = np.zeros((10, 8, 8), int)


def load(folder):
    return load_study(folder, pseudonym_key=b"k")


def chosen(study):
    return {one.modality: one.description for one in study.series if one.chosen}


def reason(study, description):
    return next(str(one.reason) for one in study.series if one.description == description)


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ({"CorrectedImage": ["NORM", "DECY"]}, "without attenuation correction"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MIP"]}, "projection"),
        ({"SeriesType": ["WHOLE BODY", "REPROJECTION"]}, "projection"),
        ({"SeriesType": ["DYNAMIC", "IMAGE"]}, "gated or dynamic"),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, "secondary capture"),
        ({"SOPClassUID": EnhancedPETImageStorage}, "enhanced multi-frame"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "screenshot"),
        ({"SamplesPerPixel": 3}, "colour"),
        ({"Units": "PROPCPS"}, "units PROPCPS"),
    ],
)
def test_a_longer_pet_of_the_wrong_kind_is_never_chosen(tmp_path, dicom, tags, why):
    """The other series has more slices, so that only its kind speaks against it."""
    other = dicom.pet(np.full((14, 6, 6), 9.0), series="other", **({"SeriesDescription": "OTHER"} | tags))
    study = load(dicom.save(dicom.pet(SUV) + other, tmp_path / "p", shuffle=1))
    assert chosen(study)["PT"] == "PET AC"
    assert study.pet.array.max() == pytest.approx(2.0, rel=1e-3)
    assert why in reason(study, "OTHER")


def test_only_an_uncorrected_pet_is_refused(tmp_path, dicom):
    with pytest.raises(SeriesNotFound, match="only PET series that cannot be used"):
        load(dicom.save(dicom.pet(SUV, CorrectedImage=["DECY"]), tmp_path / "p"))


def test_the_reason_of_the_only_pet_is_the_reason_of_the_refusal(tmp_path, dicom):
    with pytest.raises(SuvNotComputable, match="units CNTS"):
        load(dicom.save(dicom.pet(SUV, Units="CNTS"), tmp_path / "p"))


def test_the_longest_pet_is_chosen(tmp_path, dicom):
    bed = dicom.pet(np.full((6, 6, 6), 3.0), series="bed", SeriesDescription="ONE BED")
    study = load(dicom.save(bed + dicom.pet(SUV), tmp_path / "p"))
    assert chosen(study)["PT"] == "PET AC"


@pytest.mark.parametrize(
    ("tags", "shape"),
    [
        ({"FrameOfReferenceUID": generate_uid(entropy_srcs=["elsewhere"])}, 10),
        ({"ContrastBolusAgent": "IOMERON 350"}, 10),
        ({"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED"]}, 10),
        ({"AcquisitionTime": "110000"}, 10),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, 10),
        ({"SeriesDescription": "SCOUT 2"}, 10),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, 10),
        ({}, 6),
    ],
)
def test_the_ct_that_fits_the_pet_is_chosen(tmp_path, dicom, tags, shape):
    """Of two CTs, not the one elsewhere, with contrast, reformatted, later, a localizer, a capture or too short."""
    worse = dicom.ct(HU[:shape] + 7, series="worse", **({"SeriesDescription": "WORSE", "SeriesNumber": 1} | tags))
    study = load(dicom.save(worse + dicom.pet(SUV) + dicom.ct(HU), tmp_path / "p"))
    assert chosen(study)["CT"] == "CT AC"
    assert (study.ct.array == 0).all()


def test_a_contrast_ct_is_used_where_it_is_the_only_one_and_said(tmp_path, dicom):
    study = load(dicom.save(dicom.pet(SUV) + dicom.ct(HU, ContrastBolusAgent="IOMERON"), tmp_path / "p"))
    assert "covers 100 % of it, with contrast agent" in reason(study, "CT AC")


def test_a_ct_of_another_frame_is_no_ct(tmp_path, dicom):
    foreign = dicom.ct(HU, FrameOfReferenceUID=generate_uid(entropy_srcs=["elsewhere"]))
    study = load(dicom.save(dicom.pet(SUV) + foreign, tmp_path / "p"))
    assert study.ct is None
    assert "another frame of reference" in reason(study, "CT AC")
    assert next(one for one in study.checks if one.name == "ct_present").level is Level.FAIL


@pytest.mark.parametrize("keyword", ["PatientID", "StudyInstanceUID"])
def test_two_examinations_in_one_pile_are_refused(tmp_path, dicom, keyword):
    other = dicom.pet(SUV, series="other", **{keyword: "1.2.3"})
    with pytest.raises(SeriesNotFound, match="2 different examinations"):
        load(dicom.save(dicom.pet(SUV) + other, tmp_path / "p"))


def test_series_are_listed_once_with_their_geometry(tmp_path, dicom):
    study = load(dicom.save(dicom.pet(SUV) + dicom.ct(HU), tmp_path / "p", shuffle=5))
    facts = {one.modality: one for one in study.series}
    assert len(study.series) == 2
    assert (facts["PT"].instances, facts["PT"].shape, facts["PT"].spacing) == (10, (10, 6, 6), (4.0, 4.0, 4.0))
    assert (facts["CT"].shape, facts["CT"].spacing) == ((10, 8, 8), (2.0, 2.0, 4.0))
