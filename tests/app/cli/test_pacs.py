"""`fedpet pacs`, as a person calls it."""

from __future__ import annotations

import json

import pytest
from pydicom.uid import generate_uid
from pynetdicom.association import Association
from typer.testing import CliRunner

from app.cases.store import Store
from app.cases.tables import Status
from app.cli.pacs import commands
from fedpet.core.settings import Settings

SLICES = 4


@pytest.fixture
def pacs(tmp_path, orthanc, monkeypatch):
    """Run the command with two PACS configured; gives the exit code, standard output and standard error."""
    (tmp_path / "fedpet.toml").write_text(
        f'home = "{tmp_path / "home"}"\nlanguage = "en"\n'
        f'[pacs.orthanc]\nhost = "127.0.0.1"\nport = {orthanc.dicom_port}\ncalled_ae = "{orthanc.ae}"\nretries = 0\n'
        'ohif = "https://viewer.example/viewer?StudyInstanceUIDs={study_uid}"\n'
        f'[pacs.web]\nurl = "{orthanc.url}"\nsecret_file = "{tmp_path / "secret"}"\nretries = 0\n'
    )
    (tmp_path / "secret").write_text(orthanc.credentials + "\n")
    monkeypatch.setenv("FEDPET_CONFIG", str(tmp_path / "fedpet.toml"))

    def run(*arguments, given=None):
        done = CliRunner().invoke(commands, list(map(str, arguments)), input=given)
        return done.exit_code, done.stdout, done.stderr

    return run


@pytest.fixture
def study(dicom, tmp_path):
    uid = generate_uid()
    suv, hu, origin = dicom.thorax((SLICES, 20, 20))
    tags = {"StudyInstanceUID": uid, "FrameOfReferenceUID": generate_uid(), "PatientID": f"ID-{uid[-8:]}"}
    dicom.save(dicom.pet(suv, origin=origin, series=f"{uid}.1", **tags), tmp_path / "study")
    dicom.save(dicom.ct(hu, spacing=(4.0, 4.0, 4.0), origin=origin, series=f"{uid}.2", **tags), tmp_path / "study")
    return uid, tags["PatientID"], tmp_path / "study"


def test_echo_says_for_each_pacs_whether_it_answers(pacs, tmp_path):
    code, out, _ = pacs("echo", "--json")
    assert (code, json.loads(out)) == (0, {"pacs": {"orthanc": {"answers": True}, "web": {"answers": True}}})
    (tmp_path / "secret").write_text("Basic d3Jvbmc6d3Jvbmc=")
    code, out, err = pacs("echo", "--json")
    answers = json.loads(out)["pacs"]
    assert (code, answers["orthanc"], answers["web"]["error"]["kind"]) == (2, {"answers": True}, "PacsError")
    assert "d3Jvbmc" not in out + err
    assert pacs("echo", "--pacs", "orthanc")[0] == 0


def test_a_study_is_sent_found_and_fetched(pacs, study, tmp_path):
    uid, patient, folder = study
    code, out, _ = pacs("send", folder, "--pacs", "web", "--json")
    assert (code, json.loads(out)) == (0, {"objects": 2 * SLICES, "skipped": 0, "attempts": 1})
    code, out, err = pacs("find", "--patient-id", patient, "--from", "2024-01-01", "--pacs", "orthanc", "--json")
    answer = json.loads(out)
    (row,) = answer["rows"]
    assert (code, row["study_uid"], row["patient_name"], answer["more"]) == (0, uid, "DUPONT^Jeanne", False)
    assert row["viewer"] == f"https://viewer.example/viewer?StudyInstanceUIDs={uid}"
    assert patient not in err
    code, out, _ = pacs("get", uid, "--out", tmp_path / "got", "--modality", "PT", "--pacs", "web", "--json")
    assert (code, json.loads(out)["images"]) == (0, SLICES)
    assert len(list((tmp_path / "got").iterdir())) == SLICES


def test_a_table_shows_the_answer_to_the_person_and_only_to_standard_output(pacs, study):
    uid, patient, folder = study
    pacs("send", folder, "--pacs", "orthanc")
    code, out, err = pacs("find", "--patient-id", "-", "--pacs", "web", given=f"{patient}\n")
    assert code == 0
    (line,) = [line for line in out.splitlines() if uid in line]
    assert line.split()[:2] == [patient, "DUPONT^Jeanne"]
    assert "DUPONT" not in err
    code, out, err = pacs("find", "--study", uid, "--level", "series", "--limit", 1, "--pacs", "orthanc")
    assert "Only the first 1 answers" in err


def test_an_error_says_what_to_do_and_exits_2(pacs, study, tmp_path):
    cases = {
        ("find", "--modality", "PT", "--pacs", "web"): "narrows",
        ("echo", "--pacs", "other"): "other",
        ("get", study[0], "--pacs", "orthanc"): "not clear where",
        ("get", study[0], "--out", tmp_path / "got", "--case", "--pacs", "orthanc"): "not clear where",
        ("get", study[0], "--out", tmp_path / "got", "--pacs", "orthanc"): "lists no image",
        ("send", tmp_path / "fedpet.toml", "--pacs", "orthanc"): "None of 1 files",
        ("find", "--patient-id", "1"): "No PACS is chosen",
    }
    for arguments, words in cases.items():
        code, out, err = pacs(*arguments, "--json")
        error = json.loads(out)["error"]
        assert code == 2, arguments
        assert words in error["found"], arguments
        assert words in " ".join(err.split())
        assert error["needed"]
        assert error["advice"]
    assert not (tmp_path / "got").exists()


def test_a_study_beyond_the_limits_exits_3(pacs, study, tmp_path, monkeypatch):
    pacs("send", study[2], "--pacs", "orthanc")
    monkeypatch.setenv("FEDPET_MAX_FILES", "3")
    code, out, _ = pacs("get", study[0], "--out", tmp_path / "got", "--pacs", "orthanc", "--json")
    assert (code, json.loads(out)["refused"]["kind"]) == (3, "UnreadableStudyError")


def test_a_study_can_become_a_case(pacs, study, tmp_path):
    pacs("send", study[2], "--pacs", "orthanc")
    code, out, err = pacs("get", study[0], "--case", "--pacs", "orthanc", "--json")
    assert code == 0, err
    store = Store.open(Settings(home=tmp_path / "home"))
    case = store.get(json.loads(out)["case"])
    store.close()
    assert (case.origin, case.received["files"]) == ("pacs:orthanc", 2 * SLICES)
    assert case.status in {Status.CHECKING, Status.CHECKED}


def test_pynetdicom_still_waits_as_our_gate_expects():
    made = Association.__init__.__code__.co_names
    assert {"_reactor_checkpoint", "_is_paused"} <= set(made)
    loop = Association._run_reactor.__code__.co_names
    assert {"_reactor_checkpoint", "_is_paused", "wait"} <= set(loop)
