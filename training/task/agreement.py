"""Whether a site's outcomes contradict the model of the other sites: flipped labels, a follow-up read the wrong way.

From the sums of a Newton round by site, one step leads from the common fit to the fit without a site. By that fit,
which has not seen the site, its patients' events in each segment of time and the slope of the score are compared with
what is expected. Sites may differ: by as much as the priors of the recalibration say (`training.bundle.recalibration`),
and by the error of the fit of the others. What remains is a score statistic, chi-square distributed with a degree of
freedom for each segment and one for the slope.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.stats import chi2

from inference.calibration import SEGMENT_ENDS, SEGMENTS
from training.task.newton import newton_step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from training.task.newton import Prior

    Floats = NDArray[np.float64]

CONTRADICTS: Final = "its patients' outcomes contradict the model of the other sites"  # the reason that is given
LIMIT: Final = float(chi2.isf(0.01, SEGMENTS + 1))  # of the statistic; rates: benchmarks/flipped_labels.py
_LEVEL_SD, _SEGMENT_SD, _SLOPE_SD = 0.5, 0.3, 0.5  # by which sites differ, as in the recalibration
_TINY: Final = 1e-6  # of an event: a segment without patients


@dataclass(frozen=True, eq=False)
class SiteDerivatives:
    """Gradient (q + K,) and second derivatives (q + K, q + K) of a site's patients at the coefficients of all sites."""

    gradient: Floats
    hessian: Floats


def disagreement(
    sites: Mapping[str, SiteDerivatives], coefficients: Floats, prior: Prior, edges: Sequence[float]
) -> dict[str, float]:
    """The statistic of each site against the fit of the others.

    Args:
        sites: three or more, all at the same coefficients.
        coefficients: (q + K,) inputs, then baseline.
        prior: of the fit.
        edges: K + 1 months.

    Raises:
        FederationError: the second derivatives without a site are those of no patients.
    """
    gradient = np.sum([one.gradient for one in sites.values()], axis=0)
    hessian = np.sum([one.hessian for one in sites.values()], axis=0)
    found = {}
    for name, one in sites.items():
        others = hessian - one.hessian
        step = newton_step(gradient - one.gradient, others, coefficients, prior)
        error = np.linalg.inv(others + np.diag(prior.precision))
        there = SiteDerivatives(one.gradient + one.hessian @ step, one.hessian)
        found[name] = _statistic(there, coefficients + step, error, edges)
    return found


def contradicting(
    sites: Mapping[str, SiteDerivatives], coefficients: Floats, prior: Prior, edges: Sequence[float]
) -> str | None:
    """The site that contradicts the others most, if it does so beyond chance; arguments as of `disagreement`."""
    found = disagreement(sites, coefficients, prior, edges)
    worst = max(found, key=found.__getitem__)
    return worst if found[worst] > LIMIT else None


def _statistic(site: SiteDerivatives, coefficients: Floats, error: Floats, edges: Sequence[float]) -> float:
    """Of a site's derivatives at the others' coefficients, whose covariance is `error`."""
    inputs = len(coefficients) - len(list(pairwise(edges)))
    directions = np.zeros((len(coefficients), SEGMENTS + 1))
    segment = np.searchsorted(SEGMENT_ENDS, np.asarray(edges[:-1]), side="right")
    directions[inputs:, :SEGMENTS] = np.eye(SEGMENTS)[segment]
    directions[:inputs, SEGMENTS] = coefficients[:inputs]
    curved = site.hessian @ directions
    information = directions.T @ curved
    spread = np.zeros_like(information)
    spread[:SEGMENTS, :SEGMENTS] = _LEVEL_SD**2 + _SEGMENT_SD**2 * np.eye(SEGMENTS)
    spread[SEGMENTS, SEGMENTS] = _SLOPE_SD**2
    expected = information + information @ spread @ information + curved.T @ error @ curved
    score = directions.T @ site.gradient
    return float(score @ np.linalg.solve(expected + _TINY * np.eye(len(score)), score))
