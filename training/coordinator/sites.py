"""Which sites take part: the researcher's configuration, waiting for the sites, choosing those of a round."""

from __future__ import annotations

import ast
import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fedpet
from fedpet.core.errors import FederationError
from fedpet.core.messages import Message
from training.coordinator import fedbiomed_researcher as internals
from training.task.code_digest import code_digest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from fedbiomed.researcher.federated_workflows import Experiment

_PAUSE_SECONDS = 1.0
_ERROR_OF_A_NODE = re.compile(r"""\b\w+Error\(("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')\)""")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The configuration of this process, as plain data.

    Attributes:
        tags: of the nodes' data.
        sites: names of the expected sites' data; others are ignored.
        minimum: of sites in a round.
        args: by name of the run, the arguments of its `TrainingTask` (`TrainingTask.to_args`).
        local_epochs: by name of the run, passes over a node's patients in a round.
        initial: by name of the run, a file with its first parameters (safetensors); the others start from fresh ones.
        members: names of the runs that a run which does not train averages (`training.task.runs`).
        out: folder for weights and histories.
        round_seconds: time limit of a round.
        wait_seconds: time limit for `minimum` sites to connect, at the start and after one was lost.
        retries: how often a round may be repeated.
        patience: rounds without a smaller validation loss after which a training ends; None trains all rounds.
        norm_jump: largest factor by which the parameters' norm may change in a round.
        certificate: certificate and key (PEM) of this researcher; None uses the one that Fed-BioMed signs itself.
        use_gpu: ask the nodes to train on a GPU where their owner offers one.
        resume: continue after the last breakpoint.
        keep_last_round: also write the parameters that each node sent in the last round (`<name>.<site>.safetensors`),
            for tests.
        record: also write which messages arrived with which fields (`training.task.egress.RECEIVED`), for tests.
    """

    tags: list[str]
    sites: list[str]
    args: dict[str, dict[str, str]]
    local_epochs: dict[str, int]
    out: str
    round_seconds: float
    minimum: int
    initial: dict[str, str] = field(default_factory=dict)
    members: list[str] = field(default_factory=list)
    wait_seconds: float = 300.0
    retries: int = 0
    norm_jump: float = 3.0
    patience: int | None = None
    certificate: list[str] | None = None
    use_gpu: bool = False
    resume: bool = False
    keep_last_round: bool = False
    record: bool = False


def wait_for_sites(config: RunConfig, contract: str) -> dict[str, dict[str, Any]]:
    """The data of the expected sites, by node id: of all of them, or after the time limit of at least the minimum.

    Raises:
        FederationError: too few, or a site has another fedpet or another input contract.
    """
    deadline = time.monotonic() + config.wait_seconds
    while True:
        found = {node: one for node, one in internals.search(config.tags).items() if one["name"] in config.sites}
        late = time.monotonic() > deadline
        if len(found) >= len(config.sites) or (late and len(found) >= config.minimum):
            break
        if late:
            absent = set(config.sites) - {one["name"] for one in found.values()}
            raise too_few(len(found), config.minimum, dict.fromkeys(absent, internals.SILENT))
        time.sleep(_PAUSE_SECONDS)
    require_same({one["name"]: one["description"] for one in found.values()}, contract)
    return found


def require_same(facts: Mapping[str, Mapping[str, Any]], contract: str) -> None:
    """Refuse sites with other code or another input contract than this machine's, all of them by name.

    Args:
        facts: what each site's node described (`training.task.task.node_facts`), by name of the site.
        contract: fingerprint of the input contract.

    Raises:
        FederationError: a site differs.
    """
    here = {"sources": code_digest(), "contract": contract}
    different = {
        site: [name for name, value in here.items() if known.get(name, value) != value]
        for site, known in sorted(facts.items())
    }
    described = [
        f"{site} ({', '.join(names)}; fedpet {facts[site].get('fedpet', '?')})"
        for site, names in different.items()
        if names
    ]
    if described:
        raise FederationError(
            found=Message("Sites that differ from this machine: {sites}.", sites="; ".join(described)),
            needed=Message(
                "The same fedpet {version} and the same input contract on every node and here.",
                version=fedpet.__version__,
            ),
            advice=Message(
                "Let these sites install this version, prepare and register their data with this contract and start"
                " their nodes again."
            ),
        )


def too_few(count: int, minimum: int, reasons: Mapping[str, str]) -> FederationError:
    """The error of a round that fewer sites than `minimum` can train, with the reasons by site."""
    return FederationError(
        found=Message(
            "{count} sites can train. Missing: {reasons}.",
            count=count,
            reasons="; ".join(f"{site} ({reason})" for site, reason in sorted(reasons.items())) or "—",
        ),
        needed=Message("At least {minimum} in a round.", minimum=minimum),
        advice=Message("Let the missing sites correct the cause and start their nodes, then resume the training."),
    )


class Sites:
    """Selects the sites of a round: those that are connected, without those that failed."""

    def __init__(self, names: Mapping[str, str], config: RunConfig) -> None:
        self.names = names
        self._config = config
        self._refused: dict[str, str] = {}  # node id -> why it cannot train in this run
        self._silent: dict[str, str] = {}  # node id -> why it is left out of this round
        self._kept_out = Path(config.out, "left_out.json")  # by site, for a training that is resumed
        known = json.loads(self._kept_out.read_text("utf-8")) if config.resume and self._kept_out.exists() else {}
        self._refused |= {node: known[site] for node, site in names.items() if site in known}

    def select(self, experiment: Experiment, without: Collection[str] = ()) -> list[str]:
        """Node ids for the next attempt, at least the minimum, and none of those to do without.

        Raises:
            FederationError: too few, after the time limit.
        """
        deadline = time.monotonic() + self._config.wait_seconds
        while True:
            there = sorted((internals.connected(experiment) & set(self.names)) - {*self._refused, *without})
            rested = [node for node in there if node not in self._silent]
            for nodes in (rested, there):  # a slow site is tried again in the same round only if it is needed
                if len(nodes) >= self._config.minimum:
                    return nodes
            hopeless = len(self.names) - len(self._refused) < self._config.minimum
            if hopeless or time.monotonic() > deadline:
                absent = {node: internals.SILENT for node in self.names if node not in there}
                reasons = {**absent, **self._silent, **self._refused}
                raise too_few(len(there), self._config.minimum, self.by_name(reasons))
            time.sleep(_PAUSE_SECONDS)

    @property
    def remaining(self) -> list[str]:
        """Ids of the nodes that were not left out of the run."""
        return [node for node in self.names if node not in self._refused]

    def record_failures(self, failures: Mapping[str, str]) -> dict[str, str]:
        """Record which nodes failed; returns the reasons by site name."""
        for node, reason in failures.items():
            if node:
                passing = reason in {internals.SILENT, internals.LOST}
                (self._silent if passing else self._refused)[node] = reason
        return self.by_name(failures)

    def keep_out(self, nodes: Collection[str], reason: str) -> dict[str, str]:
        """Go on without sites that spoil the model, also when the training is resumed; the reasons by site name."""
        found = self.record_failures(dict.fromkeys(nodes, reason))
        known = json.loads(self._kept_out.read_text("utf-8")) if self._kept_out.exists() else {}
        self._kept_out.write_text(json.dumps({**known, **found}), encoding="utf-8")
        return found

    def next_round(self) -> None:
        """Give slow sites another chance."""
        self._silent.clear()

    def by_name(self, reasons: Mapping[str, str]) -> dict[str, str]:
        """Reasons by site name, without words of a log that may be paths."""
        return {self.names.get(node, "researcher"): _brief(reason) for node, reason in reasons.items()}


def _brief(reason: str) -> str:
    """The reason in its own words: a node sends the `repr` of an error of fedpet."""
    if raised := _ERROR_OF_A_NODE.search(reason):
        reason = ast.literal_eval(raised[1])
    words = reason.replace("\n", " ").split(" ")
    return " ".join(word for word in words if "/" not in word and "\\" not in word)[:400]
