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
) -> None:
    """Train the organ network on simulated bodies, on one core; goes on where an earlier run was stopped."""
    from training.organs.export import write_network
    from training.organs.training_run import CHECKPOINT, OrganTraining, progress, resume, start, train

    plan = OrganTraining(seed=seed, bodies=bodies, steps=steps, minutes=minutes)
    work.mkdir(parents=True, exist_ok=True)
    with reported(), progress_bar(load_settings().language) as show:
        state = resume(plan, work / CHECKPOINT) if (work / CHECKPOINT).exists() else start(plan)

        def report(step: int, loss: float) -> None:
            show(progress(plan, state), Message("Step {step}: loss {loss:.2f}", step=step, loss=loss))

        train(plan, state, work, report)
        card = write_network(state, plan, out)
    messages.print(f"Organ network of {card['steps']} steps written to {out}", highlight=False, markup=False)
