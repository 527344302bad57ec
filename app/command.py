"""The `fedpet` command. Sub-commands of training, cohort and models are in their own modules."""

from __future__ import annotations

from typing import Annotated

import typer

from app import (
    command_audit,
    command_cases,
    command_cohort,
    command_deidentify,
    command_model,
    command_pacs,
    command_report,
    command_study,
    command_train,
    command_users,
)
from app.console import reported
from fedpet import __version__
from fedpet.settings import load_settings

main = typer.Typer(
    name="fedpet",
    help="Federated PET/CT models of response to immunotherapy in lung cancer. Research use only.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals may hold patient data
)
for command in (*command_study.COMMANDS, command_deidentify.deidentify):
    main.command()(command)
main.add_typer(command_audit.commands, name="audit")
main.add_typer(command_cases.commands, name="cases")
main.add_typer(command_model.commands, name="model")
main.add_typer(command_pacs.commands, name="pacs")
main.add_typer(command_report.commands, name="report")
main.add_typer(command_cohort.commands, name="cohort")
main.add_typer(command_train.commands, name="train")
main.add_typer(command_users.commands, name="users")


@main.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False) -> None:
    """Show the version where it is asked for."""
    if show:
        typer.echo(f"fedpet {__version__}")
        raise typer.Exit


@main.command(name="app")
def serve_app(
    port: Annotated[int | None, typer.Option(help="Port to listen on; by default the setting port.")] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
) -> None:
    """Start the application and open it in the browser."""
    from app.server import serve

    with reported():
        serve(load_settings(), port=port, open_browser=browser)


if __name__ == "__main__":
    main()
