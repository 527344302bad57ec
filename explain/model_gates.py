"""Gates that ask the model of the lesion table: does the map follow its weights, stay under noise, order the lesions?

The map of such a model has a closed form, so these are computed from the credits of its lesions: with permuted weights,
with lesions measured again, and while lesions are taken out of the table one after the other.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from math import log
from typing import TYPE_CHECKING, Any

import numpy as np

from explain.lesion_effects import TABLE_METHODS, free_after, input_credits
from explain.sanity_checks import (
    check_deletion,
    check_stability,
    check_trained_weights,
    check_weight_dependence,
    relative_distance,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from explain.explanation import SanityCheckResult
    from explain.lesion_effects import TableScore
    from fedpet.imaging.lesions.lesion_table import LesionTable
    from inference.prediction import SurvivalCurve

_NOISE = 0.05  # standard deviation of a volume and of an uptake that are measured again, relative
_AGAIN = 3  # measurements
_RANDOM_COPIES = 19  # a map that does not depend on the weights is the nearest once in 20 times
_ORDERS = 10
_SEED = 20181


def behaviour_gates(
    score: TableScore, method: str, sums: Mapping[int, float], curve: SurvivalCurve, slope: float
) -> tuple[SanityCheckResult, ...]:
    """Judge the sums of the lesions in a map, whoever made it, by how the model behaves.

    Args:
        score: of the patient.
        method: by which the credits of the lesions were made.
        sums: lesion -> sum of its voxels in the map.
        curve: of the patient.
        slope: of the calibration.

    Returns:
        "randomisation" and "stability" where there is a lesion, "deletion" where there are two.
    """
    if not score.lesions:
        return ()
    shown = np.array([sums[number] for number in score.lesions])
    found = [*_weights_and_noise(score, method, shown)]
    if len(score.lesions) > 1:
        found.append(_deletion(score, shown, curve, slope))
    return tuple(found)


def trained_weights(
    card: Mapping[str, Any], names: Sequence[str], weights: NDArray[np.float64]
) -> SanityCheckResult | None:
    """Compare the weights of the graph with the hazard ratios on the card; None where the card has none.

    Args:
        card: of the bundle.
        names: of the inputs.
        weights: (n,), log hazard ratios for a value of 1.
    """
    ratios = card.get("risk_model", {}).get("hazard_ratios", [])
    intervals = {one["input"]: (log(one["lower"]), log(one["upper"])) for one in ratios}
    known = [
        (intervals[name], weight) for name, weight in zip(names, weights.tolist(), strict=True) if name in intervals
    ]
    if not known:
        return None
    inside = [low <= weight <= high for (low, high), weight in known]
    return check_trained_weights(inside.count(True), len(known))


def _weights_and_noise(score: TableScore, method: str, shown: NDArray[np.float64]) -> Iterator[SanityCheckResult]:
    rng = np.random.default_rng(_SEED)
    learned = _learned(score, method)
    again = [input_credits(replace(score, table=measured_again(score.table, rng)), method) for _ in range(_AGAIN)]
    own = [relative_distance(shown, one @ score.weights + learned) for one in again]
    permuted = [rng.permutation(score.weights) for _ in range(_RANDOM_COPIES)]
    yield check_weight_dependence(
        float(np.median(own)), [relative_distance(shown, again[0] @ weights) for weights in permuted]
    )
    yield check_stability(own)


def _learned(score: TableScore, method: str) -> NDArray[np.float64]:
    """(lesions,) what the learned term adds to their credits; nothing where the model has none."""
    if score.learned is None:
        return np.zeros(len(score.lesions))
    credits_of = TABLE_METHODS[method](replace(score, weights=np.zeros_like(score.weights)), score.lesions)
    return np.array([credits_of[number].value for number in score.lesions])


def measured_again(table: LesionTable, rng: np.random.Generator) -> LesionTable:
    """The same lesions measured a second time, with an error of 5 % in volume and in uptake."""
    rows = []
    for one in table.lesions:
        by, hot = rng.normal(1, _NOISE, 2)
        sizes = {name: getattr(one, name) * by for name in ("mtv_ml", "whole_ml", "necrotic_ml")}
        uptake = {"tlg": one.tlg * by * hot, "suv_max": one.suv_max * hot, "suv_peak": one.suv_peak * hot}
        rows.append(replace(one, **sizes, **uptake))
    return replace(table, lesions=tuple(rows))


def _deletion(score: TableScore, shown: NDArray[np.float64], curve: SurvivalCurve, slope: float) -> SanityCheckResult:
    lesions, whole = score.lesions, score(score.lesions)

    @cache
    def free(left: frozenset[int]) -> float:
        return free_after(curve, slope * (score(left) - whole))

    def area(order: NDArray[np.intp]) -> float:
        return float(np.mean([free(frozenset(lesions[at] for at in order[k:])) for k in range(len(order) + 1)]))

    rng = np.random.default_rng(_SEED)
    hottest = np.argsort([-one.suv_max for one in score.table.lesions])
    chance = [rng.permutation(len(lesions)) for _ in range(_ORDERS)]
    both = [order for one in chance for order in (one, one[::-1])]
    return check_deletion(area(np.argsort(-shown)), float(np.mean([area(one) for one in both])), area(hottest))
