from __future__ import annotations

import csv
import json
import shutil
from dataclasses import asdict
from datetime import date, timedelta

import numpy as np
import pytest

from clinical.reading import read_table
from cohort.prepare import prepare_node_data
from cohort.simulate import simulate_cohort
from fedpet.messages import LANGUAGES
from imaging.loading import load_study, pseudonym
from imaging.masks import read_nifti
from inference.contract import default_contract
from inference.encoding import encode
from inference.preprocessing import model_image

KEY = b"a secret of the centre"
CONTRACT = default_contract()


@pytest.fixture(scope="module")
def centre(tmp_path_factory):
    """Three synthetic patients of one centre, as they arrive."""
    out = tmp_path_factory.mktemp("raw")
    simulate_cohort(patients=3, sites=1, seed=4, out=out, fidelity="coarse")
    return out / "S1"


@pytest.fixture(scope="module")
def node(centre, tmp_path_factory):
    out = tmp_path_factory.mktemp("nodes") / "north"
    report = prepare(centre, out, masks=centre / "truth")
    return out, report


def prepare(centre, out, **options):
    return prepare_node_data(
        centre / "dicom", centre / "clinical.csv", out, contract=CONTRACT, pseudonym_key=KEY, **options
    )


def names(centre):
    return sorted(path.name for path in (centre / "dicom").iterdir())


def test_every_patient_is_prepared_under_a_pseudonym(centre, node):
    out, report = node
    assert report.cases == tuple(sorted(pseudonym(name, KEY) for name in names(centre)))
    assert (report.left_out, report.delineated, report.site) == ((), 3, "north")
    header = json.loads((out / "node.json").read_text())
    assert header["contract_fingerprint"] == CONTRACT.fingerprint
    assert (header["cases"], header["synthetic"], header["site"]) == (3, True, "north")
    written = b"".join(path.read_bytes() for path in out.rglob("*") if path.suffix in {".json", ".csv"})
    assert not any(name.encode() in written for name in names(centre))


def test_arrays_are_those_of_the_one_preprocessing_path(centre, node):
    out, _ = node
    name = names(centre)[0]
    study = load_study(centre / "dicom" / name, pseudonym_key=KEY)
    row = next(row for row in read_table(centre / "clinical.csv") if row.patient_id == name)
    with np.load(out / "cases" / f"{pseudonym(name, KEY)}.npz", allow_pickle=False) as case:
        np.testing.assert_array_equal(case["image"], model_image(study, CONTRACT).astype(np.float16))
        np.testing.assert_array_equal(case["clinical"], encode(row.record, CONTRACT).values)
        assert float(case["months"]) == pytest.approx(row.outcome.months)
        assert bool(case["event"]) == row.outcome.event
        assert case["concepts"].shape == (len(CONTRACT.concepts), *CONTRACT.shape)
        assert case["supervised"].all()


def test_concepts_keep_the_volumes(centre, node):
    out, _ = node
    voxel_ml = CONTRACT.spacing_mm**3 / 1000
    truth = json.loads((centre / "truth" / "truth.json").read_text())["patients"]
    for name, told in truth.items():
        with np.load(out / "cases" / f"{pseudonym(name, KEY)}.npz", allow_pickle=False) as case:
            ml = dict(zip(CONTRACT.concepts, case["concepts"].sum(axis=(1, 2, 3)) / 255 * voxel_ml, strict=True))
            suv = case["image"][0].astype(float)
            lesion = case["concepts"][CONTRACT.concepts.index("lesion")] > 127
        seen = [lesion for lesion in told["lesions"] if lesion["kind"] != "brain"]
        active = sum(lesion["volume_ml"] - lesion["necrosis_ml"] for lesion in seen)
        assert ml["lesion"] == pytest.approx(active, rel=0.05, abs=0.5)
        assert ml["necrosis"] == pytest.approx(sum(lesion["necrosis_ml"] for lesion in seen), rel=0.05, abs=0.5)
        organs = read_nifti(centre / "truth" / name / "organs.nii.gz", "label")
        assert ml["liver"] == pytest.approx((organs.array == 1).sum() * organs.voxel_ml, rel=0.02)
        if lesion.any():
            assert suv[lesion].mean() > 2.5  # the mask lies where the uptake is


def test_true_probabilities_go_beside_the_outcome(centre, node):
    out, _ = node
    truth = json.loads((centre / "truth" / "truth.json").read_text())["patients"]
    with (out / "cases.csv").open(encoding="utf-8") as file:
        rows = {row["case_id"]: row for row in csv.DictReader(file)}
    for name, told in truth.items():
        assert float(rows[pseudonym(name, KEY)]["true_pfs_12m"]) == pytest.approx(told["risk"]["pfs_12m"])


def test_without_masks_nothing_is_supervised(centre, tmp_path):
    report = prepare(centre, tmp_path / "n")
    assert (len(report.cases), report.delineated) == (3, 0)
    with np.load(tmp_path / "n" / "cases" / f"{report.cases[0]}.npz", allow_pickle=False) as case:
        assert not case["supervised"].any()
        assert not case["concepts"].any()
    assert "true_pfs_12m" not in (tmp_path / "n" / "cases.csv").read_text()


def test_workers_change_nothing(centre, node, tmp_path):
    out, report = node
    again = prepare(centre, tmp_path / "north", masks=centre / "truth", workers=2)
    assert asdict(again) == asdict(report)
    for path in out.rglob("*"):
        if path.is_file():
            assert (tmp_path / "north" / path.relative_to(out)).read_bytes() == path.read_bytes()


def test_who_is_left_out_and_why(centre, tmp_path):
    """A CT that is missing, a PET of the thighs only, a study without a row, rows without a study, an outcome or a
    PET before treatment."""
    first, second, third = names(centre)
    raw = tmp_path / "raw"
    shutil.copytree(centre / "dicom" / first, raw / "dicom" / first, ignore=shutil.ignore_patterns("CT"))
    shutil.copytree(centre / "dicom" / second, raw / "dicom" / second)
    for kind in ("PT", "CT"):
        for path in sorted((raw / "dicom" / second / kind).glob("*.dcm"))[40:]:
            path.unlink()
    shutil.copytree(centre / "dicom" / third, raw / "dicom" / "not-in-the-table")
    with (centre / "clinical.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    base = {row["patient_id"]: row for row in rows}
    no_outcome = {**base[first], "patient_id": "no-outcome", "date_debut_ici": ""}
    start = date.fromisoformat(base[first]["date_debut_ici"])
    late = (start + timedelta(days=5)).isoformat()
    after = {**base[first], "patient_id": "after", "delai_tep_ici": "", "date_tep": late}
    for extra in (no_outcome, after):
        shutil.copytree(centre / "dicom" / third / "PT", raw / "dicom" / extra["patient_id"])
    kept = [base[first], base[second], no_outcome, after, {**base[first], "patient_id": "no-study"}]
    with (raw / "clinical.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0], delimiter=";")
        writer.writeheader()
        writer.writerows(kept)

    report = prepare(raw, tmp_path / "node")
    assert report.cases == ()
    told = json.loads((tmp_path / "node" / "report.json").read_text())["left_out"]
    codes = {one["pseudonym"]: one["code"] for one in told}
    assert codes == {
        pseudonym(first, KEY): "failed_check",
        pseudonym(second, KEY): "failed_check",
        pseudonym(third, KEY): "no_row",
        pseudonym("no-study", KEY): "no_study",
        pseudonym("no-outcome", KEY): "no_outcome",
        pseudonym("after", KEY): "pet_after_treatment",
    }
    assert all(one["reason"][language] for one in told for language in LANGUAGES)
    text = (tmp_path / "node" / "report.json").read_text()
    assert not any(name in text for name in (first, second, third, "no-study", "not-in-the-table"))


def test_folders_may_bear_another_name_than_the_patient(centre, tmp_path):
    first = names(centre)[0]
    shutil.copytree(centre / "dicom" / first, tmp_path / "raw" / "dicom" / "exam-1")
    shutil.copytree(centre / "dicom" / first, tmp_path / "raw" / "dicom" / "exam-2")
    shutil.copy(centre / "clinical.csv", tmp_path / "raw" / "clinical.csv")
    report = prepare(tmp_path / "raw", tmp_path / "node")
    assert report.cases == (pseudonym(first, KEY),)
    assert sorted(one.code for one in report.left_out) == ["duplicate_study", "no_study", "no_study"]
