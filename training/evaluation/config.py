"""The configuration of `fedpet train evaluate`: one TOML file, see docs/evaluation.md."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path  # noqa: TC003  pydantic reads the annotations at run time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fedpet.core.errors import SettingsError
from fedpet.core.messages import Message
from inference.input_contract import InputContract, default_contract
from training.data.node_data import Endpoint  # noqa: TC001  pydantic reads the annotations at run time
from training.task.method import UNPROTECTED_METHOD, Aggregation, FederatedMethod, Privacy, usual_aggregation
from training.task.task import TrainingTask

Design = Literal["within_centre", "leave_one_centre_out"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HyperparameterGrid(_Section):
    """Grid of the node data where it is not the default contract's; one voxel: data without images."""

    shape: tuple[int, int, int]
    spacing_mm: float = Field(default=8.0, gt=0)


class TrainingSection(_Section):
    """How a network is trained: the same for the federation, the pooled training and each centre alone."""

    network: Literal["evidence", "table", "clinical", "tmtv_clinical"] = "evidence"
    aggregation: Literal["fedavg", "newton"] | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    rounds: int = Field(default=12, ge=1)
    local_epochs: int = Field(default=1, ge=1)
    batch_size: int = Field(default=4, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    initial: Path | None = None
    frozen: tuple[str, ...] = ()

    @property
    def method(self) -> FederatedMethod:
        """Aggregation and privacy; a table is fitted by Newton's method unless the file says otherwise."""
        aggregation = Aggregation(method=self.aggregation or usual_aggregation(self.network))
        return UNPROTECTED_METHOD.model_copy(update={"aggregation": aggregation})

    def task(self, contract: InputContract, seed: int) -> TrainingTask:
        """The nodes' task."""
        return TrainingTask(
            contract=contract,
            network=self.network,
            network_config=self.config,
            rounds=self.rounds,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            augment=self.network == "evidence",
            seed=seed,
            frozen=self.frozen,
            method=self.method,
        )


class PrivateTraining(TrainingSection):
    """A federation with local differential privacy, see `training.task.privacy`."""

    clip: float = Field(default=1.0, gt=0)
    noise: float = Field(default=1.0, gt=0)
    delta: float = Field(default=1e-3, gt=0, lt=1)

    @property
    def method(self) -> FederatedMethod:
        """Aggregation and privacy."""
        return FederatedMethod(
            privacy=Privacy(secure_aggregation="none", clip=self.clip, noise=self.noise, delta=self.delta)
        )


class Leakage(_Section):
    """`[leakage]`: the audit."""

    permutations: int = Field(default=3, ge=0)
    network: Literal["model", "clinical"] = "model"  # which training is repeated with permuted outcomes
    plausible_auc: float = Field(default=0.80, gt=0.5, lt=1)  # alarm above it where no truth is known


class EvaluationConfig(_Section):
    """The whole file; paths in it are relative to it.

    Attributes:
        title: of the report.
        nodes: node data, one folder a centre.
        input_contract: file of the node data's input contract; None takes the default one.
        endpoint: what is trained on and predicted; overall survival needs its columns in all node data.
        horizon_months: endpoint, one of the contract's edges: 12 for PFS12, 6 for durable benefit, 24 for OS24.
        designs: which of the two are run.
        unseen: centres that are left out in turn; empty: all.
        seeds: trainings of every model; their predictions are averaged.
        holdout_fraction: of each centre's patients, within-centre design.
        bootstrap: draws.
        optional_terms: also fit the model with a spline of TMTV and TMTV by PD-L1, where cross-validation wants them.
        quantised: also train with what secure aggregation would send, within centres.
        quantities: further clinical baselines: with the quantities as "measured", and "harmonised" by ComBat.
        model: the network under evaluation and its training.
        clinical: the same for the clinical baselines; fitted exactly, as the model, where the file does not say it.
        averaged: another federation of the model's inputs, within centres; None: not run.
        private: a federation with differential privacy, within centres; None: not run.
        vendors: maker of the scanner by centre.
        references: column of cases.csv -> whether a patient with more of it does "better" or "worse".
        leakage: the audit.
    """

    title: str = "fedpet"
    nodes: Annotated[tuple[Path, ...], Field(min_length=2)]
    grid: HyperparameterGrid | None = None
    input_contract: Path | None = None
    endpoint: Endpoint = "progression_free_survival"
    horizon_months: float = 12.0
    designs: tuple[Design, ...] = ("within_centre", "leave_one_centre_out")
    unseen: tuple[str, ...] = ()
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)
    holdout_fraction: float = Field(default=0.3, gt=0, lt=1)
    bootstrap: int = Field(default=1000, ge=20)
    optional_terms: bool = False
    quantised: bool = True
    quantities: tuple[Literal["measured", "harmonised"], ...] = ()
    model: TrainingSection = TrainingSection()
    clinical: TrainingSection = TrainingSection(
        network="clinical", rounds=20, local_epochs=2, batch_size=8, learning_rate=3e-3
    )
    averaged: TrainingSection | None = None
    private: PrivateTraining | None = None
    vendors: dict[str, str] = Field(default_factory=dict)
    references: dict[str, Literal["better", "worse"]] = Field(default_factory=dict)
    leakage: Leakage = Leakage()

    @model_validator(mode="after")
    def _baselines_as_the_model(self) -> EvaluationConfig:
        """Baselines of an exactly fitted model are fitted so too, by as many rounds, unless the file says otherwise."""
        if "clinical" in self.model_fields_set or self.model.method.aggregation.method != "newton":
            return self
        fitted = TrainingSection(network="clinical", aggregation="newton", rounds=self.model.rounds)
        return self.model_copy(update={"clinical": fitted})

    @property
    def contract(self) -> InputContract:
        """The input contract of the node data."""
        contract = InputContract.read(self.input_contract) if self.input_contract else default_contract()
        return replace(contract, **self.grid.model_dump()) if self.grid else contract


def read_config(path: Path) -> EvaluationConfig:
    """Read and check the file.

    Raises:
        SettingsError: it cannot be read, or a value is not one that can be used.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _refused(Message("The configuration of the evaluation cannot be read: {why}.", why=str(error))) from error
    try:
        config = EvaluationConfig.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise _refused(Message("“{name}”: {why}.", name=place, why=first["msg"])) from error
    if config.input_contract is not None:
        config = config.model_copy(update={"input_contract": path.parent / config.input_contract})
    if config.horizon_months not in config.contract.month_edges[1:]:
        edges = ", ".join(f"{edge:g}" for edge in config.contract.month_edges[1:])
        raise SettingsError(
            found=Message("The horizon is {months:g} months.", months=config.horizon_months),
            needed=Message("One of the network's edges: {edges}.", edges=edges),
            advice=Message("Take 12 for PFS12 or 6 for durable benefit."),
        )
    nodes = tuple(path.parent / folder for folder in config.nodes)
    parts = {
        name: part.model_copy(update={"initial": path.parent / part.initial})
        for name in ("model", "clinical", "averaged", "private")
        if (part := getattr(config, name)) is not None and part.initial is not None
    }
    return config.model_copy(update={"nodes": nodes, **parts})


def _refused(found: Message) -> SettingsError:
    return SettingsError(
        found=found,
        needed=Message("A TOML file as docs/evaluation.md describes it."),
        advice=Message("Correct the file."),
    )
