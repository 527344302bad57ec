"""The second opinion on the SUV: which paths there are, which count, and what contradictions come to."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from fedpet.core.errors import SuvError
from fedpet.imaging.loading import inspect_study
from fedpet.imaging.suv.calibration import calibrate_suv
from fedpet.imaging.suv.overrides import parse_override
from fedpet.imaging.suv.timing import mean_activity_delay
from tests.support import header_faults
from tests.support.suv_vectors import VECTORS, philips, vector_headers

HALF_LIFE = 6586.2
SUV = np.full((12, 4, 4), 2.0)
DELAY = mean_activity_delay(120.0, HALF_LIFE)
SEEDS = range(12)


@pytest.fixture
def headers(dicom):
    """Build the headers of a small PET; keywords as `dicom.pet`."""
    return lambda **tags: dicom.pet(SUV, **tags)


def witness(slices, *corrections):
    """The level of the check, and the paths by name."""
    calibration = calibrate_suv(slices, corrections)
    _, check = calibration.checks()
    assert check.name == "suv_witness"
    return check.level.value, {one.name: one for one in calibration.facts.suv_paths}


def offset(minutes):
    """SUV if the start of the scan were so much earlier, relative to 1."""
    return 2 ** (-60 * minutes / HALF_LIFE) - 1


@pytest.mark.parametrize("seed", SEEDS)
def test_good_headers_as_scanners_write_them_pass(dicom, seed):
    slices = header_faults.good(dicom, seed)
    calibration = calibrate_suv(slices)
    assert [check.level.value for check in calibration.checks()] == ["pass", "pass"]
    scales = [float(one.RescaleSlope) * factor for one, factor in zip(slices, calibration.factors, strict=True)]
    stored = [np.frombuffer(one.PixelData, "<i2").mean() for one in slices]
    np.testing.assert_allclose(np.multiply(stored, scales), header_faults.SUV, rtol=2e-3)


@pytest.mark.parametrize("seed", SEEDS[:5])
@pytest.mark.parametrize("fault", header_faults.FAULTS)
def test_a_planted_fault_is_noticed(dicom, fault, seed):
    slices = header_faults.faulty(dicom, seed, fault)
    try:
        level, _ = witness(slices)
    except SuvError:  # such as an injection after the scan
        return
    assert level in header_faults.FAULTS[fault][2].split(" or ")


def test_decay_factor_and_frame_reference_time_lead_back_to_the_start(headers):
    slices = headers(FrameReferenceTime=str(1000 * DELAY), DecayFactor=f"{2 ** (DELAY / HALF_LIFE):.6f}")
    level, paths = witness(slices)
    assert level == "pass"
    assert {one.name for one in paths.values() if one.counts} == {"bqml_start", "frame_reference_time", "decay_factor"}
    assert max(abs(one.deviation) for one in paths.values()) < 1e-5


@pytest.mark.parametrize(
    ("minutes", "level"), [(0, "pass"), (2.9, "pass"), (3.5, "warn"), (13, "warn"), (17, "fail"), (60, "fail")]
)
@pytest.mark.parametrize("path", ["decay_factor", "frame_reference_time"])
def test_up_to_2_percent_passes_up_to_10_percent_warns(headers, path, minutes, level):
    later = DELAY + 60 * minutes
    tags = {"decay_factor": {"DecayFactor": f"{2 ** (later / HALF_LIFE):.6f}"}}
    given, paths = witness(headers(**tags.get(path, {"FrameReferenceTime": f"{1000 * later:.3f}"})))
    assert given == level
    assert paths[path].deviation == pytest.approx(offset(minutes), abs=1e-4)


@pytest.mark.parametrize(("minutes", "level"), [(2, "pass"), (10, "warn"), (30, "fail"), (-30, "fail")])
def test_two_injection_times_that_differ(headers, dicom, minutes, level):
    moved = dicom.INJECTION + dt.timedelta(minutes=minutes)
    slices = headers(drug=dicom.tracer(RadiopharmaceuticalStartDateTime=f"{moved:%Y%m%d%H%M%S}"))
    given, paths = witness(slices)
    assert given == level
    assert paths["start_time"].deviation == pytest.approx(2 ** (60 * minutes / HALF_LIFE) - 1, abs=1e-6)


def test_a_date_shifted_by_de_identification_is_no_contradiction_but_its_clock_may_be(headers, dicom):
    for clock, level in (("090000", "pass"), ("094500", "fail")):
        drug = dicom.tracer(RadiopharmaceuticalStartDateTime=f"20190218{clock}")
        assert witness(headers(drug=drug))[0] == level


def multi_bed(dicom, *, times, offsets):
    """Three beds of five minutes with their own acquisition times, offsets, or neither."""
    slices = dicom.pet(SUV)
    for k, one in enumerate(slices):
        minutes = 5 * (k // 4)
        if times:
            one.AcquisitionTime = (dicom.START + dt.timedelta(minutes=minutes)).strftime("%H%M%S")
        if offsets:
            one.FrameReferenceTime = f"{1000 * (60 * minutes + DELAY):.3f}"
            one.DecayFactor = f"{2 ** ((60 * minutes + DELAY) / HALF_LIFE):.6f}"
        else:
            one.FrameReferenceTime, one.DecayFactor = f"{1000 * DELAY:.3f}", f"{2 ** (DELAY / HALF_LIFE):.6f}"
    return slices


@pytest.mark.parametrize("times", [True, False])
def test_beds_pass_whether_the_acquisition_times_move_or_stand_still(dicom, times):
    """In real series they stand still while the offsets vary: bed by bed that would be up to -10.9 % of SUV."""
    level, paths = witness(multi_bed(dicom, times=times, offsets=True))
    assert level == "pass"
    assert paths["frame_reference_time"].deviation == pytest.approx(0, abs=1e-5)


def test_beds_that_may_each_be_corrected_to_their_own_start_are_a_doubt(dicom):
    level, paths = witness(multi_bed(dicom, times=True, offsets=False))
    assert level == "warn"
    assert "each bed" in str(paths["decay_factor"].doubt)


def test_a_part_of_a_series_passes_by_what_its_slices_say(dicom):
    """The last bed alone, ten minutes after the start: its acquisition time alone would be 6.5 % of SUV."""
    level, paths = witness(multi_bed(dicom, times=True, offsets=True)[8:])
    assert level == "pass"
    assert not paths["earliest_acquisition"].counts
    assert paths["earliest_acquisition"].deviation == pytest.approx(-1 + 1 / (1 + offset(10)), abs=1e-4)


def test_a_series_time_without_anything_that_confirms_it(headers):
    assert witness(headers(AcquisitionTime="102100"))[0] == "fail"
    assert witness(headers(AcquisitionTime="100500"))[0] == "warn"
    assert witness(headers(AcquisitionTime="100100"))[0] == "pass"


def test_a_series_time_of_a_reprocessing_does_not_count(headers):
    level, paths = witness(headers(SeriesTime="113000"))
    assert level == "pass"
    assert not paths["series_time"].counts
    assert "reprocessing" in str(paths["series_time"].remark)


@pytest.mark.parametrize("share", [0.96, 0.80])
def test_philips_factors_witness_the_weight_dose_and_decay_of_bqml(headers, dicom, share):
    activity = 4.7
    suv = share * activity / dicom.bqml_per_suv()
    level, paths = witness(philips(headers(), suv=suv, activity=activity))
    assert level == ("warn" if share == 0.96 else "fail")
    assert paths["philips_factors"].deviation == pytest.approx(share - 1)


def test_a_weight_that_the_scanner_did_not_know_is_noticed_in_counts(headers, dicom):
    suv = 1.6 / dicom.bqml_per_suv()
    assert witness(philips(headers(Units="CNTS"), suv=suv, activity=1.6))[0] == "pass"
    level, paths = witness(philips(headers(Units="CNTS", PatientWeight="110"), suv=suv, activity=1.6))
    assert level == "fail"
    assert paths["philips_activity_factor"].deviation == pytest.approx(110 / 70 - 1)


def test_one_slice_with_another_private_factor_is_noticed(headers, dicom):
    slices = philips(headers(), suv=1.6 / dicom.bqml_per_suv(), activity=1.6)
    slices[5][0x7053, 0x1000].value = str(2.0 / dicom.bqml_per_suv())
    assert witness(slices)[0] == "fail"


def test_a_half_life_that_contradicts_the_code_of_the_radionuclide(headers, dicom):
    code = Dataset()
    code.CodeValue = "77004003"
    slices = headers(drug=dicom.tracer(RadionuclideHalfLife="4062.6", RadionuclideCodeSequence=[code]))
    level, paths = witness(slices)
    assert level == "fail"
    assert paths["radionuclide_code"].deviation == pytest.approx(2 ** (3600 / HALF_LIFE - 3600 / 4062.6) - 1)


def test_a_decay_factor_shows_that_images_are_not_corrected_to_the_administration(headers):
    tags = {"DecayCorrection": "ADMIN"}
    since_start, since_injection = (f"{2 ** ((DELAY + s) / HALF_LIFE):.6f}" for s in (0, 3600))
    assert witness(headers(**tags, DecayFactor=since_injection))[0] == "pass"
    assert witness(headers(**tags, DecayFactor=since_start))[0] == "fail"
    assert witness(headers(**tags, DecayFactor="1.0"))[0] == "pass"  # not known


def test_what_a_person_corrected_is_not_compared(headers, dicom):
    drug = dicom.tracer(RadiopharmaceuticalStartDateTime="20240305093000")
    injection = parse_override("injection_time", "09:10", reason="the form of the day")
    level, paths = witness(headers(drug=drug), injection)
    assert level == "pass"
    assert not [one.name for one in paths.values() if one.counts and not one.used]
    slices = philips(headers(), suv=1.3 * 1.6 / dicom.bqml_per_suv(), activity=1.6)
    assert witness(slices)[0] == "fail"
    assert witness(slices, parse_override("weight_kg", "91", reason="the form of the day"))[0] == "pass"


@pytest.mark.parametrize("tags", [{"Units": "GML"}, {"Units": "CM2ML"}, {"DecayCorrection": "ADMIN"}])
def test_where_there_is_no_second_path_it_says_so(headers, tags):
    calibration = calibrate_suv(headers(**tags))
    assert "no second path" in str(calibration.checks()[1].reason)
    assert len(calibration.facts.suv_paths) == 1


@pytest.mark.reference_data
@pytest.mark.parametrize("name", VECTORS)
def test_real_scanner_headers_pass(reference_data, name):
    level, paths = witness(vector_headers(reference_data / "suv_vectors", name))
    assert level == "pass"
    if name == "PHILIPS_BQML":  # one acquisition time, offsets of 22 minutes: only the private factors tell which holds
        assert not paths["frame_reference_time"].counts
        assert paths["philips_factors"].deviation == pytest.approx(0, abs=2e-4)


@pytest.mark.reference_data
@pytest.mark.parametrize("correction", ["START", "ADMIN"])
def test_offsets_of_real_ge_series_show_which_decay_correction_holds(reference_data, correction):
    """The sarcoma scans were made SUV and said to be ADMIN by a converter; their decay factors are those of START."""
    for name in ("STS_002", "STS_008", "STS_042"):
        files = sorted((reference_data / "sts" / name / "PET" / "image").iterdir())
        slices = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
        assert witness(slices)[0] == "pass"  # SUV already
        for one in slices:
            one.Units, one.DecayCorrection = "BQML", correction
        assert witness(slices)[0] == {"START": "pass", "ADMIN": "fail"}[correction]


def test_inspection_shows_every_path_with_its_factor(tmp_path, dicom):
    drug = dicom.tracer(RadiopharmaceuticalStartDateTime="20240305090500")
    slices = dicom.pet(SUV, drug=drug, DecayFactor="1.006")
    report = inspect_study(dicom.save(slices, tmp_path / "p"), pseudonym_key=b"k")
    paths = {one["path"]: one for one in report["suv_witness"]}
    assert set(paths) == {"bqml_start", "earliest_acquisition", "decay_factor", "start_time"}
    used = paths["bqml_start"]
    assert used["used"]
    assert used["factor"] == report["pet"]["suv_factor_min"]
    other = paths["start_time"]
    assert other["factor"] == pytest.approx(used["factor"] * (1 + other["deviation"]))
    assert other["deviation"] == pytest.approx(2 ** (300 / HALF_LIFE) - 1, abs=1e-6)
    assert "suv_paths" not in report["pet"]
    (check,) = (one for one in report["checks"] if one["name"] == "suv_witness")
    assert check["level"] == "warn"
    assert "the injection time alone" in check["reason"]
