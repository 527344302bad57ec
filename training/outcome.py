"""From what the researcher left to a bundle: calibrate, evaluate, convert, verify, write."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file

from fedpet.errors import FederationError
from fedpet.messages import Message
from inference.bundle import write_bundle
from training.calibration import calibrate, check_sites
from training.card import Trained, model_card
from training.evaluation import scores
from training.export import export_onnx, verify_onnx, weights
from training.runs import MODEL
from training.tripod import Study

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from inference.calibration import Calibration
    from training.card import Site
    from training.node_data import NodeCase
    from training.runs import Run

_VERIFIED = 4  # patients on which the export is compared with torch


def collect(runs: Mapping[str, Run], results: Path) -> Trained:
    """Read the researcher's output folder; personal parameters, which it does not have, stay as they began."""
    networks, histories = {}, {}
    for name, run in runs.items():
        networks[name] = run.task.build()
        networks[name].load_state_dict(
            load_file(results / f"{name}.safetensors"), strict=not run.task.method.aggregation.personal
        )
        histories[name] = json.loads((results / f"{name}.json").read_text(encoding="utf-8"))
    return Trained(runs, networks, histories, (results / "plan.py").read_bytes())


def write(
    trained: Trained,
    out: Path,
    *,
    about: Mapping[str, Any],
    sites: Sequence[Site],
    cases: Sequence[NodeCase],
    held_out: int = 0,
    evaluation: Callable[[Calibration], Mapping[str, Any] | None] = lambda _: None,
    study: Study | None = None,
) -> None:
    """Write the bundle.

    Args:
        trained: what the federation left.
        out: new or empty folder.
        about: name and version of the model, the command that trains it again, and what else the card tells.
        sites: that trained.
        cases: on which the export is compared with torch.
        held_out: number of patients of the evaluation.
        evaluation: of the calibrated model.
        study: what people told of it.

    Raises:
        ExportRefused: ONNX Runtime and torch differ.
    """
    network, contract = trained.networks[MODEL], trained.runs[MODEL].task.contract
    score, logits = scores(network, cases[:1])
    nodes, baseline = trained.histories[MODEL]["final"], logits[0] - score[0]
    calibration = calibrate(nodes.values(), baseline, contract.month_edges)
    model = export_onnx(network, contract)
    difference = verify_onnx(model, network, cases[:_VERIFIED])
    card = model_card(
        trained,
        sites,
        held_out=held_out,
        evaluation=evaluation(calibration),
        onnx_difference=difference,
        study=study or Study(),
    )
    write_bundle(
        out,
        onnx=model,
        weights=weights(network),
        contract=contract,
        calibration=calibration,
        card={**card, "conformal_sets": check_sites(nodes, baseline, contract.month_edges), **about},
    )


def require_empty(folder: Path) -> None:
    """Refuse to write where something is.

    Raises:
        FederationError: the folder is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FederationError(
            found=Message("The folder {name} is not empty.", name=folder.name),
            needed=Message("A new or an empty folder."),
            advice=Message("Give another folder; nothing is overwritten."),
        )
