"""The command as a user calls it: real processes, real scans."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pypdfium2
import pytest
from typer.testing import CliRunner

from app.cli.main import main
from fedpet.core.profile import Stage
from fedpet.imaging.lesions.lesion_table import TABLE_VERSION
from fedpet.imaging.lesions.masks import read_mask
from fedpet.imaging.loading import load_study
from fedpet.imaging.nifti import read_nifti, write_nifti
from inference.bundle.storage import load_model
from tests.support import inference_server

ROOT = Path(__file__).parents[3]
FEDPET = Path(sys.executable).with_name("fedpet")
PATIENTS = ("STS_002", "STS_008", "STS_042")


@pytest.fixture(scope="module")
def fedpet(tmp_path_factory):
    """Run the command with a home of its own; returns the finished process."""
    home = tmp_path_factory.mktemp("home")

    def run(*arguments):
        environment = {"FEDPET_HOME": str(home), "PATH": "/usr/bin:/bin", "HOME": str(home), "PYTHONPATH": str(ROOT)}
        command = [str(FEDPET), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)

    return run


@pytest.fixture
def record(tmp_path):
    path = tmp_path / "record.json"
    path.write_text(json.dumps({"ecog_ps": 1, "pdl1_tps": 60, "ligne": 1}))
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
    audit = report["mask"]
    assert audit["format"] == "RTSTRUCT"
    assert audit["planes"] == audit["contours"] > 0
    assert audit["holes"] == audit["duplicates"] == audit["dropped"] == 0
    assert audit["ml"] == pytest.approx(report["total"]["tmtv_ml"], abs=1e-3)
    assert report["checks"]["mask_read"] == "pass"


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
    table = report["table"]
    assert (table["values"]["tmtv_ml"], table["values"]["suv_peak"]) == (lesion["mtv_ml"], lesion["suv_peak"])
    assert [one["id"] for one in table["lesions"]] == [lesion["id"]]
    assert table["version"] == TABLE_VERSION
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


@pytest.mark.reference_data
def test_the_record_of_another_patient_is_refused_on_a_real_study(fedpet, reference_data, tmp_path):
    """STS_002 is a man of 61 years and 99 kg by its headers, whose dates were moved."""
    record = tmp_path / "record.json"
    record.write_text(json.dumps({"age": 81, "sexe": "F", "poids_kg": 52, "date_tep": "2024-03-05"}))
    study, out = reference_data / "sts" / "STS_002", tmp_path / "out"
    done = fedpet("predict", study, "--clinical", record, "--out", out, "--json")
    assert done.returncode == 3
    refused = json.loads(done.stdout)["refused"]
    assert refused["kind"] == "RecordMismatchError"
    assert all(f"{item}:" in refused["found"] for item in ("sex", "age", "weight"))
    assert not out.exists()
    report = json.loads(fedpet("inspect", study, "--clinical", record, "--json").stdout)["concordance"]
    assert report["check"]["level"] == "fail"
    assert {one["item"]: one["verdict"] for one in report["items"]} == {
        "identifier": "not_stated", "sex": "differ", "age": "differ", "weight": "differ", "height": "not_stated",
        "pet_date": "not_stated", "first_dose": "not_stated",
    }  # fmt: skip


def test_markup_in_a_description_is_printed_as_it_stands(fedpet, dicom, tmp_path):
    slices = dicom.pet(np.full((6, 8, 8), 2.0))
    for one in slices:
        one.SeriesDescription = "[/] [red]PET[/red]"
    dicom.save(slices, tmp_path / "study")
    done = fedpet("inspect", tmp_path / "study")
    assert done.returncode == 0, done.stderr
    assert "[/]" in done.stderr
    assert "[red]" in done.stderr
    assert all(word in done.stderr for word in ("Modalité", "Choisie", "oui"))  # in the language of the settings
    assert not any(word in done.stderr for word in ("None", "True", "False", "chosen"))


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
    assert json.loads(done.stdout)["refused"]["kind"] in {"UnreadableStudyError", "SeriesNotFoundError"}
    assert not (tmp_path / "out").exists()


def test_a_damaged_bundle_exits_2(fedpet, tmp_path):
    (tmp_path / "SHA256SUMS").write_text("")
    done = fedpet("model", "verify", tmp_path, "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["kind"] == "CorruptBundleError"


def test_the_demonstration_model_verifies_and_says_it_is_synthetic(fedpet):
    done = fedpet("model", "verify", "--json")
    assert json.loads(done.stdout)["verified"] is True
    card = json.loads(fedpet("model", "show", "--json").stdout)["card"]
    assert card["synthetic"] is True
    assert "SYNTHETIC" in fedpet("model", "show").stdout


@pytest.fixture(scope="module")
def simulated(fedpet, simulated_centre, tmp_path_factory):
    """One simulated patient and what the demonstration model says of him or her."""
    out = tmp_path_factory.mktemp("predicted") / "out"
    (patient,) = (simulated_centre / "dicom").iterdir()
    wanted = ("--out", out, "--lang", "en", "--json", "--profile")
    done = fedpet("predict", patient, "--clinical", simulated_centre / "clinical.csv", *wanted)
    assert done.returncode == 0, done.stderr
    assert "Where the time went" in done.stderr
    return simulated_centre, patient, out, json.loads(done.stdout)


def test_a_simulated_patient_gets_every_file(simulated):
    _, _, out, _ = simulated
    assert {path.name for path in out.iterdir()} >= {
        "result.json", "report.pdf", "saliency.nii.gz", "lesions.nii.gz", "mip.png", "fused.png",
    }  # fmt: skip
    assert (out / "report.pdf").read_bytes().startswith(b"%PDF")


def test_an_inference_server_gives_the_same_answer_and_is_sent_no_identity(simulated, tmp_path, monkeypatch):
    centre, patient, _, here = simulated
    with inference_server.serving(tmp_path / "server", load_model()) as server:
        reached = server.settings()
        monkeypatch.setenv("FEDPET_HOME", str(tmp_path / "home"))
        monkeypatch.setenv(
            "FEDPET_INFERENCE_SERVER", json.dumps({"ca_file": str(reached.ca_file), "secret_env": "KEY"})
        )
        monkeypatch.setenv("KEY", inference_server.TOKEN)
        words = ["predict", patient, "--clinical", centre / "clinical.csv", "--out", tmp_path / "out", "--no-explain"]
        done = CliRunner().invoke(main, [*map(str, words), "--json", "--inference-server", reached.url])
    assert done.exit_code == 0, done.stderr
    ours, theirs = here["prediction"], json.loads(done.stdout)["prediction"]
    assert "localhost" in theirs["model"]["provider"]
    assert "localhost" not in ours["model"]["provider"]
    assert theirs["risk_score"] == pytest.approx(ours["risk_score"], abs=1e-5)
    assert len(theirs["endpoints"]) == len(ours["endpoints"]) == 3
    for one, other in zip(theirs["endpoints"], ours["endpoints"], strict=True):
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-5)
    sent = b"".join(f"{path} {headers}".encode() + body for _, path, headers, body in server.asked)
    assert b"clinical" in sent
    header = pydicom.dcmread(next(patient.rglob("*.dcm")), stop_before_pixels=True)
    for identity in (header.PatientName, header.PatientID, patient.name, header.StudyInstanceUID, header.StudyDate):
        assert str(identity).encode() not in sent


def test_the_profile_names_every_stage_but_dicom_and_adds_up(simulated):
    _, _, out, result = simulated
    stages, total = result["profile"]["stages"], result["profile"]["total"]
    assert list(stages) == [stage.value for stage in Stage if stage is not Stage.DICOM]
    assert all(took["cpu_s"] > 0 for took in stages.values())
    assert sum(took["cpu_s"] for took in stages.values()) == pytest.approx(total["cpu_s"])
    assert stages["other"]["cpu_s"] < 0.25 * total["cpu_s"]  # a stage that nobody counts would stand here
    assert "profile" not in json.loads((out / "result.json").read_text())


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
    assert "reference patient" in result["measured_against"]["prediction.contributions"]
    assert "without the lesions" in result["measured_against"]["explanation.terms"]
    given = result["prediction"]["contributions"]
    contributions = {name: x for name, x in given.items() if not name.startswith("missing:")}  # missing in both
    explained = result["explanation"]["variable_contributions"]
    variables = sum(value for name, value in explained.items() if name.startswith("variable:"))
    organs = sum(value for name, value in explained.items() if name.startswith("organ:"))
    assert variables == pytest.approx(sum(x for name, x in contributions.items() if "lesion:" not in name), abs=1e-4)
    assert organs == pytest.approx(sum(x for name, x in contributions.items() if "_to_liver" in name), abs=1e-4)
    assert len(explained) > 5
    assert sum(result["explanation"]["lesion_share"].values()) == pytest.approx(1.0, abs=1e-6)


def test_the_lesions_found_are_planted_lesions_and_the_largest_is_among_them(simulated):
    site, patient, out, result = simulated
    labels = read_nifti(out / "lesions.nii.gz", "label")
    truth = read_mask(site / "truth" / patient.name / "lesions.nii.gz", labels).labels
    largest = np.bincount(truth.array.ravel())[1:].argmax() + 1
    found = labels.array > 0
    assert found[truth.array == largest].mean() > 0.5
    assert (truth.array[found] > 0).mean() > 0.5
    assert result["prediction"]["quantities"]["method"] == "suv4"


def test_a_mirrored_mask_is_measured_and_not_predicted_on(simulated, fedpet, tmp_path):
    site, patient, _, _ = simulated
    truth = read_nifti(site / "truth" / patient.name / "lesions.nii.gz", "label")
    write_nifti(truth.like(truth.array[:, :, ::-1].copy(), "label"), tmp_path / "mirrored.nii.gz")
    out, given = tmp_path / "out", ("--lesions", tmp_path / "mirrored.nii.gz")
    done = fedpet("predict", patient, "--clinical", site / "clinical.csv", "--out", out, *given, "--json")
    result = json.loads(done.stdout)
    assert result["prediction"]["endpoints"] == []
    assert "The lesions given do not fit the images." in result["prediction"]["abstained"]["text"]
    assert "mirrored from left to right" in result["prediction"]["abstained"]["text"]
    assert result["prediction"]["quantities"]["tmtv_ml"] > 1
    assert {one["name"]: one["level"] for one in result["checks"]}["mask_fit"] == "fail"
    assert result["mask"]["format"] == "NIFTI"
    assert result["mask"]["fit"]["fit"] < result["mask"]["fit"]["elsewhere"]["fit"]


def test_no_explain_leaves_the_saliency_out(simulated, fedpet, tmp_path):
    site, patient, _, _ = simulated
    out = tmp_path / "out"
    done = fedpet("predict", patient, "--clinical", site / "clinical.csv", "--out", out, "--no-explain", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["explanation"] is None
    assert not (out / "saliency.nii.gz").exists()


def another_record(site, path, **changed):
    """The row of the simulated patient with other values."""
    with (site / "clinical.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file, delimiter=";")
    row |= {name: change(row[name]) for name, change in changed.items()}
    path.write_text(json.dumps(row))
    return path


def other_sex(sex):
    return {"F": "M", "M": "F"}[sex]


def two_years_later(day):
    return f"{int(day[:4]) + 2}{day[4:]}"


def test_a_patients_own_record_agrees_in_every_item(simulated):
    _, _, _, result = simulated
    verdicts = {item["name"]: item["verdict"] for item in result["concordance"]["items"]}
    assert set(verdicts.values()) == {"agree"}
    assert result["concordance"]["confirmation"] is None
    assert next(check["level"] for check in result["checks"] if check["name"] == "record_fits") == "pass"


def test_another_patients_record_is_refused_and_nothing_is_written(simulated, fedpet, tmp_path):
    site, patient, _, _ = simulated
    record = another_record(
        site, tmp_path / "record.json", patient_id=lambda _: "HOSP-9", sexe=other_sex, date_tep=two_years_later,
        date_debut_ici=two_years_later, age_immunotherapie=lambda age: str(float(age) + 5),
    )  # fmt: skip
    out = tmp_path / "out"
    done = fedpet("predict", patient, "--clinical", record, "--out", out, "--json")
    assert done.returncode == 3
    refused = json.loads(done.stdout)["refused"]
    assert refused["kind"] == "RecordMismatchError"
    assert "the identifier differs" in refused["found"]
    assert all(f"{item}:" in refused["found"] for item in ("sex", "age", "day of the PET", "first dose"))
    assert not any(name in done.stdout + done.stderr for name in ("HOSP-9", patient.name))
    assert not out.exists()


def test_a_contradiction_confirmed_with_a_reason_is_answered_and_recorded(simulated, fedpet, tmp_path):
    site, patient, _, _ = simulated
    record, out = another_record(site, tmp_path / "record.json", sexe=other_sex), tmp_path / "out"
    wanted = ("--out", out, "--no-explain", "--lang", "en", "--json")
    done = fedpet("predict", patient, "--clinical", record, *wanted, "--confirm-record", "PACS entry is wrong")
    assert done.returncode == 0, done.stderr
    result = json.loads((out / "result.json").read_text())
    assert result["prediction"]["endpoints"]
    assert next(check["level"] for check in result["checks"] if check["name"] == "record_fits") == "warn"
    assert result["concordance"]["confirmation"]["reason"] == "PACS entry is wrong"
    (entry,) = [json.loads(line) for line in fedpet("audit", "export").stdout.splitlines()]
    assert (entry["action"], entry["actor"]) == ("record.confirmed", result["concordance"]["confirmation"]["by"])
    assert entry["detail"] == {"contradictions": ["sex"], "reason": "PACS entry is wrong"}
    with pypdfium2.PdfDocument(out / "report.pdf") as report:
        page = " ".join(report[0].get_textpage().get_text_range().split())
    assert "The clinical record contradicts the images" in page
    assert "Reason: PACS entry is wrong" in page


def test_a_pet_of_another_day_abstains_even_confirmed(simulated, fedpet, tmp_path):
    site, patient, _, _ = simulated
    record = another_record(site, tmp_path / "record.json", date_tep=two_years_later, date_debut_ici=two_years_later)
    wanted = ("--out", tmp_path / "out", "--confirm-record", "typing error", "--json")
    done = fedpet("predict", patient, "--clinical", record, *wanted)
    assert done.returncode == 0, done.stderr
    prediction = json.loads(done.stdout)["prediction"]
    assert prediction["endpoints"] == []
    assert "day of the PET" in prediction["abstained"]["text"]


def test_a_missing_delay_is_computed_from_the_first_dose_or_asked_for(simulated, fedpet, tmp_path):
    site, patient, _, _ = simulated
    gone = {name: lambda _: "" for name in ("date_tep", "delai_tep_ici", "date_debut_ici")}
    record = another_record(site, tmp_path / "record.json", **gone)
    done = fedpet("predict", patient, "--clinical", record, "--out", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    assert "delai_tep_ici" in json.loads(done.stdout)["prediction"]["abstained"]["text"]


def test_quantify_names_source_score_and_reasons_of_every_focus(fedpet, dicom, tmp_path):
    """A thorax with one lesion; the organs by the network, then from a file, then by rules."""
    suv, hu, origin = dicom.thorax()
    dicom.save(dicom.pet(suv, origin=origin), tmp_path / "study" / "pet")
    dicom.save(dicom.ct(hu, spacing=(4.0, 4.0, 4.0), origin=origin), tmp_path / "study" / "ct")
    done = fedpet("quantify", tmp_path / "study", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert report["organs"]["source"] == report["table"]["organs"] == "learned"
    assert "simulated bodies" in report["organs"]["text"]
    assert report["components"]
    for one in report["components"]:
        assert 0.0 <= one["score"] <= 1.0
        assert one["reason"]["text"]
        assert len(one["evidence"]) >= 2
        assert one["outline"] in ("threshold", "gradient")
    study = load_study(tmp_path / "study", pseudonym_key=b"test")
    organs = study.ct.like((study.ct.array > -200).astype(np.uint8), "label")
    write_nifti(organs, tmp_path / "organs.nii.gz")
    (tmp_path / "names.json").write_text('{"1": "muscle"}', encoding="utf-8")
    given = ("--organs", tmp_path / "organs.nii.gz", "--organ-names", tmp_path / "names.json")
    report = json.loads(fedpet("quantify", tmp_path / "study", *given, "--json").stdout)
    assert report["organs"]["source"] == "given"
    rules = json.loads(fedpet("quantify", tmp_path / "study", "--segmenter", "rules", "--json").stdout)
    assert rules["organs"]["source"] == rules["table"]["organs"] == "rules"
    assert "last resort" in rules["organs"]["text"]
    refused = fedpet("quantify", tmp_path / "study", *given[:2])
    assert refused.returncode == 3
    assert "--organ-names" in refused.stderr
