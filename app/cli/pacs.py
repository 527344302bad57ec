"""`fedpet pacs`: search, fetch from, send to, or receive from the hospital's PACS; see docs/pacs.md.

The answers of `find` are for the user who searched, on standard output; they are never logged.
"""

from __future__ import annotations

import json as lines
import signal
import sys
import threading
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.cli.console import FAILED, error_json, messages, progress_bar, reported, say, show, write_json
from fedpet.core.errors import FedpetError, PacsError
from fedpet.core.locks import only_server
from fedpet.core.logs import discreet_logs
from fedpet.core.messages import Message, translate_message
from fedpet.core.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.exchange.receiver import Notice
    from fedpet.core.messages import Language

commands = typer.Typer(help="Connection to the hospital's PACS.", no_args_is_help=True)
Name = Annotated[str, typer.Option("--pacs", help="Name of the PACS in the settings; the only one by default.")]
Json = Annotated[bool, typer.Option("--json", help="Write only JSON to standard output.")]
_WIDE = 1000
_COLUMNS = {
    "patient": ("patient_id", "patient_name", "birth_date", "sex"),
    "study": ("patient_id", "patient_name", "date", "accession", "modalities", "images", "description", "study_uid"),
    "series": ("modality", "number", "description", "images", "series_uid"),
}


@commands.command()
def echo(name: Name = "", json: Json = False) -> None:
    """Check that each PACS (or the named one) answers."""
    from app.exchange.cases import connect

    with reported(as_json=json):
        settings = load_settings()
        archives = [connect(settings, one) for one in ([name] if name else sorted(settings.pacs) or [""])]
    answers: dict[str, Any] = {}
    for archive in archives:
        try:
            archive.echo()
        except FedpetError as error:
            answers[archive.name] = {"answers": False, "error": error_json(error)}
            show(error)
        else:
            answers[archive.name] = {"answers": True}
            say(Message("{name} answers.", name=archive.name))
    if json:
        write_json({"pacs": answers})
    if not all(answer["answers"] for answer in answers.values()):
        raise typer.Exit(FAILED)


@commands.command()
def find(
    patient_id: Annotated[str, typer.Option(help="Patient identifier, with * and ?; “-” prompts for it.")] = "",
    accession: Annotated[str, typer.Option(help="Accession number, with * and ?.")] = "",
    since: Annotated[datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First study date.")] = None,
    until: Annotated[datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last study date.")] = None,
    modality: Annotated[str, typer.Option(help="Modality, for example PT.")] = "",
    study: Annotated[str, typer.Option(help="Study Instance UID.")] = "",
    level: Annotated[Literal["patient", "study", "series"], typer.Option(help="What to list.")] = "study",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most answers.")] = 200,
    name: Name = "",
    json: Json = False,
) -> None:
    """Search patients, studies, or the series of a study. The answer names patients."""
    from app.exchange.cases import connect, viewer_link
    from app.pacs.query import Query

    if patient_id == "-":
        patient_id = typer.prompt("Patient identifier", err=True)
    with reported(as_json=json):
        archive = connect(load_settings(), name)
        query = Query(
            patient_id=patient_id,
            accession=accession,
            since=since.date() if since else None,
            until=until.date() if until else None,
            modality=modality,
            study_uid=study,
        )
        rows = archive.find(query, level, limit)
    more, linked = len(rows) == limit, bool(archive.settings.ohif) and level != "patient"
    if linked:
        rows = [{**row, "viewer": viewer_link(archive.settings, row["study_uid"])} for row in rows]
    if json:
        write_json({"pacs": archive.name, "level": level, "rows": rows, "more": more})
        return
    table = Table(box=None)
    columns = [*_COLUMNS[level], *(["viewer"] if linked else [])]
    for column in columns:
        table.add_column(column, no_wrap=True)
    for row in rows:
        table.add_row(*(escape(row[column]) for column in columns))
    Console(width=_WIDE).print(table, highlight=False)  # an identifier in one piece can be copied
    if more:
        say(Message("Only the first {n} answers are shown.", n=limit), style="yellow")


@commands.command()
def get(
    study: Annotated[str, typer.Argument(help="Study Instance UID, as find shows it.")],
    out: Annotated[Path | None, typer.Option(help="New folder for the images.")] = None,
    case: Annotated[bool, typer.Option("--case", help="Make a case of the PET and CT series instead.")] = False,
    modality: Annotated[list[str] | None, typer.Option(help="Only series of this modality; may be repeated.")] = None,
    name: Name = "",
    json: Json = False,
) -> None:
    """Fetch a study as a whole, into a new folder or as a new case."""
    from app.cases.options import input_limits
    from app.exchange.cases import connect, import_case
    from app.pacs.transfer import fetch_study
    from app.services import open_services

    with reported(as_json=json):
        settings = load_settings()
        if (out is None) == (not case):
            raise PacsError(
                found=Message("It is not clear where the study should go."),
                needed=Message("Either a new folder, or a new case."),
                advice=Message("Give --out FOLDER or --case."),
            )
        archive = connect(settings, name)
        with progress_bar(settings.language) as progress:
            if out is not None:
                bounds = input_limits(settings)
                fetched = fetch_study(archive, study, out, limits=bounds, modalities=modality or (), progress=progress)
                facts = asdict(fetched)
            else:
                workflow, language = open_services(settings).workflow, settings.language
                made = import_case(
                    workflow, settings, archive, study, language=language, actor="fedpet", progress=progress
                )
                facts = {"case": made}
    _show(facts, as_json=json)


@commands.command()
def send(
    source: Annotated[Path, typer.Argument(exists=True, help="DICOM file, or folder of DICOM files.")],
    name: Name = "",
    json: Json = False,
) -> None:
    """Send DICOM objects; an error says how many were not stored."""
    from app.exchange.cases import connect
    from app.pacs.transfer import send_files

    with reported(as_json=json):
        settings = load_settings()
        archive = connect(settings, name)
        with progress_bar(settings.language) as progress:
            shipped = send_files(archive, source, progress=progress)
    _show(asdict(shipped), as_json=json)


@commands.command()
def listen(
    watch: Annotated[Path | None, typer.Option(exists=True, file_okay=False, help="Also empty this folder.")] = None,
    json: Json = False,
) -> None:
    """Receive studies until interrupted: each becomes a case when it is complete; results may be sent back."""
    from app.exchange.receiver import Listener
    from app.services import open_services

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    discreet_logs()
    with reported(as_json=json):
        settings = load_settings()
        if watch is not None:
            settings = settings.model_copy(
                update={"pacs_listen": settings.pacs_listen.model_copy(update={"watch": watch})}
            )
        with only_server(settings.folder, "pacs listen"):
            services = open_services(settings)
            listener = Listener(settings, services.workflow, _notifier(settings.language, as_json=json))
            try:
                listener.run(stop)
            finally:
                services.jobs.stop()
                services.store.close()


def _notifier(language: Language, *, as_json: bool) -> Callable[[Notice], None]:
    """Prints events: JSON lines on standard output, or sentences on standard error."""

    def show(notice: Notice) -> None:
        if as_json:
            line = {"event": notice.kind, "case": notice.case, "message": str(notice.message)}
            sys.stdout.write(lines.dumps(line, ensure_ascii=False) + "\n")
            sys.stdout.flush()
        else:
            case = f" [{notice.case}]" if notice.case else ""
            messages.print(f"{translate_message(language)(notice.message)}{case}", highlight=False, markup=False)

    return show


def _show(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        write_json(facts)
    else:
        messages.print(", ".join(f"{key}: {value}" for key, value in facts.items()), highlight=False, markup=False)
