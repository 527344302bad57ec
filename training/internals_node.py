"""Provisioning of nodes: `python -m training.internals_node SPEC.json`, one process for all nodes of a machine.

With `training.internals_researcher`, the only place that uses names which Fed-BioMed does not promise to keep (measured
on 6.4.1); `tests/test_training_internals.py` pins them, so that an upgrade fails loudly.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from fedbiomed.node.config import NodeComponent
from fedbiomed.node.dataset_manager import DatasetManager
from fedbiomed.node.training_plan_security_manager import TrainingPlanSecurityManager

from training.plan import FedPetPlan

_SECURITY = {
    "training_plan_approval": "True",
    "allow_default_training_plans": "False",
    "allow_federated_analytics": "False",
    "allow_preproc": "False",
}


def provision(spec: dict[str, Any]) -> None:
    """Create one component a node, register its data, and approve the training plan by its hash.

    Fed-BioMed's database connector is one for the process, so each node is provisioned in a fork of its own.

    Args:
        spec: {"nodes": {name: {"path", "data"}}, "tags": [...], "plan": where to write the plan that is approved}.

    Raises:
        RuntimeError: a node could not be provisioned.
    """
    plan = Path(spec["plan"])
    plan.write_text(FedPetPlan().source(), encoding="utf-8")  # as the researcher will send it
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
    config = NodeComponent().initiate(root=node["path"], alias=name)
    for key, value in _SECURITY.items():
        config.set("security", key, value)
    config.write()
    database = os.path.normpath(Path(config.root, "etc", config.get("default", "db")))
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


if __name__ == "__main__":
    provision(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
