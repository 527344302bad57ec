"""What the training plan does on a node: data, training step and validation step, free of Fed-BioMed's loops."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from fedbiomed.common.dataloader import PytorchDataLoader
from fedbiomed.common.dataset import CustomDataset
from fedbiomed.common.optimizers import Optimizer
from fedbiomed.common.optimizers.declearn import ScaffoldClientModule
from torch.utils.data import Dataset, Subset

from fedpet.errors import NodeDataRefused
from fedpet.messages import Message
from training.augmentation import augmentation
from training.budget import Gate
from training.losses import concept_loss, interval_targets, score_ridge, survival_nll
from training.masking import prepare
from training.node_data import read_node, split
from training.risk_table import MINIMUM_CASES, OutcomeTable, RiskTable
from training.statistics import STATISTICS, of_site

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from inference.network import NetworkOutput
    from training.node_data import NodeCase
    from training.task import Task

Batch = dict[str, "Tensor"]


class NodeDataset(CustomDataset):  # type: ignore[misc]  # Fed-BioMed publishes no types
    """A node's patients as Fed-BioMed wants them: training images are augmented, validation images are not."""

    task: Task

    def read(self) -> None:
        """Read and check the folder that the node registered, every patient's file included.

        Raises:
            FederationError: the node has a limit of epsilon, and the task would go past it (see `training.budget`).
            NodeDataRefused: a file is damaged, or there are too few patients.
        """
        self.gate = Gate(self.task)
        self.node = read_node(Path(self.path), self.task.contract)
        training, self.validation = split(self.node.case_ids, self.task.validation_fraction)
        self.training = frozenset(training)
        if len(training) < self.task.minimum_patients:
            raise NodeDataRefused(
                found=Message("A node has {count} patients to train on.", count=len(training)),
                needed=Message("At least {count}.", count=self.task.minimum_patients),
                advice=Message("Leave this node out, or give it more patients."),
            )
        for case in self.node.cases:
            case.require_finite()
        self.change: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None = None

    def __len__(self) -> int:
        return len(self.node.case_ids)

    def get_item(self, index: int) -> tuple[Batch, Batch]:
        """Inputs and targets of one patient."""
        case = self.node.cases[index]
        image = case.image.astype(np.float32)
        if self.change is not None and index in self.training:
            image = self.change(image)
        return _inputs(image, case), _targets(case, images=self.task.images)


def _inputs(image: NDArray[np.float32], case: NodeCase) -> Batch:
    return {"image": torch.from_numpy(image), "clinical": torch.from_numpy(case.clinical)}


def _targets(case: NodeCase, *, images: bool) -> Batch:
    targets = {"months": torch.tensor(case.months, dtype=torch.float32), "event": torch.tensor(float(case.event))}
    if images:
        targets["fractions"] = torch.from_numpy(case.concepts.astype(np.float32) / 255.0)
        targets["supervised"] = torch.from_numpy(case.supervised.astype(np.float32))
    return targets


def loaders(whole: PytorchDataLoader, dataset: NodeDataset, round_index: int) -> tuple[PytorchDataLoader, ...]:
    """Training and validation loaders of our own split, in place of Fed-BioMed's `whole` loader of every patient.

    Shuffling and augmentation are seeded by the task's seed, the round and the site; the noise of differential privacy
    and its sampling are not.
    """
    task = dataset.task
    seed = site_seed(dataset, round_index)
    if task.method.privacy.local:
        torch.seed()  # who knows the seed could subtract the noise
    else:
        torch.manual_seed(seed)
    dataset.change = augmentation(task.contract, seed) if task.augment else None
    patients = whole.dataset.dataset
    training = _Training(patients, sorted(dataset.training))
    validation = Subset(patients, dataset.validation)
    return (
        PytorchDataLoader(training, batch_size=task.batch_size, shuffle=True),
        PytorchDataLoader(validation, batch_size=task.batch_size),
    )


class _Named(dict[str, "Tensor"]):
    """A part of an item whose `dtype` Opacus reads; of a plain dict it takes the class."""

    dtype = torch.float32


class _Training(Dataset[tuple[Batch, Batch]]):
    """The training patients; Opacus looks at the first to draw a batch of nobody before any other."""

    def __init__(self, patients: Dataset[tuple[Batch, Batch]], indices: Sequence[int]) -> None:
        self._patients, self._indices = patients, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> tuple[Batch, Batch]:
        data, target = self._patients[self._indices[index]]
        return _Named(data), _Named(target)


def site_seed(dataset: NodeDataset, round_index: int) -> int:
    """A seed of the task, the round and the site."""
    return (dataset.task.seed * 1_000_003 + round_index * 7_919 + sum(dataset.node.site.encode())) % 2**31


def outgoing(dataset: NodeDataset, parameters: dict[str, Tensor], round_index: int) -> dict[str, Tensor]:
    """What leaves the site: the trained parameters or its statistics, rounded as secure aggregation needs it.

    Raises:
        FederationError: secure aggregation would clip a parameter.
    """
    task = dataset.task
    if task.network == STATISTICS:
        parameters = of_site(dataset.node, dataset.training)
    return prepare(parameters, task.method, site_seed(dataset, round_index)) if task.method.masked else parameters


def optimizer(task: Task, network: nn.Module, round_index: int) -> torch.optim.Optimizer | Optimizer:
    """AdamW at the learning rate of the round; for Scaffold the corrected SGD of declearn, at a constant rate.

    For a task that does not train, one whose steps change nothing.
    """
    if not task.trains:
        return torch.optim.SGD(network.parameters(), lr=0.0)
    if task.method.aggregation.method == "scaffold":
        return Optimizer(lr=task.learning_rate, modules=[ScaffoldClientModule()])
    groups = task.parameter_groups(network, round_index)
    return torch.optim.AdamW(groups, weight_decay=task.weight_decay)


def training_loss(network: nn.Module, task: Task, data: Batch | list[Tensor], target: Batch) -> Tensor:
    """Likelihood, concept supervision and ridge, weighted as the task says."""
    if not task.trains:
        return _nothing(network, task)
    if not isinstance(data, dict):  # Opacus drew an empty batch before any other and does not know its form
        return _nothing(network, task)
    output = network(data["image"], data["clinical"])
    if not len(output.score):
        return _zero(output)
    loss = survival_nll(output.hazard_logits, target["months"], target["event"], task.contract.month_edges)
    if task.ridge and not task.method.privacy.local:
        loss = loss + task.ridge * score_ridge(network)
    if "fractions" in target and output.maps.requires_grad:
        drawn = concept_loss(
            output.maps, target["fractions"], target["supervised"], by_patient=task.method.privacy.local
        )
        loss = loss + task.concept_weight * drawn
    return loss


def _nothing(network: nn.Module, task: Task) -> Tensor:
    """The loss of no patients: with differential privacy an empty batch is a step of noise like any other."""
    image = torch.zeros(0, 2, *task.contract.shape)
    return _zero(network(image, torch.zeros(0, len(task.contract.inputs))))


def _zero(output: NetworkOutput) -> Tensor:
    return output.hazard_logits.sum() + output.maps.sum()


class Validation:
    """Accumulates the validation batches of one round, so that nothing about a single batch leaves the node."""

    def __init__(self, task: Task, patients: int) -> None:
        self.task = task
        self.patients = patients
        self.outputs: list[tuple[Tensor, ...]] = []
        self.concept_losses: list[float] = []

    def step(self, network: nn.Module, data: Batch, target: Batch) -> dict[str, float]:
        """Add a batch; the metrics of all patients once the last batch is in, until then only how many were seen."""
        network.eval()
        with torch.no_grad():
            output = network(data["image"], data["clinical"])
            if "fractions" in target:
                loss = concept_loss(output.maps, target["fractions"], target["supervised"])
                self.concept_losses += [float(loss)] * len(output.score)
        self.outputs.append((output.hazard_logits, output.score, target["months"], target["event"]))
        seen = sum(len(score) for _, score, _, _ in self.outputs)
        return self._metrics() if seen >= self.patients else {"seen": float(seen)}

    def _metrics(self) -> dict[str, float]:
        """Mean losses, number of patients, and their tables if they are enough."""
        hazard_logits, score, months, event = (torch.cat(column) for column in zip(*self.outputs, strict=True))
        edges = self.task.contract.month_edges
        metrics = {"loss": float(survival_nll(hazard_logits, months, event, edges)), "n": float(len(score))}
        if self.concept_losses:
            metrics["concept_loss"] = float(np.mean(self.concept_losses))
        if len(score) >= MINIMUM_CASES:
            table = RiskTable.of(score.numpy(), *(part.numpy() for part in interval_targets(months, event, edges)))
            outcomes = OutcomeTable.of(score.numpy(), months.numpy(), event.numpy())
            metrics |= table.to_metrics() | outcomes.to_metrics()
        return metrics
