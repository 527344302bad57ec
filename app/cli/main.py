"""The `fedpet` command: the table of its sub-commands, each imported only when it is run or listed."""

from __future__ import annotations

from collections import UserDict
from contextlib import suppress
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

from fedpet import __version__

_COMMANDS = {  # name -> module:attribute, a function or a `typer.Typer`; in the order of the help
    "inspect": "app.cli.study:inspect",
    "quantify": "app.cli.study:quantify",
    "predict": "app.cli.study:predict",
    "batch": "app.cli.batch.command:batch",
    "deidentify": "app.cli.deidentify:deidentify",
    "app": "app.cli.serve:serve_app",
    "doctor": "app.cli.doctor:doctor",
    "audit": "app.cli.audit:commands",
    "cases": "app.cli.cases:commands",
    "model": "app.cli.model:commands",
    "monitor": "app.cli.monitor:commands",
    "pacs": "app.cli.pacs:commands",
    "report": "app.cli.report:commands",
    "cohort": "app.cli.cohort:commands",
    "train": "app.cli.train.commands:commands",
    "users": "app.cli.users:commands",
}


_IDENTIFIED = frozenset({"inspect", "quantify", "predict", "batch", "deidentify", "app", "pacs", "report", "cohort"})


class _Commands(UserDict[str, Any]):
    """The sub-commands by name; reading one imports its module."""

    def __getitem__(self, name: str) -> TyperCommand | TyperGroup:
        module, _, attribute = self.data[name].partition(":")
        found = getattr(import_module(module), attribute)
        if isinstance(found, typer.Typer):
            command: Any = get_group(found)
            command.name = name
            return command  # type: ignore[no-any-return]  # Typer types it by a class of its private copy of Click
        single = typer.Typer(add_completion=False)
        single.command(name)(found)
        return get_command(single)  # type: ignore[return-value]  # as above


class _LazyGroup(TyperGroup):
    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Commands(_COMMANDS)


main = typer.Typer(
    name="fedpet",
    cls=_LazyGroup,
    help="Federated PET/CT models of response to immunotherapy in lung cancer. Research use only.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals may hold patient data
)


@main.callback(invoke_without_command=True)
def version(
    context: typer.Context,
    show: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """Show the version and exit."""
    if show:
        typer.echo(f"fedpet {__version__}")
        raise typer.Exit
    if context.invoked_subcommand in _IDENTIFIED:
        _keep_inside_home(context)


def _keep_inside_home(context: typer.Context) -> None:
    """Let temporary files, which may identify a patient, be made inside `home`, in a folder that is swept."""
    from fedpet.core.errors import SettingsError
    from fedpet.core.scratch import scratch_folder
    from fedpet.core.settings import load_settings

    with suppress(SettingsError, OSError):  # the command itself says that its settings or its folder cannot be used
        context.with_resource(scratch_folder(load_settings().folder))


if __name__ == "__main__":
    main()
