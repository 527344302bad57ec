"""A node's own files: component, data, training plans.

As a program (`python -m training.node.fedbiomed_node SPEC.json`) it provisions all nodes of a simulation. This
module and `training.coordinator.fedbiomed_researcher` are the only ones that use private names of Fed-BioMed (measured
on 6.4.1); `tests/training/node/test_fedbiomed_names.py` pins them, so that an upgrade fails loudly.

Fed-BioMed has one database connector a process: a process can work on one node only. Its modules are imported where
they are used: the plan alone takes seconds, which most commands of a node do without.
"""

from __future__ import annotations

import ast
import json
import os
import sys
import tempfile
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.node.admission import CurrentRequest, RoundRequest
from training.node.policy import OPEN_POLICY, write_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fedbiomed.node.config import NodeConfig
    from fedbiomed.node.dataset_manager import DatasetManager
    from fedbiomed.node.round import Round
    from fedbiomed.node.training_plan_security_manager import TrainingPlanSecurityManager

_SECURITY = {
    "training_plan_approval": "True",
    "allow_default_training_plans": "False",
    "allow_federated_analytics": "False",
    "allow_preproc": "False",
    "secure_aggregation": "True",
    "secagg_insecure_validation": "True",  # the nodes' sum of a known number reveals partial or mixed masks
}
_NODE = "training.node.process"
_IMPORTS = "init_dependencies"  # of a plan: its imports on the node
_PREPENDED = (  # those of Fed-BioMed's own plan, which come first
    "import torch",
    "import torch.nn as nn",
    "import torch.nn.functional as F",
    "from fedbiomed.common.training_plans import TorchTrainingPlan",
    "from fedbiomed.common.datamanager import DataManager",
    "from fedbiomed.common.constants import ProcessTypes",
    "from fedbiomed.common.dataloader import PytorchDataLoader",
    "from torchvision import datasets, transforms",
)
_RESEARCHER = "RESEARCHER_"  # beginning of its id, which may be among the parties


def start_command(folder: Path, *, gpu: bool = False, gpu_number: int | None = None) -> list[str]:
    """The command that runs a node as one process (Fed-BioMed's own command starts two)."""
    args = {"gpu": gpu, "gpu_num": gpu_number, "gpu_only": False, "debug": False}
    return [sys.executable, "-m", _NODE, "--config", str(folder), "--node-args", json.dumps(args)]


def create(folder: Path, name: str, host: str, port: int, *, force_masks: bool) -> None:
    """Create the component of a node: its identity, its certificate, and only those features that fedpet needs."""
    from fedbiomed.node.config import NodeComponent

    config = NodeComponent().initiate(root=str(folder), alias=name)
    for key, value in {**_SECURITY, "force_secure_aggregation": str(force_masks)}.items():
        config.set("security", key, value)
    config.set("researcher", "ip", host)
    config.set("researcher", "port", str(port))
    config.write()


def watch_requests() -> None:
    """Let this process, a node, know of every round who takes part and by which masks (`CurrentRequest`)."""
    from fedbiomed.node import round as node_round

    secagg, run = node_round.SecaggRound, node_round.Round.run_model_training

    class WatchedSecagg(secagg):  # type: ignore[misc, valid-type]  # Fed-BioMed publishes no types
        """Records the parties of the masks, as this node knows them, and not as the request names them."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            node = CurrentRequest.get()
            if self.use_secagg:
                context = getattr(self.scheme, "_secagg_dh", None) or self.scheme._secagg_servkey  # noqa: SLF001  in no public call
                parties = tuple(party for party in context["parties"] if not party.startswith(_RESEARCHER))
                secrets = sha256(repr(sorted(context["context"].items())).encode()).hexdigest()  # its id stays the same
                CurrentRequest.set(replace(node, parties=parties, masks=f"{secrets}:{node.masks}"))
            else:
                CurrentRequest.set(replace(node, masks=""))

    def run_watched(self: Round, *args: Any, **kwargs: Any) -> object:
        tags = tuple(self.dataset_entry["tags"])
        asked = RoundRequest(self._node_id, masks=str(self._round), tags=tags, experiment=self.experiment_id)
        CurrentRequest.set(asked)  # completed by WatchedSecagg
        return run(self, *args, **kwargs)

    node_round.SecaggRound = WatchedSecagg
    node_round.Round.run_model_training = run_watched


def settings(folder: Path) -> dict[str, str]:
    """Name, id, researcher's address and security switches of a node."""
    config = _config(folder)
    keys = ("training_plan_approval", "force_secure_aggregation", "allow_federated_analytics", "allow_preproc")
    return {
        "name": config.get("default", "name"),
        "id": config.get("default", "id"),
        "host": config.get("researcher", "ip"),
        "port": config.get("researcher", "port"),
        **{key: config.get("security", key) for key in keys},
    }


def register_data(folder: Path, data: Path, name: str, tags: list[str], facts: Mapping[str, Any]) -> None:
    """Offer a folder of node data, in place of the one registered before under the same tags.

    Args:
        folder: of the node.
        data: the node data.
        name: of the site, as the researcher sees it.
        tags: under which the researcher looks for it.
        facts: what the node describes of it to the researcher.
    """
    manager = _datasets(folder)
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
    datasets = _datasets(folder).list_my_datasets(verbose=False)
    return [one for one in datasets if sorted(one["tags"]) == sorted(tags)]


def plans(folder: Path) -> list[dict[str, Any]]:
    """Training plans that were registered here or sent by a researcher, with their text."""
    manager = _plans(folder)
    listed = manager.list_training_plans(verbose=False)
    return [manager.get_training_plan_by_id(one["training_plan_id"], secure=False) for one in listed]


def installed_plan() -> str:
    """The text of the plan of this installation, as the researcher will send it; read without running it.

    Where Fed-BioMed made another text of the plan, its hash would be another one and the node would refuse it.
    """
    text = Path(__file__).with_name("training_plan.py").read_text(encoding="utf-8")
    (plan,) = (node for node in ast.parse(text).body if isinstance(node, ast.ClassDef))
    imports = next(node for node in plan.body if isinstance(node, ast.FunctionDef) and node.name == _IMPORTS)
    (own,) = (ast.literal_eval(node.value) for node in imports.body if isinstance(node, ast.Return) and node.value)
    lines = "".join(text.splitlines(keepends=True)[plan.lineno - 1 : plan.end_lineno])
    return "\n".join(dict.fromkeys((*_PREPENDED, *own))) + "\n" + lines


def plan_hash(folder: Path, text: str) -> str:
    """The hash by which the node identifies a plan: of its text without comments and layout."""
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


def _config(folder: Path) -> NodeConfig:
    from fedbiomed.node.config import NodeConfig

    return NodeConfig(root=str(folder))


def _datasets(folder: Path) -> DatasetManager:
    from fedbiomed.node.dataset_manager import DatasetManager

    return DatasetManager(path=_database(folder))


def _plans(folder: Path) -> TrainingPlanSecurityManager:
    from fedbiomed.node.training_plan_security_manager import TrainingPlanSecurityManager

    config = _config(folder)
    return TrainingPlanSecurityManager(
        db=_database(folder),
        node_id=config.get("default", "id"),
        node_name=config.get("default", "name"),
        hashing=config.get("security", "hashing_algorithm"),
        tp_approval=True,
    )


def _database(folder: Path) -> str:
    config = _config(folder)
    return os.path.normpath(Path(config.root, "etc", config.get("default", "db")))


def provision(spec: dict[str, Any]) -> None:
    """Create one component a node, register its data, and approve the training plan, each in a process of its own.

    Args:
        spec: {"nodes": {name: {"path", "data", "facts"}}, "tags": [...], "host", "port"}.

    Raises:
        RuntimeError: a node could not be provisioned.
    """
    run_in_children({name: partial(_provision_node, name, node, spec) for name, node in spec["nodes"].items()})


def run_in_children(calls: Mapping[str, Callable[[], None]]) -> None:
    """Run each call in a fork of this process, side by side: Fed-BioMed has one database connector a process.

    Args:
        calls: by the name of the node.

    Raises:
        RuntimeError: a call failed; its traceback is on standard error.
    """
    children = {}
    for name, call in calls.items():
        child = os.fork()
        if child == 0:
            status = 1
            try:
                call()
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
    write_policy(folder, OPEN_POLICY)
    register_data(folder, Path(node["data"]), name, spec["tags"], node["facts"])
    approve_installed(folder)


if __name__ == "__main__":
    provision(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
