"""From the results of the researcher to a bundle: calibrate, evaluate, convert, verify, write."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file

from fedpet.core.errors import FederationError
from fedpet.core.messages import Message
from inference.bundle.storage import write_bundle
from training.bundle.calibration import calibrate, coverage_by_site
from training.bundle.export import export_onnx, serialized_parameters, verify_onnx
from training.bundle.held_out import scores
from training.bundle.model_card import TrainingSummary, model_card
from training.bundle.monitor_reference import reference_of_training
from training.bundle.overall_survival import described, overall_survival_model
from training.bundle.tripod import TripodStudy
from training.task.runs import MODEL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from inference.calibration import RiskCalibration
    from inference.overall_survival import OverallSurvivalModel
    from training.bundle.model_card import SiteSummary
    from training.data.node_data import NodeCase
    from training.task.runs import Run

    Evaluation = Callable[[RiskCalibration, OverallSurvivalModel | None], Mapping[str, Any] | None]

_VERIFIED = 4  # patients on which the export is compared with torch


def collect_results(runs: Mapping[str, Run], results: Path) -> TrainingSummary:
    """Read the researcher's output folder; personal parameters, which are not in it, keep their first values."""
    networks, histories = {}, {}
    for name, run in runs.items():
        networks[name] = run.task.build()
        networks[name].load_state_dict(
            load_file(results / f"{name}.safetensors"), strict=not run.task.method.aggregation.personal
        )
        histories[name] = json.loads((results / f"{name}.json").read_text(encoding="utf-8"))
    return TrainingSummary(runs, networks, histories, (results / "plan.py").read_bytes())


def write_model_bundle(
    trained: TrainingSummary,
    out: Path,
    *,
    about: Mapping[str, Any],
    sites: Sequence[SiteSummary],
    cases: Sequence[NodeCase],
    held_out: int = 0,
    evaluation: Evaluation = lambda _calibration, _overall: None,
    study: TripodStudy | None = None,
) -> None:
    """Write the bundle.

    Args:
        trained: the results of the federation.
        out: new or empty folder.
        about: name and version of the model, the command that trains it again, and further entries of the card.
        sites: that trained.
        cases: on which the export is compared with torch.
        held_out: number of patients of the evaluation.
        evaluation: of the calibrated model, and of overall survival where it was trained.
        study: statements of those who trained it.

    Raises:
        ExportError: ONNX Runtime and torch differ.
    """
    network, contract = trained.networks[MODEL], trained.runs[MODEL].task.contract
    score, logits = scores(network, cases[:1])
    nodes, baseline = trained.histories[MODEL]["final"], logits[0] - score[0]
    calibration = calibrate(nodes, baseline, contract.month_edges)
    overall = overall_survival_model(trained)
    model = export_onnx(network, contract)
    difference = verify_onnx(model, network, cases[:_VERIFIED])
    reference = reference_of_training(trained.runs[MODEL].task, trained.histories[MODEL], calibration, baseline)
    card = model_card(
        trained,
        sites,
        held_out=held_out,
        evaluation=evaluation(calibration, overall),
        onnx_difference=difference,
        study=study or TripodStudy(),
    )
    write_bundle(
        out,
        onnx=model,
        weights=serialized_parameters(network),
        contract=contract,
        calibration=calibration,
        card={
            **card,
            "conformal_sets": coverage_by_site(nodes, baseline, contract.month_edges),
            **({"reference": reference.to_json()} if reference else {}),
            **described(trained, overall),
            **about,
        },
        overall_survival=overall,
    )


def require_empty(folder: Path) -> None:
    """Refuse to write into a folder with content.

    Raises:
        FederationError: the folder is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FederationError(
            found=Message("The folder {name} is not empty.", name=folder.name),
            needed=Message("A new or an empty folder."),
            advice=Message("Give another folder; nothing is overwritten."),
        )
