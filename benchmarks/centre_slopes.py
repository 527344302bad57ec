"""Whether a slope of its own, shrunk or not, mends the calibration slope of each centre; and how well one is known.

    python -m benchmarks.centre_slopes RESULT [SEEDS] [PATIENTS]

Drawn patients of the eight centres (`benchmarks/misspecified.py`, worlds `as supposed` and `signal 0.6`) are fitted by
federated Newton. Each centre's slope is estimated from the outcomes of its training patients by the fits without their
fold, as a recalibration of a bundle is: intercept and slope on the score, the baseline fixed. Then the slope of the
true logit on the predicted one at 12 months is measured on 250 other patients of each centre, who have no noise of an
outcome: as fitted, with the common slope, with each centre's own, and with the own drawn to the common one by as much
as centres differ beyond their errors (empirical Bayes). RESULT gets a line for each cohort; a run goes on there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from benchmarks.misspecified import EDGES, INPUTS, TESTED, Drawn, _folds, draw, fit, resume, slope
from training.simulation.cohort import distribute
from training.simulation.patients.centres import SITES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

WORLDS, FOLDS, STEPS = ("as supposed", "signal 0.6"), 5, 25
WAYS = ("as fitted", "common", "own", "shrunk")


def out_of_fold(train: dict[str, Drawn]) -> dict[str, Floats]:
    """(n, K) hazard logits of each centre's patients by the fits without their fold; the scores are in them."""
    folds = {code: _folds(code, len(one.months)) for code, one in train.items()}
    found = {code: np.zeros((len(one.months), 1 + len(EDGES) - 1)) for code, one in train.items()}
    for fold in range(FOLDS):
        others = {code: _part(one, folds[code] != fold) for code, one in train.items()}
        coefficients = fit(others)
        for code, one in train.items():
            here = folds[code] == fold
            score = one.inputs[here] @ coefficients[:INPUTS]
            found[code][here] = np.column_stack([score, np.tile(coefficients[INPUTS:], (here.sum(), 1))])
    return found


def _part(one: Drawn, member: NDArray[np.bool_]) -> Drawn:
    return Drawn(one.inputs[member], one.months[member], one.event[member], one.truth[member])


def own_slope(one: Drawn, predicted: Floats) -> tuple[float, float, float]:
    """Intercept, slope and the slope's standard error of a centre; arguments: patients, and (n, 1 + K) as above."""
    table = one.table()
    score, baseline, beta = predicted[:, :1], predicted[:, 1:], np.array([0.0, 1.0])
    columns = np.stack([np.ones_like(baseline), np.broadcast_to(score, baseline.shape)], -1)
    for _ in range(STEPS):
        hazard = expit(baseline + columns @ beta)
        gradient = np.einsum("nk,nkp->p", table.events - table.exposure * hazard, columns)
        weight = table.exposure * hazard * (1 - hazard)
        information = np.einsum("nk,nkp,nkq->pq", weight, columns, columns)
        beta += np.clip(np.linalg.solve(information, gradient), -1.0, 1.0)
    return float(beta[0]), float(beta[1]), float(np.linalg.inv(information)[1, 1] ** 0.5)


def judge(world: str, seed: int, patients: int) -> dict[str, object]:
    """Slopes of one cohort, by centre and way."""
    counts = {site.code: count for site, count in distribute(patients, len(SITES))}
    train = {code: draw(at, count, world, seed) for at, (code, count) in enumerate(counts.items())}
    test = {code: draw(at, TESTED, world, seed + 10_000) for at, code in enumerate(counts)}
    coefficients, predicted = fit(train), out_of_fold(train)
    own = {code: own_slope(one, predicted[code]) for code, one in train.items()}
    b, error = (np.array([one[at] for one in own.values()]) for at in (1, 2))
    common = float((b / error**2).sum() / (error**-2.0).sum())
    between = max(float(((b - common) ** 2 - error**2).mean()), 0.0)
    by_centre = {}
    for (code, one), mine, wrong in zip(test.items(), b, error, strict=True):
        share = between / (between + wrong**2)
        factors = dict(zip(WAYS, (1.0, common, mine, share * mine + (1 - share) * common), strict=True))
        score = one.inputs @ coefficients[:INPUTS]
        found = {}
        for way, factor in factors.items():
            hazard = expit(own[code][0] + factor * score[:, None] + coefficients[INPUTS:])
            found[way] = slope(np.prod(1 - hazard[:, : EDGES.index(12.0)], axis=1), one.truth)
        by_centre[code] = {"patients": counts[code], "slope": float(mine), "error": float(wrong), **found}
    return {"world": world, "seed": seed, "common": common, "between": between, "by_centre": by_centre}


def summarise(rows: list[dict[str, object]]) -> None:
    """Print, by world and way, mean and range of the centres' slopes and how many are within the goals."""
    for world in WORLDS:
        centres = [one for row in rows if row["world"] == world for one in row["by_centre"].values()]
        if not centres:
            continue
        print(f"{world}: {len(centres)} centres of {sum(row['world'] == world for row in rows)} cohorts")
        for way in WAYS:
            s = np.array([one[way] for one in centres])
            within = [int((np.abs(s - 1) <= limit).sum()) for limit in (0.10, 0.15)]
            print(
                f"  {way}: mean {s.mean():.3f}, {s.min():.2f} to {s.max():.2f}, root mean square from 1"
                f" {np.sqrt(((s - 1) ** 2).mean()):.3f}; within 0.10: {within[0]}, within 0.15: {within[1]}"
            )
        for least, most in ((0, 60), (60, 120), (120, 1000)):
            errors = [one["error"] for one in centres if least < one["patients"] <= most]
            if errors:
                print(f"  {least} to {most} patients: standard error of an own slope {np.mean(errors):.2f}")


if __name__ == "__main__":
    resume(WORLDS, judge, summarise)
