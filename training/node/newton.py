"""A node's part of a federated Newton fit: all patients are fitted, and each is validated by a fit without it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from inference.network import used_inputs
from training.task.newton import CentreTable
from training.task.newton_fit import BASELINE, TRIALS, WEIGHTS, answer, folds_of, require_many
from training.task.newton_sums import SUMS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from inference.network import NetworkOutput
    from training.node.steps import NodeDataset
    from training.task.newton_fit import NewtonPlan


def site_folds(dataset: NodeDataset, plan: NewtonPlan) -> NDArray[np.int64]:
    """(n,) the fold of each patient, whatever the task's smallest cell is; none counts fewer than the site's."""
    return folds_of(dataset.node.case_ids, dataset.node.site, plan.layout.folds, dataset.rules.minimum_cell)


def _smallest_cell(dataset: NodeDataset) -> int:
    """Of the site's and of the task's."""
    return max(dataset.rules.minimum_cell, dataset.task.minimum_cell)


def site_sums(dataset: NodeDataset, plan: NewtonPlan, round_index: int) -> Tensor:
    """The vector of the site's sums at the coefficients that it was sent.

    Raises:
        NodeDataError: an input is spread more widely than the bounds of the sums allow.
        FederationError: a sum would be clipped, or the coefficients make it one of few patients.
    """
    task, sent = dataset.task, dataset.first
    table = CentreTable.of(dataset.node.cases, task.contract.month_edges, used_inputs(task.network, task.contract))
    coefficients, trials = _coefficients(sent), sent[TRIALS].double().cpu().numpy()
    require_many(plan, table, coefficients, trials, _smallest_cell(dataset))
    sums = answer(plan, round_index, table, site_folds(dataset, plan), coefficients, trials)
    return plan.layout.encode(sums, len(dataset.training), masked=task.method.masked)


def site_reply(
    dataset: NodeDataset, plan: NewtonPlan, parameters: Mapping[str, Tensor], round_index: int
) -> dict[str, Tensor]:
    """What leaves the site beside its validation: the sums, and zeros in the place of the parameters."""
    nothing = {name: torch.zeros_like(value) for name, value in parameters.items()}
    return {**nothing, SUMS: site_sums(dataset, plan, round_index)}


def _coefficients(parameters: Mapping[str, Tensor]) -> NDArray[np.float64]:
    """(q + K,) weights of the inputs, then the baseline."""
    parts = [parameters[WEIGHTS].flatten(), parameters[BASELINE]]
    return torch.cat(parts).detach().double().cpu().numpy()


def out_of_fold_output(output: NetworkOutput, terms: Tensor, trials: Tensor, folds: NDArray[np.int64]) -> NetworkOutput:
    """Scores and hazards of patients by the fits without their fold; by the network itself before there are such fits.

    Args:
        output: of the network that travels.
        terms: (B, q) inputs of the patients that it uses.
        trials: coefficients by ridge and fold; the first ones count.
        folds: (B,) of the patients.
    """
    if not trials.any():
        return output
    mine, inputs = trials[torch.as_tensor(folds)], terms.shape[1]
    score = (terms * mine[:, :inputs]).sum(1)
    return output._replace(hazard_logits=score[:, None] + mine[:, inputs:], score=score)
