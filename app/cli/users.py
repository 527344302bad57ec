"""`fedpet users`: who signed in to the application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.console import FAILED, reported, say, write_json
from app.cli.options import operator
from fedpet.core.messages import Message
from fedpet.core.settings import load_settings

if TYPE_CHECKING:
    from app.services import Services

commands = typer.Typer(help="Users of the application.", no_args_is_help=True)


@commands.command(name="list")
def listed() -> None:
    """Write who signed in, as JSON: name, role at the last sign-in, and when that was."""
    with reported():
        accounts = _services().accounts.all()
    write_json({"users": [{"name": one.name, "role": one.role, "seen": one.seen.isoformat()} for one in accounts]})


@commands.command()
def release(name: Annotated[str, typer.Argument(help="Name of the user.")]) -> None:
    """Release a name for another account of the provider, after an account was replaced there."""
    with reported():
        opened = _services()
        released = opened.accounts.release(name)
    if not released:
        say(Message("No such user."), style="red")
        raise typer.Exit(FAILED)
    opened.workflow.audit.record(operator(), "user.released", detail={"user": name})


def _services() -> Services:
    from app.services import open_services

    return open_services(load_settings())
