"""Fixtures that all tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.support")

_DEFAULT_REFERENCE_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Take the files that wait for servers first: late ones would leave one worker alone at the end."""
    slow = {item.path for item in items if item.get_closest_marker("federation") or item.get_closest_marker("browser")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """Folder of the real reference scans; see the marker `reference_data`."""
    folder = Path(os.environ.get("FEDPET_REFERENCE_DATA", _DEFAULT_REFERENCE_DATA))
    if not folder.is_dir():
        pytest.skip("the reference scans are missing: set FEDPET_REFERENCE_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def dicom():
    """The module `tests/support/dicom_factory.py`: builds small PET and CT series slice by slice."""
    from tests.support import dicom_factory

    return dicom_factory


@pytest.fixture(scope="session")
def dicom_fuzz():
    """The module `tests/support/dicom_fuzzer.py`: damaged studies, each made from a number."""
    from tests.support import dicom_fuzzer

    return dicom_fuzzer


@pytest.fixture(scope="session")
def training_nodes():
    """The module `tests/support/node_data.py`: writes small node data with a planted effect."""
    from tests.support import node_data

    return node_data


@pytest.fixture(scope="session")
def scanned():
    """Synthetic patients with known truth, by name, see `tests/support/phantom_studies.py`."""
    from tests.support import phantom_studies

    return phantom_studies.scanned()


@pytest.fixture(scope="session")
def simulated_centre(tmp_path_factory):
    """Folder of a centre with one simulated patient (`dicom/<patient>`, `clinical.csv`, `truth`), by the command."""
    from tests.support import ROOT

    out = tmp_path_factory.mktemp("simulated") / "cohort"
    small = ("--patients", "1", "--sites", "1", "--seed", "7", "--fidelity", "coarse")
    command = [sys.executable, "-m", "app.cli", "cohort", "simulate", *small, "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    return out / "S1"


@pytest.fixture
def hospital(tmp_path):
    """Four patients with tiny images and a table, see `tests/support/hospital.py`."""
    from tests.support.hospital import Hospital

    return Hospital(tmp_path / "hospital")


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory):
    """A running Orthanc, see `tests/support/orthanc_server.py`; skipped where it is not installed."""
    from tests.support import orthanc_server

    with orthanc_server.running(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


@pytest.fixture(scope="session")
def postgresql():
    """A running PostgreSQL, see `tests/support/postgresql_server.py`; skipped where it is not installed."""
    from tests.support import postgresql_server

    with postgresql_server.running() as server:
        yield server


@pytest.fixture(scope="session")
def site(tmp_path_factory, orthanc):
    """The application as it is served, with finished cases, see `tests/support/served_application.py`."""
    from tests.support import served_application

    with served_application.serving(tmp_path_factory.mktemp("home"), orthanc) as served:
        yield served


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium. Not for the whole session: while it is open, no other event loop can run."""
    from tests.support import served_application

    with served_application.chromium() as opened:
        yield opened


@pytest.fixture(scope="session")
def seen():
    """Look at a page at both widths, see `look` in `tests/support/served_application.py`."""
    from tests.support import served_application

    return served_application.look


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request):
    """The setting `database`: SQLite in the settings' folder, then a new database of a real PostgreSQL."""
    return "" if request.param == "sqlite" else request.getfixturevalue("postgresql").migrated()


@pytest.fixture(scope="session")
def untrained_bundle(tmp_path_factory):
    """A bundle of the default contract whose network was never trained: enough for everything but medicine."""
    import torch

    from inference.bundle.storage import write_bundle
    from inference.calibration import RiskCalibration, SetLimits
    from inference.input_contract import default_contract
    from inference.network import build_network
    from training.bundle.export import export_onnx, serialized_parameters

    torch.manual_seed(0)
    contract = default_contract()
    network = build_network("evidence", contract)
    rates = {"pfs_12m": 0.4, "dcb_6m": 0.55, "early_failure_3m": 0.25}
    covariance = tuple(tuple(0.01 * (i == j) for j in range(6)) for i in range(6))
    return write_bundle(
        tmp_path_factory.mktemp("bundle") / "untrained",
        onnx=export_onnx(network, contract),
        weights=serialized_parameters(network),
        contract=contract,
        calibration=RiskCalibration(
            0.0, 1.0, (0.0,) * 4, covariance, 0.80, rates, (-0.2, 0.2), dict.fromkeys(rates, SetLimits(0.6, 0.6))
        ),
        card={"name": "untrained", "version": "0", "synthetic": True},
    )


@pytest.fixture(autouse=True)
def main_module(monkeypatch):
    """Streamlit's AppTest leaves its script as `__main__`, which spawned worker processes would then run."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
