"""Recalibration of the score, conformal thresholds and base rates, from the sum of the nodes' validation tables.

The hazard of interval k becomes logistic(alpha_k + a + d_s + b * score): alpha_k is the network's own baseline and
stays; d_s is a shift of the segment of time that interval k lies in, one for each endpoint and one beyond, so that
every endpoint is calibrated by itself. All are fitted by maximum likelihood, drawn to a = 0, b = 1, d = 0 by a Gaussian
prior, as validation patients are few. Their covariance is the inverse of the observed information (with the prior).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log1p

from fedpet.core.errors import FederationError
from fedpet.core.messages import Message
from inference.calibration import ENDPOINT_MONTHS, SEGMENT_ENDS, SEGMENTS, RiskCalibration, design
from training.bundle.conformal import coverage_of_sites, thresholds
from training.task.risk_table import MINIMUM_CASES, OutcomeTable, pooled_outcomes, pooled_risk_table

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from training.task.risk_table import RiskTable

    Floats = NDArray[np.float64]

PRIOR_SD = (0.5, 0.5, *(0.3,) * SEGMENTS)  # of a, of b and of the shifts
INTERVAL_LEVEL = 0.80


def calibrate(nodes: Collection[Mapping[str, float]], baseline: Floats, edges: Sequence[float]) -> RiskCalibration:
    """Fit the recalibration and the thresholds.

    Args:
        nodes: validation metrics of each node, with its tables if it had enough patients.
        baseline: (K,) the network's alpha.
        edges: K + 1 months, the endpoints' among them.

    Raises:
        FederationError: no node sent a table.
    """
    table = pooled_risk_table(nodes, len(baseline))
    require_tables(int(table.patients.sum()))
    parameters, covariance = fit_recalibration(table, baseline, edges)
    a, b, *shifts = parameters.tolist()
    fitted = RiskCalibration(
        a=a,
        b=b,
        shifts=tuple(shifts),
        covariance=tuple(map(tuple, covariance.tolist())),
        interval_level=INTERVAL_LEVEL,
        base_rates=base_rates(table, edges),
        risk_thirds=risk_thirds(table),
        thresholds={},
    )
    found = thresholds(pooled_outcomes(nodes), at_endpoints(fitted, baseline, edges), INTERVAL_LEVEL)
    return replace(fitted, thresholds=found)


def coverage_by_site(
    nodes: Mapping[str, Mapping[str, float]], baseline: Floats, edges: Sequence[float]
) -> dict[str, Any]:
    """Coverage of the conformal sets at each site, with the calibration of the other sites.

    Args:
        nodes: validation metrics by site; a site without tables, or the only one with them, is left out.
        baseline: (K,) the network's alpha.
        edges: K + 1 months.
    """
    tables = {site: OutcomeTable.from_metrics(metrics) for site, metrics in nodes.items()}
    checked = {}
    for site, table in tables.items():
        others = [nodes[other] for other in nodes if other != site]
        if table.patients and any(tables[other].patients for other in nodes if other != site):
            calibration = calibrate(others, baseline, edges)
            checked[site] = (table, at_endpoints(calibration, baseline, edges), calibration.thresholds)
    return coverage_of_sites(checked)


def at_endpoints(calibration: RiskCalibration, baseline: Floats, edges: Sequence[float]) -> Callable[[Floats], Floats]:
    """Scores (n,) -> P(free of progression) (n, E) at the endpoints, in the order of time."""
    at = [list(edges).index(months) for months in SEGMENT_ENDS]
    return lambda score: calibration.free(baseline + score[:, None], score, edges)[:, at]


def require_tables(count: int) -> None:
    """Refuse to continue without data for the calibration of the model.

    Args:
        count: nodes with tables, or patients in them.

    Raises:
        FederationError: `count` is 0.
    """
    if not count:
        raise FederationError(
            found=Message("No node has enough validation patients to calibrate the model."),
            needed=Message(
                "A node with at least {count} validation patients, and the smallest number of each cell in sum.",
                count=MINIMUM_CASES,
            ),
            advice=Message("Give the nodes more patients."),
        )


def fit_recalibration(table: RiskTable, baseline: Floats, edges: Sequence[float]) -> tuple[Floats, Floats]:
    """The penalised maximum likelihood (a, b, *shifts) and their covariance."""
    columns = design(table.score, edges)  # (BINS, K, parameters)
    start = np.array([0.0, 1.0, *(0.0,) * SEGMENTS])
    precision = 1.0 / np.square(PRIOR_SD)

    def objective(parameters: Floats) -> tuple[float, Floats]:
        logits = columns @ parameters + baseline
        loss = (table.exposure * np.logaddexp(0.0, logits) - table.events * logits).sum()
        slope = np.einsum("bk,bkp->p", table.exposure * expit(logits) - table.events, columns)
        shift = parameters - start
        return float(loss + (precision * shift**2).sum() / 2), slope + precision * shift

    fitted = np.asarray(minimize(objective, start, jac=True, method="BFGS").x, float)
    hazard = expit(columns @ fitted + baseline)
    information = np.einsum("bkp,bk,bkq->pq", columns, table.exposure * hazard * (1 - hazard), columns)
    return fitted, np.linalg.inv(information + np.diag(precision))


def base_rates(table: RiskTable, edges: Sequence[float]) -> dict[str, float]:
    """Kaplan-Meier probability of each endpoint over all validation patients, in the contract's intervals."""
    exposure, events = table.exposure.sum(0), table.events.sum(0)
    hazard = np.divide(events, exposure, out=np.zeros_like(events), where=exposure > 0)
    survival = np.exp(np.append(0.0, np.cumsum(log1p(-np.minimum(hazard, 1 - 1e-9)))))
    rates: dict[str, float] = {
        name: float(survival[list(edges).index(months)]) for name, months in ENDPOINT_MONTHS.items()
    }
    return rates | {"early_failure_3m": 1.0 - rates["early_failure_3m"]}


def risk_thirds(table: RiskTable) -> tuple[float, float]:
    """Raw scores that divide the validation patients into thirds, interpolated between the means of the bins."""
    filled = table.patients > 0
    share = (np.cumsum(table.patients) - table.patients / 2)[filled] / table.patients.sum()
    low, high = np.interp([1 / 3, 2 / 3], share, table.score[filled])
    return float(low), float(high)
