"""Recalibration of the score, conformal thresholds and base rates, from the sum of the nodes' validation tables.

The hazard of interval k becomes logistic(alpha_k + a + d_s + b * score): alpha_k is the network's own baseline and
stays; d_s is a shift of the segment of time that interval k lies in, one for each endpoint and one beyond, so that
every endpoint is calibrated by itself. All are fitted by maximum likelihood, drawn to a = 0, b = 1, d = 0 by a Gaussian
prior, as validation patients are few. Their covariance is the inverse of the observed information (with the prior).

Where the tables of single centres are known, each centre has an intercept of its own, drawn to the common one by as
much as centres differ, and limits of its own for the conformal sets (`training.bundle.conformal`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log1p

from fedpet.core.errors import FederationError
from fedpet.core.messages import Message
from inference.calibration import ENDPOINT_MONTHS, SEGMENT_ENDS, SEGMENTS, CentreCalibration, RiskCalibration, design
from training.bundle.centre_intercepts import between_centres, fit_intercept
from training.bundle.conformal import (
    CentreTable,
    coverage_of_sites,
    thresholds,
    thresholds_by_centre,
    thresholds_of_unknown,
)
from training.task.carried import ALL_SITES
from training.task.risk_table import MINIMUM_CASES, MINIMUM_CELL, OutcomeTable, RiskTable, pooled_risk_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from training.bundle.centre_intercepts import SiteIntercept

    Floats = NDArray[np.float64]

PRIOR_SD = (0.5, 0.5, *(0.3,) * SEGMENTS)  # of a, of b and of the shifts
INTERVAL_LEVEL = 0.80


def calibrate(nodes: Mapping[str, Mapping[str, float]], baseline: Floats, edges: Sequence[float]) -> RiskCalibration:
    """Fit the recalibration and the thresholds.

    Args:
        nodes: validation metrics by site, with its tables if it had enough patients.
        baseline: (K,) the network's alpha.
        edges: K + 1 months, the endpoints' among them.

    Raises:
        FederationError: no node sent a table.
    """
    table = pooled_risk_table(nodes.values(), len(baseline))
    require_tables(int(table.patients.sum()), round(sum(one.get("n", 0.0) for one in nodes.values())))
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
    return with_centres(fitted, nodes, baseline, edges)


def with_centres(
    fitted: RiskCalibration, nodes: Mapping[str, Mapping[str, float]], baseline: Floats, edges: Sequence[float]
) -> RiskCalibration:
    """Give a recalibration the limits of its conformal sets and, where single sites are known, their intercepts.

    Args:
        fitted: the recalibration of all sites together.
        nodes: validation metrics by site; the metrics of all sites together are `ALL_SITES`.
        baseline: (K,) the network's alpha.
        edges: K + 1 months.
    """
    tables = {site: OutcomeTable.from_metrics(metrics) for site, metrics in nodes.items()}
    known = [site for site, table in tables.items() if table.patients and site != ALL_SITES]
    found = {site: _intercept(fitted, nodes[site], baseline, edges) for site in known if len(known) > 1}
    between = between_centres(list(found.values()))
    pooled = [CentreTable(table, at_endpoints(fitted, baseline, edges)) for table in tables.values() if table.patients]
    centres = {}
    for site, one in found.items():
        precision = one.information + 1 / between
        shift = _intercept(fitted, nodes[site], baseline, edges, between).shift
        centres[site] = CentreCalibration(shift, 1 / precision, {})
    shifted = replace(fitted, centres=centres)
    own = [CentreTable(tables[site], at_endpoints(shifted.at(site), baseline, edges)) for site in centres]
    unknown = (thresholds_of_unknown if centres else thresholds)(pooled, INTERVAL_LEVEL)
    limits_of = thresholds_by_centre(own, INTERVAL_LEVEL, unknown)
    return replace(
        fitted,
        thresholds=unknown,
        between_centres=between,
        centres={
            site: replace(one, thresholds=limits)
            for (site, one), limits in zip(centres.items(), limits_of, strict=True)
        },
    )


def _intercept(
    fitted: RiskCalibration,
    metrics: Mapping[str, float],
    baseline: Floats,
    edges: Sequence[float],
    prior_variance: float = PRIOR_SD[0] ** 2,
) -> SiteIntercept:
    table = RiskTable.from_metrics(metrics, len(baseline))
    logits = fitted.logits(baseline + table.score[:, None], table.score, edges)
    return fit_intercept(logits, table.exposure, table.events, prior_variance)


def coverage_by_site(
    nodes: Mapping[str, Mapping[str, float]],
    baseline: Floats,
    edges: Sequence[float],
    fitted: RiskCalibration | None = None,
) -> dict[str, Any]:
    """Coverage of the conformal sets at each site, with the calibration that the other sites give an unknown one.

    Args:
        nodes: validation metrics by site; a site without tables, or the only one with them, is left out.
        baseline: (K,) the network's alpha.
        edges: K + 1 months.
        fitted: a recalibration that stays, see `with_centres`; None fits one to the other sites.
    """
    tables = {site: OutcomeTable.from_metrics(metrics) for site, metrics in nodes.items()}
    checked = {}
    for site, table in tables.items():
        others = {other: metrics for other, metrics in nodes.items() if other != site}
        if table.patients and any(tables[other].patients for other in others):
            if fitted is None:
                calibration = calibrate(others, baseline, edges)
            else:
                calibration = with_centres(fitted, others, baseline, edges)
            checked[site] = (CentreTable(table, at_endpoints(calibration, baseline, edges)), calibration.thresholds)
    return coverage_of_sites(checked)


def at_endpoints(calibration: RiskCalibration, baseline: Floats, edges: Sequence[float]) -> Callable[[Floats], Floats]:
    """Scores (n,) -> P(free of progression) (n, E) at the endpoints, in the order of time."""
    at = [list(edges).index(months) for months in SEGMENT_ENDS]
    return lambda score: calibration.free(baseline + score[:, None], score, edges)[:, at]


def require_tables(count: int, validation: int) -> None:
    """Refuse to continue without data for the calibration of the model.

    Args:
        count: nodes with tables, or patients in them.
        validation: validation patients that the nodes count together.

    Raises:
        FederationError: `count` is 0.
    """
    if not count:
        raise FederationError(
            found=Message(
                "Not enough validation patients to calibrate the model: the nodes report {n} in all.", n=validation
            ),
            needed=Message(
                "A node with at least {patients} validation patients, and {cell} of them with the event (in sum over "
                "the nodes with secure aggregation; another number where minimum_cell says so).",
                patients=MINIMUM_CASES,
                cell=MINIMUM_CELL,
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


def survival_of_all(table: RiskTable) -> Floats:
    """(K + 1,) Kaplan-Meier survival of all validation patients at the edges of the contract's intervals."""
    exposure, events = table.exposure.sum(0), table.events.sum(0)
    hazard = np.divide(events, exposure, out=np.zeros_like(events), where=exposure > 0)
    return np.asarray(np.exp(np.append(0.0, np.cumsum(log1p(-np.minimum(hazard, 1 - 1e-9))))), float)


def base_rates(table: RiskTable, edges: Sequence[float]) -> dict[str, float]:
    """Kaplan-Meier probability of each endpoint over all validation patients, in the contract's intervals."""
    survival = survival_of_all(table)
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
