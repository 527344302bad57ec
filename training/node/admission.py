"""Whether a node answers: the request in progress against its policy, and the log of all requests.

`requests.jsonl` in the node's folder has one JSON object a line, written before any patient is read. Two answers under
the same masks would reveal their difference, so masks that were used once are refused.
"""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fedpet.core.errors import FederationError
from fedpet.core.messages import Message
from training.node.policy import OPEN_POLICY, NodePolicy, read_policy
from training.task.statistics import STATISTICS

if TYPE_CHECKING:
    from training.task.task import TrainingTask

REQUESTS: Final = "requests.jsonl"


@dataclass(frozen=True)
class RoundRequest:
    """A round as the node was asked for it, by Fed-BioMed's own words.

    Attributes:
        node: id of this node.
        parties: ids of the nodes whose masks cancel, this one included; none in clear.
        masks: of the round: a digest of the shared secrets, and the round's number; "" in clear.
        tags: of the data that was asked for.
        experiment: id of the training.
    """

    node: str
    parties: tuple[str, ...] = ()
    masks: str = ""
    tags: tuple[str, ...] = ()
    experiment: str = ""


class CurrentRequest:
    """The request that this process works on; set by `training.node.fedbiomed_node`."""

    _request: RoundRequest | None = None

    @classmethod
    def set(cls, request: RoundRequest) -> None:
        """A round begins."""
        cls._request = request

    @classmethod
    def get(cls) -> RoundRequest:
        """The request in progress.

        Raises:
            FederationError: it is not known, for the node was started by another command.
        """
        if cls._request is None:
            raise FederationError(
                found=Message("The node does not know who takes part in the round."),
                needed=Message("A node that “fedpet train node start” started."),
                advice=Message("Let the data manager start it by that command."),
            )
        return cls._request


class RequestLog:
    """The log file in a node's folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / REQUESTS

    def counts(self) -> dict[str, int]:
        """Number of requests by kind.

        Raises:
            FederationError: a line is damaged.
        """
        kinds = [line["kind"] for line in self._lines()]
        return {kind: kinds.count(kind) for kind in sorted(set(kinds))}

    def enter(self, kind: str, network: str, masks: str, limit: int) -> None:
        """Record a request before it is answered.

        Args:
            kind: of the requests that are counted together.
            network: for the reader of the log.
            masks: of the request; "" in clear.
            limit: of requests of this kind.

        Raises:
            FederationError: the limit is reached, the masks were used before, or a line is damaged.
        """
        lines = self._lines()
        if sum(line["kind"] == kind for line in lines) >= limit:
            raise FederationError(
                found=Message("The site has answered {count} requests of this kind.", count=limit),
                needed=Message("At most {count}, as its policy says.", count=limit),
                advice=Message("Train without this site, or let its data manager raise the number in the policy."),
            )
        if masks and any(line["masks"] == masks for line in lines):
            raise FederationError(
                found=Message("A request under masks that were used before."),
                needed=Message("New masks for every request: two answers under one mask reveal their difference."),
                advice=Message("Start the round again with new secrets."),
            )
        now = datetime.now(UTC).isoformat(timespec="seconds")
        line = {"time": now, "kind": kind, "network": network, "masks": masks}
        with self._path.open("ab") as file:
            file.write((json.dumps(line) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())

    def _lines(self) -> list[dict[str, str]]:
        text = self._path.read_text(encoding="utf-8") if self._path.is_file() else ""
        try:
            lines = [json.loads(line) for line in text.splitlines()]
            whole = all({"kind", "masks"} <= set(line) for line in lines) and text.endswith("\n" if text else "")
        except (ValueError, TypeError):
            whole = False
        if not whole:
            raise FederationError(
                found=Message("A line of {file} in the node's folder is damaged.", file=REQUESTS),
                needed=Message("Every line intact, for each counts a request to the site."),
                advice=Message("Let the data manager restore the file; a truncated last line may be removed."),
            )
        return lines


def folder_of_this_process() -> Path | None:
    """The folder of the node that runs in this process; None outside of nodes.

    It is taken from the command line, which every Fed-BioMed node has. An environment variable set by our command would
    be missing, and policy and ledger with it, where somebody starts the node by another command.
    """
    parser = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config", type=Path)
    return parser.parse_known_args(sys.argv[1:])[0].config if "--node-args" in sys.argv else None


def admit(task: TrainingTask) -> NodePolicy:
    """Check a task against the node's policy and record the request, before any patient is read.

    Returns:
        The policy; outside of nodes one that allows everything.

    Raises:
        FederationError: the policy does not allow the task, or it was asked too often.
    """
    folder = folder_of_this_process()
    if folder is None:
        return OPEN_POLICY
    policy, request = read_policy(folder), CurrentRequest.get()
    policy.require(task, request)
    statistics = task.network == STATISTICS
    kind, limit = "rounds", policy.tasks.rounds
    if statistics:
        kind, limit = "statistics", policy.tasks.statistics_requests
    elif task.evaluated:
        kind, limit = "evaluations", policy.tasks.evaluations
    RequestLog(folder).enter(kind, task.network, request.masks, limit)
    return policy
