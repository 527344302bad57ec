"""A training on the terminal: one line for each site, a bar with the estimated end, and what happened last."""

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

from app.console import messages
from fedpet.messages import Message, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import RenderableType

    from fedpet.messages import Language
    from fedpet.progress import Progress


class Screen:
    """What is shown: updated by `progress` and by the events of the researcher."""

    def __init__(self, language: Language) -> None:
        self._say: Callable[[Message], str] = say(language)
        self._bar = RichProgress(
            TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn()
        )
        self._task = self._bar.add_task("", total=1.0)
        self._rows: dict[str, dict[str, Any]] = {}
        self._last: dict[str, Any] = {}
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
            return self._say(message)
        begun, first = self._start
        left = (now - begun) / (fraction - first) * (1.0 - fraction)
        end = time.strftime("%H:%M", time.localtime(time.time() + left))
        return self._say(Message("{what} – end about {time}", what=message, time=end))

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
        elif event["event"] == "round":
            self._last = event
            for site, row in self._rows.items():
                if site in event["patients"]:
                    row["note"] = ""
                row["patients"] = event["patients"].get(site)
                row["loss"] = event["validation"].get(site, {}).get("loss")

    def __rich__(self) -> RenderableType:
        table = Table()
        for title in (Message("Site"), Message("Patients"), Message("Validation loss"), Message("Note")):
            table.add_column(self._say(title))
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
            told = Message("SHA-256 of the certificate of this centre: {value}", value=self._certificate)
            parts.insert(0, Text(self._say(told)))
        if self._last:
            told = Message(
                "Round {n}: {seconds:.0f} s, concordance of all sites {value}",
                n=self._last["round"],
                seconds=self._last["seconds"],
                value=_number(self._last["concordance"]),
            )
            parts.append(Text(self._say(told)))
        return Group(*parts)


def _number(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"


@contextmanager
def screen(language: Language) -> Iterator[tuple[Progress, Callable[[dict[str, Any]], None]]]:
    """Draw on standard error; yields the progress and what takes the events."""
    shown = Screen(language)
    try:
        with Live(shown, console=messages, refresh_per_second=4):
            yield shown.progress, shown.event
    finally:
        if not messages.is_terminal:
            messages.print()  # what is drawn last ends without a new line there
