"""A federated Newton fit in one process: the nodes' own sums one centre after the other, and the coordinator's steps.

Sums, steps, cross-validation and recalibration are those of a real federation (tests compare them); only the separation
is missing. One centre alone is a federation of one; so is the pooled fit. Neither has an intercept of a centre.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from training.evaluation.in_process_fedavg import Fitted, dataset_of, fit, fitted, validate
from training.node.newton import site_sums
from training.task.method import FederatedMethod
from training.task.newton_fit import NewtonFit
from training.task.pooled import pooled_loss
from training.task.quantization import levels
from training.task.task import AUXILIARY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from training.data.node_data import Patients
    from training.node.steps import NodeDataset
    from training.task.newton_fit import NewtonPlan
    from training.task.task import TrainingTask

    Floats = NDArray[np.float64]


def train_in_process(
    task: TrainingTask,
    centres: Sequence[Patients],
    *,
    local_epochs: int = 1,
    quantised: bool = False,
    initial: Mapping[str, Tensor] | None = None,
) -> Fitted:
    """What a federation would give by the task's method; arguments and errors as of `fit` and `fit_newton`."""
    if task.newton is not None:
        return fit_newton(task, centres, quantised=quantised)[0]
    return fit(task, centres, local_epochs=local_epochs, quantised=quantised, initial=initial)


def fit_newton(task: TrainingTask, centres: Sequence[Patients], *, quantised: bool = False) -> tuple[Fitted, NewtonFit]:
    """Fit and recalibrate as a federation does.

    Args:
        task: with the method “newton”.
        centres: patients of each centre.
        quantised: round as secure aggregation does, without masks, which cancel.

    Returns:
        The network with its recalibration, and the state of the fit.

    Raises:
        NodeDataError: a centre has fewer than two patients.
        FederationError: the fit has not converged.
    """
    if quantised:
        task = replace(task, method=FederatedMethod(aggregation=task.method.aggregation))
    if len(centres) == 1:  # whose intercept is that of the baseline
        alone = task.method.aggregation.model_copy(update={"centre_ridge": 0.0})
        task = replace(task, method=task.method.model_copy(update={"aggregation": alone}))
    plan = task.newton
    if plan is None:
        raise ValueError(f"{task.method.aggregation.method} is no exact fit")
    network, nodes = task.build_shared(), [dataset_of(task, patients) for patients in centres]
    steps, losses = NewtonFit(plan), list[float]()
    for index in range(task.rounds + 1):
        network.load_state_dict({**network.state_dict(), **steps.parameters()})
        metrics = [validate(network, task, node, index) for node in nodes]
        losses.append(pooled_loss(metrics))
        steps.advance(index, _sums(network, plan, nodes, index))
    plain = task.build()
    plain.load_state_dict({name: value for name, value in network.state_dict().items() if name not in AUXILIARY})
    return fitted(plain, task, metrics, centres[0].cases[:1], losses[:-1]), steps


def _sums(network: nn.Module, plan: NewtonPlan, nodes: Sequence[NodeDataset], index: int) -> dict[str, Floats]:
    """Over all centres, as they arrive."""
    sent, sizes = [], [len(node.training) for node in nodes]
    masked = nodes[0].task.method.masked
    for node in nodes:
        node.first = network.state_dict()
        vector = site_sums(node, plan, index)
        sent.append(levels(vector) if masked else vector.double())
    mean = np.average(torch.stack(sent).numpy(), axis=0, weights=sizes)
    return plan.layout.decode(mean.tolist(), sum(sizes), masked=masked)
