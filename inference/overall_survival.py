"""Overall survival beside progression-free survival: the same inputs, fitted to death as the only event.

A bundle may hold it as `overall_survival.json`: weights of the standardised inputs and the logits of the baseline
hazards, from an exact fit over the same nodes, and a calibration of its own. It is a secondary endpoint: there are no
conformal sets, and the explanation is that of progression-free survival.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from inference.calibration import RiskCalibration
from inference.prediction import OverallSurvival

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from inference.input_contract import InputContract

    Floats = NDArray[np.float64]

FORMAT: Final = "fedpet.overall-survival/1"
MONTHS: Final = 24.0  # of the endpoint


@dataclass(frozen=True)
class OverallSurvivalModel:
    """The fit of overall survival.

    Attributes:
        weights: of the encoded inputs, by name, in the order of `InputContract.inputs`.
        baseline: (K,) logits of the hazard of death in each interval of the contract, for a score of 0.
        calibration: from the score to probabilities; its limits of conformal sets are empty.
        base_rate: probability of being alive at 24 months in the whole training cohort.
    """

    weights: dict[str, float]
    baseline: tuple[float, ...]
    calibration: RiskCalibration
    base_rate: float

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` is its inverse."""
        return {
            "format": FORMAT,
            "months": MONTHS,
            "weights": self.weights,
            "baseline": list(self.baseline),
            "calibration": self.calibration.to_json(),
            "base_rate": self.base_rate,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any], contract: InputContract) -> OverallSurvivalModel:
        """Read what `to_json` wrote.

        Args:
            data: as it was written.
            contract: of the same bundle.

        Raises:
            ValueError: another format, other inputs or intervals than those of the contract.
            KeyError, TypeError: a field is missing.
        """
        weights = {str(name): float(value) for name, value in data["weights"].items()}
        baseline = tuple(map(float, data["baseline"]))
        if data["format"] != FORMAT or float(data["months"]) != MONTHS or MONTHS not in contract.month_edges:
            raise ValueError(f"overall survival: expected format {FORMAT} at {MONTHS:g} months")
        if set(weights) != set(contract.inputs) or len(baseline) != len(contract.month_edges) - 1:
            raise ValueError("overall survival: expected the inputs and intervals of the contract")
        calibration = RiskCalibration.from_json(data["calibration"])
        return OverallSurvivalModel(weights, baseline, calibration, float(data["base_rate"]))

    def scores(self, clinical: Floats, contract: InputContract) -> tuple[Floats, Floats]:
        """Scores (n,) and hazard logits (n, K) of encoded inputs (n, inputs)."""
        score = clinical @ self.by_input(contract)
        return score, score[:, None] + np.array(self.baseline)

    def answer(
        self,
        clinical: NDArray[np.float32],
        contract: InputContract,
        *,
        unknown: float = 0.0,
        centre: str = "",
    ) -> OverallSurvival:
        """The curve of one patient and the probability of being alive at 24 months, with intervals.

        Args:
            clinical: (inputs,) encoded record and table.
            contract: of the bundle.
            unknown: variance of the score by what is missing, see `inference.missing_inputs`.
            centre: whose calibration is taken; "" for one that the federation does not know.
        """
        (score,), (logits,) = self.scores(clinical[None].astype(np.float64), contract)
        calibration = self.calibration.at(centre)
        curve = calibration.survival(logits, float(score), contract.month_edges, unknown=unknown)
        at = curve.months.index(MONTHS)
        return OverallSurvival(MONTHS, curve.probability[at], curve.lower[at], curve.upper[at], self.base_rate, curve)

    def by_input(self, contract: InputContract) -> Floats:
        """(inputs,) weights in the order of the contract."""
        return np.array([self.weights[name] for name in contract.inputs])
