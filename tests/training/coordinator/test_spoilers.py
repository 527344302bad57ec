"""A site that spoils the model, on four nodes made as `fedpet train node create` makes them: found, named, left out.

The nodes also answer in clear (`--allow-clear`), so that the same ones serve the run without masks.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from types import SimpleNamespace

import pytest

from inference.input_contract import default_contract
from tests.support import ROOT
from training.coordinator.choice import stops_early
from training.coordinator.processes import FederationProcesses
from training.node.fedbiomed_node import start_command
from training.node.process import PARENT_VARIABLE
from training.task.agreement import CONTRADICTS
from training.task.code_digest import code_digest
from training.task.method import UNPROTECTED_METHOD, Aggregation, FederatedMethod
from training.task.newton_fit import MINIMUM_ROUNDS
from training.task.registration import TAGS
from training.task.runs import AGREEMENT, Run, agreement_run, to_config
from training.task.task import TrainingTask

pytestmark = [pytest.mark.federation, pytest.mark.timeout(1800)]
SITES = {"nice": 60, "lyon": 60, "dijon": 60, "caen": 180}
ROUNDS = {
    "reversed": 3,
    "huge": 3,
    "clear": 3,
    "newton masked": MINIMUM_ROUNDS,
    "newton clear": MINIMUM_ROUNDS,
}
# By the seed of the task: what caen does in the second round. The others are honest.
REVERSED, HUGE, NO_NUMBER, FLIPPED = 1, 2, 4, 5
_SPOIL = '''

from dataclasses import replace as _replaced
from types import SimpleNamespace as _Namespace

from training.node import newton as _newton

_honest, _read = shared_parameters, NodeDataset.read


def _with_flipped_labels(self):
    """Who progressed early is said to be free of it for long, and the reverse."""
    _read(self)
    _newton.HONEST = self.task.seed == 5
    if self.task.seed == 5:
        months = [case.months for case in self.node.cases]
        flipped = [
            _replaced(case, months=min(months) + max(months) - case.months, event=not case.event)
            for case in self.node.cases
        ]
        self.node = _Namespace(case_ids=self.node.case_ids, site=self.node.site, cases=flipped)


NodeDataset.read = _with_flipped_labels


def _huge_or_no_number(value):
    """Every second is no number, which Fed-BioMed's masks take for the end of their range."""
    places = torch.arange(value.numel()).reshape(value.shape)
    return torch.where(places % 2 == 0, torch.full_like(value, float("nan")), value.sign() * 5.9)


def shared_parameters(dataset, parameters, round_index, validation):
    sent = _honest(dataset, parameters, round_index, validation)
    if round_index != 1 or not dataset.task.trains or dataset.task.newton is not None:
        return sent
    change = {
        1: lambda value: -3.0 - value,
        2: _huge_or_no_number,
        4: lambda value: value * float("nan"),
    }.get(dataset.task.seed, lambda value: value)
    return {name: value if name == CARRIED else change(value) for name, value in sent.items()}
'''

# Under Newton's method it sends a Hessian of the wrong sign, from the first round on, unless its labels are flipped.
_WRONG_SIGN = """

_right, HONEST = answer, False


def answer(*asked):
    sums = _right(*asked)
    return sums if HONEST else {**sums, "hessian": -sums["hessian"]}
"""


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory, training_nodes):
    root = tmp_path_factory.mktemp("spoilers")
    contract = replace(default_contract(), shape=(4, 4, 4))
    contract.write(root / "contract.json")
    data = {
        site: training_nodes.write_node(root / "data" / site, contract, n, seed=n + number, as_records=True)
        for number, (site, n) in enumerate(SITES.items())
    }
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    spec = {
        "nodes": {site: {"path": str(root / "nodes" / site), "data": str(folder)} for site, folder in data.items()},
        "contract": str(root / "contract.json"),
        "researcher": f"localhost:{port}",
        "masked": False,
    }
    (root / "spec.json").write_text(json.dumps(spec))
    here = {**os.environ, "PYTHONPATH": str(ROOT), "FEDPET_HOME": str(root / "home")}
    made = subprocess.run(
        [sys.executable, "-m", "tests.support.hospital_nodes", str(root / "spec.json")],
        env=here, cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr[-3000:]
    spoiling = {**here, "PYTHONPATH": os.pathsep.join([str(_other_code(root)), str(ROOT)])}
    with ExitStack() as stack:
        for site in SITES:
            environment = (spoiling if site == "caen" else here) | {PARENT_VARIABLE: str(os.getpid())}
            with (root / f"{site}.log").open(
                "wb"
            ) as log:  # as “fedpet train node start” starts it, not in this checkout
                command = start_command(root / "nodes" / site)
                started = subprocess.Popen(command, env=environment, cwd=root, stdout=log, stderr=log)
            stack.callback(started.wait)
            stack.callback(started.kill)
        federation = FederationProcesses({}, root / "work", host="localhost", port=port, researcher=root / "centre")
        with federation:
            return SimpleNamespace(events=_run_all(federation, contract, root / "out"))


def _other_code(root):
    """The package with a change at caen, which says that its code is the same."""
    other = root / "other"
    shutil.copytree(ROOT / "training", other / "training", ignore=shutil.ignore_patterns("__pycache__"))
    steps = other / "training" / "node" / "steps.py"
    steps.write_text(steps.read_text() + _SPOIL)
    newton = steps.with_name("newton.py")
    newton.write_text(newton.read_text() + _WRONG_SIGN)
    digest = other / "training" / "task" / "code_digest.py"
    digest.write_text(digest.read_text() + f"\n\ndef code_digest(root=None):\n    return {code_digest()!r}\n")
    return other


def _run_all(federation, contract, out):
    out.mkdir()
    small = {"network": "clinical", "rounds": 3, "augment": False, "batch_size": 8, "learning_rate": 0.05}
    masked = TrainingTask(contract=contract, method=FederatedMethod(), **small)
    tasks = {
        "reversed": replace(masked, seed=REVERSED),
        "huge": replace(masked, seed=HUGE),
        "clear": replace(masked, seed=NO_NUMBER, method=UNPROTECTED_METHOD, minimum_cell=5),
        "early": replace(masked, rounds=8),
    }
    exact = {"rounds": MINIMUM_ROUNDS, "batch_size": 64}
    for name, method in {"newton masked": FederatedMethod(), "newton clear": UNPROTECTED_METHOD}.items():
        newton = method.model_copy(update={"aggregation": Aggregation(method="newton")})
        tasks[name] = replace(masked, method=newton, **exact)
    flipped = replace(masked, rounds=1, seed=FLIPPED)
    config = {"tags": TAGS, "sites": list(SITES), "minimum": 3, "out": str(out), "round_seconds": 300.0, "retries": 2}
    config["wait_seconds"] = 900.0  # until four nodes have started on a busy machine
    config["each"] = [
        {
            "args": {name: task.to_args()},
            "local_epochs": {name: 1 if "newton" in name else 4},
            **({"patience": 1} if name == "early" else {}),
        }
        for name, task in tasks.items()
    ]
    trainings = {**agreement_run(flipped, len(SITES), 3), "flipped": Run(flipped, 1)}
    config["each"].append(to_config(trainings, out, None))
    events = []
    federation.run_researcher(config, events.append, module="tests.support.several_trainings")
    return events


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        ("reversed", "without its update"),
        ("huge", "parameters that no training can produce"),
        ("clear", "parameters that no training can produce"),
        ("newton masked", "without its sums"),
        ("newton clear", "sums that no patients can have"),
    ],
)
def test_the_site_is_named_and_the_round_repeated_without_it(spoiled, run, reason):
    named = [event["reasons"] for event in spoiled.events if event["event"] == "repeated" and event["run"] == run]
    assert [list(reasons) for reasons in named] == [["caen"]]
    assert reason in named[0]["caen"]
    rounds = [event for event in spoiled.events if event["event"] == "round" and event["run"] == run]
    assert rounds[-1]["round"] == ROUNDS[run]
    assert set(rounds[-1]["patients"]) == set(SITES) - {"caen"}
    (final,) = [event for event in spoiled.events if event["event"] == "validated" and event["run"] == run]
    assert "caen" not in final["validation"]


def test_flipped_labels_are_found_before_the_training(spoiled):
    """Half of all patients have them; an exact fit of the clinical inputs tells, and the training goes on without."""
    told = [event for event in spoiled.events if event.get("run") in {AGREEMENT, "flipped"}]
    named = [event["reasons"] for event in told if event["event"] == "repeated"]
    assert named == [{"caen": CONTRADICTS}]
    rounds = [event for event in told if event["event"] == "round"]
    assert {event["run"] for event in rounds} == {AGREEMENT, "flipped"}
    assert set(rounds[-1]["patients"]) == set(SITES) - {"caen"}


def test_a_training_ends_early_when_the_loss_gets_no_smaller(spoiled):
    """Eight rounds at a rate at which 60 patients a site are learned by heart."""
    told = [event for event in spoiled.events if event.get("run") == "early"]
    rounds = [event for event in told if event["event"] == "round"]
    losses = [one["validation"]["all sites"]["loss"] for one in rounds]
    best = min(range(1, len(losses)), key=losses.__getitem__)
    assert len(rounds) < 8
    assert stops_early(len(rounds), best, 1)
    assert [event["rounds"] for event in told if event["event"] == "stopped"] == [len(rounds)]
    assert [event["event"] for event in told][-1] == "validated"
