"""Sanity gates of an attribution map: where one fails, the map is not shown.

After Adebayo 2018 (does the map depend on what the model has learnt?) and Arun 2021 (does it lie where the signal is?).
They are necessary, not sufficient: a map that passes shows zones that weigh on the score, not causes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import spearmanr

from explain.explanation import GateVerdict
from explain.views import BODY_SUV
from fedpet.messages import Message

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from imaging.volume import Volume

COMPLETENESS_BOUND = 0.01
SCORE_BOUND = 1e-3  # of the calibrated score: float32 and another runtime
RANDOMISATION_BOUND = 0.5
CONCENTRATION_BOUND = 5.0


def same_score(explained: float, predicted: float) -> GateVerdict:
    """The explained network gives the answer that was predicted."""
    gap = abs(explained - predicted)
    return GateVerdict(
        "same_score",
        gap <= SCORE_BOUND,
        Message(
            "The explained score differs from the predicted one by {gap:.1e} (at most {bound:.0e}).",
            gap=gap,
            bound=SCORE_BOUND,
        ),
    )


def completeness(error: float) -> GateVerdict:
    """The credit adds up to what it explains."""
    return GateVerdict(
        "completeness",
        error <= COMPLETENESS_BOUND,
        Message(
            "The attributions miss the difference of the score by {error:.2f} % (at most {bound:.0f} %).",
            error=100 * error,
            bound=100 * COMPLETENESS_BOUND,
        ),
    )


def randomisation(sensitivity: NDArray[np.float64], shuffled_sensitivity: NDArray[np.float64]) -> GateVerdict:
    """The map changes when the weights are shuffled.

    What is compared is the credit per unit of SUV above the baseline: the uptake itself is a factor of the credit under
    any weights, and would make two maps look alike.

    Args:
        sensitivity: of the voxels that can bear credit (inside the body, SUV above the baseline), any shape.
        shuffled_sensitivity: of the same voxels, by the network with shuffled weights.
    """
    if not np.any(sensitivity):
        return GateVerdict("randomisation", passed=False, reason=Message("The model gives the image no weight."))
    correlation = rank_correlation(sensitivity, shuffled_sensitivity)
    return GateVerdict(
        "randomisation",
        abs(correlation) <= RANDOMISATION_BOUND,
        Message(
            "With shuffled weights the map's rank correlation is {correlation:.2f} (between ±{bound:.1f}).",
            correlation=correlation,
            bound=RANDOMISATION_BOUND,
        ),
    )


def localisation(share: Mapping[int, float], labels: Volume, pet: Volume) -> GateVerdict:
    """The credit is concentrated in the lesions.

    Args:
        share: lesion id -> share of the absolute attribution; 0 is outside.
        labels: label volume on the PET grid.
        pet: SUV, g/ml.
    """
    lesion = labels.array > 0
    if not lesion.any():
        return GateVerdict("localisation", passed=True, reason=Message("No lesion was delineated: nothing to compare."))
    body = int(np.count_nonzero((pet.array > BODY_SUV) | lesion))
    times = (1.0 - share[0]) * body / int(np.count_nonzero(lesion))
    return GateVerdict(
        "localisation",
        times >= CONCENTRATION_BOUND,
        Message(
            "The lesions hold {share:.0f} % of the attribution, {times:.0f} times their part of the body "
            "(at least {bound:.0f}).",
            share=100 * (1.0 - share[0]),
            times=times,
            bound=CONCENTRATION_BOUND,
        ),
    )


def rank_correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Spearman's coefficient; 0 where one side does not vary."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(spearmanr(a, b, axis=None).statistic)
