"""The learned term and its gate in one process: what a federation gives, with the nodes' own steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from training.evaluation.in_process_fedavg import dataset_of, fit, validate
from training.evaluation.in_process_newton import fit_newton
from training.task.learned_term import GateResult

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from training.data.node_data import Patients
    from training.evaluation.in_process_fedavg import Fitted
    from training.task.learned_term import LearnedTerm
    from training.task.task import TrainingTask


def fit_learned_term(
    table: TrainingTask, learned: LearnedTerm, centres: Sequence[Patients], *, left_out: str = ""
) -> tuple[Fitted, list[dict[str, float]]]:
    """Fit the table and train the term beside it.

    Args:
        table: its exact fit, by an input contract with crops.
        learned: how the term is trained.
        centres: patients of each centre.
        left_out: name of the centre that the term does not see; "" for none.

    Returns:
        The network with its recalibration, and what each centre validates of it.
    """
    return _train(table, learned, centres, fit_newton(table, centres)[0], left_out)


def gate_in_process(table: TrainingTask, learned: LearnedTerm, centres: Sequence[Patients]) -> GateResult:
    """Leave out each centre in turn; arguments as of `fit_learned_term`."""
    fitted, _ = fit_newton(table, centres)
    return GateResult.of({one.site: _train(table, learned, centres, fitted, one.site)[1] for one in centres})


def _train(
    table: TrainingTask, learned: LearnedTerm, centres: Sequence[Patients], fitted: Fitted, left_out: str
) -> tuple[Fitted, list[dict[str, float]]]:
    task = learned.task(table, left_out)
    trained = fit(task, centres, local_epochs=learned.local_epochs, initial=_initial(task, fitted.network.state_dict()))
    final = [validate(trained.network, task, dataset_of(task, one), task.rounds) for one in centres]
    return trained, final


def _initial(task: TrainingTask, table: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Fresh parameters with those of the fitted table among them."""
    torch.manual_seed(task.seed)
    return {**task.build().state_dict(), **table}
