"""What the researcher does through names that Fed-BioMed does not promise to keep (see `training.internals_node`).

Importing it creates the researcher's component in the folder of FBM_RESEARCHER_COMPONENT_ROOT.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedbiomed.common.serializer import Serializer
from fedbiomed.researcher.config import config
from fedbiomed.researcher.federated_workflows.jobs import TrainingJob
from fedbiomed.researcher.requests import Requests, StopOnTimeout

if TYPE_CHECKING:
    from fedbiomed.researcher.federated_workflows import Experiment


def wait_for_nodes(tags: list[str], count: int, timeout: float) -> dict[str, str]:
    """Wait until `count` nodes answer to the tags; the names of their data by Fed-BioMed id.

    Raises:
        TimeoutError: fewer answered in `timeout` seconds.
    """
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
    os.environ["FBM_DEBUG"] = "1"  # after the imports, which would set the log level by it
    start = TrainingJob.__init__

    def limited(self: TrainingJob, *args: Any, **kwargs: Any) -> None:
        start(self, *args, **kwargs)
        self._policies = [StopOnTimeout(timeout=int(round_seconds))]

    TrainingJob.__init__ = limited


def validation_metrics(experiment: Experiment, round_number: int) -> dict[str, dict[str, float]]:
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


def node_parameters(experiment: Experiment, round_index: int) -> dict[str, dict[str, Any]]:
    """The parameters that each node sent in a round, by node id."""
    replies = experiment.training_replies()[round_index]
    return {node: dict(Serializer.load(reply["params_path"])) for node, reply in replies.items()}


def forget_parameters(experiment: Experiment) -> None:
    """Delete the nodes' parameters, which the researcher keeps on disk in clear after every round."""
    for path in Path(experiment.experimentation_path()).glob("params_*.mpk"):
        path.unlink()
