"""`fedpet train node`: what the data manager of a hospital does with its node (see docs/hospital_node.md)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.console import messages, reported, say, write_json
from fedpet.core.messages import Message, translate_message
from fedpet.core.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from training.node.commands import Plan

commands = typer.Typer(help="The node of a hospital.", no_args_is_help=True)

Delta = Annotated[float, typer.Option(min=0.0, max=1.0, help="Probability with which the limit may be exceeded.")]
Node = Annotated[Path, typer.Argument(file_okay=False, metavar="NODE", help="Folder of the node.")]


@commands.command()
def create(
    node: Node,
    name: Annotated[str, typer.Option(help="Name of the site.")],
    researcher: Annotated[str, typer.Option(metavar="HOST:PORT", help="Address of the coordinating centre.")],
    fingerprint: Annotated[
        str, typer.Option(help="SHA-256 of the coordinating centre's certificate, received through another channel.")
    ] = "",
    require_secure: Annotated[
        bool, typer.Option("--require-secure/--allow-clear", help="Refuse training without secure aggregation.")
    ] = True,
    epsilon_limit: Annotated[
        float | None,
        typer.Option(min=1e-6, help="Refuse trainings that would raise epsilon above it, and trainings without noise."),
    ] = None,
    delta: Delta = 1e-5,
) -> None:
    """Create the folder of a node."""
    from training.node.commands import create as run
    from training.node.policy import NodePolicy, PeerRules, PrivacyRules

    policy = NodePolicy(
        peers=PeerRules(masked=require_secure), privacy=PrivacyRules(epsilon=epsilon_limit, delta=delta)
    )
    with reported():
        run(node, name, researcher, fingerprint=fingerprint, policy=policy)
    say(Message("Node {name} created.", name=name))


@commands.command()
def register(
    node: Node,
    data: Annotated[Path, typer.Argument(exists=True, file_okay=False, metavar="DATA", help="Node data.")],
    contract: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="Input contract; without, the default one or that of the lesion table."
        ),
    ] = None,
    evaluation: Annotated[
        bool, typer.Option("--evaluation", help="Offer it for evaluations of finished models; none trains on it.")
    ] = False,
) -> None:
    """Check node data completely and offer it for training, or for evaluations."""
    from app.cli.options import given_contract
    from training.node.commands import other_name
    from training.node.commands import register as run

    with reported():
        agreed = given_contract(contract) if contract else None
        site = run(node, data, contract=agreed, for_evaluation=evaluation)
    say(Message("{site}: {count} patients offered.", site=site.site, count=len(site.case_ids)))
    if (remark := other_name(node, site)) is not None:
        say(remark, style="yellow")


@commands.command()
def policy(node: Node) -> None:
    """Say in words what the node allows (policy.toml in its folder)."""
    from training.node.commands import policy as run

    translate = translate_message(load_settings().language)
    with reported():
        for sentence in run(node).sentences():
            typer.echo(f"- {translate(sentence)}")


@commands.command()
def start(
    node: Node,
    gpu: Annotated[bool, typer.Option(help="Offer a GPU of this machine.")] = False,
    gpu_number: Annotated[int | None, typer.Option(min=0, help="Which one.")] = None,
) -> None:
    """Run the node until it is interrupted (Ctrl-C)."""
    from training.node.commands import start as run

    def on_certificate(certificate: str) -> None:
        messages.print(f"Trusting the certificate {certificate}", highlight=False, markup=False)

    with reported():
        try:
            run(node, gpu=gpu, gpu_number=gpu_number, on_certificate=on_certificate)
        except KeyboardInterrupt:
            messages.print("Node stopped.")


@commands.command()
def plans(
    node: Node,
    text: Annotated[bool, typer.Option("--text/--no-text", help="Print the plans' text as well, to be read.")] = False,
    json: Annotated[bool, typer.Option("--json", help="With --text: as JSON.")] = False,
) -> None:
    """List the training plans, with the digests to compare with the coordinating centre."""
    from training.node.commands import installed_code
    from training.node.commands import plans as run

    with reported():
        known = run(node)
        listed = [
            {"hash": plan.hash, "status": plan.status, "installed": plan.ours, **({"text": plan.text} if text else {})}
            for plan in known
        ]
        if text and not json:
            _show_plans(installed_code(), known)
        else:
            write_json({**installed_code(), "plans": listed})


def _show_plans(code: Mapping[str, str], known: Sequence[Plan]) -> None:
    """Print each plan as the program that it is, after its facts."""
    translate = translate_message(load_settings().language)
    for name, value in code.items():
        typer.echo(f"{name}: {value}")
    for number, plan in enumerate(known, start=1):
        origin = (
            Message("That of the fedpet installed here.")
            if plan.ours
            else Message("NOT that of the fedpet installed here.")
        )
        typer.echo("\n" + translate(Message("Plan {number} of {n}", number=number, n=len(known))))
        typer.echo(f"hash: {plan.hash}\nstatus: {plan.status}\n{translate(origin)}\n")
        typer.echo("\n".join(f"    {line}".rstrip() for line in plan.text.splitlines()))


@commands.command()
def approve(
    node: Node,
    plan: Annotated[
        str | None,
        typer.Argument(metavar="[HASH]", help="Beginning of its hash; by default the plan of the installed fedpet."),
    ] = None,
) -> None:
    """Approve a training plan, after reading it (`fedpet train node plans --text`)."""
    from training.node.commands import approve as run

    with reported():
        done = run(node, plan)
    messages.print(f"{done.status}: {done.hash}", highlight=False, markup=False)


@commands.command()
def budget(
    node: Node,
    epsilon_limit: Annotated[float, typer.Option(min=0.0, help="For all trainings on the node's patients together.")],
    delta: Delta = 1e-5,
) -> None:
    """Set another limit of epsilon, also while the node runs; past trainings still count."""
    from training.node.commands import set_budget as run

    with reported():
        write_json(run(node, epsilon_limit, delta))


@commands.command()
def status(node: Node) -> None:
    """Show the identity, data and permissions of the node."""
    from training.node.commands import status as run

    with reported():
        write_json(run(node))
