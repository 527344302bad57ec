"""`fedpet cases`: erase cases by age, or those of a patient, with a proof."""

from __future__ import annotations

import json as lines
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.console import FAILED, reported, say, write_json
from app.cli.options import operator
from fedpet.core.messages import Message
from fedpet.core.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from app.services import Services

commands = typer.Typer(help="Erase cases, with a proof.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Write only JSON to standard output.")]


@commands.command()
def purge(
    days: Annotated[int | None, typer.Option(min=1, help="Age in days; by default the setting retention_days.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be erased.")] = False,
    json: Json = False,
) -> None:
    """Erase what is older than the retention, studies in inbox and quarantine too; nothing where it is 0."""
    from app.cases.erasure import find_expired
    from app.cases.erasure import purge as erase

    with reported(as_json=json):
        opened = _services()
        age = opened.settings.retention_days if days is None else days
        if dry_run:
            old = find_expired(opened.store, age)
            counts = {"cases": len(old.cases), "waiting_studies": len(old.waiting)}
            words = Message("Cases that would be erased: {cases}. Studies in inbox or quarantine: {waiting_studies}.",
                            **counts)  # fmt: skip
            write_json(counts) if json else say(words)
            return
        proof = erase(opened.workflow, age, opened.proofs, actor=operator())
    _report(proof, as_json=json)


@commands.command()
def erase(
    pseudonym: Annotated[str, typer.Argument(help="Pseudonym of the patient, P-…, as on the reports.")],
    reason: Annotated[str, typer.Option(help="Why, for the proof; never who.")] = "requested by the patient",
    json: Json = False,
) -> None:
    """Erase every case of a patient; exit code 2 where there is none."""
    from app.cases.erasure import erase_patient

    with reported(as_json=json):
        opened = _services()
        proof = erase_patient(opened.workflow, pseudonym, opened.proofs, actor=operator(), reason=reason)
    _report(proof, as_json=json)
    if proof is None:
        raise typer.Exit(FAILED)


def _report(proof: Path | None, *, as_json: bool) -> None:
    if as_json:
        write_json(lines.loads(proof.read_text(encoding="utf-8")) if proof else {"cases": 0})
    elif proof is None:
        say(Message("No case to erase."))
    else:
        count = lines.loads(proof.read_text(encoding="utf-8"))["cases"]
        say(Message("Cases erased: {n}. Proof: {path}", n=count, path=str(proof)))


def _services() -> Services:
    from app.services import open_services

    return open_services(load_settings())
