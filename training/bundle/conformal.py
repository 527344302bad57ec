"""Conformal sets of outcomes from the sum of the nodes' outcome tables, and how often they hold the truth.

Split conformal prediction (Vovk et al., 2005; Lei et al., J Am Stat Assoc 2018): the nonconformity of a validation
patient is 1 - P(his or her outcome), and the threshold is the smallest value that, with the correction for a finite
sample, `level` of the patients do not exceed. One threshold serves all sites. Patients with a known outcome are
weighted for the censored (`OutcomeTable.weights`); a new patient is given the largest of the weights (Tibshirani et
al., NeurIPS 2019), which errs on the safe side. The score of a patient is known by its bin only: the nonconformity is
taken at the end of the bin where it is larger, again on the safe side.

The guarantee is over all patients like the validation patients, not for each site, nor for each outcome by itself. The
recalibration is fitted on the same patients; as it has six parameters, drawn to a prior, and keeps the order of the
scores, what that costs is below what the bins add (tests/training/bundle/test_calibration.py measures it).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from inference.calibration import ENDPOINT_MONTHS, SEGMENT_ENDS, in_conformal_set
from training.metrics import Estimate, Sample
from training.task.risk_table import BIN_MIDDLES, FINE_EDGES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from inference.prediction import EndpointName
    from training.task.risk_table import OutcomeTable

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

_FAR = 50.0  # a score beyond every bin


def thresholds(table: OutcomeTable, free: Callable[[Floats], Floats], level: float) -> dict[str, float]:
    """Threshold of each endpoint that has enough validation patients, see `inference.calibration`.

    Args:
        table: validation patients of all nodes.
        free: scores (n,) -> calibrated P(free of progression) (n, E) at the endpoints, in the order of time.
        level: share of the sets that shall hold the outcome.
    """
    ends = free(np.concatenate([[-_FAR], FINE_EDGES, [_FAR]]))  # of the bins
    found: dict[str, float] = {}
    for name, months in ENDPOINT_MONTHS.items():
        e = SEGMENT_ENDS.index(months)
        highest, lowest = np.maximum(ends[:-1, e], ends[1:, e]), np.minimum(ends[:-1, e], ends[1:, e])
        count, weight = known_outcomes(table, e)
        nonconformity = np.stack([1.0 - lowest, highest])
        order = np.argsort(nonconformity, axis=None)
        enough = (count * weight).ravel()[order].cumsum() >= level * (table.patients + weight.max())
        if enough.any():
            found[name] = max(0.5, float(nonconformity.ravel()[order][enough.argmax()]))
    return found


def coverage_of_sites(
    sites: Mapping[str, tuple[OutcomeTable, Callable[[Floats], Floats], Mapping[str, float]]],
) -> dict[str, Any]:
    """Coverage of each endpoint by site and over all of them, from outcome tables alone.

    Args:
        sites: by site its table, the probabilities (see `thresholds`) and the thresholds that it is checked against.

    Returns:
        As `coverage`, the indeterminate among the patients whose outcome is known; a patient stands at the middle of
        his or her bin.
    """
    found: dict[str, Any] = {}
    for name, months in ENDPOINT_MONTHS.items():
        e = SEGMENT_ENDS.index(months)
        tables = {}
        for site, (table, free, limits) in sites.items():
            if name in limits:
                held = np.stack(in_conformal_set(free(BIN_MIDDLES)[:, e], limits[name]))
                tables[site] = (*known_outcomes(table, e), held, np.broadcast_to(held.all(0), held.shape))
        if tables:
            every = tuple(np.concatenate(column, axis=1) for column in zip(*tables.values(), strict=True))
            found[name] = {"all": _shares(*every), "by_site": {site: _shares(*one) for site, one in tables.items()}}
    return found


def known_outcomes(table: OutcomeTable, e: int) -> tuple[Floats, Floats]:
    """Patients whose outcome at endpoint e is known and what each of them weighs: free, failed (2, bins).

    The failed of a bin have one mean weight.
    """
    free, failed = table.weights()
    count = np.stack([table.free[e], table.failed[: e + 1].sum(0)])
    total = np.stack([table.free[e] * free[e], failed[: e + 1] @ table.failed[: e + 1]])
    return count, np.divide(total, count, out=np.zeros_like(total), where=count > 0)


def _shares(count: Floats, weight: Floats, covered: Flags, indeterminate: Flags) -> dict[str, Any]:
    squares = (count * weight**2).sum()
    return {
        "known": int(count.sum()),
        "coverage": _share(count * weight, covered, squares),
        "indeterminate": _share(count * weight, indeterminate, squares),
    }


def _share(weight: Floats, held: Flags, squares: float) -> dict[str, float] | None:
    """The weighted share of what is held, for the effective number; None where nothing weighs."""
    total = weight.sum()
    return asdict(Estimate.exact(float(weight[held].sum() / total), float(total**2 / squares))) if total else None


def coverage(months: Floats, event: Flags, probability: Floats, threshold: Floats, horizon: float) -> dict[str, Any]:
    """How often the sets of patients hold what happened to them, and how often they hold both outcomes.

    Args:
        months: (n,) time of the event or of censoring.
        event: (n,) whether the event was seen.
        probability: (n,) calibrated P(free of progression) at the horizon.
        threshold: (n,) of the model that answered for the patient.
        horizon: months.

    Returns:
        Numbers of `patients` and of those whose outcome is `known`; `coverage` of these, weighted for the censored;
        share of `indeterminate` sets. Exact binomial 95 % intervals, for the effective number where there are weights.
    """
    free, drawn = Sample.of(months, event, draws=0).status(horizon)
    weight = drawn[0]
    with_free, with_progression = in_conformal_set(probability, threshold)
    covered = np.where(free, with_free, with_progression)
    return {
        "patients": len(months),
        "known": int((weight > 0).sum()),
        "coverage": _share(weight, covered, np.square(weight).sum()),
        "indeterminate": asdict(Estimate.exact(float((with_free & with_progression).mean()), len(months))),
    }


def coverage_by_centre(
    site: NDArray[np.str_],
    months: Floats,
    event: Flags,
    answers: Mapping[EndpointName, tuple[Floats, Floats]],
) -> dict[str, Any]:
    """`coverage` of each endpoint over all patients and centre by centre.

    Args:
        site: (n,) each patient's centre.
        months: (n,).
        event: (n,).
        answers: by endpoint, probabilities and thresholds (n,); nan where there is none.
    """
    found: dict[str, Any] = {}
    for name, (probability, threshold) in answers.items():
        member = np.isfinite(probability) & np.isfinite(threshold)
        groups = {"all": member} | {str(one): member & (site == one) for one in np.unique(site)}
        tables = {
            group: coverage(months[who], event[who], probability[who], threshold[who], ENDPOINT_MONTHS[name])
            for group, who in groups.items()
            if who.any()
        }
        if tables:
            found[name] = {"all": tables.pop("all"), "by_centre": tables}
    return found
