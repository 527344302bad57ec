"""What the researcher does through names that Fed-BioMed does not promise to keep (see `training.internals_node`).

Importing it creates the researcher's component in the folder of FBM_RESEARCHER_COMPONENT_ROOT.
"""

from __future__ import annotations

import json
import os
import shutil
from hashlib import sha256
from pathlib import Path
from ssl import PEM_cert_to_DER_cert
from typing import TYPE_CHECKING, Any

from fedbiomed.common.exceptions import FedbiomedError
from fedbiomed.common.secagg import _secagg_crypter
from fedbiomed.common.serializer import Serializer
from fedbiomed.researcher.config import config
from fedbiomed.researcher.federated_workflows.jobs import TrainingJob
from fedbiomed.researcher.requests import Requests, StopOnTimeout
from fedbiomed.transport.node_agent import NodeActiveStatus

from training import masking

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from fedbiomed.researcher.federated_workflows import Experiment

SILENT = "no answer"
_answers: dict[str, str] = {}  # of the last training request, by node id: "" or why it failed


def search(tags: list[str]) -> dict[str, dict[str, Any]]:
    """The data that nodes offer under the tags, by node id, with `description` read as JSON."""
    found = Requests(config).search(tags)
    return {node: {**datasets[0], "description": _facts(datasets[0])} for node, datasets in found.items()}


def _facts(dataset: Mapping[str, Any]) -> dict[str, Any]:
    try:
        facts = json.loads(dataset["description"])
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def certificate_fingerprint() -> str:
    """SHA-256 of the certificate by which nodes recognise this researcher."""
    text = Path(config.root, "etc", config.get("certificate", "public_key")).read_text(encoding="ascii")
    return sha256(PEM_cert_to_DER_cert(text)).hexdigest()


def install_certificate(certificate: Path, key: Path) -> None:
    """Use the given certificate (PEM) instead of the one that Fed-BioMed signs itself."""
    for source, name in ((certificate, "public_key"), (key, "private_key")):
        shutil.copyfile(source, Path(config.root, "etc", config.get("certificate", name)))


def prepare(round_seconds: float) -> None:
    """Make Fed-BioMed raise its errors instead of ending the process, limit training requests, keep who answered.

    Masked sums are turned into parameters without its second rounding.

    Without the limit, a node that leaves and returns within a round blocks it for ever.
    """
    os.environ["FBM_DEBUG"] = "1"  # after the imports, which would set the log level by it
    _secagg_crypter.reverse_quantize = masking.restore
    start, collect = TrainingJob.__init__, TrainingJob._get_training_results  # noqa: SLF001  errors are in no public reply

    def limited(self: TrainingJob, *args: Any, **kwargs: Any) -> None:
        start(self, *args, **kwargs)
        self._policies = [StopOnTimeout(timeout=int(round_seconds))]
        _answers.clear()
        _answers.update(dict.fromkeys(self.nodes, SILENT))

    def remembered(self: TrainingJob, replies: dict[str, Any]) -> Any:  # noqa: ANN401  as Fed-BioMed has it
        _answers.update({node: "" if reply.success else reply.msg or "failed" for node, reply in replies.items()})
        return collect(self, replies)

    TrainingJob.__init__ = limited
    TrainingJob._get_training_results = remembered  # noqa: SLF001


def attempt(experiment: Experiment, *, last: bool) -> dict[str, str] | None:
    """Try a round on the experiment's nodes: None if it is done, else why not, by node id ("" is the researcher).

    A round is done when every node trained; nothing is aggregated otherwise (`DefaultStrategy` raises).
    """
    _answers.clear()
    before = experiment.round_current()
    try:
        experiment.run_once(test_after=last)
    except FedbiomedError as error:
        failed = {node: reason for node, reason in _answers.items() if reason}
        return None if experiment.round_current() > before else failed or {"": str(error)}
    return None


def connected(experiment: Experiment) -> set[str]:
    """Ids of the nodes that hold a connection now."""
    agents = experiment.requests._grpc_server.get_all_nodes()  # noqa: SLF001  the status of nodes is in no public call
    return {agent.id for agent in agents if agent.status is not NodeActiveStatus.DISCONNECTED}


def unapproved(experiment: Experiment) -> dict[str, str]:
    """Nodes where the plan may not run, by id, with its status there; a node without the plan is asked to review it."""
    replies = experiment.check_training_plan_status()
    status = {node: reply.status for node, reply in replies.items() if reply.approval_obligation}
    refused = {node: found for node, found in status.items() if found != "Approved"}
    if refused:
        experiment.training_plan_approve("fedpet training plan")
    return refused


def renew_secrets(experiment: Experiment, nodes: Sequence[str]) -> None:
    """New masks for a round that is repeated: two different vectors under one mask would tell their difference."""
    experiment.secagg.setup(
        parties=list(nodes), experiment_id=experiment.id, researcher_id=experiment.researcher_id, force=True
    )


def validation_metrics(
    experiment: Experiment, round_number: int, nodes: Collection[str]
) -> dict[str, dict[str, float]]:
    """The last validation on the aggregated model of a round (1 is the first, rounds + 1 the final), by node id."""
    store = experiment.monitor()._metric_store  # noqa: SLF001  metrics are in no public reply
    return {
        node: {
            name: rounds[round_number]["values"][-1]
            for name, rounds in phases["testing_global_updates"].items()
            if rounds.get(round_number, {}).get("values")
        }
        for node, phases in store.items()
        if node in nodes
    }


def node_parameters(experiment: Experiment, round_index: int) -> dict[str, dict[str, Any]]:
    """The parameters that each node sent in a round, by node id."""
    replies = experiment.training_replies()[round_index]
    return {node: dict(Serializer.load(reply["params_path"])) for node, reply in replies.items()}


def forget_parameters(experiment: Experiment) -> None:
    """Delete the nodes' parameters, which the researcher keeps on disk and in memory after every round."""
    experiment._training_replies = {}  # noqa: SLF001  a breakpoint would write where they lay
    for path in Path(experiment.experimentation_path()).glob("params_*.mpk"):
        path.unlink()


def save_breakpoint(experiment: Experiment) -> Path:
    """Write what `Experiment.load_breakpoint` needs; its folder."""
    experiment.breakpoint()
    return Path(experiment.experimentation_path(), f"breakpoint_{experiment.round_current() - 1:04d}")


def forget_breakpoints(experiment: Experiment, keep: Path) -> None:
    """Delete all breakpoints but one."""
    for path in Path(experiment.experimentation_path()).glob("breakpoint_*"):
        if path != keep:
            shutil.rmtree(path)
