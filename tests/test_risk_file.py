"""Every test that the risk file names exists; a row without one is none."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def rows():
    text = (ROOT / "docs" / "risks.md").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if re.match(r"\| R\d+ ", line)]


def missing(named):
    path, _, function = named.partition("::")
    if not function or not (ROOT / path).is_file():
        return named
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    known = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return None if function in known else named


def test_every_test_that_a_risk_names_exists():
    for row in rows():
        named = re.findall(r"`(tests/[^`]+)`", row)
        assert named, row
        assert [one for one in named if missing(one)] == []
    assert len(rows()) >= 15
    numbers = [int(re.match(r"\| R(\d+) ", row).group(1)) for row in rows()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_test_that_is_gone_is_noticed():
    assert missing("tests/test_risk_file.py::test_that_never_was")
    assert missing("tests/no_such_file.py::test_it")
    assert missing("tests/test_risk_file.py")  # a file is no test
    assert missing("tests/test_risk_file.py::rows") is None
