"""The researcher's use of private names of Fed-BioMed (see `training.node.fedbiomed_node`).

Importing this module creates the researcher's component in the folder FBM_RESEARCHER_COMPONENT_ROOT.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedbiomed.common.exceptions import FedbiomedError
from fedbiomed.common.message import Message
from fedbiomed.common.secagg import _secagg_crypter
from fedbiomed.common.serializer import Serializer
from fedbiomed.researcher.config import config
from fedbiomed.researcher.federated_workflows.jobs import TrainingJob
from fedbiomed.researcher.requests import Requests, StopOnDisconnect, StopOnTimeout
from fedbiomed.transport.node_agent import NodeActiveStatus, NodeAgent

from inference.report_signature import Signer
from training.task import quantization as masking

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fedbiomed.researcher.federated_workflows import Experiment

SILENT = "no answer"
LOST = "connection lost"
_answers: dict[str, str] = {}  # of the last training request, by node id: "" or why it failed
_levels: list[float] = []  # of the last masked sum: means of the sites' levels, weighted by training patients


def record_received(path: Path) -> None:
    """Write the names of all messages that arrive from now on, with their fields, to a JSON file; for tests."""
    seen: dict[str, set[str]] = {}

    def note(name: str, fields: Mapping[str, Any]) -> None:
        known = seen.setdefault(name, set())
        if not known.issuperset(fields):
            known |= {field for field, value in fields.items() if value is not None}
            path.write_text(json.dumps({name: sorted(fields) for name, fields in seen.items()}), encoding="utf-8")

    reply, feedback = NodeAgent.on_reply, Requests.on_message

    async def on_reply(self: NodeAgent, message: dict[str, Any]) -> None:
        note(Message.from_dict(dict(message)).__class__.__name__, {k: v for k, v in message.items() if k[:2] != "__"})
        await reply(self, message)

    def on_message(self: Requests, message: Message, kind: object) -> None:
        note(type(message).__name__, message.get_dict())
        feedback(self, message, kind)

    NodeAgent.on_reply, Requests.on_message = on_reply, on_message


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
    """SHA-256 (hexadecimal) of the certificate by which nodes recognise this researcher."""
    return identity().fingerprint


def identity() -> Signer:
    """The files of this researcher's certificate and key."""
    files = [Path(config.root, "etc", config.get("certificate", name)) for name in ("public_key", "private_key")]
    return Signer(*files)


def install_certificate(certificate: Path, key: Path) -> None:
    """Use the given certificate (PEM) instead of the one that Fed-BioMed signs itself."""
    own = identity()
    shutil.copyfile(certificate, own.certificate)
    shutil.copyfile(key, own.key)


def prepare(round_seconds: float) -> None:
    """Make Fed-BioMed raise its errors instead of ending the process, limit the time of a round, and record failures.

    Masked sums are turned into parameters without Fed-BioMed's second rounding. Without the time limit, a node that
    leaves and returns within a round blocks it for ever. A node whose connection ends stops the request at once, which
    Fed-BioMed notices after about ten seconds.

    Args:
        round_seconds: time limit of a training request.
    """
    os.environ["FBM_DEBUG"] = "1"  # after the imports, which would set the log level by it
    _secagg_crypter.reverse_quantize = _dequantize_and_keep
    start, collect = TrainingJob.__init__, TrainingJob._get_training_results  # noqa: SLF001  errors are in no public reply

    def start_with_timeout(self: TrainingJob, *args: Any, **kwargs: Any) -> None:
        start(self, *args, **kwargs)
        self._policies = [StopOnDisconnect(timeout=0), StopOnTimeout(timeout=int(round_seconds))]
        _answers.clear()
        _answers.update(dict.fromkeys(self.nodes, SILENT))

    def collect_and_record(self: TrainingJob, replies: dict[str, Any]) -> Any:  # noqa: ANN401  as Fed-BioMed has it
        _answers.update({node: "" if reply.success else reply.msg or "failed" for node, reply in replies.items()})
        return collect(self, replies)

    TrainingJob.__init__ = start_with_timeout
    TrainingJob._get_training_results = collect_and_record  # noqa: SLF001


def _dequantize_and_keep(means: list[float], *args: Any, **kwargs: Any) -> list[float]:
    if len(means) > 1:  # the other is the number by which Fed-BioMed finds incomplete sums
        _levels[:] = means
    return masking.dequantize(means, *args, **kwargs)


def masked_levels() -> list[float]:
    """Of the last masked sum: means of the sites' levels (0 to 2^13 - 1), weighted by training patients."""
    return list(_levels)


def attempt(experiment: Experiment, *, renew: bool = False) -> dict[str, str] | None:
    """Try a round on the experiment's nodes: None on success, else the reasons by node id ("" is the researcher).

    A round succeeds when every node has trained; nothing is aggregated otherwise (`DefaultStrategy` raises).

    Args:
        experiment: whose nodes are asked.
        renew: make new masks first.
    """
    _answers.clear()
    before = experiment.round_current()
    try:
        if renew:
            _renew_secrets(experiment)
        experiment.run_once()
    except FedbiomedError as error:
        return None if experiment.round_current() > before else _failures(experiment, error)
    return None


def _failures(experiment: Experiment, error: FedbiomedError) -> dict[str, str]:
    """Why nodes failed, by id; where a connection was lost, nothing is known of those that were still at work."""
    failed = {node: reason for node, reason in _answers.items() if reason}
    asked = set(failed or experiment.filtered_federation_nodes())
    lost = dict.fromkeys(asked - connected(experiment), LOST)
    if lost:
        failed = {node: reason for node, reason in failed.items() if reason != SILENT} | lost
    return failed or {"": str(error)}


def ask_without_training(experiment: Experiment) -> dict[str, str]:
    """Let the experiment's nodes check a task and validate, as before a round, but train nothing and send nothing.

    Returns:
        Why a node refuses, by node id ("" is the researcher); empty if none does.
    """
    _answers.clear()
    nodes = list(experiment.filtered_federation_nodes())
    try:
        TrainingJob(
            researcher_id=experiment.researcher_id,
            requests=experiment.requests,
            nodes=nodes,
            keep_files_dir=experiment.experimentation_path(),
            experiment_id=experiment.id,
            round_=experiment.round_current(),
            training_plan=experiment.training_plan(),
            training_args=experiment._training_args,  # noqa: SLF001  the public method returns a dict
            model_args=experiment.model_args(),
            data=experiment.training_data(),
            nodes_state_ids=experiment._node_state_agent.get_last_node_states(),  # noqa: SLF001  in no public call
            aggregator_args=experiment.aggregator().create_aggregator_args(
                experiment.training_plan().after_training_params(), nodes
            ),
            do_training=False,
            secagg_arguments=experiment.secagg_setup(nodes),
        ).execute()
    except FedbiomedError as error:
        return _failures(experiment, error)
    return {node: reason for node, reason in _answers.items() if reason}


def connected(experiment: Experiment) -> set[str]:
    """Ids of the nodes that hold a connection now."""
    agents = experiment.requests._grpc_server.get_all_nodes()  # noqa: SLF001  the status of nodes is in no public call
    return {agent.id for agent in agents if agent.status is not NodeActiveStatus.DISCONNECTED}


def unapproved(experiment: Experiment) -> dict[str, str]:
    """Nodes where the plan may not run, by id, with its status there; a node without the plan is sent it for review."""
    replies = experiment.check_training_plan_status()
    status = {node: reply.status for node, reply in replies.items() if reply.approval_obligation}
    refused = {node: found for node, found in status.items() if found != "Approved"}
    if refused:
        experiment.training_plan_approve("fedpet training plan")
    return refused


def _renew_secrets(experiment: Experiment) -> None:
    """New masks for a round that is repeated: two different vectors under one mask would reveal their difference.

    `SecureAggregation.setup` with `force` asks again under the old id, for which the nodes keep their old secrets.
    """
    parties = list(experiment.filtered_federation_nodes())
    experiment.secagg._set_secagg_contexts(experiment.researcher_id, parties, experiment.id)  # noqa: SLF001  a new id
    experiment.secagg.setup(parties=parties, experiment_id=experiment.id, researcher_id=experiment.researcher_id)


def rewind(experiment: Experiment, index: int) -> None:
    """Let the next round be that of an index (0 is the first)."""
    experiment._set_round_current(index)  # noqa: SLF001  the public number can only grow


def node_parameters(experiment: Experiment, round_index: int) -> dict[str, dict[str, Any]]:
    """The parameters that each node sent in a round, by node id."""
    replies = experiment.training_replies()[round_index]
    return {node: dict(Serializer.load(reply["params_path"])) for node, reply in replies.items()}


def forget_parameters(experiment: Experiment) -> None:
    """Delete the nodes' parameters, which Fed-BioMed leaves on disk and in memory after every round."""
    experiment._training_replies = {}  # noqa: SLF001  a breakpoint would refer to their files
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


if __name__ == "__main__":
    print(identity().certificate, identity().key, sep="\n")  # noqa: T201  for the process that started this one
