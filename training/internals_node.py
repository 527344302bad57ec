"""A node's own files: component, data, training plans.

As a program (`python -m training.internals_node SPEC.json`) it provisions all nodes of a rehearsal.
With `training.internals_researcher`, the only place that uses names which Fed-BioMed does not promise to keep (measured
on 6.4.1); `tests/test_training_internals.py` pins them, so that an upgrade fails loudly.

Fed-BioMed's database connector is one for the process: a process works on one node.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedbiomed.node.config import NodeComponent, NodeConfig
from fedbiomed.node.dataset_manager import DatasetManager
from fedbiomed.node.training_plan_security_manager import TrainingPlanSecurityManager

from training.plan import FedPetPlan

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECURITY = {
    "training_plan_approval": "True",
    "allow_default_training_plans": "False",
    "allow_federated_analytics": "False",
    "allow_preproc": "False",
    "secure_aggregation": "True",
    "secagg_insecure_validation": "True",  # the nodes' sum of a known number shows partial or mixed masks
}
_NODE = "fedbiomed.node.node_pm"


def start_command(folder: Path, *, gpu: bool = False, gpu_number: int | None = None) -> list[str]:
    """The command of a node as one process (Fed-BioMed's own makes two)."""
    args = {"gpu": gpu, "gpu_num": gpu_number, "gpu_only": False, "debug": False}
    return [sys.executable, "-m", _NODE, "--config", str(folder), "--node-args", json.dumps(args)]


def create(folder: Path, name: str, host: str, port: int, *, force_masks: bool) -> None:
    """Make the component of a node: its identity, its certificate, and only what fedpet needs switched on."""
    config = NodeComponent().initiate(root=str(folder), alias=name)
    for key, value in {**_SECURITY, "force_secure_aggregation": str(force_masks)}.items():
        config.set("security", key, value)
    config.set("researcher", "ip", host)
    config.set("researcher", "port", str(port))
    config.write()


def settings(folder: Path) -> dict[str, str]:
    """Name, id, researcher's address and security switches of a node."""
    config = NodeConfig(root=str(folder))
    keys = ("training_plan_approval", "force_secure_aggregation", "allow_federated_analytics", "allow_preproc")
    return {
        "name": config.get("default", "name"),
        "id": config.get("default", "id"),
        "host": config.get("researcher", "ip"),
        "port": config.get("researcher", "port"),
        **{key: config.get("security", key) for key in keys},
    }


def register_data(folder: Path, data: Path, name: str, tags: list[str], facts: Mapping[str, Any]) -> None:
    """Offer a folder of node data, in place of what was offered before under the same tags.

    Args:
        folder: of the node.
        data: the node data.
        name: of the site, as the researcher sees it.
        tags: under which the researcher looks for it.
        facts: what the researcher learns of it.
    """
    manager = DatasetManager(path=_database(folder))
    known = None
    for one in offered(folder, tags):
        known = one["dataset_id"]
        manager.delete_dataset_by_id(known)
    manager.add_database(
        name=name,
        data_type="custom",
        tags=tags,
        description=json.dumps(dict(facts)),
        path=str(data),
        dataset_id=known,
    )


def offered(folder: Path, tags: list[str]) -> list[dict[str, Any]]:
    """The data that a node offers under the tags."""
    datasets = DatasetManager(path=_database(folder)).list_my_datasets(verbose=False)
    return [one for one in datasets if sorted(one["tags"]) == sorted(tags)]


def plans(folder: Path) -> list[dict[str, Any]]:
    """Training plans that were registered or asked for, with their text."""
    manager = _plans(folder)
    listed = manager.list_training_plans(verbose=False)
    return [manager.get_training_plan_by_id(one["training_plan_id"], secure=False) for one in listed]


def installed_plan() -> str:
    """The text of the plan of this installation, as the researcher will send it."""
    text: str = FedPetPlan().source()
    return text


def plan_hash(folder: Path, text: str) -> str:
    """The hash by which the node knows a plan: of its text without comments and layout."""
    found: str = _plans(folder)._create_hash(text, from_string=True)[0]  # noqa: SLF001  the node's own, to compare
    return found


def approve_installed(folder: Path) -> None:
    """Register and approve the plan of this installation."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "plan.py")
        path.write_text(installed_plan(), encoding="utf-8")
        _plans(folder).register_training_plan(name="fedpet", description="fedpet training plan", path=str(path))


def approve(folder: Path, plan_id: str) -> None:
    """Approve a plan that the node knows."""
    _plans(folder).approve_training_plan(plan_id)


def _plans(folder: Path) -> TrainingPlanSecurityManager:
    config = NodeConfig(root=str(folder))
    return TrainingPlanSecurityManager(
        db=_database(folder),
        node_id=config.get("default", "id"),
        node_name=config.get("default", "name"),
        hashing=config.get("security", "hashing_algorithm"),
        tp_approval=True,
    )


def _database(folder: Path) -> str:
    config = NodeConfig(root=str(folder))
    return os.path.normpath(Path(config.root, "etc", config.get("default", "db")))


def provision(spec: dict[str, Any]) -> None:
    """Create one component a node, register its data, and approve the training plan, each in a process of its own.

    Args:
        spec: {"nodes": {name: {"path", "data", "facts"}}, "tags": [...], "host", "port"}.

    Raises:
        RuntimeError: a node could not be provisioned.
    """
    children = {}
    for name, node in spec["nodes"].items():
        child = os.fork()
        if child == 0:
            status = 1
            try:
                _provision_node(name, node, spec)
                status = 0
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        children[name] = child
    failed = [name for name, child in children.items() if os.waitpid(child, 0)[1]]
    if failed:
        raise RuntimeError(f"provisioning failed for {', '.join(failed)}")


def _provision_node(name: str, node: dict[str, Any], spec: dict[str, Any]) -> None:
    folder = Path(node["path"])
    create(folder, name, spec["host"], spec["port"], force_masks=False)
    register_data(folder, Path(node["data"]), name, spec["tags"], node["facts"])
    approve_installed(folder)


if __name__ == "__main__":
    provision(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
