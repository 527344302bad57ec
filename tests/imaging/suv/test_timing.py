"""When the scan started and when the dose was given: the rules, their order, time zones and midnight."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import pytest

from fedpet.imaging.dicom.headers.scanner_clock import acquisition_times, date_time
from fedpet.imaging.suv.calibration import calibrate_suv
from fedpet.imaging.suv.timing import injection, mean_activity_delay, scan_start

HALF_LIFE = 6586.2
SUV = np.full((6, 4, 4), 2.0)
GE = (0x0009, "GEMS_PETD_01", 0x0D)
GE_ADMINISTRATION = (0x0009, "GEMS_PETD_01", 0x3B)
SIEMENS = (0x0071, "SIEMENS MED PT", 0x22)
LATE = {"SeriesTime": "113000", "AcquisitionTime": "100500"}  # written by a reprocessing, later than the acquisition


@pytest.fixture
def headers(dicom):
    """Build the headers of a small PET; keywords as `dicom.pet`."""
    return lambda **tags: dicom.pet(SUV, **tags)


def started(headers, half_life=HALF_LIFE):
    start = scan_start(headers, acquisition_times(headers), half_life).chosen
    return start.source, start.time.strftime("%H:%M:%S")


def injected(headers, start):
    moment = injection(headers[0], start, HALF_LIFE).chosen
    return moment and (moment.source, moment.time.strftime("%d %H:%M"))


def private(headers, vendor, value, *, creator=True):
    group, name, element = vendor
    for one in headers:
        if creator:
            one.add_new((group, 0x10), "LO", name)
        one.add_new((group, 0x1000 + element), "DT", value)
    return headers


def test_series_time_is_the_start_of_the_scan(headers):
    assert started(headers(SeriesTime="100000", AcquisitionTime="102100")) == ("series_time", "10:00:00")
    assert started(headers(SeriesTime="100000.4", AcquisitionTime="100000")) == ("series_time", "10:00:00")  # rounding


def test_series_time_later_than_the_acquisition_is_not_the_start(headers):
    assert started(headers(**LATE)) == ("earliest_acquisition", "10:05:00")


def test_series_date_shifted_by_days_is_not_the_start(headers):
    assert started(headers(SeriesDate="20240301"))[0] == "earliest_acquisition"


@pytest.mark.parametrize(
    ("vendor", "source"), [(GE, "ge_private_scan_datetime"), (SIEMENS, "siemens_private_decay_correction_datetime")]
)
@pytest.mark.parametrize("creator", [True, False])
def test_private_scan_time_comes_before_back_computation(headers, vendor, source, creator):
    slices = private(headers(**LATE, FrameReferenceTime="360000"), vendor, "20240305100030.00", creator=creator)
    assert started(slices) == (source, "10:00:30")


def test_ge_comes_before_siemens_and_after_the_series_time(headers):
    slices = private(private(headers(**LATE), SIEMENS, "20240305100040"), GE, "20240305100030")
    assert started(slices) == ("ge_private_scan_datetime", "10:00:30")
    assert started(private(headers(), GE, "20240305095500")) == ("series_time", "10:00:00")


@pytest.mark.parametrize("value", ["20240305113000", "20240303100030", "20240305", "no time"])
def test_a_private_time_that_cannot_be_the_start_is_passed_over(headers, value):
    assert started(private(headers(**LATE), GE, value)) == ("earliest_acquisition", "10:05:00")


def test_decay_correction_datetime_of_enhanced_objects_is_the_reference(headers):
    slices = headers(DecayCorrectionDateTime="20240305095800", SeriesTime="095500")
    assert started(slices) == ("decay_correction_datetime", "09:58:00")
    for one in slices:  # then it is the time of the injection
        one.DecayCorrection = "ADMIN"
    assert started(slices) == ("series_time", "09:55:00")


def test_back_computation_from_acquisition_frame_reference_time_and_duration(headers):
    slices = headers(SeriesTime="113000", AcquisitionTime="100500")
    delay = mean_activity_delay(120.0, HALF_LIFE)
    for one in slices:
        one.FrameReferenceTime = f"{1000 * (300 + delay):.3f}"
    assert started(slices) == ("back_computed", "10:00:00")
    assert started(slices, half_life=None) == ("earliest_acquisition", "10:05:00")


def test_back_computation_uses_the_earliest_slice_of_a_multi_bed_series(headers):
    """All slices carry one acquisition time, the frame reference time varies by bed: the first bed is right."""
    slices = headers(SeriesTime="113000", AcquisitionTime="100000")
    delay = mean_activity_delay(120.0, HALF_LIFE)
    for k, one in enumerate(slices):
        one.FrameReferenceTime = str(round(1000 * (delay + 120 * (k // 2)), 3))
    assert started(slices) == ("back_computed", "10:00:00")


def test_a_multi_bed_series_with_a_series_time_is_not_back_computed_bed_by_bed(headers):
    slices = headers(AcquisitionTime="100000")
    for k, one in enumerate(slices):
        one.FrameReferenceTime = str(60_000 + 180_000 * (k // 2))
    assert started(slices) == ("series_time", "10:00:00")
    assert len(set(calibrate_suv(slices).factors)) == 1


def test_mean_activity_delay_solves_its_equation():
    """The activity after the delay equals the mean activity of the frame, integrated numerically."""
    frame, rate = 1800.0, math.log(2) / HALF_LIFE
    middle = (np.arange(100_000) + 0.5) / 100_000 * frame
    assert math.exp(-rate * mean_activity_delay(frame, HALF_LIFE)) == pytest.approx(
        np.exp(-rate * middle).mean(), rel=1e-9
    )


def test_without_any_acquisition_time_the_first_time_given_is_taken(headers):
    bare = {"AcquisitionTime": ""}
    assert started(headers(**bare)) == ("series_time", "10:00:00")
    slices = private(headers(**bare, SeriesTime=""), GE, "20240305100030")
    assert started(slices) == ("ge_private_scan_datetime", "10:00:30")


def test_acquisition_datetime_stands_in_for_date_and_time(headers):
    slices = headers(SeriesTime="113000", AcquisitionTime="", AcquisitionDateTime="20240305100500")
    assert started(slices) == ("earliest_acquisition", "10:05:00")


def test_scan_over_midnight_whose_date_stays(headers):
    """Beds at 23:50, 23:58 and 00:06 with one date: the last is the day after, not the earliest."""
    slices = headers(SeriesTime="235000")
    for k, one in enumerate(slices):
        one.AcquisitionTime = ("235000", "235800", "000600")[k // 2]
    assert started(slices) == ("series_time", "23:50:00")
    assert acquisition_times(slices)[-1] == dt.datetime(2024, 3, 6, 0, 6)  # noqa: DTZ001  DICOM times are local


def test_injection_before_midnight(headers, dicom):
    late = {"SeriesTime": "001500", "AcquisitionTime": "001500"}
    facts = calibrate_suv(headers(**late, drug=dicom.tracer(RadiopharmaceuticalStartTime="231500"))).facts
    assert facts.uptake_min == pytest.approx(60)
    assert facts.injection_time == dt.datetime(2024, 3, 4, 23, 15)  # noqa: DTZ001
    assert facts.injection_source == "start_time_previous_day"


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({}, ("start_time", "05 09:00")),
        ({"RadiopharmaceuticalStartDateTime": "20240305090500"}, ("start_datetime", "05 09:05")),
        # a date shifted by de-identification does not fit the scan
        ({"RadiopharmaceuticalStartDateTime": "20240306090500"}, ("start_time", "05 09:00")),
        (
            {"RadiopharmaceuticalStartDateTime": "20190306090500", "RadiopharmaceuticalStartTime": None},
            ("start_datetime_without_its_date", "05 09:05"),
        ),
        (
            {"RadiopharmaceuticalStartDateTime": "20240305090500", "RadiopharmaceuticalStartTime": None},
            ("start_datetime", "05 09:05"),
        ),
        ({"RadiopharmaceuticalStartTime": None}, None),
    ],
)
def test_sources_of_the_injection_time(headers, dicom, tags, expected):
    assert injected(headers(drug=dicom.tracer(**tags)), dicom.START) == expected


def test_ge_private_administration_time_where_no_other_is_given(headers, dicom):
    slices = headers(drug=dicom.tracer(RadiopharmaceuticalStartTime=None))
    private(slices, GE_ADMINISTRATION, "20240305091000")
    assert injected(slices, dicom.START) == ("ge_private_admin_datetime", "05 09:10")
    assert injected(private(headers(), GE_ADMINISTRATION, "20240305091000"), dicom.START)[0] == "start_time"


@pytest.mark.parametrize(
    ("offset", "written", "expected"),
    [
        ("+0100", "20240305080500.00+0000", "09:05"),
        ("+0100", "20240305090500", "09:05"),  # no offset of its own: the object's
        ("-0330", "20240305080500+0000", "04:35"),
        ("", "20240305080500", "08:05"),
        ("", "20240305080500+0000", None),  # on a clock that nothing shows
        ("0100", "20240305080500+0000", None),  # no offset
        ("+9900", "20240305080500+0000", None),
    ],
)
def test_time_zone_of_date_times(headers, offset, written, expected):
    read = date_time(written, headers(TimezoneOffsetFromUTC=offset)[0])
    assert (read and read.strftime("%H:%M")) == expected


def test_time_zone_applies_to_injection_and_scan_alike(headers, dicom):
    """Scan at 10:00 on a clock of +0200; injection at 07:00 UTC, which is 09:00 there: one hour."""
    drug = dicom.tracer(RadiopharmaceuticalStartDateTime="20240305070000+0000", RadiopharmaceuticalStartTime=None)
    facts = calibrate_suv(headers(drug=drug, TimezoneOffsetFromUTC="+0200")).facts
    assert facts.uptake_min == pytest.approx(60)
    assert facts.timezone == "+0200"


def test_time_zone_of_a_private_scan_time(headers):
    slices = private(headers(**LATE, TimezoneOffsetFromUTC="+0200"), GE, "20240305080030+0000")
    assert started(slices) == ("ge_private_scan_datetime", "10:00:30")
