"""A new calibration of a finished model from node data of several centres: nothing is trained, the scores stay.

What a federation does at its end (`training.bundle.calibration`), on the tables that the nodes of these patients would
send. It gives a bundle of version 0.2, or one made under secure aggregation, what it does not say: how far centres
differ, and the limits of the conformal sets by outcome and by centre.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import torch

from fedpet.core.errors import NodeDataError
from fedpet.core.messages import Message
from inference.bundle.storage import Bundle, write_recalibrated
from inference.calibration import ENDPOINT_MONTHS
from training.bundle.calibration import calibrate, coverage_by_site, with_centres
from training.bundle.held_out import HeldOut, evaluate, network_of, scores
from training.bundle.model_card import INTERVAL_LIMIT
from training.bundle.monitor_reference import reference_of
from training.data.node_data import read_node
from training.task.losses import interval_targets
from training.task.risk_table import MINIMUM_CASES, OutcomeTable, RiskTable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from inference.calibration import RiskCalibration
    from training.data.node_data import NodeData

_RECALIBRATED = ("calibration_pfs_12m", "conformal_sets")  # figures of a card's evaluation that the calibration moves


def recalibrate(
    folder: Path,
    data: Sequence[Path],
    out: Path,
    *,
    holdout: Sequence[Path] = (),
    keep: bool = False,
    version: str = "",
) -> RiskCalibration:
    """Write the bundle with a calibration from node data.

    Args:
        folder: of the bundle.
        data: node data of the centres, of patients on whom the model was not trained.
        out: new or empty folder.
        holdout: node data of other patients, on whom the figures of the card are judged. Without them the coverage of
            the sets is that of each centre by the limits that the other centres give an unknown one.
        keep: leave intercept, slope and shifts as they are, so that no probability of an unknown centre changes; only
            intercepts and limits of the centres are added.
        version: of the new bundle; that of the old one without it.

    Raises:
        BundleError: the folder is no bundle that can be used.
        NodeDataError: the data is damaged, of another contract, or a centre is given twice.
        FederationError: no centre has enough patients.
    """
    bundle = Bundle.load(folder)
    nodes = [read_node(one, bundle.contract) for one in data]
    _require_once([node.site for node in nodes])
    network, edges = network_of(bundle), bundle.contract.month_edges
    score, logits = scores(network, nodes[0].cases[:1])
    baseline = logits[0] - score[0]
    tables = {node.site: _tables(node, bundle, network) for node in nodes}
    before = replace(bundle.calibration, centres={}) if keep else None
    calibration = with_centres(before, tables, baseline, edges) if before else calibrate(tables, baseline, edges)
    answers = [_answers(node, bundle, network, calibration) for node in nodes]
    card = {key: value for key, value in bundle.card.items() if key not in {"format", "contract_fingerprint"}}
    evaluation = card.get("evaluation")
    unknown = coverage_by_site(tables, baseline, edges, before)
    moved = {
        "conformal_sets": {name: {"all": one["all"], "by_centre": one["by_site"]} for name, one in unknown.items()}
    }
    if holdout:
        held_out = HeldOut.of([read_node(one, bundle.contract) for one in holdout])
        moved = evaluate(held_out, {"model": network}, calibration, bundle.contract)
    judged = {key: moved[key] for key in _RECALIBRATED if key in moved}
    lost = set() if keep else set(_RECALIBRATED)
    figures = evaluation if isinstance(evaluation, dict) else {}
    kept = {key: value for key, value in figures.items() if key not in lost}
    write_recalibrated(
        out,
        bundle,
        calibration=calibration,
        card={
            **card,
            "version": version or card["version"],
            "limits": [_limit(one) for one in card.get("limits", [])],
            "evaluation": {**kept, **judged},
            "conformal_sets": unknown,
            "reference": reference_of(nodes, bundle.contract, np.concatenate(answers)).to_json(),
            "recalibration": {
                "from_bundle": bundle.digest,
                "created": datetime.now(UTC).date().isoformat(),
                "sites": {node.site: {"patients": len(node.case_ids), "events": node.events} for node in nodes},
                "synthetic": any(node.synthetic for node in nodes),
                "fit_kept": keep,
                "sets_judged_on": "held-out patients" if holdout else "each centre, by the limits of the others",
            },
        },
    )
    return calibration


def _answers(
    node: NodeData, bundle: Bundle, network: torch.nn.Module, calibration: RiskCalibration
) -> NDArray[np.float64]:
    """P(free of progression at 12 months) of the patients of a node, as their centre answers."""
    edges = bundle.contract.month_edges
    score, logits = scores(network, node.cases)
    months = edges.index(ENDPOINT_MONTHS["pfs_12m"])
    return calibration.at(node.site).free(logits, score, edges)[:, months]


def _limit(stated: str) -> str:
    """A limit of the card; that of the interval as it is now, which once held the calibration only."""
    return str(INTERVAL_LIMIT) if stated.startswith("The interval says") else stated


def _require_once(sites: Sequence[str]) -> None:
    twice = sorted({site for site in sites if sites.count(site) > 1})
    if twice:
        raise NodeDataError(
            found=Message("Node data of {site} is given twice.", site=", ".join(twice)),
            needed=Message("One folder a centre."),
            advice=Message("Name each folder once."),
        )


def _tables(node: NodeData, bundle: Bundle, network: torch.nn.Module) -> dict[str, float]:
    """What the node of these patients would send; nothing of too few."""
    if len(node.cases) < MINIMUM_CASES:
        return {}
    score, _ = scores(network, node.cases)
    months = torch.tensor([case.months for case in node.cases])
    event = torch.tensor([case.event for case in node.cases])
    exposure, events = interval_targets(months, event, bundle.contract.month_edges)
    risk = RiskTable.of(score, exposure.numpy(), events.numpy())
    return risk.to_metrics() | OutcomeTable.of(score, months.numpy(), event.numpy()).to_metrics()
