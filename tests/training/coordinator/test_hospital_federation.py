"""A federation of hospitals by the documented commands alone; nodes of `train node create` require masks."""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
import subprocess
import sys
import time
import tomllib
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace

import psutil
import pytest

from inference.bundle.storage import Bundle
from inference.input_contract import InputContract
from inference.registry import REPORT_FORMAT
from inference.report_signature import signer_of
from tests.support import ROOT
from training.bundle.held_out import evaluate_bundle
from training.coordinator.processes import FederationProcesses
from training.coordinator.train import statistics_task
from training.data.node_data import read_node
from training.task.carried import ALL_SITES
from training.task.egress import EGRESS, RECEIVED
from training.task.method import UNPROTECTED_METHOD, FederatedMethod
from training.task.newton_fit import MINIMUM_ROUNDS
from training.task.registration import TAGS
from training.task.task import TrainingTask

pytestmark = [pytest.mark.federation, pytest.mark.timeout(1800)]  # about 250 CPU seconds, most of them imports
SITES = {"nice": 40, "lyon": 30, "dijon": 20}
HELD_OUT = {"nice": 24, "lyon": 12, "dijon": 8}  # only nice has enough for a table of its own


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory, training_nodes):
    """`make rehearsal` on small node data, whose coordinating centre is killed in a round and resumes."""
    root = tmp_path_factory.mktemp("rehearsal")
    contract = training_nodes.small_contract()
    for number, (site, cases) in enumerate(SITES.items()):
        training_nodes.write_node(root / "data" / site, contract, cases, seed=cases, as_records=True)
        training_nodes.write_node(
            root / "data" / "held-out" / site, contract, HELD_OUT[site], seed=90 + number, as_records=True, first=1000
        )
    contract.write(root / "data" / "contract.json")
    command = root / "fedpet"
    said = root / "commands.log"
    program = f'[ "$*" = "train run run.toml" ] && program="tests.support.killed_coordinator {said}" || program=app.cli'
    command.write_text(f'#!/bin/sh\necho "$*" >>"{said}"\n{program}\nexec "{sys.executable}" -m $program "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    environment = {
        **os.environ,
        "DATA": str(root / "data"),
        "NETWORK": "evidence",
        "ROUNDS": "2",
        "FEDPET": str(command),
        "WAIT": "yes",
        "PYTHONPATH": str(ROOT),
        "FEDPET_LANGUAGE": "en",
    }
    output, errors = root / "output.log", root / "errors.log"
    with output.open("wb") as out, errors.open("wb") as err:
        script = subprocess.Popen(
            ["bash", str(ROOT / "scripts" / "rehearsal.sh"), str(root / "work")],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=err,
        )
    try:
        _wait(lambda: script.poll() is not None or "The nodes run until Enter" in errors.read_text(), 1700)
        assert script.poll() is None, output.read_text()[-2000:] + errors.read_text()[-4000:]
        yield SimpleNamespace(
            work=root / "work", script=script, errors=errors, environment=environment, command=command, said=said
        )
    finally:
        script.stdin.close()  # as Enter: it stops its nodes
        script.wait()


def run(rehearsal, *words):
    environment = {**rehearsal.environment, "FEDPET_HOME": str(rehearsal.work / "home")}
    return subprocess.run(
        [str(rehearsal.command), *map(str, words)],
        env=environment,
        cwd=rehearsal.work,
        capture_output=True,
        text=True,
        check=False,
    )


def test_nodes_that_require_masks_yield_a_calibrated_bundle(rehearsal):
    """Fed-BioMed's own final validation was refused by them (FB318), and the bundle had no calibration."""
    card = Bundle.load(rehearsal.work / "bundle").card
    assert card["federation"]["secure_aggregation"] is True
    final = card["validation"]["model"]["final_by_node"]
    assert {site: one["patients"] for site, one in final.items()} == {ALL_SITES: 14}  # not dijon's 4
    assert len(card["validation"]["model"]["loss_by_round"]) == 3
    assert card["clinical_statistics"]
    for log in (rehearsal.work / "nodes").glob("*/node.log"):
        text = log.read_text()
        assert "FB318" not in text
        assert "force_secure_aggregation = True" in (log.parent / "etc" / "config.ini").read_text()
    assert {"Final validation: 14 patients of 2 sites"} <= {
        line.partition(",")[0].partition(" ")[2].strip() for line in rehearsal.errors.read_text().splitlines()
    }


def test_a_killed_coordinating_centre_resumes_after_the_last_finished_round(rehearsal):
    """SIGKILL in the second round, then `--resume` with the same nodes, which were not touched."""
    assert {"train run run.toml", "train run run.toml --resume"} <= set(rehearsal.said.read_text().splitlines())
    progress = json.loads((rehearsal.work / "federation" / "results" / "model.progress.json").read_text())
    assert [one["round"] for one in progress["rounds"]] == [1, 2]
    assert progress["asked"] == dict.fromkeys(SITES, 3)  # the second round twice
    assert set(progress["rounds"][-1]["patients"]) == set(SITES)


def test_the_plan_was_there_to_be_read_before_its_approval(rehearsal):
    for site in SITES:
        listed = json.loads((rehearsal.work / f"plans-{site}.json").read_text())
        (plan,) = listed["plans"]
        assert (plan["status"], plan["installed"]) == ("New", True)
        assert "class FedPetPlan" in plan["text"]


def test_the_model_is_promoted_by_the_signed_report_of_its_federation(rehearsal):
    bundle = Bundle.load(rehearsal.work / "bundle")
    report = json.loads((rehearsal.work / "evaluation" / "report.json").read_text())
    assert (report["format"], report["bundle"], report["patients"]) == (REPORT_FORMAT, bundle.digest, 44)
    assert report["sites"] == HELD_OUT
    identity = json.loads((rehearsal.work / "identity.json").read_text())
    assert signer_of(report) == identity["certificate_sha256"] == bundle.card["coordinator_sha256"]
    listed = json.loads(run(rehearsal, "model", "list", "--json").stdout)["models"]
    assert [one["digest"] for one in listed if one["in_force"]] == [bundle.digest]


def test_the_masked_evaluation_says_what_the_patients_one_by_one_say(rehearsal):
    """The sums under masks against the same bundle on the same patients, read here."""
    bundle = Bundle.load(rehearsal.work / "bundle")
    report = json.loads((rehearsal.work / "evaluation" / "report.json").read_text())
    folders = [rehearsal.work.parent / "data" / "held-out" / site for site in SITES]
    direct = evaluate_bundle(bundle, [read_node(folder, bundle.contract) for folder in folders])
    binned, single = report["concordance"]["value"], direct["observed_c_index"]["model"]
    assert report["concordance"]["lower"] < binned < report["concordance"]["upper"]
    assert 0.5 < binned < single + 0.03  # after two rounds most scores are in two bins of 0.5
    assert report["events"] == sum(read_node(folder, bundle.contract).events for folder in folders)
    year = report["calibration"]["pfs_12m"]
    assert year["predicted"] == pytest.approx(direct["calibration_pfs_12m"]["mean_predicted"], abs=0.06)
    assert 0 <= year["observed"]["lower"] <= year["observed"]["value"] <= year["observed"]["upper"] <= 1
    assert set(report["by_centre"]) == {"nice"}  # the others are in the sum only
    assert report["by_centre"]["nice"]["patients"] == 24


@pytest.fixture(scope="module")
def attacked(rehearsal, tmp_path_factory):
    """The hospitals' nodes again, and a coordinating centre that asks for what tells of single patients."""
    root = tmp_path_factory.mktemp("attacked")
    contract = InputContract.read(rehearsal.work.parent / "data" / "contract.json")
    port = tomllib.loads((rehearsal.work / "run.toml").read_text())["researcher"]["port"]
    masked = TrainingTask(contract=contract, network="clinical", rounds=1, augment=False, method=FederatedMethod())
    means = statistics_task(masked)
    clear = replace(masked, method=UNPROTECTED_METHOD)
    exact = FederatedMethod(aggregation={"method": "newton", "folds": 6})

    def ask(task, **more):
        return {"args": {"asked": task.to_args()}, "local_epochs": {"asked": 1}, **more}

    config = {
        "tags": TAGS,
        "sites": list(SITES),
        "minimum": 3,
        "out": str(root),
        "round_seconds": 60.0,
        **ask(means),
        "attacks": {
            "statistics": ask(means),
            "statistics at 0.2036": ask(replace(means, validation_fraction=0.2036)),
            "loss at 0.03": ask(replace(masked, validation_fraction=0.03)),
            "two parties": ask(masked, sites=["nice", "lyon"], minimum=2),
            "clear": ask(clear),
            "other folds": ask(replace(masked, rounds=MINIMUM_ROUNDS, method=exact)),
            "small cells": ask(replace(masked, minimum_cell=1)),
            "one step": ask(masked, tricks=["step"]),
            "masks twice": ask(masked, tricks=["masks"]),
        },
    }
    lasting = {"round_seconds": 3600.0, "retries": 3, "wait_seconds": 300.0, "honest": True}
    config["attacks"]["none"] = {
        "args": {"killed": replace(masked, rounds=3).to_args()}, "local_epochs": {"killed": 1}, **lasting
    }  # fmt: skip
    events, commands = [], _running(rehearsal)
    federation = FederationProcesses(
        {}, root / "work", host="localhost", port=port, researcher=rehearsal.work / "researcher"
    )
    try:
        with federation:
            act = killed_and_back(rehearsal, commands, events)
            federation.run_researcher(config, act, module="tests.support.curious_researcher")
        told = {event["name"]: event["refused"] for _, event in events if event["event"] == "attack"}
        assert told["none"] is None
        yield SimpleNamespace(told=told, events=events, results=root, commands=commands)
    finally:
        _kill(commands["dijon"])


def killed_and_back(rehearsal, commands, events):
    """In the run "killed" dijon's node is killed in the second round, and started again when it was missed."""

    def act(event):
        events.append((time.monotonic(), event))
        if (event["event"], event.get("run"), event.get("round")) == ("round", "killed", 1):
            (child,) = commands["dijon"].children()
            child.kill()
            events.append((time.monotonic(), {"event": "killed", "run": "killed"}))
        elif (event["event"], event.get("run")) == ("repeated", "killed"):
            _wait(lambda: _is_gone(commands["dijon"]))
            commands["dijon"] = _start(rehearsal, "dijon")

    return act


def _running(rehearsal):
    """The processes of the script's nodes, by site."""
    found = {}
    for child in psutil.Process(rehearsal.script.pid).children():
        if child.cmdline()[-4:-1] == ["train", "node", "start"]:
            found[child.cmdline()[-1].rpartition("/")[2]] = child
    assert set(found) == set(SITES)
    return found


def _start(rehearsal, site):
    environment = {**rehearsal.environment, "FEDPET_HOME": str(rehearsal.work / "home")}
    words = [str(rehearsal.command), "train", "node", "start", f"nodes/{site}"]
    return psutil.Popen(words, env=environment, cwd=rehearsal.work, stderr=subprocess.DEVNULL)


def test_a_killed_node_is_missed_within_seconds_and_joins_again(attacked):
    """Its round is repeated, by a round limit of an hour."""
    survived = [(when, event) for when, event in attacked.events if event.get("run") == "killed"]
    kinds = [event["event"] for _, event in survived]
    killed = survived[kinds.index("killed")][0]
    missed, repeated = survived[kinds.index("repeated")]
    assert repeated["reasons"] == {"dijon": "connection lost"}
    assert repeated["round"] == 2
    assert missed - killed < 60  # about 12 s on a machine with nothing else to do
    rounds = [event for _, event in survived if event["event"] == "round"]
    assert [event["round"] for event in rounds] == [1, 2, 3]
    assert set(rounds[-1]["patients"]) == set(SITES)


def test_everything_that_leaves_a_site_is_in_the_documented_table(attacked):
    """Fields of the messages, as they arrived on the wire."""
    seen = json.loads((attacked.results / RECEIVED).read_text())
    documented = {(one.message, field) for one in EGRESS for field in one.fields}
    assert {(message, field) for message, fields in seen.items() for field in fields} <= documented
    assert {"TrainReply", "SearchReply", "Log"} <= set(seen)
    text = json.dumps(seen)
    for site in SITES:
        assert f"{site}0000" not in text


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        ("statistics at 0.2036", "A validation split of 0.2036"),
        ("loss at 0.03", "A validation split of 0.03"),
        ("two parties", "A sum of 2 sites"),
        ("clear", "Could not configure secure aggregation"),
        ("other folds", "An exact fit with 6 folds"),
        ("small cells", "Tables with cells of 1 patients"),
        ("one step", "part of the training patients"),
        ("masks twice", "masks that were used before"),
    ],
)
def test_a_curious_centre_is_refused_with_the_reason(attacked, attack, reason):
    """Subtracting statistics at two fractions gave a patient's whole record, a loss of one patient the outcome."""
    assert attacked.told["statistics"] is None
    assert reason in attacked.told[attack]


def test_a_node_runs_once_and_ends_with_its_command(rehearsal, attacked):
    node, command = rehearsal.work / "nodes" / "lyon", attacked.commands["lyon"]
    second = run(rehearsal, "train", "node", "start", node)
    assert (second.returncode, "The node runs already" in second.stderr) == (2, True)
    (child,) = command.children()
    command.kill()
    _wait(lambda: _is_gone(child), 10)
    assert json.loads(run(rehearsal, "train", "node", "status", node).stdout)["running"] is False


@pytest.fixture(scope="module")
def stopped(rehearsal, attacked):
    """The rehearsal has ended, with its nodes."""
    _kill(attacked.commands["dijon"])
    rehearsal.script.stdin.close()
    assert rehearsal.script.wait() == 0
    assert all(map(_is_gone, attacked.commands.values()))
    return rehearsal


@pytest.fixture(scope="module")
def resumed(stopped):
    """The rounds are done; no node runs any more. Only the export is missing."""
    rehearsal = stopped
    bundle = rehearsal.work / "bundle"
    bundle.rename(rehearsal.work / "bundle-before")
    again = run(rehearsal, "train", "run", "run.toml", "--resume")
    assert again.returncode == 0, again.stderr[-2000:]
    return Bundle.load(rehearsal.work / "bundle-before"), Bundle.load(bundle)


def test_resuming_repairs_a_training_that_stopped_at_its_end(resumed):
    before, after = resumed
    assert after.weights.read_bytes() == before.weights.read_bytes()
    assert after.card["validation"] == before.card["validation"]


def documented(page):
    """The commands of a page, as it gives them, without comments."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", (ROOT / "docs" / page).read_text(), re.DOTALL | re.MULTILINE)
    lines = [line.split(" # ")[0].strip() for kind, text in fenced if kind in {"", "sh"} for line in text.splitlines()]
    return [line.removeprefix("fedpet ") for line in lines if line.startswith("fedpet ")]


ELSEWHERE = ("cohort ", "train simulate ")  # tests/training/data/test_hospital_guide.py, test_federation.py


@pytest.mark.usefixtures("resumed")
def test_every_command_of_the_guides_runs_to_the_letter(rehearsal):
    """With this rehearsal's names in the place of those of the guides; what it did not run is run now."""
    identity = json.loads((rehearsal.work / "identity.json").read_text())
    data = rehearsal.work.parent / "data"
    names = {
        "node": "nodes/nice",
        "nice": f"{data}/nice",
        "evaluation/nice": f"{data}/held-out/nice",
        "10.220.0.2:50051": identity["researcher"],
        "lung.toml": "run.toml",
        "DIGEST": Bundle.load(rehearsal.work / "bundle-before").digest,
        "...": "rehearsal",
    }
    said = {line.replace(f" --contract {data}/contract.json", "") for line in rehearsal.said.read_text().splitlines()}
    lines = [line for page in ("hospital_node.md", "federation.md") for line in documented(page)]
    assert len(lines) > 18
    missing = []
    for line in lines:
        words = shlex.split(re.sub("[0-9a-f]{64}", identity["certificate_sha256"], line))
        for place in range(3 if words[:2] == ["train", "node"] else 0, len(words)):
            if words[place - 1] != "--name":
                words[place] = names.get(words[place], words[place])
        if line.startswith(ELSEWHERE) or " ".join(words) in said:
            continue
        missing.append(line)
        if "create" in words:  # a new folder, which the next line names
            words[words.index("nodes/nice")] = names["node"] = "nodes/limited"
        done = run(rehearsal, *words)
        assert done.returncode == 0, (line, done.stderr[-1000:])
    assert all("epsilon-limit" in line for line in missing), missing


def _kill(process):
    with suppress(psutil.NoSuchProcess):
        process.kill()
    _wait(lambda: _is_gone(process))


def _is_gone(process):
    """Also where its parent has not taken notice yet."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _wait(reached, seconds=120):
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.5)
