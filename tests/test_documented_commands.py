"""Every command that a page shows in a block is run: here, on a simulated patient, or by the test that is named.

Here a command is run as it stands, in a folder that holds what the page speaks of; a page's commands come in its order.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil

import pytest
from typer.testing import CliRunner

from app.cli.main import main
from inference.bundle.storage import load_model
from tests.support import ROOT
from tests.test_documentation import PAGES, alternatives, shown

# commands that start a server or a federation, need what a hospital has, or take minutes: who runs them
ELSEWHERE = {
    r"app\b": "tests/support/served_application.py::serving",
    r"pacs (echo|find|get|send)": "tests/app/cli/test_pacs.py::test_a_study_is_sent_found_and_fetched",
    r"pacs listen": "tests/app/exchange/test_receiver.py::test_a_study_that_the_pacs_sends_becomes_a_case",
    r"batch .*--engine ray": "tests/app/cli/test_batch.py::batch",
    r"batch": "tests/app/cli/test_batch.py::test_the_table_says_the_same_in_both_forms",
    r"cohort (rules|extract)|train node (register|plans|approve|policy|start|create)": (
        "tests/training/coordinator/test_hospital_federation.py::test_every_command_of_the_guides_runs_to_the_letter"
    ),
    r"train node budget": "tests/training/node/test_commands.py::test_another_limit_keeps_what_was_spent",
    r"cohort (check dicom|prepare dicom)": (
        "tests/training/data/test_hospital_guide.py::test_the_guide_leads_from_the_warehouse_to_a_registered_node"
    ),
    r"cohort uptake": (
        "tests/training/data/test_prepare.py::test_the_command_learns_the_uptake_of_the_centre_and_keeps_no_patient"
    ),
    r"cohort simulate .*--node-data": (
        "tests/training/simulation/test_node_data.py::test_the_command_uses_the_key_of_the_settings"
    ),
    r"cohort simulate": "tests/conftest.py::simulated_centre",
    r"train organs": "tests/training/organs/test_organ_network.py::test_a_run_can_start_from_an_exported_network",
    r"train (run|identity)": (
        "tests/training/coordinator/test_federation.py::test_run_trains_with_nodes_that_it_did_not_start"
    ),
    r"train simulate": (
        "tests/training/coordinator/test_config.py::test_the_command_in_the_card_trains_the_same_again"
    ),
    r"train evaluate lung": (
        "tests/training/coordinator/test_hospital_federation.py::test_every_command_of_the_guides_runs_to_the_letter"
    ),
    # by the functions behind them: their data take minutes to simulate
    r"train lesions|quantify .*--lesion-network": (
        "tests/training/data/test_lesion_cases.py::test_a_network_is_trained_measured_on_what_was_kept_back_and_used"
    ),
    r"train evaluate --bundle": (
        "tests/training/bundle/test_held_out.py::test_evaluate_reports_model_baseline_and_ceiling"
    ),
    r"train evaluate": "tests/training/evaluation/test_designs.py::report",
    r"model (evaluated|promote)": (
        "tests/app/cli/test_model.py::test_a_bundle_is_added_promoted_shown_and_rolled_back"
    ),
    r"monitor": "tests/app/cases/test_monitoring.py::test_the_command_writes_the_page_and_enters_outcomes",
    r"report verify .*--trust": (
        "tests/reports/test_verification.py::test_the_command_compares_with_what_the_application_keeps"
    ),
}
COMMANDS = [
    (str(page.relative_to(ROOT)), line)
    for page in (PAGES[-1], *PAGES[:-1])  # the README first
    for line, whole in shown(page.read_text(encoding="utf-8"))
    if whole
]


def elsewhere(line):
    return next((test for pattern, test in ELSEWHERE.items() if re.match(pattern, line)), None)


def common(line):
    """What is the same command: the French tutorials have names of their own, and reasons are free."""
    return re.sub(r' --reason ".*?"', "", line.replace("hopital-essai", "practice-hospital"))


HERE = list({common(line): (page, line) for page, line in reversed(COMMANDS) if elsewhere(line) is None}.values())[::-1]


@pytest.fixture(scope="module")
def place(tmp_path_factory, simulated_centre):
    """A folder in which the names of the pages mean something, and a home of its own."""
    folder = tmp_path_factory.mktemp("pages") / "place"
    folder.mkdir()
    (folder.parent / "hospital" / "file").mkdir(parents=True)
    (patient,) = (simulated_centre / "dicom").iterdir()
    drawn = simulated_centre / "truth" / patient.name / "lesions.nii.gz"
    means = {
        "STUDY": patient,
        "DICOM_DIR": simulated_centre / "dicom",
        "CLINICAL.csv": simulated_centre / "clinical.csv",
        "FILE": drawn,
        "BUNDLE": load_model().folder,
        "bundle": load_model().folder,
        "report.pdf": folder / "CASE" / "report.pdf",
        "REPORT.pdf": folder / "CASE" / "report.pdf",
    }
    for name, target in means.items():
        (folder / name).symlink_to(target)
    for name in ("practice-hospital", "hopital-essai", "COHORT"):
        (folder / name).mkdir()
        (folder / name / "S1").symlink_to(simulated_centre)
    (folder / "MASKS").mkdir()
    shutil.copyfile(drawn, folder / "MASKS" / "case.nii.gz")
    shutil.copyfile(drawn, folder / "MASKS" / "PETCT_1_1.nii.gz")
    shutil.copytree(patient, folder / "DIR" / "PETCT_1" / "1", copy_function=os.link)
    shutil.copyfile(drawn, folder / "DIR" / "PETCT_1" / "1" / "lesions.nii.gz")
    (folder / "RECORD.json").write_text(json.dumps({"ecog_ps": 1, "pdl1_tps": 60, "ligne": 1}))
    return folder


@pytest.fixture
def run(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setenv("FEDPET_HOME", str(place.parent / "home"))
    monkeypatch.delenv("FEDPET_MODEL", raising=False)

    def command(line):
        """The first of the ways in which the line can be typed; paths of a hospital lie beside the folder."""
        beside = place.parent / "hospital"
        words = [re.sub(r"^/hospital", str(beside), word) for word in next(alternatives(line))]
        done = CliRunner().invoke(main, words)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done

    return command


@pytest.mark.parametrize(("page", "line"), HERE, ids=lambda one: one if one.endswith(".md") else one.split(" ")[0])
def test_a_command_of_a_page_runs(run, page, line):
    done = run(line)
    assert done.exit_code == 0, (page, line, done.stderr)


def test_a_planted_command_that_cannot_work_fails(run):
    assert run("quantify CLINICAL.csv").exit_code != 0
    assert run("model export-triton MASKS models").exit_code != 0


def test_what_runs_elsewhere_is_shown_somewhere_and_its_test_is_there():
    lines = [line for _, line in COMMANDS]
    for pattern, test in ELSEWHERE.items():
        assert any(re.match(pattern, line) for line in lines), pattern
        path, _, name = test.partition("::")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert name in {one.name for one in tree.body if isinstance(one, ast.FunctionDef)}, test
