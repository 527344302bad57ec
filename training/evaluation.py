"""How good a model is on held-out simulated patients, whose true probabilities are known, and on their outcomes.

The expected AUC scores the model against the true probability p of PFS >= 12 months instead of against one draw of the
outcome: every ordered pair of patients (i, j) counts with weight p_i (1 - p_j), the probability that i survives and j
does not. The Bayes ceiling is the expected AUC of p itself: no model can be better.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from training.metrics import Estimate, Sample, expected_auc, harrell

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import nn

    from inference.calibration import Calibration
    from inference.contract import Contract
    from training.node_data import NodeCase, NodeData

    Floats = NDArray[np.float64]

_DRAWS = 1000
_BATCH = 4  # torch convolves single patients on one thread without oneDNN, twice as slowly


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Held-out patients: arrays of the cases and the true P(PFS >= 12 months), nan where it is not known."""

    cases: tuple[NodeCase, ...]
    truth: Floats

    @staticmethod
    def of(nodes: Sequence[NodeData]) -> HeldOut:
        """All patients of the nodes."""
        cases = tuple(case for node in nodes for case in node.cases)
        truth = [node.truth.get(case_id, np.nan) for node in nodes for case_id in node.case_ids]
        return HeldOut(cases, np.array(truth))


def scores(network: nn.Module, cases: Sequence[NodeCase]) -> tuple[Floats, Floats]:
    """Scores (n,) and hazard logits (n, K) of the patients."""
    network.eval()
    parts: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    with torch.inference_mode():
        for start in range(0, len(cases), _BATCH):
            batch = cases[start : start + _BATCH]
            image = torch.from_numpy(np.stack([case.image for case in batch]).astype(np.float32))
            output = network(image, torch.from_numpy(np.stack([case.clinical for case in batch])))
            parts.append((output.score.numpy(), output.hazard_logits.numpy()))
    score, logits = (np.concatenate(column).astype(np.float64) for column in zip(*parts, strict=True))
    return score, logits


def evaluate(
    held_out: HeldOut, networks: Mapping[str, nn.Module], calibration: Calibration, contract: Contract, *, seed: int = 0
) -> dict[str, Any]:
    """Metrics of the networks ("model" and baselines) beside the ceiling; plain data.

    Calibration is reported for "model" after recalibration. Without known truth only the observed C-index is given.
    """
    months = np.array([case.months for case in held_out.cases])
    event = np.array([case.event for case in held_out.cases])
    answers = {name: scores(network, held_out.cases) for name, network in networks.items()}
    sample = Sample.of(months, event, draws=_DRAWS, seed=seed)
    report: dict[str, Any] = {
        "patients": len(held_out.cases),
        "observed_c_index": {name: float(harrell(sample, score)[0]) for name, (score, _) in answers.items()},
    }
    if np.isfinite(held_out.truth).all():
        ranked = {name: score for name, (score, _) in answers.items()} | {"bayes_ceiling": -held_out.truth}
        report["expected_auc_pfs_12m"] = {
            name: asdict(Estimate.of(expected_auc(sample, score, held_out.truth))) for name, score in ranked.items()
        }
        predicted = _probability(*answers["model"], calibration, contract)
        report["calibration_pfs_12m"] = {
            "mean_predicted": float(predicted.mean()),
            "mean_true": float(held_out.truth.mean()),
            "mean_absolute_error": float(np.abs(predicted - held_out.truth).mean()),
        }
    return report


def _probability(score: Floats, logits: Floats, calibration: Calibration, contract: Contract) -> Floats:
    """Recalibrated P(PFS >= 12 months) of each patient."""
    at = contract.month_edges.index(12.0)
    curves = [
        calibration.survival(hazard, raw, contract.month_edges).probability
        for hazard, raw in zip(logits, score, strict=True)
    ]
    return np.array([curve[at] for curve in curves])
