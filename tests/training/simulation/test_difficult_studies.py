"""Every unfavourable study is written, loaded, and noticed by whom `expected.csv` names."""

from __future__ import annotations

import csv

import pydicom
import pytest

from fedpet.clinical.reading import read_table
from fedpet.clinical.record import ClinicalRecord
from fedpet.imaging.analysis import StudyAnalysis
from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy
from fedpet.imaging.loading import load_study
from fedpet.imaging.quality.checks import image_checks
from fedpet.imaging.study import CheckStatus
from inference.abstention import record_reason, study_reason
from inference.encoding import encode
from inference.input_contract import default_contract
from reports.labels import CHECKS
from training.simulation.difficult_studies import CASES, DifficultStudy, scanned, write_difficult_studies

CONTRACT = default_contract()
ON_IMAGES = [name for name, case in CASES.items() if case.speaker == "image_check"]
RECORDS = [name for name, case in CASES.items() if case.speaker == "record"]


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    out = tmp_path_factory.mktemp("unfavourable")
    write_difficult_studies(out)
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
    case = CASES[name]
    analysis = StudyAnalysis(load_study(cases / "dicom" / name, pseudonym_key=b"k"))
    levels = {check.name: check.level.value for check in analysis.checks}
    assert levels[case.finding] == case.outcome, levels
    assert set(levels) <= set(CHECKS)  # a person reads their names
    assert bool(study_reason(analysis, ClinicalRecord())) == (CheckStatus.FAIL in levels.values())


@pytest.mark.parametrize("name", RECORDS)
def test_the_record_is_told_incomplete(records, name):
    case, record = CASES[name], records[name]
    assert (case.finding in encode(record, CONTRACT).missing) == (name != "after-first-dose")
    assert (record_reason(record, CONTRACT) is not None) == (case.outcome == "abstains")


def test_the_same_patient_without_difficulty_passes_everything():
    scans = scanned(DifficultStudy("plain", "image_check", "", "warn"))
    stated = scans.patient.anatomy
    checks = image_checks(
        scans.pet, PatientAnatomy(scans.pet, scans.ct), weight_kg=stated.weight_kg, height_m=stated.height_m
    )
    assert {check.name: check.level for check in checks} == dict.fromkeys(
        (check.name for check in checks), CheckStatus.PASS
    )
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
    spilled, plain = scanned(CASES["extravasation"]), scanned(CASES["effusion"])
    thighs = slice(10, 30)
    ratio = spilled.pet.array[thighs].mean() / plain.pet.array[thighs].mean()
    assert 0.68 < ratio < 0.91
