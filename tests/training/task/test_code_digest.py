"""The digest of the training code changes with every module that the plan imports, and with no other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib

import pytest

from tests.support import ROOT
from training.task.code_digest import code_digest, plan_sources

# modules that are loaded without being in the closure, or the other way round; each needs its reason here
DIFFERENCES: dict[str, str] = {}

_LOADED = """
import json, sys
from pathlib import Path
root = Path(sys.argv[1])
import training.node.training_plan
files = {Path(module.__file__) for module in list(sys.modules.values()) if getattr(module, "__file__", None)}
print(json.dumps(sorted(str(file.relative_to(root)) for file in files if file.is_relative_to(root))))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Our packages as the wheel lays them out in site-packages, with other packages beside them."""
    folder = tmp_path_factory.mktemp("environment") / "site-packages"
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for package in wheel["packages"]:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for other in ("torch", "fedbiomed", "numpy"):
        (folder / other).mkdir()
        (folder / other / "__init__.py").write_text("from torch import nn\n")
    return folder


def changed(folder, source, old, new):
    """The digest with a text of a source replaced, which is put back afterwards."""
    path = folder / source
    text = path.read_text()
    assert old in text, f"{source} no longer holds {old!r}"
    path.write_text(text.replace(old, new))
    code_digest.cache_clear()
    try:
        return code_digest(folder)
    finally:
        path.write_text(text)
        code_digest.cache_clear()


def test_an_installation_has_the_digest_of_its_checkout(installed):
    assert plan_sources(installed) == plan_sources()
    assert code_digest(installed) == code_digest()


@pytest.mark.parametrize(
    ("source", "old", "new"),
    [
        ("inference/calibration.py", "SEGMENT_ENDS", "SEGMENT_LIMITS"),
        ("training/data/node_data.py", "VALIDATION_FRACTION: Final = 0.2", "VALIDATION_FRACTION: Final = 0.3"),
        ("training/task/risk_table.py", "MINIMUM_CASES = 5", "MINIMUM_CASES = 1"),
        ("training/node/policy.py", "Final = 1e-5", "Final = 1e-3"),
        ("inference/input_contract.py", "0.0", "0.1"),
        ("fedpet/core/errors.py", "class FedpetError", "class FedpetFault"),
        ("fedpet/core/messages.py", "en", "fr"),
        ("training/node/__init__.py", "What runs", "What really runs"),
    ],
)
def test_a_change_of_a_module_of_the_closure_changes_the_digest(installed, source, old, new):
    assert changed(installed, source, old, new) != code_digest()


@pytest.mark.parametrize(
    ("source", "old", "new"),
    [
        ("app/cli/train/commands.py", "rounds", "turns"),
        ("training/coordinator/site_rounds.py", "retries", "attempts"),
        ("training/evaluation/run.py", "seconds", "minutes"),
        ("torch/__init__.py", "nn", "optim"),
    ],
)
def test_a_change_elsewhere_does_not(installed, source, old, new):
    assert changed(installed, source, old, new) == code_digest()


@pytest.fixture
def task_with(installed):
    """Adds code to a module of the closure; beside it `late.py`, which imports `later.py`, that nothing imports yet."""
    folder = installed / "training" / "task"
    added = {"late.py": "import training.task.later\n", "later.py": "RATE = 1\n"}
    for name, text in added.items():
        (folder / name).write_text(text)
    original = (folder / "task.py").read_text()
    yield lambda code: (folder / "task.py").write_text(original + code)
    (folder / "task.py").write_text(original)
    for name in added:
        (folder / name).unlink()


@pytest.mark.parametrize("code", ["from training.task import late", "import training.task.late"])
def test_what_a_function_imports_counts_at_any_depth(installed, task_with, code):
    assert plan_sources(installed) == plan_sources()
    task_with(f"\n\ndef build():\n    {code}\n")
    assert set(plan_sources(installed)) - set(plan_sources()) == {"training/task/late.py", "training/task/later.py"}


def test_what_only_type_checking_imports_does_not_count(installed, task_with):
    task_with("\nif TYPE_CHECKING:\n    import training.task.late\n")
    assert plan_sources(installed) == plan_sources()
    task_with("\nif TYPE_CHECKING:\n    pass\nelse:\n    import training.task.late\n")
    assert "training/task/late.py" in plan_sources(installed)


def test_the_closure_is_what_a_node_loads():
    done = subprocess.run(
        [sys.executable, "-c", _LOADED, str(ROOT)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    packages = ("app", "explain", "fedpet", "inference", "reports", "training")
    ours = {source for source in loaded if source.split("/")[0] in packages}
    assert ours ^ set(plan_sources()) == set(DIFFERENCES)
