"""A real federation: three Fed-BioMed nodes and a researcher, as processes of this machine."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fedpet.errors import FederationError
from fedpet.journal import Journal, read_run
from inference.bundle import Bundle
from inference.engine import Engine
from training.card import BASELINE, MODEL
from training.federation import TAGS, Federation
from training.node_data import read_node, split
from training.rehearsal import rehearse
from training.task import Task

pytestmark = pytest.mark.federation
SITES = {"nice": 26, "lyon": 14, "dijon": 10}
ROUNDS = 3


@pytest.fixture(scope="module")
def contract(training_nodes):
    return training_nodes.small_contract()


@pytest.fixture(scope="module")
def nodes(tmp_path_factory, training_nodes, contract):
    root = tmp_path_factory.mktemp("nodes")
    return {site: training_nodes.write_node(root / site, contract, site, n, seed=n) for site, n in SITES.items()}


def config(tasks, sites, out, **more):
    return {
        "tags": TAGS,
        "sites": list(sites),
        "minimum": len(sites),
        "args": {name: task.to_args() for name, task in tasks.items()},
        "local_epochs": dict.fromkeys(tasks, 1),
        "out": str(out),
        "round_seconds": 120.0,
        **more,
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory, nodes, contract):
    """Two networks trained by one federation, then a plan modified after its approval, then a lost node."""
    work = tmp_path_factory.mktemp("work")
    out = work / "out"
    out.mkdir()
    events = []
    tasks = {
        MODEL: Task(contract=contract, rounds=ROUNDS, batch_size=8),
        BASELINE: Task(contract=contract, network="clinical", rounds=1, augment=False),
    }
    with Federation(nodes, work / "federation") as federation:
        federation.run_researcher(config(tasks, nodes, out, keep_last_round=True), events.append)
        modified = federation.work / "modified_researcher.py"
        modified.write_text(_MODIFIED)
        with pytest.raises(FederationError) as refused:
            federation.run_researcher(config(tasks, nodes, out), events.append, module="modified_researcher")
        federation.kill("dijon")
        with pytest.raises(FederationError) as lost:
            federation.run_researcher(config(tasks, nodes, out), events.append)
        logs = {site: (federation.work / f"{site}.log").read_text() for site in nodes}
        left = list(federation.work.rglob("params_*.mpk"))
    return {
        "out": out,
        "events": events,
        "tasks": tasks,
        "refused": refused.value,
        "lost": lost.value,
        "logs": logs,
        "left": left,
    }


_MODIFIED = """
import sys
from pathlib import Path
import training.plan
source = Path(training.plan.__file__).read_text().replace("AdamW(", "SGD(")
path = Path(__file__).with_name("modified_plan.py")
path.write_text(source)
from modified_plan import FedPetPlan
from training.researcher import main
main(Path(sys.argv[1]), FedPetPlan)
"""


def test_every_site_answers_in_every_round(trained):
    rounds = [event for event in trained["events"] if event["event"] == "round"]
    assert [(event["run"], event["round"]) for event in rounds] == [(MODEL, 1), (MODEL, 2), (MODEL, 3), (BASELINE, 1)]
    assert all(set(event["patients"]) == set(event["validation"]) == set(SITES) for event in rounds)


def test_nodes_train_and_validate_on_their_own_split(trained, nodes, contract):
    last = [event for event in trained["events"] if event["event"] == "round"][-1]
    for site, folder in nodes.items():
        training, validation = split(read_node(folder, contract).case_ids)
        assert last["patients"][site] == len(training)
        assert last["validation"][site]["n"] == len(validation)


def test_the_aggregate_is_the_mean_weighted_by_training_patients(trained):
    aggregate = load_file(trained["out"] / f"{MODEL}.safetensors")
    sent = {site: load_file(trained["out"] / f"{MODEL}.{site}.safetensors") for site in SITES}
    patients = [event for event in trained["events"] if event.get("run") == MODEL][-1]["patients"]
    total = sum(patients.values())
    for name, value in aggregate.items():
        expected = sum(sent[site][name] * (patients[site] / total) for site in SITES)
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
    assert any((sent["nice"][name] != sent["lyon"][name]).any() for name in aggregate)


def test_the_nodes_agree_with_a_validation_made_here(trained, nodes, contract):
    """The final metrics of a site, computed again from the exported parameters and the site's patients."""
    from training.losses import survival_nll

    network = trained["tasks"][MODEL].build()
    network.load_state_dict(load_file(trained["out"] / f"{MODEL}.safetensors"))
    node = read_node(nodes["nice"], contract)
    cases = [node.cases[index] for index in split(node.case_ids)[1]]
    with torch.no_grad():
        output = network(
            torch.from_numpy(np.stack([case.image.astype(np.float32) for case in cases])),
            torch.from_numpy(np.stack([case.clinical for case in cases])),
        )
    months, event = torch.tensor([case.months for case in cases]), torch.tensor([float(case.event) for case in cases])
    final = json.loads((trained["out"] / f"{MODEL}.json").read_text())["final"]["nice"]
    assert final["loss"] == pytest.approx(
        float(survival_nll(output.hazard_logits, months, event, contract.month_edges)), rel=1e-4
    )
    assert sum(value for name, value in final.items() if name.startswith("patients_")) == len(cases)


def test_small_nodes_send_no_table_and_nobody_sends_one_batch(trained):
    final = json.loads((trained["out"] / f"{MODEL}.json").read_text())["final"]
    assert not any(name.startswith(("patients_", "events_")) for name in final["dijon"])
    assert final["dijon"]["n"] == 2


def test_a_modified_plan_is_refused(trained):
    assert "not registered" in trained["logs"]["nice"]
    assert "federated training failed" in str(trained["refused"])


def test_a_lost_node_is_named(trained):
    assert "“dijon” ended" in str(trained["lost"])


def test_parameters_of_single_nodes_are_not_kept(trained):
    assert trained["left"] == []


def test_rehearsal_makes_a_bundle_that_predicts_like_torch(tmp_path, nodes, contract, training_nodes):
    held_out = training_nodes.write_node(tmp_path / "held-out", contract, "test", 30, seed=99)
    told = []
    bundle = Bundle.load(
        rehearse(
            list(nodes.values()),
            out=tmp_path / "bundle",
            rounds=2,
            learning_rate=5e-3,
            holdout=[held_out],
            contract=contract,
            seed=3,
            work=tmp_path / "work",
            journal=Journal(tmp_path / "run"),
            progress=lambda fraction, message: told.append((fraction, str(message))),
        )
    )
    network = Task(contract=contract).build()
    network.load_state_dict(load_file(bundle.weights))
    case = read_node(held_out, contract).cases[0]
    image = case.image.astype(np.float32)
    answer = Engine(bundle, provider="cpu").run(image, case.clinical)
    with torch.no_grad():
        expected = network(torch.from_numpy(image[None]), torch.from_numpy(case.clinical[None]))
    np.testing.assert_allclose(answer.hazard_logits, expected.hazard_logits[0], atol=1e-4)
    np.testing.assert_allclose(answer.maps, expected.maps[0], atol=1e-4)
    assert answer.score == pytest.approx(float(expected.score), abs=1e-4)
    card = bundle.card
    assert card["synthetic"] is True
    assert card["federation"]["nodes"]["lyon"] == {"training": 11, "validation": 3}
    assert set(card["evaluation"]["expected_auc_pfs_12m"]) == {MODEL, BASELINE, "bayes_ceiling"}
    assert len(card["validation"][MODEL]["loss_by_round"]) == 3
    assert card["network"] == {
        "name": "evidence",
        "config": {},
        "parameters": sum(p.numel() for p in network.parameters()),
    }
    assert b"/" + b"work" not in bundle.onnx.read_bytes()
    assert [fraction for fraction, _ in told] == sorted(fraction for fraction, _ in told)
    assert told[-1][0] == 1.0
    run = read_run(tmp_path / "run")
    assert (run.sites, run.planned) == (("dijon", "lyon", "nice"), {MODEL: 2, BASELINE: 2})
    assert [len(run.rounds[name]) for name in (MODEL, BASELINE)] == [2, 2]
    assert run.rounds[MODEL][0].patients["lyon"] == 11
    assert [one.pooled("loss") for one in run.rounds[MODEL]] == pytest.approx(
        card["validation"][MODEL]["loss_by_round"][:2]
    )


def test_averaging_in_one_process_gives_what_the_federation_gave(trained, nodes, contract):
    """`fedpet train evaluate` compares models by this short cut."""
    from training.averaging import fit
    from training.gather import gather

    cohort = gather(list(nodes.values()), contract)
    everybody = np.ones(len(cohort.cases), bool)
    for name in (MODEL, BASELINE):
        there = load_file(trained["out"] / f"{name}.safetensors")
        here = fit(trained["tasks"][name], list(cohort.by_site(everybody).values()))
        for key, value in here.network.state_dict().items():
            torch.testing.assert_close(value, there[key], rtol=1e-4, atol=1e-5)
        history = json.loads((trained["out"] / f"{name}.json").read_text())
        last = history["final"].values()
        told = sum(one["loss"] * one["n"] for one in last) / sum(one["n"] for one in last)
        assert here.losses[-1] == pytest.approx(told, rel=1e-4)
