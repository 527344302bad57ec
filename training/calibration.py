"""Recalibration of the score and base rates, from the sum of the nodes' validation tables.

The hazard of interval k becomes logistic(alpha_k + a + b * score): alpha_k is the network's own baseline and stays;
a and b are fitted by maximum likelihood, drawn to a = 0, b = 1 by a Gaussian prior, as validation patients are few.
Their covariance is the inverse of the observed information (with the prior).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log1p

from fedpet.errors import FederationError
from fedpet.messages import Message
from inference.calibration import ENDPOINT_MONTHS, Calibration
from training.risk_table import MINIMUM_CASES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from training.risk_table import RiskTable

PRIOR_SD = (0.5, 0.5)  # of a and of b
INTERVAL_LEVEL = 0.80


def calibrate(table: RiskTable, baseline: NDArray[np.float64], edges: Sequence[float]) -> Calibration:
    """Fit the recalibration.

    Args:
        table: validation patients of all nodes.
        baseline: (K,) the network's alpha.
        edges: K + 1 months.

    Raises:
        FederationError: no node sent a table.
    """
    require_tables(int(table.patients.sum()))
    a, b, covariance = fit_recalibration(table, baseline)
    (aa, ab), (_, bb) = covariance.tolist()
    return Calibration(
        a=a,
        b=b,
        covariance=((aa, ab), (ab, bb)),
        interval_level=INTERVAL_LEVEL,
        base_rates=base_rates(table, edges),
        risk_thirds=thirds(table),
    )


def require_tables(count: int) -> None:
    """Refuse to go on where nothing will tell, or told, how well the model is calibrated.

    Raises:
        FederationError: `count` is 0.
    """
    if not count:
        raise FederationError(
            found=Message("No node has enough validation patients to tell how well the model is calibrated."),
            needed=Message("A node with at least {count} validation patients.", count=MINIMUM_CASES),
            advice=Message("Give the nodes more patients."),
        )


def fit_recalibration(table: RiskTable, baseline: NDArray[np.float64]) -> tuple[float, float, NDArray[np.float64]]:
    """The penalised maximum likelihood (a, b) and their covariance (2, 2)."""
    design = np.stack([np.ones_like(table.score), table.score])  # (2, BINS)
    start, precision = np.array([0.0, 1.0]), 1.0 / np.square(PRIOR_SD)

    def objective(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = (parameters @ design)[:, None] + baseline
        loss = (table.exposure * np.logaddexp(0.0, logits) - table.events * logits).sum()
        slope = design @ (table.exposure * expit(logits) - table.events).sum(1)
        shift = parameters - start
        return float(loss + (precision * shift**2).sum() / 2), slope + precision * shift

    fitted = minimize(objective, start, jac=True, method="BFGS").x
    hazard = expit((fitted @ design)[:, None] + baseline)
    weight = (table.exposure * hazard * (1 - hazard)).sum(1)
    covariance = np.linalg.inv((design * weight) @ design.T + np.diag(precision))
    return float(fitted[0]), float(fitted[1]), covariance


def base_rates(table: RiskTable, edges: Sequence[float]) -> dict[str, float]:
    """Kaplan-Meier probability of each endpoint over all validation patients, in the contract's intervals."""
    exposure, events = table.exposure.sum(0), table.events.sum(0)
    hazard = np.divide(events, exposure, out=np.zeros_like(events), where=exposure > 0)
    survival = np.exp(np.append(0.0, np.cumsum(log1p(-np.minimum(hazard, 1 - 1e-9)))))
    rates: dict[str, float] = {
        name: float(survival[list(edges).index(months)]) for name, months in ENDPOINT_MONTHS.items()
    }
    return rates | {"early_failure_3m": 1.0 - rates["early_failure_3m"]}


def thirds(table: RiskTable) -> tuple[float, float]:
    """Raw scores that cut the validation patients into thirds, interpolated between the means of the bins."""
    filled = table.patients > 0
    share = (np.cumsum(table.patients) - table.patients / 2)[filled] / table.patients.sum()
    low, high = np.interp([1 / 3, 2 / 3], share, table.score[filled])
    return float(low), float(high)
