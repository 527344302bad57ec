"""How the command talks: JSON and results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from fedpet.errors import FedpetError, StudyRefused
from fedpet.messages import say
from fedpet.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fedpet.messages import Language, Message
    from fedpet.progress import Progress

REFUSED = 3  # exit code: the study cannot be used
FAILED = 2  # exit code: anything else that was asked for cannot be done
messages = Console(stderr=True)


def write_json(data: Mapping[str, Any]) -> None:
    """Print one JSON object, and nothing else, on standard output."""
    sys.stdout.write(json.dumps(data, indent=1, ensure_ascii=False) + "\n")


@contextmanager
def progress_bar(language: Language) -> Iterator[Progress]:
    """A progress bar on standard error."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    translate = say(language)
    with RichProgress(*columns, console=messages) as bar:
        task = bar.add_task("", total=1.0)

        def report(fraction: float, message: Message, /) -> None:
            bar.update(task, completed=fraction, description=translate(message))

        yield report


@contextmanager
def reported(*, as_json: bool = False) -> Iterator[None]:
    """Turn an error of fedpet into its sentences and its exit code."""
    try:
        yield
    except FedpetError as error:
        refuse(error, as_json=as_json)


def refuse(error: FedpetError, *, as_json: bool) -> NoReturn:
    """Say what was found, needed and what to do, then exit: 3 for a refused study, 2 otherwise."""
    key = "refused" if isinstance(error, StudyRefused) else "error"
    if as_json:
        write_json({key: error_json(error)})
    try:
        language = load_settings().language
    except FedpetError:  # the settings themselves are what is wrong
        language = "en"
    messages.print(error.translate(say(language)), style="red", highlight=False, markup=False)
    raise typer.Exit(REFUSED if isinstance(error, StudyRefused) else FAILED)


def error_json(error: FedpetError) -> dict[str, str]:
    """The three sentences of an error, in English, with its kind."""
    return {
        "kind": type(error).__name__,
        "found": str(error.found),
        "needed": str(error.needed),
        "advice": str(error.advice),
    }
