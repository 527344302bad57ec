"""The journal of a training: `progress.jsonl` in the folder of a run, one JSON object a line, only ever appended.

::

    {"event": "started", "moment", "name", "version", "sites": [...], "rounds": {run: number}, "synthetic"}
    {"event": "round", "moment", "run", "round", "seconds", "patients": {site: n}, "validation": {site: {metric: x}},
     "concordance"}
    {"event": "validated", "moment", "run", "validation": {site: {metric: x}}, "concordance"}
    {"event": "done" | "stopped", "moment", "why"}

A training writes it as it goes, the application reads it meanwhile. Nothing in it is about a single patient.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Self

from fedpet.core.errors import FedpetError
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

NAME = "progress.jsonl"


class Journal:
    """Writes the journal of a run into a new folder; as a context manager it also tells how the run ended."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder

    @classmethod
    def new(cls, runs: Path) -> Self:
        """In a folder of its own below `runs`, named by the time."""
        return cls(runs / datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f"))

    def write(self, event: str, **facts: Any) -> None:
        """Append a line; what is not a number becomes null."""
        line = {"event": event, "moment": datetime.now(UTC).isoformat(timespec="seconds"), **_finite(facts)}
        with (self.folder / NAME).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.write("done")
        else:
            why = error.found if isinstance(error, FedpetError) else Message("The training was stopped.")
            self.write("stopped", why=why.to_json())


@dataclass(frozen=True)
class Round:
    """A round of one training of the federation.

    Attributes:
        number: from 1.
        seconds: how long it took.
        patients: on which each site trained.
        validation: metrics of each site, of the model that the round started from; None where not a number.
        concordance: of the pooled sites; None where it is not known.
    """

    number: int
    seconds: float
    patients: Mapping[str, int]
    validation: Mapping[str, Mapping[str, float | None]]
    concordance: float | None

    def metric(self, site: str, name: str) -> float | None:
        """A metric of a site; None where it has none."""
        return self.patients.get(site) if name == "patients" else self.validation.get(site, {}).get(name)

    def pooled(self, name: str) -> float | None:
        """The mean of a metric over the validation patients of all sites; for "patients" their sum."""
        if name == "patients":
            return sum(self.patients.values())
        known = [(one[name], one.get("n") or 0.0) for one in self.validation.values() if one.get(name) is not None]
        total = sum(n for _, n in known)
        return sum((value or 0.0) * n for value, n in known) / total if total else None


@dataclass(frozen=True)
class TrainingRun:
    """What the journal tells so far.

    Attributes:
        planned: number of rounds, by name of the training ("model", then baselines).
        rounds: those that are over, by name of the training.
        news: time of the last line.
        synthetic: patients are known to be simulated.
        why: what stopped it.
    """

    name: str
    version: str
    started: datetime
    sites: tuple[str, ...]
    planned: Mapping[str, int]
    rounds: Mapping[str, tuple[Round, ...]]
    state: Literal["running", "done", "stopped"]
    news: datetime
    synthetic: bool
    why: Message | None = None


def read_run(folder: Path) -> TrainingRun | None:
    """The run in a folder; None where there is no journal, or no whole first line yet."""
    try:
        text = (folder / NAME).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]  # a line being written waits
    if not lines or lines[0]["event"] != "started":
        return None
    first = lines[0]
    run = TrainingRun(
        name=first["name"],
        version=first["version"],
        started=datetime.fromisoformat(first["moment"]),
        sites=tuple(first["sites"]),
        planned=first["rounds"],
        rounds={name: _rounds(name, lines) for name in first["rounds"]},
        state="running",
        news=datetime.fromisoformat(lines[-1]["moment"]),
        synthetic=first.get("synthetic", False),
    )
    last = lines[-1]
    if last["event"] == "done":
        return replace(run, state="done")
    return replace(run, state="stopped", why=Message.from_json(last["why"])) if last["event"] == "stopped" else run


def read_runs(folder: Path) -> list[TrainingRun]:
    """The runs below a folder, newest first."""
    folders = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    found = [run for run in map(read_run, folders) if run is not None]
    return sorted(found, key=lambda run: run.started, reverse=True)


def _rounds(name: str, lines: Sequence[Mapping[str, Any]]) -> tuple[Round, ...]:
    return tuple(
        Round(line["round"], line["seconds"], line["patients"], line["validation"], line["concordance"])
        for line in lines
        if line["event"] == "round" and line["run"] == name
    )


def _finite(value: Any) -> Any:  # noqa: ANN401  JSON has no narrower type
    """The same data, None in place of what is not a finite number."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
