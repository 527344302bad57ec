"""Sanity checks of an attribution map: where one fails, the map is not shown.

After Adebayo 2018 (does the map depend on what the model has learnt?) and Arun 2021 (does it lie where the signal is?).
They are necessary, not sufficient: a map that passes shows regions that influence the score, not causes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from explain.explanation import SanityCheckResult
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

COMPLETENESS_BOUND = 0.01  # largest relative error
SCORE_BOUND = 1e-3  # largest difference of the calibrated score between ONNX Runtime and torch in float32
RANDOMISATION_BOUND = 0.5  # largest absolute rank correlation
SIGN_POINTS = 0.02  # of probability: above it, map and measured effect of a lesion must agree in sign
CREDIT_BOUND = 0.01  # largest relative error of a lesion's sum in the map
CONTAINED = 0.99  # least share of the map on the lesions and organs that the score was computed from
STABLE_BOUND = 0.25  # largest relative distance of the lesions' credits when these are measured again
DELETION_POINTS = (0.005, 0.02)  # of probability: what the map's order may lose to random ones, and to that by SUVmax
TRAINED_SHARE = 0.9  # least share of the weights within the intervals that the training reported
_MIN_DIFFERENCE = 1e-3  # of the score; a smaller one makes a relative error meaningless


def check_score_agreement(explained: float, predicted: float) -> SanityCheckResult:
    """Check that the network that is explained gives the score that was predicted (calibrated, both)."""
    gap = abs(explained - predicted)
    return SanityCheckResult(
        "same_score",
        gap <= SCORE_BOUND,
        Message(
            "The explained score differs from the predicted one by {gap:.1e} (at most {bound:.0e}).",
            gap=gap,
            bound=SCORE_BOUND,
        ),
    )


def check_completeness(error: float) -> SanityCheckResult:
    """Check that the attributions sum to the difference of the score; `error` is relative to it."""
    return SanityCheckResult(
        "completeness",
        error <= COMPLETENESS_BOUND,
        Message(
            "The attributions miss the difference of the score by {error:.2f} % (at most {bound:.0f} %).",
            error=100 * error,
            bound=100 * COMPLETENESS_BOUND,
        ),
    )


def check_parameter_randomization(
    sensitivity: NDArray[np.float64], shuffled: Mapping[str, NDArray[np.float64]]
) -> SanityCheckResult:
    """Check that the map changes when the weights are shuffled, layer by layer from the score down.

    The attributions per unit of SUV above the baseline are compared: the uptake itself is a factor of the attribution
    under any weights and would make two maps look alike.

    Args:
        sensitivity: attribution per unit of SUV of the voxels above the baseline, any shape.
        shuffled: the same for each stage of the cascade; judged is the last, in which all weights are shuffled.
    """
    if not np.any(sensitivity):
        return SanityCheckResult("randomisation", passed=False, reason=Message("The model gives the image no weight."))
    correlations = [rank_correlation(sensitivity, one) for one in shuffled.values()]
    return SanityCheckResult(
        "randomisation",
        abs(correlations[-1]) <= RANDOMISATION_BOUND,
        Message(
            "With weights shuffled layer by layer the map's rank correlation is {cascade} (at the end between "
            "±{bound:.1f}).",
            cascade=", ".join(f"{one:.2f}" for one in correlations),
            bound=RANDOMISATION_BOUND,
        ),
    )


def check_concentration(share: float, shuffled: Sequence[float]) -> SanityCheckResult:
    """Check that the score depends on the lesions more than that of every network with shuffled weights does.

    Args:
        share: of the lesions in the sensitivity of the score to the uptake of the body, 0 to 1.
        shuffled: the same of networks with shuffled weights.
    """
    highest = max(shuffled)
    return SanityCheckResult(
        "concentration",
        share > highest,
        Message(
            "The lesions hold {share:.0f} % of the sensitivity to uptake, in {n} networks with shuffled weights at "
            "most {highest:.0f} %.",
            share=100 * share,
            highest=100 * highest,
            n=len(shuffled),
        ),
    )


def check_sign_agreement(map_sums: Mapping[int, float], effects: Mapping[int, float]) -> SanityCheckResult:
    """Check that the map and the measured effect of each lesion point the same way.

    Args:
        map_sums: lesion -> sum of its voxels in the map; positive raises the risk.
        effects: lesion -> probability of being progression-free with it minus without it, as measured.
    """
    judged = [number for number, effect in effects.items() if abs(effect) > SIGN_POINTS]
    against = [number for number in judged if map_sums[number] * effects[number] >= 0]
    if against:
        reason = Message(
            "For lesion {numbers} the map says the opposite of the measured effect ({points:+.0f} points with it).",
            numbers=", ".join(map(str, against)),
            points=100 * effects[max(against, key=lambda number: abs(effects[number]))],
        )
    else:
        reason = Message(
            "The map agrees in sign with the measured effect of every lesion above {points:.0f} points ({n}).",
            n=len(judged),
            points=100 * SIGN_POINTS,
        )
    return SanityCheckResult("sign", not against, reason)


def check_lesion_credit(map_sums: Mapping[int, float], terms: Mapping[int, float]) -> SanityCheckResult:
    """Check that the voxels of each lesion sum to its term in the table; what is missing counts against all terms."""
    size = max(sum(map(abs, terms.values())), 1e-6)
    error = sum(abs(map_sums[number] - term) for number, term in terms.items()) / size
    return SanityCheckResult(
        "lesion_credit",
        error <= CREDIT_BOUND,
        Message(
            "The sums of the lesions in the map miss their terms by {error:.2f} % (at most {bound:.0f} %).",
            error=100 * error,
            bound=100 * CREDIT_BOUND,
        ),
    )


def check_containment(attribution: NDArray[np.floating], read: NDArray[np.bool_]) -> SanityCheckResult:
    """Check that the map lies on the voxels that the score was computed from.

    Args:
        attribution: on the PET grid.
        read: voxels of the lesions and of the organs that were measured.
    """
    size = np.abs(attribution.astype(np.float64))
    total = float(size.sum())
    if not total:
        return SanityCheckResult("containment", passed=False, reason=Message("The model gives the image no weight."))
    share = float(size[read].sum()) / total
    return SanityCheckResult(
        "containment",
        share >= CONTAINED,
        Message(
            "Lesions and measured organs hold {share:.0f} % of the map (at least {bound:.0f} %).",
            share=100 * share,
            bound=100 * CONTAINED,
        ),
    )


def check_stability(distances: Sequence[float]) -> SanityCheckResult:
    """Check that the map keeps its credits when the lesions are measured again with the error of a measurement.

    Args:
        distances: relative, of the map's sums from the credits of each such measurement (`relative_distance`).
    """
    middle = float(np.median(distances)) if len(distances) else 0.0
    return SanityCheckResult(
        "stability",
        middle <= STABLE_BOUND,
        Message(
            "With the lesions measured again their sums in the map change by {change:.0f} % (at most {bound:.0f} %).",
            change=100 * middle,
            bound=100 * STABLE_BOUND,
        ),
    )


def check_weight_dependence(own: float, permuted: Sequence[float]) -> SanityCheckResult:
    """Check that the map is that of the weights that answer, and would be another with others.

    Args:
        own: relative distance of the map's sums from the credits of the lesions measured again, with the weights that
            answer.
        permuted: the same from the credits of models with permuted weights.
    """
    nearest = min(permuted)
    return SanityCheckResult(
        "randomisation",
        own < nearest,
        Message(
            "The map lies {own:.0f} % from the model's credits, and at least {nearest:.0f} % from those of {n} models "
            "with permuted weights.",
            own=100 * own,
            nearest=100 * nearest,
            n=len(permuted),
        ),
    )


def check_deletion(by_map: float, by_chance: float, by_uptake: float) -> SanityCheckResult:
    """Check that taking the lesions out in the map's order changes the answer at least as early as other orders do.

    Args:
        by_map: mean probability of being progression-free while the lesions are taken out, by their sums in the map.
        by_chance: the same over random orders.
        by_uptake: the same by SUVmax, the hottest first.
    """
    gain, over_uptake = by_map - by_chance, by_map - by_uptake
    return SanityCheckResult(
        "deletion",
        gain >= -DELETION_POINTS[0] and over_uptake >= -DELETION_POINTS[1],
        Message(
            "Taking lesions out in the order of the map gains {chance:+.1f} points over random orders (at least "
            "{least:+.1f}) and {uptake:+.1f} over the order of SUVmax (at least {other:+.1f}).",
            chance=100 * gain,
            uptake=100 * over_uptake,
            least=-100 * DELETION_POINTS[0],
            other=-100 * DELETION_POINTS[1],
        ),
    )


def check_trained_weights(inside: int, weights: int) -> SanityCheckResult:
    """Check that the weights that answer are those that the training reported.

    Args:
        inside: weights within the interval of their hazard ratio on the card.
        weights: with such an interval.
    """
    return SanityCheckResult(
        "trained_weights",
        inside >= TRAINED_SHARE * weights,
        Message(
            "{inside} of {n} weights lie within the intervals that the training reported (at least {bound:.0f} %).",
            inside=inside,
            n=weights,
            bound=100 * TRAINED_SHARE,
        ),
    )


def relative_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Sum of the absolute differences, relative to the larger sum of the absolute values; 0 to 2."""
    size = max(float(np.abs(a).sum()), float(np.abs(b).sum()), 1e-12)
    return float(np.abs(a - b).sum()) / size


def relative_error(missing: float, difference: float) -> float:
    """What the parts of a score leave unexplained, relative to its difference from the reference."""
    return abs(missing) / max(abs(difference), _MIN_DIFFERENCE)


def rank_correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Spearman's coefficient; 0 where one side does not vary. `scipy.stats` costs half a second to import."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks of all values, equal ones with the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place.ravel()]
