"""The trainings that make one model: one a seed, the validation of their average, and the clinical baseline."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fedpet.errors import FederationError
from fedpet.messages import Message
from inference.network import ENSEMBLE
from training.method import Aggregation, Method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from training.initial import Initial
    from training.task import Task

MODEL, BASELINE = "model", "clinical"
_BASELINE_EPOCHS = 2  # local epochs of the clinical baseline for each of the model's: its steps cost nothing


@dataclass(frozen=True)
class Run:
    """One training of the federation."""

    task: Task
    local_epochs: int


def plan_runs(model: Task, local_epochs: int, seeds: Sequence[int]) -> dict[str, Run]:
    """The runs by name, in their order.

    One seed: "model". Several: "model-1", "model-2" … and then "model", in which the sites validate the average of
    those and train nothing. At last the clinical baseline by the same federation, unless parameters are personal.

    Raises:
        FederationError: several seeds with personal parameters.
    """
    if model.method.aggregation.personal and len(seeds) > 1:
        raise FederationError(
            found=Message("{count} seeds with personal parameters.", count=len(seeds)),
            needed=Message("One seed: an average of models needs all of their parameters."),
            advice=Message("Leave personal out, or give one seed."),
        )
    trainings = [replace(model, seed=seed) for seed in seeds]
    if len(seeds) == 1:
        runs = {MODEL: Run(trainings[0], local_epochs)}
    else:
        runs = {f"{MODEL}-{number}": Run(task, local_epochs) for number, task in enumerate(trainings, start=1)}
        runs[MODEL] = Run(_average(trainings[0], len(seeds)), 1)
    if not model.method.aggregation.personal:
        baseline = replace(trainings[0], network="clinical", network_config={}, augment=False, frozen=())
        runs[BASELINE] = Run(baseline, _BASELINE_EPOCHS * local_epochs)
    return runs


def to_config(runs: Mapping[str, Run], results: Path, initial: Initial | None) -> dict[str, Any]:
    """The part of the researcher's configuration that says what is trained; writes first parameters to `results`."""
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


def _average(member: Task, count: int) -> Task:
    """A round in which the sites validate, and send back, the average of `count` networks."""
    config = {"network": member.network, "members": count, "config": dict(member.network_config)}
    privacy = member.method.privacy.model_copy(update={"clip": None, "noise": None})
    method = Method(aggregation=Aggregation(), privacy=privacy)
    return replace(member, network=ENSEMBLE, network_config=config, rounds=1, augment=False, frozen=(), method=method)
