"""The model card of a federated training: where the model comes from, and how good it is."""

from __future__ import annotations

import platform
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
from training.privacy import epsilon
from training.risk_table import MINIMUM_CASES, pooled
from training.runs import MODEL, members
from training.task import code_digest
from training.tripod import tripod

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from torch import nn

    from training.node_data import NodeData
    from training.runs import Run
    from training.tripod import Study


@dataclass(frozen=True)
class Site:
    """A centre as the card tells of it; `events` is None where it did not tell."""

    name: str
    training: int
    validation: int
    synthetic: bool
    events: int | None = None

    @classmethod
    def of(cls, data: NodeData, name: str, fraction: float) -> Site:
        """Counted from node data."""
        training, validation = split(data.case_ids, fraction)
        return cls(name, len(training), len(validation), data.synthetic, data.events)

    @property
    def patients(self) -> int:
        """Of both sides of the split."""
        return self.training + self.validation


@dataclass(frozen=True, eq=False)
class Trained:
    """What a federation left, by name of the run (see `training.runs`).

    Attributes:
        networks: with the parameters of the last aggregation.
        histories: {"rounds": [...], "final": {site: validation metrics}, "asked": {site: times}}, as the researcher
            wrote them.
        plan: text of the approved training plan.
    """

    runs: Mapping[str, Run]
    networks: Mapping[str, nn.Module]
    histories: Mapping[str, Any]
    plan: bytes

    @property
    def first(self) -> Run:
        """The model's training; of several seeds the first."""
        return self.runs[members(self.runs)[0]]

    def rounds(self) -> list[Mapping[str, Any]]:
        """The rounds in which the model, or its members, were trained."""
        return [entry for name in members(self.runs) for entry in self.histories[name]["rounds"]]


def model_card(
    trained: Trained,
    sites: Sequence[Site],
    *,
    held_out: int,
    evaluation: Mapping[str, Any] | None,
    onnx_difference: float,
    study: Study,
) -> dict[str, Any]:
    """Plain data for `card.json`; name, version, command, format and contract are added by their owners.

    Args:
        trained: what the federation left.
        sites: that trained.
        held_out: number of patients of the evaluation.
        evaluation: on them; None without.
        onnx_difference: largest difference between ONNX Runtime and torch.
        study: what people told of it.
    """
    task = trained.runs[MODEL].task
    network = trained.networks[MODEL]
    card = {
        "synthetic": any(site.synthetic for site in sites),
        "created": datetime.now(UTC).date().isoformat(),
        "intended_use": str(Message("Research only. Not a medical device; not for decisions about patients.")),
        "limits": _limits(sites),
        "data": {
            "description": _description(sites),
            "patients": sum(site.patients for site in sites),
            "events": _events(sites),
            "held_out": held_out,
        },
        "network": {
            "name": task.network,
            "config": dict(task.network_config),
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
    }
    return {**card, "tripod_ai": tripod(card, task.contract, study)}


def _events(sites: Sequence[Site]) -> int | None:
    known = [site.events for site in sites if site.events is not None]
    return sum(known) if len(known) == len(sites) else None


def _limits(sites: Sequence[Site]) -> list[str]:
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


def _description(sites: Sequence[Site]) -> str:
    kind = "synthetic" if all(site.synthetic for site in sites) else "real and synthetic"
    kind = kind if any(site.synthetic for site in sites) else "real"
    return f"{len(sites)} nodes of {kind} patients"


def _federation(trained: Trained, sites: Sequence[Site]) -> dict[str, Any]:
    run, names = trained.first, members(trained.runs)
    method = run.task.method
    rounds = trained.rounds()
    sent = "Sum of the parameters of every round" if method.masked else "Parameters of every round"
    return {
        "nodes": {site.name: {"training": site.training, "validation": site.validation} for site in sites},
        "aggregator": _aggregator(run),
        "aggregation": method.aggregation.model_dump(mode="json"),
        "secure_aggregation": method.masked,
        "secure_aggregation_scheme": method.privacy.secure_aggregation,
        "differential_privacy": _privacy(trained, sites),
        "disclosed": f"{sent}; validation losses; counts by score bin and interval of nodes with at "
        f"least {MINIMUM_CASES} validation patients",
        "training_plan_sha256": sha256(trained.plan).hexdigest(),
        "training_plan_approval": True,
        "rounds": run.task.rounds,
        "local_epochs": run.local_epochs,
        "batch_size": run.task.batch_size,
        "optimizer": _optimizer(run),
        "seeds": [trained.runs[name].task.seed for name in names],
        "median_seconds_per_round": median(entry["seconds"] for entry in rounds),
        "rounds_by_site": {site.name: sum(site.name in entry["patients"] for entry in rounds) for site in sites},
    }


def _aggregator(run: Run) -> str:
    aggregation = run.task.method.aggregation
    if aggregation.method == "scaffold":
        return str(Message("Scaffold, averages weighted by training patients"))
    name = str(Message("FedAvg weighted by training patients"))
    if aggregation.method == "fedprox":
        name = str(Message("FedProx (weight {value:g}) weighted by training patients", value=aggregation.proximal))
    return name if aggregation.server == "none" else f"{name}; {aggregation.server}, {aggregation.server_rate:g}"


def _optimizer(run: Run) -> str:
    if run.task.method.aggregation.method == "scaffold":
        return f"SGD, learning rate {run.task.learning_rate:g}"
    return f"AdamW, learning rate {run.task.learning_rate:g} with a cosine over the rounds"


def _privacy(trained: Trained, sites: Sequence[Site]) -> dict[str, Any] | bool:
    """What local differential privacy guarantees each site's training patients, of all trainings together."""
    privacy = trained.first.task.method.privacy
    if privacy.noise is None or privacy.clip is None:
        return False
    spent = {site.name: site_epsilon(trained, site) for site in sites}
    return {
        "kind": "local DP-SGD, Renyi accounting; covers the parameters, not the validation metrics",
        "epsilon": max(spent.values()),
        "epsilon_by_site": spent,
        "delta": privacy.delta,
        "clip": privacy.clip,
        "noise": privacy.noise,
    }


def site_epsilon(trained: Trained, site: Site) -> float:
    """Epsilon of a site for everything that was trained on its patients, rounds that were repeated included."""
    total = 0.0
    trainings = {name: run for name, run in trained.runs.items() if run.task.trains}
    for name, run in trainings.items():
        privacy, asked = run.task.method.privacy, trained.histories[name]["asked"].get(site.name, 0)
        if privacy.noise is None:
            return float("inf")
        total += epsilon(
            patients=site.training,
            batch_size=run.task.batch_size,
            epochs=run.local_epochs * asked,
            noise=privacy.noise,
            delta=privacy.delta / len(trainings),
        )
    return total


def _validation(trained: Trained, name: str) -> dict[str, Any]:
    """Losses by round and site, and the concordance of the pooled table, of one run."""
    history, task = trained.histories[name], trained.runs[name].task
    final = history["final"]
    return {
        "loss_by_round": [
            pooled_loss(sites.values()) for sites in (*(entry["validation"] for entry in history["rounds"]), final)
        ],
        "final_by_node": {
            site: {"patients": int(metrics["n"]), "loss": metrics["loss"]} for site, metrics in final.items()
        },
        "pooled_concordance": pooled(final.values(), len(task.contract.month_edges) - 1).concordance(),
    }


def pooled_loss(sites: Collection[Mapping[str, float]]) -> float:
    """Mean validation loss over the patients of all sites; nan where no site validated."""
    patients = sum(site["n"] for site in sites)
    return sum(site["loss"] * site["n"] for site in sites) / patients if patients else float("nan")


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
