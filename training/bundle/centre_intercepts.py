"""Intercepts of single centres, and how far centres differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import expit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BETWEEN_SD: Final = 0.3  # scale of the prior of how far centres differ, on the logit of the hazard
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


def between_centres(found: Sequence[SiteIntercept]) -> float:
    """Variance of the intercept between centres, the posterior mean; the standard deviation has a half-normal prior.

    Few centres say little about it: with none it is the prior's (0.09), never 0.

    Args:
        found: of single centres; their shifts without a prior are used.
    """
    spread = np.linspace(0.005, 1.0, 200)
    log_density = -np.square(spread / BETWEEN_SD) / 2
    for one in found:
        if one.information > 0:
            variance = spread**2 + 1 / one.information
            log_density = log_density - np.log(variance) / 2 - one.unshrunken**2 / variance / 2
    density = np.exp(log_density - log_density.max())
    return float((density * spread**2).sum() / density.sum())
