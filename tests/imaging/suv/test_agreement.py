"""Every value that enters the SUV must be one value: whichever slice differs, and wherever the value stands."""

from __future__ import annotations

import datetime as dt
import re

import numpy as np
import pytest
from pydicom.dataset import Dataset

from fedpet.core.errors import SuvError
from fedpet.imaging.loading import load_study
from fedpet.imaging.suv.calibration import calibrate_suv
from fedpet.imaging.suv.overrides import parse_override

SLICES = 12
SUV = np.full((SLICES, 4, 4), 2.0)
WHICH = {"first": [0], "middle": [5], "last": [SLICES - 1], "half": range(SLICES // 2), "all but one": range(1, SLICES)}


def code(value):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", "code"
    return item


def set_tag(keyword, value):
    return lambda one: setattr(one, keyword, value)


def set_inner(keyword, value):
    return lambda one: setattr(one.RadiopharmaceuticalInformationSequence[0], keyword, value)


def remove_inner(keyword):
    return lambda one: delattr(one.RadiopharmaceuticalInformationSequence[0], keyword)


def ge(element, value):
    def change(one):
        one.add_new((0x0009, 0x0010), "LO", "GEMS_PETD_01")
        one.add_new((0x0009, 0x1000 + element), "DT", value)

    return change


# what some slices state otherwise -> how to change them, the sentence, the correction that settles it
DIFFERENT = {
    "weight": (set_tag("PatientWeight", "110"), "patient's weight differs", ("weight_kg", "70")),
    "weight in grams": (set_tag("PatientWeight", "110000"), "patient's weight differs", ("weight_kg", "70")),
    "weight zero": (set_tag("PatientWeight", "0"), "patient's weight differs", ("weight_kg", "70")),
    "weight missing": (set_tag("PatientWeight", None), "patient's weight differs", ("weight_kg", "70")),
    "weight unreadable": (set_tag("PatientWeight", "70\\80"), "patient's weight differs", ("weight_kg", "70")),
    "height": (set_tag("PatientSize", "1.60"), "patient's height differs", ("height_m", "1.7")),
    "sex": (set_tag("PatientSex", "M"), "patient's sex differs", None),
    "dose": (set_inner("RadionuclideTotalDose", "310e6"), "administered dose differs", ("dose_mbq", "280")),
    "dose in MBq": (set_inner("RadionuclideTotalDose", "310"), "administered dose differs", ("dose_mbq", "280")),
    "dose missing": (remove_inner("RadionuclideTotalDose"), "administered dose differs", ("dose_mbq", "280")),
    "half-life": (set_inner("RadionuclideHalfLife", "4062.6"), "half-life differs", None),
    "half-life in minutes": (set_inner("RadionuclideHalfLife", "109.77"), "half-life differs", None),
    "half-life of another table": (set_inner("RadionuclideHalfLife", "6588"), "half-life differs", None),
    "injection": (
        set_inner("RadiopharmaceuticalStartTime", "093000"), "injection time differs", ("injection_time", "09:00"),
    ),
    "injection missing": (
        remove_inner("RadiopharmaceuticalStartTime"), "injection time differs", ("injection_time", "09:00"),
    ),
    "injection unreadable": (
        set_inner("RadiopharmaceuticalStartTime", "9h"), "injection time differs", ("injection_time", "09:00"),
    ),
    "injection with its date": (
        set_inner("RadiopharmaceuticalStartDateTime", "20240305093000"), "injection time differs",
        ("injection_time", "09:00"),
    ),
    "GE's injection": (ge(0x3B, "20240305093000"), "injection time differs", ("injection_time", "09:00")),
    "series time": (set_tag("SeriesTime", "095000"), "start of the scan differs", ("scan_start", "10:00")),
    "series date": (set_tag("SeriesDate", "20240306"), "start of the scan differs", ("scan_start", "10:00")),
    "GE's scan time": (ge(0x0D, "20240305095000"), "start of the scan differs", ("scan_start", "10:00")),
    "tracer": (set_inner("Radiopharmaceutical", "PSMA"), "radiopharmaceutical differs", None),
    "tracer's code": (
        set_inner("RadiopharmaceuticalCodeSequence", [code("C-B1031")]), "radiopharmaceutical differs", None,
    ),
    "nuclide": (set_inner("RadionuclideCodeSequence", [code("77004003")]), "radiopharmaceutical differs", None),
    "no tracer": (set_tag("RadiopharmaceuticalInformationSequence", []), "radiopharmaceutical differs", None),
    "units": (set_tag("Units", "CNTS"), "unit of the pixels differs", None),
    "units missing": (set_tag("Units", None), "unit of the pixels differs", None),
    "kind of SUV": (set_tag("SUVType", "LBM"), "kind of SUV differs", None),
    "decay correction": (set_tag("DecayCorrection", "ADMIN"), "decay correction differs", None),
    "not decayed": (set_tag("CorrectedImage", ["NORM", "ATTN"]), "decay correction differs", None),
    "time zone": (set_tag("TimezoneOffsetFromUTC", "+0100"), "time zone differs", None),
}  # fmt: skip


def spoilt(dicom, change, which, **tags):
    slices = dicom.pet(SUV, **tags)
    for place in which:
        change(slices[place])
    return slices


@pytest.mark.filterwarnings("ignore:Invalid value")  # of pydicom, about what is planted here
@pytest.mark.parametrize("which", WHICH.values(), ids=WHICH)
@pytest.mark.parametrize(("change", "sentence", "correction"), DIFFERENT.values(), ids=DIFFERENT)
def test_slices_that_differ_are_refused_with_the_values_or_settled_by_a_person(
    dicom, change, sentence, correction, which
):
    slices = spoilt(dicom, change, which)
    with pytest.raises(SuvError, match=sentence) as refusal:
        calibrate_suv(slices)
    found = str(refusal.value.found)
    assert f"in {len(which)} of {SLICES} slices" in found
    assert f"in {SLICES - len(which)} of {SLICES} slices" in found
    if correction:
        given = parse_override(*correction, reason="the form of the day")
        assert calibrate_suv(slices, [given]).factors == pytest.approx(calibrate_suv(dicom.pet(SUV)).factors)
    else:
        assert "Correct" not in str(refusal.value.advice)


def test_the_values_and_their_numbers_are_named_the_most_frequent_first(dicom):
    slices = spoilt(dicom, set_tag("PatientWeight", "110"), [3])
    set_tag("PatientWeight", "95.5")(slices[7])
    with pytest.raises(SuvError) as refusal:
        calibrate_suv(slices)
    assert re.search("70.0 in 10 of 12 slices, 110 in 1 of 12 slices, 95.5 in 1 of 12", str(refusal.value.found))


EQUAL = {
    "decimals": set_tag("PatientWeight", "70.000"),
    "rounding": set_tag("PatientWeight", "70.005"),
    "grams": set_tag("PatientWeight", "70000"),
    "centimetres": set_tag("PatientSize", "170"),
    "MBq": set_inner("RadionuclideTotalDose", "280"),
    "an exponent": set_inner("RadionuclideTotalDose", "2.8E+08"),
    "a float's half-life": set_inner("RadionuclideHalfLife", "6586.2001953125"),
    "a second": set_inner("RadiopharmaceuticalStartTime", "090000.9"),
    "colons": set_inner("RadiopharmaceuticalStartTime", "09:00:00"),
    "small letters": set_inner("Radiopharmaceutical", "fdg"),
    "the series second": set_tag("SeriesTime", "100000.50"),
    "no sex": set_tag("PatientSex", ""),
    "another scatter correction": set_tag("CorrectedImage", ["NORM", "ATTN", "DECY"]),
}


@pytest.mark.parametrize("which", WHICH.values(), ids=WHICH)
@pytest.mark.parametrize("change", EQUAL.values(), ids=EQUAL)
def test_what_is_equal_within_rounding_is_one_value(dicom, change, which):
    factors = calibrate_suv(spoilt(dicom, change, which)).factors
    assert factors == pytest.approx(calibrate_suv(dicom.pet(SUV)).factors, rel=2e-4)


def by_bed(dicom):
    """What differs between the slices of a good series of three beds."""
    slices = dicom.pet(SUV)
    for k, one in enumerate(slices):
        minutes = 4 * (k // 4)
        one.AcquisitionTime = (dicom.START + dt.timedelta(minutes=minutes)).strftime("%H%M%S.%f")
        one.FrameReferenceTime = str(60_000 + 60_000 * minutes)
        one.ActualFrameDuration = "120000"
        one.DecayFactor = str(2 ** ((60 + 60 * minutes) / dicom.HALF_LIFE_S))
        one.AcquisitionNumber, one.InstanceNumber = k // 4, k
    return slices


def test_what_differs_between_beds_by_its_nature_is_no_contradiction(dicom):
    calibration = calibrate_suv(by_bed(dicom))
    assert calibration.factors == calibrate_suv(dicom.pet(SUV)).factors
    assert [check.level.value for check in calibration.checks()] == ["pass", "pass"]


@pytest.mark.parametrize("change", [DIFFERENT[name][0] for name in ("weight", "dose", "injection", "half-life")])
@pytest.mark.parametrize("units", [{"Units": "GML"}, {"Units": "CM2ML", "PatientSize": "1.7"}])
def test_no_correction_settles_what_the_scanner_normalised_with_different_values(dicom, change, units):
    slices = spoilt(dicom, change, [4], **units)
    corrections = [
        parse_override(name, value, reason="the form of the day")
        for name, value in (("weight_kg", "70"), ("dose_mbq", "280"), ("injection_time", "09:00"))
    ]
    for given in ([], corrections):
        with pytest.raises(SuvError, match="differs between the slices"):
            calibrate_suv(slices, given)


@pytest.mark.parametrize("keyword", ["PatientWeight", "PatientSize", "RadiopharmaceuticalInformationSequence"])
@pytest.mark.parametrize("frame", [0, 7, SLICES - 1])
def test_a_frame_that_differs_is_refused(dicom, tmp_path, keyword, frame):
    """In the unassigned attributes of a frame, where a converted object keeps what its slices did not share."""
    values = {"PatientWeight": "110", "PatientSize": "1.5"}
    slices = dicom.pet(SUV)
    whole = dicom.enhanced(slices)
    own = Dataset()
    setattr(own, keyword, values.get(keyword) or [dicom.tracer(RadionuclideTotalDose="310e6")])
    whole.PerFrameFunctionalGroupsSequence[frame].UnassignedPerFrameConvertedAttributesSequence = [own]
    setattr(slices[frame], keyword, getattr(own, keyword))
    for name, content in (("enhanced", whole), ("converted", dicom.legacy_converted(slices))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_bytes(dicom.to_bytes(content))
        with pytest.raises(SuvError, match=r"differs between the slices.*in 1 of 12"):
            load_study(tmp_path / name, pseudonym_key=b"k", require="suv")


def test_frames_in_different_units_are_refused(dicom, tmp_path):
    whole = dicom.enhanced(dicom.pet(SUV))
    frame = whole.PerFrameFunctionalGroupsSequence[7]
    frame.RealWorldValueMappingSequence = [dicom.mapping("g/ml{SUVbw}", 1.0)]
    (tmp_path / "a").write_bytes(dicom.to_bytes(whole))
    with pytest.raises(SuvError, match="unit of the pixels differs"):
        load_study(tmp_path, pseudonym_key=b"k", require="suv")


@pytest.mark.parametrize("keyword", ["Units", "SeriesType", "CorrectedImage"])
def test_halves_of_one_pet_are_not_used_as_two(dicom, tmp_path, keyword):
    """Each half would look whole, and the longer one would be chosen without a word."""
    values = {"Units": "GML", "SeriesType": ["STATIC", "IMAGE"], "CorrectedImage": ["NORM", "DECY"]}
    slices = spoilt(dicom, set_tag(keyword, values[keyword]), range(5))
    folder = dicom.save(slices, tmp_path / "p")
    if keyword == "SeriesType":
        assert load_study(folder, pseudonym_key=b"k", require="suv").pet.shape[0] == SLICES
        return
    with pytest.raises(Exception, match=r"unit of the pixels differs|without attenuation correction"):
        load_study(folder, pseudonym_key=b"k", require="suv")


def test_items_of_the_radiopharmaceutical_that_say_the_same_are_one(dicom):
    twice = dicom.pet(SUV)
    for one in twice:
        one.RadiopharmaceuticalInformationSequence = [dicom.tracer(), dicom.tracer(RadionuclideTotalDose="2.8e8")]
    assert calibrate_suv(twice).factors == calibrate_suv(dicom.pet(SUV)).factors
    for one in twice:
        one.RadiopharmaceuticalInformationSequence = [dicom.tracer(), Dataset()]
    assert calibrate_suv(twice).factors == calibrate_suv(dicom.pet(SUV)).factors
