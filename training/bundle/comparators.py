"""The published scores beside a finished model, on the patients in whom each is known."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from fedpet.clinical.scores import SCORES
from training.data.node_data import SCORE_PREFIX, read_rows
from training.metrics import Estimate, Sample, auc, harrell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from training.data.node_data import NodeData

    Floats = NDArray[np.float64]

_LEAST = 10  # patients with and without the event, below which nothing is compared


def compare_scores(nodes: Sequence[NodeData], sample: Sample, risk: Floats, horizon: float) -> dict[str, Any]:
    """Every published score beside the model, by name.

    Args:
        nodes: whose patients, one node after the other, are those of the sample; their cases.csv has the scores.
        sample: outcomes of the n patients.
        risk: (n,) of the model, higher for a worse patient.
        horizon: months at which the AUC is taken.

    Returns:
        For each score the number of patients in whom it is known and how many lack which of its inputs, where the node
        data says so; Harrell's C and the AUC of the score, of the model on the same patients, and their difference
        (model - score) with paired intervals. A comparison of fewer than 10 patients with or without an event at the
        horizon is left out ("too_few").
    """
    rows = [row for node in nodes for row in read_rows(node.folder)]
    lacking = _lacking(nodes)
    found = {}
    for name, score in SCORES.items():
        values = np.array([float(row.get(f"{SCORE_PREFIX}{name}") or np.nan) for row in rows])
        known = np.isfinite(values)
        missing = {"missing": dict(lacking[name])} if name in lacking else {}
        one = {"label": str(score.label), "patients": int(known.sum()), **missing}
        part = sample.part(known)
        early = int((part.event & (part.months < horizon)).sum())
        if min(early, int((part.months >= horizon).sum())) < _LEAST:
            found[name] = one | {"too_few": True}
            continue
        alone = values[known] if score.worse == "higher" else -values[known]
        found[name] = one | {
            "c_index": _beside(harrell(part, alone), harrell(part, risk[known])),
            f"auc_{horizon:g}m": _beside(auc(part, alone, horizon), auc(part, risk[known], horizon)),
        }
    return {"published_scores": found}


def _beside(score: Floats, model: Floats) -> dict[str, Any]:
    drawn = {"score": score, "model": model, "difference": model - score}
    return {name: asdict(Estimate.of(draws)) for name, draws in drawn.items() if isfinite(draws[0])}


def _lacking(nodes: Sequence[NodeData]) -> dict[str, Counter[str]]:
    """By score, how many patients of all nodes lack which input."""
    counts: dict[str, Counter[str]] = {}
    for node in nodes:
        header = json.loads((node.folder / "node.json").read_text(encoding="utf-8"))
        for score, inputs in header.get("scores_lack", {}).items():
            counts.setdefault(score, Counter()).update(inputs)
    return counts
