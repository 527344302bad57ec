"""The model card of a federated training: the origin of the model and its performance."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import onnxruntime
import torch

import fedpet
from fedpet.core.messages import Message
from training.bundle.probast import probast
from training.bundle.risk_model import risk_model
from training.bundle.tripod import tripod
from training.task.code_digest import code_digest
from training.task.pooled import loss_error, pooled_loss
from training.task.privacy import epsilon
from training.task.risk_table import pooled_concordance
from training.task.runs import MODEL, members

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn

    from training.bundle.tripod import TripodStudy
    from training.task.runs import Run


INTERVAL_LIMIT: Final = Message(
    "The interval says how well an answer is known, not how two patients with one score may differ."
)

_FEW_PATIENTS = 100  # validation patients, below which the card warns


@dataclass(frozen=True)
class SiteSummary:
    """A centre as described in the card.

    Attributes:
        name: of the centre.
        training: number of training patients.
        validation: number of validation patients.
        synthetic: the patients are simulated.
        out_of_fold: the validation patients are the training patients, each scored by a fit without it.
    """

    name: str
    training: int
    validation: int
    synthetic: bool
    out_of_fold: bool = False

    @property
    def patients(self) -> int:
        """Training and validation patients together."""
        return self.training if self.out_of_fold else self.training + self.validation


@dataclass(frozen=True, eq=False)
class TrainingSummary:
    """The results of a federation, by name of the run (see `training.task.runs`).

    Attributes:
        networks: with the parameters of the last aggregation.
        histories: {"rounds": [...], "final": {site: validation metrics}, "asked": {site: times}}, as the researcher
            wrote them.
        plan: text of the approved training plan.
        gate: what a learned term adds at centres left out (`training.task.learned_term.GateResult.to_json`); empty
            where none was trained.
    """

    runs: Mapping[str, Run]
    networks: Mapping[str, nn.Module]
    histories: Mapping[str, Any]
    plan: bytes
    gate: Mapping[str, Any] = field(default_factory=dict)

    @property
    def first(self) -> Run:
        """The model's training; of several seeds the first."""
        return self.runs[members(self.runs)[0]]

    def rounds(self) -> list[Mapping[str, Any]]:
        """The rounds in which the model, or its members, were trained."""
        return [entry for name in members(self.runs) for entry in self.histories[name]["rounds"]]


def model_card(
    trained: TrainingSummary,
    sites: Sequence[SiteSummary],
    *,
    held_out: int,
    evaluation: Mapping[str, Any] | None,
    onnx_difference: float,
    study: TripodStudy,
) -> dict[str, Any]:
    """Plain data for `card.json`; name, version, command, format and contract are added by their owners.

    Args:
        trained: what the federation left.
        sites: that trained.
        held_out: number of patients of the evaluation.
        evaluation: on them; None without.
        onnx_difference: largest difference between ONNX Runtime and torch.
        study: statements of those who trained it.
    """
    task = trained.runs[MODEL].task
    network = trained.networks[MODEL]
    card = {
        "synthetic": any(site.synthetic for site in sites),
        "created": datetime.now(UTC).date().isoformat(),
        "intended_use": str(Message("Research only. Not a medical device; not for decisions about patients.")),
        "limits": _limits(trained, sites),
        "data": {
            "description": _description(sites),
            "patients": sum(site.patients for site in sites),
            "events": _events(trained),
            "held_out": held_out,
        },
        "network": {
            "name": task.network,
            "config": dict(task.network_config),
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
        },
        "evaluation": evaluation or "No held-out patients were given.",
        "validation": {name: _validation(trained, name) for name in trained.runs},
        **risk_model(task, trained.histories[MODEL]),
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
    answered = {"tripod_ai": tripod(card, task.contract, study), "probast_ai": probast(card, task.contract, study)}
    return {**card, **answered}


def _events(trained: TrainingSummary) -> int | None:
    """Of all patients of the sites that validated the model; None where nothing was validated."""
    final = trained.histories[MODEL]["final"].values()
    return round(sum(metrics["events"] for metrics in final)) if final else None


def _limits(trained: TrainingSummary, sites: Sequence[SiteSummary]) -> list[str]:
    """In English; a report translates them, for they are in the catalogue."""
    limits = [
        Message(
            "Metastatic non-small-cell lung cancer, immunotherapy alone in line 1 or 2, pre-treatment 18F-FDG PET/CT"
            " only."
        ),
        INTERVAL_LIMIT,
        Message("Attributions show what the model used, not causes."),
    ]
    final = trained.histories[MODEL]["final"].values()
    patients = round(sum(metrics.get("n", 0.0) for metrics in final))
    if patients < _FEW_PATIENTS:
        taking_part = round(sum(metrics.get("sites", 1.0) for metrics in final))
        limits.append(
            Message(
                "Calibrated on {patients} validation patients of {sites} sites only: the probabilities are uncertain.",
                patients=patients,
                sites=taking_part,
            )
        )
    if any(site.synthetic for site in sites):
        limits.insert(0, Message("Trained on synthetic patients: it predicts nothing about real patients."))
    return [str(limit) for limit in limits]


def _description(sites: Sequence[SiteSummary]) -> str:
    kind = "synthetic" if all(site.synthetic for site in sites) else "real and synthetic"
    kind = kind if any(site.synthetic for site in sites) else "real"
    return f"{len(sites)} nodes of {kind} patients"


def _federation(trained: TrainingSummary, sites: Sequence[SiteSummary]) -> dict[str, Any]:
    run, names = trained.first, members(trained.runs)
    method = run.task.method
    rounds = trained.rounds()
    kind = "sums of gradients and Hessians" if run.task.newton is not None else "parameters"
    sent = f"Sum over the sites: {kind} of every round" if method.masked else f"By site: {kind} of every round"
    validated = "out of fold: all patients, each by the fit without its fold"
    kept = f"{100 * run.task.validation_fraction:g} % of each centre's patients, by the hash of their pseudonyms"
    return {
        "nodes": {site.name: {"training": site.training, "validation": site.validation} for site in sites},
        "aggregator": _aggregator(run),
        "aggregation": method.aggregation.model_dump(mode="json"),
        "secure_aggregation": method.masked,
        "secure_aggregation_scheme": method.privacy.secure_aggregation,
        "differential_privacy": _privacy(trained, sites),
        "disclosed": f"{sent}; {'summed' if method.masked else 'by node'} validation losses and counts by score bin and"
        " interval; numbers of training patients",
        "validated_on": validated if run.task.newton is not None else kept,
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
    if aggregation.method == "newton":
        return str(Message("Newton's method on sums of gradients and Hessians of all patients"))
    name = str(Message("FedAvg weighted by training patients"))
    if aggregation.method == "fedprox":
        name = str(Message("FedProx (weight {value:g}) weighted by training patients", value=aggregation.proximal))
    return name if aggregation.server == "none" else f"{name}; {aggregation.server}, {aggregation.server_rate:g}"


def _optimizer(run: Run) -> str:
    if run.task.method.aggregation.method == "scaffold":
        return f"SGD, learning rate {run.task.learning_rate:g}"
    if run.task.newton is not None:
        return "iteratively reweighted least squares"
    return f"AdamW, learning rate {run.task.learning_rate:g} with a cosine over the rounds"


def _privacy(trained: TrainingSummary, sites: Sequence[SiteSummary]) -> dict[str, Any] | bool:
    """The guarantee of local differential privacy for each site's training patients, over all trainings."""
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


def site_epsilon(trained: TrainingSummary, site: SiteSummary) -> float:
    """Epsilon of a site over all trainings on its patients, repeated rounds included."""
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


def _validation(trained: TrainingSummary, name: str) -> dict[str, Any]:
    """Losses by round and site, and the concordance of the pooled table, of one run."""
    history, task = trained.histories[name], trained.runs[name].task
    final = history["final"]
    return {
        "loss_by_round": [
            pooled_loss(sites.values()) for sites in (*(entry["validation"] for entry in history["rounds"]), final)
        ],
        "final_by_node": {
            site: {"patients": int(metrics["n"]), "loss": metrics["loss"]}
            for site, metrics in final.items()
            if "loss" in metrics
        },
        "final_loss": pooled_loss(final.values()),
        "final_loss_standard_error": loss_error(final.values()),
        "final_patients": round(sum(metrics.get("n", 0.0) for metrics in final.values())),
        "final_sites": round(sum(metrics.get("sites", 1.0) for metrics in final.values())),
        "exported_after_rounds": history.get("exported"),
        "pooled_concordance": pooled_concordance(final, len(task.contract.month_edges) - 1),
    }


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
