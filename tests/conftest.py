"""Fixtures that every room shares."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

_DEFAULT_REFERENCE_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """Folder of the real reference scans; see the marker `reference_data`."""
    folder = Path(os.environ.get("FEDPET_REFERENCE_DATA", _DEFAULT_REFERENCE_DATA))
    if not folder.is_dir():
        pytest.skip("the reference scans are missing: set FEDPET_REFERENCE_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def dicom():
    """The module `tests/dicom_factory.py`: builds small PET and CT series slice by slice."""
    return _helper("dicom_factory")


@pytest.fixture(scope="session")
def dicom_fuzz():
    """The module `tests/dicom_fuzz.py`: damaged studies, each made from a number."""
    return _helper("dicom_fuzz")


@pytest.fixture(scope="session")
def training_nodes():
    """The module `tests/training_nodes.py`: writes small node data with a planted effect."""
    return _helper("training_nodes")


@pytest.fixture(scope="session")
def scanned():
    """Synthetic patients with known truth, by name, see `tests/anatomy_cases.py`."""
    return _helper("anatomy_cases").scanned()


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory):
    """A running Orthanc, see `tests/orthanc_server.py`; skipped where it is not installed."""
    with _helper("orthanc_server").running(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


@pytest.fixture(scope="session")
def postgresql():
    """A running PostgreSQL, see `tests/postgresql_server.py`; skipped where it is not installed."""
    with _helper("postgresql_server").running() as server:
        yield server


@pytest.fixture(scope="session")
def site(tmp_path_factory, orthanc):
    """The application as it is served, with finished cases, see `tests/app_site.py`."""
    with _helper("app_site").serving(tmp_path_factory.mktemp("home"), orthanc) as served:
        yield served


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium. Not for the whole session: while it is open, no other event loop can run."""
    with _helper("app_site").chromium() as opened:
        yield opened


@pytest.fixture(scope="session")
def seen():
    """Look at a page at both widths, see `look` in `tests/app_site.py`."""
    return _helper("app_site").look


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request):
    """The setting `database`: SQLite in the settings' folder, then a new database of a real PostgreSQL."""
    return "" if request.param == "sqlite" else request.getfixturevalue("postgresql").migrated()


def _helper(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def untrained_bundle(tmp_path_factory):
    """A bundle of the default contract whose network was never trained: enough for everything but medicine."""
    import torch

    from inference.bundle import write_bundle
    from inference.calibration import Calibration
    from inference.contract import default_contract
    from inference.network import build_network
    from training.export import export_onnx, weights

    torch.manual_seed(0)
    contract = default_contract()
    network = build_network("evidence", contract)
    rates = {"pfs_12m": 0.4, "dcb_6m": 0.55, "early_failure_3m": 0.25}
    covariance = tuple(tuple(0.01 * (i == j) for j in range(6)) for i in range(6))
    return write_bundle(
        tmp_path_factory.mktemp("bundle") / "untrained",
        onnx=export_onnx(network, contract),
        weights=weights(network),
        contract=contract,
        calibration=Calibration(0.0, 1.0, (0.0,) * 4, covariance, 0.80, rates, (-0.2, 0.2), dict.fromkeys(rates, 0.6)),
        card={"name": "untrained", "version": "0", "synthetic": True},
    )


@pytest.fixture(autouse=True)
def main_module(monkeypatch):
    """Streamlit's AppTest leaves its script as `__main__`, which spawned worker processes would then run."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
