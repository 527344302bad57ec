"""The output of the command: JSON on standard output, everything that people read on standard error."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.table import Table

from fedpet.core.errors import FedpetError, StudyError
from fedpet.core.messages import Message, translate_message
from fedpet.core.profile import Stage
from fedpet.core.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fedpet.core.messages import Language
    from fedpet.core.profile import Profile
    from fedpet.core.progress import Progress

REFUSED = 3  # exit code: the study cannot be used
FAILED = 2  # exit code: any other failure
messages = Console(stderr=True)


def write_json(data: Mapping[str, Any]) -> None:
    """Print one JSON object, and nothing else, on standard output."""
    sys.stdout.write(json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def say(message: Message, language: Language | None = None, *, style: str | None = None) -> None:
    """Print a sentence on standard error, in the language of the settings or in the one given."""
    text = translate_message(language or load_settings().language)(message)
    messages.print(text, style=style, highlight=False, markup=False)


@contextmanager
def progress_bar(language: Language) -> Iterator[Progress]:
    """A progress bar on standard error."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    translate = translate_message(language)
    with RichProgress(*columns, console=messages) as bar:
        task = bar.add_task("", total=1.0)

        def report(fraction: float, message: Message, /) -> None:
            bar.update(task, completed=fraction, description=translate(message))

        yield report


def show_profile(profile: Profile, language: Language) -> None:
    """Print the time of each stage on standard error, in seconds by the clock and of CPU."""
    translate, total = translate_message(language), profile.total
    table = Table(title=translate(Message("Where the time went")))
    table.add_column(translate(Message("Stage")))
    for heading in (Message("Seconds"), Message("CPU seconds"), Message("Share of the CPU")):
        table.add_column(translate(heading), justify="right")
    rows = [(one.label, profile.stages[one]) for one in Stage if one in profile.stages]
    for label, took in (*rows, (Message("Total"), total)):
        share = f"{took.cpu_s / total.cpu_s:.0%}" if total.cpu_s else "–"
        table.add_row(translate(label), f"{took.wall_s:.2f}", f"{took.cpu_s:.2f}", share)
    messages.print(table)


@contextmanager
def reported(*, as_json: bool = False) -> Iterator[None]:
    """Show an error of fedpet by its sentences, and exit with its code."""
    try:
        yield
    except FedpetError as error:
        refuse(error, as_json=as_json)


def show(error: FedpetError) -> None:
    """Print what was found, what is needed and what to do on standard error."""
    try:
        language = load_settings().language
    except FedpetError:  # the settings themselves are what is wrong
        language = "en"
    messages.print(error.translate(translate_message(language)), style="red", highlight=False, markup=False)


def refuse(error: FedpetError, *, as_json: bool) -> NoReturn:
    """Show what was found, what is needed and what to do, then exit: 3 for a refused study, 2 otherwise."""
    key = "refused" if isinstance(error, StudyError) else "error"
    if as_json:
        write_json({key: error_json(error)})
    show(error)
    raise typer.Exit(REFUSED if isinstance(error, StudyError) else FAILED)


def error_json(error: FedpetError) -> dict[str, str]:
    """The three sentences of an error, in English, with its kind."""
    return {
        "kind": type(error).__name__,
        "found": str(error.found),
        "needed": str(error.needed),
        "advice": str(error.advice),
    }
