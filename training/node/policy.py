"""The policy of a node: what its data manager allows a coordinating centre to ask, `policy.toml` in the node's folder.

The node decides: validation split, smallest counts, peers, networks, how often it may be asked, and epsilon. A task
outside the policy is refused with the reason before any patient is read. A folder without the file has the defaults.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedpet.core.errors import FederationError, SettingsError
from fedpet.core.messages import Message
from inference.network import ENSEMBLE
from training.data.node_data import VALIDATION_FRACTION
from training.task.method import FOLDS, MASKED_SITES
from training.task.registration import EVALUATION_TAGS
from training.task.statistics import STATISTICS

if TYPE_CHECKING:
    from pathlib import Path

    from training.node.admission import RoundRequest
    from training.task.task import TrainingTask

POLICY: Final = "policy.toml"
DELTA: Final = 1e-5  # of a limit of epsilon, unless the data manager gives another


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataRules(_Table):
    """`[data]`: the split and the smallest counts.

    Attributes:
        validation_fraction: part of the patients that validates; the only one for which a task is accepted.
        validation_seed: of the split; "" takes the pseudonyms alone.
        minimum_training: patients to train on, below which the node refuses every task.
        minimum_validation: validation patients, below which the node adds nothing to the tables.
        minimum_losses: validation patients, below which the node adds nothing to the mean losses.
        minimum_cell: of a table that is shown; smaller ones are merged with their neighbours.
        minimum_centre: evaluated patients, from which on the site's own merged table is shown beside the sum.
        folds: parts of the patients in the cross-validation of an exact fit, the only number for which one is accepted:
            sums without each part, at many numbers of parts, are equations that single patients out. 0 for any.
    """

    validation_fraction: float = Field(default=VALIDATION_FRACTION, gt=0.0, lt=1.0)
    validation_seed: str = ""
    minimum_training: int = Field(default=10, ge=1)
    minimum_validation: int = Field(default=5, ge=1)
    minimum_losses: int = Field(default=5, ge=1)
    minimum_cell: int = Field(default=5, ge=1)
    minimum_centre: int = Field(default=20, ge=10)
    folds: int = Field(default=FOLDS, ge=0)


class PeerRules(_Table):
    """`[peers]`: with whom the node adds its contribution.

    Attributes:
        masked: refuse tasks without secure aggregation.
        minimum_sites: of a sum, this one included.
        allowed: ids of the nodes that may take part (`fedpet train node status` of each); empty allows all.
    """

    masked: bool = True
    minimum_sites: int = Field(default=MASKED_SITES, ge=1)
    allowed: tuple[str, ...] = ()


class TaskRules(_Table):
    """`[tasks]`: what may be asked.

    Attributes:
        networks: that may be trained.
        statistics: whether means of the clinical inputs may be asked.
        rounds: requests that train or validate, over the life of the node, repeated ones included.
        statistics_requests: requests for statistics, over the life of the node.
        evaluations: requests for evaluations of finished models, over the life of the node: the tables of two models
            that differ for one patient tell of that patient.
        veto: standard errors by which an aggregate may worsen the loss of the site's validation patients; a worse one
            is not taken (`training.node.veto`).
        update_norm: largest norm of an update, in norms of the parameters that the node was sent; a larger one is
            scaled down.
    """

    networks: tuple[str, ...] = ("evidence", "table", "clinical", "tmtv_clinical", "table_and_crops")
    statistics: bool = True
    rounds: int = Field(default=1000, ge=0)
    statistics_requests: int = Field(default=5, ge=0)
    evaluations: int = Field(default=20, ge=0)
    update_norm: float = Field(default=1.0, gt=0.0)
    veto: float = Field(default=3.0, gt=0.0)


class PrivacyRules(_Table):
    """`[privacy]`: the highest limit of epsilon that may be set for the node; None for no limit."""

    epsilon: float | None = Field(default=None, gt=0.0)
    delta: float = Field(default=DELTA, gt=0.0, lt=1.0)


class NodePolicy(_Table):
    """What a node allows."""

    data: DataRules = DataRules()
    peers: PeerRules = PeerRules()
    tasks: TaskRules = TaskRules()
    privacy: PrivacyRules = PrivacyRules()

    def require(self, task: TrainingTask, request: RoundRequest) -> None:
        """Refuse a task outside the policy.

        Args:
            task: that was asked.
            request: who takes part and by which masks.

        Raises:
            FederationError: the first rule that is broken.
        """
        self._require_data(task, request)
        self._require_task(task)
        self._require_peers(request)

    def _require_data(self, task: TrainingTask, request: RoundRequest) -> None:
        """Data for evaluations train nothing, and data that train evaluate nothing."""
        for_evaluation = set(EVALUATION_TAGS) <= set(request.tags)
        if for_evaluation and not task.evaluated:
            raise _outside(
                Message("A training on patients who are kept for evaluations."),
                Message("An evaluation of a finished model."),
            )
        if task.evaluated and not for_evaluation:
            raise _outside(
                Message("An evaluation on patients who are there for trainings."),
                Message("Data that the site registered with --evaluation."),
            )

    def _require_task(self, task: TrainingTask) -> None:
        data, tasks = self.data, self.tasks
        network = str(task.network_config.get("network")) if task.network == ENSEMBLE else task.network
        if task.validation_fraction != data.validation_fraction and not task.evaluated:
            raise _outside(
                Message("A validation split of {fraction:g}.", fraction=task.validation_fraction),
                Message("That of the site: {fraction:g}.", fraction=data.validation_fraction),
            )
        folds = task.method.aggregation.folds
        if task.newton is not None and data.folds not in {0, folds}:
            raise _outside(
                Message("An exact fit with {count} folds.", count=folds),
                Message("The site's number of folds: {count}.", count=data.folds),
            )
        if network == STATISTICS and not tasks.statistics:
            raise _outside(
                Message("A request for statistics of the clinical inputs."), Message("The site allows no statistics.")
            )
        if network not in {*tasks.networks, STATISTICS}:
            raise _outside(
                Message("The network “{name}”.", name=network[:40]),
                Message("One that the site allows: {names}.", names=", ".join(tasks.networks)),
            )
        if task.minimum_cell < data.minimum_cell:
            raise _outside(
                Message("Tables with cells of {count} patients.", count=task.minimum_cell),
                Message("At least {count} in every cell that is shown.", count=data.minimum_cell),
            )

    def _require_peers(self, request: RoundRequest) -> None:
        peers, parties = self.peers, set(request.parties)
        if peers.masked and not parties:
            raise _outside(Message("A request without secure aggregation."), Message("Sums of several sites only."))
        if parties and len(parties) < peers.minimum_sites:
            raise _outside(
                Message("A sum of {count} sites.", count=len(parties)),
                Message("At least {count} sites in a sum.", count=peers.minimum_sites),
            )
        unknown = parties - {*peers.allowed, request.node} if peers.allowed else set()
        if unknown:
            raise _outside(
                Message("{count} nodes in the sum that the site does not know.", count=len(unknown)),
                Message("Only nodes that the site's policy lists."),
            )

    def sentences(self) -> list[Message]:
        """The policy in words, for the data manager."""
        data, peers, tasks, privacy = self.data, self.peers, self.tasks, self.privacy
        percent = Message("{value:g} %", value=100 * data.validation_fraction)
        said = [
            Message("{share} of the patients validate, always the same ones; the others train.", share=percent),
            Message(
                "Newton's method takes all patients, and validates each by a fit without it, always in the same"
                " {count} parts.",
                count=data.folds,
            )
            if data.folds
            else Message("Newton's method takes all patients, and validates each by a fit without it."),
            Message("With fewer than {count} patients to train on, the node refuses.", count=data.minimum_training),
            Message(
                "With fewer than {losses} validation patients it adds nothing to the losses, with fewer than {tables}"
                " nothing to the tables.",
                losses=data.minimum_losses,
                tables=data.minimum_validation,
            ),
            Message("No cell of a table that is shown counts fewer than {count} patients.", count=data.minimum_cell),
            Message(
                "An evaluation shows the site's own table from {count} patients on, cells merged in the same way.",
                count=data.minimum_centre,
            ),
            Message("All else leaves the node in sums only, of {count} sites or more.", count=peers.minimum_sites)
            if peers.masked
            else Message("The node also answers without secure aggregation: its own parameters and counts leave it."),
            Message("Every site may take part.")
            if not peers.allowed
            else Message("Only these nodes may take part: {names}.", names=", ".join(peers.allowed)),
            Message("These networks may be trained: {names}.", names=", ".join(tasks.networks)),
            Message("Means of the clinical variables may be asked {count} times.", count=tasks.statistics_requests)
            if tasks.statistics
            else Message("Means of the clinical variables are refused."),
            Message(
                "The node answers {rounds} rounds and {evaluations} evaluations in its life.",
                rounds=tasks.rounds,
                evaluations=tasks.evaluations,
            ),
            Message(
                "A model that worsens the loss of the site's validation patients by more than {count:g} standard errors"
                " is not taken: the node trains from the last one that it took.",
                count=tasks.veto,
            ),
        ]
        if privacy.epsilon is None:
            return [*said, Message("There is no limit of epsilon.")]
        limit = {"epsilon": privacy.epsilon, "delta": privacy.delta}
        return [*said, Message("Epsilon stays below {epsilon:g} at delta = {delta:g}.", **limit)]


OPEN_POLICY: Final = NodePolicy(
    data=DataRules(minimum_training=1, minimum_losses=1, minimum_cell=1, folds=0),
    peers=PeerRules(masked=False, minimum_sites=1),
    tasks=TaskRules(
        networks=("evidence", "table", "clinical", "tmtv_clinical", "table_and_crops"),
        rounds=1_000_000,
        statistics_requests=1_000_000,
        evaluations=1_000_000,
    ),
)
"""Of the nodes of a simulation, whose patients lie on this machine anyway."""


def read_policy(folder: Path) -> NodePolicy:
    """The policy of the node in a folder; the default one where there is no file.

    Raises:
        SettingsError: the file is no TOML, a key is unknown, or a value is out of range.
    """
    path = folder / POLICY
    if not path.is_file():
        return NodePolicy()
    try:
        return NodePolicy.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _unusable(Message("The file {name} is no TOML that can be read.", name=path.name)) from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise _unusable(Message("{key}: {problem}.", key=key, problem=first["msg"])) from error


def write_policy(folder: Path, policy: NodePolicy) -> None:
    """Write `policy.toml`, every key with its meaning."""
    (folder / POLICY).write_text(policy_text(policy), encoding="utf-8")


def policy_text(policy: NodePolicy) -> str:
    """The file, every key with its meaning."""
    lines: list[str] = []
    for name, rules in policy:
        lines.append(f"[{name}]")
        for key, value in rules:
            set_ = value is not None
            line = f"{'' if set_ else '# '}{key} = {_toml(value if set_ else _EXAMPLES[key])}"
            lines.append(f"{line:<44}  # {_COMMENTS[name, key]}")
        lines.append("")
    return "\n".join(lines)


_EXAMPLES: Final[dict[str, Any]] = {"epsilon": 8.0}
_COMMENTS: Final = {
    ("data", "validation_fraction"): "of the patients; another split is refused",
    ("data", "validation_seed"): "changes who validates; never change it after a training",
    ("data", "minimum_training"): "patients to train on; with fewer the node refuses",
    ("data", "minimum_validation"): "patients; with fewer it adds nothing to the tables",
    ("data", "minimum_losses"): "patients; with fewer it adds nothing to the losses",
    ("data", "minimum_cell"): "patients in a cell of a table that is shown",
    ("data", "minimum_centre"): "evaluated patients; with fewer the site is in the sum only",
    ("data", "folds"): "parts of the patients in an exact fit; another number is refused",
    ("peers", "masked"): "sums only (secure aggregation)",
    ("peers", "minimum_sites"): "in a sum, this one included",
    ("peers", "allowed"): "ids of the nodes that may take part; empty: all",
    ("tasks", "networks"): "that may be trained",
    ("tasks", "statistics"): "whether means of the clinical inputs may be asked",
    ("tasks", "rounds"): "requests in the life of the node",
    ("tasks", "statistics_requests"): "requests for statistics in its life",
    ("tasks", "evaluations"): "requests for evaluations of finished models in its life",
    ("tasks", "update_norm"): "largest update, in norms of the parameters; else scaled down",
    ("tasks", "veto"): "standard errors; a model that worsens the loss by more is not taken",
    ("privacy", "epsilon"): "for all trainings together; without it, no limit",
    ("privacy", "delta"): "of epsilon",
}


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else f"{value:g}"


def _outside(found: Message, needed: Message) -> FederationError:
    return FederationError(
        found=found, needed=needed, advice=Message("Ask within the policy of the site, or train without this site.")
    )


def _unusable(found: Message) -> SettingsError:
    return SettingsError(
        found=found,
        needed=Message("The keys and values that docs/hospital_node.md describes."),
        advice=Message("Correct {name} in the node's folder.", name=POLICY),
    )
