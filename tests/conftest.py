"""Fixtures that every room shares."""

from __future__ import annotations

import os
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
