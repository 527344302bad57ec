"""An intercept of its own for a site that joins later: calibration only, from about 30 of its patients.

Only the intercept of the recalibration moves, so that no order of two patients changes. Its prior is the federation's
intercept, with the variance of the latter's own error and of how far sites differ (0.5 on the logit of the hazard, as
in `training.bundle.calibration`): few patients move it little. The data stays on this machine, and no node is asked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from safetensors.torch import load_file
from scipy.special import expit

from fedpet.core.errors import NodeDataError
from fedpet.core.messages import Message
from inference.bundle.storage import Bundle, write_bundle
from inference.network import build_network
from training.bundle.calibration import PRIOR_SD
from training.bundle.held_out import scores
from training.data.node_data import read_node
from training.task.losses import interval_targets

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from training.data.node_data import NodeData

    Floats = NDArray[np.float64]

MINIMUM_PATIENTS: Final = 20
MINIMUM_EVENTS: Final = 5
_STEPS: Final = 30  # of Newton's method


@dataclass(frozen=True)
class SiteIntercept:
    """How far a site's intercept is from the federation's.

    Attributes:
        shift: on the logit of the hazard, drawn to 0.
        unshrunken: the same without the prior.
        prior_variance: of the shift.
        information: of the site's patients about it.
    """

    shift: float
    unshrunken: float
    prior_variance: float
    information: float

    @property
    def error(self) -> float:
        """Standard error of the site's intercept."""
        return float((self.information + 1 / self.prior_variance) ** -0.5)


def fit_intercept(logits: Floats, exposure: Floats, events: Floats, prior_variance: float) -> SiteIntercept:
    """Penalised maximum likelihood of a shift of all calibrated hazard logits.

    Args:
        logits: (n, K) calibrated.
        exposure: (n, K), see `training.task.losses.interval_targets`.
        events: (n, K).
        prior_variance: of the shift, whose prior mean is 0.
    """

    def fitted(precision: float) -> tuple[float, float]:
        shift, information = 0.0, 0.0
        for _ in range(_STEPS):
            hazard = expit(logits + shift)
            information = float((exposure * hazard * (1 - hazard)).sum())
            slope = float((events - exposure * hazard).sum()) - precision * shift
            shift += float(np.clip(slope / (information + precision), -1.0, 1.0))
        return shift, information

    shift, information = fitted(1 / prior_variance)
    return SiteIntercept(shift, fitted(0.0)[0], prior_variance, information)


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
    covariance[0, 0] += PRIOR_SD[0] ** 2
    found = fit_intercept(*_patients(bundle, node), prior_variance=float(covariance[0, 0]))
    learned = np.outer(covariance[:, 0], covariance[0]) / (covariance[0, 0] + 1 / found.information)
    calibration = replace(
        bundle.calibration,
        a=bundle.calibration.a + found.shift,
        covariance=tuple(map(tuple, (covariance - learned).tolist())),
    )
    write_bundle(
        out,
        onnx=bundle.onnx.read_bytes(),
        weights=bundle.weights.read_bytes(),
        contract=bundle.contract,
        calibration=calibration,
        card=_card(bundle, node, found),
    )
    return found


def _patients(bundle: Bundle, node: NodeData) -> tuple[Floats, Floats, Floats]:
    """Calibrated logits, exposure and events, (n, K) each."""
    described, edges = bundle.card["network"], bundle.contract.month_edges
    network = build_network(described["name"], bundle.contract, described["config"])
    network.load_state_dict(load_file(bundle.weights))
    score, hazard_logits = scores(network, node.cases)
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
