"""Tables without small cells: neighbours are merged until every cell counts enough patients, or none.

A cell of the risk table is the events of a bin of the score in a segment of time (those of the endpoints), one of the
outcome table the patients of a bin who were free at an endpoint, or failed before it. What was merged is spread evenly:
events of a segment over its intervals by exposure, outcomes over the bins from the first to the last that held one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from inference.calibration import SEGMENT_ENDS
from training.task.risk_table import OutcomeTable, RiskTable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def merge_small_cells(
    metrics: Mapping[str, float], minimum: int, edges: Sequence[float], *, by_time: bool = True
) -> dict[str, float]:
    """The metrics with tables whose cells count `minimum` patients or more; a table of fewer is left out.

    The concordance of the table before it was merged is added as "concordance", with its standard error: no cells.

    Args:
        metrics: of a site or of all sites (`RiskTable.to_metrics`, `OutcomeTable.to_metrics` and others).
        minimum: of patients in a cell.
        edges: K + 1 months, the endpoints' among them.
        by_time: the risk table's events keep their segment of time; without it more bins of the score remain.
    """
    risk = RiskTable.from_metrics(metrics, len(edges) - 1)
    outcomes = OutcomeTable.from_metrics(metrics)
    kept = {name: value for name, value in metrics.items() if name in _NO_CELLS}
    concordance, error = risk.concordance(), risk.concordance_error()
    if risk.patients.sum() >= minimum and concordance is not None and error is not None:
        kept |= {"concordance": concordance, "concordance_error": error}
    if minimum <= 1:
        return {**metrics, **kept}
    merged, pooled = _merged_risk(risk, minimum, edges, by_time=by_time), _merged_outcomes(outcomes, minimum)
    return kept | (merged.to_metrics() if merged else {}) | (pooled.to_metrics() if pooled else {})


_NO_CELLS = frozenset(
    {
        "vetoes",
        "worse",
        "changed",
        "change",
        "change_square",
        "loss",
        "loss_square",
        "n",
        "sites",
        "events",
        "concept_n",
        "concept_loss",
    }
)


def _merged_risk(table: RiskTable, minimum: int, edges: Sequence[float], *, by_time: bool) -> RiskTable | None:
    """By segment of time; where that leaves no table, of all times together."""
    segment = np.searchsorted(SEGMENT_ENDS, np.asarray(edges[:-1]), side="right")  # (K,) of each interval
    groups = None
    for part in (*([segment] if by_time else []), np.zeros_like(segment)):
        member = np.eye(part.max() + 1)[part]  # (K, segments)
        groups = groups or _groups(np.column_stack([table.patients, table.events @ member]), minimum)
        if groups is not None:
            break
    if groups is None:
        return None
    found = RiskTable.from_metrics({}, len(edges) - 1)
    for rows in groups:
        count, exposure = table.patients[rows].sum(), table.exposure[rows].sum(0)
        score = float((table.patients[rows] * table.score[rows]).sum() / count)
        lived = exposure @ member
        share = np.divide(exposure, member @ lived, out=np.zeros_like(exposure), where=member @ lived > 0)
        events = share * (member @ (table.events[rows].sum(0) @ member))
        b = rows[int(np.argmin(np.abs(table.score[rows] - score)))]
        found.patients[b], found.score[b] = count, score
        found.exposure[b], found.events[b] = exposure, events
    return found


def _merged_outcomes(table: OutcomeTable, minimum: int) -> OutcomeTable | None:
    cells = np.concatenate([table.free, table.failed]).T  # (FINE_BINS, 2 E)
    groups = _groups(cells, minimum) if table.patients >= minimum else None
    if groups is None:
        return None
    spread = np.zeros_like(cells)
    for rows in groups:
        held = np.flatnonzero(cells[rows].any(1))
        inside = rows[held[0]] + np.arange(rows[held[-1]] - rows[held[0]] + 1)
        spread[inside] = cells[rows].sum(0) / len(inside)
    free, failed = np.split(spread.T, 2)
    return OutcomeTable(table.patients, free, failed)


def _groups(cells: Floats, minimum: int) -> list[NDArray[np.intp]] | None:
    """Neighbouring rows whose sums have no small cell; None where not even all rows together have none.

    Args:
        cells: (rows, columns) counts.
        minimum: of a cell that is not empty.
    """

    def enough(rows: list[int]) -> bool:
        total = cells[rows].sum(0)
        return bool(total.max() >= minimum and ((total == 0) | (total >= minimum)).all())

    groups: list[list[int]] = []
    waiting: list[int] = []
    for row in range(len(cells)):
        waiting.append(row)
        if enough(waiting):
            groups.append(waiting)
            waiting = []
    while waiting and cells[waiting].any():
        if enough(waiting):
            groups.append(waiting)
            break
        if not groups:
            return None
        waiting = groups.pop() + waiting
    return [np.array(rows) for rows in groups] or None
