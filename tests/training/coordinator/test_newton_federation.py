"""A survival model fitted by Newton's method on three real nodes: the pooled fit, in clear and under masks."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.torch import load_file

from fedpet.core.errors import FederationError
from inference.bundle.storage import Bundle
from inference.monitoring import MonitorReference
from tests.support.planted_crops import small_crops, write_centre
from tests.support.running_federation import Running
from training.coordinator.config import training_config
from training.coordinator.federation import LocalFederation
from training.coordinator.processes import FederationProcesses
from training.coordinator.train import train
from training.evaluation.in_process_newton import fit_newton
from training.evaluation.learned_gate import fit_learned_term
from training.metrics import Sample
from training.node.admission import REQUESTS
from training.node.policy import NodePolicy, write_policy
from training.task.carried import ALL_SITES
from training.task.learned_term import GateResult, LearnedTerm
from training.task.method import Aggregation, FederatedMethod, Privacy
from training.task.newton_fit import BASELINE, WEIGHTS
from training.task.registration import TAGS
from training.task.runs import MODEL, Run
from training.task.task import TrainingTask, node_facts

pytestmark = pytest.mark.federation
SITES = {"nice": 60, "lyon": 40, "dijon": 30}
ROUNDS = 6
LEARNED, LEFT_OUT = LearnedTerm(rounds=2, local_epochs=1), "lyon"


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """In clear, killed and resumed, with a learned term at one site left out; then a bundle under masks.

    The nodes of the bundle have the default policy of a hospital.
    """
    root = tmp_path_factory.mktemp("newton")
    contract = small_crops()
    contract.write(root / "contract.json")
    folders = {site: write_centre(root / site, n, 0.8, seed=n) for site, n in SITES.items()}
    local = LocalFederation.read(list(folders.values()), contract)
    clear = TrainingTask(
        contract=contract,
        network="table",
        rounds=ROUNDS,
        batch_size=64,
        minimum_cell=5,
        method=FederatedMethod(aggregation=Aggregation(method="newton"), privacy=Privacy(secure_aggregation="none")),
    )
    found = SimpleNamespace(nodes=local.nodes, clear=clear, events=[], out=root / "out", work=root / "work")
    found.out.mkdir()
    runs = {
        "clear": Run(clear, 1),
        **{name: run for name, run in LEARNED.runs(clear, SITES).items() if LEFT_OUT in name},
    }
    config = {
        "tags": TAGS,
        "sites": list(SITES),
        "minimum": 3,
        "out": str(found.out),
        "round_seconds": 120.0,
        "args": {name: run.task.to_args() for name, run in runs.items()},
        "local_epochs": {name: run.local_epochs for name, run in runs.items()},
        "initial": {f"without-{LEFT_OUT}": str(found.out / "clear.safetensors")},
    }
    facts = {site: node_facts(node, contract) for site, node in local.nodes.items()}
    with FederationProcesses(folders, found.work, facts=facts) as federation:

        def stop_after_three(event):
            if (event["event"], event.get("round")) == ("round", 3):
                federation.kill("researcher")

        with pytest.raises(FederationError):
            federation.run_researcher(config, stop_after_three)
        federation.run_researcher({**config, "resume": True}, found.events.append)
        for site in SITES:  # from now on as “fedpet train node create” makes them
            write_policy(found.work / site, NodePolicy())
        told = training_config(
            {
                "name": "risk",
                "version": "1",
                "out": root / "bundle",
                "work": root / "run",
                "contract": root / "contract.json",
                "training": {"network": "table", "rounds": ROUNDS, "statistics": False, "overall_survival": True},
            }
        )
        assert told.aggregation.method == "newton"
        running = Running(local.nodes, local.held_out, federation)
        found.bundle = Bundle.load(train(told, running, on_event=found.events.append))
    found.masked = root / "run" / "results"
    return found


def weights(folder, name):
    parameters = load_file(folder / f"{name}.safetensors")
    assert set(parameters) == {WEIGHTS, BASELINE}
    return np.concatenate([parameters[WEIGHTS].numpy().ravel(), parameters[BASELINE].numpy()])


def validated(fitted, run):
    (event,) = [one for one in fitted.events if one["event"] == "validated" and one["run"] == run]
    return event["validation"]


def test_in_clear_and_resumed_it_is_the_fit_in_one_process(fitted):
    one, fit = fit_newton(fitted.clear, list(fitted.nodes.values()))
    assert np.abs(weights(fitted.out, "clear") - fit.coefficients).max() < 1e-6
    assert np.abs(fit.coefficients).max() > 0.3
    sites = validated(fitted, "clear")
    assert {site: values["n"] for site, values in sites.items()} == SITES
    loss = sum(values["loss"] * values["n"] for values in sites.values()) / sum(SITES.values())
    assert loss == pytest.approx(one.losses[-1], abs=1e-5)


def test_a_learned_term_with_a_site_left_out_is_that_of_one_process(fitted):
    """The term is trained without it beside the table; it alone compares, on all of its patients."""
    one, final = fit_learned_term(fitted.clear, LEARNED, list(fitted.nodes.values()), left_out=LEFT_OUT)
    sent = load_file(fitted.out / f"without-{LEFT_OUT}.safetensors")
    for name, value in one.network.state_dict().items():
        assert (value - sent[name]).abs().max() < 1e-4, name
    assert one.network.crops.rate.weight.detach().abs().max() > 1e-3
    history = json.loads((fitted.out / f"without-{LEFT_OUT}.json").read_text())
    told = GateResult.of({LEFT_OUT: history["final"].values()})
    here = GateResult.of({LEFT_OUT: final})
    assert [site for site, values in history["final"].items() if values.get("compared")] == [LEFT_OUT]
    assert told.patients == here.patients == SITES[LEFT_OUT]
    assert [told.gain, told.error] == pytest.approx([here.gain, here.error], abs=1e-5)
    assert told.gain != 0


def test_under_masks_it_is_the_same_to_1e_4(fitted):
    """Nobody's ranking changes, so that no AUC does."""
    clear, masked = weights(fitted.out, "clear"), weights(fitted.masked, MODEL)
    assert 0 < np.abs(clear - masked).max() < 1e-4
    inputs = np.stack([case.clinical for node in fitted.nodes.values() for case in node.cases])
    one, other = (inputs @ values[: inputs.shape[1]] for values in (clear, masked))
    pairs = (one[:, None] > one) != (other[:, None] > other)
    assert pairs.mean() < 1e-4
    assert validated(fitted, MODEL)[ALL_SITES]["n"] == sum(SITES.values())


def test_the_bundle_holds_overall_survival_as_fitted_in_one_process(fitted):
    dead = [node.with_endpoint("overall_survival") for node in fitted.nodes.values()]
    _, fit = fit_newton(fitted.clear, dead)
    model, contract = fitted.bundle.overall_survival, fitted.bundle.contract
    found = np.array([*(model.weights[name] for name in contract.inputs), *model.baseline])
    assert np.abs(found - fit.coefficients).max() < 1e-4
    assert np.abs(found - weights(fitted.masked, MODEL)).max() > 0.1  # those of progression
    months = np.array([case.months for node in dead for case in node.cases])
    event = np.array([case.event for node in dead for case in node.cases])
    observed = Sample.of(months, event, draws=0).kaplan_meier(np.array([24.0]))[0, 0]
    assert model.base_rate == pytest.approx(observed, abs=0.03)  # by intervals, and with merged small cells
    told = fitted.bundle.card["overall_survival"]
    assert (told["patients"], told["deaths"]) == (sum(SITES.values()), int(event.sum()))
    assert model.calibration.thresholds == {}


def test_the_nodes_had_the_default_policy(fitted):
    for site in SITES:
        lines = [json.loads(line) for line in (fitted.work / site / REQUESTS).read_text().splitlines()]
        fits = [line["network"] for line in lines if line["masks"]].count("table")
        assert fits == 2 * (ROUNDS + 1)  # of progression and of death


def test_the_bundle_has_the_reference_of_its_patients_for_monitoring(fitted):
    """From sums under masks, which count what is missing as 0; yes or no of too few patients is left out."""
    contract = fitted.bundle.contract
    found = MonitorReference.from_card(fitted.bundle.card, contract)
    values = np.stack([case.clinical for node in fitted.nodes.values() for case in node.cases])
    column = dict(zip(contract.inputs, values.T.astype(float), strict=True))
    assert found.patients == sum(SITES.values())
    for name in ("nlr", "albumin", "pdl1_1"):  # with a flag of what is missing
        missing = column[f"missing:{name}"].mean()
        mean = column[name].mean() / (1 - missing)
        spread = ((column[name] ** 2).mean() / (1 - missing) - mean**2) ** 0.5
        one = found.inputs[name]
        assert (one.mean, one.sd, one.missing) == pytest.approx((mean, spread, missing), abs=1e-3)
    assert np.isnan(found.inputs["age"].missing)
    assert 0.05 < found.answer.mean < 0.95


def test_the_bundle_s_card_tells_the_fit(fitted):
    card = fitted.bundle.card
    risk, history = card["risk_model"], json.loads((fitted.masked / f"{MODEL}.json").read_text())
    assert (risk["rounds"], risk["sites"], risk["patients"]) == (ROUNDS, 3, sum(SITES.values()))
    losses = risk["held_out_loss_by_ridge"]
    assert f"{risk['ridge']:g}" == min(losses, key=losses.get)
    assert card["data"]["patients"] == sum(SITES.values())
    assert card["federation"]["nodes"]["nice"] == {"training": 60, "validation": 60}
    first = risk["hazard_ratios"][0]
    value, error = history["newton"]["coefficients"][0], history["newton"]["errors"][0]
    assert (first["input"], first["for"]) == ("age", "9.5 more")
    assert np.log([first["lower"], first["hazard_ratio"], first["upper"]]) == pytest.approx(
        [value - 1.96 * error, value, value + 1.96 * error]
    )
    assert first["lower"] > 1  # planted: 0.6 a unit
    text = (fitted.bundle.folder / "card.md").read_text()
    assert "| Age | 9.5 more |" in text
    assert text.count("●") == len(risk["hazard_ratios"]) + len(card["overall_survival"]["hazard_ratios"])
