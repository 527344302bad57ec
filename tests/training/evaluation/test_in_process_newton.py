"""An exact fit of several centres in one process: as good as the pooled one, better than few rounds of averaging."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import optional_terms as tables
from inference.input_contract import default_contract, table_contract
from training.bundle.held_out import scores
from training.data.node_data import read_node
from training.evaluation.cohort import pool_node_data
from training.evaluation.config import read_config
from training.evaluation.designs import AVERAGED, CLINICAL, FEDERATED, MEASURED_TMTV, POOLED, QUANTISED, Trainer
from training.evaluation.in_process_newton import fit_newton
from training.evaluation.optional_terms import INTERACTION, KNOTS, SPLINE, choose, restricted_cubic
from training.evaluation.run import evaluate
from training.task.method import UNPROTECTED_METHOD, Aggregation
from training.task.task import TrainingTask

SITES = {"nice": 200, "lyon": 120, "dijon": 80}
CONFIG = """
nodes = ["nice", "lyon", "dijon"]
input_contract = "contract.json"
designs = ["within_centre"]
bootstrap = 40
[model]
network = "table"
rounds = 7
[clinical]
network = "clinical"
aggregation = "newton"
rounds = 7
[averaged]
network = "table"
aggregation = "fedavg"
rounds = 2
batch_size = 16
[leakage]
permutations = 0
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, training_nodes):
    root = tmp_path_factory.mktemp("newton")
    contract = replace(default_contract(), shape=(1, 1, 1))
    contract.write(root / "contract.json")
    for site, cases in SITES.items():
        training_nodes.write_node(root / site, contract, cases, seed=cases)
    (root / "evaluation.toml").write_text(CONFIG)
    return root


@pytest.fixture(scope="module")
def task(folder):
    contract = read_contract(folder)
    method = UNPROTECTED_METHOD.model_copy(update={"aggregation": Aggregation(method="newton")})
    return TrainingTask(contract=contract, network="table", rounds=7, batch_size=64, method=method)


def read_contract(folder):
    return replace(default_contract(), shape=(1, 1, 1)).read(folder / "contract.json")


def test_the_comparison_has_the_exact_fit_the_pooled_one_and_averaging(folder):
    evaluate(folder / "evaluation.toml", folder / "out")
    (design,) = json.loads((folder / "out" / "report.json").read_text())["designs"].values()
    auc = {name: one["expected_auc"]["value"] for name, one in design["models"].items() if "expected_auc" in one}
    assert {FEDERATED, POOLED, QUANTISED, AVERAGED, CLINICAL} <= set(auc)
    assert auc[FEDERATED] == pytest.approx(auc[POOLED], abs=0.02)
    assert auc[FEDERATED] == pytest.approx(auc[QUANTISED], abs=1e-4)
    assert auc[FEDERATED] == auc[CLINICAL]  # this contract has no lesions: the baseline reads the same
    assert auc[AVERAGED] != auc[FEDERATED]
    assert auc[FEDERATED] > 0.58
    losses = design["validation_losses"][FEDERATED]
    assert losses[3] < losses[0]  # on the patients that are fitted
    assert losses[-1] > losses[3]  # each by the fit without it


def test_the_calibration_comes_from_all_patients_out_of_fold(folder, task):
    nodes = [read_node(folder / site, task.contract) for site in SITES]
    fitted, fit = fit_newton(task, nodes)
    assert fitted.calibration is not None
    assert 0.6 < fitted.calibration.b < 1.3
    score, _ = scores(fitted.network, [case for node in nodes for case in node.cases])
    assert np.std(score) > 0.4
    assert fit.state.remaining < 1e-3


def test_the_measured_volume_beside_the_record_is_a_baseline_of_the_same_fit(tmp_path, training_nodes):
    """With the lesion table in the contract; no section says how the baselines are trained."""
    contract = table_contract()
    contract.write(tmp_path / "contract.json")
    for site, cases in {"nice": 60, "lyon": 50, "dijon": 40}.items():
        training_nodes.write_node(tmp_path / site, contract, cases, seed=cases)
    (tmp_path / "evaluation.toml").write_text(CONFIG.split("[clinical]", maxsplit=1)[0])
    config = read_config(tmp_path / "evaluation.toml")
    assert config.clinical.method.aggregation.method == "newton"
    cohort = pool_node_data(config.nodes, config.contract)
    trainer = Trainer(cohort, config, lambda *_: None, 1)
    assert set(trainer.reads) == {CLINICAL, MEASURED_TMTV}
    for name, volume in ((CLINICAL, False), (MEASURED_TMTV, True)):
        _, (fitted,) = trainer.baseline(name, np.ones(150, bool))
        weights = dict(zip(contract.inputs, fitted.network.head.clinical.weight[0].tolist(), strict=True))
        assert (weights["lesion:tmtv_ml"] != 0) is volume
        assert weights["lesion:dmax_mm"] == 0
        assert weights["age"] != 0


def test_a_restricted_cubic_spline_is_linear_beyond_its_outer_knots():
    x = np.array([-4.0, -3.0, -2.0, 2.0, 3.0, 4.0, 5.0])
    bent = restricted_cubic(x)
    assert (bent[:3] == 0).all()
    np.testing.assert_allclose(np.diff(bent[3:], 2, axis=0), 0, atol=1e-12)
    inside = restricted_cubic(np.linspace(-1.6, 1.6, 9))
    assert (np.abs(np.diff(inside, 2, axis=0)).max(0) > 0.01).all()
    t, k, last = KNOTS[0], KNOTS[2], KNOTS[3]  # by the book, at 1: no term of the last knot yet
    by_hand = (1 - t) ** 3 - (1 - k) ** 3 * (last - t) / (last - k)
    assert restricted_cubic(np.array([1.0]))[0, 0] == pytest.approx(by_hand / (last - t) ** 2)


@pytest.mark.parametrize(
    ("bend", "interaction", "terms"), [(0.0, 0.0, ()), (0.8, 0.0, (SPLINE,)), (0.0, 0.9, (INTERACTION,))]
)
def test_cross_validation_takes_the_terms_that_have_an_effect(bend, interaction, terms, task):
    """Sums over the centres decide; `benchmarks/optional_terms.py` gives how often."""
    cohort = tables.cohort(500, bend, interaction, seed=1)
    found = choose(cohort, np.ones(500, bool), lambda contract: replace(task, contract=contract))
    assert found.terms == terms
    assert len(found.held_out) == 4
    weights = found.fitted.network.head.clinical.weight[0]
    assert len(weights) == len(cohort.contract.inputs) + {(): 0, (SPLINE,): 2, (INTERACTION,): 1}[terms]
    if terms == (INTERACTION,):
        at = found.cohort.contract.inputs.index(INTERACTION)
        assert float(weights[at].detach()) == pytest.approx(0.9, abs=0.35)


def test_a_task_without_an_exact_fit_is_none(task):
    with pytest.raises(ValueError, match="fedavg"):
        fit_newton(replace(task, method=UNPROTECTED_METHOD), [])
