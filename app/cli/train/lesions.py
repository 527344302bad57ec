"""`fedpet train lesions`: train a network that finds lesions, on scans with drawn lesions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.console import progress_bar, reported, say
from app.cli.options import given_contract
from fedpet.core.messages import Message
from fedpet.core.settings import load_settings

_FIGURES = {
    "n": Message("cases"),
    "with_lesions": Message("cases with lesions"),
    "dice": Message("Dice"),
    "false_positive_ml": Message("false-positive volume in ml"),
    "false_negative_ml": Message("false-negative volume in ml"),
}


def lesions(
    cases: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder that cohort import wrote.")],
    out: Annotated[Path, typer.Option(help="Folder for lesions.onnx, its card lesions.json and its contract.")],
    contract: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Input contract of the import, if not the default.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Samples shown.")] = 20_000,
    minutes: Annotated[float | None, typer.Option(min=0.0, help="Stop after so many minutes of training.")] = None,
    held_out: Annotated[float, typer.Option(min=0.01, max=0.9, help="Share of the cases kept back.")] = 0.2,
    seed: Annotated[int, typer.Option(help="Of division, samples and weights.")] = 1,
    rate: Annotated[float, typer.Option(min=0.0, help="Largest learning rate.")] = 2e-3,
) -> None:
    """Train a network on drawn lesions; Dice, false-positive and false-negative volume on cases kept back."""
    from inference.input_contract import default_contract
    from training.organs.lesions import train_lesions
    from training.organs.training_run import OrganTraining

    plan = OrganTraining(seed=seed, steps=steps, minutes=minutes, rate=rate)
    with reported(), progress_bar(load_settings().language) as show:
        card = train_lesions(
            cases,
            out,
            plan,
            given_contract(contract) if contract else default_contract(),
            held_out=held_out,
            report=lambda step, loss: show(step / steps, Message("Step {step}: loss {loss:.2f}", step=step, loss=loss)),
        )
    say(Message("Lesion network of {steps} steps written to {folder}", steps=card["steps"], folder=str(out)))
    for name, value in card["held_out"].items():
        figure = "–" if value is None else f"{value:.3f}" if isinstance(value, float) else value
        say(Message("held out, {name}: {figure}", name=_FIGURES[name], figure=figure))
