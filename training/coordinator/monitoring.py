"""Passes the events of a training on: progress to the screen, a journal to the application, TensorBoard files."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from torch.utils.tensorboard import SummaryWriter

from fedpet.core.messages import Message
from fedpet.core.progress import sub_progress
from training.task.pooled import pooled_loss
from training.task.runs import AGREEMENT, BASELINE
from training.task.statistics import STATISTICS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from fedpet.core.journal import Journal
    from fedpet.core.progress import Progress
    from training.task.runs import Run


_READY = 0.08  # of the progress, when the nodes have answered
_CHEAP = 0.05  # a round of a network without images, relative to one with them


class TrainingMonitor:
    """Receives the researcher's events; a context manager that closes the TensorBoard files.

    The start takes 8 % of the progress; the rounds share the rest.
    """

    def __init__(
        self,
        runs: Mapping[str, Run],
        progress: Progress,
        *,
        journal: Journal | None = None,
        tensorboard: Path | None = None,
        on_event: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self._runs, self._progress, self._journal, self._on_event = runs, progress, journal, on_event
        self._shares = _shares(runs, progress)
        self._writer = SummaryWriter(str(tensorboard)) if tensorboard is not None else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def __call__(self, event: dict[str, Any]) -> None:
        """Pass an event on."""
        if self._on_event is not None:
            self._on_event(event)
        if event["event"] == "waiting":
            self._progress(0.04, Message("Waiting for the sites"))
        elif event["event"] == "ready":
            self._progress(_READY, Message("{count} nodes answer", count=len(event["sites"])))
        elif event["event"] == "repeated":
            if self._journal is not None:
                self._journal.write(**event)
            self._shares[event["run"]](self._done(event["run"], event["round"] - 1), self._repetition(event))
        elif event["event"] == "round":
            self._round(event)
        elif event["event"] in {"validated", "chosen", "stopped"}:
            self._end(event)

    def _end(self, event: dict[str, Any]) -> None:
        if self._journal is not None:
            self._journal.write(**event)
        if event["event"] == "stopped":
            said = Message("Ended after {rounds} rounds: the validation loss got no smaller", rounds=event["rounds"])
            self._shares[event["run"]](1.0, said)

    def _repetition(self, event: dict[str, Any]) -> Message:
        """Why a round, or the final validation after the last one, is repeated."""
        reasons = "; ".join(f"{site} ({reason})" for site, reason in sorted(event["reasons"].items()))
        if event["round"] > self._runs[event["run"]].task.rounds:
            return Message("The final validation is repeated: {reasons}", reasons=reasons)
        return Message("Round {round} is repeated: {reasons}", round=event["round"], reasons=reasons)

    def _round(self, event: dict[str, Any]) -> None:
        if self._journal is not None:
            self._journal.write(**event)
        self._write_scalars(event)
        name = event["run"]
        values = {
            "round": event["round"],
            "rounds": self._runs[name].task.rounds,
            "loss": pooled_loss(event["validation"].values()),
        }
        self._shares[name](self._done(name, event["round"]), _describe(name, values))

    def _done(self, name: str, number: int) -> float:
        return number / self._runs[name].task.rounds

    def _write_scalars(self, event: dict[str, Any]) -> None:
        if self._writer is None:
            return
        number, now = event["round"], time.time()
        for site, metrics in event["validation"].items():
            for metric, value in metrics.items():
                self._writer.add_scalar(f"{event['run']}/{metric}/{site}", value, number, now)
        for site, patients in event["patients"].items():
            self._writer.add_scalar(f"{event['run']}/patients/{site}", patients, number, now)
        self._writer.add_scalar(
            f"{event['run']}/loss/all sites", pooled_loss(event["validation"].values()), number, now
        )
        self._writer.add_scalar(f"{event['run']}/seconds", event["seconds"], number, now)
        self._writer.flush()


def _shares(runs: Mapping[str, Run], progress: Progress) -> dict[str, Progress]:
    """The part of the progress of each run, by its rounds; one with images counts as twenty without."""
    weights = {name: run.task.rounds * (1.0 if run.task.uses_images else _CHEAP) for name, run in runs.items()}
    shares, start = {}, _READY
    for name, weight in weights.items():
        stop = min(start + (1.0 - _READY) * weight / sum(weights.values()), 1.0)
        shares[name] = sub_progress(progress, start, stop)
        start = stop
    return shares


def _describe(name: str, values: Mapping[str, Any]) -> Message:
    if name == STATISTICS:
        return Message("Statistics of the clinical variables")
    if name == AGREEMENT:
        return Message("Comparing the sites' patients by an exact fit")
    if name == BASELINE:
        return Message("Clinical baseline: round {round} of {rounds}, validation loss {loss:.3f}", **values)
    _, _, number = name.partition("-")
    if number:
        return Message("Model {number}: round {round} of {rounds}, validation loss {loss:.3f}", number=number, **values)
    return Message("Model: round {round} of {rounds}, validation loss {loss:.3f}", **values)
