"""The researcher, a process of its own: `python -m training.researcher CONFIG.json`.

Trains the networks of the configuration one after the other on the same nodes with FedAvg (weights: training patients
of each node), prints one JSON object a line for its parent, and leaves `<name>.safetensors` and `<name>.json`
(history) in the output folder. Parameters of single nodes are deleted after every round.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from fedbiomed.researcher.aggregators import FedAverage
from fedbiomed.researcher.federated_workflows import Experiment
from safetensors.torch import save_file

from training import internals_researcher as internals
from training.plan import FedPetPlan
from training.risk_table import pooled
from training.task import Task

if TYPE_CHECKING:
    from collections.abc import Mapping

_START_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What the parent asks for; plain data.

    Attributes:
        tags: of the nodes' data.
        sites: names of the nodes that must answer.
        args: by name of the run, the arguments of its `Task` (`Task.to_args`).
        local_epochs: by name of the run, passes over a node's patients in a round.
        out: folder for weights and histories.
        round_seconds: time limit of a round.
        keep_last_round: also write the nodes' parameters of the last round (`<name>.<site>.safetensors`), for tests.
    """

    tags: list[str]
    sites: list[str]
    args: dict[str, dict[str, str]]
    local_epochs: dict[str, int]
    out: str
    round_seconds: float
    keep_last_round: bool = False


def main(path: Path, plan: type = FedPetPlan) -> None:
    """Run every training of the configuration."""
    config = RunConfig(**json.loads(path.read_text(encoding="utf-8")))
    internals.prepare(config.round_seconds)
    sites = internals.wait_for_nodes(config.tags, len(config.sites), _START_SECONDS)
    _tell("ready", sites=sorted(sites.values()))
    for name in config.args:
        _train(name, config, sites, plan)


def _train(name: str, config: RunConfig, sites: Mapping[str, str], plan: type) -> None:
    task = Task.from_args(config.args[name])
    torch.manual_seed(task.seed)
    experiment = Experiment(
        tags=config.tags,
        training_plan_class=plan,
        model_args=config.args[name],
        training_args=_training_args(task, config.local_epochs[name]),
        round_limit=task.rounds,
        aggregator=FedAverage(),
        retain_full_history=False,
    )
    network = experiment.training_plan().model()
    history = []
    for index in range(task.rounds):
        start = time.monotonic()
        last = index == task.rounds - 1
        experiment.run_once(test_after=last)
        seconds = round(time.monotonic() - start, 2)
        history.append({**_round(task, experiment, index, sites), "seconds": seconds})
        _tell("round", run=name, **history[-1])
        if config.keep_last_round and last:
            _keep_replies(experiment, index, sites, Path(config.out) / name)
        internals.forget_parameters(experiment)
    metrics = internals.validation_metrics(experiment, task.rounds + 1)
    final = {sites[node]: values for node, values in metrics.items()}
    out = Path(config.out)
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, out / f"{name}.safetensors")
    (out / f"{name}.json").write_text(json.dumps({"rounds": history, "final": final}), encoding="utf-8")


def _training_args(task: Task, local_epochs: int) -> dict[str, Any]:
    return {
        "loader_args": {"batch_size": task.batch_size, "num_workers": 0},  # workers would fork after gRPC and crash
        "optimizer_args": {"lr": task.learning_rate},
        "epochs": local_epochs,
        "test_ratio": task.validation_fraction,  # the plan replaces Fed-BioMed's split by its own
        "test_on_global_updates": True,
        "random_seed": task.seed,
        "log_interval": 1_000_000,  # first and last batch only
    }


def _round(task: Task, experiment: Experiment, index: int, sites: Mapping[str, str]) -> dict[str, Any]:
    """What happened in a round: patients trained on, and the validation of the model that the round started from."""
    replies = experiment.training_replies()[index]
    metrics = internals.validation_metrics(experiment, index + 1)
    return {
        "round": index + 1,
        "patients": {sites[node]: reply["sample_size"] for node, reply in replies.items()},
        "validation": {sites[node]: _brief(values) for node, values in metrics.items()},
        "concordance": pooled(metrics.values(), len(task.contract.month_edges) - 1).concordance(),
    }


def _brief(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: metrics[name] for name in ("loss", "n", "concept_loss") if name in metrics}


def _keep_replies(experiment: Experiment, index: int, sites: Mapping[str, str], stem: Path) -> None:
    for node, parameters in internals.node_parameters(experiment, index).items():
        save_file(parameters, stem.with_name(f"{stem.name}.{sites[node]}.safetensors"))


def _tell(event: str, **facts: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
