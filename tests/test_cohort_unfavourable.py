"""Every unfavourable study is written, loaded, and noticed by whom `expected.csv` names."""

from __future__ import annotations

import csv
from dataclasses import replace

import pydicom
import pytest

from clinical.reading import read_table
from cohort.unfavourable import CASES, scanned, write_unfavourable
from imaging.checks import image_checks
from imaging.loading import load_study
from imaging.study import Level
from inference.abstention import record_reason, study_reason
from inference.contract import default_contract
from inference.encoding import encode
from reports.wording import CHECKS

CONTRACT = default_contract()
ON_IMAGES = [name for name, case in CASES.items() if case.speaker == "image_check"]
RECORDS = [name for name, case in CASES.items() if case.speaker == "record"]


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    out = tmp_path_factory.mktemp("unfavourable")
    write_unfavourable(out)
    return out


@pytest.fixture(scope="module")
def records(cases):
    return {row.patient_id: row.record for row in read_table(cases / "clinical.csv")}


def test_layout(cases, records):
    with (cases / "expected.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = [row["patient_id"] for row in rows]
    assert names == list(CASES)
    assert sorted(names) == sorted(records) == sorted(path.name for path in (cases / "dicom").iterdir())
    assert [(row["speaker"], row["finding"], row["outcome"]) for row in rows] == [
        (case.speaker, case.finding, case.outcome) for case in CASES.values()
    ]


@pytest.mark.parametrize("name", ON_IMAGES)
def test_the_check_speaks(cases, name):
    study, case = load_study(cases / "dicom" / name, pseudonym_key=b"k"), CASES[name]
    levels = {check.name: check.level.value for check in study.checks}
    assert levels[case.finding] == case.outcome, levels
    assert set(levels) <= set(CHECKS)  # a person reads their names
    assert bool(study_reason(study)) == (Level.FAIL in levels.values())


@pytest.mark.parametrize("name", RECORDS)
def test_the_record_is_told_incomplete(records, name):
    case, record = CASES[name], records[name]
    assert case.finding in encode(record, CONTRACT).missing
    assert (record_reason(record, CONTRACT) is not None) == (case.outcome == "abstains")


def test_the_same_patient_without_difficulty_passes_everything():
    plain = replace(CASES["no-ct"], name="plain", after=lambda scans: scans)
    scans = scanned(plain)
    checks = image_checks(scans.pet, scans.ct, weight_kg=scans.patient.anatomy.weight_kg)
    assert {check.name: check.level for check in checks} == dict.fromkeys((check.name for check in checks), Level.PASS)
    assert {case.finding for case in CASES.values() if case.speaker == "image_check"} <= {
        *(check.name for check in checks),
        "weight",
    }
    assert not encode(scans.patient.observed, CONTRACT).missing


def test_a_wrong_weight_keeps_the_activity(cases):
    """The images hold what was measured; only the headers are wrong, and SUV goes with them."""
    right, wrong = (
        pydicom.dcmread(cases / "dicom" / name / "PT" / "0060.dcm") for name in ("arms-down", "weight-in-pounds")
    )
    assert float(wrong.PatientWeight) / float(right.PatientWeight) == pytest.approx(2.2046, rel=2e-3)
    assert right.Units == "BQML"
    assert wrong.pixel_array.mean() * wrong.RescaleSlope == pytest.approx(
        right.pixel_array.mean() * right.RescaleSlope, rel=0.1
    )


def test_contrast_medium_is_named_in_the_header(cases):
    slices = {name: cases / "dicom" / name / "CT" / "0000.dcm" for name in ("contrast-ct", "effusion")}
    assert "ContrastBolusAgent" in pydicom.dcmread(slices["contrast-ct"], stop_before_pixels=True)
    assert "ContrastBolusAgent" not in pydicom.dcmread(slices["effusion"], stop_before_pixels=True)


def test_what_stays_in_the_arm_is_missing_elsewhere():
    spilled, plain = scanned(CASES["extravasation"]), scanned(replace(CASES["extravasation"], painted=None))
    chest = slice(90, 110)
    ratio = spilled.pet.array[chest].mean() / plain.pet.array[chest].mean()
    assert ratio == pytest.approx(0.9, abs=0.01)
