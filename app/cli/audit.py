"""`fedpet audit`: the audit trail of the application."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.console import FAILED, reported, say, write_json
from app.cli.options import operator
from fedpet.core.errors import SettingsError
from fedpet.core.messages import Message
from fedpet.core.settings import load_settings

if TYPE_CHECKING:
    from app.audit.trail import AuditTrail

commands = typer.Typer(help="Verify, export or stamp the audit trail.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Write only JSON to standard output.")]


@commands.command()
def verify(json: Json = False) -> None:
    """Follow the chain of the trail; exit code 2 where an entry was changed, removed or inserted."""
    with reported(as_json=json):
        verdict = audit_trail().verify()
    if json:
        broken = None if verdict.broken is None else str(verdict.broken)
        write_json({"entries": verdict.entries, "sound": verdict.broken is None, "broken": broken})
    elif verdict.broken is None:
        say(Message("One entry, the chain is sound.", "{count} entries, the chain is sound.", count=verdict.entries))
    else:
        say(verdict.broken, style="red")
    if verdict.broken is not None:
        raise typer.Exit(FAILED)


@commands.command()
def export() -> None:
    """Write every entry as a line of JSON to standard output, oldest first."""
    with reported():
        audit = audit_trail()
    for line in audit.export():
        sys.stdout.write(line + "\n")


@commands.command()
def reseal(
    reason: Annotated[str, typer.Option(help="Why the trail may go on from here; never a name.")],
    json: Json = False,
) -> None:
    """Take note of a broken trail, as after a restored backup: an entry says what was found, and the head is new."""
    with reported(as_json=json):
        audit = audit_trail()
        before = audit.verify().broken
        entry = audit.reseal(actor=operator(), reason=reason)
    if json:
        write_json({"entry": entry.number, "broken": None if before is None else str(before)})
    else:
        say(Message("Entry {n} records it; the trail goes on from there.", n=entry.number))


@commands.command()
def stamp(json: Json = False) -> None:
    """Have the authority of the setting audit_authority stamp the latest entry, and with it all before (RFC 3161)."""
    with reported(as_json=json):
        authority = load_settings().audit_authority
        if not authority:
            raise SettingsError(
                found=Message("No authority of time stamps is set."),
                needed=Message("Its address in the setting audit_authority."),
                advice=Message("Ask the hospital's IT department which authority it uses."),
            )
        audit = audit_trail()
        newest = audit.entries(newest=1)
        made = audit.stamps.request(newest[0], authority) if newest else None
    if json:
        write_json({} if made is None else {"entry": made.number, "moment": made.moment.isoformat()})
    elif made is None:
        say(Message("The trail has no entry yet."))
    else:
        moment = made.moment.isoformat(sep=" ", timespec="seconds")
        say(Message("Entry {n} and all before it are stamped at {moment}.", n=made.number, moment=moment))


def audit_trail() -> AuditTrail:
    """The trail of the database in the settings.

    Raises:
        SettingsError: the database cannot be used.
    """
    from app.audit.trail import AuditTrail
    from app.cases.store import Store

    settings = load_settings()
    return AuditTrail.of(Store.open(settings).engine, settings)
