"""`fedpet users`: who signed in to the application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from app.command_study import operator
from app.console import FAILED, messages, reported, write_json
from fedpet.settings import load_settings

if TYPE_CHECKING:
    from app.services import Services

commands = typer.Typer(help="Users of the application.", no_args_is_help=True)


@commands.command(name="list")
def listed() -> None:
    """Write who signed in, as JSON: name, role at the last sign-in, and when that was."""
    with reported():
        accounts = _services().accounts.listed()
    write_json({"users": [{"name": one.name, "role": one.role, "seen": one.seen.isoformat()} for one in accounts]})


@commands.command()
def release(name: Annotated[str, typer.Argument(help="Name of the user.")]) -> None:
    """Let another account of the provider bear a name, after an account was made anew there."""
    with reported():
        opened = _services()
        released = opened.accounts.release(name)
    if not released:
        messages.print("No such user.", style="red", highlight=False)
        raise typer.Exit(FAILED)
    opened.workflow.audit.record(operator(), "user.released", detail={"user": name})


def _services() -> Services:
    from app.services import open_services

    return open_services(load_settings())
