"""ComBat of measured quantities over centres that share aggregated numbers only.

Johnson et al. 2007 (doi 10.1093/biostatistics/kxj037) model quantity g of patient j at site i, with covariates x, as

    y_ijg = alpha_g + x_ij . beta_g + sigma_g (gamma_ig + delta_ig e_ijg),    sum over patients of gamma_ig = 0

and remove gamma and delta, both shrunk by empirical Bayes. That needs only sums (Chen et al. 2022, d-ComBat; Silva et
al. 2023, FedComBat, of which this is the linear case), so that the result is that of one table of all patients:

1. Site -> researcher: `SiteSums`: number of patients, sums of quantities and covariates, and their products about the
   site's own means. Researcher -> sites: alpha and beta (`coefficients`).
2. Site -> researcher: number of patients and residual sums of squares about the site's own means (`residual_squares`).
   Researcher -> sites: sigma (`reference`).
3. Nothing travels: each site takes its means and variances of the standardised quantities, shrinks them towards their
   own mean and spread over the quantities (`site_shift`) and harmonises its patients (`harmonise`).

The researcher uses only sums over all sites, so secure aggregation can cover both steps. In clear, the products of
yes / no covariates are counts of a site's patients and its sums reveal its means: hence `MINIMUM_CASES`.

The outcome must not be among the covariates. A covariate that varies within no site has no effect of its own: it
cannot be distinguished from the site's. A patient of a site that was not in the fit cannot be harmonised.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fedpet.core.errors import NodeDataError
from fedpet.core.messages import Message
from training.task.risk_table import MINIMUM_CASES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_FLAT = 1e-9  # spread below which a quantity, of about unit spread over a population, does not vary
_COLLINEAR = 1e-10  # relative eigenvalue below which covariates are taken for dependent
_CONVERGED, _STEPS = 1e-12, 10_000  # of the alternating means of location and scale


class QuantityTable(NamedTuple):
    """A site's patients: quantities (n, q), each of about unit spread, and covariates (n, p). Never leaves the site."""

    quantities: Floats
    covariates: Floats

    def centred(self) -> tuple[Floats, Floats]:
        """Quantities and covariates about the site's own means."""
        return self.quantities - self.quantities.mean(0), self.covariates - self.covariates.mean(0)


@dataclass(frozen=True, eq=False)
class SiteSums:
    """What leaves a site in step 1; the sum of two is that of both sites.

    Attributes:
        patients: n.
        quantities: (q,) their sums.
        covariates: (p,) their sums.
        squares: (p, p) products of the covariates about the site's means, summed.
        products: (p, q) the same of covariates and quantities.
    """

    patients: int
    quantities: Floats
    covariates: Floats
    squares: Floats
    products: Floats

    @staticmethod
    def of(table: QuantityTable) -> SiteSums:
        """The sums of a site.

        Raises:
            NodeDataError: it has fewer than `MINIMUM_CASES` patients.
        """
        if len(table.quantities) < MINIMUM_CASES:
            raise NodeDataError(
                found=Message("A centre has {count} patients to harmonise.", count=len(table.quantities)),
                needed=Message("At least {count}, for its shift and scale.", count=MINIMUM_CASES),
                advice=Message("Leave the centre out or do not harmonise."),
            )
        y, x = table.centred()
        return SiteSums(len(y), table.quantities.sum(0), table.covariates.sum(0), x.T @ x, x.T @ y)

    def __add__(self, other: SiteSums) -> SiteSums:
        return SiteSums(
            self.patients + other.patients,
            self.quantities + other.quantities,
            self.covariates + other.covariates,
            self.squares + other.squares,
            self.products + other.products,
        )


class Coefficients(NamedTuple):
    """Of the regression: alpha (q,) and beta (p, q)."""

    alpha: Floats
    beta: Floats


class CombatReference(NamedTuple):
    """What all sites share: alpha (q,), beta (p, q) and the pooled residual spread sigma (q,)."""

    alpha: Floats
    beta: Floats
    sigma: Floats

    def standardised(self, table: QuantityTable) -> Floats:
        """(n, q) residuals in units of sigma, the site's shift included."""
        return np.asarray((table.quantities - self.alpha - table.covariates @ self.beta) / self.sigma, float)


class SiteShift(NamedTuple):
    """A site's own parameters after shrinkage, in units of sigma; they stay at the site.

    Attributes:
        gamma: (q,) location.
        delta: (q,) scale, > 0.
    """

    gamma: Floats
    delta: Floats


def coefficients(total: SiteSums) -> Coefficients:
    """Least squares with an intercept for each site, from the sum of the sites' sums; alpha is their weighted mean."""
    beta = np.linalg.pinv(total.squares, rcond=_COLLINEAR, hermitian=True) @ total.products
    return Coefficients((total.quantities - total.covariates @ beta) / total.patients, beta)


def residual_squares(table: QuantityTable, beta: Floats) -> Floats:
    """(q,) residual sums of squares of a site about its own intercept: what leaves it in step 2."""
    y, x = table.centred()
    return np.asarray(((y - x @ beta) ** 2).sum(0), float)


def reference(found: Coefficients, squares: Floats, patients: int) -> CombatReference:
    """With sigma from the residual sums of squares (q,) over all sites, as the paper divided by all patients.

    Raises:
        NodeDataError: a quantity does not vary.
    """
    sigma = np.sqrt(squares / patients)
    flat = int((sigma < _FLAT).sum())
    if flat:
        raise NodeDataError(
            found=Message("{count} quantities vary within no centre.", count=flat),
            needed=Message("Quantities that vary."),
            advice=Message("Leave these quantities out or do not harmonise."),
        )
    return CombatReference(*found, sigma)


def site_shift(table: QuantityTable, shared: CombatReference) -> SiteShift:
    """A site's location and scale, shrunk by parametric empirical Bayes.

    The location's prior is normal, the squared scale's inverse gamma; their parameters are the moments of the site's
    own means and variances over the quantities. So fewer patients shrink more, and one quantity without variance
    in this site gets the scale that the others suggest.

    Raises:
        NodeDataError: no quantity varies at the site.
        ValueError: a single quantity, from which no prior can be taken.
    """
    residuals = shared.standardised(table)
    patients, quantities = residuals.shape
    if quantities < 2:
        raise ValueError(f"found {quantities} quantity; empirical Bayes over the quantities needs at least 2")
    mean, variance = residuals.mean(0), residuals.var(0, ddof=1)
    v, s = variance.mean(), variance.var(ddof=1)
    if v < _FLAT**2:
        raise NodeDataError(
            found=Message("No quantity varies between the patients of a centre."),
            needed=Message("Quantities that vary."),
            advice=Message("Leave the centre out or do not harmonise."),
        )
    towards, spread = mean.mean(), mean.var(ddof=1)
    gamma, square = mean, np.full(quantities, v)
    for _ in range(_STEPS):
        before = square
        gamma = (patients * spread * mean + square * towards) / (patients * spread + square)
        left = (patients - 1) * variance + patients * (mean - gamma) ** 2
        square = (v**3 + v * s + s * left / 2) / (v**2 + s * (patients / 2 + 1))  # theta, lambda times s: s may be 0
        if np.abs(square - before).max() < _CONVERGED * v:
            break
    return SiteShift(gamma, np.sqrt(square))


def harmonise(table: QuantityTable, shared: CombatReference, shift: SiteShift) -> Floats:
    """(n, q) quantities of a site's patients, in the fit or not, without its shift and scale."""
    clean = (shared.standardised(table) - shift.gamma) / shift.delta
    return np.asarray(clean * shared.sigma + shared.alpha + table.covariates @ shared.beta, float)


def fit(sites: Mapping[str, QuantityTable]) -> tuple[CombatReference, dict[str, SiteShift]]:
    """All three steps in one process: what the sites share, and the shift of each.

    Raises:
        NodeDataError: a site has too few patients, or quantities do not vary.
        ValueError: a single quantity.
    """
    total = reduce(add, [SiteSums.of(table) for table in sites.values()])
    found = coefficients(total)
    squares = np.sum([residual_squares(table, found.beta) for table in sites.values()], axis=0)
    shared = reference(found, squares, total.patients)
    return shared, {name: site_shift(table, shared) for name, table in sites.items()}
