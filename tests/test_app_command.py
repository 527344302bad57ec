"""The command as a user calls it: real processes, real scans."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from imaging.masks import read_mask, read_nifti

FEDPET = Path(sys.executable).with_name("fedpet")
PATIENTS = ("STS_002", "STS_008", "STS_042")


@pytest.fixture(scope="module")
def fedpet(tmp_path_factory):
    """Run the command with a home of its own; returns the finished process."""
    home = tmp_path_factory.mktemp("home")

    def run(*arguments):
        environment = {"FEDPET_HOME": str(home), "PATH": "/usr/bin:/bin", "HOME": str(home)}
        command = [str(FEDPET), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)

    return run


@pytest.fixture
def record(tmp_path):
    path = tmp_path / "record.json"
    path.write_text(json.dumps({"age": 65, "sexe": "M", "ecog_ps": 1, "pdl1_tps": 60, "ligne": 1}))
    return path


def expected(reference_data, patient):
    with (reference_data / "sts" / "expected_pet.csv").open() as file:
        return next(row for row in csv.DictReader(file) if row["patient"] == patient)


@pytest.mark.reference_data
@pytest.mark.parametrize("patient", PATIENTS)
def test_inspect_a_real_study(fedpet, reference_data, patient):
    done = fedpet("inspect", reference_data / "sts" / patient, "--json")
    report = json.loads(done.stdout)
    row = expected(reference_data, patient)
    assert done.returncode == 0
    assert report["pet"]["units"] == "GML"
    assert report["pet"]["decay_correction"] == "ADMIN"
    assert report["pet"]["suv_factor_min"] == report["pet"]["suv_factor_max"] == 1.0
    assert report["pet"]["dose_bq"] == pytest.approx(float(row["dose"]))
    assert report["pet"]["geometry"]["shape"] == [int(row[key]) for key in ("n_pet", "rows", "cols")]
    assert {check["name"]: check["level"] for check in report["checks"]}["chest_covered"] == "fail"


@pytest.mark.reference_data
@pytest.mark.parametrize(
    "name", ["DRO_0_0", "DRO_1_0", "DRO_2_0", "DRO_2_4", "DRO_3_0", "DRO_3_1", "DRO_4_1", "DRO_5_0"]
)
def test_quantify_a_digital_reference_object(fedpet, reference_data, name):
    folder = reference_data / "dro" / name
    report = json.loads(fedpet("quantify", folder / "PT", "--lesions", folder / "RS", "--json").stdout)
    (sphere,) = report["lesions"]
    measured = [sphere["suv_min"], sphere["suv_median"], sphere["suv_max"]]
    assert measured == pytest.approx([0.20, 1.00, 4.00], abs=0.01)
    assert report["total"]["suv_max"] == sphere["suv_max"]


@pytest.mark.reference_data
@pytest.mark.parametrize("patient", PATIENTS)
def test_quantify_a_real_study(fedpet, reference_data, patient):
    """Every measured column of the published table."""
    row, folder = expected(reference_data, patient), reference_data / "sts" / patient
    drawn = ("--lesions", folder / "nifti" / "PET_mask.nii.gz", "--json")
    report = json.loads(fedpet("quantify", folder, *drawn).stdout)
    (lesion,) = report["lesions"]
    columns = {
        "suv_max": "SUVmax",
        "suv_mean": "SUVmean",
        "suv_peak": "SUVpeak_global",
        "suv_peak_local": "SUVpeak_local",
        "mtv_ml": "MTV_ml",
        "mtv_41pct_ml": "MTV41_ml",
        "mtv_suv4_ml": "MTV4_ml",
        "tlg": "TLG",
    }
    measured = {key: lesion[key] for key in columns}
    assert measured == pytest.approx({key: float(row[column]) for key, column in columns.items()}, rel=0.005)
    assert report["total"]["tmtv_ml"] == lesion["mtv_ml"]
    assert report["total"]["tlg"] == lesion["tlg"]
    cut = json.loads(fedpet("quantify", folder / "PET", *drawn, "--method", "suv41pct").stdout)
    assert cut["method"] == "given_mask_suv41pct"
    assert cut["total"]["tmtv_ml"] == pytest.approx(float(row["MTV41_ml"]), rel=0.005)


@pytest.mark.reference_data
@pytest.mark.parametrize("patient", PATIENTS)
def test_predict_abstains_on_a_thigh_and_still_measures(fedpet, reference_data, patient, record, tmp_path):
    folder = reference_data / "sts" / patient
    mask = folder / "nifti" / "PET_mask.nii.gz"
    out = tmp_path / "out"
    done = fedpet("predict", folder, "--clinical", record, "--lesions", mask, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads((out / "result.json").read_text())
    prediction = json.loads(done.stdout)["prediction"]
    assert "chest" in prediction["abstained"]["text"]
    assert prediction["endpoints"] == []
    assert prediction["survival"] is prediction["risk_group"] is prediction["risk_score"] is None
    row, quantities = expected(reference_data, patient), prediction["quantities"]
    assert quantities["method"] == "given_mask"
    assert quantities["suv_max"] == pytest.approx(float(row["SUVmax"]), rel=0.005)
    assert quantities["tmtv_ml"] == pytest.approx(float(row["MTV_ml"]), rel=0.005)
    assert quantities["tlg"] == pytest.approx(float(row["TLG"]), rel=0.005)
    written = {path.name for path in out.iterdir()}
    assert written == {"result.json", "report.pdf", "lesions.nii.gz", "mip.png", "fused.png"}


def test_a_refused_study_exits_3_with_what_to_do(fedpet, tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "letter.txt").write_text("no image")
    done = fedpet("inspect", tmp_path / "study", "--json")
    refused = json.loads(done.stdout)["refused"]
    assert done.returncode == 3
    assert all(refused[part] for part in ("found", "needed", "advice"))


def test_a_refused_prediction_exits_3_and_writes_nothing(fedpet, tmp_path, record):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "letter.txt").write_text("no image")
    done = fedpet("predict", tmp_path / "study", "--clinical", record, "--out", tmp_path / "out", "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["refused"]["kind"] in {"UnreadableStudy", "SeriesNotFound"}
    assert not (tmp_path / "out").exists()


def test_a_damaged_bundle_exits_2(fedpet, tmp_path):
    (tmp_path / "SHA256SUMS").write_text("")
    done = fedpet("model", "verify", tmp_path, "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["kind"] == "BundleDamaged"


def test_the_demonstration_model_verifies_and_says_it_is_synthetic(fedpet):
    done = fedpet("model", "verify", "--json")
    assert json.loads(done.stdout)["verified"] is True
    card = json.loads(fedpet("model", "show", "--json").stdout)["card"]
    assert card["synthetic"] is True
    assert "SYNTHETIC" in fedpet("model", "show").stdout


@pytest.fixture(scope="module")
def simulated(fedpet, tmp_path_factory):
    """One simulated patient and what the demonstration model says of him or her."""
    folder = tmp_path_factory.mktemp("simulated")
    small = ("--patients", 1, "--sites", 1, "--seed", 7, "--fidelity", "coarse")
    made = fedpet("cohort", "simulate", *small, "--out", folder / "cohort")
    assert made.returncode == 0, made.stderr
    site = folder / "cohort" / "S1"
    (patient,) = (site / "dicom").iterdir()
    wanted = ("--out", folder / "out", "--lang", "en", "--json")
    done = fedpet("predict", patient, "--clinical", site / "clinical.csv", *wanted)
    assert done.returncode == 0, done.stderr
    return site, patient, folder / "out", json.loads(done.stdout)


def test_a_simulated_patient_gets_every_file(simulated):
    _, _, out, _ = simulated
    assert {path.name for path in out.iterdir()} >= {
        "result.json", "report.pdf", "saliency.nii.gz", "lesions.nii.gz", "mip.png", "fused.png",
    }  # fmt: skip
    assert (out / "report.pdf").read_bytes().startswith(b"%PDF")


def test_a_simulated_patient_gets_probabilities_in_order(simulated):
    _, _, _, result = simulated
    endpoints = {endpoint["name"]: endpoint for endpoint in result["prediction"]["endpoints"]}
    assert endpoints["pfs_12m"]["probability"] < endpoints["dcb_6m"]["probability"]
    for endpoint in endpoints.values():
        assert 0 < endpoint["lower"] < endpoint["probability"] < endpoint["upper"] < 1
    curve = result["prediction"]["survival"]["probability"]
    assert curve[0] == 1.0
    assert np.all(np.diff(curve) < 0)
    assert result["prediction"]["model"]["synthetic"] is True


def test_contributions_and_clinical_shares_agree(simulated):
    _, _, _, result = simulated
    contributions = result["prediction"]["contributions"]
    for name, value in result["explanation"]["variable_contributions"].items():
        assert value == pytest.approx(contributions[name], abs=1e-4)
    assert sum(result["explanation"]["lesion_share"].values()) == pytest.approx(1.0, abs=1e-6)


def test_the_lesions_found_are_planted_lesions_and_the_largest_is_among_them(simulated):
    site, patient, out, result = simulated
    labels = read_nifti(out / "lesions.nii.gz", "label")
    truth = read_mask(site / "truth" / patient.name / "lesions.nii.gz", labels)
    largest = np.bincount(truth.array.ravel())[1:].argmax() + 1
    found = labels.array > 0
    assert found[truth.array == largest].mean() > 0.5
    assert (truth.array[found] > 0).mean() > 0.5
    assert result["prediction"]["quantities"]["method"] == "suv4_model_map"


def test_no_explain_leaves_the_saliency_out(simulated, fedpet, tmp_path):
    site, patient, _, _ = simulated
    out = tmp_path / "out"
    done = fedpet("predict", patient, "--clinical", site / "clinical.csv", "--out", out, "--no-explain", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["explanation"] is None
    assert not (out / "saliency.nii.gz").exists()
