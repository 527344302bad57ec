"""The trainings that make one model: one a seed, the validation of their average, and the clinical baseline."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from fedpet.core.errors import FederationError
from fedpet.core.messages import Message
from inference.network import ENSEMBLE
from training.task.method import MASKED_SITES, Aggregation, FederatedMethod
from training.task.newton_fit import MINIMUM_ROUNDS
from training.task.statistics import STATISTICS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from training.task.initial_parameters import InitialParameters
    from training.task.task import TrainingTask

MODEL, BASELINE = "model", "clinical"
OVERALL_SURVIVAL: Final = "overall_survival"  # the same exact fit with death as the only event
EVALUATION = "evaluation"  # of a finished model; not among the trainings
AGREEMENT = "agreement"  # before all others: whether a site's patients contradict the others' model
WITHOUT_MODEL = frozenset({AGREEMENT, STATISTICS})  # runs that end without a model to validate
_EXACT_BATCH = 64  # patients; only the validation has batches
_BASELINE_EPOCHS = 2  # local epochs of the clinical baseline for each of the model's: its steps are cheap


@dataclass(frozen=True)
class Run:
    """One training of the federation."""

    task: TrainingTask
    local_epochs: int


def plan_runs(
    model: TrainingTask, local_epochs: int, seeds: Sequence[int], *, overall_survival: bool = False
) -> dict[str, Run]:
    """The runs by name, in their order.

    One seed: "model". Several: "model-1", "model-2" … and then "model", in which the sites validate the average of
    those without training. Then comes the clinical baseline, unless parameters are personal, and where it is asked for
    the fit of overall survival.

    Raises:
        FederationError: several seeds with personal parameters, or with Newton's method; overall survival without it.
    """
    if overall_survival and model.newton is None:
        raise FederationError(
            found=Message("Overall survival with the network “{network}”.", network=model.network),
            needed=Message("The network “table”, fitted by Newton's method."),
            advice=Message("Take this network, or leave overall survival out."),
        )
    if model.method.aggregation.personal and len(seeds) > 1:
        raise FederationError(
            found=Message("{count} seeds with personal parameters.", count=len(seeds)),
            needed=Message("One seed: an average of models needs all of their parameters."),
            advice=Message("Remove personal, or give one seed."),
        )
    if model.newton is not None and len(seeds) > 1:
        raise FederationError(
            found=Message("{count} seeds with Newton's method.", count=len(seeds)),
            needed=Message("One: nothing is drawn, and every seed would give the same model."),
            advice=Message("Give one seed."),
        )
    trainings = [replace(model, seed=seed) for seed in seeds]
    if len(seeds) == 1:
        runs = {MODEL: Run(trainings[0], local_epochs)}
    else:
        runs = {f"{MODEL}-{number}": Run(task, local_epochs) for number, task in enumerate(trainings, start=1)}
        runs[MODEL] = Run(_average(trainings[0], len(seeds)), 1)
    if not model.method.aggregation.personal:
        baseline = replace(trainings[0], network="clinical", network_config={}, augment=False, frozen=())
        runs[BASELINE] = Run(baseline, 1 if model.newton is not None else _BASELINE_EPOCHS * local_epochs)
    if overall_survival:
        runs[OVERALL_SURVIVAL] = Run(replace(trainings[0], endpoint="overall_survival"), 1)
    return _with_planned_epochs(runs)


def agreement_run(model: TrainingTask, sites: int, minimum: int) -> dict[str, Run]:
    """The run that compares the sites before the others (`training.task.agreement`): an exact fit of clinical inputs.

    None where no site could be left out, with differential privacy, for its sums carry no noise, and where the model is
    an exact fit itself, whose own rounds compare the sites.

    Args:
        model: the task of the model.
        sites: that are expected.
        minimum: of sites in a round.
    """
    method = model.method
    if sites <= max(minimum, MASKED_SITES) or method.privacy.local or model.newton is not None:
        return {}
    exact = method.model_copy(update={"aggregation": Aggregation(method="newton")})
    plain = replace(model, network="clinical", network_config={}, augment=False, frozen=(), method=exact)
    return {AGREEMENT: Run(replace(plain, rounds=MINIMUM_ROUNDS, batch_size=_EXACT_BATCH), 1)}


def _with_planned_epochs(runs: dict[str, Run]) -> dict[str, Run]:
    """Every training with the passes over a site's patients that it and those after it will take."""
    epochs = {name: run.task.rounds * run.local_epochs if run.task.trains else 0 for name, run in runs.items()}
    planned, left = {}, sum(epochs.values())
    for name, run in runs.items():
        planned[name] = replace(run, task=replace(run.task, planned_epochs=left))
        left -= epochs[name]
    return planned


def is_complete(history: Path) -> bool:
    """Whether a run has ended with everything that a bundle needs: all rounds, and the validation of its model.

    Args:
        history: the JSON file that the researcher writes when a run has ended, named by the run.
    """
    if not history.exists():
        return False
    return history.stem in WITHOUT_MODEL or bool(json.loads(history.read_text(encoding="utf-8"))["final"])


def to_config(runs: Mapping[str, Run], results: Path, initial: InitialParameters | None) -> dict[str, Any]:
    """The part of the researcher's configuration about the runs; writes first parameters to `results`."""
    averaged = members(runs)
    return {
        "args": {name: run.task.to_args() for name, run in runs.items()},
        "local_epochs": {name: run.local_epochs for name, run in runs.items()},
        "members": averaged,
        "initial": initial.files(averaged, results) if initial else {},
        "out": str(results),
    }


def members(runs: Mapping[str, Run]) -> list[str]:
    """Names of the trainings that the model averages; the model's own where there is one."""
    return [name for name in runs if name.startswith(f"{MODEL}-")] or [MODEL]


def _average(member: TrainingTask, count: int) -> TrainingTask:
    """A round in which the sites validate the average of `count` networks and send it back unchanged."""
    config = {"network": member.network, "members": count, "config": dict(member.network_config)}
    privacy = member.method.privacy.model_copy(update={"clip": None, "noise": None})
    method = FederatedMethod(aggregation=Aggregation(), privacy=privacy)
    return replace(member, network=ENSEMBLE, network_config=config, rounds=1, augment=False, frozen=(), method=method)
