from __future__ import annotations

import datetime as dt
import json
import math

import numpy as np
import pytest
from pydicom.dataset import Dataset

from fedpet.errors import SuvNotComputable
from imaging.loading import load_study
from imaging.masks import read_mask
from imaging.study import Level
from imaging.suv import calibrate
from imaging.tracer import injection_time, mean_activity_delay, scan_start

HALF_LIFE = 6586.2
SUV = np.full((6, 4, 4), 2.0)


@pytest.fixture
def headers(dicom):
    """Build the headers of a small PET; keywords as `dicom.pet`."""
    return lambda **tags: dicom.pet(SUV, **tags)


def factor(headers):
    return calibrate(headers).factor


def test_start_decays_the_dose_to_the_scan(headers):
    # 70 kg, 280 MBq, 60 min: 70000 g / (280e6 Bq x 2^(-3600 / 6586.2)), worked out by hand
    assert factor(headers()) == pytest.approx(70000 / (280e6 * 0.6846330), rel=1e-5)


def test_admin_does_not_decay_the_dose(headers):
    assert factor(headers(DecayCorrection="ADMIN")) == pytest.approx(70000 / 280e6)


@pytest.mark.parametrize("kind", ["", "BW"])
def test_gml_is_suv_already_and_needs_no_dose_or_weight(headers, dicom, kind):
    slices = headers(Units="GML", SUVType=kind, PatientWeight=None, drug=dicom.tracer(RadionuclideTotalDose=None))
    assert factor(slices) == 1.0
    assert calibrate(slices).facts.reference_time_source == "not needed"


def test_slopes_are_kept_slice_by_slice(headers):
    slices = headers()
    for k, one in enumerate(slices):
        one.RescaleSlope = str(1 + k)
    assert calibrate(slices).slopes == (1, 2, 3, 4, 5, 6)


@pytest.mark.parametrize(
    ("tags", "sentence"),
    [
        ({"Units": "CNTS"}, "units CNTS"),
        ({"Units": "CM2ML"}, "units CM2ML"),
        ({"Units": "PROPCPS"}, "units PROPCPS"),
        ({"Units": ""}, "units —"),
        ({"Units": "GML", "SUVType": "LBM"}, "type LBM"),
        ({"DecayCorrection": "NONE"}, "Decay Correction is NONE"),
        ({"CorrectedImage": ["ATTN", "NORM"]}, "Decay Correction is START, Corrected Image is ATTN, NORM"),
        ({"CorrectedImage": ["DECY", "NORM"]}, "not corrected for attenuation"),
        ({"RescaleIntercept": "-12"}, "intercept -12"),
        ({"PatientWeight": "0"}, "weight is missing or zero"),
        ({"PatientWeight": None}, "weight is missing or zero"),
        ({"SeriesTime": "", "AcquisitionTime": ""}, "scan time is missing"),
    ],
)
def test_what_cannot_be_converted_is_refused_with_its_reason(headers, tags, sentence):
    with pytest.raises(SuvNotComputable, match=sentence):
        calibrate(headers(**tags))


@pytest.mark.parametrize(
    ("tags", "sentence"),
    [
        ({"RadionuclideTotalDose": None}, "dose is missing"),
        ({"RadionuclideTotalDose": "0"}, "dose is missing"),
        ({"RadionuclideTotalDose": "280000"}, "neither in Bq nor in MBq"),
        ({"RadionuclideHalfLife": None}, "Half-life"),
        ({"RadiopharmaceuticalStartTime": None}, "injection time"),
        ({"RadiopharmaceuticalStartTime": "103000"}, "23.5 h before the scan"),
    ],
)
def test_what_the_tracer_lacks_is_refused_with_its_reason(headers, dicom, tags, sentence):
    with pytest.raises(SuvNotComputable, match=sentence):
        calibrate(headers(drug=dicom.tracer(**tags)))


def test_one_slice_without_slope_is_refused(headers):
    slices = headers()
    del slices[3].RescaleSlope
    with pytest.raises(SuvNotComputable, match="slope None"):
        calibrate(slices)


def test_two_radiopharmaceuticals_are_refused(headers, dicom):
    slices = headers()
    slices[0].RadiopharmaceuticalInformationSequence = [dicom.tracer(), dicom.tracer()]
    with pytest.raises(SuvNotComputable, match="2 radiopharmaceuticals"):
        calibrate(slices)


def test_slices_in_different_units_are_refused(headers):
    slices = headers()
    slices[1].Units = "CNTS"
    with pytest.raises(SuvNotComputable, match="differ in Units"):
        calibrate(slices)


def test_dose_in_megabecquerels_and_weight_in_grams(headers, dicom):
    expected = factor(headers())
    assert factor(headers(drug=dicom.tracer(RadionuclideTotalDose="280"))) == pytest.approx(expected)
    assert factor(headers(PatientWeight="70000")) == pytest.approx(expected)
    assert calibrate(headers(PatientWeight="70000")).facts.weight_kg == 70.0


def test_injection_before_midnight(headers, dicom):
    late = {"SeriesTime": "001500", "AcquisitionTime": "001500"}
    facts = calibrate(headers(**late, drug=dicom.tracer(RadiopharmaceuticalStartTime="231500"))).facts
    assert facts.uptake_min == pytest.approx(60)
    assert facts.injection_time == dt.datetime(2024, 3, 4, 23, 15)  # noqa: DTZ001  DICOM times are local


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"RadiopharmaceuticalStartDateTime": "20240305090500"}, "09:05"),  # date and time win over the time alone
        ({"RadiopharmaceuticalStartDateTime": "20240306090500"}, "09:00"),  # a shifted date does not fit the scan
        ({"RadiopharmaceuticalStartDateTime": "20240306090500", "RadiopharmaceuticalStartTime": None}, "09:05"),
        ({"RadiopharmaceuticalStartDateTime": "20240305080500.00+0000"}, "09:05"),  # scanner clock at +0100
    ],
)
def test_sources_of_the_injection_time(headers, dicom, tags, expected):
    slices = headers(drug=dicom.tracer(**tags), TimezoneOffsetFromUTC="+0100")
    assert injection_time(slices[0], dicom.START).strftime("%H:%M") == expected


def test_series_time_later_than_the_acquisition_is_not_the_start(headers):
    late = {"SeriesTime": "113000", "AcquisitionTime": "100500"}
    start = scan_start(headers(**late))
    assert (start.source, start.time.strftime("%H:%M:%S")) == ("earliest_acquisition", "10:05:00")


def test_ge_scan_time_comes_before_back_computation(headers):
    slices = headers(SeriesTime="113000", AcquisitionTime="100500", FrameReferenceTime="360000")
    for one in slices:
        block = one.private_block(0x0009, "GEMS_PETD_01", create=True)
        block.add_new(0x0D, "DT", "20240305100030.00")
    start = scan_start(slices)
    assert (start.source, start.time.strftime("%H:%M:%S")) == ("ge_private_scan_datetime", "10:00:30")


def test_back_computation_uses_the_earliest_slice(headers, dicom):
    """All slices carry one acquisition time, the frame reference time varies by bed: the first bed is right."""
    slices = headers(SeriesTime="113000", AcquisitionTime="100000")
    delay = mean_activity_delay(120.0, HALF_LIFE)
    for k, one in enumerate(slices):
        one.FrameReferenceTime = str(round(1000 * (delay + 120 * (k // 2)), 3))
    start = scan_start(slices)
    assert start.source == "back_computed"
    assert abs((start.time - dicom.START).total_seconds()) < 0.01


def test_mean_activity_delay_solves_its_equation():
    """The activity after the delay equals the mean activity of the frame, integrated numerically."""
    frame, rate = 1800.0, math.log(2) / HALF_LIFE
    middle = (np.arange(100_000) + 0.5) / 100_000 * frame
    assert math.exp(-rate * mean_activity_delay(frame, HALF_LIFE)) == pytest.approx(
        np.exp(-rate * middle).mean(), rel=1e-9
    )


def test_decay_factor_that_contradicts_the_scan_start_is_noticed(headers):
    true = math.exp(math.log(2) / HALF_LIFE * mean_activity_delay(120.0, HALF_LIFE))
    assert abs(calibrate(headers(DecayFactor=f"{true:.6f}")).disagreement) < 1e-5
    ten_minutes_more = true * 2 ** (600 / HALF_LIFE)
    assert calibrate(headers(DecayFactor=f"{ten_minutes_more:.6f}")).disagreement == pytest.approx(
        2 ** (-600 / HALF_LIFE) - 1, abs=1e-4
    )


VECTORS = [
    "PHILIPS_BQML",
    "SIEMENS",
    "GE_MEDICAL_AND_BQML",
    "BQML_AC_DT_lessThan_S_DT_SIEMENS",
    "CPS_AND_BQML_AC_DT_-_S_DT",
    "RADIOPHARM_DATETIME_UNDEFINED",
]


def vector_headers(folder, name):
    headers = []
    for record in json.loads((folder / f"{name}-instances.json").read_text()):
        header, drug = Dataset(), Dataset()
        for keyword, value in record.items():
            if keyword.startswith("Radio"):
                setattr(drug, keyword, str(value))
            elif keyword != "PhilipsPETPrivateGroup":
                setattr(header, keyword, value if isinstance(value, list) else str(value))
        header.RadiopharmaceuticalInformationSequence = [drug]
        header.RescaleSlope, header.RescaleIntercept = "1", "0"
        headers.append(header)
    return headers


@pytest.mark.reference_data
@pytest.mark.parametrize("name", VECTORS)
def test_real_scanner_headers_give_the_published_factor(reference_data, name):
    folder = reference_data / "suv_vectors"
    expected = json.loads((folder / "calculate_suv_results.json").read_text())[name]["expected"]
    assert factor(vector_headers(folder, name)) == pytest.approx(expected, rel=2e-4)  # their clocks drop fractions


@pytest.mark.reference_data
@pytest.mark.parametrize("name", ["PHILIPS_CNTS_AND_BQML_SUV", "PHILIPS_CNTS_AND_SUV"])
def test_philips_counts_are_refused(reference_data, name):
    with pytest.raises(SuvNotComputable, match="units CNTS"):
        calibrate(vector_headers(reference_data / "suv_vectors", name))


@pytest.mark.reference_data
@pytest.mark.parametrize("name", ["DRO_0_0", "DRO_1_0", "DRO_2_0", "DRO_3_0", "DRO_3_1", "DRO_4_1", "DRO_5_0"])
def test_digital_reference_objects(reference_data, name):
    folder = reference_data / "dro" / name
    study = load_study(folder / "PT", pseudonym_key=b"k")
    inside = study.pet.array[read_mask(folder / "mask" / "DRO_mask.nii.gz", study.pet).array > 0]
    assert len(inside) > 1000
    assert inside.min() == pytest.approx(0.20, abs=0.01)
    assert np.median(inside) == pytest.approx(1.00, abs=0.01)
    assert inside.max() == pytest.approx(4.00, abs=0.01)
    tracer = next(one for one in study.checks if one.name == "tracer")
    assert tracer.level is (Level.FAIL if name == "DRO_5_0" else Level.PASS)  # gallium-68 PSMA


@pytest.mark.reference_data
def test_the_reference_object_in_counts_is_refused(reference_data):
    with pytest.raises(SuvNotComputable, match="units CNTS"):
        load_study(reference_data / "dro" / "DRO_2_4" / "PT", pseudonym_key=b"k")
