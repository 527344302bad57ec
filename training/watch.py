"""Who watches a training: progress for the screen, the journal for the application, TensorBoard files for experts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from torch.utils.tensorboard import SummaryWriter

from fedpet.messages import Message
from fedpet.progress import part
from training.card import pooled_loss
from training.runs import BASELINE
from training.statistics import STATISTICS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from fedpet.journal import Journal
    from fedpet.progress import Progress
    from training.runs import Run


_READY = 0.08  # of the progress, once the nodes answer
_CHEAP = 0.05  # a round of a network without images against one with them


class Watch:
    """Takes the researcher's events; a context manager that closes the TensorBoard files.

    Progress takes 8 % to start, then the rounds of the model and of its members, then the others.
    """

    def __init__(
        self,
        runs: Mapping[str, Run],
        progress: Progress,
        *,
        journal: Journal | None = None,
        tensorboard: Path | None = None,
        further: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.facts: dict[str, dict[str, Any]] = {}
        self._runs, self._progress, self._journal, self._further = runs, progress, journal, further
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
        """Tell everyone."""
        if self._further is not None:
            self._further(event)
        if event["event"] == "waiting":
            self._progress(0.04, Message("Waiting for the sites"))
        elif event["event"] == "ready":
            self.facts = event["facts"]
            self._progress(_READY, Message("{count} nodes answer", count=len(event["sites"])))
        elif event["event"] == "repeated":
            words = Message(
                "Round {round} is repeated: {reasons}",
                round=event["round"],
                reasons="; ".join(f"{site} ({reason})" for site, reason in sorted(event["reasons"].items())),
            )
            self._shares[event["run"]](self._done(event["run"], event["round"] - 1), words)
        elif event["event"] == "round":
            self._round(event)

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
    """The part of the progress of each run: by its rounds, one with images counts as twenty without."""
    weights = {name: run.task.rounds * (1.0 if run.task.images else _CHEAP) for name, run in runs.items()}
    shares, start = {}, _READY
    for name, weight in weights.items():
        stop = min(start + (1.0 - _READY) * weight / sum(weights.values()), 1.0)
        shares[name] = part(progress, start, stop)
        start = stop
    return shares


def _describe(name: str, values: Mapping[str, Any]) -> Message:
    if name == STATISTICS:
        return Message("Statistics of the clinical variables")
    if name == BASELINE:
        return Message("Clinical baseline: round {round} of {rounds}, validation loss {loss:.3f}", **values)
    _, _, number = name.partition("-")
    if number:
        return Message("Model {number}: round {round} of {rounds}, validation loss {loss:.3f}", number=number, **values)
    return Message("Model: round {round} of {rounds}, validation loss {loss:.3f}", **values)
