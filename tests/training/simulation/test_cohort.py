from __future__ import annotations

import csv
import hashlib
import json
from datetime import date

import numpy as np
import pytest

from fedpet.clinical.reading import read_table
from fedpet.core.errors import OutputError, SettingsError
from fedpet.imaging.nifti import read_nifti
from training.data.concept_masks import concept_masks
from training.simulation.cohort import claim_place, cohort_facts, distribute, simulate_cohort, table_row
from training.simulation.patients.centres import SITES
from training.simulation.patients.population import draw_patient
from training.simulation.patients.risk import follow_up, risk


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    out = tmp_path_factory.mktemp("cohort")
    told = []
    simulate_cohort(
        patients=3, sites=2, seed=8, out=out, fidelity="coarse", progress=lambda fraction, _: told.append(fraction)
    )
    assert told == pytest.approx([1 / 3, 2 / 3, 1])
    return out


def test_same_seed_same_bytes_whatever_the_workers(cohort, tmp_path):
    simulate_cohort(patients=3, sites=2, seed=8, out=tmp_path, fidelity="coarse", workers=2)
    assert digests(tmp_path) == digests(cohort)


def test_a_folder_takes_one_cohort(cohort, tmp_path):
    """The same options may be repeated, also after an interruption; anything else would mix patients of two cohorts."""
    same = cohort_facts(distribute(3, 2), seed=8, signal=0.85, fidelity="coarse", anatomy="schematic")
    before = digests(cohort)
    claim_place(cohort, same)
    for _ in range(2):
        claim_place(tmp_path / "begun", same)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("kept")
    for folder, found in (
        (cohort, "differs in: seed"),
        (tmp_path / "begun", "differs in: seed"),
        (tmp_path / "notes", "no simulated"),
    ):
        with pytest.raises(OutputError, match=found):
            simulate_cohort(patients=3, sites=2, seed=9, out=folder, fidelity="coarse")
    assert digests(cohort) == before


def test_layout_and_summary(cohort):
    summary = json.loads((cohort / "cohort.json").read_text())
    assert (summary["seed"], summary["signal"], summary["fidelity"]) == (8, 0.85, "coarse")
    assert sum(site["patients"] for site in summary["sites"].values()) == 3
    for measure, least in (("auc_12m", 0.7), ("c_index", 0.63)):
        ceiling = summary["ceilings"][measure]
        assert least < ceiling["clinical_only"] < ceiling["image_only"] < ceiling["everything"] < 0.85
    folders = sorted(path.name for path in (cohort / "S1" / "dicom").iterdir())
    assert folders == sorted(json.loads((cohort / "S1" / "truth" / "truth.json").read_text())["patients"])
    for name in folders:
        assert len(list((cohort / "S1" / "dicom" / name / "PT").glob("*.dcm"))) > 120
        assert len(list((cohort / "S1" / "dicom" / name / "CT").glob("*.dcm"))) > 120


def test_truth_is_the_risk_and_the_rendered_lesions(cohort):
    truth = json.loads((cohort / "S1" / "truth" / "truth.json").read_text())["patients"]
    for number, (name, told) in enumerate(sorted(truth.items())):
        patient = draw_patient(SITES[0], number, seed=8)
        assert patient.id == name
        assert told["risk"]["eta"] == pytest.approx(risk(patient).eta)
        assert told["risk"]["pfs_12m"] == pytest.approx(risk(patient).pfs_12m)
        labels = read_nifti(cohort / "S1" / "truth" / name / "lesions.nii.gz", "label")
        for lesion in told["lesions"]:
            volume = (labels.array == lesion["id"]).sum() * labels.voxel_ml
            assert volume == pytest.approx(lesion["volume_ml"], abs=0.01)


def test_concept_masks_do_not_overlap(cohort):
    for folder in sorted((cohort / "S1" / "truth").iterdir()):
        if folder.is_dir():
            masks = {name: volume.array.astype(bool) for name, volume in concept_masks(folder).items()}
            apart = ("lesion", "necrosis", "liver", "marrow")
            assert np.sum([masks[name] for name in apart], axis=0).max() == 1
            assert not (masks["liver_lesion"] & ~masks["lesion"]).any()
            assert masks["liver"].sum() > 0 < masks["marrow"].sum()


def test_the_clinical_room_reads_the_table(cohort):
    rows = {row.patient_id: row for row in read_table(cohort / "S1" / "clinical.csv")}
    for number, row in enumerate(rows.values()):
        patient = draw_patient(SITES[0], number, seed=8)
        assert row.record == patient.observed
        events = follow_up(patient)
        ends = [t for t in (events.progression, events.death) if t is not None]
        assert row.outcome.event == bool(ends)
        assert row.outcome.months == pytest.approx(min(ends, default=events.last_news), abs=0.04)


def test_french_columns(cohort):
    with (cohort / "S1" / "clinical.csv").open(encoding="utf-8") as file:
        header = next(csv.reader(file, delimiter=";"))
    assert {"patient_id", "age_immunotherapie", "pdl1_tps", "date_debut_ici", "date_deces"} <= set(header)


def test_dates_follow_each_other():
    for number in range(200):
        row = table_row(draw_patient(SITES[1], number, seed=3), signal=0.85)
        days = {name: date.fromisoformat(row[name]) for name in row if name.startswith("date_") and row[name]}
        assert days["date_tep"] < days["date_debut_ici"] < days["date_dernieres_nouvelles"]
        assert max(days.values()) == days["date_dernieres_nouvelles"]


def test_patients_are_distributed_in_proportion():
    counts = [count for _, count in distribute(1150, 8)]
    assert sum(counts) == 1150
    assert counts == pytest.approx([site.cases for site in SITES], abs=4)
    assert [count for _, count in distribute(30, 8)][-1] == 3
    assert sum(count for _, count in distribute(30, 8)) == 30
    assert distribute(1, 1) == [(SITES[0], 1)]


@pytest.mark.parametrize(("patients", "sites"), [(3, 4), (10, 9), (10, 0)])
def test_impossible_cohorts_are_refused(tmp_path, patients, sites):
    with pytest.raises(SettingsError):
        simulate_cohort(patients=patients, sites=sites, seed=0, out=tmp_path)
