"""The configuration of a training: one type for `fedpet train run CONFIG` and `fedpet train simulate`."""

from __future__ import annotations

import tomllib
from pathlib import Path  # noqa: TC003  pydantic reads the annotations at run time
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fedpet.core.errors import SettingsError
from fedpet.core.messages import Message
from inference.input_contract import InputContract, default_contract
from training.bundle.tripod import TripodStudy
from training.coordinator.processes import MINIMUM_NODES
from training.task.learned_term import LearnedTerm  # noqa: TC001  pydantic reads the annotations at run time
from training.task.method import Aggregation, FederatedMethod, Privacy, usual_aggregation
from training.task.risk_table import MINIMUM_CELL
from training.task.task import TrainingTask

if TYPE_CHECKING:
    from collections.abc import Mapping

NEWTON_ROUNDS: Final = 8
NEWTON_BATCH: Final = 64  # patients are only read and validated in batches


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TrainingTable(_Table):
    """`[training]`: see `training.task.task.TrainingTask`; `seeds` gives one training each, and their average.

    `overall_survival` fits the table to death, too, where the network is "table".
    """

    network: str = "evidence"
    network_config: dict[str, Any] = {}
    rounds: int = Field(default=12, ge=1)
    local_epochs: int = Field(default=1, ge=1)
    batch_size: int = Field(default=4, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0.0)
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    minimum_patients: int = Field(default=10, ge=1)
    minimum_cell: int = Field(default=MINIMUM_CELL, ge=1)
    initial: Path | None = None
    frozen: tuple[str, ...] = ()
    gpu: bool = False
    statistics: bool = True
    patience: int | None = Field(default=None, ge=1)
    overall_survival: bool = False


class LimitsTable(_Table):
    """`[limits]`: of a round; `norm_jump` is the largest factor by which the parameters' norm may change."""

    round_seconds: float = Field(default=3600.0, gt=0.0)
    retries: int = Field(default=3, ge=0)
    norm_jump: float = Field(default=3.0, gt=1.0)


class TrainingConfig(_Table):
    """What is trained, how, and within which limits; independent of who takes part.

    Attributes:
        name: of the model.
        version: of the model.
        out: new or empty folder for the bundle.
        work: folder for results, logs and TensorBoard files.
        contract: file of the input contract of the node data; None takes the default contract.
        training: the network and its optimisation.
        aggregation: of the sites' results.
        privacy: secure aggregation and differential privacy.
        learned_term: how a term beside the table is learned on crops around the lesions; None for none.
        limits: of a round.
        study: statements for the model card that no program can know.
    """

    name: str
    version: str
    out: Path
    work: Path
    contract: Path | None = None
    training: TrainingTable = TrainingTable()
    aggregation: Aggregation = Aggregation()
    privacy: Privacy = Privacy()
    learned_term: LearnedTerm | None = None
    limits: LimitsTable = LimitsTable()
    study: TripodStudy = TripodStudy()

    @model_validator(mode="before")
    @classmethod
    def _exact_fit_of_a_table(cls, values: dict[str, Any]) -> dict[str, Any]:
        """The network "table" is fitted by Newton's method, and that by 8 rounds, unless the file says otherwise."""
        training, aggregation = dict(values.get("training", {})), dict(values.get("aggregation", {}))
        aggregation.setdefault("method", usual_aggregation(training.get("network", "")))
        if aggregation["method"] == "newton":
            training = {"rounds": NEWTON_ROUNDS, "batch_size": NEWTON_BATCH, **training}
        return {**values, "training": training, "aggregation": aggregation}

    def input_contract(self) -> InputContract:
        """The input contract of the node data.

        Raises:
            SettingsError: the file is no input contract.
        """
        if self.contract is None:
            return default_contract()
        try:
            return InputContract.read(self.contract)
        except (OSError, ValueError) as error:
            raise _unusable(Message("The file {name} is no input contract.", name=self.contract.name)) from error

    def task(self) -> TrainingTask:
        """The work of every node."""
        training = self.training.model_dump(
            exclude={"gpu", "initial", "local_epochs", "seeds", "statistics", "patience", "overall_survival"}
        )
        method = FederatedMethod(aggregation=self.aggregation, privacy=self.privacy)
        return TrainingTask(contract=self.input_contract(), **training, method=method)


class ResearcherTable(_Table):
    """`[researcher]`: the address that nodes reach, the folder of its identity, and its certificate (PEM)."""

    host: str
    port: int = Field(default=50051, ge=1, le=65535)
    folder: Path
    certificate: Path | None = None
    key: Path | None = None


class SitesTable(_Table):
    """`[sites]`: names of the sites' data, the smallest number in a round (all by default), and how long to wait."""

    expected: tuple[str, ...] = Field(min_length=MINIMUM_NODES)
    minimum: int | None = Field(default=None, ge=2)
    wait_seconds: float = Field(default=1800.0, gt=0.0)


class RunFile(TrainingConfig):
    """The file of `fedpet train run`: the training, and the hospitals that take part."""

    researcher: ResearcherTable
    sites: SitesTable


def read_run_file(path: Path) -> RunFile:
    """Read and check a file of `fedpet train run`; relative paths in it are taken from its own folder.

    Raises:
        SettingsError: it is no TOML, a key is unknown or missing, or a value is out of range.
    """
    try:
        file = RunFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _unusable(Message("The file {name} is no TOML that can be read.", name=path.name)) from error
    except ValidationError as error:
        raise _unusable(_first_problem(error)) from error
    if (file.researcher.certificate is None) != (file.researcher.key is None):
        raise _unusable(Message("Only one of certificate and key."))
    if (file.sites.minimum or 0) > len(file.sites.expected):
        raise _unusable(Message("A minimum of {count} sites.", count=file.sites.minimum))
    return _with_absolute_paths(file, path.resolve().parent)


def training_config(values: Mapping[str, Any]) -> TrainingConfig:
    """A configuration from plain values, as the options of `fedpet train simulate` give them.

    Raises:
        SettingsError: a key is unknown or missing, or a value is out of range.
    """
    try:
        return TrainingConfig.model_validate(values)
    except ValidationError as error:
        raise SettingsError(
            found=_first_problem(error),
            needed=Message("The keys and values that docs/federation.md describes."),
            advice=Message("Correct the option."),
        ) from error


def _first_problem(error: ValidationError) -> Message:
    first = error.errors()[0]
    return Message("{key}: {problem}.", key=".".join(map(str, first["loc"])), problem=first["msg"])


def _with_absolute_paths(file: RunFile, folder: Path) -> RunFile:
    def below(path: Path | None) -> Path | None:
        return folder / path if path is not None else None

    researcher = file.researcher.model_copy(
        update={
            "folder": below(file.researcher.folder),
            "certificate": below(file.researcher.certificate),
            "key": below(file.researcher.key),
        }
    )
    paths = {"out": below(file.out), "work": below(file.work), "contract": below(file.contract)}
    training = file.training.model_copy(update={"initial": below(file.training.initial)})
    return file.model_copy(update={**paths, "researcher": researcher, "training": training})


def _unusable(found: Message) -> SettingsError:
    return SettingsError(
        found=found,
        needed=Message("The keys and values that docs/federation.md describes."),
        advice=Message("Correct the file of the training."),
    )
