"""`fedpet model`: look at a bundle, or verify it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from app.console import reported, write_json

commands = typer.Typer(help="Show or verify a model bundle.", no_args_is_help=True)
Folder = Annotated[Path | None, typer.Argument(help="Bundle folder; the demonstration model by default.")]
Json = Annotated[bool, typer.Option("--json", help="Write only JSON to standard output.")]


@commands.command()
def show(folder: Folder = None, json: Json = False) -> None:
    """Print the model card."""
    from inference.bundle import Bundle

    with reported(as_json=json):
        bundle = Bundle.chosen(folder)
    if json:
        write_json({"digest": bundle.digest, "card": dict(bundle.card)})
    else:
        typer.echo((bundle.folder / "card.md").read_text(encoding="utf-8"))


@commands.command()
def verify(folder: Folder = None, json: Json = False) -> None:
    """Check every checksum, the contract's fingerprint and that the network opens."""
    from inference.bundle import Bundle
    from inference.engine import Engine

    with reported(as_json=json):
        bundle = Bundle.chosen(folder)
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
