"""The model card of a federated training: where the model comes from, and how good it is."""

from __future__ import annotations

import platform
import shlex
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import onnxruntime
import torch

import fedpet
from fedpet.messages import Message
from training.node_data import split
from training.risk_table import MINIMUM_CASES, pooled
from training.task import code_digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn

    from training.node_data import NodeData
    from training.task import Task

MODEL, BASELINE = "model", "clinical"


@dataclass(frozen=True)
class Run:
    """One training of the federation."""

    task: Task
    local_epochs: int


@dataclass(frozen=True, eq=False)
class Trained:
    """What a federation left, by name of the run (`MODEL` and `BASELINE`).

    Attributes:
        networks: with the parameters of the last aggregation.
        histories: {"rounds": [...], "final": {site: validation metrics}}, as the researcher wrote them.
        plan: text of the approved training plan.
    """

    runs: Mapping[str, Run]
    networks: Mapping[str, nn.Module]
    histories: Mapping[str, Any]
    plan: bytes


def model_card(
    trained: Trained,
    sites: Sequence[NodeData],
    held_out: Sequence[NodeData],
    evaluation: Mapping[str, Any] | None,
    onnx_difference: float,
) -> dict[str, Any]:
    """Plain data for `card.json`; name, version, format and contract are added by their owners."""
    run = trained.runs[MODEL]
    network = trained.networks[MODEL]
    return {
        "synthetic": any(site.synthetic for site in sites),
        "created": datetime.now(UTC).date().isoformat(),
        "intended_use": str(Message("Research only. Not a medical device; not for decisions about patients.")),
        "limits": _limits(sites),
        "data": {
            "description": _description(sites),
            "patients": sum(len(site.case_ids) for site in sites),
            "held_out": sum(len(site.case_ids) for site in held_out),
        },
        "network": {
            "name": run.task.network,
            "config": dict(run.task.network_config),
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
        },
        "evaluation": evaluation or "No held-out patients were given.",
        "validation": {name: _validation(trained, name) for name in trained.runs},
        "federation": _federation(trained, sites),
        "export": {"largest_difference_onnx_torch": onnx_difference},
        "software": {
            "fedpet": fedpet.__version__,
            "commit": _commit(),
            "sources_sha256": code_digest(),
            "fedbiomed": version("fedbiomed"),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
        "command": _command(trained, sites, held_out),
    }


def _limits(sites: Sequence[NodeData]) -> list[str]:
    """In English; a report says them in its own language, for they are in the catalogue."""
    limits = [
        Message(
            "Metastatic non-small-cell lung cancer, immunotherapy alone in line 1 or 2, pre-treatment 18F-FDG PET/CT"
            " only."
        ),
        Message("The interval says how well the calibration is known, not how two patients with one score may differ."),
        Message("Attributions show what the model used, not causes."),
    ]
    if any(site.synthetic for site in sites):
        limits.insert(0, Message("Trained on synthetic patients: it predicts nothing about real patients."))
    return [str(limit) for limit in limits]


def _description(sites: Sequence[NodeData]) -> str:
    kind = "synthetic" if all(site.synthetic for site in sites) else "real and synthetic"
    kind = kind if any(site.synthetic for site in sites) else "real"
    return f"{len(sites)} nodes of {kind} patients"


def _federation(trained: Trained, sites: Sequence[NodeData]) -> dict[str, Any]:
    run = trained.runs[MODEL]
    rounds = trained.histories[MODEL]["rounds"]
    counts = {}
    for site in sites:
        training, validation = split(site.case_ids, run.task.validation_fraction)
        counts[site.site] = {"training": len(training), "validation": len(validation)}
    return {
        "nodes": counts,
        "aggregator": str(Message("FedAvg weighted by training patients")),
        "secure_aggregation": False,
        "differential_privacy": False,
        "disclosed": "Parameters of every round; validation losses; counts by score bin and interval of nodes with at "
        f"least {MINIMUM_CASES} validation patients",
        "training_plan_sha256": sha256(trained.plan).hexdigest(),
        "training_plan_approval": True,
        "rounds": run.task.rounds,
        "local_epochs": run.local_epochs,
        "batch_size": run.task.batch_size,
        "optimizer": f"AdamW, learning rate {run.task.learning_rate:g} with a cosine over the rounds",
        "seed": run.task.seed,
        "median_seconds_per_round": median(entry["seconds"] for entry in rounds),
    }


def _validation(trained: Trained, name: str) -> dict[str, Any]:
    """Losses by round and site, and the concordance of the pooled table, of one run."""
    history, task = trained.histories[name], trained.runs[name].task
    final = history["final"]
    return {
        "loss_by_round": [pooled_loss(entry["validation"]) for entry in history["rounds"]] + [pooled_loss(final)],
        "final_by_node": {
            site: {"patients": int(metrics["n"]), "loss": metrics["loss"]} for site, metrics in final.items()
        },
        "pooled_concordance": pooled(final.values(), len(task.contract.month_edges) - 1).concordance(),
    }


def pooled_loss(sites: Mapping[str, Mapping[str, float]]) -> float:
    """Mean validation loss over the patients of all sites; nan where no site validated."""
    patients = sum(site["n"] for site in sites.values())
    return sum(site["loss"] * site["n"] for site in sites.values()) / patients if patients else float("nan")


def _command(trained: Trained, sites: Sequence[NodeData], held_out: Sequence[NodeData]) -> str:
    """The command that trains this model again; folders by their last two names, not where they lay."""
    run = trained.runs[MODEL]
    options = {
        "--rounds": run.task.rounds,
        "--local-epochs": run.local_epochs,
        "--batch-size": run.task.batch_size,
        "--learning-rate": f"{run.task.learning_rate:g}",
        "--seed": run.task.seed,
    }
    words = ["fedpet", "train", "rehearse"]
    words += [word for site in sites for word in ("--nodes", _place(site))]
    words += [word for site in held_out for word in ("--holdout", _place(site))]
    words += [str(word) for option in options.items() for word in option]
    return shlex.join(words)


def _place(site: NodeData) -> str:
    folder = site.folder.resolve()
    return f"{folder.parent.name}/{folder.name}"


def _commit() -> str:
    """The commit of this checkout, with "-dirty" if it was changed; "not a checkout" of an installed package."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],  # noqa: S607  git on PATH
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return "not a checkout"
    return done.stdout.strip() if done.returncode == 0 else "not a checkout"
