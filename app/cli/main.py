"""The `fedpet` command: the table of its sub-commands, each imported only when it is run."""

from __future__ import annotations

from collections import UserDict
from contextlib import suppress
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

from fedpet import __version__

_COMMANDS = {  # name -> module:attribute, a function or a `typer.Typer`, and its first sentence; as the help lists them
    "inspect": (
        "app.cli.study:inspect",
        "Say which series a study holds, which are used, what the SUV rests on, and whether a record fits the images.",
    ),
    "quantify": (
        "app.cli.study:quantify",
        "Measure lesions: those a reader drew, or the hot components that are not physiological uptake.",
    ),
    "predict": (
        "app.cli.study:predict",
        "Predict progression-free survival from a study and a clinical record, explain it and write the report.",
    ),
    "batch": (
        "app.cli.batch.command:batch",
        "Predict many studies, on all cores or machines; what one run did, the next one keeps.",
    ),
    "deidentify": (
        "app.cli.deidentify:deidentify",
        "Copy a study without what identifies the patient, so that its SUV stays what it is.",
    ),
    "app": ("app.cli.serve:serve_app", "Start the application and open it in the browser."),
    "doctor": (
        "app.cli.doctor:doctor",
        "Look at folder, disk, database, trail, cases, fonts, model, ONNX Runtime and PACS; exit code 2 on a fault.",
    ),
    "audit": ("app.cli.audit:commands", "Verify, export or stamp the audit trail."),
    "cases": ("app.cli.cases:commands", "Erase cases, with a proof."),
    "model": ("app.cli.model:commands", "Show or verify a model bundle; say which one is in force."),
    "monitor": ("app.cli.monitor:commands", "Compare the cases of this centre with the model's reference."),
    "pacs": ("app.cli.pacs:commands", "Connection to the hospital's PACS."),
    "report": ("app.cli.report:commands", "Verify a report, or write its edition with the patient's identity."),
    "cohort": ("app.cli.cohort:commands", "Synthetic cohort and node data."),
    "train": ("app.cli.train.commands:commands", "Train with Fed-BioMed."),
    "users": ("app.cli.users:commands", "Users of the application."),
}


_IDENTIFIED = frozenset({"inspect", "quantify", "predict", "batch", "deidentify", "app", "pacs", "report", "cohort"})


class _Commands(UserDict[str, Any]):
    """The sub-commands by name; reading one imports its module, which takes seconds."""

    def __getitem__(self, name: str) -> TyperCommand | TyperGroup:
        module, _, attribute = self.data[name][0].partition(":")
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

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]  # its base has a private Click
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: typer.Context, cmd_name: str) -> TyperCommand | None:  # type: ignore[override]  # as above
        """What the help and the completion of the shell list: a name and a sentence, without an import."""
        del ctx
        return TyperCommand(cmd_name, help=_COMMANDS[cmd_name][1]) if cmd_name in _COMMANDS else None

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> tuple[str | None, Any, list[str]]:  # type: ignore[override]  # as above
        """The command that is to run, or whose options are asked for."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, None if name is None else self.commands[name], rest


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
