"""Overall survival of a federation's table for its bundle: the fit, its calibration and its figures."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inference.overall_survival import MONTHS, OverallSurvivalModel
from training.bundle.calibration import calibrate, survival_of_all
from training.bundle.risk_model import hazard_ratios
from training.metrics import Estimate, Sample, auc, harrell
from training.task.newton_fit import BASELINE, WEIGHTS
from training.task.risk_table import pooled_concordance, pooled_risk_table
from training.task.runs import OVERALL_SURVIVAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inference.input_contract import InputContract
    from training.bundle.model_card import TrainingSummary
    from training.data.node_data import NodeData

_DRAWS = 1000


def overall_survival_model(trained: TrainingSummary) -> OverallSurvivalModel | None:
    """What the bundle holds of overall survival; None where it was not trained."""
    if OVERALL_SURVIVAL not in trained.runs:
        return None
    contract = trained.runs[OVERALL_SURVIVAL].task.contract
    state, nodes = trained.networks[OVERALL_SURVIVAL].state_dict(), trained.histories[OVERALL_SURVIVAL]["final"]
    weights, baseline = (state[name].detach().double().flatten().tolist() for name in (WEIGHTS, BASELINE))
    edges = contract.month_edges
    calibration = calibrate(nodes, np.array(baseline), edges)
    without_sets = replace(
        calibration,
        base_rates={},
        thresholds={},
        centres={name: replace(one, thresholds={}) for name, one in calibration.centres.items()},
    )
    alive = survival_of_all(pooled_risk_table(nodes.values(), len(baseline)))
    return OverallSurvivalModel(
        dict(zip(contract.inputs, weights, strict=True)),
        tuple(baseline),
        without_sets,
        float(alive[edges.index(MONTHS)]),
    )


def described(trained: TrainingSummary, model: OverallSurvivalModel | None) -> dict[str, Any]:
    """The entry of the card; empty where it was not trained."""
    if model is None:
        return {}
    history, task = trained.histories[OVERALL_SURVIVAL], trained.runs[OVERALL_SURVIVAL].task
    final = history["final"].values()
    return {
        "overall_survival": {
            "endpoint": f"alive at {MONTHS:g} months, and the curve; secondary, without conformal sets or explanation",
            "patients": round(sum(metrics["n"] for metrics in final)),
            "deaths": round(sum(metrics["events"] for metrics in final)),
            "ridge": history["newton"]["ridge"],
            "alive_in_the_cohort": model.base_rate,
            "out_of_fold_concordance": pooled_concordance(history["final"], len(task.contract.month_edges) - 1),
            "hazard_ratios": hazard_ratios(task.contract, history["newton"]),
        }
    }


def with_overall_survival(
    model: OverallSurvivalModel | None, nodes: Sequence[NodeData], contract: InputContract, *, seed: int = 0
) -> dict[str, Any]:
    """The entry of an evaluation on held-out patients, those of the nodes in which the survival of all is known.

    Empty without a model, or where there is no such node.

    Args:
        model: of the bundle; None where it holds none.
        nodes: node data that the training did not see.
        contract: of the bundle.
        seed: of the bootstrap.

    Returns:
        Numbers of patients and deaths; Harrell's C over all time and AUC at 24 months (weighted for censoring) with
        intervals; the mean predicted probability of being alive at 24 months beside the Kaplan-Meier estimate.
    """
    known = [node.with_endpoint("overall_survival") for node in nodes if len(node.deaths) == len(node.case_ids)]
    if model is None or not known:
        return {}
    at, free, score = contract.month_edges.index(MONTHS), list[NDArray[np.float64]](), list[NDArray[np.float64]]()
    for node in known:
        raw, logits = model.scores(np.array([case.clinical for case in node.cases], float), contract)
        free.append(model.calibration.at(node.site).free(logits, raw, contract.month_edges)[:, at])
        score.append(raw)
    cases = [case for node in known for case in node.cases]
    months, died = np.array([case.months for case in cases]), np.array([case.event for case in cases])
    alive, risk = np.concatenate(free), np.concatenate(score)
    sample = Sample.of(months, died, draws=_DRAWS, seed=seed)
    figures = {
        "patients": len(cases),
        "deaths": int(died.sum()),
        "observed_c_index": asdict(Estimate.of(harrell(sample, risk))),
        "auc_24m": asdict(Estimate.of(auc(sample, 1 - alive, MONTHS))),
        "alive_24m": {
            "mean_predicted": float(alive.mean()),
            "observed": asdict(Estimate.of(sample.kaplan_meier(np.array([MONTHS]))[:, 0])),
        },
    }
    return {"overall_survival": figures}
