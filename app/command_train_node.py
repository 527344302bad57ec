"""`fedpet train node`: what the data manager of a hospital does with its node (see docs/hospital_node.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.console import messages, reported, write_json

commands = typer.Typer(help="The node of a hospital.", no_args_is_help=True)

Delta = Annotated[float, typer.Option(min=0.0, max=1.0, help="Probability with which the limit may fail.")]
Node = Annotated[Path, typer.Argument(file_okay=False, metavar="NODE", help="Folder of the node.")]


@commands.command()
def create(
    node: Node,
    name: Annotated[str, typer.Option(help="Name of the site.")],
    researcher: Annotated[str, typer.Option(metavar="HOST:PORT", help="Address of the coordinating centre.")],
    fingerprint: Annotated[
        str, typer.Option(help="SHA-256 of the coordinating centre's certificate, heard by another way.")
    ] = "",
    require_secure: Annotated[
        bool, typer.Option("--require-secure/--allow-clear", help="Refuse training without secure aggregation.")
    ] = True,
    epsilon_limit: Annotated[
        float | None, typer.Option(min=0.0, help="Refuse training that would bring epsilon above it, or without noise.")
    ] = None,
    delta: Delta = 1e-5,
) -> None:
    """Make the folder of a node."""
    from training.budget import Limit
    from training.node import create as run

    limit = None if epsilon_limit is None else Limit(epsilon_limit, delta)
    with reported():
        run(node, name, researcher, fingerprint=fingerprint, force_masks=require_secure, limit=limit)
    messages.print(f"Node {name} made.", highlight=False, markup=False)


@commands.command()
def register(
    node: Node,
    data: Annotated[Path, typer.Argument(exists=True, file_okay=False, metavar="DATA", help="Node data.")],
    contract: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Input contract; the default one without.")
    ] = None,
    minimum: Annotated[int, typer.Option(min=1, help="Smallest number of patients to train on.")] = 10,
) -> None:
    """Check node data in full and offer it for training."""
    from inference.contract import Contract
    from training.node import register as run

    agreed = Contract.read(contract) if contract else None
    with reported():
        site = run(node, data, contract=agreed, minimum=minimum)
    messages.print(f"{site.site}: {len(site.case_ids)} patients offered.", highlight=False, markup=False)


@commands.command()
def start(
    node: Node,
    gpu: Annotated[bool, typer.Option(help="Offer a GPU of this machine.")] = False,
    gpu_number: Annotated[int | None, typer.Option(min=0, help="Which one.")] = None,
) -> None:
    """Run the node until it is interrupted (Ctrl-C)."""
    from training.node import start as run

    def tell(certificate: str) -> None:
        messages.print(f"Certificate remembered: {certificate}", highlight=False, markup=False)

    with reported():
        try:
            run(node, gpu=gpu, gpu_number=gpu_number, tell=tell)
        except KeyboardInterrupt:
            messages.print("Node stopped.")


@commands.command()
def plans(
    node: Node,
    text: Annotated[bool, typer.Option("--text/--no-text", help="Print the plans' text as well.")] = False,
) -> None:
    """List the training plans, with what to compare with the coordinating centre."""
    from training.node import installed
    from training.node import plans as run

    with reported():
        known = run(node)
        listed = [
            {"hash": plan.hash, "status": plan.status, "installed": plan.ours, **({"text": plan.text} if text else {})}
            for plan in known
        ]
        write_json({**installed(), "plans": listed})


@commands.command()
def approve(
    node: Node,
    plan: Annotated[
        str | None, typer.Argument(metavar="[HASH]", help="Beginning of its hash; else that of the installed fedpet.")
    ] = None,
) -> None:
    """Approve a training plan, after reading it (`fedpet train node plans --text`)."""
    from training.node import approve as run

    with reported():
        done = run(node, plan)
    messages.print(f"{done.status}: {done.hash}", highlight=False, markup=False)


@commands.command()
def budget(
    node: Node,
    epsilon_limit: Annotated[float, typer.Option(min=0.0, help="For all training on the node's patients together.")],
    delta: Delta = 1e-5,
) -> None:
    """Set another limit of epsilon, also while the node runs; what was trained stays counted."""
    from training.node import set_budget as run

    with reported():
        write_json(run(node, epsilon_limit, delta))


@commands.command()
def status(node: Node) -> None:
    """Say what the node is, offers and allows."""
    from training.node import status as run

    with reported():
        write_json(run(node))
