"""The top-level names are common words: each must resolve to this repository, whatever else is installed."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("app", "clinical", "cohort", "explain", "fedpet", "imaging", "inference", "reports", "training")


@pytest.mark.parametrize("room", ROOMS)
def test_room_resolves_to_this_repository(room):
    package = importlib.import_module(room)
    assert Path(package.__file__).parent == ROOT / room


def test_no_child_of_app_hides_a_room():
    # `streamlit run app/main.py` puts app/ first on sys.path
    children = {path.stem for path in (ROOT / "app").iterdir()}
    assert children.isdisjoint(set(ROOMS) - {"app"})


def test_prediction_path_is_free_of_torch_monai_and_captum():
    code = (
        "import sys, app.command, imaging.loading, imaging.masks, clinical.reading, inference.predict, reports.pdf, "
        "explain.figures, app.casework\n"
        "heavy = {'torch', 'monai', 'captum', 'streamlit', 'fedbiomed', 'sqlalchemy'} & set(sys.modules)\n"
        "sys.exit(f'imported: {sorted(heavy)}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
