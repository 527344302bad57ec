"""A coordinating centre that asks for what tells of single patients, as a program with a configuration file.

The configuration is that of `training.coordinator.researcher` with one more entry, `attacks`: by name, the entries that
differ. The plan is the approved one and the nodes are as they are; only what is asked is another. Every attack is
reported as {"event": "attack", "name", "refused": the reason or null}. One with "honest" has the software as it is.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from fedpet.core.errors import FedpetError
from training.coordinator import experiment as experiments
from training.coordinator import fedbiomed_researcher as internals
from training.coordinator import researcher
from training.coordinator.events import emit
from training.coordinator.sites import RunConfig
from training.node.training_plan import FedPetPlan
from training.task.egress import RECEIVED
from training.task.task import TrainingTask

_attempt, _training_args, _require_sound = internals.attempt, experiments.training_args, TrainingTask.require_sound


def attempt_twice(experiment, *, renew=False):
    """The same round under the same masks once more: the difference of two answers would be the site's own."""
    failures = _attempt(experiment, renew=renew)
    if failures is None:
        experiment._round_current -= 1
        failures = _attempt(experiment)
    return failures


def one_step(*args, **kwargs):
    """A round of a single step."""
    return {**_training_args(*args, **kwargs), "epochs": None, "num_updates": 1}


def attack(config, changes):
    tricks, honest = changes.pop("tricks", []), changes.pop("honest", False)
    TrainingTask.require_sound = _require_sound if honest else lambda *_: None  # a curious one's software is not ours
    internals.attempt = attempt_twice if "masks" in tricks else _attempt
    experiments.training_args = one_step if "step" in tricks else _training_args
    try:
        researcher._run(RunConfig(**{**config, **changes}), FedPetPlan)
    except FedpetError as error:
        return str(error)
    return None


if __name__ == "__main__":
    config = json.loads(Path(sys.argv[1]).read_text())
    attacks = config.pop("attacks")
    internals.record_received(Path(config["out"], RECEIVED))
    for name, changes in attacks.items():
        emit("attack", name=name, refused=attack(config, changes))
