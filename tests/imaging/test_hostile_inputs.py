"""Small studies and masks, each with one fault that users of other programs reported, through the real command.

`shared/data/hostile/expected.csv` says what is right for each. A number that is wrong without a word is the one thing
that must never come out.
"""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

FOLDER = Path(os.environ.get("FEDPET_REFERENCE_DATA", ROOT.parent / "shared" / "data")) / "hostile"
TABLE = FOLDER / "expected.csv"
CAUSES = {  # what a refusal must name
    "classic_pet_multiframe.zip": "multi-frame",
    "weight_differs_in_one_slice.zip": r"weight.*70.*59.*110.*\b1\b",
    "D24_nii_qs_conflict.nii.gz": "qform",
}
CHECKS = {"D34_nii_lr_mirrored.nii.gz": "mask|lesion"}  # where the right value needs a failed check of such a name

pytestmark = pytest.mark.reference_data


def rows():
    """The rows of the table; none where the reference data is missing."""
    if not TABLE.is_file():
        return []
    with TABLE.open(encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table))


def cases():
    return [pytest.param(row, id=row["file"]) for row in rows()]


def run(file, home):
    """Exit code, JSON and standard error of `quantify` on a study, or on a mask of `mask_base.zip`."""
    given = [FOLDER / file] if file.endswith(".zip") else [FOLDER / "mask_base.zip", "--lesions", FOLDER / file]
    command = [sys.executable, "-m", "app.cli", "quantify", "--json", *map(str, given)]
    environment = os.environ | {"FEDPET_HOME": str(home)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT, env=environment)
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr


@pytest.mark.parametrize("row", cases())
def test_the_right_number_or_a_refusal_that_names_the_cause(row, tmp_path):
    code, answer, said = run(row["file"], tmp_path)
    if code == 3:
        assert "refuse" in row["right"].split("|")
        assert re.search(CAUSES.get(row["file"], "."), answer["refused"]["found"])
        return
    assert code == 0, said
    assert "value" in row["right"].split("|")
    assert answer["total"]["suv_max"] == pytest.approx(float(row["suv_max"]), abs=0.01)
    if row["mtv_ml"]:
        assert answer["total"]["tmtv_ml"] == pytest.approx(float(row["mtv_ml"]), abs=0.05)
    if row["file"] in CHECKS:
        failed = [name for name, level in answer["checks"].items() if level == "fail"]
        assert [name for name in failed if re.search(CHECKS[row["file"]], name)], failed


def test_every_input_of_the_folder_is_in_the_table(reference_data):
    files = {path.name for path in (reference_data / "hostile").iterdir()} - {"README.md", "expected.csv"}
    assert files - {"mask_base.zip"} == {row["file"] for row in rows()}
