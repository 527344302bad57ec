"""The documented table of what leaves a site is the code's; `test_hospital_federation.py` compares it with the wire."""

from __future__ import annotations

from tests.support import ROOT
from training.task.egress import egress_table


def test_the_documentation_has_the_table_of_the_code():
    assert egress_table() in (ROOT / "docs" / "federation.md").read_text()
