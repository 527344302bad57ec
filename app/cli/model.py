"""`fedpet model`: look at a bundle or verify it; the registry of models and the one in force."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from app.cli.console import messages, reported, write_json
from app.cli.options import operator
from fedpet.core.messages import Message, translate_message
from fedpet.core.settings import load_settings

if TYPE_CHECKING:
    from app.cases.model_choice import Models
    from inference.bundle.storage import Bundle
    from inference.registry import RegisteredModel

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
        translate = translate_message(load_settings().language)
        for line in (
            Message("Verified: checksums, contract and network."),
            Message("Digest: {digest}", digest=bundle.digest),
            Message("Fingerprint of the contract: {fingerprint}", fingerprint=bundle.contract.fingerprint),
            Message("Computed by: {provider}", provider=engine.provider),
        ):
            messages.print(translate(line), highlight=False, markup=False, soft_wrap=True)


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
    from app.cases.model_choice import ACTS
    from inference.registry import Registry

    with reported(as_json=json):
        settings = load_settings()
        registry = Registry.of(settings)
        models, history = registry.held(), registry.history()
    if json:
        refusals = [{"refused": str(one.refused.found) if one.refused else ""} for one in models]
        rows = [asdict(one) | refusal for one, refusal in zip(models, refusals, strict=True)]
        write_json({"models": rows, "history": [asdict(act) for act in history]})
        return
    translate = translate_message(settings.language)
    for one in models:
        facts = ", ".join(translate(fact) for fact in _facts(one))
        mark = "*" if one.in_force else " "
        line = f"{mark} {one.digest[:12]}  {one.name} {one.version}: {facts}"
        messages.print(line, highlight=False, markup=False, soft_wrap=True)
    for act in history:
        done = Message("{act} {digest} by {by}", act=ACTS[act.act], digest=act.digest[:12], by=act.by)
        messages.print(f"{act.moment}  {translate(done)}: {act.why or '–'}", highlight=False, markup=False)


def _facts(model: RegisteredModel) -> list[Message]:
    """What the list says of a model."""
    if model.refused:
        return [model.refused.found]
    return [
        Message("trained on synthetic patients") if model.synthetic else Message("trained on real patients"),
        Message("evaluated on one patient", "evaluated on {count} patients", count=model.patients)
        if model.patients
        else Message("no evaluation report"),
        *([Message("in force")] if model.in_force else []),
    ]


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
    _show(Message("Added"), bundle, as_json=json)


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
    _show(Message("Evaluated"), bundle, as_json=json)


@commands.command()
def promote(
    digest: Annotated[str, typer.Argument(help="Digest of the model, or its beginning.")],
    reason: Annotated[str, typer.Option(help="Why, for the history.")],
    json: Json = False,
) -> None:
    """Put a model in force: it must verify and have an evaluation report. Answers that are there stay as they are."""
    with reported(as_json=json):
        bundle = _models().promote(digest, actor=operator(), reason=reason)
    _show(Message("In force"), bundle, as_json=json)


@commands.command()
def rollback(reason: Annotated[str, typer.Option(help="Why, for the history.")], json: Json = False) -> None:
    """Put the model in force again that was so before the last promotion."""
    with reported(as_json=json):
        bundle = _models().roll_back(actor=operator(), reason=reason)
    _show(Message("In force"), bundle, as_json=json)


def _models() -> Models:
    from app.services import open_services

    return open_services(load_settings()).models


def _show(done: Message, bundle: Bundle, *, as_json: bool) -> None:
    facts = {"digest": bundle.digest, "name": bundle.card["name"], "version": bundle.card["version"]}
    if as_json:
        write_json(facts)
    else:
        told = translate_message(load_settings().language)(done)
        line = f"{told}: {facts['name']} {facts['version']} ({bundle.digest[:12]})"
        messages.print(line, highlight=False, markup=False)
