"""Performance of a model on held-out patients: on their outcomes, and on the true probabilities of simulated ones.

The expected AUC scores the model against the true probability p of PFS >= 12 months instead of against one draw of the
outcome: every ordered pair of patients (i, j) counts with weight p_i (1 - p_j), the probability that i survives and j
does not. The Bayes ceiling is the expected AUC of p itself, which no model can exceed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file

from inference.calibration import ENDPOINT_MONTHS
from inference.network import build_network
from inference.registry import REPORT_FORMAT
from training.bundle.comparators import compare_scores
from training.bundle.conformal import coverage_by_centre
from training.bundle.overall_survival import with_overall_survival
from training.metrics import Estimate, Sample, expected_auc, harrell

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from inference.bundle.storage import Bundle
    from inference.calibration import RiskCalibration
    from inference.input_contract import InputContract
    from inference.prediction import EndpointName
    from training.data.node_data import NodeCase, NodeData

    Floats = NDArray[np.float64]

_DRAWS = 1000
_BATCH = 4  # torch convolves single patients on one thread without oneDNN, twice as slowly


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Held-out patients: arrays of the cases, their centres and the true P(PFS >= 12 months), nan if not known."""

    cases: tuple[NodeCase, ...]
    site: NDArray[np.str_]
    truth: Floats

    @staticmethod
    def of(nodes: Sequence[NodeData]) -> HeldOut:
        """All patients of the nodes."""
        cases = tuple(case for node in nodes for case in node.cases)
        truth = [node.truth.get(case_id, np.nan) for node in nodes for case_id in node.case_ids]
        site = np.array([node.site for node in nodes for _ in node.case_ids])
        return HeldOut(cases, site, np.array(truth))


def network_of(bundle: Bundle) -> nn.Module:
    """The network of a bundle, with its parameters."""
    described = bundle.card["network"]
    network = build_network(described["name"], bundle.contract, described["config"])
    network.load_state_dict(load_file(bundle.weights))
    return network


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
    held_out: HeldOut,
    networks: Mapping[str, nn.Module],
    calibration: RiskCalibration,
    contract: InputContract,
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """Metrics of the networks ("model" and baselines) beside the ceiling; plain data.

    Calibration and the coverage of the conformal sets are reported for "model" after recalibration; its ranking also
    centre by centre. Without known truth only the observed C-index and the coverage are given.
    """
    months = np.array([case.months for case in held_out.cases])
    event = np.array([case.event for case in held_out.cases])
    sites = np.unique(held_out.site)
    answers = {name: scores(network, held_out.cases) for name, network in networks.items()}
    sample = Sample.of(months, event, draws=_DRAWS, seed=seed)
    score, logits = answers["model"]
    sets = sets_of(held_out.site, score, logits, calibration, contract)
    predicted = {name: probability for name, (probability, _) in sets.items()}
    report: dict[str, Any] = {
        "patients": len(held_out.cases),
        "observed_c_index": {name: float(harrell(sample, score)[0]) for name, (score, _) in answers.items()},
        "conformal_sets": coverage_by_centre(held_out.site, months, event, sets),
        "by_centre": {str(site): _ranking(held_out, sample, score, held_out.site == site) for site in sites},
    }
    if np.isfinite(held_out.truth).all():
        ranked = {name: score for name, (score, _) in answers.items()} | {"bayes_ceiling": -held_out.truth}
        report["expected_auc_pfs_12m"] = {
            name: asdict(Estimate.of(expected_auc(sample, score, held_out.truth))) for name, score in ranked.items()
        }
        report["calibration_pfs_12m"] = {
            "mean_predicted": float(predicted["pfs_12m"].mean()),
            "mean_true": float(held_out.truth.mean()),
            "mean_absolute_error": float(np.abs(predicted["pfs_12m"] - held_out.truth).mean()),
        }
    return report


def sets_of(
    site: NDArray[np.str_], score: Floats, logits: Floats, calibration: RiskCalibration, contract: InputContract
) -> dict[EndpointName, tuple[Floats, Floats]]:
    """By endpoint P(free of progression) (n,) and limits of the conformal sets (n, 2), nan where there are none.

    Each patient is answered as at his or her centre: with its own calibration where the federation knows it.

    Args:
        site: (n,) each patient's centre.
        score: (n,) raw.
        logits: (n, K), which include the scores.
        calibration: of the bundle.
        contract: of the model.
    """
    edges, none = contract.month_edges, (np.nan, np.nan)
    survival = np.empty((len(score), len(edges)))
    limits = {name: np.full((len(score), 2), np.nan) for name in ENDPOINT_MONTHS}
    for one in np.unique(site):
        here, own = site == one, calibration.at(str(one))
        survival[here] = own.free(logits[here], score[here], edges)
        for name, found in limits.items():
            found[here] = own.thresholds.get(name, none)
    return {name: (survival[:, edges.index(months)], limits[name]) for name, months in ENDPOINT_MONTHS.items()}


def evaluate_bundle(bundle: Bundle, nodes: Sequence[NodeData]) -> dict[str, Any]:
    """A report on a finished model, for its promotion.

    Args:
        bundle: the model.
        nodes: node data of patients whom the training did not see, prepared by the bundle's input contract.

    Returns:
        What `evaluate` gives for "model", with the digest of the bundle and the numbers of patients by site; overall
        survival where the bundle holds it; and every published score beside the model (`training.bundle.comparators`).
    """
    held_out, network = HeldOut.of(nodes), network_of(bundle)
    return {
        "format": REPORT_FORMAT,
        "bundle": bundle.digest,
        "created": datetime.now(UTC).date().isoformat(),
        "synthetic": any(node.synthetic for node in nodes),
        "sites": {node.site: len(node.case_ids) for node in nodes},
        **evaluate(held_out, {"model": network}, bundle.calibration, bundle.contract),
        **with_overall_survival(bundle.overall_survival, nodes, bundle.contract),
        **_published_scores(bundle, network, nodes, held_out),
    }


def _published_scores(
    bundle: Bundle, network: nn.Module, nodes: Sequence[NodeData], held_out: HeldOut, seed: int = 0
) -> dict[str, Any]:
    score, logits = scores(network, held_out.cases)
    sets = sets_of(held_out.site, score, logits, bundle.calibration, bundle.contract)
    months, event = (np.array([getattr(case, name) for case in held_out.cases]) for name in ("months", "event"))
    sample = Sample.of(months, event, draws=_DRAWS, seed=seed)
    return compare_scores(nodes, sample, 1 - sets["pfs_12m"][0], ENDPOINT_MONTHS["pfs_12m"])


def write_report(report: Mapping[str, Any], out: Path) -> Path:
    """Write report.json into a folder; its path."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "report.json"
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _ranking(held_out: HeldOut, sample: Sample, score: Floats, member: NDArray[np.bool_]) -> dict[str, Any]:
    """Number of patients and how a score ranks them; None where nobody can be compared."""
    part, truth = sample.part(member), held_out.truth[member]
    concordance = float(harrell(part, score[member])[0])
    found: dict[str, Any] = {
        "patients": int(member.sum()),
        "observed_c_index": concordance if np.isfinite(concordance) else None,
    }
    if np.isfinite(truth).all():
        drawn = expected_auc(part, score[member], truth)
        found["expected_auc_pfs_12m"] = asdict(Estimate.of(drawn)) if np.isfinite(drawn).all() else None
    return found
