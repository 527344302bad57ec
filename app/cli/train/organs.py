"""`fedpet train organs`: train the network that segments organs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.console import messages, progress_bar, reported
from fedpet.core.messages import Message
from fedpet.core.settings import load_settings


def organs(
    out: Annotated[Path, typer.Option(help="Folder for organs.onnx and its card organs.json.")],
    work: Annotated[Path, typer.Option(help="Folder for the painted bodies and the checkpoint; kept.")],
    seed: Annotated[int, typer.Option(help="Of bodies, samples and weights.")] = 1,
    bodies: Annotated[int, typer.Option(min=1, help="Simulated bodies, painted once each.")] = 400,
    steps: Annotated[int, typer.Option(min=1, help="Samples shown.")] = 4000,
    minutes: Annotated[float | None, typer.Option(min=0.0, help="Stop after so many minutes of training.")] = None,
    rate: Annotated[float, typer.Option(min=0.0, help="Largest learning rate.")] = 2e-3,
    start_from: Annotated[Path | None, typer.Option(help="Folder of a trained network to go on from.")] = None,
) -> None:
    """Train the organ network on simulated bodies, on one core; goes on where an earlier run was stopped."""
    from fedpet.imaging.segmenters.organ_network import LearnedOrgans
    from training.organs.export import read_weights, write_network
    from training.organs.training_run import CHECKPOINT, OrganTraining, continue_from, progress, resume, start, train

    work.mkdir(parents=True, exist_ok=True)
    with reported(), progress_bar(load_settings().language) as show:
        earlier = None if start_from is None else LearnedOrgans.load(start_from)
        plan = OrganTraining(
            seed=seed,
            bodies=bodies,
            steps=steps,
            minutes=minutes,
            rate=rate,
            earlier=None if earlier is None else str(earlier.card["sha256"]),
            not_found=() if earlier is None else tuple(earlier.card.get("not_found", ())),
        )
        if (work / CHECKPOINT).exists():
            state = resume(plan, work / CHECKPOINT)
        else:
            state = start(plan) if earlier is None else continue_from(plan, read_weights(earlier.onnx))

        def report(step: int, loss: float) -> None:
            show(progress(plan, state), Message("Step {step}: loss {loss:.2f}", step=step, loss=loss))

        train(plan, state, work, report)
        card = write_network(state, plan, out)
    messages.print(f"Organ network of {card['steps']} steps written to {out}", highlight=False, markup=False)
