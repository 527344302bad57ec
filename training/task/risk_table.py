"""What a node sends about its validation patients: counts by bin of the score and interval of time.

From the sum of the nodes' risk tables the researcher computes concordance, base rates and the recalibration of the
score; from that of their outcome tables, whose bins are finer, the thresholds of the conformal sets. A cell can still
contain a single patient, so a node with fewer than `MINIMUM_CASES` validation patients sends neither; see
docs/federation.md for what the tables reveal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from inference.calibration import SEGMENT_ENDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import ArrayLike, NDArray

MINIMUM_CASES = 5
MINIMUM_CELL = 5  # patients in a cell of a table that is shown, unless a task says otherwise
SCORE_EDGES: NDArray[np.float64] = np.arange(-3.0, 3.01, 0.5)  # inner edges; the first and the last bin are open
BINS = len(SCORE_EDGES) + 1
FINE_EDGES: NDArray[np.float64] = np.round(np.arange(-4.0, 4.01, 0.1), 1)  # of the outcome table, as SCORE_EDGES
FINE_BINS = len(FINE_EDGES) + 1
BIN_MIDDLES: NDArray[np.float64] = np.concatenate(
    [FINE_EDGES[:1], (FINE_EDGES[1:] + FINE_EDGES[:-1]) / 2, FINE_EDGES[-1:]]
)  # (FINE_BINS,) scores that stand for the patients of a bin of the outcome table


@dataclass(frozen=True, eq=False)
class RiskTable:
    """Validation patients by score and time.

    Attributes:
        patients: (BINS,) number of patients.
        score: (BINS,) mean score of the bin; the bin's centre where it is empty.
        exposure: (BINS, K) sum of exposures (see `losses.interval_targets`).
        events: (BINS, K) number of events.
    """

    patients: NDArray[np.float64]
    score: NDArray[np.float64]
    exposure: NDArray[np.float64]
    events: NDArray[np.float64]

    @staticmethod
    def of(score: ArrayLike, exposure: ArrayLike, events: ArrayLike) -> RiskTable:
        """Count patients with `score` (n,), `exposure` (n, K) and `events` (n, K)."""
        scores = np.asarray(score, float)
        member = np.eye(BINS)[np.searchsorted(SCORE_EDGES, scores, side="right")].T
        patients = member.sum(1)
        mean = np.where(patients > 0, member @ scores / np.maximum(patients, 1), _centres())
        return RiskTable(patients, mean, member @ np.asarray(exposure, float), member @ np.asarray(events, float))

    def __add__(self, other: RiskTable) -> RiskTable:
        patients = self.patients + other.patients
        total = self.patients * self.score + other.patients * other.score
        score = np.where(patients > 0, total / np.maximum(patients, 1), _centres())
        return RiskTable(patients, score, self.exposure + other.exposure, self.events + other.events)

    def to_metrics(self) -> dict[str, float]:
        """Named numbers, as Fed-BioMed carries metrics; `from_metrics` is the inverse."""
        metrics: dict[str, float] = {}
        for b in np.flatnonzero(self.patients):
            metrics[f"patients_{b}"], metrics[f"score_{b}"] = float(self.patients[b]), float(self.score[b])
            for k, (exposure, events) in enumerate(zip(self.exposure[b], self.events[b], strict=True)):
                metrics[f"exposure_{b}_{k}"], metrics[f"events_{b}_{k}"] = float(exposure), float(events)
        return metrics

    @staticmethod
    def from_metrics(metrics: Mapping[str, float], intervals: int) -> RiskTable:
        """The table of `to_metrics`; other names are ignored."""
        patients, score = np.zeros(BINS), _centres()
        exposure, events = np.zeros((BINS, intervals)), np.zeros((BINS, intervals))
        columns = {"patients": patients, "score": score, "exposure": exposure, "events": events}
        for name, value in metrics.items():
            column, *place = name.split("_")
            if column in columns and place:
                columns[column][tuple(map(int, place))] = value
        return RiskTable(patients, score, exposure, events)

    def concordance(self) -> float | None:
        """Harrell's C of the binned scores in discrete time, ties counting one half; None without a comparable pair.

        In each interval every event is compared with the patients who lived through it.
        """
        survivors = self.exposure - self.events
        order = np.sign(np.subtract.outer(self.score, self.score))  # [event bin, survivor bin]
        comparable = np.einsum("ik,jk->ij", self.events, survivors)
        total = comparable.sum()
        return float((comparable * (1 + order) / 2).sum() / total) if total > 0 else None

    def concordance_error(self) -> float | None:
        """Standard error of `concordance`, the events being independent given who was at risk; None without a pair.

        With g(i) = sum over the survivors j of (the order of i and j, less C), the variance of C is the sum of g^2 over
        the events, divided by the squared number of comparable pairs (the counting-process variance of a rank
        statistic: Therneau & Atkinson, Concordance, vignette of the R package survival).
        """
        value, survivors = self.concordance(), self.exposure - self.events
        if value is None:
            return None
        spread = ((1 + np.sign(np.subtract.outer(self.score, self.score))) / 2 - value) @ survivors
        pairs = (self.events.sum(0) * survivors.sum(0)).sum()
        return float(np.sqrt((self.events * spread**2).sum()) / pairs)


@dataclass(frozen=True, eq=False)
class OutcomeTable:
    """Validation patients by score and by their known outcome at the E endpoints, in the order of time.

    Attributes:
        patients: number of all of them, those censored before the first endpoint included.
        free: (E, FINE_BINS) patients followed to the endpoint without the event.
        failed: (E, FINE_BINS) patients with the event between the endpoint before and this one.
    """

    patients: float
    free: NDArray[np.float64]
    failed: NDArray[np.float64]

    @staticmethod
    def of(score: ArrayLike, months: ArrayLike, event: ArrayLike) -> OutcomeTable:
        """Count patients with `score`, `months` of follow-up and `event`, (n,) each."""
        member = np.eye(FINE_BINS)[np.searchsorted(FINE_EDGES, np.asarray(score, float), side="right")]
        time = np.asarray(months, float)[None]
        ends = np.array(SEGMENT_ENDS)[:, None]
        starts = np.append(0.0, SEGMENT_ENDS[:-1])[:, None]
        failed = np.asarray(event, bool) & (time >= starts) & (time < ends)
        return OutcomeTable(float(len(member)), (time >= ends) @ member, failed @ member)

    def __add__(self, other: OutcomeTable) -> OutcomeTable:
        return OutcomeTable(self.patients + other.patients, self.free + other.free, self.failed + other.failed)

    def to_metrics(self) -> dict[str, float]:
        """Named numbers, as Fed-BioMed carries metrics; `from_metrics` is the inverse."""
        cells = {
            f"{name}_{e}_{b}": float(table[e, b])
            for name, table in (("free", self.free), ("failed", self.failed))
            for e, b in np.argwhere(table)
        }
        return {"followed": self.patients, **cells}

    @staticmethod
    def from_metrics(metrics: Mapping[str, float]) -> OutcomeTable:
        """The table of `to_metrics`; other names are ignored."""
        tables = {name: np.zeros((len(SEGMENT_ENDS), FINE_BINS)) for name in ("free", "failed")}
        for name, value in metrics.items():
            table, *place = name.split("_")
            if table in tables:
                tables[table][tuple(map(int, place))] = value
        return OutcomeTable(metrics.get("followed", 0.0), tables["free"], tables["failed"])

    def weights(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Weights that compensate for censoring: of patients free at each endpoint (E,), and failed before it (E,).

        Kaplan-Meier by segment of time: a patient who is free at endpoint e weighs 1 / P(followed until then); the
        failed of a segment together weigh the drop of the curve in it. The ratio of the hazards of censoring and event
        is assumed constant within a segment, and censoring independent of the score. 0 where there is no patient; the
        weights for one endpoint sum to `patients` at most.
        """
        at_risk, survival = self.patients, 1.0
        free, failed = np.zeros((2, len(SEGMENT_ENDS)))
        for e, (left, died) in enumerate(zip(self.free.sum(1), self.failed.sum(1), strict=True)):
            after = survival
            if died:
                after *= (left / at_risk) ** (died / (at_risk - left))
                failed[e] = (survival - after) * self.patients / died
            if left:
                free[e] = after * self.patients / left
            at_risk, survival = left, after
        return free, failed


def pooled_risk_table(nodes: Iterable[Mapping[str, float]], intervals: int) -> RiskTable:
    """The sum of the risk tables in the nodes' metrics; a node without a table adds nothing."""
    return sum((RiskTable.from_metrics(metrics, intervals) for metrics in nodes), RiskTable.from_metrics({}, intervals))


def pooled_concordance(nodes: Mapping[str, Mapping[str, float]], intervals: int) -> float | None:
    """Concordance over all sites: as it was before small cells were merged, where only the sum is known."""
    if len(nodes) == 1:
        (only,) = nodes.values()
        return only.get("concordance")
    return pooled_risk_table(nodes.values(), intervals).concordance()


def pooled_outcomes(nodes: Iterable[Mapping[str, float]]) -> OutcomeTable:
    """The sum of the outcome tables in the nodes' metrics."""
    return sum((OutcomeTable.from_metrics(metrics) for metrics in nodes), OutcomeTable.from_metrics({}))


def _centres() -> NDArray[np.float64]:
    step = SCORE_EDGES[1] - SCORE_EDGES[0]
    return np.append(SCORE_EDGES - step / 2, SCORE_EDGES[-1] + step / 2)
