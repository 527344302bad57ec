"""SUVbw by units and decay correction: each rule against values worked out independently."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from fedpet.core.errors import SuvError
from fedpet.imaging.lesions.masks import read_mask
from fedpet.imaging.loading import inspect_study, load_study
from fedpet.imaging.study import CheckStatus
from fedpet.imaging.suv.calibration import calibrate_suv
from tests.support.suv_vectors import philips, vector_headers

HALF_LIFE = 6586.2
SUV = np.full((6, 4, 4), 2.0)
HOUR = 2 ** (3600 / HALF_LIFE)  # how much more activity there was an hour before
PER_BQ = 70000 / 280e6  # g per Bq: 70 kg, 280 MBq
DROS = ("DRO_0_0", "DRO_1_0", "DRO_2_0", "DRO_2_4", "DRO_3_0", "DRO_3_1", "DRO_4_1", "DRO_5_0")


@pytest.fixture
def headers(dicom):
    """Build the headers of a small PET; keywords as `dicom.pet`."""
    return lambda **tags: dicom.pet(SUV, **tags)


def factor(headers):
    """The factor of a series that has one for all slices."""
    factors = calibrate_suv(headers).factors
    assert len(set(factors)) == 1
    return factors[0]


def test_start_decays_the_dose_to_the_scan(headers):
    # 70 kg, 280 MBq, 60 min: 70000 g / (280e6 Bq x 2^(-3600 / 6586.2)), worked out by hand
    assert factor(headers()) == pytest.approx(70000 / (280e6 * 0.6846330), rel=1e-5)
    facts = calibrate_suv(headers()).facts
    assert (facts.factor_rule, facts.reference_time_source) == ("bqml_start", "series_time")
    assert facts.suv_factor_min == facts.suv_factor_max == factor(headers())


def test_admin_does_not_decay_the_dose(headers):
    slices = headers(DecayCorrection="ADMIN")
    assert factor(slices) == pytest.approx(PER_BQ)
    facts = calibrate_suv(slices).facts
    assert (facts.factor_rule, facts.reference_time_source) == ("bqml_admin", "not needed")
    assert facts.uptake_min == pytest.approx(60)


def test_none_corrects_each_slice_from_its_own_acquisition(headers):
    """The scanner's mean activity over the frame, integrated numerically, gives back the activity at injection."""
    slices = headers(DecayCorrection="NONE", CorrectedImage=["NORM", "ATTN", "SCAT"])
    for k, one in enumerate(slices):
        one.AcquisitionTime = f"10{10 * (k // 2):02d}00"  # three beds, ten minutes apart
    calibration = calibrate_suv(slices)
    rate, middles = math.log(2) / HALF_LIFE, (np.arange(100_000) + 0.5) / 100_000 * 120
    expected = [PER_BQ / np.exp(-rate * (3600 + 600 * (k // 2) + middles)).mean() for k in range(6)]
    np.testing.assert_allclose(calibration.factors, expected, rtol=1e-9)
    facts = calibration.facts
    assert facts.factor_rule == "bqml_none_per_slice"
    assert facts.reference_time_source == "acquisition_time_per_slice"
    assert (facts.suv_factor_min, facts.suv_factor_max) == (calibration.factors[0], calibration.factors[-1])


@pytest.mark.parametrize("missing", ["AcquisitionTime", "ActualFrameDuration"])
def test_none_needs_time_and_duration_of_every_slice(headers, missing):
    slices = headers(DecayCorrection="NONE", CorrectedImage=["NORM", "ATTN"])
    delattr(slices[2], missing)
    with pytest.raises(SuvError, match="a slice has no acquisition time or duration"):
        calibrate_suv(slices)


@pytest.mark.parametrize("kind", ["", "BW"])
def test_gml_is_suv_already_and_needs_no_dose_or_weight(headers, dicom, kind):
    slices = headers(Units="GML", SUVType=kind, PatientWeight=None, drug=dicom.tracer(RadionuclideTotalDose=None))
    assert factor(slices) == 1.0
    facts = calibrate_suv(slices).facts
    assert (facts.factor_rule, facts.reference_time_source) == ("gml_bw", "not needed")


# Worked out by hand for 70 kg and 1.75 m, (W/H)^2 = 0.16 kg2/cm2, BMI 22.857
@pytest.mark.parametrize(
    ("kind", "sex", "mass", "rule"),
    [
        ("LBM", "M", 77.0 - 120 * 0.16, "gml_lbm"),
        ("LBM", "F", 74.9 - 148 * 0.16, "gml_lbm"),
        ("LBMJAMES128", "M", 77.0 - 128 * 0.16, "gml_lbm_james128"),
        ("LBMJAMES128", "F", 74.9 - 148 * 0.16, "gml_lbm_james128"),
        ("LBMJANMA", "M", 9270 * 70 / (6680 + 216 * 22.857143), "gml_lbm_janma"),
        ("LBMJANMA", "F", 9270 * 70 / (8780 + 244 * 22.857143), "gml_lbm_janma"),
        ("IBW", "M", 48.0 + 1.06 * 23, "gml_ibw"),
        ("IBW", "F", 45.5 + 0.91 * 23, "gml_ibw"),
        ("IBW", "O", (72.38 + 66.43) / 2, "gml_ibw"),
    ],
)
def test_gml_of_another_mass_is_converted_back(headers, kind, sex, mass, rule):
    slices = headers(Units="GML", SUVType=kind, PatientSex=sex, PatientSize="1.75")
    assert factor(slices) == pytest.approx(70 / mass, rel=1e-6)
    assert calibrate_suv(slices).facts.factor_rule == rule
    assert bool(calibrate_suv(slices).doubts) is (sex == "O")


def test_cm2ml_is_converted_back_from_body_surface(headers):
    # Du Bois: 0.007184 x 42.2981 x 6.08195 = 1.84813 m2, logarithms by hand
    slices = headers(Units="CM2ML", SUVType="BSA", PatientSize="1.75")
    assert factor(slices) == pytest.approx(70000 / 18481.3, rel=2e-5)
    assert calibrate_suv(slices).facts.factor_rule == "cm2ml_bsa"
    assert factor(headers(Units="CM2ML", PatientSize="1.75")) == factor(slices)


def test_philips_counts_become_suv_by_the_suv_scale_factor(headers, dicom):
    bare = {"PatientWeight": None, "drug": dicom.tracer(RadionuclideTotalDose=None)}
    slices = philips(headers(Units="CNTS", **bare), suv=0.000551, activity=1.602563)
    assert factor(slices) == 0.000551
    assert calibrate_suv(slices).facts.factor_rule == "cnts_suv_scale_factor"


@pytest.mark.parametrize("suv", [{}, {"suv": "0.0"}])
def test_philips_counts_without_suv_scale_factor_become_activity(headers, suv):
    slices = philips(headers(Units="CNTS"), activity=1.602563, **suv)
    assert factor(slices) == pytest.approx(1.602563 * PER_BQ * HOUR)
    facts = calibrate_suv(slices).facts
    assert (facts.factor_rule, facts.reference_time_source) == ("cnts_activity_scale_factor", "series_time")


def test_philips_activity_obeys_the_decay_correction(headers):
    slices = philips(headers(Units="CNTS", DecayCorrection="ADMIN"), activity=2.0)
    assert factor(slices) == pytest.approx(2 * PER_BQ)


def test_philips_factors_are_read_slice_by_slice(headers):
    slices = headers(Units="CNTS")
    for k, one in enumerate(slices):
        philips([one], suv=0.001 * (k + 1))
    np.testing.assert_allclose(calibrate_suv(slices).factors, 0.001 * np.arange(1, 7))


@pytest.mark.parametrize(
    ("factors", "said"),
    [
        ({}, "missing in 6 of 6 slices"),
        ({"suv": 0, "activity": 0}, "no number above zero (“0.0”)"),
        ({"suv": "0,001"}, "no number above zero (“0,001”)"),
        ({"suv": "-0.001"}, "no number above zero (“-0.001”)"),
    ],
)
def test_raw_counts_without_a_factor_are_refused(headers, factors, said):
    with pytest.raises(SuvError, match=re.escape(said)):
        calibrate_suv(philips(headers(Units="CNTS"), **factors))


def test_counts_with_a_factor_in_some_slices_only_are_refused(headers):
    slices = headers(Units="CNTS")
    philips(slices[:5], suv=0.001)
    with pytest.raises(SuvError, match="missing in 1 of 6 slices"):
        calibrate_suv(slices)


def test_philips_factors_do_not_count_under_bqml(headers):
    assert factor(philips(headers(), suv=5.0, activity=7.0)) == factor(headers())


@pytest.mark.parametrize(("creator", "block"), [("", 0x10), ("Philips PET Private Group", 0x11)])
def test_philips_factors_without_creator_or_in_another_block(headers, creator, block):
    assert factor(philips(headers(Units="CNTS"), creator=creator, block=block, suv=0.25)) == 0.25


def test_a_private_block_of_another_creator_is_not_philips(headers):
    with pytest.raises(SuvError, match="missing in 6 of 6 slices"):
        calibrate_suv(philips(headers(Units="CNTS"), creator="ACME PET", suv=0.25))


def test_slopes_are_kept_slice_by_slice(headers):
    slices = headers()
    for k, one in enumerate(slices):
        one.RescaleSlope = str(1 + k)
    assert calibrate_suv(slices).slopes == (1, 2, 3, 4, 5, 6)


@pytest.mark.parametrize(
    ("tags", "sentence"),
    [
        ({"Units": "PROPCPS"}, "units PROPCPS.*Not quantitative"),
        ({"Units": "PROPCNTS"}, "units PROPCNTS.*Not quantitative"),
        ({"Units": "CPS"}, "units CPS.*no calibration"),
        ({"Units": "1CM"}, "units 1CM.*not a PET"),
        ({"Units": ""}, "Units is missing"),
        ({"Units": "GML", "SUVType": "BSA"}, "type BSA in g/ml"),
        ({"Units": "CM2ML", "SUVType": "BW"}, "type BW in cm²/ml"),
        ({"Units": "GML", "SUVType": "LBM", "PatientSize": None}, "height is missing"),
        ({"Units": "CM2ML", "PatientWeight": "0"}, "weight is zero"),
        ({"Units": "CM2ML", "PatientSize": "0"}, "height is zero"),
        ({"Units": "CM2ML", "PatientSize": "17"}, "height is 17, which is no possible value"),
        ({"Units": "GML", "SUVType": "LBMJANMA", "PatientSex": ""}, "sex is missing"),
        ({"Units": "GML", "SUVType": "LBM", "PatientWeight": "200", "PatientSize": "1.5"}, "not positive"),
        ({"DecayCorrection": "NONE"}, "Decay Correction is NONE, Corrected Image is NORM, ATTN, SCAT, DECY"),
        ({"DecayCorrection": ""}, "Decay Correction is missing"),
        ({"CorrectedImage": ["ATTN", "NORM"]}, "Decay Correction is START, Corrected Image is ATTN, NORM"),
        ({"CorrectedImage": ["ATTN"], "DecayCorrection": "ADMIN"}, "Decay Correction is ADMIN, Corrected Image is"),
        ({"CorrectedImage": ["DECY", "NORM"]}, "not corrected for attenuation"),
        ({"RescaleIntercept": "-12"}, "intercept -12"),
        ({"PatientWeight": "0"}, "weight is zero"),
        ({"PatientWeight": None}, "weight is missing"),
        ({"PatientWeight": "-70"}, "weight is -70, which is no possible value"),
        ({"SeriesTime": "", "AcquisitionTime": ""}, "start of the scan is missing"),
        ({"SeriesTime": "10h00", "AcquisitionTime": ""}, r"start of the scan cannot be read \(“10h00”\)"),
    ],
)
def test_what_cannot_be_converted_is_refused_with_its_reason(headers, tags, sentence):
    with pytest.raises(SuvError, match=sentence):
        calibrate_suv(headers(**tags))


@pytest.mark.parametrize(
    ("tags", "sentence"),
    [
        ({"RadionuclideTotalDose": None}, "dose is missing"),
        ({"RadionuclideTotalDose": "0"}, "dose is zero"),
        ({"RadionuclideTotalDose": "280000"}, "dose is 280000, which is no possible value"),
        ({"RadionuclideTotalDose": "7.57"}, r"dose is 7.57: a dose in mCi \(280 MBq\)"),
        ({"RadionuclideHalfLife": None}, "half-life is missing"),
        ({"RadionuclideHalfLife": "0"}, "half-life is zero"),
        ({"RadionuclideHalfLife": "109.77"}, r"half-life is 109.77: one in minutes, not in seconds \(6586 s\)"),
        ({"RadionuclideHalfLife": "1.83"}, "half-life is 1.83: one in hours"),
        ({"RadiopharmaceuticalStartTime": None}, "injection time is missing"),
        ({"RadiopharmaceuticalStartTime": "9 o'clock"}, r"injection time cannot be read \(“9 o'…”\)"),
        ({"RadiopharmaceuticalStartTime": "103000"}, r"injection \(10:30:00\) is later than the start of the scan"),
        ({"RadiopharmaceuticalStartTime": "000000"}, "10.0 h before the scan"),
    ],
)
def test_what_the_tracer_lacks_is_refused_with_its_reason(headers, dicom, tags, sentence):
    with pytest.raises(SuvError, match=sentence):
        calibrate_suv(headers(drug=dicom.tracer(**tags)))


@pytest.mark.parametrize("slope", [None, "0", "-1", ["1", "2"]])
def test_one_slice_without_positive_slope_is_refused(headers, slope):
    slices = headers()
    slices[3].RescaleSlope = slope
    with pytest.raises(SuvError, match="rescale slope"):
        calibrate_suv(slices)


def test_two_radiopharmaceuticals_are_refused(headers, dicom):
    slices = headers()
    slices[3].RadiopharmaceuticalInformationSequence = [dicom.tracer(), dicom.tracer(RadionuclideTotalDose="1e8")]
    with pytest.raises(SuvError, match="2 radiopharmaceuticals"):
        calibrate_suv(slices)


def test_dose_in_megabecquerels(headers, dicom):
    slices = headers(drug=dicom.tracer(RadionuclideTotalDose="280"))
    assert factor(slices) == pytest.approx(factor(headers()))
    facts = calibrate_suv(slices).facts
    assert (facts.dose_bq, facts.dose_source) == (280e6, "MBq read as Bq")
    assert calibrate_suv(headers()).facts.dose_source == "Bq"


def test_weight_in_grams(headers):
    slices = headers(PatientWeight="70000")
    assert factor(slices) == pytest.approx(factor(headers()))
    facts = calibrate_suv(slices).facts
    assert (facts.weight_kg, facts.weight_source) == (70.0, "g read as kg")
    assert calibrate_suv(headers()).facts.weight_source == "kg"


@pytest.mark.parametrize(
    ("size", "height", "source"),
    [("1.75", 1.75, "m"), ("175", 1.75, "cm read as m"), ("0", None, ""), ("70", None, ""), (None, None, "")],
)
def test_height_in_metres_or_centimetres(headers, size, height, source):
    facts = calibrate_suv(headers(PatientSize=size)).facts
    assert (facts.height_m, facts.height_source) == (height, source)


def test_half_life_is_read_from_the_tag(headers, dicom):
    slices = headers(drug=dicom.tracer(RadionuclideHalfLife="4062.6"))
    assert factor(slices) == pytest.approx(PER_BQ * 2 ** (3600 / 4062.6))
    assert calibrate_suv(slices).facts.half_life_source == "header"


@pytest.mark.parametrize("value", ["77004003", "C-111A1"])
def test_half_life_is_read_from_the_radionuclide_code_where_the_tag_is_missing(headers, dicom, value):
    code = Dataset()
    code.CodeValue = value
    slices = headers(drug=dicom.tracer(RadionuclideHalfLife=None, RadionuclideCodeSequence=[code]))
    assert factor(slices) == pytest.approx(factor(headers()))
    assert calibrate_suv(slices).facts.half_life_source == "radionuclide_code"


def test_philips_suv_of_images_not_corrected_for_decay_is_a_warning(headers):
    slices = philips(headers(Units="CNTS", DecayCorrection="NONE", CorrectedImage=["ATTN"]), suv=0.001)
    assert calibrate_suv(slices).checks()[0].level is CheckStatus.WARN
    assert calibrate_suv(headers()).checks()[0].level is CheckStatus.PASS


@pytest.mark.reference_data
@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("PHILIPS_BQML", "series_time"),
        ("PHILIPS_CNTS_AND_BQML_SUV", "not needed"),
        ("PHILIPS_CNTS_AND_SUV", "not needed"),
        ("SIEMENS", "series_time"),
        ("GE_MEDICAL_AND_BQML", "series_time"),
        ("BQML_AC_DT_lessThan_S_DT_SIEMENS", "series_time"),
        ("CPS_AND_BQML_AC_DT_-_S_DT", "earliest_acquisition"),
        ("RADIOPHARM_DATETIME_UNDEFINED", "series_time"),
    ],
)
def test_real_scanner_headers_give_the_published_factor(reference_data, name, source):
    """All eight are START or counts with a factor, where the vectors' library is right; it ignores ADMIN."""
    folder = reference_data / "suv_vectors"
    expected = json.loads((folder / "calculate_suv_results.json").read_text())[name]["expected"]
    headers = vector_headers(folder, name)
    assert factor(headers) == pytest.approx(expected, rel=1e-5)
    assert calibrate_suv(headers).facts.reference_time_source == source


@pytest.mark.reference_data
@pytest.mark.parametrize("name", DROS)
def test_digital_reference_objects(reference_data, name):
    folder = reference_data / "dro" / name
    study = load_study(folder / "PT", pseudonym_key=b"k", require="images")
    inside = study.pet.array[read_mask(folder / "mask" / "DRO_mask.nii.gz", study.pet).labels.array > 0]
    assert len(inside) > 1000
    assert inside.min() == pytest.approx(0.20, abs=0.01)
    assert np.median(inside) == pytest.approx(1.00, abs=0.01)
    assert inside.max() == pytest.approx(4.00, abs=0.01)
    levels = {one.name: one.level for one in study.header_checks}
    assert levels["tracer"] is (CheckStatus.FAIL if name == "DRO_5_0" else CheckStatus.PASS)  # gallium-68 PSMA
    assert levels["suv"] is CheckStatus.PASS


@pytest.mark.reference_data
@pytest.mark.parametrize(
    ("name", "rule", "source"),
    [
        ("DRO_0_0", "bqml_start", "series_time"),
        ("DRO_2_0", "gml_bw", "not needed"),
        ("DRO_2_4", "cnts_suv_scale_factor", "not needed"),
        ("DRO_3_0", "bqml_start", "series_time"),
        ("DRO_3_1", "bqml_admin", "not needed"),
        ("DRO_5_0", "bqml_start", "series_time"),
    ],
)
def test_inspection_of_the_reference_objects_says_which_rule_gave_the_factor(reference_data, name, rule, source):
    report = inspect_study(reference_data / "dro" / name / "PT", pseudonym_key=b"k")
    pet = report["pet"]
    assert (pet["factor_rule"], pet["reference_time_source"]) == (rule, source)
    assert pet["suv_factor_min"] == pet["suv_factor_max"] > 0
    assert "refused" not in report
    assert ("refused_for_prediction" in report) is (name == "DRO_5_0")  # another tracer


def private(slices, group, creator, element, vr, value):
    """Write a private element; without creator if "", as some de-identification leaves it."""
    for one in slices:
        if creator:
            one.add_new((group, 0x10), "LO", creator)
        one.add_new((group, 0x1000 + element), vr, value)


def as_lbm_of_a_man(dicom):
    lean = 77.0 - 128 * 0.16  # 70 kg, 1.75 m
    return dicom.pet(VARIED, scale=lean / 70, Units="GML", SUVType="LBMJAMES128", PatientSex="M", PatientSize="1.75")


def as_ideal_weight_of_other_sex(dicom):
    ideal = (72.38 + 66.43) / 2
    return dicom.pet(VARIED, scale=ideal / 70, Units="GML", SUVType="IBW", PatientSex="O", PatientSize="1.75")


def as_body_surface(dicom):
    return dicom.pet(VARIED, scale=18481.3 / 70000, Units="CM2ML", SUVType="BSA", PatientSize="1.75")


def as_philips_suv(dicom):
    slices = dicom.pet(VARIED, scale=2000.0, Units="CNTS", Manufacturer="Philips Medical Systems")
    private(slices, 0x7053, "Philips PET Private Group", 0x00, "DS", "0.0005")
    return slices


def as_philips_activity(dicom):
    slices = dicom.pet(VARIED, scale=dicom.bqml_per_suv() / 0.5, Units="CNTS", Manufacturer="Philips Medical Systems")
    private(slices, 0x7053, "Philips PET Private Group", 0x09, "DS", "0.5")
    return slices


def as_megabecquerels(dicom):
    return dicom.pet(VARIED, drug=dicom.tracer(RadionuclideTotalDose="280"))


def as_admin(dicom):
    return dicom.pet(VARIED, scale=dicom.bqml_per_suv(0), DecayCorrection="ADMIN")


def as_reprocessed(dicom):
    """Series time an hour late; beds five minutes apart; reference times from the true start at 10:00."""
    slices = dicom.pet(VARIED, SeriesTime="110000")
    delay = HALF_LIFE / math.log(2) * math.log(math.log(2) / HALF_LIFE * 120 / (1 - 2 ** (-120 / HALF_LIFE)))
    for k, one in enumerate(slices):
        one.AcquisitionTime = f"10{5 + 5 * (k // 2):02d}00"
        one.FrameReferenceTime = f"{1000 * (300 + 300 * (k // 2) + delay):.2f}"
    return slices


def as_ge(dicom, *, creator="GEMS_PETD_01"):
    slices = dicom.pet(VARIED, SeriesTime="110000", AcquisitionTime="100500", Manufacturer="GE MEDICAL SYSTEMS")
    private(slices, 0x0009, creator, 0x0D, "DT", "20240305100000.00")
    return slices


def as_ge_without_creator(dicom):
    return as_ge(dicom, creator="")


def as_siemens(dicom):
    slices = dicom.pet(VARIED, SeriesTime="110000", AcquisitionTime="100500", Manufacturer="SIEMENS")
    private(slices, 0x0071, "SIEMENS MED PT", 0x22, "DT", "20240305100000.000000")
    return slices


def as_not_decayed(dicom):
    """Three beds; what the scanner counts in a frame of 120 s is the mean activity over it."""
    beds = [60 + 10 * (k // 2) for k in range(6)]
    rate = math.log(2) / HALF_LIFE
    mean = [
        dicom.bqml_per_suv(minutes) * (1 - math.exp(-rate * 120)) / (rate * 120) for minutes in beds
    ]  # at the start of the frame, over the frame
    stored = VARIED * np.array(mean)[:, None, None]
    slices = dicom.pet(
        stored, scale=1.0, DecayCorrection="NONE", CorrectedImage=["NORM", "DTIM", "ATTN", "SCAT", "RAN"]
    )
    for one, minutes in zip(slices, beds, strict=True):
        one.AcquisitionTime = f"10{minutes - 60:02d}00"
    return slices


def as_start_datetime_only(dicom):
    drug = dicom.tracer(RadiopharmaceuticalStartTime=None, RadiopharmaceuticalStartDateTime="20240305090000.000000")
    return dicom.pet(VARIED, drug=drug)


def over_midnight(dicom):
    night = {
        "SeriesDate": "20240306",
        "AcquisitionDate": "20240306",
        "SeriesTime": "003000",
        "AcquisitionTime": "003000",
    }
    return dicom.pet(VARIED, **night, drug=dicom.tracer(RadiopharmaceuticalStartTime="233000"))


def with_gallium(dicom):
    scale = 280e6 * 2 ** (-3600 / 4057.74) / 70000
    drug = dicom.tracer(Radiopharmaceutical="Ga-68 PSMA", RadionuclideHalfLife="4057.74")
    return dicom.pet(VARIED, scale=scale, drug=drug)


VARIED = np.random.default_rng(3).uniform(0.2, 4.0, (6, 8, 8))
VARIANTS = [
    (as_lbm_of_a_man, "gml_lbm_james128", "not needed"),
    (as_ideal_weight_of_other_sex, "gml_ibw", "not needed"),
    (as_body_surface, "cm2ml_bsa", "not needed"),
    (as_philips_suv, "cnts_suv_scale_factor", "not needed"),
    (as_philips_activity, "cnts_activity_scale_factor", "series_time"),
    (as_megabecquerels, "bqml_start", "series_time"),
    (as_admin, "bqml_admin", "not needed"),
    (as_reprocessed, "bqml_start", "back_computed"),
    (as_ge, "bqml_start", "ge_private_scan_datetime"),
    (as_ge_without_creator, "bqml_start", "ge_private_scan_datetime"),
    (as_siemens, "bqml_start", "siemens_private_decay_correction_datetime"),
    (as_not_decayed, "bqml_none_per_slice", "acquisition_time_per_slice"),
    (as_start_datetime_only, "bqml_start", "series_time"),
    (over_midnight, "bqml_start", "series_time"),
    (with_gallium, "bqml_start", "series_time"),
]


@pytest.mark.parametrize(("build", "rule", "source"), VARIANTS)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_every_variant_of_the_manual_reads_from_files(tmp_path, dicom, build, rule, source, syntax):
    """The list of reference objects in the manual of the IBSI, those not at hand included."""
    for place, one in enumerate(build(dicom)):
        if syntax == ExplicitVRBigEndian:
            one.PixelData = np.frombuffer(one.PixelData, "<i2").astype(">i2").tobytes()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = syntax
        one.file_meta.MediaStorageSOPClassUID, one.file_meta.MediaStorageSOPInstanceUID = (
            one.SOPClassUID,
            one.SOPInstanceUID,
        )
        one.save_as(tmp_path / f"{place}.dcm", enforce_file_format=True)
    study = load_study(tmp_path, pseudonym_key=b"k", require="images")
    np.testing.assert_allclose(study.pet.array, VARIED, rtol=5e-4)
    assert (study.pet_facts.factor_rule, study.pet_facts.reference_time_source) == (rule, source)
