"""`fedpet model`: look at a bundle or verify it; the registry of models and the one in force."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from app.cli.console import messages, reported, write_json
from app.cli.options import operator
from fedpet.core.settings import load_settings

if TYPE_CHECKING:
    from app.cases.model_choice import Models
    from inference.bundle.storage import Bundle

commands = typer.Typer(help="Show or verify a model bundle; say which one is in force.", no_args_is_help=True)
Folder = Annotated[Path | None, typer.Argument(help="Bundle folder; the model in force by default.")]
Json = Annotated[bool, typer.Option("--json", help="Write only JSON to standard output.")]


@commands.command()
def show(folder: Folder = None, json: Json = False) -> None:
    """Print the model card."""
    from inference.registry import bundle_in

    with reported(as_json=json):
        bundle = bundle_in(folder, load_settings())
    if json:
        write_json({"digest": bundle.digest, "card": dict(bundle.card)})
    else:
        typer.echo((bundle.folder / "card.md").read_text(encoding="utf-8"))


@commands.command()
def card(
    folder: Folder = None,
    form: Annotated[Literal["markdown", "chai"], typer.Option("--format", help="Form of the card.")] = "markdown",
    out: Annotated[Path | None, typer.Option(dir_okay=False, help="File to write; else standard output.")] = None,
) -> None:
    """Export the model card: as people read it, or as the Applied Model Card of the Coalition for Health AI (XML)."""
    from inference.bundle.chai_card import chai_card
    from inference.registry import bundle_in

    with reported():
        bundle = bundle_in(folder, load_settings())
        content = chai_card(bundle) if form == "chai" else (bundle.folder / "card.md").read_bytes()
    if out is None:
        typer.echo(content.decode(), nl=False)
    else:
        out.write_bytes(content)


@commands.command()
def verify(folder: Folder = None, json: Json = False) -> None:
    """Check every checksum, the contract's fingerprint and that the network opens."""
    from inference.engine import Engine
    from inference.registry import bundle_in

    with reported(as_json=json):
        bundle = bundle_in(folder, load_settings())
        engine = Engine(bundle, provider="cpu")
    facts: dict[str, Any] = {
        "verified": True,
        "digest": bundle.digest,
        "contract_fingerprint": bundle.contract.fingerprint,
        "provider": engine.provider,
    }
    if json:
        write_json(facts)
    else:
        typer.echo("\n".join(f"{key}: {value}" for key, value in facts.items()))


@commands.command(name="export-triton")
def export(
    bundle: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Bundle folder.")],
    out: Annotated[Path, typer.Argument(file_okay=False, help="Model repository: a folder, made where it is missing.")],
    json: Json = False,
) -> None:
    """Write the bundle into a model repository of Triton, KServe or OpenVINO Model Server."""
    from inference.bundle.storage import Bundle
    from inference.bundle.triton import export_triton

    with reported(as_json=json):
        folder = export_triton(Bundle.load(bundle), out)
    if json:
        write_json({"model": folder.name, "folder": str(folder)})
    else:
        messages.print(f"{folder.name} in {out}", highlight=False, markup=False, soft_wrap=True)


@commands.command(name="list")
def listed(json: Json = False) -> None:
    """List the models of the registry, the one in force, and what was promoted when, by whom and why."""
    from inference.registry import Registry

    with reported(as_json=json):
        registry = Registry.of(load_settings())
        models, history = registry.held(), registry.history()
    if json:
        refusals = [{"refused": str(one.refused.found) if one.refused else ""} for one in models]
        rows = [asdict(one) | refusal for one, refusal in zip(models, refusals, strict=True)]
        write_json({"models": rows, "history": [asdict(act) for act in history]})
        return
    for one in models:
        evaluated = f"evaluated on {one.patients} patients" if one.patients else "no evaluation report"
        facts = [f"trained on {'synthetic' if one.synthetic else 'real'} patients", evaluated]
        facts = [str(one.refused.found)] if one.refused else [*facts, *(["in force"] if one.in_force else [])]
        mark = "*" if one.in_force else " "
        line = f"{mark} {one.digest[:12]}  {one.name} {one.version}: {', '.join(facts)}"
        messages.print(line, highlight=False, markup=False, soft_wrap=True)
    for act in history:
        line = f"{act.moment}  {act.act.replace('_', ' ')} {act.digest[:12]} by {act.by}: {act.why or '–'}"
        messages.print(line, highlight=False, markup=False)


@commands.command()
def add(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Bundle folder.")],
    evaluation: Annotated[
        Path | None, typer.Option(exists=True, help="Evaluation report, JSON; else the one in or beside the bundle.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for the history.")] = "",
    json: Json = False,
) -> None:
    """Verify a bundle and take a copy of it into the registry; it is not in force yet."""
    with reported(as_json=json):
        bundle = _models().add(folder, actor=operator(), reason=reason, evaluation=evaluation)
    _show("Added", bundle, as_json=json)


@commands.command()
def evaluated(
    digest: Annotated[str, typer.Argument(help="Digest of the model, or its beginning.")],
    evaluation: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Report on this model, JSON.")],
    reason: Annotated[str, typer.Option(help="Why, for the history.")] = "",
    json: Json = False,
) -> None:
    """Give a model of the registry its evaluation report; it must be on this very bundle."""
    with reported(as_json=json):
        bundle = _models().attach(digest, evaluation, actor=operator(), reason=reason)
    _show("Evaluated", bundle, as_json=json)


@commands.command()
def promote(
    digest: Annotated[str, typer.Argument(help="Digest of the model, or its beginning.")],
    reason: Annotated[str, typer.Option(help="Why, for the history.")],
    json: Json = False,
) -> None:
    """Put a model in force: it must verify and have an evaluation report. Answers that are there stay as they are."""
    with reported(as_json=json):
        bundle = _models().promote(digest, actor=operator(), reason=reason)
    _show("In force", bundle, as_json=json)


@commands.command()
def rollback(reason: Annotated[str, typer.Option(help="Why, for the history.")], json: Json = False) -> None:
    """Put the model in force again that was so before the last promotion."""
    with reported(as_json=json):
        bundle = _models().roll_back(actor=operator(), reason=reason)
    _show("In force", bundle, as_json=json)


def _models() -> Models:
    from app.services import open_services

    return open_services(load_settings()).models


def _show(done: str, bundle: Bundle, *, as_json: bool) -> None:
    facts = {"digest": bundle.digest, "name": bundle.card["name"], "version": bundle.card["version"]}
    if as_json:
        write_json(facts)
    else:
        messages.print(f"{done}: {facts['name']} {facts['version']} ({bundle.digest[:12]})", highlight=False)
