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

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import nn

    from inference.calibration import Calibration
    from inference.contract import Contract
    from training.node_data import NodeCase, NodeData

    Floats = NDArray[np.float64]

_DRAWS = 1000
_LEVEL = 0.95
_BATCH = 4  # torch convolves single patients on one thread without oneDNN, twice as slowly


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % bootstrap interval over patients."""

    value: float
    lower: float
    upper: float


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
    report: dict[str, Any] = {
        "patients": len(held_out.cases),
        "observed_c_index": {name: concordance(score, months, event) for name, (score, _) in answers.items()},
    }
    if np.isfinite(held_out.truth).all():
        ranked = {name: score for name, (score, _) in answers.items()} | {"bayes_ceiling": -held_out.truth}
        report["expected_auc_pfs_12m"] = {
            name: asdict(bootstrap_auc(score, held_out.truth, seed=seed)) for name, score in ranked.items()
        }
        predicted = _probability(*answers["model"], calibration, contract)
        report["calibration_pfs_12m"] = {
            "mean_predicted": float(predicted.mean()),
            "mean_true": float(held_out.truth.mean()),
            "mean_absolute_error": float(np.abs(predicted - held_out.truth).mean()),
        }
    return report


def expected_auc(score: Floats, truth: Floats) -> float:
    """Expected AUC of `score` (n,), higher is worse, for survival with true probability `truth` (n,).

    Ties count one half; a patient is not paired with himself or herself. nan without a pair.
    """
    weight, concordant = _pairs(score, truth)
    total = weight.sum()
    return float(concordant.sum() / total) if total > 0 else float("nan")


def bootstrap_auc(score: Floats, truth: Floats, *, draws: int = _DRAWS, seed: int = 0) -> Estimate:
    """The expected AUC with its percentile bootstrap interval over patients.

    A patient drawn twice is not compared with his or her own copy.
    """
    weight, concordant = _pairs(score, truth)
    n = len(score)
    times = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws).astype(float)
    samples = ((times @ concordant) * times).sum(1) / ((times @ weight) * times).sum(1)
    lower, upper = np.nanquantile(samples, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Estimate(expected_auc(score, truth), float(lower), float(upper))


def _pairs(score: Floats, truth: Floats) -> tuple[Floats, Floats]:
    """Weights (n, n) of the pairs (i survives, j does not), and the same times the concordance of their scores."""
    weight = np.outer(truth, 1.0 - truth)
    np.fill_diagonal(weight, 0.0)
    return weight, weight * (1.0 - np.sign(np.subtract.outer(score, score))) / 2


def concordance(score: Floats, months: Floats, event: NDArray[np.bool_]) -> float:
    """Harrell's C-index: of the pairs in which the earlier time is an event, how many have its score higher.

    Ties of the score count one half. nan without a comparable pair.
    """
    comparable = event[:, None] & (months[:, None] < months)
    concordant = (1.0 + np.sign(np.subtract.outer(score, score))) / 2
    return float(concordant[comparable].mean()) if comparable.any() else float("nan")


def _probability(score: Floats, logits: Floats, calibration: Calibration, contract: Contract) -> Floats:
    """Recalibrated P(PFS >= 12 months) of each patient."""
    at = contract.month_edges.index(12.0)
    curves = [
        calibration.survival(hazard, raw, contract.month_edges).probability
        for hazard, raw in zip(logits, score, strict=True)
    ]
    return np.array([curve[at] for curve in curves])
