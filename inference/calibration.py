"""From the network's score to calibrated probabilities with an interval.

The federation fits two numbers, a and b, on the aggregated validation tables of all sites (see `training.calibration`):
the hazard of interval k becomes logistic(baseline_k + a + b * score). Their covariance gives the interval of every
probability: it says how well the calibration is known, not how much two patients with one score differ.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from inference.prediction import EndpointProbability, RiskGroup, SurvivalCurve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from inference.prediction import EndpointName

FORMAT = "fedpet.calibration/1"
ENDPOINT_MONTHS: Mapping[EndpointName, float] = {"pfs_12m": 12.0, "dcb_6m": 6.0, "early_failure_3m": 3.0}


@dataclass(frozen=True)
class Calibration:
    """Recalibration of the score.

    Attributes:
        a, b: intercept and slope; 0 and 1 leave the network as it is.
        covariance: ((var a, cov), (cov, var b)).
        interval_level: coverage of the intervals, for example 0.80.
        base_rates: endpoint name -> probability in the whole training cohort.
        risk_thirds: raw scores that cut the training cohort into low, intermediate and high risk.
    """

    a: float
    b: float
    covariance: tuple[tuple[float, float], tuple[float, float]]
    interval_level: float
    base_rates: dict[str, float]
    risk_thirds: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` is its inverse."""
        return {"format": FORMAT, **asdict(self)}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Calibration:
        """Read what `to_json` wrote.

        Raises:
            ValueError: another format.
            KeyError, TypeError: a field is missing or unknown.
        """
        if data["format"] != FORMAT:
            raise ValueError(f"expected format {FORMAT}, got {data['format']}")
        fields = {key: value for key, value in data.items() if key != "format"}
        first, second = fields["covariance"]
        low, high = fields["risk_thirds"]
        fields |= {"covariance": ((first[0], first[1]), (second[0], second[1])), "risk_thirds": (low, high)}
        return Calibration(**fields)

    def score(self, raw: float) -> tuple[float, float, float]:
        """Calibrated score with the ends of its interval: (value, lower, upper)."""
        gradient = np.array([1.0, raw])
        spread = float(np.sqrt(gradient @ np.array(self.covariance) @ gradient))
        reach = NormalDist().inv_cdf(0.5 + self.interval_level / 2) * spread
        value = self.a + self.b * raw
        return value, value - reach, value + reach

    def survival(self, hazard_logits: NDArray[np.float64], raw: float, edges: tuple[float, ...]) -> SurvivalCurve:
        """Survival at every edge; `hazard_logits` has shape (K,) and holds the raw score."""
        baseline = hazard_logits - raw
        value, lower, upper = self.score(raw)
        curves = [_survival(baseline + score) for score in (value, upper, lower)]  # a higher score survives less
        probability, low, high = (tuple(float(x) for x in curve) for curve in curves)
        return SurvivalCurve(edges, probability, low, high)

    def endpoints(self, curve: SurvivalCurve) -> tuple[EndpointProbability, ...]:
        """The endpoints read off the curve; "early_failure_3m" is the probability of progression, not of survival."""
        return tuple(self._endpoint(name, months, curve) for name, months in ENDPOINT_MONTHS.items())

    def _endpoint(self, name: EndpointName, months: float, curve: SurvivalCurve) -> EndpointProbability:
        at = curve.months.index(months)
        value, lower, upper = curve.probability[at], curve.lower[at], curve.upper[at]
        if name == "early_failure_3m":
            value, lower, upper = 1.0 - value, 1.0 - upper, 1.0 - lower
        return EndpointProbability(name, months, value, lower, upper, self.base_rates[name])

    def risk_group(self, raw: float) -> RiskGroup:
        """Third of the training cohort that the raw score falls in."""
        low, high = self.risk_thirds
        if raw < low:
            return "low"
        return "intermediate" if raw < high else "high"


def _survival(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """(K,) hazard logits -> (K + 1,) survival at the edges, starting at 1."""
    return np.concatenate([[1.0], np.cumprod(1.0 / (1.0 + np.exp(logits)))])
