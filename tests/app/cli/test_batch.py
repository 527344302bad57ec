"""`fedpet batch`: good, bad and contradicting studies in one run on Ray, and a second run on processes that goes on."""

import csv
import json
import shutil
import subprocess
import sys

import pytest

from app.cases.options import CaseOptions
from app.cases.pipeline import CaseOutput
from app.cli.batch.run import JOURNAL, BatchPlan, BatchRow, State, centre_mark, run_batch
from app.cli.batch.worklist import read_worklist
from fedpet.clinical.tabular import read_cells
from fedpet.core.errors import WorklistError
from fedpet.core.messages import Message
from fedpet.core.settings import Settings
from inference.registry import bundle_in
from tests.support import ROOT


@pytest.fixture(scope="module")
def batch(simulated_centre, tmp_path_factory):
    """The worklist, the folder of results and the command, after one run."""
    work = tmp_path_factory.mktemp("batch")
    (row,) = read_cells(simulated_centre / "clinical.csv", lambda cells: "patient_id" in cells).rows
    _write(work / "record.csv", row)
    _write(work / "other.csv", {**row, "sexe": "H" if row["sexe"] == "F" else "F", "age_immunotherapie": "31"})
    (work / "DUPONT_JEAN").mkdir()
    (work / "DUPONT_JEAN" / "image.dcm").write_text("no DICOM")
    study = simulated_centre / "dicom" / row["patient_id"]
    lines = [("study", "clinical"), (study, "record.csv"), ("DUPONT_JEAN", "record.csv"), (study, "other.csv")]
    with (work / "worklist.csv").open("w", newline="") as file:
        csv.writer(file, delimiter=";").writerows(lines)

    def run(*more):
        environment = {"FEDPET_HOME": str(work / "home"), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "app.cli.main", "batch", work / "worklist.csv", "--out", work / "out"]
        command += ["--lang", "en", "--json", *more]
        done = subprocess.run(
            [*map(str, command)], capture_output=True, text=True, check=False, env=environment, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout), done.stderr

    first, words = run("--engine", "ray", "--workers", "1", "--profile")
    return work, run, first, words


def _write(path, row):
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=";").writerows([row.keys(), row.values()])


def test_a_bad_and_a_contradicting_study_are_rows_and_stop_no_other(batch):
    work, _, first, words = batch
    assert [row["state"] for row in first["rows"]] == ["answered", "refused", "refused"]
    assert [row["line"] for row in first["rows"]] == [2, 3, 4]
    result = json.loads((work / "out" / first["rows"][0]["folder"] / "result.json").read_text())
    assert [one["probability"] for one in result["prediction"]["endpoints"]] == [
        p for _, p, _, _ in first["rows"][0]["endpoints"]
    ]
    assert "contradict" in str(Message.from_json(first["rows"][2]["reason"]))
    profiles = [row["profile"] for row in first["rows"]]
    assert profiles[1:] == [None, None]
    assert 0.5 * first["rows"][0]["seconds"] < profiles[0]["total"]["wall_s"] <= first["rows"][0]["seconds"]
    assert "Where the time went" in words
    everything = words + "".join(path.read_text() for path in sorted((work / "out").glob("*.*")))
    assert "DUPONT" not in everything
    assert not list((work / "out").rglob("*DUPONT*"))
    (key,) = (work / "home" / "batch").iterdir()
    assert "DUPONT_JEAN" in key.read_text()
    assert key.stat().st_mode & 0o077 == 0


def test_the_table_says_the_same_in_both_forms(batch):
    work, _, first, _ = batch
    with (work / "out" / "summary.csv").open() as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    assert [row["state"] for row in rows] == ["answered", "refused", "refused"]
    by_name = {name: p for name, p, _, _ in first["rows"][0]["endpoints"]}
    assert {name: float(rows[0][name]) for name in by_name} == pytest.approx(by_name, abs=5.1e-3)
    page = (work / "out" / "summary.html").read_text()
    assert f"{by_name['pfs_12m']:.0%} (" in page
    assert "SYNTHETIC MODEL" in page
    assert "Failed checks</th>" in page


def test_a_second_run_keeps_what_is_done_and_a_corrected_record_is_computed(batch):
    work, run, first, _ = batch
    kept = work / "out" / first["rows"][0]["folder"] / "result.json"
    before = kept.stat().st_mtime_ns
    shutil.copy(work / "record.csv", work / "other.csv")
    second, _ = run()
    assert kept.stat().st_mtime_ns == before
    assert [row["state"] for row in second["rows"]] == ["answered", "refused", "answered"]
    assert second["rows"][0]["endpoints"] == second["rows"][2]["endpoints"]
    assert second["rows"][0]["folder"] != second["rows"][2]["folder"]


@pytest.mark.parametrize("differs", ["key", "model", "out"])
def test_a_machine_that_is_set_up_otherwise_computes_nothing_and_says_what_differs(tmp_path, differs):
    """As a second machine of a cluster would be, which has a home, a model or a folder of its own at the same place."""
    (tmp_path / "list" / "a").mkdir(parents=True)
    (tmp_path / "list" / "a.json").write_text("{}")
    settings, bundle, out = Settings(home=tmp_path), bundle_in(None, Settings(home=tmp_path)), tmp_path / "out"
    if differs != "out":
        out.mkdir()
        (out / JOURNAL).touch()
    digest = "0" * 64 if differs == "model" else bundle.digest
    centre = "P-0" if differs == "key" else centre_mark(settings)
    plan = BatchPlan(out, bundle.folder, digest, settings, CaseOptions(), CaseOutput("en"), centre)
    (row,) = run_batch(read_worklist(tmp_path / "list"), plan, workers=1)
    assert row.state is State.FAILED
    assert {"key": "the key of", "model": "the model", "out": "the folder of the batch"}[differs] in str(row.reason)


def test_a_folder_of_pairs_and_what_it_lacks(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b.json").write_text("{}")
    (tmp_path / "a.zip").write_bytes(b"")
    with pytest.raises(WorklistError, match="1 of 2 studies have no record"):
        read_worklist(tmp_path)
    (tmp_path / "a.csv").write_text("")
    assert [(one.line, one.study.name, one.record.name) for one in read_worklist(tmp_path)] == [
        (1, "a.zip", "a.csv"),
        (2, "b", "b.json"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("study;clinical\n", "no study"),
        ("images;clinical\nx;y\n", "columns images, clinical"),
        ("study;clinical\nhere;nowhere.json\n", "1 lines the study or the record does not exist: 2"),
    ],
)
def test_a_worklist_that_cannot_be_used_says_why_before_anything_is_computed(tmp_path, text, said):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(WorklistError, match=said):
        read_worklist(tmp_path / "list.csv")


def test_a_row_is_read_back_as_it_was_written():
    row = BatchRow(3, "study-1", State.ABSTAINED, "P-1", Message("No."), (("pfs_12m", 0.5, 0.4, 0.6),), 2, 3.5, 9.0)
    assert BatchRow.from_json(json.loads(json.dumps(row.to_json()))) == row
