"""`fedpet train`: the federation."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from app.cli.console import messages, progress_bar, reported, say, write_json
from app.cli.train import lesions as lesions_command
from app.cli.train import node as node_commands
from app.cli.train import organs as organs_command
from fedpet.core.errors import SettingsError
from fedpet.core.messages import Message
from fedpet.core.settings import load_settings

commands = typer.Typer(help="Train with Fed-BioMed.", no_args_is_help=True)
commands.add_typer(node_commands.commands, name="node")
commands.command(name="organs")(organs_command.organs)
commands.command(name="lesions")(lesions_command.lesions)


@commands.callback()
def federation() -> None:
    """Train with Fed-BioMed (needs the `training` extra)."""


@commands.command(name="rehearse", hidden=True)  # its name in 0.1
@commands.command()
def simulate(
    nodes: Annotated[list[Path], typer.Option(exists=True, file_okay=False, help="Node data, one folder a site.")],
    out: Annotated[Path, typer.Option(help="New folder for the bundle.")],
    more_nodes: Annotated[
        list[Path] | None, typer.Argument(exists=True, file_okay=False, metavar="DIR...", help="Further sites.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds; 12, and 8 for Newton's method.")] = None,
    local_epochs: Annotated[int, typer.Option(min=1, help="Epochs at each site in a round.")] = 1,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Patients in a batch; 4.")] = None,
    learning_rate: Annotated[float, typer.Option(min=0.0, help="Learning rate of AdamW.")] = 2e-3,
    holdout: Annotated[
        list[Path] | None, typer.Option(exists=True, file_okay=False, help="Node data for the evaluation only.")
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the model.")] = "fedpet-simulation",
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
    aggregation: Annotated[
        str | None, typer.Option(help="fedavg, fedprox, scaffold or newton; newton for the network “table”.")
    ] = None,
    proximal: Annotated[float, typer.Option(min=0.0, help="Weight of FedProx.")] = 0.0,
    server: Annotated[str, typer.Option(help="Server optimiser: none, momentum, adagrad, adam or yogi.")] = "none",
    server_rate: Annotated[float | None, typer.Option(min=0.0, help="Its learning rate.")] = None,
    secure: Annotated[str, typer.Option(help="Secure aggregation: none or lom.")] = "none",
    clip: Annotated[float | None, typer.Option(min=0.0, help="Differential privacy: norm of a gradient.")] = None,
    noise: Annotated[float | None, typer.Option(min=0.0, help="Differential privacy: noise, in clips.")] = None,
    work: Annotated[Path | None, typer.Option(help="Folder for the nodes' own files; temporary by default.")] = None,
    *,
    learned_term: Annotated[
        bool, typer.Option("--learned-term", help="Learn a term on crops of the lesions; a gate decides about it.")
    ] = False,
    overall_survival: Annotated[
        bool, typer.Option("--overall-survival", help="Fit overall survival, too, beside progression-free survival.")
    ] = False,
) -> None:
    """Start one Fed-BioMed node a site on this machine, train and export a bundle."""
    from fedpet.core.journal import Journal
    from training.coordinator.config import training_config
    from training.coordinator.federation import LocalFederation
    from training.coordinator.train import train

    settings = load_settings()
    with reported(), progress_bar(settings.language) as progress, _work_folder(work) as work_folder:
        config = training_config(
            {
                "name": name,
                "version": version,
                "out": out,
                "work": work_folder,
                "contract": contract,
                "training": {
                    "network": network,
                    **_given(rounds=rounds, batch_size=batch_size),
                    "local_epochs": local_epochs,
                    "learning_rate": learning_rate,
                    "seeds": seed or [0],
                    "minimum_patients": 1,
                    "minimum_cell": 1,
                    "initial": initial,
                    "frozen": frozen or [],
                    "statistics": False,
                    "overall_survival": overall_survival,
                },
                "aggregation": {
                    **_given(method=aggregation),
                    "proximal": proximal,
                    "server": server,
                    "server_rate": server_rate,
                },
                "privacy": {"secure_aggregation": secure, "clip": clip, "noise": noise},
                "learned_term": {} if learned_term else None,
                "limits": {"round_seconds": 1800, "retries": 0},
            }
        )
        local = LocalFederation.read([*nodes, *(more_nodes or ())], config.input_contract(), holdout or ())
        with Journal.new(settings.runs_folder) as journal:
            bundle = train(config, local, journal=journal, progress=progress)
    messages.print(f"Bundle written to {bundle}", highlight=False, markup=False)


def _given(**options: object) -> dict[str, object]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}


@contextmanager
def _work_folder(given: Path | None) -> Iterator[Path]:
    """The given folder, or a temporary one, which stays with its logs when the training fails."""
    folder, succeeded = given or Path(tempfile.mkdtemp(prefix="fedpet-")), False
    try:
        yield folder
        succeeded = True
    finally:
        if given is None and (succeeded or not any(folder.iterdir())):
            shutil.rmtree(folder)


@commands.command(name="run")
def run_federation(
    config: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="TOML file, see docs/federation.md.")],
    resume: Annotated[bool, typer.Option(help="Go on after the last finished round.")] = False,
) -> None:
    """Train with the nodes of hospitals, as the coordinating centre, and export a bundle."""
    from app.cli.train.progress import screen
    from fedpet.core.journal import Journal
    from training.coordinator.config import read_run_file
    from training.coordinator.federation import HospitalFederation
    from training.coordinator.train import train

    settings = load_settings()
    with reported():
        file = read_run_file(config)
        hospitals = HospitalFederation.of(file, config.name)
        with screen(settings.language) as (progress, event), Journal.new(settings.runs_folder) as journal:
            done = train(file, hospitals, resume=resume, journal=journal, progress=progress, on_event=event)
    messages.print(f"Written to {done}", highlight=False, markup=False)


@commands.command()
def identity(
    config: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="TOML file, see docs/federation.md.")],
) -> None:
    """Make the identity of the coordinating centre and show its address and certificate, for the hospitals' nodes."""
    from training.coordinator.config import read_run_file
    from training.coordinator.federation import HospitalFederation

    with reported():
        file = read_run_file(config)
        sha256 = HospitalFederation.of(file, config.name).certificate_fingerprint()
        write_json({"researcher": f"{file.researcher.host}:{file.researcher.port}", "certificate_sha256": sha256})


@commands.command()
def evaluate(
    out: Annotated[Path, typer.Option(help="New folder for the report.")],
    config: Annotated[
        Path | None,
        typer.Argument(exists=True, dir_okay=False, help="TOML file, see docs/evaluation.md and docs/federation.md."),
    ] = None,
    bundle: Annotated[Path | None, typer.Option(exists=True, file_okay=False, help="A finished model.")] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(exists=True, file_okay=False, help="With --bundle: node data that the training did not see."),
    ] = None,
) -> None:
    """Compare federated, pooled and single-centre training with baselines, or evaluate a finished model.

    A finished model is evaluated on the nodes of a federation (CONFIG is the file of “fedpet train run”), or on node
    data of this machine (--data). The signed report (report.json) is what its promotion needs.
    """
    from inference.registry import Registry
    from training.evaluation.run import evaluate as run
    from training.evaluation.run import evaluate_model

    settings = load_settings()
    with reported(), progress_bar(settings.language) as progress:
        if bundle is not None and data and config is None:
            written = evaluate_model(bundle, data, out, Registry.of(settings).signer)
        elif bundle is not None and config is not None and not data:
            written = _evaluate_on_nodes(bundle, config, out)
        elif config is not None and bundle is None and not data:
            run(config, out, language=settings.language, progress=progress)
            written = out / "report.html"
        else:
            raise SettingsError(
                found=Message("CONFIG, --bundle and --data together, one of the last two alone, or nothing."),
                needed=Message("CONFIG alone, --bundle with --data, or --bundle with the file of a federation."),
                advice=Message("Name one of these."),
            )
    messages.print(f"Report written to {written}", highlight=False, markup=False)


def _evaluate_on_nodes(bundle: Path, config: Path, out: Path) -> Path:
    from app.cli.train.progress import TrainingLog
    from training.coordinator.config import read_run_file
    from training.coordinator.evaluate import evaluate_on_nodes
    from training.coordinator.federation import HospitalFederation

    file = read_run_file(config)
    log = TrainingLog(load_settings().language)
    return evaluate_on_nodes(bundle, file, HospitalFederation.of(file, config.name), out, on_event=log.event)


@commands.command()
def calibrate(
    bundle: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Bundle of a federation.")],
    data: Annotated[
        Path,
        typer.Option(exists=True, file_okay=False, help="Node data of about 30 patients of the site."),
    ],
    out: Annotated[Path, typer.Option(help="New folder for the bundle with the site's intercept.")],
) -> None:
    """Give a site that joins later its own intercept; nothing is trained, and nothing leaves this machine."""
    from training.bundle.assembly import require_empty
    from training.bundle.site_intercept import calibrate_to_site

    with reported():
        require_empty(out)
        found = calibrate_to_site(bundle, data, out)
    say(
        Message(
            "The site's intercept is {shift:+.2f} ± {error:.2f} from the federation's ({free:+.2f} without its prior).",
            shift=found.shift,
            error=found.error,
            free=found.unshrunken,
        )
    )
    messages.print(f"Bundle written to {out}", highlight=False, markup=False)


@commands.command()
def recalibrate(
    bundle: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="A finished model.")],
    data: Annotated[
        list[Path],
        typer.Option(exists=True, file_okay=False, help="Node data that the training did not see, one folder a site."),
    ],
    out: Annotated[Path, typer.Option(help="New folder for the bundle.")],
    holdout: Annotated[
        list[Path] | None, typer.Option(exists=True, file_okay=False, help="Node data for the card's figures only.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep-fit", help="Leave intercept, slope and shifts; add only what concerns centres.")
    ] = False,
    version: Annotated[str, typer.Option(help="Version of the new bundle; that of the old one without it.")] = "",
) -> None:
    """Calibrate a finished model again, by outcome and by centre; nothing is trained, nothing leaves this machine."""
    from training.bundle.assembly import require_empty
    from training.bundle.recalibration import recalibrate as run

    with reported():
        require_empty(out)
        found = run(bundle, data, out, holdout=holdout or (), keep=keep, version=version)
    say(
        Message(
            "Calibrated from {count} centres, which differ by ± {spread:.2f} on the logit of the hazard.",
            count=len(found.centres) or len(data),
            spread=(found.between_centres or 0.0) ** 0.5,
        )
    )
    messages.print(f"Bundle written to {out}", highlight=False, markup=False)


@commands.command()
def contract(
    bundle: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Bundle of “fedpet train run”.")],
    out: Annotated[Path, typer.Option(dir_okay=False, help="New file of the contract.")],
) -> None:
    """Write the bundle's input contract with the federation's own means and spreads of the clinical terms."""
    from fedpet.core.errors import OutputError
    from inference.bundle.storage import Bundle
    from training.task.statistics import contract_with_statistics

    with reported():
        trained = Bundle.load(bundle)
        if "clinical_statistics" not in trained.card:
            raise SettingsError(
                found=Message("The card holds no statistics of the clinical variables."),
                needed=Message("A bundle of “fedpet train run” with statistics = true."),
                advice=Message("Train with statistics, and without differential privacy, which has none."),
            )
        if out.exists():
            raise OutputError(
                found=Message("{name} exists.", name=out.name),
                needed=Message("A new file."),
                advice=Message("Give another name; nothing is overwritten."),
            )
        agreed = contract_with_statistics(trained.contract, trained.card["clinical_statistics"])
        agreed.write(out)
    messages.print(f"Contract written to {out}", highlight=False, markup=False)
