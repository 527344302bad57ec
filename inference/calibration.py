"""From the score of the network to calibrated probabilities with an interval, and to an answer or "indeterminate".

The federation fits six numbers on the aggregated validation tables of all sites (see `training.bundle.calibration`):
the hazard of interval k becomes logistic(baseline_k + a + d_s + b * score), with a shift d_s for each segment s of time
that ends at an endpoint (and one for the time beyond). A probability remains a product of complements of hazards, so
the curve cannot rise, and each endpoint has a parameter of its own.

The interval of a probability says how well the answer is known: the covariance of the six; what missing variables could
have changed (`inference.missing_inputs`); and, for a centre whose own intercept is not known, how far those of centres
differ. It does not say how much two patients with the same score differ. It is computed by the delta method on the
scale log(-log S), which is nearly linear in these numbers while the hazards are small and keeps the interval between 0
and 1; unlike sampling from the Gaussian it gives the same interval every time.

The thresholds of the endpoints define a conformal set of outcomes: "free" is in the set if P(progression) is at most
its limit, "progression" if P(free) is at most its own. The two limits of an endpoint sum to at least 1, so that no set
is empty; with both outcomes in it the answer is "indeterminate".
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from inference.prediction import EndpointProbability, RiskGroup, SurvivalCurve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from inference.prediction import ConformalAnswer, EndpointName

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

FORMAT = "fedpet.calibration/3"
_BEFORE = "fedpet.calibration/2"  # one limit for both outcomes, nothing about centres
ENDPOINT_MONTHS: Mapping[EndpointName, float] = {"pfs_12m": 12.0, "dcb_6m": 6.0, "early_failure_3m": 3.0}
SEGMENT_ENDS: tuple[float, ...] = tuple(sorted(ENDPOINT_MONTHS.values()))
SEGMENTS = len(SEGMENT_ENDS) + 1


class SetLimits(NamedTuple):
    """Limits of the conformal set of an endpoint, 0 to 1, which sum to at least 1.

    Attributes:
        free: "free" is in the set where P(progression) is at most this.
        progression: "progression" is in the set where P(free) is at most this.
    """

    free: float
    progression: float

    @staticmethod
    def of(value: float | Sequence[float]) -> SetLimits:
        """From JSON: a pair, or the one number for both outcomes of a bundle of version 0.2 and before."""
        free, progression = (value, value) if isinstance(value, (int, float)) else value
        return SetLimits(float(free), float(progression))


@dataclass(frozen=True)
class CentreCalibration:
    """What one centre of the federation changes.

    Attributes:
        shift: of the intercept, drawn to 0 by as much as centres differ.
        variance: of the shift.
        thresholds: endpoint name -> limits, drawn to those of all centres.
    """

    shift: float
    variance: float
    thresholds: dict[str, SetLimits]

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> CentreCalibration:
        """The inverse of `dataclasses.asdict`."""
        return CentreCalibration(**{**data, "thresholds": _limits(data["thresholds"])})


def _limits(thresholds: Mapping[str, float | Sequence[float]]) -> dict[str, SetLimits]:
    return {name: SetLimits.of(value) for name, value in thresholds.items()}


@dataclass(frozen=True)
class RiskCalibration:
    """Recalibration of the score.

    Attributes:
        a: intercept; 0 leaves the network as it is.
        b: slope; 1 leaves the network as it is.
        shifts: (SEGMENTS,) added to the intercept from 0 to 3, 3 to 6, 6 to 12 months and beyond.
        covariance: of (a, b, *shifts).
        interval_level: coverage of the intervals and of the conformal sets, for example 0.80.
        base_rates: endpoint name -> probability in the whole training cohort.
        risk_thirds: raw scores that divide the training cohort into low, intermediate and high risk.
        thresholds: endpoint name -> limits of the conformal set; an endpoint for which there were too few validation
            patients has none. They are those of a centre that is not among `centres`.
        between_centres: variance of the intercept between centres; 0 where the intercept is the centre's own, None in
            bundles of version 0.2 and before, whose intervals leave it out.
        centres: those of the federation, by name.
        centre: that this is the calibration of; "" for a centre that the federation does not know.
    """

    a: float
    b: float
    shifts: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    interval_level: float
    base_rates: dict[str, float]
    risk_thirds: tuple[float, float]
    thresholds: dict[str, SetLimits]
    between_centres: float | None = None
    centres: dict[str, CentreCalibration] = field(default_factory=dict)
    centre: str = ""

    def at(self, centre: str) -> RiskCalibration:
        """The calibration of a centre of the federation; that of an unknown centre where it is not one of them."""
        own = self.centres.get(centre)
        if own is None or self.centre:
            return self
        covariance = np.array(self.covariance)
        covariance[0, 0] += own.variance
        return replace(
            self,
            a=self.a + own.shift,
            covariance=tuple(map(tuple, covariance.tolist())),
            thresholds=own.thresholds,
            between_centres=0.0,
            centre=centre,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` is its inverse."""
        return {"format": FORMAT, **asdict(self)}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> RiskCalibration:
        """Read what `to_json` wrote.

        Raises:
            ValueError: another format, or not as many numbers as there are segments.
            KeyError, TypeError: a field is missing or unknown.
        """
        if data["format"] not in {FORMAT, _BEFORE}:
            raise ValueError(f"expected format {FORMAT}, got {data['format']}")
        fields = {key: value for key, value in data.items() if key != "format"}
        low, high = fields["risk_thirds"]
        shifts, covariance = tuple(fields["shifts"]), tuple(map(tuple, fields["covariance"]))
        if (len(shifts), np.shape(covariance)) != (SEGMENTS, (SEGMENTS + 2, SEGMENTS + 2)):
            raise ValueError(f"expected {SEGMENTS} shifts and the covariance of {SEGMENTS + 2} numbers")
        fields |= {"shifts": shifts, "covariance": covariance, "risk_thirds": (low, high)}
        fields["thresholds"] = _limits(fields["thresholds"])
        centres = fields.get("centres", {})
        fields["centres"] = {name: CentreCalibration.from_json(one) for name, one in centres.items()}
        return RiskCalibration(**fields)

    def score(self, raw: float) -> float:
        """Calibrated score (log hazard scale), without the shifts of the segments."""
        return self.a + self.b * raw

    def free(self, hazard_logits: Floats, raw: Floats, edges: Sequence[float]) -> Floats:
        """Survival of n patients.

        Args:
            hazard_logits: (n, K), which include the raw scores.
            raw: (n,), scores of the network.
            edges: K + 1 edges of the intervals, months.

        Returns:
            (n, K + 1), at every edge.
        """
        return survival_of(self.logits(hazard_logits, raw, edges))

    def logits(self, hazard_logits: Floats, raw: Floats, edges: Sequence[float]) -> Floats:
        """Calibrated hazard logits (n, K) of n patients; arguments as for `free`."""
        return np.asarray(hazard_logits - raw[:, None] + design(raw, edges) @ self._parameters(), float)

    def survival(
        self, hazard_logits: Floats, raw: float, edges: tuple[float, ...], *, unknown: float = 0.0
    ) -> SurvivalCurve:
        """Survival of one patient at every edge, with its interval.

        The limits are pointwise; where they would rise they are widened until they do not.

        Args:
            hazard_logits: (K,), which include the raw score.
            raw: score of the network.
            edges: K + 1 edges of the intervals, months.
            unknown: variance of the raw score by what is missing, see `inference.missing_inputs`.
        """
        columns = design(np.array([raw]), edges)[0]
        logits = hazard_logits - raw + columns @ self._parameters()
        cumulative = np.logaddexp(0.0, logits).cumsum()  # -log S
        hazard = 1.0 / (1.0 + np.exp(-logits))
        gradient = (hazard[:, None] * columns).cumsum(0) / cumulative[:, None]  # of log(-log S)
        variance = np.einsum("ki,ij,kj->k", gradient, np.array(self.covariance), gradient)
        variance += gradient[:, 0] ** 2 * (self.b**2 * unknown + (self.between_centres or 0.0))
        spread = np.sqrt(variance)
        factor = np.exp(NormalDist().inv_cdf(0.5 + self.interval_level / 2) * spread)
        value, lower, upper = (
            np.append(1.0, np.exp(-x)) for x in (cumulative, cumulative * factor, cumulative / factor)
        )
        return SurvivalCurve(
            edges,
            tuple(value.tolist()),
            tuple(np.minimum.accumulate(lower).tolist()),
            tuple(np.maximum.accumulate(upper[::-1])[::-1].tolist()),
        )

    def endpoints(self, curve: SurvivalCurve) -> tuple[EndpointProbability, ...]:
        """The endpoints, read from the curve; "early_failure_3m" is the probability of progression, not of survival."""
        return tuple(self._endpoint(name, months, curve) for name, months in ENDPOINT_MONTHS.items())

    def _endpoint(self, name: EndpointName, months: float, curve: SurvivalCurve) -> EndpointProbability:
        at = curve.months.index(months)
        value, lower, upper = curve.probability[at], curve.lower[at], curve.upper[at]
        verdict = self.verdict(name, value)
        if name == "early_failure_3m":
            value, lower, upper = 1.0 - value, 1.0 - upper, 1.0 - lower
        return EndpointProbability(name, months, value, lower, upper, self.base_rates[name], verdict)

    def verdict(self, name: EndpointName, probability: float) -> ConformalAnswer | None:
        """Outcome in the conformal set of a patient.

        Args:
            name: of the endpoint.
            probability: calibrated, of being progression-free at the endpoint.

        Returns:
            "indeterminate" where both outcomes are in the set; None where the endpoint has no threshold.
        """
        limits = self.thresholds.get(name)
        if limits is None:
            return None
        free, progression = in_conformal_set(probability, limits)
        if free and progression:
            return "indeterminate"
        return "free" if free else "progression"

    def risk_group(self, raw: float) -> RiskGroup:
        """Third of the training cohort to which a raw score belongs."""
        low, high = self.risk_thirds
        if raw < low:
            return "low"
        return "intermediate" if raw < high else "high"

    def _parameters(self) -> Floats:
        return np.array([self.a, self.b, *self.shifts])


def design(raw: Floats, edges: Sequence[float]) -> Floats:
    """Design matrix of the recalibration.

    Args:
        raw: (n,), scores of the network.
        edges: K + 1 edges of the intervals, months.

    Returns:
        (n, K, 2 + SEGMENTS), the factors of (a, b, *shifts) in the hazard logits.
    """
    segment = np.eye(SEGMENTS)[np.searchsorted(SEGMENT_ENDS, edges[:-1], side="right")]
    shape = (len(raw), len(segment))
    ones, scores = np.ones((*shape, 1)), np.broadcast_to(raw[:, None, None], (*shape, 1))
    return np.concatenate([ones, scores, np.broadcast_to(segment, (*shape, SEGMENTS))], axis=2)


def survival_of(logits: Floats) -> Floats:
    """Survival at the edges, (n, K + 1), starting at 1, from hazard logits (n, K)."""
    return np.asarray(np.exp(-np.pad(np.logaddexp(0.0, logits).cumsum(1), ((0, 0), (1, 0)))), float)


def in_conformal_set(probability: Floats | float, limits: Floats | SetLimits) -> tuple[Flags, Flags]:
    """Whether "free" and "progression" are in the conformal sets of patients.

    Args:
        probability: (...), of being free of progression.
        limits: (..., 2), those of `SetLimits`.
    """
    free, ends = np.asarray(probability), np.asarray(limits)
    return 1.0 - free <= ends[..., 0], free <= ends[..., 1]
