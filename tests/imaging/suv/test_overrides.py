"""A person's corrections: what is accepted, what they change under every rule, and how they are recorded."""

from __future__ import annotations

import datetime as dt
import pickle

import numpy as np
import pytest

from fedpet.core.errors import OverrideError, StudyError, SuvError
from fedpet.imaging.loading import inspect_study, load_study
from fedpet.imaging.study import AppliedOverride
from fedpet.imaging.suv.calibration import calibrate_suv
from fedpet.imaging.suv.overrides import ManualOverride, parse_override

HALF_LIFE = 6586.2
SUV = np.full((6, 4, 4), 2.0)
PER_BQ = 70000 / 280e6
HOUR = 2 ** (3600 / HALF_LIFE)


@pytest.fixture
def headers(dicom):
    """Build the headers of a small PET; keywords as `dicom.pet`."""
    return lambda **tags: dicom.pet(SUV, **tags)


def correct(**values):
    return [parse_override(name, value, reason="typing error", by="reader") for name, value in values.items()]


def factor(headers, **values):
    return calibrate_suv(headers, correct(**values)).factors[0]


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [
        ("weight_kg", "82.5", 82.5),
        ("weight_kg", " 82,5 ", 82.5),
        ("height_m", "1.75", 1.75),
        ("dose_mbq", "285", 285.0),
        ("injection_time", "09:10", dt.time(9, 10)),
        ("injection_time", "9:10:30", dt.time(9, 10, 30)),
        ("scan_start", "2024-03-05T10:00:00", dt.datetime(2024, 3, 5, 10)),  # noqa: DTZ001  DICOM times are local
        ("scan_start", "2024-03-05 10:00", dt.datetime(2024, 3, 5, 10)),  # noqa: DTZ001
    ],
)
def test_what_a_person_types_is_read(name, typed, value):
    assert parse_override(name, typed, reason="r") == ManualOverride(name, value, "r")


@pytest.mark.parametrize(
    ("name", "typed", "sentence"),
    [
        ("weight_kg", "1.9", "1.9.*from 2.0 to 500.0"),
        ("weight_kg", "70000", "from 2.0 to 500.0"),
        ("weight_kg", "nan", "nan"),
        ("weight_kg", "seventy", "cannot be read"),
        ("height_m", "175", "from 0.4 to 2.6"),
        ("dose_mbq", "2.8e8", "from 1.0 to 5000.0"),
        ("injection_time", "9h10", "cannot be read"),
        ("injection_time", "10", "cannot be read"),
        ("scan_start", "2024-03-05", "cannot be read"),
        ("scan_start", "2024-03-05T10:00+01:00", "not a time"),
        ("sex", "F", "nothing called sex"),
    ],
)
def test_corrections_out_of_range_or_unreadable_are_refused(name, typed, sentence):
    with pytest.raises(OverrideError, match=sentence):
        parse_override(name, typed, reason="r")


@pytest.mark.parametrize("reason", ["", "  "])
def test_a_correction_without_reason_is_refused(reason):
    with pytest.raises(OverrideError, match="has no reason"):
        parse_override("weight_kg", "70", reason=reason)


def test_a_correction_is_not_a_refusal_of_the_study():
    assert not issubclass(OverrideError, StudyError)


def test_an_error_survives_being_sent_between_processes():
    with pytest.raises(OverrideError) as caught:
        parse_override("weight_kg", "1", reason="r")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301  made here


def test_one_value_corrected_twice_is_refused(headers):
    with pytest.raises(OverrideError, match="twice"):
        calibrate_suv(headers(), correct(weight_kg="70") + correct(weight_kg="80"))


def test_weight_dose_and_times_recompute_the_factor(headers):
    slices = headers()
    assert factor(slices, weight_kg="80") == pytest.approx(80000 / 280e6 * HOUR)
    assert factor(slices, dose_mbq="140") == pytest.approx(2 * PER_BQ * HOUR)
    assert factor(slices, injection_time="09:30") == pytest.approx(PER_BQ * 2 ** (1800 / HALF_LIFE))
    assert factor(slices, scan_start="10:30") == pytest.approx(PER_BQ * 2 ** (5400 / HALF_LIFE))
    both = factor(slices, weight_kg="80", dose_mbq="140", injection_time="09:30", scan_start="10:30")
    assert both == pytest.approx(80000 / 140e6 * HOUR)


def test_a_correction_says_where_the_value_comes_from(headers):
    values = {"weight_kg": "80", "height_m": "1.80", "dose_mbq": "140", "scan_start": "10:02", "injection_time": "9:05"}
    facts = calibrate_suv(headers(), correct(**values)).facts
    assert facts.reference_time_source == facts.injection_source == facts.weight_source == "corrected"
    assert facts.height_source == facts.dose_source == "corrected"
    assert (facts.weight_kg, facts.height_m, facts.dose_bq, facts.uptake_min) == (80, 1.8, 140e6, 57)


def test_old_value_new_value_reason_and_person_are_recorded(headers):
    applied = calibrate_suv(headers(), correct(weight_kg="80", injection_time="09:30")).corrections
    on_the_day = dt.datetime(2024, 3, 5)  # noqa: DTZ001  DICOM times are local
    assert applied == (
        AppliedOverride("weight_kg", 70.0, 80.0, "typing error", "reader"),
        AppliedOverride(
            "injection_time",
            on_the_day.replace(hour=9),
            on_the_day.replace(hour=9, minute=30),
            "typing error",
            "reader",
        ),
    )


@pytest.mark.parametrize(
    ("missing", "values"),
    [
        ({"PatientWeight": None}, {"weight_kg": "70"}),
        ({"PatientWeight": "0"}, {"weight_kg": "70"}),
        ({"RadionuclideTotalDose": None}, {"dose_mbq": "280"}),
        ({"RadionuclideTotalDose": "280000"}, {"dose_mbq": "280"}),  # kBq, which is neither Bq nor MBq
        ({"RadiopharmaceuticalStartTime": None}, {"injection_time": "09:00"}),
        ({"RadiopharmaceuticalStartTime": "103000"}, {"injection_time": "09:00"}),
        ({"SeriesTime": "", "AcquisitionTime": ""}, {"scan_start": "10:00"}),
    ],
)
def test_a_correction_rescues_a_study_that_would_be_refused(headers, dicom, missing, values):
    drug = {key: value for key, value in missing.items() if key.startswith("Radio")}
    slices = headers(**{key: value for key, value in missing.items() if key not in drug}, drug=dicom.tracer(**drug))
    with pytest.raises(SuvError):
        calibrate_suv(slices)
    assert factor(slices, **values) == pytest.approx(PER_BQ * HOUR)


def test_injection_corrected_to_a_time_of_the_evening_before(headers, dicom):
    slices = headers(
        SeriesTime="001500", AcquisitionTime="001500", drug=dicom.tracer(RadiopharmaceuticalStartTime=None)
    )
    assert calibrate_suv(slices, correct(injection_time="23:15")).facts.uptake_min == pytest.approx(60)


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("injection_time", "2024-03-05T10:30"),  # after the scan
        ("injection_time", "2024-03-04T09:00"),
        ("injection_time", "10:30"),  # of the day before
        ("scan_start", "2024-03-06T10:00"),
    ],
)
def test_injection_beyond_five_half_lives_before_the_scan_is_refused(headers, dicom, name, typed):
    slices = headers(drug=dicom.tracer(RadiopharmaceuticalStartDateTime="20240305090000"))
    with pytest.raises(OverrideError, match="h before the scan"):
        factor(slices, **{name: typed} | ({} if name == "injection_time" else {"injection_time": "2024-03-05T09:00"}))


def test_a_time_alone_needs_the_day_of_the_scan(headers):
    with pytest.raises(OverrideError, match="day of the scan"):
        factor(headers(SeriesDate="", AcquisitionDate="", StudyDate=""), scan_start="10:00")


def test_images_decayed_to_the_administration_change_with_its_time(headers):
    """The scanner took the image back to 09:00; injected at 09:30, it is less activity per dose."""
    slices = headers(DecayCorrection="ADMIN")
    assert factor(slices, injection_time="09:30") == pytest.approx(PER_BQ * 2 ** (-1800 / HALF_LIFE))
    assert factor(slices, weight_kg="77") == pytest.approx(1.1 * PER_BQ)


@pytest.mark.parametrize("correction", ["START", "ADMIN"])
def test_images_that_hold_suv_are_rescaled_by_new_over_old(headers, correction):
    slices = headers(Units="GML", DecayCorrection=correction)
    assert factor(slices, weight_kg="77") == pytest.approx(1.1)
    assert factor(slices, dose_mbq="140") == pytest.approx(2.0)
    assert factor(slices, injection_time="09:30") == pytest.approx(2 ** (-1800 / HALF_LIFE))
    assert factor(slices, height_m="1.9") == 1.0


def test_images_of_lean_body_mass_keep_the_mass_the_scanner_used(headers):
    slices = headers(Units="GML", SUVType="LBMJANMA", PatientSex="M", PatientSize="1.75")
    used = 9270 * 70 / (6680 + 216 * 70 / 1.75**2)
    assert factor(slices, weight_kg="80", height_m="1.80") == pytest.approx(80 / used)


def test_a_value_the_headers_lack_is_taken_as_what_the_scanner_used(headers, dicom):
    slices = headers(Units="GML", PatientWeight=None, drug=dicom.tracer(RadionuclideTotalDose=None))
    assert factor(slices, weight_kg="77", dose_mbq="140") == 1.0
    slices = headers(Units="CM2ML", PatientSize=None)
    assert factor(slices, height_m="1.75") == factor(headers(Units="CM2ML", PatientSize="1.75"))


def test_philips_suv_scale_factor_is_rescaled(headers):
    slices = headers(Units="CNTS")
    for one in slices:
        one.private_block(0x7053, "Philips PET Private Group", create=True).add_new(0x00, "DS", "0.001")
    assert factor(slices, weight_kg="77") == pytest.approx(0.0011)


def test_uncorrected_images_move_with_the_start_of_the_scan(headers):
    slices = headers(DecayCorrection="NONE", CorrectedImage=["ATTN"])
    later = factor(slices, scan_start="10:30") / factor(slices)
    assert later == pytest.approx(2 ** (1800 / HALF_LIFE))


def test_a_correction_recomputes_the_volume_and_is_in_the_study(tmp_path, dicom):
    folder = dicom.save(dicom.pet(SUV), tmp_path / "p")
    plain = load_study(folder, pseudonym_key=b"k")
    study = load_study(folder, pseudonym_key=b"k", corrections=correct(weight_kg="77"))
    np.testing.assert_allclose(study.pet.array, 1.1 * plain.pet.array, rtol=1e-6)
    assert study.corrections == (AppliedOverride("weight_kg", 70.0, 77.0, "typing error", "reader"),)
    assert plain.corrections == ()


def test_inspection_lists_corrections_and_is_rescued_by_them(tmp_path, dicom):
    folder = dicom.save(dicom.pet(SUV, PatientWeight="0"), tmp_path / "p")
    assert "refused" in inspect_study(folder, pseudonym_key=b"k")
    report = inspect_study(folder, pseudonym_key=b"k", corrections=correct(weight_kg="70", injection_time="09:00"))
    assert "refused" not in report
    assert report["corrections"] == [
        {"name": "weight_kg", "old": None, "new": 70.0, "reason": "typing error", "by": "reader"},
        {
            "name": "injection_time", "old": "2024-03-05T09:00:00", "new": "2024-03-05T09:00:00",
            "reason": "typing error", "by": "reader",
        },
    ]  # fmt: skip
