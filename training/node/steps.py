"""The work of the training plan on a node: data, training step, validation step; without Fed-BioMed's loops."""

from __future__ import annotations

from math import isfinite, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from fedbiomed.common.dataloader import PytorchDataLoader
from fedbiomed.common.dataset import CustomDataset
from fedbiomed.common.optimizers import Optimizer
from fedbiomed.common.optimizers.declearn import ScaffoldClientModule
from torch.utils.data import Dataset, Subset

from fedpet.core.errors import FederationError
from fedpet.core.messages import Message
from inference.network import ENSEMBLE, used_inputs
from training.data.node_data import read_node, require_patients, split
from training.node.admission import CurrentRequest, admit, folder_of_this_process
from training.node.newton import out_of_fold_output, site_folds, site_reply
from training.node.privacy_budget import BudgetGuard
from training.node.veto import accept, read_accepted
from training.task.augmentation import augmentation
from training.task.carried import CARRIED, LARGEST_LOSS
from training.task.losses import (
    concept_loss,
    interval_targets,
    score_ridge,
    survival_nll,
    survival_nll_by_patient,
)
from training.task.newton_fit import TRIALS
from training.task.quantization import quantize
from training.task.registration import node_name
from training.task.risk_table import MINIMUM_CASES, OutcomeTable, RiskTable
from training.task.small_cells import merge_small_cells
from training.task.statistics import STATISTICS, site_statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from inference.network import NetworkOutput
    from training.data.node_data import CentrePatients, NodeCase
    from training.node.policy import DataRules
    from training.task.task import TrainingTask

Batch = dict[str, "Tensor"]


class NodeDataset(CustomDataset):  # type: ignore[misc]  # Fed-BioMed publishes no types
    """A node's patients as a Fed-BioMed data set: training images are augmented, validation images are not."""

    task: TrainingTask
    node: CentrePatients
    round: int = 0
    first: dict[str, Tensor]  # parameters that the node was sent

    @property
    def sits_out(self) -> bool:
        """Whether this site is the one that the task leaves out."""
        return bool(self.task.left_out) and node_name(self.node.site) == self.task.left_out

    def read(self) -> None:
        """Read and check the folder that the node registered, every patient's file included.

        Raises:
            FederationError: the node's policy does not allow the task (`training.node.policy`), or its limit of epsilon
                would be exceeded (`training.node.privacy_budget`).
            NodeDataError: a file is damaged, or there are too few patients.
        """
        self.gate = BudgetGuard(self.task)
        policy = admit(self.task)
        self.rules, self.limits = policy.data, policy.tasks
        self.node = read_node(Path(self.path), self.task.contract).with_endpoint(self.task.endpoint)
        training, self.validation = patients_of(self.task, self.node.case_ids, self.rules, everybody=self.sits_out)
        if self.task.evaluated:
            require_patients(len(training), max(self.rules.minimum_losses, self.rules.minimum_validation))
        else:
            require_patients(len(training), max(self.task.minimum_patients, self.rules.minimum_training))
        self.training = frozenset(training)
        self.gate.require_lasting(len(training), self.round)
        for case in self.node.cases:
            case.require_finite()
        self.change: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None = None

    def __len__(self) -> int:
        return len(self.node.case_ids)

    def get_item(self, index: int) -> tuple[Batch, Batch]:
        """Inputs and targets of one patient."""
        case = self.node.cases[index]
        if not self.task.uses_images:
            return _inputs(np.zeros((2, 1, 1, 1), np.float32), case), _targets(case, images=False)
        image = case.image.astype(np.float32)
        if self.change is not None and index in self.training:
            image = self.change(image)
        return _inputs(image, case), _targets(case, images=self.task.draws_maps)


def patients_of(
    task: TrainingTask, case_ids: tuple[str, ...], rules: DataRules, *, everybody: bool = False
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Indices of the training and of the validation patients, by the site's split; Newton's method takes all for both.

    So do statistics, whose difference to the sums of such a fit would else be that of the few who validate, and an
    evaluation, in which everybody validates, and counts as the weight of the site. So does,
    with `everybody`, a site that is left out.

    Raises:
        NodeDataError: fewer than two patients.
    """
    training, validation = split(case_ids, rules.validation_fraction, rules.validation_seed)
    takes_all = everybody or task.newton is not None or task.evaluated or task.network == STATISTICS
    return (tuple(range(len(case_ids))),) * 2 if takes_all else (training, validation)


def _inputs(image: NDArray[np.float32], case: NodeCase) -> Batch:
    return {"image": torch.from_numpy(image), "clinical": torch.from_numpy(case.clinical)}


def _targets(case: NodeCase, *, images: bool) -> Batch:
    targets = {"months": torch.tensor(case.months, dtype=torch.float32), "event": torch.tensor(float(case.event))}
    if images:
        targets["fractions"] = torch.from_numpy(case.concepts.astype(np.float32) / 255.0)
        targets["supervised"] = torch.from_numpy(case.supervised.astype(np.float32))
    return targets


def data_loaders(whole: PytorchDataLoader, dataset: NodeDataset, round_index: int) -> tuple[PytorchDataLoader, ...]:
    """Training and validation loaders of our own split, in place of Fed-BioMed's `whole` loader of every patient.

    Shuffling and augmentation are seeded by the task's seed, the round and the site; the noise of differential privacy
    and its sampling are not.
    """
    task = dataset.task
    seed = site_seed(dataset, round_index)
    if task.method.privacy.local:
        torch.seed()  # anyone who knows the seed could subtract the noise
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


def require_whole_passes(args: Mapping[str, Any]) -> None:
    """Refuse a round that would not take every training patient: a single step may be one of a single patient.

    Args:
        args: Fed-BioMed's training arguments.

    Raises:
        FederationError: it stops within an epoch.
    """
    partial = [name for name in ("num_updates", "batch_maxnum", "dry_run") if args.get(name)]
    if partial or not args.get("epochs"):
        raise FederationError(
            found=Message(
                "A round of a part of the training patients ({names}).", names=", ".join(partial) or "epochs"
            ),
            needed=Message("Whole passes over all of them."),
            advice=Message("Give a number of epochs only."),
        )


class _Named(dict[str, "Tensor"]):
    """Inputs or targets with a `dtype`, which Opacus reads; of a plain dict it would take the class."""

    dtype = torch.float32


class _Training(Dataset[tuple[Batch, Batch]]):
    """The training patients; Opacus looks at the first one to construct an empty batch."""

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


def _can_veto(task: TrainingTask) -> bool:
    """Sums of an exact fit belong to the coefficients that were asked for; what does not train is only answered."""
    idle = task.network in {STATISTICS, ENSEMBLE} or task.evaluated or task.newton is not None
    return not (idle or task.left_out)


def take_or_veto(network: nn.Module, dataset: NodeDataset, validation: ValidationMetrics) -> None:
    """Judge the aggregate that was received by the site's own validation patients; where it is not taken, go back.

    Raises:
        FederationError: it is not taken in a training with Scaffold, whose corrections belong to it.
    """
    task, folder, losses = dataset.task, folder_of_this_process(), validation.losses
    if folder is None or not _can_veto(task) or losses is None or len(losses) < MINIMUM_CASES:
        return
    experiment = CurrentRequest.get().experiment
    before = read_accepted(folder, experiment)
    vetoed = before is not None and before.vetoes(losses, dataset.limits.veto)
    validation.result |= {"vetoes": float(vetoed), **({} if before is None else before.compared(losses))}
    shared = {key: value for key, value in network.state_dict().items() if not task.method.is_personal(key)}
    if not vetoed and task.trains:
        accept(folder, experiment, shared, losses)
    elif before is not None and task.trains:
        if task.method.aggregation.method == "scaffold":
            raise FederationError(
                found=Message("A model that worsens the loss of the site's validation patients too much."),
                needed=Message("One that worsens it by {count:g} standard errors at most.", count=dataset.limits.veto),
                advice=Message("Look for the site that spoils the model; go on from an earlier round."),
            )
        network.load_state_dict({**before.parameters, CARRIED: shared[CARRIED]}, strict=False)


def shared_parameters(
    dataset: NodeDataset, parameters: dict[str, Tensor], round_index: int, validation: ValidationMetrics
) -> dict[str, Tensor]:
    """What leaves the site: the trained parameters, its statistics or sums of a fit, and the sums of its validation.

    The update is bounded in norm. Under secure aggregation all of it is prepared for the rounding.

    Raises:
        FederationError: secure aggregation would clip a parameter, or a sum cannot be sent.
    """
    task = dataset.task
    masked = task.method.masked
    own = [validation.own if site == node_name(dataset.node.site) else {} for site in task.evaluated]
    sums = [task.carried.encode(one, len(dataset.training), masked=masked) for one in (validation.result, *own)]
    carried = torch.cat(sums)
    if (plan := task.newton) is not None:
        return {**site_reply(dataset, plan, parameters, round_index), CARRIED: carried}
    if dataset.sits_out:
        parameters = {name: dataset.first.get(name, value) for name, value in parameters.items()}
    parameters = bounded(parameters, dataset.first, dataset.limits.update_norm)
    if task.network == STATISTICS:
        parameters = {**parameters, **site_statistics(dataset.node, dataset.training)}
    if masked:
        parameters = quantize(parameters, task.method, site_seed(dataset, round_index))
    return {**parameters, CARRIED: carried}


def require_finite(parameters: Mapping[str, Tensor]) -> None:
    """Refuse parameters that no aggregate must hold.

    Raises:
        FederationError: one is not finite.
    """
    if not isfinite(_norm(parameters.values())):
        raise FederationError(
            found=Message("Parameters that are not finite after local training."),
            needed=Message("Finite parameters."),
            advice=Message("Lower the learning rate, and let the data manager check the node data."),
        )


def bounded(parameters: dict[str, Tensor], first: Mapping[str, Tensor], limit: float) -> dict[str, Tensor]:
    """Parameters whose distance from the first ones is at most `limit` times the norm of these.

    Raises:
        FederationError: a parameter is not finite.
    """
    require_finite(parameters)
    moved = {name: value - first[name].to(value) for name, value in parameters.items() if name in first}
    update, norm = _norm(moved.values()), _norm(first[name] for name in moved)
    if update <= limit * norm:
        return parameters
    scale = limit * norm / update
    return {**parameters, **{name: first[name].to(value) + scale * value for name, value in moved.items()}}


def _norm(values: Iterable[Tensor]) -> float:
    return sqrt(sum(float(value.detach().double().square().sum()) for value in values))


def optimizer(task: TrainingTask, network: nn.Module, round_index: int) -> torch.optim.Optimizer | Optimizer:
    """AdamW at the learning rate of the round; for Scaffold the corrected SGD of declearn, at a constant rate.

    For a task that does not train by gradient, an optimiser whose steps change nothing.
    """
    idle = not task.trains or task.newton is not None
    if idle and task.method.aggregation.method != "scaffold":
        return torch.optim.SGD(network.parameters(), lr=0.0)
    if task.method.aggregation.method == "scaffold":  # whose corrections the researcher expects from every round
        return Optimizer(lr=task.learning_rate, modules=[ScaffoldClientModule()])
    groups = task.parameter_groups(network, round_index)
    return torch.optim.AdamW(groups, weight_decay=task.weight_decay)


def training_loss(network: nn.Module, task: TrainingTask, data: Batch | list[Tensor], target: Batch) -> Tensor:
    """Likelihood, concept supervision and ridge, weighted as the task says."""
    if not task.trains or task.newton is not None:
        return _loss_of_no_patients(network, task)
    if not isinstance(data, dict):  # an empty batch that Opacus drew first, without knowing its structure
        return _loss_of_no_patients(network, task)
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


def _loss_of_no_patients(network: nn.Module, task: TrainingTask) -> Tensor:
    """The loss of an empty batch: with differential privacy it is a step of noise like any other."""
    image = torch.zeros(0, *task.contract.image_shape)
    return _zero(network(image, torch.zeros(0, len(task.contract.inputs))))


def _zero(output: NetworkOutput) -> Tensor:
    return output.hazard_logits.sum() + output.maps.sum()


class ValidationMetrics:
    """Accumulates the validation batches of a round, so that nothing about a single batch leaves the node."""

    def __init__(self, task: TrainingTask, dataset: NodeDataset) -> None:
        self.task = task
        self.patients = len(dataset.validation)
        self.rules = dataset.rules
        plan = task.newton
        self.folds = None if plan is None else site_folds(dataset, plan)
        self.result: dict[str, float] = {"events": float(sum(case.event for case in dataset.node.cases))}
        self.losses: Tensor | None = None  # (n,) by patient, where they are enough for a loss
        self.own: dict[str, float] = {}  # of an evaluation, what is shown of this site alone
        self.outputs: list[tuple[Tensor, ...]] = []
        self.concept_losses: list[float] = []
        self.compares = dataset.sits_out
        self.learned: list[Tensor] = []  # terms of a site that is left out

    def step(self, network: nn.Module, data: Batch, target: Batch) -> None:
        """Add a batch; after the last one, `result` has the metrics of all patients."""
        if self.task.network == STATISTICS:
            return
        network.eval()
        with torch.no_grad():
            output = network(data["image"], data["clinical"])
            if self.folds is not None:
                folds = self.folds[self.seen : self.seen + len(output.score)]
                terms = data["clinical"] * torch.tensor(used_inputs(self.task.network, self.task.contract))
                output = out_of_fold_output(output, terms, network.get_parameter(TRIALS), folds)
            if "fractions" in target:
                loss = concept_loss(output.maps, target["fractions"], target["supervised"])
                self.concept_losses += [float(loss)] * len(output.score)
        self.outputs.append((output.hazard_logits, output.score, target["months"], target["event"]))
        self.learned.append(output.contributions[:, -1:])
        if self.seen >= self.patients:
            self.result |= self._metrics()
            if self.task.evaluated and self.patients >= self.rules.minimum_centre:
                edges = self.task.contract.month_edges  # cells of two sizes would differ by single patients
                self.own = merge_small_cells(self.result, self.rules.minimum_cell, edges, by_time=False)

    @property
    def seen(self) -> int:
        """Number of patients so far."""
        return sum(len(score) for _, score, _, _ in self.outputs)

    def require_complete(self) -> None:
        """Refuse to go on without the validation, of which Fed-BioMed only logs an error.

        Raises:
            FederationError: not every validation patient was validated.
        """
        if self.task.network != STATISTICS and self.seen < self.patients:
            raise FederationError(
                found=Message(
                    "The validation stopped after {seen} of {all} patients.", seen=self.seen, all=self.patients
                ),
                needed=Message("Every validation patient in every round."),
                advice=Message("Let the data manager read node.log in the node's folder."),
            )

    def _metrics(self) -> dict[str, float]:
        """Mean losses, number of patients and their tables, each with enough patients as the site's rules say."""
        hazard_logits, score, months, event = (torch.cat(column) for column in zip(*self.outputs, strict=True))
        edges, metrics = self.task.contract.month_edges, dict[str, float]()
        if self.compares:
            return self._compared(hazard_logits, months, event) if len(score) >= self.rules.minimum_centre else {}
        if len(score) >= self.rules.minimum_losses:
            by_patient = survival_nll_by_patient(hazard_logits, months, event, edges).double().clamp(max=LARGEST_LOSS)
            self.losses = by_patient
            metrics |= {"sites": 1.0, "n": float(len(score)), "loss": float(by_patient.mean())}
            metrics["loss_square"] = float(by_patient.square().mean())
            if self.concept_losses:
                metrics["concept_loss"] = float(np.mean(self.concept_losses))
                metrics["concept_n"] = float(len(score))
        if len(score) >= self.rules.minimum_validation:
            table = RiskTable.of(score.numpy(), *(part.numpy() for part in interval_targets(months, event, edges)))
            outcomes = OutcomeTable.of(score.numpy(), months.numpy(), event.numpy())
            metrics |= table.to_metrics() | outcomes.to_metrics()
        return metrics if self.task.method.masked else merge_small_cells(metrics, self.rules.minimum_cell, edges)

    def _compared(self, hazard_logits: Tensor, months: Tensor, event: Tensor) -> dict[str, float]:
        """Number of patients, mean gain of their log likelihood by the learned term, and its mean square."""
        edges = self.task.contract.month_edges
        with_term, without = (
            survival_nll_by_patient(logits, months, event, edges).double().clamp(max=LARGEST_LOSS)
            for logits in (hazard_logits, hazard_logits - torch.cat(self.learned))
        )
        gain = without - with_term
        return {
            "compared": float(len(gain)),
            "gain": float(gain.mean()),
            "gain_square": float(gain.square().mean()),
        }
