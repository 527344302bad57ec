"""An exactly fitted risk model for the card: its fit, and the hazard ratio of every input with a robust interval."""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING, Any

from inference.encoding import term_label
from inference.input_contract import LESION_PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from inference.input_contract import InputContract
    from training.task.task import TrainingTask

_Z = 1.96  # 95 %


def risk_model(task: TrainingTask, history: Mapping[str, Any]) -> dict[str, Any]:
    """The card's entry, as plain data; empty where the model was not fitted by Newton's method.

    Args:
        task: of the model.
        history: of its run.
    """
    if task.newton is None:
        return {}
    fit, contract = history["newton"], task.contract
    last = history["rounds"][-1]["patients"]
    return {
        "risk_model": {
            "fit": "discrete-time survival model, federated Newton, ridge on standardised inputs",
            "rounds": len(history["rounds"]),
            "sites": len(last),
            "patients": sum(last.values()),
            "ridge": fit["ridge"],
            "held_out_loss_by_ridge": dict(fit["held_out"]),
            "folds": task.newton.layout.folds,
            "precision_of_the_sites_intercepts": task.newton.centre_ridge or 0.0,
            "largest_step_left_in_standard_errors": fit["remaining"],
            "intervals": "95 %, robust (sandwich, by patient), of the penalised coefficients",
            "p_of_proportional_hazards": fit["proportional"],
            "hazard_ratios": hazard_ratios(contract, fit),
        }
    }


def hazard_ratios(contract: InputContract, fit: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each input that varies: ratio of the odds of progression in an interval, with its interval.

    Args:
        contract: whose inputs come first in the coefficients.
        fit: `training.task.newton_fit.NewtonState` at its end.
    """
    steps, count = _steps(contract), len(contract.inputs)
    columns = (fit["coefficients"][:count], fit["errors"][:count], fit["proportional_by_input"])
    rows = []
    for name, value, error, proportional in zip(contract.inputs, *columns, strict=True):
        if proportional is not None:
            ratio, lower, upper = (exp(value + z * error) for z in (0.0, -_Z, _Z))
            rows.append(
                {
                    "input": name,
                    "label": str(term_label(name)),
                    "for": steps[name],
                    "hazard_ratio": ratio,
                    "lower": lower,
                    "upper": upper,
                    "p_proportional": proportional,
                }
            )
    return rows


def _steps(contract: InputContract) -> dict[str, str]:
    """By input, the difference that its hazard ratio is about."""
    steps = {}
    for term in contract.terms:
        by_kind = {"number": f"{term.sd:g} more", "log_ratio": f"{exp(term.sd):.2g} times"}
        steps[term.name] = by_kind.get(term.kind, "yes against no")
    for quantity in contract.quantities:
        by_transform = {"number": f"{quantity.sd:g} more", "log1p": f"1 + x {exp(quantity.sd):.2g} times"}
        steps[f"{LESION_PREFIX}{quantity.name}"] = by_transform.get(quantity.transform, "yes against no")
    return {name: steps.get(name, "missing against known") for name in contract.inputs}
