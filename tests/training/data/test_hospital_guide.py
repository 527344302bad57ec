"""The guide for a hospital's data manager, walked to the letter on simulated OSIRIS tables and DICOM."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

PATIENTS = 13  # of whom 10 train, the fewest that a node offers


def commands(page):
    """The lines that a data manager types."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_both_languages_give_the_same_commands():
    assert commands("hospital_node.md") == commands("noeud_hospitalier.md")
    assert len(commands("hospital_node.md")) == 1


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with `dicom/` and `osiris/` of one hospital, and the command `fedpet`."""
    folder = tmp_path_factory.mktemp("hospital")
    (folder / "bin").mkdir()
    (folder / "bin" / "fedpet").write_text(f'#!/bin/sh\nexec {sys.executable} -m app.cli "$@"\n', encoding="utf-8")
    (folder / "bin" / "fedpet").chmod(0o755)
    search = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    python = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PATH": search, "PYTHONPATH": python, "HOME": str(folder / "home"), "COLUMNS": "300"}
    environment.pop("FEDPET_HOME", None)
    (folder / "home").mkdir()

    def run(line):
        done = subprocess.run(
            ["sh", "-ec", line], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        return done.stderr

    small = f"--patients {PATIENTS} --sites 1 --seed 12 --fidelity coarse --workers 2"
    run(f"fedpet cohort simulate {small} --as osiris --out cohort")
    run("mv cohort/S1/dicom dicom; mv cohort/S1/osiris osiris; mv cohort/S1/clinical.csv expected.csv")
    return folder, run


@pytest.mark.federation
@pytest.mark.timeout(1800)  # about a minute of CPU, much of it imports
def test_the_guide_leads_from_the_warehouse_to_a_registered_node(place):
    folder, run = place
    said = {line: run(line) for line in commands("hospital_node.md")[0].splitlines()}
    assert (folder / "clinical.csv").read_text() == (folder / "expected.csv").read_text()
    report = json.loads((folder / "nice" / "report.json").read_text())
    assert (report["prepared"], report["left_out"]) == (PATIENTS, [])
    assert f"{PATIENTS} lignes sur {PATIENTS} exploitables" in said[next(line for line in said if "check" in line)]
    (key,) = (folder / "home" / ".fedpet" / "cohort").glob("nice-*.pseudonyms.csv")
    for private in (key, *(folder / name for name in ("clinical.csv", "clinical.html", "check.html"))):
        assert private.stat().st_mode & 0o077 == 0
    assert f"nice : {PATIENTS} patients proposés" in said["fedpet train node register node nice"]


def test_pages_of_the_guide_exist():
    for page in ("hospital_node.md", "noeud_hospitalier.md", "warehouse.md"):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([a-z_]+\.md)", text):
            assert Path(ROOT / "docs" / target).is_file(), (page, target)
