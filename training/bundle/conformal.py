"""Conformal sets of outcomes from the nodes' outcome tables, and how often they hold the truth.

Split conformal prediction by outcome (Mondrian; Vovk et al., 2005): the nonconformity of a validation patient is
1 - P(his or her outcome), and the limit of an outcome is the smallest value that, with the correction for a finite
sample, `level` of the patients who had that outcome do not exceed. So the sets hold the truth as often for those who
progress as for those who do not. Patients with a known outcome are weighted for the censored (`OutcomeTable.weights`);
a new patient is given the largest of the weights (Tibshirani et al., NeurIPS 2019), which errs on the safe side. The
score of a patient is known by its bin only: the nonconformity is taken at the end of the bin where it is larger, again
on the safe side.

A centre that the federation does not know has limits that are wide enough for `level` of its centres without intercepts
of their own. A centre of the federation has limits of its own: those of its own patients together with `SHRINKAGE`
patients who are like those of all centres, drawn to the limits of an unknown centre by as much as it is unknown itself
(`SHRINKAGE` patients of an outcome against its own), and never below those of all.

The guarantee is over all patients like the validation patients of an outcome. The recalibration is fitted on the same
patients; as it has six parameters, drawn to a prior, and keeps the order of the scores, what that costs is below what
the bins add (benchmarks/conformal_coverage.py measures it, by outcome and by centre).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from inference.calibration import ENDPOINT_MONTHS, SEGMENT_ENDS, SetLimits, in_conformal_set
from training.metrics import Estimate, Sample
from training.task.risk_table import BIN_MIDDLES, FINE_EDGES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from inference.prediction import EndpointName
    from training.task.risk_table import OutcomeTable

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

OUTCOMES = ("free", "progression")
SHRINKAGE = 25.0  # patients of an outcome that weigh as much as those of one centre
_FAR = 50.0  # a score beyond every bin


@dataclass(frozen=True, eq=False)
class CentreTable:
    """Validation patients of a centre, and how its patients are answered.

    Attributes:
        table: of their outcomes.
        free: scores (n,) -> calibrated P(free of progression) (n, E) at the endpoints, in the order of time.
    """

    table: OutcomeTable
    free: Callable[[Floats], Floats]

    def nonconformity(self, e: int) -> tuple[Floats, Floats]:
        """Of the free and of the progressing (2, bins) at endpoint e, and what the patients of each cell weigh."""
        ends = self.free(np.concatenate([[-_FAR], FINE_EDGES, [_FAR]]))[:, e]  # of the bins
        count, weight = known_outcomes(self.table, e)
        return np.stack([1.0 - np.minimum(ends[:-1], ends[1:]), np.maximum(ends[:-1], ends[1:])]), count * weight


def thresholds(tables: Sequence[CentreTable], level: float) -> dict[str, SetLimits]:
    """Limits of each endpoint that has enough validation patients, over all centres; see `inference.calibration`.

    Args:
        tables: of all centres.
        level: share of the sets of each outcome that shall hold it.
    """
    return {name: limits for name, (limits, _) in _by_endpoint(tables, level).items()}


def thresholds_by_centre(
    tables: Sequence[CentreTable], level: float, unknown: Mapping[str, SetLimits] | None = None
) -> list[dict[str, SetLimits]]:
    """Limits of each centre, drawn to those of all and never below them.

    Args:
        tables: of all centres.
        level: share of the sets of each outcome that shall hold it.
        unknown: limits of a centre that is none of these; those of a centre are drawn to them, the smaller it is.
    """
    found: list[dict[str, SetLimits]] = [{} for _ in tables]
    for name, (limits, own) in _by_endpoint(tables, level).items():
        for place, one, centre in zip(found, own, tables, strict=True):
            drawn = one if unknown is None else _drawn_to(unknown[name], one, _known(centre, name))
            place[name] = _widest([limits, drawn])
    return found


def _known(centre: CentreTable, endpoint: EndpointName) -> Floats:
    """Numbers (2,) of the free and of the progressing at an endpoint."""
    return np.asarray(known_outcomes(centre.table, SEGMENT_ENDS.index(ENDPOINT_MONTHS[endpoint]))[0].sum(1))


def _drawn_to(unknown: SetLimits, own: SetLimits, known: Floats) -> SetLimits:
    """The mean of both limits of each outcome, weighted by the patients (2,) of the centre who had it."""
    part = known / (known + SHRINKAGE)
    free, progression = part * (own.free, own.progression) + (1 - part) * (unknown.free, unknown.progression)
    return SetLimits(float(free), float(progression))


def thresholds_of_unknown(tables: Sequence[CentreTable], level: float) -> dict[str, SetLimits]:
    """Limits for a centre that is none of these: wide enough for `level` of them; arguments as for `thresholds`."""
    each = thresholds_by_centre(tables, level)
    return {name: SetLimits(*np.quantile([one[name] for one in each], level, axis=0).tolist()) for name in each[0]}


def _widest(limits: Sequence[SetLimits]) -> SetLimits:
    return SetLimits(max(one.free for one in limits), max(one.progression for one in limits))


def _by_endpoint(tables: Sequence[CentreTable], level: float) -> dict[EndpointName, tuple[SetLimits, list[SetLimits]]]:
    """By endpoint the limits over all centres, and those of each drawn to them."""
    found: dict[EndpointName, tuple[SetLimits, list[SetLimits]]] = {}
    for name, months in ENDPOINT_MONTHS.items() if tables else ():
        parts = [one.nonconformity(SEGMENT_ENDS.index(months)) for one in tables]
        value, mass = (np.concatenate(column, axis=1) for column in zip(*parts, strict=True))
        limits = [_limit(value[y], mass[y], level) for y in range(2)]
        if limits == [None, None]:
            continue
        own = []
        for at in range(len(parts)):
            share = [_shrunken(parts, at, y) for y in range(2)]
            own.append(_set_limits([_limit(value[y], share[y], level) for y in range(2)]))
        found[name] = (_set_limits(limits), own)
    return found


def _shrunken(parts: Sequence[tuple[Floats, Floats]], at: int, outcome: int) -> Floats:
    """Weights of all patients of an outcome for one centre: its own, and `SHRINKAGE` patients like all others."""
    every = np.concatenate([mass[outcome] for _, mass in parts])
    own = np.concatenate([mass[outcome] * (i == at) for i, (_, mass) in enumerate(parts)])
    total = every.sum()
    return np.asarray(own + every * min(1.0, SHRINKAGE / total) if total else own)


def _limit(value: Floats, mass: Floats, level: float) -> float | None:
    """The smallest value that `level` of the mass and of one patient more do not exceed; None where there is none."""
    order = np.argsort(value)
    enough = mass[order].cumsum() >= level * (mass.sum() + 1.0)
    return float(value[order][enough.argmax()]) if enough.any() else None


def _set_limits(limits: Sequence[float | None]) -> SetLimits:
    """Limits that leave no set empty; an outcome of too few patients is in every set."""
    free, progression = (1.0 if limit is None else limit for limit in limits)
    lacking = max(0.0, 1.0 - free - progression)
    return SetLimits(free + lacking / 2, progression + lacking / 2)


def coverage_of_sites(
    sites: Mapping[str, tuple[CentreTable, Mapping[str, SetLimits]]],
) -> dict[str, Any]:
    """Coverage of each endpoint by site and over all of them, from outcome tables alone.

    Args:
        sites: by site its table with its probabilities, and the limits that it is checked against.

    Returns:
        As `coverage`, the indeterminate among the patients whose outcome is known; a patient stands at the middle of
        his or her bin.
    """
    found: dict[str, Any] = {}
    for name, months in ENDPOINT_MONTHS.items():
        e = SEGMENT_ENDS.index(months)
        tables = {}
        for site, (one, limits) in sites.items():
            if name in limits:
                held = np.stack(in_conformal_set(one.free(BIN_MIDDLES)[:, e], limits[name]))
                tables[site] = (*known_outcomes(one.table, e), held, np.broadcast_to(held.all(0), held.shape))
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
    """Shares of patients (outcomes, bins): free, then failed."""
    squares = count * weight**2
    return {
        "known": int(count.sum()),
        "coverage": _share(count * weight, covered, squares.sum()),
        "indeterminate": _share(count * weight, indeterminate, squares.sum()),
        "by_outcome": {
            outcome: _share((count * weight)[y], covered[y], squares[y].sum()) for y, outcome in enumerate(OUTCOMES)
        },
    }


def _share(weight: Floats, held: Flags, squares: float) -> dict[str, float] | None:
    """The weighted share of what is held, for the effective number; None where nothing weighs."""
    total = weight.sum()
    return asdict(Estimate.exact(float(weight[held].sum() / total), float(total**2 / squares))) if total else None


def coverage(months: Floats, event: Flags, probability: Floats, limits: Floats, horizon: float) -> dict[str, Any]:
    """How often the sets of patients hold what happened to them, and how often they hold both outcomes.

    Args:
        months: (n,) time of the event or of censoring.
        event: (n,) whether the event was seen.
        probability: (n,) calibrated P(free of progression) at the horizon.
        limits: (n, 2) of the model that answered for the patient, see `inference.calibration.SetLimits`.
        horizon: months.

    Returns:
        Numbers of `patients` and of those whose outcome is `known`; `coverage` of these, weighted for the censored, and
        the same `by_outcome`; share of `indeterminate` sets. Exact binomial 95 % intervals, for the effective number
        where there are weights.
    """
    free, drawn = Sample.of(months, event, draws=0).status(horizon)
    weight = drawn[0]
    with_free, with_progression = in_conformal_set(probability, limits)
    covered = np.where(free, with_free, with_progression)
    return {
        "patients": len(months),
        "known": int((weight > 0).sum()),
        "coverage": _share(weight, covered, np.square(weight).sum()),
        "by_outcome": {
            outcome: _share(weight[who], covered[who], np.square(weight[who]).sum())
            for outcome, who in zip(OUTCOMES, (free, ~free), strict=True)
        },
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
        answers: by endpoint, probabilities (n,) and limits (n, 2); nan where there is none.
    """
    found: dict[str, Any] = {}
    for name, (probability, limits) in answers.items():
        member = np.isfinite(probability) & np.isfinite(limits).all(1)
        groups = {"all": member} | {str(one): member & (site == one) for one in np.unique(site)}
        tables = {
            group: coverage(months[who], event[who], probability[who], limits[who], ENDPOINT_MONTHS[name])
            for group, who in groups.items()
            if who.any()
        }
        if tables:
            found[name] = {"all": tables.pop("all"), "by_centre": tables}
    return found
