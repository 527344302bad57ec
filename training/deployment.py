"""`fedpet train run CONFIG`: the coordinating centre of a federation of hospitals, from a TOML file to a bundle."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path  # noqa: TC003  pydantic reads the annotations at run time
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.torch import load_file

from fedpet.errors import FederationError, SettingsError
from fedpet.messages import Message
from fedpet.progress import silent
from inference.contract import Contract, default_contract
from training.card import Site
from training.federation import MINIMUM_NODES, TAGS, Federation
from training.initial import read_initial, told_of
from training.method import Aggregation, Method, Privacy
from training.node_data import NodeCase
from training.outcome import collect, require_empty, write
from training.runs import Run, plan_runs, to_config
from training.statistics import STATISTICS, describe
from training.task import Task
from training.tripod import Study
from training.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fedpet.journal import Journal
    from fedpet.progress import Progress
    from training.card import Trained
    from training.initial import Initial


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Researcher(_Table):
    """`[researcher]`: the address that nodes reach, the folder of its identity, and its certificate (PEM)."""

    host: str
    port: int = Field(default=50051, ge=1, le=65535)
    folder: Path
    certificate: Path | None = None
    key: Path | None = None


class Sites(_Table):
    """`[sites]`: names of the sites' data, the smallest number in a round (all by default), and how long to wait."""

    expected: tuple[str, ...] = Field(min_length=MINIMUM_NODES)
    minimum: int | None = Field(default=None, ge=2)
    wait_seconds: float = Field(default=1800.0, gt=0.0)


class Training(_Table):
    """`[training]`."""

    network: str = "evidence"
    network_config: dict[str, Any] = {}
    rounds: int = Field(default=12, ge=1)
    local_epochs: int = Field(default=1, ge=1)
    batch_size: int = Field(default=4, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0.0)
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    minimum_patients: int = Field(default=10, ge=1)
    initial: Path | None = None
    frozen: tuple[str, ...] = ()
    gpu: bool = False
    statistics: bool = True


class Limits(_Table):
    """`[limits]`: of a round."""

    round_seconds: float = Field(default=3600.0, gt=0.0)
    retries: int = Field(default=3, ge=0)
    norm_jump: float = Field(default=3.0, gt=1.0)


class RunFile(_Table):
    """The file: what is trained, by whom, how, within which limits; paths are relative to it."""

    name: str
    version: str
    out: Path
    work: Path
    contract: Path | None = None
    researcher: Researcher
    sites: Sites
    training: Training = Training()
    aggregation: Aggregation = Aggregation()
    privacy: Privacy = Privacy()
    limits: Limits = Limits()
    study: Study = Study()

    @property
    def minimum(self) -> int:
        """Smallest number of sites in a round."""
        return self.sites.minimum or len(self.sites.expected)

    def task(self) -> Task:
        """The work that every node is asked for."""
        contract = default_contract() if self.contract is None else Contract.read(self.contract)
        training = self.training.model_dump(exclude={"gpu", "initial", "local_epochs", "seeds", "statistics"})
        return Task(contract=contract, **training, method=Method(aggregation=self.aggregation, privacy=self.privacy))


def read_run_file(path: Path) -> RunFile:
    """Read and check the file.

    Raises:
        SettingsError: it is no TOML, a key is unknown or missing, or a value is out of range.
    """
    try:
        settings = RunFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _refused(Message("The file {name} is no TOML that can be read.", name=path.name)) from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise _refused(Message("{key}: {problem}.", key=key, problem=first["msg"])) from error
    if (settings.researcher.certificate is None) != (settings.researcher.key is None):
        raise _refused(Message("Only one of certificate and key."))
    if settings.minimum > len(settings.sites.expected):
        raise _refused(Message("A minimum of {count} sites.", count=settings.minimum))
    return _anchored(settings, path.resolve().parent)


def _anchored(settings: RunFile, folder: Path) -> RunFile:
    def below(path: Path | None) -> Path | None:
        return folder / path if path is not None else None

    researcher = settings.researcher.model_copy(
        update={
            "folder": below(settings.researcher.folder),
            "certificate": below(settings.researcher.certificate),
            "key": below(settings.researcher.key),
        }
    )
    paths = {"out": below(settings.out), "work": below(settings.work), "contract": below(settings.contract)}
    training = settings.training.model_copy(update={"initial": below(settings.training.initial)})
    return settings.model_copy(update={**paths, "researcher": researcher, "training": training})


def _refused(found: Message) -> SettingsError:
    return SettingsError(
        found=found,
        needed=Message("The keys and values that docs/federation.md describes."),
        advice=Message("Correct the file of the training."),
    )


def run(
    settings: RunFile,
    *,
    resume: bool = False,
    command: str = "fedpet train run",
    journal: Journal | None = None,
    progress: Progress = silent,
    further: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """Train with the hospitals' nodes, and write the bundle; with personal parameters, only the shared weights.

    Args:
        settings: of `read_run_file`.
        resume: go on after the last finished round of the same work folder.
        command: for the card.
        journal: told of the sites and of every round.
        progress: told of every round.
        further: called with every event of the researcher.

    Returns:
        The folder of the bundle, or of the shared weights.

    Raises:
        FederationError: the federation did not run as configured, or a setting would not do what it says.
        ExportRefused: ONNX Runtime and torch differ.
    """
    task = settings.task()
    runs = plan_runs(task, settings.training.local_epochs, settings.training.seeds)
    asked = {**runs, **_statistics(settings, task)}
    for one in asked.values():
        one.task.require_sound(settings.minimum)
    require_empty(settings.out)
    initial = read_initial(settings.training.initial, task) if settings.training.initial else None
    results = _results(settings.work, resume=resume)
    if journal is not None:
        planned = {one: run.task.rounds for one, run in asked.items()}
        journal.write(
            "started",
            name=settings.name,
            version=settings.version,
            sites=sorted(settings.sites.expected),
            rounds=planned,
        )
    watch = Watch(asked, progress, journal=journal, tensorboard=settings.work / "tensorboard", further=further)
    researcher = settings.researcher
    with (
        Federation(
            {}, settings.work, host=researcher.host, port=researcher.port, researcher=researcher.folder
        ) as federation,
        watch,
    ):
        federation.run_researcher(_config(settings, asked, results, initial, resume=resume), watch)
    trained = collect(runs, results)
    if settings.aggregation.personal:
        return results
    write(
        trained,
        settings.out,
        about={
            "name": settings.name,
            "version": settings.version,
            "command": command,
            **_told(asked, results),
            **told_of(initial, task),
        },
        sites=_sites(trained, watch.facts),
        cases=_made_up(task.contract),
        study=settings.study,
    )
    return settings.out


def _statistics(settings: RunFile, task: Task) -> dict[str, Run]:
    """One round more for the statistics; none with differential privacy, for they carry no noise."""
    if not settings.training.statistics or settings.privacy.local:
        return {}
    return {STATISTICS: Run(statistics_task(task), 1)}


def statistics_task(model: Task) -> Task:
    """One round of the model's federation in which the sites send statistics."""
    method = model.method.model_copy(update={"aggregation": Aggregation()})
    return replace(
        model, network=STATISTICS, network_config={}, rounds=1, ridge=0.0, augment=False, frozen=(), method=method
    )


def _told(asked: Mapping[str, Run], results: Path) -> dict[str, Any]:
    """What the statistics add to the card."""
    if STATISTICS not in asked:
        return {}
    parameters = load_file(results / f"{STATISTICS}.safetensors")
    return {"clinical_statistics": describe(parameters, asked[STATISTICS].task.contract)}


def _config(
    settings: RunFile, runs: Mapping[str, Run], results: Path, initial: Initial | None, *, resume: bool
) -> dict[str, Any]:
    researcher = settings.researcher
    given = researcher.certificate is not None
    return {
        "tags": TAGS,
        "sites": list(settings.sites.expected),
        "minimum": settings.minimum,
        **to_config(runs, results, initial),
        "round_seconds": settings.limits.round_seconds,
        "wait_seconds": settings.sites.wait_seconds,
        "retries": settings.limits.retries,
        "norm_jump": settings.limits.norm_jump,
        "certificate": [str(researcher.certificate), str(researcher.key)] if given else None,
        "use_gpu": settings.training.gpu,
        "resume": resume,
    }


def _results(work: Path, *, resume: bool) -> Path:
    results = work / "results"
    if not resume:
        require_empty(results)
    elif not results.is_dir():
        raise FederationError(
            found=Message("There is no training to resume in {name}.", name=work.name),
            needed=Message("The work folder of a training that was stopped."),
            advice=Message("Start it without resume."),
        )
    results.mkdir(parents=True, exist_ok=True)
    return results


def _sites(trained: Trained, facts: Mapping[str, Mapping[str, Any]]) -> list[Site]:
    """Every site that trained in a round, as far as its node told."""
    patients: dict[str, int] = {}
    for entry in trained.rounds():
        patients |= entry["patients"]
    sites = []
    for name, training in sorted(patients.items()):
        known = facts.get(name, {})
        validation = known.get("patients", training) - training
        sites.append(Site(name, training, validation, bool(known.get("synthetic")), known.get("events")))
    return sites


def _made_up(contract: Contract) -> Sequence[NodeCase]:
    """Images of noise on which the export is compared with torch: here are no patients."""
    generator = np.random.default_rng(0)
    shape, concepts = contract.shape, len(contract.concepts)
    return [
        NodeCase(
            image=np.stack([generator.gamma(2.0, 1.0, shape), generator.normal(0.0, 300.0, shape)]).astype(np.float16),
            clinical=generator.normal(size=len(contract.inputs)).astype(np.float32),
            months=1.0,
            event=False,
            concepts=np.zeros((concepts, *shape), np.uint8),
            supervised=np.zeros(concepts, np.bool_),
        )
        for _ in range(2)
    ]
