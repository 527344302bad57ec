"""PET headers drawn at random: good ones as scanners write them, and the same with one fault planted.

`good(dicom, seed)` and `faulty(dicom, seed, fault)` return the slices of a small series whose SUV is 2.0 everywhere;
`FAULTS` names the faults with what must come of each. Used by the tests.
"""

from __future__ import annotations

import copy
import datetime as dt
import random
from math import exp, log

import numpy as np
from pydicom.dataset import Dataset

HALF_LIFE_S = 6586.2
SLICES = 12
SUV = 2.0
_RATE = log(2) / HALF_LIFE_S


def good(dicom, seed):
    """A series of one of `KINDS`, with doses, weights, times, frames and beds drawn from `seed`."""
    rng = random.Random(seed)  # noqa: S311  a test needs no secret
    return _Scan(dicom, rng).series(rng.choice([*KINDS]))


def faulty(dicom, seed, fault):
    """The same series, if the fault can be planted in its kind; else another kind in which it can."""
    rng = random.Random(seed)  # noqa: S311  as above
    scan = _Scan(dicom, rng)
    kinds, plant, _ = FAULTS[fault]
    slices = scan.series(rng.choice([*(kinds or KINDS)]))
    plant(slices, scan, rng)
    return slices


class _Scan:
    """What a scan is drawn with."""

    def __init__(self, dicom, rng):
        self.dicom = dicom
        self.weight = round(rng.uniform(45, 120), 1)
        self.dose = round(rng.uniform(100, 450)) * 1e6
        self.frame_s = rng.choice((60, 90, 120, 180, 240))
        self.beds = rng.choice((1, 3, 4))
        self.uptake = dt.timedelta(seconds=rng.randint(50 * 60, 80 * 60))
        self.injected = dt.datetime(2024, 3, 5, rng.randint(7, 20), rng.randint(0, 59), rng.randint(0, 59))  # noqa: DTZ001
        self.start = self.injected + self.uptake
        self.per_suv = self.dose * exp(-_RATE * self.uptake.total_seconds()) / (1000 * self.weight)  # Bq/ml

    def bed(self, k):
        """When the bed of slice k starts, after the scan does."""
        return dt.timedelta(seconds=(k * self.beds // SLICES) * (self.frame_s + 10))

    @property
    def delay_s(self):
        """From the start of a frame to when the activity has its mean over it."""
        span = _RATE * self.frame_s
        return log(span / (1 - exp(-span))) / _RATE

    def series(self, kind):
        """The series as one kind of scanner writes it."""
        tags = {
            "PatientWeight": str(self.weight), "ActualFrameDuration": str(1000 * self.frame_s),
            "SeriesDate": f"{self.start:%Y%m%d}", "StudyDate": f"{self.start:%Y%m%d}",
            "AcquisitionDate": f"{self.start:%Y%m%d}", "SeriesTime": f"{self.start:%H%M%S}",
        }  # fmt: skip
        drug = self.dicom.tracer(
            RadionuclideTotalDose=str(self.dose),
            RadiopharmaceuticalStartTime=f"{self.injected:%H%M%S}",
            RadiopharmaceuticalStartDateTime=f"{self.injected:%Y%m%d%H%M%S}.00",
        )
        slices = self.dicom.pet(np.full((SLICES, 4, 4), SUV), scale=self.per_suv, drug=drug, **tags)
        for k, one in enumerate(slices):
            one.RadiopharmaceuticalInformationSequence = [copy.deepcopy(drug)]
            at = self.start + self.bed(k)
            one.AcquisitionDate, one.AcquisitionTime = f"{at:%Y%m%d}", f"{at:%H%M%S}"
            KINDS[kind](one, self, self.bed(k).total_seconds())
        return slices


def _offsets(one, scan, bed_s):
    """As Siemens and newer scanners: frame reference time and decay factor of each bed."""
    one.FrameReferenceTime = f"{1000 * (bed_s + scan.delay_s):.3f}"
    one.DecayFactor = f"{exp(_RATE * (bed_s + scan.delay_s)):.6f}"


def _one_time(one, scan, bed_s):
    """As Philips: all slices carry the start as their acquisition time; private factors."""
    _offsets(one, scan, bed_s)
    one.AcquisitionDate, one.AcquisitionTime = one.SeriesDate, one.SeriesTime
    _philips(one, scan.per_suv)


def _philips(one, per_suv, activity=1.6):
    one.add_new((0x7053, 0x10), "LO", "Philips PET Private Group")
    one.add_new((0x7053, 0x1000), "DS", f"{activity / per_suv:.8g}")
    one.add_new((0x7053, 0x1009), "DS", f"{activity:.8g}")


def _ge(one, scan, bed_s):
    """As GE: frame reference time of the bed's start, decay factor, private date-times, a floating-point half-life."""
    one.FrameReferenceTime = f"{1000 * bed_s:.1f}"
    one.DecayFactor = f"{exp(_RATE * (bed_s + scan.delay_s)):.5f}"
    one.add_new((0x0009, 0x10), "LO", "GEMS_PETD_01")
    one.add_new((0x0009, 0x100D), "DT", f"{scan.start:%Y%m%d%H%M%S}.00")
    one.add_new((0x0009, 0x103B), "DT", f"{scan.injected:%Y%m%d%H%M%S}.00")
    one.RadiopharmaceuticalInformationSequence[0].RadionuclideHalfLife = "6586.2001953125"


def _bare(one, scan, bed_s):
    """As many exporters: nothing but series and acquisition times."""
    del bed_s, scan
    del one.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartDateTime


def _unknown(one, scan, bed_s):
    """Offsets written as unknown (0 and 1), the date of the injection shifted by a de-identification."""
    del bed_s
    one.FrameReferenceTime, one.DecayFactor = "0.0", "1.0"
    shifted = scan.injected - dt.timedelta(days=400)
    one.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartDateTime = f"{shifted:%Y%m%d%H%M%S}"


def _reprocessed(one, scan, bed_s):
    """A series time of hours later; frame reference times lead back to the start."""
    _offsets(one, scan, bed_s)
    later = scan.start + dt.timedelta(hours=2)
    one.SeriesDate, one.SeriesTime = f"{later:%Y%m%d}", f"{later:%H%M%S}"


def _coded(one, scan, bed_s):
    """The radionuclide by its code, too."""
    _offsets(one, scan, bed_s)
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "C-111A1", "SRT", "^18^Fluorine"
    one.RadiopharmaceuticalInformationSequence[0].RadionuclideCodeSequence = [code]


KINDS = {
    "offsets": _offsets, "one time": _one_time, "GE": _ge, "bare": _bare, "unknown": _unknown,
    "reprocessed": _reprocessed, "coded": _coded,
}  # fmt: skip


def _shift(time, minutes):
    moved = dt.datetime.strptime(time[:6], "%H%M%S") + dt.timedelta(minutes=minutes)  # noqa: DTZ007
    return f"{moved:%H%M%S}"


def _minutes(rng, low, high):
    """Between low and high, to either side."""
    return rng.choice((-1, 1)) * rng.uniform(low, high)


def _decay_factors(low, high):
    def plant(slices, _scan, rng):
        by = 2 ** (60 * abs(_minutes(rng, low, high)) / HALF_LIFE_S)
        for one in slices:
            one.DecayFactor = f"{float(one.DecayFactor) * by:.6f}"

    return plant


def _reference_times(low, high):
    def plant(slices, _scan, rng):
        by = 60_000 * abs(_minutes(rng, low, high))
        for one in slices:
            one.FrameReferenceTime = f"{float(one.FrameReferenceTime) + by:.3f}"

    return plant


def _injection_date_time(low, high):
    def plant(slices, scan, rng):
        moved = scan.injected + dt.timedelta(minutes=_minutes(rng, low, high))
        for one in slices:
            drug = one.RadiopharmaceuticalInformationSequence[0]
            drug.RadiopharmaceuticalStartDateTime = f"{moved:%Y%m%d%H%M%S}"

    return plant


def _series_time(low, high):
    """Earlier than it was: written by the study, or by another clock."""

    def plant(slices, _scan, rng):
        by = -rng.uniform(low, high)
        for one in slices:
            one.SeriesTime = _shift(one.SeriesTime, by)

    return plant


def _private_start(low, high):
    def plant(slices, scan, rng):
        moved = scan.start - dt.timedelta(minutes=rng.uniform(low, high))
        for one in slices:
            one[0x0009, 0x100D].value = f"{moved:%Y%m%d%H%M%S}"

    return plant


def _private_factor(low, high):
    def plant(slices, scan, rng):
        for one in slices:
            _philips(one, scan.per_suv * rng.choice((1 - low, 1 + high)))

    return plant


def _half_life(slices, _scan, rng):
    wrong = f"{rng.uniform(5400, 6000):.1f}"
    for one in slices:
        one.RadiopharmaceuticalInformationSequence[0].RadionuclideHalfLife = wrong


def _one_decay_factor(slices, _scan, rng):
    one = rng.choice(slices)
    one.DecayFactor = f"{float(one.DecayFactor) * rng.choice((1.2, 1.5)):.6f}"


def _one_acquisition_time(slices, _scan, rng):
    one = rng.choice(slices)
    one.AcquisitionTime = _shift(one.AcquisitionTime, -rng.uniform(20, 200))


def _administration(slices, _scan, _rng):
    for one in slices:
        one.DecayCorrection = "ADMIN"


_TIMED = ("offsets", "GE", "coded")
FAULTS = {  # kinds in which it can be planted, how, and the level of the check
    "decay factors, 4 to 10 min": (_TIMED, _decay_factors(4, 10), "warn"),
    "decay factors, 18 to 90 min": (_TIMED, _decay_factors(18, 90), "fail"),
    "frame reference times, 6 to 10 min": (_TIMED, _reference_times(6, 10), "warn"),
    "frame reference times, 19 to 90 min": (_TIMED, _reference_times(19, 90), "fail"),
    "injection date-time, 4 to 14 min": (("offsets", "one time", "GE"), _injection_date_time(4, 14), "warn"),
    "injection date-time, 18 to 45 min": (("offsets", "one time", "GE"), _injection_date_time(18, 45), "fail"),
    "series time, 4 to 14 min": (("bare", "unknown", "offsets"), _series_time(4, 14), "warn"),
    "series time, 16 to 40 min": (("bare", "unknown", "offsets"), _series_time(16, 40), "fail"),
    "GE's scan time, 5 to 14 min": (("GE",), _private_start(5, 14), "warn"),
    "GE's scan time, 19 to 90 min": (("GE",), _private_start(19, 90), "fail"),
    "Philips' factors, 4 to 8 %": (("one time",), _private_factor(0.04, 0.08), "warn"),
    "Philips' factors, a third": (("one time",), _private_factor(0.33, 0.33), "fail"),
    "half-life beside the code": (("coded",), _half_life, "warn or fail"),
    "decay factor of one slice": (("offsets", "coded"), _one_decay_factor, "warn"),
    "acquisition time of one slice": (("offsets", "coded", "bare"), _one_acquisition_time, "warn or fail"),
    "corrected to the start, said to the administration": (_TIMED, _administration, "fail"),
}
