"""`fedpet train`: the federation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app import command_train_node
from app.console import messages, progress_bar, reported
from fedpet.settings import load_settings

commands = typer.Typer(help="Train with Fed-BioMed.", no_args_is_help=True)
commands.add_typer(command_train_node.commands, name="node")


@commands.callback()
def federation() -> None:
    """Train with Fed-BioMed (needs the `training` extra)."""


@commands.command()
def rehearse(
    nodes: Annotated[list[Path], typer.Option(exists=True, file_okay=False, help="Node data, one folder a site.")],
    out: Annotated[Path, typer.Option(help="New folder for the bundle.")],
    more_nodes: Annotated[
        list[Path] | None, typer.Argument(exists=True, file_okay=False, metavar="DIR...", help="Further sites.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of federated averaging.")] = 12,
    local_epochs: Annotated[int, typer.Option(min=1, help="Epochs at each site in a round.")] = 1,
    batch_size: Annotated[int, typer.Option(min=1, help="Patients in a batch.")] = 4,
    learning_rate: Annotated[float, typer.Option(min=0.0, help="Learning rate of AdamW.")] = 2e-3,
    holdout: Annotated[
        list[Path] | None, typer.Option(exists=True, file_okay=False, help="Node data for the evaluation only.")
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the model.")] = "fedpet-rehearsal",
    version: Annotated[str, typer.Option(help="Version of the model.")] = "0.1.0",
    seed: Annotated[
        list[int] | None, typer.Option(help="Seed of the first parameters and of the batches; several: an average.")
    ] = None,
    network: Annotated[str, typer.Option(help="Name of the network.")] = "evidence",
    contract: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Input contract; the default one without.")
    ] = None,
    initial: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Bundle whose parameters to begin with.")
    ] = None,
    frozen: Annotated[
        list[str] | None, typer.Option(help="Beginning of the names of parameters that stay as they are: maps.")
    ] = None,
    aggregation: Annotated[str, typer.Option(help="fedavg, fedprox or scaffold.")] = "fedavg",
    proximal: Annotated[float, typer.Option(min=0.0, help="Weight of FedProx.")] = 0.0,
    server: Annotated[str, typer.Option(help="Server optimiser: none, momentum, adagrad, adam or yogi.")] = "none",
    server_rate: Annotated[float | None, typer.Option(min=0.0, help="Its learning rate.")] = None,
    secure: Annotated[str, typer.Option(help="Secure aggregation: none or lom.")] = "none",
    clip: Annotated[float | None, typer.Option(min=0.0, help="Differential privacy: norm of a gradient.")] = None,
    noise: Annotated[float | None, typer.Option(min=0.0, help="Differential privacy: noise, in clips.")] = None,
    work: Annotated[Path | None, typer.Option(help="Folder for the nodes' own files; temporary by default.")] = None,
) -> None:
    """Start one Fed-BioMed node a site on this machine, train and export a bundle."""
    from fedpet.journal import Journal
    from inference.contract import Contract
    from training.method import read_method
    from training.rehearsal import rehearse as run

    settings = load_settings()
    with (
        reported(),
        progress_bar(settings.language) as progress,
        Journal.new(settings.runs_folder) as journal,
    ):
        bundle = run(
            [*nodes, *(more_nodes or ())],
            out=out,
            rounds=rounds,
            local_epochs=local_epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            network=network,
            contract=Contract.read(contract) if contract else None,
            initial=initial,
            frozen=frozen or (),
            method=read_method(
                {"method": aggregation, "proximal": proximal, "server": server, "server_rate": server_rate},
                {"secure_aggregation": secure, "clip": clip, "noise": noise},
            ),
            holdout=holdout or (),
            name=name,
            version=version,
            seeds=seed or (0,),
            work=work,
            journal=journal,
            progress=progress,
        )
    messages.print(f"Bundle written to {bundle}", highlight=False, markup=False)


@commands.command(name="run")
def run_federation(
    config: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="TOML file, see docs/federation.md.")],
    resume: Annotated[bool, typer.Option(help="Go on after the last finished round.")] = False,
) -> None:
    """Train with the nodes of hospitals, as the coordinating centre, and export a bundle."""
    from app.training_screen import screen
    from fedpet.journal import Journal
    from training.deployment import read_run_file, run

    settings = load_settings()
    with reported():
        file = read_run_file(config)
        with screen(settings.language) as (progress, event), Journal.new(settings.runs_folder) as journal:
            done = run(
                file,
                resume=resume,
                command=f"fedpet train run {config.name}",
                journal=journal,
                progress=progress,
                further=event,
            )
    messages.print(f"Written to {done}", highlight=False, markup=False)


@commands.command()
def evaluate(
    config: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="TOML file, see docs/evaluation.md.")],
    out: Annotated[Path, typer.Option(help="New folder for report.json and report.html.")],
) -> None:
    """Compare federated, pooled and single-centre training with baselines on node data of this machine."""
    from training.evaluation_run import evaluate as run

    settings = load_settings()
    with reported(), progress_bar(settings.language) as progress:
        run(config, out, language=settings.language, progress=progress)
    messages.print(f"Report written to {out / 'report.html'}", highlight=False, markup=False)


@commands.command()
def contract(
    bundle: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Bundle of “fedpet train run”.")],
    out: Annotated[Path, typer.Option(dir_okay=False, help="New file of the contract.")],
) -> None:
    """Write the bundle's input contract with the federation's own means and spreads of the clinical terms."""
    import json

    from fedpet.errors import OutputRefused, SettingsError
    from fedpet.messages import Message
    from inference.bundle import Bundle
    from training.statistics import standardised

    with reported():
        trained = Bundle.load(bundle)
        if "clinical_statistics" not in trained.card:
            raise SettingsError(
                found=Message("The card holds no statistics of the clinical variables."),
                needed=Message("A bundle of “fedpet train run” with statistics = true."),
                advice=Message("Train with statistics, and without differential privacy, which has none."),
            )
        if out.exists():
            raise OutputRefused(
                found=Message("{name} exists.", name=out.name),
                needed=Message("A new file."),
                advice=Message("Give another name; nothing is overwritten."),
            )
        agreed = standardised(trained.contract, trained.card["clinical_statistics"])
        out.write_text(json.dumps(agreed.to_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    messages.print(f"Contract written to {out}", highlight=False, markup=False)
