"""A training on the terminal: a table of the sites, a bar with the estimated end, the last result; else as lines."""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

from app.cli.console import messages
from fedpet.core.messages import Message, translate_message
from training.task.pooled import loss_error, pooled_loss
from training.task.runs import BASELINE, EVALUATION, MODEL, WITHOUT_MODEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import RenderableType

    from fedpet.core.messages import Language
    from fedpet.core.progress import Progress


class TrainingProgressView:
    """What is shown: updated by `progress` and by the events of the researcher."""

    def __init__(self, language: Language) -> None:
        self._translate: Callable[[Message], str] = translate_message(language)
        self._bar = RichProgress(
            TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn()
        )
        self._task = self._bar.add_task("", total=1.0)
        self._rows: dict[str, dict[str, Any]] = {}
        self._last: dict[str, Any] = {}
        self._final: dict[str, Any] = {}
        self._certificate = ""
        self._start: tuple[float, float] | None = None

    def progress(self, fraction: float, message: Message, /) -> None:
        """Move the bar."""
        now = time.monotonic()
        if self._start is None and fraction > 0.0:
            self._start = (now, fraction)
        self._bar.update(self._task, completed=fraction, description=self._describe(fraction, message, now))

    def _describe(self, fraction: float, message: Message, now: float) -> str:
        """The message, with the estimated end at the pace so far."""
        if self._start is None or fraction <= self._start[1] or fraction >= 1.0:
            return self._translate(message)
        begun, first = self._start
        left = (now - begun) / (fraction - first) * (1.0 - fraction)
        end = time.strftime("%H:%M", time.localtime(time.time() + left))
        return self._translate(Message("{what} – end about {time}", what=message, time=end))

    def event(self, event: dict[str, Any]) -> None:
        """Take an event of the researcher."""
        if event["event"] == "waiting":
            self._certificate = event["certificate"]
        elif event["event"] == "ready":
            self._rows = {site: {} for site in event["sites"]}
            self._start = None  # how long the sites took to come says nothing about the rounds
        elif event["event"] == "repeated":
            for site, reason in event["reasons"].items():
                self._rows.setdefault(site, {})["note"] = reason
        elif event["event"] == "round" and event["run"] not in {BASELINE, *WITHOUT_MODEL}:
            self._last = event
            for site, row in self._rows.items():
                if site in event["patients"]:
                    row["note"] = ""
                row["patients"] = event["patients"].get(site)
                row["loss"] = event["validation"].get(site, {}).get("loss")
        elif event["event"] == "validated" and event["run"] == MODEL:
            self._final = event
            for site, row in self._rows.items():
                row["loss"] = event["validation"].get(site, {}).get("loss")

    def __rich__(self) -> RenderableType:
        table = Table()
        for title in (Message("Site"), Message("Patients"), Message("Validation loss"), Message("Note")):
            table.add_column(self._translate(title))
        for site, row in sorted(self._rows.items()):
            loss, patients = row.get("loss"), row.get("patients")
            table.add_row(
                site,
                "–" if patients is None else str(patients),
                "–" if loss is None else f"{loss:.3f}",
                Text(row.get("note", "")),
            )
        parts: list[RenderableType] = [table, self._bar] if self._rows else [self._bar]
        if self._certificate and not self._rows:
            parts.insert(0, Text(self._translate(_certificate(self._certificate))))
        if self._final or self._last:
            parts.append(Text(self._translate(self._outcome())))
        return Group(*parts)

    def _outcome(self) -> Message:
        """The final validation of the model, or before it the last round."""
        return _final_validation(self._final) if self._final else _last_round(self._last)


class TrainingLog:
    """What happens, line by line with the time of day, where there is no terminal to draw on."""

    def __init__(self, language: Language) -> None:
        self._translate: Callable[[Message], str] = translate_message(language)
        self._last = ""

    def progress(self, fraction: float, message: Message, /) -> None:
        """Write a message, unless it is the last one."""
        text = self._translate(message)
        if text != self._last:
            self._write(f"{100 * fraction:3.0f} %  {text}")
            self._last = text

    def event(self, event: dict[str, Any]) -> None:
        """Write what an event of the researcher says of the sites."""
        if event["event"] == "waiting":
            self._write(self._translate(_certificate(event["certificate"])))
        elif event["event"] == "ready":
            self._write(self._translate(Message("Sites: {names}", names=", ".join(event["sites"]))))
        elif event["event"] == "round":
            for site, patients in sorted(event["patients"].items()):
                loss = event["validation"].get(site, {}).get("loss")
                words = {"site": site, "patients": patients, "loss": _number(loss)}
                self._write(
                    "       " + self._translate(Message("{site}: {patients} patients, validation loss {loss}", **words))
                )
            if vetoes := int(sum(site.get("vetoes", 0.0) for site in event["validation"].values())):
                said = Message("{count} sites did not take the model that the round began with.", count=vetoes)
                self._write("       " + self._translate(said))
        elif event["event"] == "repeated" and event["run"] == EVALUATION:
            reasons = "; ".join(f"{site} ({reason})" for site, reason in sorted(event["reasons"].items()))
            self._write(self._translate(Message("The evaluation is repeated: {reasons}", reasons=reasons)))
        elif event["event"] == "validated" and event["run"] in {MODEL, EVALUATION}:
            self._write(self._translate(_final_validation(event)))

    @staticmethod
    def _write(line: str) -> None:
        messages.print(f"{time.strftime('%H:%M:%S')} {line}", highlight=False, markup=False, soft_wrap=True)


def _certificate(sha256: str) -> Message:
    return Message("SHA-256 of the certificate of this centre: {value}", value=sha256)


def _final_validation(event: dict[str, Any]) -> Message:
    sites = event["validation"].values()
    return Message(
        "Final validation: {patients} patients of {sites} sites, loss {loss} ± {error}, concordance {value}",
        patients=int(sum(site.get("n", 0.0) for site in sites)),
        sites=int(sum(site.get("sites", 1.0) for site in sites)),
        loss=_number(pooled_loss(sites)),
        error=_number(loss_error(sites)),
        value=_number(event["concordance"]),
    )


def _last_round(event: dict[str, Any]) -> Message:
    return Message(
        "Round {n}: {seconds:.0f} s, concordance of all sites {value}",
        n=event["round"],
        seconds=event["seconds"],
        value=_number(event["concordance"]),
    )


def _number(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"


@contextmanager
def screen(language: Language) -> Iterator[tuple[Progress, Callable[[dict[str, Any]], None]]]:
    """Show a training on standard error; yields the progress and the receiver of the events."""
    if not messages.is_terminal:
        log = TrainingLog(language)
        yield log.progress, log.event
        return
    view = TrainingProgressView(language)
    with Live(view, console=messages, refresh_per_second=4):
        yield view.progress, view.event
