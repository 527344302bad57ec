"""`fedpet cohort`: simulate patients, or turn a hospital's DICOM and CSV into node data."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from app.console import messages, progress_bar, reported
from fedpet.settings import load_settings

commands = typer.Typer(help="Synthetic cohort and node data.", no_args_is_help=True)
Workers = Annotated[int, typer.Option(min=1, help="Processes that work side by side.")]


@commands.command()
def simulate(
    patients: Annotated[int, typer.Option(min=1, help="Patients over all sites.")],
    out: Annotated[Path, typer.Option(help="New folder for the cohort.")],
    sites: Annotated[int, typer.Option(min=1, max=8, help="Number of centres.")] = 8,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    fidelity: Annotated[Literal["standard", "coarse"], typer.Option(help="coarse is made for training.")] = "standard",
    signal: Annotated[float, typer.Option(min=0.0, help="Strength of the risk function.")] = 0.85,
    workers: Workers = 1,
    *,
    node_data: Annotated[bool, typer.Option("--node-data", help="Write node data at once, no DICOM.")] = False,
    spacing: Annotated[
        float, typer.Option(min=0.0, max=64.0, help="Of the node data's grid, mm; 0 leaves the images out.")
    ] = 8.0,
) -> None:
    """Draw synthetic patients: their PET/CT in DICOM, clinical table and ground truth, or at once their node data."""
    from cohort.nodes import Preparation, contract_at, simulate_nodes
    from cohort.simulate import simulate_cohort

    with reported():
        settings = load_settings()
        make = simulate_cohort
        if node_data:
            make = partial(simulate_nodes, preparation=Preparation(contract_at(spacing), settings.pseudonym_key()))
        with progress_bar(settings.language) as progress:
            make(
                patients=patients,
                sites=sites,
                seed=seed,
                out=out,
                fidelity=fidelity,
                signal=signal,
                workers=workers,
                progress=progress,
            )
    messages.print(f"Cohort written to {out}", highlight=False, markup=False)


@commands.command()
def prepare(
    dicom: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder with one folder a patient.")],
    table: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV of the clinical data and outcomes.")],
    out: Annotated[Path, typer.Option(help="New folder for the node data.")],
    masks: Annotated[Path | None, typer.Option(exists=True, help="Folder of lesion and organ masks, optional.")] = None,
    contract: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Input contract; the default one without.")
    ] = None,
    workers: Workers = 1,
) -> None:
    """Turn a hospital's DICOM and CSV into node data, and say who was left out and why."""
    from cohort.prepare import prepare_node_data
    from inference.contract import Contract, default_contract

    with reported():
        settings = load_settings()
        with progress_bar(settings.language) as progress:
            prepare_node_data(
                dicom,
                table,
                out,
                contract=Contract.read(contract) if contract else default_contract(),
                pseudonym_key=settings.pseudonym_key(),
                masks=masks,
                workers=workers,
                progress=progress,
            )
    messages.print(f"Node data written to {out}; see {out / 'report.json'}", highlight=False, markup=False)


@commands.command()
def unfavourable(
    out: Annotated[Path, typer.Argument(help="New folder for the studies.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 1,
    workers: Workers = 1,
) -> None:
    """Write studies with one thing wrong or difficult each, and which check has to notice it."""
    from cohort.unfavourable import write_unfavourable

    with reported(), progress_bar(load_settings().language) as progress:
        write_unfavourable(out, seed=seed, workers=workers, progress=progress)
    messages.print(f"Studies written to {out}; see {out / 'expected.csv'}", highlight=False, markup=False)
