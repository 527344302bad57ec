"""A discrete-time survival model fitted exactly over the centres, by sums of gradients and Hessians.

With inputs x, the logit of the hazard of interval k is z_k = w . x + b_k + c, where c is the centre's own intercept,
drawn to 0 by a Gaussian prior. The negative log likelihood is that of `training.task.losses`. Each centre finds its
own c for the coefficients (w, b) that it was sent and answers with gradient and Hessian of its profile likelihood;
their sums over the centres are those of all patients together, so that Newton's steps (iteratively reweighted least
squares) reach the fit of the pooled data. c never leaves the centre, and a new centre has c = 0.

Reference: Wu et al., JAMIA 2012 (Grid Binary LOgistic REgression, GLORE).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from scipy.special import expit
from scipy.stats import chi2

from fedpet.core.errors import FederationError, NodeDataError
from fedpet.core.messages import Message
from training.task.losses import interval_targets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from training.data.node_data import NodeCase

    Floats = NDArray[np.float64]

LARGEST_SPREAD: Final = 4.0  # root mean square of an input at a centre, from which the bounds of the sums follow
_INTERCEPT_STEPS = 50
_INTERCEPT_TOLERANCE = 1e-12
_BASELINE_PRECISION = 0.1  # a tenth of an event
_SMALLEST_VARIANCE = 0.01  # of an input, in its penalty: one that never varies would have none


@dataclass(frozen=True, eq=False)
class CentreTable:
    """Inputs and follow-up of one centre's patients.

    Attributes:
        inputs: (n, q) encoded inputs; those that the network does not use are 0.
        exposure: (n, K) in [0, 1], see `training.task.losses.interval_targets`.
        events: (n, K), 0 or 1.
    """

    inputs: Floats
    exposure: Floats
    events: Floats

    @staticmethod
    def of(cases: Sequence[NodeCase], edges: Sequence[float], used: Sequence[bool]) -> CentreTable:
        """The table of some patients.

        Args:
            cases: the patients.
            edges: K + 1 months.
            used: (q,) which inputs the network uses.

        Raises:
            NodeDataError: an input is spread so widely that the bounds of the sums do not hold.
        """
        inputs = np.stack([case.clinical for case in cases]).astype(np.float64) * np.asarray(used)
        spread = float(np.sqrt((inputs**2).mean(0)).max())
        if not spread <= LARGEST_SPREAD:
            raise NodeDataError(
                found=Message("An input with a root mean square of {spread:.1f} contract units.", spread=spread),
                needed=Message("At most {limit:g}: the sums of the fit would be clipped.", limit=LARGEST_SPREAD),
                advice=Message("Check the record's units, or make a contract with the sites' own spreads."),
            )
        months = torch.tensor([case.months for case in cases])
        event = torch.tensor([case.event for case in cases])
        exposure, events = (part.double().numpy() for part in interval_targets(months, event, edges))
        return CentreTable(inputs, exposure, events)

    def part(self, members: NDArray[np.bool_]) -> CentreTable:
        """The table of some of the patients."""
        return CentreTable(self.inputs[members], self.exposure[members], self.events[members])

    def loss(self, coefficients: Floats, intercept: float = 0.0) -> Floats:
        """(n,) negative log likelihood of the patients."""
        logits = self._logits(coefficients) + intercept
        return np.asarray((self.exposure * np.logaddexp(0.0, logits) - self.events * logits).sum(1))

    def _logits(self, coefficients: Floats) -> Floats:
        """(n, K) without the centre's intercept."""
        q = self.inputs.shape[1]
        return (self.inputs @ coefficients[:q])[:, None] + coefficients[q:]

    def at(self, coefficients: Floats, centre_ridge: float | None) -> CentreDerivatives:
        """Derivatives at coefficients (w, b), with the centre's own intercept.

        Args:
            coefficients: (q + K,).
            centre_ridge: precision of the prior of the centre's intercept; None for no intercept.
        """
        logits, intercept = self._logits(coefficients), 0.0
        for _ in range(_INTERCEPT_STEPS if centre_ridge is not None else 0):
            hazard = expit(logits + intercept)
            slope = float((self.exposure * hazard - self.events).sum()) + (centre_ridge or 0.0) * intercept
            curvature = float((self.exposure * hazard * (1.0 - hazard)).sum()) + (centre_ridge or 0.0)
            step = float(np.clip(slope / max(curvature, 1e-9), -1.0, 1.0))
            intercept -= step
            if abs(step) < _INTERCEPT_TOLERANCE:
                break
        hazard = expit(logits + intercept)
        return CentreDerivatives(
            self.inputs,
            residual=self.exposure * hazard - self.events,
            weight=self.exposure * hazard * (1.0 - hazard),
            expected=(self.exposure * hazard).sum(1),
            loss=self.loss(coefficients, intercept),
            intercept=intercept,
            centre_ridge=centre_ridge,
        )


@dataclass(frozen=True, eq=False)
class CentreDerivatives:
    """Residuals and weights (n, K), expected events and losses (n,) of patients, at their centre's intercept."""

    inputs: Floats
    residual: Floats
    weight: Floats
    expected: Floats
    loss: Floats
    intercept: float
    centre_ridge: float | None

    @cached_property
    def _coupling(self) -> Floats:
        """(n, q + K) each patient's second derivative by the centre's intercept and a coefficient."""
        return np.concatenate([self.inputs * self.weight.sum(1, keepdims=True), self.weight], 1)

    @cached_property
    def _curvature(self) -> float:
        """Second derivative by the centre's intercept; infinite where it has none."""
        return np.inf if self.centre_ridge is None else float(self.weight.sum()) + self.centre_ridge

    @property
    def penalty(self) -> float:
        """Of the centre's intercept."""
        return (self.centre_ridge or 0.0) * self.intercept**2 / 2

    def gradient(self) -> Floats:
        """(q + K,) sum over the patients."""
        return np.concatenate([self.inputs.T @ self.residual.sum(1), self.residual.sum(0)])

    def hessian(self) -> Floats:
        """(q + K, q + K) sum over the patients, of the profile likelihood."""
        across = self.inputs.T @ self.weight
        own = (self.inputs * self.weight.sum(1, keepdims=True)).T @ self.inputs
        whole = np.block([[own, across], [across.T, np.diag(self.weight.sum(0))]])
        coupling = self._coupling.sum(0)
        return np.asarray(whole - np.outer(coupling, coupling) / self._curvature)

    def time_interactions(self, clock: Floats) -> tuple[Floats, Floats, Floats]:
        """Derivatives by the interactions of the inputs with time, at none, over all patients of the centre.

        Args:
            clock: (K,) function of time by interval.

        Returns:
            (q,) gradient, (q, q + K) second derivatives with the coefficients, (q, q) among the interactions.
        """
        late, later = self.weight @ clock, self.weight @ clock**2
        weighted, coupling = self.inputs * late[:, None], self.inputs.T @ late
        across = np.concatenate([weighted.T @ self.inputs, self.inputs.T @ (self.weight * clock)], 1)
        own = (self.inputs * later[:, None]).T @ self.inputs
        total = self._coupling.sum(0)
        return (
            self.inputs.T @ (self.residual @ clock),
            across - np.outer(coupling, total) / self._curvature,
            own - np.outer(coupling, coupling) / self._curvature,
        )

    @property
    def effective_patients(self) -> float:
        """Effective number (Kish) of patients whose hazards make the sums; 1 where those of a single one do."""
        parts = np.stack([self.weight.sum(1), self.expected])
        squares = np.maximum((parts**2).sum(1), np.finfo(float).tiny)
        return float((parts.sum(1) ** 2 / squares).min())

    def score_products(self) -> Floats:
        """(q + K, q + K) sum over the patients of the outer products of their efficient scores."""
        residual = self.residual.sum(1, keepdims=True)
        scores = np.concatenate([self.inputs * residual, self.residual], 1)
        scores = scores - residual * self._coupling.sum(0) / self._curvature
        return np.asarray(scores.T @ scores)


@dataclass(frozen=True, eq=False)
class Prior:
    """Independent Gaussian priors of the coefficients: (q + K,) means and precisions."""

    mean: Floats
    precision: Floats

    @staticmethod
    def of(ridge: float, variance: Floats, baseline: Sequence[float]) -> Prior:
        """The ridge on standardised inputs; a weak one that keeps the hazard of an interval without events finite.

        Args:
            ridge: precision of the coefficient of an input of variance 1.
            variance: (q,) of the inputs over all patients (`variances`).
            baseline: (K,) logits of the reference hazards.
        """
        weak = np.full(len(baseline), _BASELINE_PRECISION)
        return Prior(np.concatenate([0.0 * variance, baseline]), np.concatenate([ridge * variance, weak]))

    def penalty(self, coefficients: Floats) -> float:
        """Negative log density without its constant."""
        return float((self.precision * (coefficients - self.mean) ** 2).sum() / 2)


def variances(first: Floats, second: Floats) -> Floats:
    """(q,) variance of each input over all patients, from its mean and mean square; never below a smallest one."""
    return np.maximum(second - first**2, _SMALLEST_VARIANCE)


def newton_step(gradient: Floats, hessian: Floats, coefficients: Floats, prior: Prior) -> Floats:
    """(q + K,) the step that takes the coefficients towards the penalised fit.

    Raises:
        FederationError: the sum of Hessians is not positive definite, as no sum over patients is.
    """
    whole = hessian + np.diag(prior.precision)
    if not is_definite(whole):
        raise FederationError(
            found=Message("A sum of second derivatives with a negative direction."),
            needed=Message("A positive definite sum: a likelihood of patients has one."),
            advice=Message("Train again, leaving out one site in turn; read the nodes' logs."),
        )
    slope = gradient + prior.precision * (coefficients - prior.mean)
    return -np.asarray(np.linalg.solve(whole, slope))


def is_definite(hessian: Floats) -> bool:
    """Whether a symmetric matrix is finite and positive definite, as sums over patients with a prior are."""
    return bool(np.isfinite(hessian).all() and np.linalg.eigvalsh(hessian).min() > 0.0)


def proportionality(
    gradient: Floats, across: Floats, own: Floats, hessian: Floats, prior: Prior
) -> tuple[Floats, float]:
    """P values of proportional hazards: of each input (q,), and of all together.

    The score test of the interactions with time at the penalised fit, as Grambsch & Therneau, Biometrika 1994, in the
    discrete-time model.

    Args:
        gradient: (q,) by the interactions, over all patients (`CentreDerivatives.time_interactions`).
        across: (q, q + K) second derivatives with the coefficients.
        own: (q, q) second derivatives.
        hessian: (q + K, q + K) of the coefficients.
        prior: of the fit.
    """
    variance = own - across @ np.linalg.solve(hessian + np.diag(prior.precision), across.T)
    single = gradient**2 / np.maximum(np.diag(variance), np.finfo(float).eps)
    known = np.diag(variance) > _SMALLEST_VARIANCE
    together = float(gradient[known] @ np.linalg.pinv(variance[np.ix_(known, known)]) @ gradient[known])
    alone = np.where(known, chi2.sf(single, 1), np.nan)
    return np.asarray(alone), float(chi2.sf(together, max(int(known.sum()), 1)))


def robust_covariance(hessian: Floats, prior: Prior, score_products: Floats) -> Floats:
    """(q + K, q + K) sandwich covariance of the penalised coefficients, by patient.

    References: White, Econometrica 1982; Lin & Wei, JASA 1989.
    """
    bread = np.linalg.inv(hessian + np.diag(prior.precision))
    return np.asarray(bread @ score_products @ bread)
