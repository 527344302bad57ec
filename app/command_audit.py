"""`fedpet audit`: the audit trail of the application."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from app.console import FAILED, messages, reported, write_json
from fedpet.messages import say
from fedpet.settings import load_settings

if TYPE_CHECKING:
    from app.audit import Audit

commands = typer.Typer(help="Verify or export the audit trail.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Write only JSON to standard output.")]


@commands.command()
def verify(json: Json = False) -> None:
    """Follow the chain of the trail; exit code 2 where an entry was changed, removed or inserted."""
    with reported(as_json=json):
        settings = load_settings()
        verdict = _audit().verify()
    if json:
        broken = None if verdict.broken is None else str(verdict.broken)
        write_json({"entries": verdict.entries, "sound": verdict.broken is None, "broken": broken})
    elif verdict.broken is None:
        messages.print(f"{verdict.entries} entries, the chain is sound", highlight=False)
    else:
        messages.print(say(settings.language)(verdict.broken), style="red", highlight=False)
    if verdict.broken is not None:
        raise typer.Exit(FAILED)


@commands.command()
def export() -> None:
    """Write every entry as a line of JSON to standard output, oldest first."""
    with reported():
        audit = _audit()
    for line in audit.export():
        sys.stdout.write(line + "\n")


def _audit() -> Audit:
    from app.audit import Audit
    from app.store import Store

    settings = load_settings()
    return Audit(Store.open(settings).engine, settings.folder)
