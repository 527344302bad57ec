"""An intercept of its own for a site that joins later: calibration only, from about 30 of its patients.

Only the intercept of the recalibration moves, so that no order of two patients changes. Its prior is the federation's
intercept, with the variance of the latter's own error and of how far sites differ (as the bundle tells; else 0.5 on the
logit of the hazard, as in `training.bundle.calibration`): few patients move it little. The interval then no longer
holds how far centres differ; the limits of the conformal sets stay those of an unknown centre. The data stays on this
machine, and no node is asked.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from fedpet.core.errors import NodeDataError
from fedpet.core.messages import Message
from inference.bundle.storage import Bundle, write_recalibrated
from training.bundle.calibration import PRIOR_SD
from training.bundle.centre_intercepts import SiteIntercept, fit_intercept
from training.bundle.held_out import network_of, scores
from training.data.node_data import read_node
from training.task.losses import interval_targets

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from training.data.node_data import NodeData

    Floats = NDArray[np.float64]

MINIMUM_PATIENTS: Final = 20
MINIMUM_EVENTS: Final = 5


def calibrate_to_site(folder: Path, data: Path, out: Path) -> SiteIntercept:
    """Write a bundle with the intercept of a site.

    Args:
        folder: of the federation's bundle.
        data: node data of the site, on whose patients the model was not trained.
        out: new or empty folder.

    Raises:
        BundleError: the folder is no bundle that can be used.
        NodeDataError: the data is damaged, of another contract, or of too few patients or events.
    """
    bundle = Bundle.load(folder)
    node = read_node(data, bundle.contract)
    if len(node.case_ids) < MINIMUM_PATIENTS or node.events < MINIMUM_EVENTS:
        raise NodeDataError(
            found=Message("{count} patients with {events} events.", count=len(node.case_ids), events=node.events),
            needed=Message("At least {count} with {events}.", count=MINIMUM_PATIENTS, events=MINIMUM_EVENTS),
            advice=Message("Use the federation's bundle as it is until the site has more patients."),
        )
    covariance = np.array(bundle.calibration.covariance)
    between = bundle.calibration.between_centres
    covariance[0, 0] += PRIOR_SD[0] ** 2 if between is None else between
    found = fit_intercept(*_patients(bundle, node), prior_variance=float(covariance[0, 0]))
    learned = np.outer(covariance[:, 0], covariance[0]) / (covariance[0, 0] + 1 / found.information)
    calibration = replace(
        bundle.calibration,
        a=bundle.calibration.a + found.shift,
        covariance=tuple(map(tuple, (covariance - learned).tolist())),
        between_centres=0.0,
        centres={},
        centre=node.site,
    )
    write_recalibrated(
        out,
        bundle,
        calibration=calibration,
        card=_card(bundle, node, found),
    )
    return found


def _patients(bundle: Bundle, node: NodeData) -> tuple[Floats, Floats, Floats]:
    """Calibrated logits, exposure and events, (n, K) each."""
    edges = bundle.contract.month_edges
    score, hazard_logits = scores(network_of(bundle), node.cases)
    months, event = (torch.tensor([getattr(case, name) for case in node.cases]) for name in ("months", "event"))
    exposure, events = (part.double().numpy() for part in interval_targets(months, event, edges))
    return bundle.calibration.logits(hazard_logits, score, edges), exposure, events


def _card(bundle: Bundle, node: NodeData, found: SiteIntercept) -> dict[str, Any]:
    card = {key: value for key, value in bundle.card.items() if key not in {"format", "contract_fingerprint"}}
    limit = Message(
        "The intercept is that of the site {site}, from {count} patients: for patients of this site only.",
        site=node.site,
        count=len(node.case_ids),
    )
    return {
        **card,
        "synthetic": bundle.card["synthetic"] or node.synthetic,
        "limits": [*bundle.card["limits"], str(limit)],
        "evaluation": "None with this intercept.",
        "site_intercept": {
            "from_bundle": bundle.digest,
            "created": datetime.now(UTC).date().isoformat(),
            "site": node.site,
            "patients": len(node.case_ids),
            "events": node.events,
            "shift": found.shift,
            "shift_without_prior": found.unshrunken,
            "standard_error": found.error,
        },
    }
