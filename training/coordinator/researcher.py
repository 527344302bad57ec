"""The researcher, a process of its own: `python -m training.coordinator.researcher CONFIG.json`.

Trains the networks of the configuration one after the other on the same nodes, prints one JSON object a line for its
parent process, and writes `<name>.safetensors`, `<name>.json` (history), `sites.json` (what the nodes describe of their
data) and `plan.py` to the output folder. Parameters of single nodes are deleted after every round. A breakpoint is
written after every round, at which `resume` continues.

A round counts only if every selected site has trained; otherwise it is repeated with the remaining sites.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from fedpet.core.errors import FedpetError
from training.coordinator import fedbiomed_researcher as internals
from training.coordinator.events import emit, emit_validation
from training.coordinator.sites import RunConfig, Sites, wait_for_sites
from training.coordinator.training_run import TrainingRun
from training.node.process import end_with_parent
from training.node.training_plan import FedPetPlan
from training.task.egress import RECEIVED
from training.task.runs import is_complete
from training.task.task import TrainingTask


def main(path: Path, plan: type = FedPetPlan) -> None:
    """Run every training of a configuration file.

    Args:
        path: JSON of a `RunConfig`.
        plan: the training plan that is sent to the nodes.
    """
    config = RunConfig(**json.loads(path.read_text(encoding="utf-8")))
    try:
        _run(config, plan)
    except FedpetError as error:
        emit("failed", found=error.found.to_json(), needed=error.needed.to_json(), advice=error.advice.to_json())
        sys.exit(1)


def _run(config: RunConfig, plan: type) -> None:
    internals.prepare(config.round_seconds)
    if config.record:
        internals.record_received(Path(config.out, RECEIVED))
    if config.certificate:
        internals.install_certificate(*map(Path, config.certificate))
    tasks = {name: TrainingTask.from_args(args) for name, args in config.args.items()}
    for task in tasks.values():
        task.require_sound(config.minimum)
    emit("waiting", certificate=internals.certificate_fingerprint())
    data = wait_for_sites(config, next(iter(tasks.values())).contract.fingerprint)
    facts = {one["name"]: one["description"] for one in data.values()}
    Path(config.out, "sites.json").write_text(json.dumps(facts), encoding="utf-8")
    emit("ready", sites=sorted(facts), facts=facts)
    sites = Sites({node: one["name"] for node, one in data.items()}, config)
    for name, task in tasks.items():
        history = Path(config.out, f"{name}.json")
        if not (config.resume and is_complete(history)):
            TrainingRun(name, task, config, sites, data, plan).run()
        emit_validation(name, task, json.loads(history.read_text(encoding="utf-8"))["final"])


if __name__ == "__main__":
    end_with_parent()
    main(Path(sys.argv[1]))
