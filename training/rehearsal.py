"""`fedpet train rehearse`: a whole federation on one machine, from node data to a bundle."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file

from fedpet.errors import FederationError
from fedpet.messages import Message
from fedpet.progress import part, silent
from inference.bundle import write_bundle
from inference.contract import default_contract
from training.calibration import calibrate
from training.card import Training, model_card
from training.evaluation import HeldOut, evaluate, scores
from training.export import export_onnx, verify_onnx, weights
from training.federation import TAGS, Federation
from training.node_data import read_node
from training.risk_table import pooled
from training.task import Task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn

    from fedpet.progress import Progress
    from inference.contract import Contract
    from training.node_data import NodeData

_BASELINE_EPOCHS = 2  # local epochs of the clinical baseline for each of the model's: its steps cost nothing
_VERIFIED = 4  # patients on which the export is compared with torch
_ROUND_SECONDS = 1800.0


def rehearse(  # noqa: PLR0913  one argument for each option of the command
    nodes: Sequence[Path],
    *,
    out: Path,
    rounds: int = 12,
    local_epochs: int = 1,
    batch_size: int = 4,
    learning_rate: float = 2e-3,
    network: str = "evidence",
    network_config: Mapping[str, Any] | None = None,
    holdout: Sequence[Path] = (),
    name: str = "fedpet-rehearsal",
    version: str = "0.1.0",
    seed: int = 0,
    contract: Contract | None = None,
    work: Path | None = None,
    progress: Progress = silent,
) -> Path:
    """Train on the nodes' data by federated averaging, evaluate, export.

    Beside the network, the clinical-only baseline is trained by the same federation, for the comparison in the card.

    Args:
        nodes: node data folders, one a site, three or more.
        out: new or empty folder for the bundle.
        rounds: of federated averaging.
        local_epochs: passes over a node's patients in a round.
        batch_size: patients.
        learning_rate: AdamW's in the first round; a cosine over the rounds follows.
        network: name in the registry of `inference.network`.
        network_config: its configuration.
        holdout: node data folders for the evaluation only.
        name: of the model.
        version: of the model.
        seed: of the first parameters and of the batches.
        contract: of the node data; None takes the default contract.
        work: new or empty folder for the nodes' components and logs; None takes a temporary one, kept on failure.
        progress: told of every round.

    Returns:
        `out`.

    Raises:
        NodeDataRefused: a folder was not prepared by this contract.
        FederationError: the federation did not run as configured.
        ExportRefused: ONNX Runtime and torch differ.
    """
    contract = contract or default_contract()
    sites = [read_node(folder, contract) for folder in nodes]
    held_out = [read_node(folder, contract) for folder in holdout]
    _require_empty(out)
    model = Task(
        contract=contract,
        network=network,
        network_config=dict(network_config or {}),
        rounds=rounds,
        learning_rate=learning_rate,
        batch_size=batch_size,
        seed=seed,
    )
    baseline = Task(
        contract=contract,
        network="clinical",
        rounds=rounds,
        learning_rate=learning_rate,
        batch_size=batch_size,
        seed=seed,
        augment=False,
    )
    plan = _Plan({"model": model, "clinical": baseline}, {"model": local_epochs, "clinical": _BASELINE_EPOCHS * local_epochs})
    folder = work or Path(tempfile.mkdtemp(prefix="fedpet-"))
    _require_empty(folder)
    trained = _train(sites, plan, folder, part(progress, 0.0, 0.9))
    progress(0.92, Message("Evaluating and exporting the model"))
    _export(trained, sites, held_out, out, name=name, version=version)
    if work is None:
        shutil.rmtree(folder)
    progress(1.0, Message("The bundle is written"))
    return out


@dataclass(frozen=True)
class _Plan:
    tasks: dict[str, Task]
    local_epochs: dict[str, int]


def _train(sites: Sequence[NodeData], plan: _Plan, work: Path, progress: Progress) -> Training:
    """Run the federation and read back what the researcher left."""
    results = work / "results"
    results.mkdir(parents=True)
    names = _names(sites)
    progress(0.0, Message("Starting {count} nodes", count=len(names)))
    with Federation(names, work) as federation:
        config = {
            "tags": TAGS,
            "sites": list(names),
            "args": {run: task.to_args() for run, task in plan.tasks.items()},
            "local_epochs": plan.local_epochs,
            "out": str(results),
            "round_seconds": _ROUND_SECONDS,
        }
        federation.run_researcher(config, _reporter(plan, progress))
        plan_text = federation.plan.read_bytes()
    histories = {run: json.loads((results / f"{run}.json").read_text(encoding="utf-8")) for run in plan.tasks}
    networks = {run: _network(task, results / f"{run}.safetensors") for run, task in plan.tasks.items()}
    return Training(plan.tasks, plan.local_epochs, networks, histories, plan_text)
