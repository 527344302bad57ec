"""Federated averaging in one process: the nodes' own steps one centre after the other, then the weighted mean.

Data, order of the batches, augmentation, loss, optimiser and weights are those of a real federation without secure
aggregation, so that the aggregate is the same (tests/training/coordinator/test_federation.py compares them). Only the
separation is missing: all patients are on this machine. So it serves to compare models, never to train on several
centres. One centre alone is a federation of one; so is the pooled training of all patients.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from fedbiomed.common.dataloader import PytorchDataLoader
from opacus import GradSampleModule, PrivacyEngine
from torch.utils.data import Dataset, Subset

from inference.calibration import survival_of
from training.bundle.calibration import calibrate
from training.bundle.held_out import scores
from training.node.policy import OPEN_POLICY
from training.node.steps import NodeDataset, ValidationMetrics, data_loaders, patients_of, site_seed, training_loss
from training.task.method import MASKED_RANGE, FederatedMethod
from training.task.pooled import pooled_loss
from training.task.quantization import STEP, levels, quantize
from training.task.risk_table import OutcomeTable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from inference.calibration import RiskCalibration
    from training.data.node_data import NodeCase, Patients
    from training.node.steps import Batch
    from training.task.task import TrainingTask

    Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained network with its recalibration.

    Attributes:
        edges: of the hazards' intervals, months.
        calibration: from the validation patients; None where they were too few.
        losses: mean validation loss before each round and at the end.
    """

    network: nn.Module
    edges: tuple[float, ...]
    calibration: RiskCalibration | None
    losses: tuple[float, ...]

    def survival(self, cases: Sequence[NodeCase]) -> Floats:
        """(n, K + 1) probability to be free of the event at each edge of the contract's intervals."""
        score, logits = scores(self.network, cases)
        if self.calibration is None:
            return survival_of(logits)
        return self.calibration.free(logits, score, self.edges)


def fit(
    task: TrainingTask,
    centres: Sequence[Patients],
    *,
    local_epochs: int = 1,
    quantised: bool = False,
    initial: Mapping[str, Tensor] | None = None,
) -> Fitted:
    """Train by federated averaging and recalibrate as a federation does.

    Args:
        task: network and how to train it.
        centres: patients of each centre; their own split gives the validation patients.
        local_epochs: passes over a centre's patients in a round.
        initial: first parameters; None starts from fresh ones.
        quantised: round as secure aggregation does (see `training.task.quantization`), without masks, which cancel.

    Raises:
        NodeDataError: a centre has fewer than two patients.
    """
    torch.manual_seed(task.seed)
    network = task.build()
    if initial is not None:
        network.load_state_dict(initial)
    nodes = [dataset_of(task, patients) for patients in centres]
    losses = []
    for index in range(task.rounds):
        shared = {name: value.clone() for name, value in network.state_dict().items()}
        replies, sizes, metrics = [], [], []
        for node in nodes:
            network.load_state_dict(shared)
            metrics.append(_round(network, task, node, index, 0 if node.sits_out else local_epochs))
            reply = {name: value.clone() for name, value in network.state_dict().items()}
            replies.append(_quantise(reply, site_seed(node, index)) if quantised else reply)
            sizes.append(len(node.training))
        network.load_state_dict(_mean(replies, sizes))
        losses.append(pooled_loss(metrics))
    final = [validate(network, task, node, task.rounds) for node in nodes]
    return fitted(network, task, final, centres[0].cases[:1], losses)


def fitted(
    network: nn.Module,
    task: TrainingTask,
    final: Sequence[Mapping[str, float]],
    cases: Sequence[NodeCase],
    losses: Sequence[float],
) -> Fitted:
    """A network with its recalibration.

    Args:
        network: that was trained.
        task: of its training.
        final: metrics of each centre's validation.
        cases: one patient, whose output tells the baseline.
        losses: mean validation loss before each round.
    """
    edges, calibration = task.contract.month_edges, None
    if any(OutcomeTable.from_metrics(metrics).patients for metrics in final):
        score, logits = scores(network, cases)
        calibration = calibrate({str(i): one for i, one in enumerate(final)}, logits[0] - score[0], edges)
    return Fitted(network, edges, calibration, (*losses, pooled_loss(final)))


class _Items(Dataset[tuple["Batch", "Batch"]]):
    """A node's items without Fed-BioMed's checks of a dataset that it loaded itself."""

    def __init__(self, node: NodeDataset) -> None:
        self.node = node

    def __len__(self) -> int:
        return len(self.node)

    def __getitem__(self, index: int) -> tuple[Batch, Batch]:
        return self.node.get_item(index)


def dataset_of(task: TrainingTask, patients: Patients) -> NodeDataset:
    """A node's data set as `NodeDataset.read` makes it, from patients in memory."""
    node = NodeDataset()
    node.task, node.node, node.change = task, patients, None
    node.rules = OPEN_POLICY.data.model_copy(update={"validation_fraction": task.validation_fraction})
    training, node.validation = patients_of(task, patients.case_ids, node.rules, everybody=node.sits_out)
    node.training = frozenset(training)
    return node


def _round(
    network: nn.Module, task: TrainingTask, node: NodeDataset, index: int, local_epochs: int
) -> dict[str, float]:
    """A node's round: validate the shared model, then train it in place."""
    training, validation = _loaders(node, index)
    metrics = _steps_of_validation(network, task, node, validation)
    trained, optimizer, training = _private(network, task, index, training)
    for _ in range(local_epochs):
        for data, target in training:
            optimizer.zero_grad()
            torch.autograd.backward(training_loss(trained, task, data, target))
            optimizer.step()
    if isinstance(trained, GradSampleModule):
        network.load_state_dict(trained.to_standard_module().state_dict())
    return metrics


def _private(
    network: nn.Module, task: TrainingTask, index: int, training: PytorchDataLoader
) -> tuple[nn.Module, torch.optim.Optimizer, PytorchDataLoader]:
    """Network, optimiser and batches of a round; with differential privacy those of Opacus, as on a node.

    The hooks of Opacus are on a copy of the network.
    """
    privacy = task.method.privacy
    trained = deepcopy(network) if privacy.local else network
    trained.train()
    optimizer = torch.optim.AdamW(task.parameter_groups(trained, index), weight_decay=task.weight_decay)
    if privacy.noise is None or privacy.clip is None:
        return trained, optimizer, training
    engine = PrivacyEngine()
    private: tuple[nn.Module, torch.optim.Optimizer, PytorchDataLoader] = engine.make_private(
        module=trained,
        optimizer=optimizer,
        data_loader=training,
        noise_multiplier=privacy.noise,
        max_grad_norm=privacy.clip,
    )
    return private


def validate(network: nn.Module, task: TrainingTask, node: NodeDataset, index: int) -> dict[str, float]:
    """Metrics of a centre's validation patients."""
    return _steps_of_validation(network, task, node, _loaders(node, index)[1])


def _loaders(node: NodeDataset, index: int) -> tuple[PytorchDataLoader, ...]:
    return data_loaders(PytorchDataLoader(Subset(_Items(node), range(len(node)))), node, index)


def _steps_of_validation(
    network: nn.Module, task: TrainingTask, node: NodeDataset, batches: PytorchDataLoader
) -> dict[str, float]:
    validation = ValidationMetrics(task, node)
    for data, target in batches:
        validation.step(network, data, target)
    return validation.result


def _mean(replies: Sequence[Mapping[str, Tensor]], sizes: Sequence[int]) -> dict[str, Tensor]:
    """The mean weighted by training patients."""
    total = sum(sizes)
    return {
        name: torch.stack([reply[name] * (size / total) for reply, size in zip(replies, sizes, strict=True)]).sum(0)
        for name in replies[0]
    }


def _quantise(reply: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    """A reply as the researcher restores it from masked sums: masks cancel and the mean is linear."""
    moved = quantize(reply, FederatedMethod(), seed)
    return {name: levels(value) * STEP - MASKED_RANGE for name, value in moved.items()}
