"""Every use of a name that Fed-BioMed does not promise to keep, in one place, measured on 6.4.1.

`tests/test_training_internals.py` pins these names, so that an upgrade fails loudly. Runs on its own to provision:
`python -m training.fedbiomed_internals SPEC.json` (one process for all nodes: importing Fed-BioMed takes seconds).
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

VERSION = "6.4.1"
NODE_MODULE = "fedbiomed.node.node_pm"  # one process a node; the command line's `node start` makes two
NODE_READY = "Starting task manager"  # what a node logs once it takes work
NODE_ARGS = {"gpu": False, "gpu_num": None, "gpu_only": False, "debug": False}


def provision(spec: dict[str, Any]) -> None:
    """Create one component a node, register its data, and approve the training plan by its hash.

    TinyDB's connector is one for the process, so each node is provisioned in a fork of its own.

    Args:
        spec: {"nodes": {name: {"path", "data"}}, "tags": [...], "plan": where to write the plan that is approved}.

    Raises:
        RuntimeError: a node could not be provisioned.
    """
    import fedbiomed.node.config
    import fedbiomed.node.dataset_manager
    import fedbiomed.node.training_plan_security_manager  # noqa: F401  paid for once, before the forks

    plan = Path(spec["plan"])
    plan.write_text(plan_source(), encoding="utf-8")
    children = {}
    for name, node in spec["nodes"].items():
        child = os.fork()
        if child == 0:
            status = 1
            try:
                _provision_node(name, node, spec["tags"], plan)
                status = 0
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        children[name] = child
    failed = [name for name, child in children.items() if os.waitpid(child, 0)[1]]
    if failed:
        raise RuntimeError(f"provisioning failed for {', '.join(failed)}")


def _provision_node(name: str, node: dict[str, str], tags: list[str], plan: Path) -> None:
    from fedbiomed.node.config import NodeComponent
    from fedbiomed.node.dataset_manager import DatasetManager
    from fedbiomed.node.training_plan_security_manager import TrainingPlanSecurityManager

    config = NodeComponent().initiate(root=node["path"], alias=name)
    config.set("security", "training_plan_approval", "True")
    config.set("security", "allow_default_training_plans", "False")
    config.set("security", "allow_federated_analytics", "False")
    config.set("security", "allow_preproc", "False")
    config.write()
    database = os.path.abspath(Path(config.root, "etc", config.get("default", "db")))  # noqa: PTH100  keeps ".."
    DatasetManager(path=database, min_samples=config.getint("security", "minimum_samples")).add_database(
        name=name, data_type="custom", tags=tags, description="fedpet node data", path=node["data"]
    )
    TrainingPlanSecurityManager(
        db=database,
        node_id=config.get("default", "id"),
        node_name=name,
        hashing=config.get("security", "hashing_algorithm"),
        tp_approval=True,
    ).register_training_plan(name="fedpet", description="fedpet training plan", path=str(plan))


def plan_source() -> str:
    """The text of the training plan as the researcher will send it."""
    from training.plan import FedPetPlan

    return str(FedPetPlan().source())


def wait_for_nodes(tags: list[str], count: int, timeout: float) -> dict[str, str]:
    """Wait until `count` nodes answer to the tags; the names of their data by Fed-BioMed id.

    Raises:
        TimeoutError: fewer answered in `timeout` seconds.
    """
    from fedbiomed.researcher.config import config
    from fedbiomed.researcher.requests import Requests

    requests = Requests(config)
    deadline = time.monotonic() + timeout
    while len(found := requests.search(tags)) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(found)} of {count} nodes answered")
        time.sleep(1.0)
    return {node: datasets[0]["name"] for node, datasets in found.items()}


def prepare(round_seconds: float) -> None:
    """Make Fed-BioMed raise its errors instead of ending the process, and limit the time of every training request.

    Without the limit, a node that leaves and returns within a round blocks it for ever.
    """
    from fedbiomed.researcher.federated_workflows.jobs import TrainingJob
    from fedbiomed.researcher.requests import StopOnTimeout

    os.environ["FBM_DEBUG"] = "1"  # after the imports, which would set the log level by it
    start = TrainingJob.__init__

    def limited(self: Any, *args: Any, **kwargs: Any) -> None:
        start(self, *args, **kwargs)
        self._policies = [StopOnTimeout(timeout=int(round_seconds))]

    TrainingJob.__init__ = limited


def validation_metrics(experiment: Any, round_number: int) -> dict[str, dict[str, float]]:
    """The last validation on the aggregated model of a round (1 is the first, rounds + 1 the final), by node id."""
    store = experiment.monitor()._metric_store  # noqa: SLF001  metrics are in no public reply
    return {
        node: {
            name: rounds[round_number]["values"][-1]
            for name, rounds in phases["testing_global_updates"].items()
            if rounds.get(round_number, {}).get("values")
        }
        for node, phases in store.items()
    }


def node_parameters(experiment: Any, round_index: int) -> dict[str, dict[str, Any]]:
    """The parameters that each node sent in a round, by node id."""
    from fedbiomed.common.serializer import Serializer

    replies = experiment.training_replies()[round_index]
    return {node: dict(Serializer.load(reply["params_path"])) for node, reply in replies.items()}


def forget_parameters(experiment: Any) -> None:
    """Delete the nodes' parameters, which the researcher keeps on disk in clear after every round."""
    for path in Path(experiment.experimentation_path()).glob("params_*.mpk"):
        path.unlink()


if __name__ == "__main__":
    provision(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
