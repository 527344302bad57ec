"""Performance of a finished model from the tables that sites send: no patient's score or outcome is known here.

Discrimination is Harrell's C of the binned scores in discrete time, with the error of `RiskTable.concordance_error`; of
a single site it is that of merged bins, which draws it to 0.5. Calibration: intercept and slope of the calibrated
hazard logits (Cox, Biometrika 1958; Van Calster et al., BMC Med 2019) and, at every endpoint, the mean predicted beside
the observed probability. Coverage is that of the conformal sets. Small cells were merged before the tables arrived.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit

from inference.calibration import ENDPOINT_MONTHS, SEGMENT_ENDS
from training.bundle.calibration import at_endpoints
from training.bundle.conformal import CentreTable, coverage_of_sites, known_outcomes
from training.metrics import Estimate
from training.task.risk_table import BIN_MIDDLES, OutcomeTable, RiskTable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from inference.calibration import RiskCalibration

    Floats = NDArray[np.float64]

_Z = 1.959964  # two-sided 95 %
_STEPS = 30  # of Newton's method


@dataclass(frozen=True, eq=False)
class CalibratedModel:
    """What a table is compared with.

    Attributes:
        calibration: of the bundle.
        baseline: (K,) the network's alpha.
        edges: K + 1 months.
    """

    calibration: RiskCalibration
    baseline: Floats
    edges: Sequence[float]

    def logits(self, score: Floats) -> Floats:
        """Calibrated hazard logits (n, K) of raw scores (n,)."""
        return self.calibration.logits(self.baseline + score[:, None], score, self.edges)


def evaluate_tables(
    pooled: Mapping[str, float], by_site: Mapping[str, Mapping[str, float]], model: CalibratedModel
) -> dict[str, Any]:
    """Figures over all sites, and of every site whose own table is shown.

    Args:
        pooled: metrics with tables of all sites together (`training.task.carried`).
        by_site: the same of single sites; empty for a site with too few patients.
        model: that was evaluated.

    Returns:
        Plain data; a figure that the tables do not give is None.
    """
    shown = {site: metrics for site, metrics in sorted(by_site.items()) if metrics.get("n")}
    return {**_figures(pooled, model), "by_centre": {site: _figures(one, model) for site, one in shown.items()}}


def _figures(metrics: Mapping[str, float], model: CalibratedModel) -> dict[str, Any]:
    risk, outcomes = RiskTable.from_metrics(metrics, len(model.edges) - 1), OutcomeTable.from_metrics(metrics)
    return {
        "patients": int(metrics.get("n", 0.0)),
        "events": int(metrics.get("events", 0.0)),
        "loss": metrics.get("loss"),
        "concordance": concordance(metrics, risk),
        "calibration": {
            **recalibration(risk, model),
            **calibration_at_endpoints(outcomes, model),
        },
        "conformal_sets": _coverage(outcomes, model),
    }


def _coverage(table: OutcomeTable, model: CalibratedModel) -> dict[str, Any]:
    free = at_endpoints(model.calibration, model.baseline, model.edges)
    checked = {"": (CentreTable(table, free), model.calibration.thresholds)}
    return {endpoint: found["all"] for endpoint, found in coverage_of_sites(checked).items()}


def concordance(metrics: Mapping[str, float], table: RiskTable) -> dict[str, float] | None:
    """Harrell's C with its interval; None without a comparable pair, or where all patients are in one bin.

    Args:
        metrics: with the value before small cells were merged, where it is known.
        table: of the patients.
    """
    value, error = metrics.get("concordance"), metrics.get("concordance_error")
    if value is None and (table.patients > 0).sum() > 1:
        value, error = table.concordance(), table.concordance_error()
    if value is None or error is None:
        return None
    return asdict(Estimate(value, max(0.0, value - _Z * error), min(1.0, value + _Z * error)))


def recalibration(table: RiskTable, model: CalibratedModel) -> dict[str, Any]:
    """Intercept (at slope 1; 0 is perfect) and slope (1 is perfect) of the calibrated logits; None without events."""
    logits = model.logits(table.score)
    slope_column = np.broadcast_to((model.calibration.b * table.score)[:, None], logits.shape)
    ones = np.ones_like(logits)
    intercept = _fitted(np.stack([ones], -1), logits, table)
    both = _fitted(np.stack([ones, slope_column], -1), logits - slope_column, table)
    return {"intercept": intercept and intercept[0], "slope": both and both[1]}


def _fitted(columns: Floats, offset: Floats, table: RiskTable) -> list[dict[str, float]] | None:
    """Logistic regression of the events on columns (BINS, K, p) beside an offset; None where it has no maximum."""
    beta = np.zeros(columns.shape[-1])
    for _ in range(_STEPS):
        hazard = expit(offset + columns @ beta)
        gradient = np.einsum("bk,bkp->p", table.events - table.exposure * hazard, columns)
        information = np.einsum("bkp,bk,bkq->pq", columns, table.exposure * hazard * (1 - hazard), columns)
        if not table.events.sum() or np.linalg.cond(information) > 1e12:
            return None
        step = np.linalg.solve(information, gradient)
        beta += np.clip(step, -2.0, 2.0)
    errors = np.sqrt(np.diag(np.linalg.inv(information)))
    return [
        asdict(Estimate(float(b), float(b - _Z * error), float(b + _Z * error)))
        for b, error in zip(beta, errors, strict=True)
    ]


def calibration_at_endpoints(table: OutcomeTable, model: CalibratedModel) -> dict[str, Any]:
    """By endpoint the mean predicted probability of being free of progression and the observed one.

    Both are over the patients whose outcome is known, weighted for the censored (`OutcomeTable.weights`).
    """
    predicted = at_endpoints(model.calibration, model.baseline, model.edges)(BIN_MIDDLES)
    found: dict[str, Any] = {}
    for name, months in ENDPOINT_MONTHS.items():
        e = SEGMENT_ENDS.index(months)
        count, weight = known_outcomes(table, e)
        weights = count * weight
        if total := weights.sum():
            effective = float(total**2 / (count * weight**2).sum())
            found[name] = {
                "predicted": float((weights * predicted[:, e]).sum() / total),
                "observed": asdict(Estimate.exact(float(weights[0].sum() / total), effective)),
            }
    return found
