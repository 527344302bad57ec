"""The top-level names are common words: each must resolve to this repository, whatever else is installed."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

PACKAGES = ("app", "explain", "fedpet", "inference", "reports", "training")


@pytest.mark.parametrize("name", PACKAGES)
def test_package_resolves_to_this_repository(name):
    package = importlib.import_module(name)
    assert Path(package.__file__).parent == ROOT / name


def test_no_child_of_app_hides_a_package():
    # `streamlit run app/main.py` puts app/ first on sys.path
    children = {path.stem for path in (ROOT / "app").iterdir()}
    assert children.isdisjoint(set(PACKAGES) - {"app"})


def test_prediction_path_is_free_of_torch_monai_and_captum():
    modules = (
        "app.cli.main",
        "app.cases.pipeline",
        "explain.figures.case_figures",
        "fedpet.clinical.reading",
        "fedpet.imaging.lesions.masks",
        "fedpet.imaging.loading",
        "inference.predict",
        "reports.pdf.document",
    )
    code = (
        f"import sys, {', '.join(modules)}\n"
        "heavy = {'torch', 'monai', 'captum', 'streamlit', 'fedbiomed', 'sqlalchemy'} & set(sys.modules)\n"
        "sys.exit(f'imported: {sorted(heavy)}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_no_import_switches_another_library_for_the_whole_process():
    code = (
        "import importlib, logging, pkgutil, sys\n"
        f"for name in {PACKAGES!r}:\n"
        "    for one in pkgutil.walk_packages(importlib.import_module(name).__path__, name + '.'):\n"
        "        if one.name not in ('app.main', 'app.cli.__main__', 'app.migrations.env'):\n"
        "            importlib.import_module(one.name)\n"
        "import pydicom, pynetdicom\nfrom reportlab import rl_config\n"
        "assert pydicom.config.settings.reading_validation_mode == pydicom.config.WARN\n"
        "assert pynetdicom._config.LOG_HANDLER_LEVEL == 'standard'\n"
        "assert pynetdicom._config.LOG_REQUEST_IDENTIFIERS and pynetdicom._config.LOG_RESPONSE_IDENTIFIERS\n"
        "assert logging.getLogger('pynetdicom').level == logging.NOTSET\n"
        "assert rl_config.useA85 == 1\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
