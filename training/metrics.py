"""Discrimination and calibration of survival models: pure functions of outcomes and predictions, with a bootstrap.

Everything is computed for all bootstrap draws at once: a `Sample` holds how often each patient was drawn, row 0 being
the sample itself, and a metric returns one value for each draw. Two models on one sample are compared draw by draw.
Censoring weights are estimated anew in every draw. A risk is higher for a worse patient.

References: Uno et al., J Am Stat Assoc 2007 (AUC) and Stat Med 2011 (C-index); Graf et al., Stat Med 1999 (Brier
score); Vickers et al., BMC Med Inform Decis Mak 2008 (decision curves with censoring); DeLong et al., Biometrics 1988.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.special import expit, logit
from scipy.stats import beta, norm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

LEVEL = 0.95
_SURE = 1e-6  # distance of probabilities from 0 and 1
_STEPS = 30  # of Newton's method


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval: by the bootstrap over patients, or exact for a share."""

    value: float
    lower: float
    upper: float

    @staticmethod
    def of(draws: Floats) -> Estimate:
        """From one value a draw, the first being the sample itself."""
        tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
        known = draws[1:][np.isfinite(draws[1:])]
        lower, upper = np.quantile(known, tails) if len(known) else (np.nan, np.nan)
        return Estimate(float(draws[0]), float(lower), float(upper))

    @staticmethod
    def exact(share: float, n: float) -> Estimate:
        """A share of n patients with its binomial interval (Clopper & Pearson, Biometrika 1934).

        With weights n is the effective number (Korn & Graubard, Surv Methodol 1998), which need not be whole.
        """
        tail, some = (1 - LEVEL) / 2, share * n
        lower = float(beta.ppf(tail, some, n - some + 1)) if some > 0 else 0.0
        upper = float(beta.ppf(1 - tail, some + 1, n - some)) if some < n else 1.0
        return Estimate(float(share), lower, upper)


@dataclass(frozen=True, eq=False)
class Sample:
    """Outcomes of n patients and their bootstrap.

    Attributes:
        months: (n,) time of the event or of censoring.
        event: (n,) whether the event was seen.
        counts: (D + 1, n) how often each patient is in each draw; 1 everywhere in row 0.
        group: (n,) patients are ranked only against those of their group; None: against all. Predictions of several
            models, one for each unseen centre, cannot be ranked across the centres.
    """

    months: Floats
    event: Flags
    counts: Floats
    group: NDArray[np.str_] | None = None

    @staticmethod
    def of(
        months: Floats,
        event: Flags,
        *,
        draws: int,
        seed: int = 0,
        strata: Sequence[str] | None = None,
        grouped: bool = False,
    ) -> Sample:
        """Draw patients with replacement, within each stratum (a centre) if given; rank within them if `grouped`."""
        n = len(months)
        counts = np.ones((draws + 1, n))
        labels = np.asarray(strata if strata is not None else np.zeros(n))
        generator = np.random.default_rng(seed)
        for label in np.unique(labels):
            member = np.flatnonzero(labels == label)
            counts[1:, member] = generator.multinomial(len(member), np.full(len(member), 1 / len(member)), size=draws)
        group = labels.astype(str) if grouped else None
        return Sample(np.asarray(months, float), np.asarray(event, bool), counts, group)

    def part(self, member: Flags) -> Sample:
        """Some of the patients, in the same draws."""
        group = None if self.group is None else self.group[member]
        return Sample(self.months[member], self.event[member], self.counts[:, member], group)

    def ranked(self) -> Floats:
        """(n, n) 1 for pairs of patients that are ranked against each other."""
        n = len(self.months)
        return np.ones((n, n)) if self.group is None else (self.group[:, None] == self.group).astype(float)

    def kaplan_meier(self, at: Floats) -> Floats:
        """(D + 1, T) probability to be free of the event beyond each time."""
        return self._product_limit(at, censoring=False, side="right")

    def uncensored(self, at: Floats) -> Floats:
        """(D + 1, T) probability to be followed until each time (Kaplan-Meier of censoring, deaths before it)."""
        return self._product_limit(at, censoring=True, side="left")

    def _product_limit(self, at: Floats, *, censoring: bool, side: Literal["left", "right"]) -> Floats:
        order = np.argsort(self.months, kind="stable")
        times, first = np.unique(self.months[order], return_index=True)
        counts = self.counts[:, order]
        left = np.add.reduceat(counts, first, axis=1)
        died = np.add.reduceat(counts * self.event[order], first, axis=1)
        at_risk = left[:, ::-1].cumsum(1)[:, ::-1]
        happened = left - died if censoring else died
        at_risk = at_risk - died if censoring else at_risk
        survival = np.cumprod(1.0 - np.divide(happened, at_risk, out=np.zeros_like(left), where=at_risk > 0), axis=1)
        survival = np.concatenate([np.ones((len(survival), 1)), survival], 1)
        return np.asarray(survival[:, np.searchsorted(times, at, side=side)], float)

    def status(self, horizon: float) -> tuple[Flags, Floats]:
        """Who is free of the event at the horizon (n,), and weights (D + 1, n) that compensate for censoring.

        A patient whose status is known weighs 1 / P(followed until then); one censored before weighs 0.
        """
        free = self.months >= horizon
        followed = self.uncensored(np.minimum(self.months, horizon))
        known = free | self.event
        weight = np.divide(self.counts, followed, out=np.zeros_like(self.counts), where=known & (followed > 0))
        return free, weight


@dataclass(frozen=True)
class DeLong:
    """Two correlated AUCs of the same patients, compared by DeLong's test.

    Attributes:
        patients: with a known outcome.
        difference: AUC of the first risk less that of the second.
        error: standard error of the difference.
        p: two-sided; 1 where neither risk ranks anybody otherwise than the other.
    """

    patients: int
    difference: float
    error: float
    p: float


def delong(failed: Flags, first: Floats, second: Floats) -> DeLong | None:
    """DeLong's test of two risks, (n,) each, on patients whose outcome is known; None with fewer than two on a side.

    The outcome is yes or no: who was censored before the horizon must be left out, so that nobody is weighted.
    """
    if min(int(failed.sum()), int((~failed).sum())) < 2:
        return None
    orders = [_order(risk[failed], risk[~failed]) for risk in (first, second)]
    gain = orders[0] - orders[1]
    above, below = gain.mean(1), gain.mean(0)  # structural components of failures and of survivors
    variance = above.var(ddof=1) / len(above) + below.var(ddof=1) / len(below)
    difference, error = float(gain.mean()), float(np.sqrt(variance))
    p = float(2 * norm.sf(abs(difference) / error)) if error > 0 else float(difference == 0)
    return DeLong(len(failed), difference, error, p)


def auc(sample: Sample, risk: Floats, horizon: float) -> Floats:
    """(D + 1,) area under the ROC curve for the event before the horizon, cumulative / dynamic, IPCW."""
    free, weight = sample.status(horizon)
    pairs = sample.ranked()[np.ix_(~free, free)]
    won = ((weight[:, ~free] @ (pairs * _order(risk[~free], risk[free]))) * weight[:, free]).sum(1)
    return _ratio(won, ((weight[:, ~free] @ pairs) * weight[:, free]).sum(1))


def expected_auc(sample: Sample, risk: Floats, truth: Floats) -> Floats:
    """(D + 1,) AUC expected over the outcomes that the true probabilities of survival may draw.

    Every ordered pair counts with the probability that the first fails and the second survives; no patient is paired
    with themselves or with a copy in a bootstrap draw.
    """
    weight = np.outer(1.0 - truth, truth) * sample.ranked()
    np.fill_diagonal(weight, 0.0)
    concordant = weight * _order(risk, risk)
    won = ((sample.counts @ concordant) * sample.counts).sum(1)
    return _ratio(won, ((sample.counts @ weight) * sample.counts).sum(1))


def harrell(sample: Sample, risk: Floats) -> Floats:
    """(D + 1,) Harrell's C-index; ties of the risk count one half."""
    return _c_index(sample, risk, sample.counts)


def untied_concordance(months: Floats, event: Flags, values: Floats) -> tuple[float, float]:
    """Concordance over the pairs in which the values differ, and how many patients it rests on.

    Harrell's C counts a tie one half, so that a column with few values stays far from 1 however well it ranks. The
    second number is an effective one (Kish): of the patients' shares in the pairs, divided by 4, so that it is a
    quarter of the patients where all share alike, and about the number of the rarer value of a yes / no column.

    Args:
        months: (n,) time of the event or of censoring.
        event: (n,) whether the event was seen.
        values: (n,) higher or lower for a worse patient: the concordance is that of the better direction.

    Returns:
        Concordance in [0.5, 1], nan without a pair, and the effective number of patients.
    """
    pairs = _comparable(months, event) * (values[:, None] != values)
    shares = pairs.sum(0) + pairs.sum(1)
    total = pairs.sum()
    if total == 0:
        return np.nan, 0.0
    concordance = float((pairs * _order(values, values)).sum() / total)
    return max(concordance, 1.0 - concordance), float(shares.sum() ** 2 / (shares**2).sum() / 4)


def uno(sample: Sample, risk: Floats, horizon: float) -> Floats:
    """(D + 1,) Uno's C-index truncated at the horizon: pairs weigh 1 / P(followed until the event) squared."""
    followed = sample.uncensored(sample.months)
    early = sample.event & (sample.months < horizon) & (followed > 0)
    weight = np.divide(sample.counts, followed**2, out=np.zeros_like(sample.counts), where=early)
    return _c_index(sample, risk, weight)


def brier(sample: Sample, survival: Floats, at: Floats) -> Floats:
    """(D + 1, T) Brier score of the predicted survival (n, T) at each time, IPCW (Graf)."""
    columns = []
    total = sample.counts.sum(1)
    for column, time in enumerate(at):
        free, weight = sample.status(float(np.nextafter(time, np.inf)))  # free of the event beyond the time
        columns.append(weight @ (free - survival[:, column]) ** 2 / total)
    return np.stack(columns, 1)


def integrated_brier(sample: Sample, survival: Floats, at: Floats) -> Floats:
    """(D + 1,) the Brier score, averaged over time by the trapezoid rule."""
    return np.asarray(np.trapezoid(brier(sample, survival, at), at, axis=1) / (at[-1] - at[0]), float)


@dataclass(frozen=True, eq=False)
class Recalibration:
    """Logistic recalibration, one value a draw: logit P = intercept + slope x logit p; `shift` with the slope at 1."""

    slope: Floats
    intercept: Floats
    shift: Floats


def recalibration(sample: Sample, probability: Floats, horizon: float, truth: Floats | None = None) -> Recalibration:
    """Calibration of P(free of the event at the horizon), against the outcomes (IPCW) or the true probabilities."""
    if truth is None:
        free, weight = sample.status(horizon)
        outcome = free.astype(float)
    else:
        outcome, weight = truth, sample.counts
    x = logit(np.clip(probability, _SURE, 1 - _SURE))
    slope, intercept = _logistic(outcome, x, weight, fixed=False)
    return Recalibration(slope, intercept, _logistic(outcome, x, weight, fixed=True)[1])


def calibration_curve(
    sample: Sample, probability: Floats, horizon: float, *, groups: int
) -> list[tuple[float, Floats]]:
    """Mean prediction and observed survival (D + 1,) (Kaplan-Meier) in groups of equal size of the prediction."""
    rank = np.argsort(np.argsort(probability, kind="stable"), kind="stable")
    group = rank * groups // len(probability)
    at = np.array([np.nextafter(horizon, -np.inf)])
    return [
        (float(probability[group == g].mean()), sample.part(group == g).kaplan_meier(at)[:, 0])
        for g in np.unique(group)
    ]


def net_benefit(sample: Sample, probability: Floats, horizon: float, thresholds: Floats) -> Floats:
    """(D + 1, T) net benefit of acting on the patients whose risk, 1 - probability, reaches each threshold.

    True and false positives come from the Kaplan-Meier survival of the patients above the threshold. No patient above
    it: 0. Acting on all patients: `probability` of 0.
    """
    at = np.array([np.nextafter(horizon, -np.inf)])
    total = sample.counts.sum(1)
    columns = []
    for threshold in thresholds:
        positive = 1.0 - probability >= threshold
        if not positive.any():
            columns.append(np.zeros(len(total)))
            continue
        above = sample.part(positive)
        free = above.kaplan_meier(at)[:, 0]
        share = above.counts.sum(1) / total
        columns.append(share * ((1 - free) - free * threshold / (1 - threshold)))
    return np.stack(columns, 1)


def _c_index(sample: Sample, risk: Floats, weight: Floats) -> Floats:
    """Pairs of an event and a patient free of it beyond that time; the weight is that of the first of a pair."""
    comparable = _comparable(sample.months, sample.event) * sample.ranked()
    won = ((weight @ (comparable * _order(risk, risk))) * sample.counts).sum(1)
    return _ratio(won, ((weight @ comparable) * sample.counts).sum(1))


def _comparable(months: Floats, event: Flags) -> Flags:
    """(n, n) the first of the pair has the event, and the second is known to be free of it beyond that time."""
    later = months[:, None] < months
    tied = (months[:, None] == months) & ~event  # censored at the time of the event: survived longer
    return np.asarray(event[:, None] & (later | tied))


def _order(first: Floats, second: Floats) -> Floats:
    """1 where the first risk is the higher one, 1/2 for a tie, else 0."""
    return np.asarray((1.0 + np.sign(np.subtract.outer(first, second))) / 2, float)


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)


def _logistic(outcome: Floats, x: Floats, weight: Floats, *, fixed: bool) -> tuple[Floats, Floats]:
    """Slope and intercept of a weighted logistic regression in every draw, by Newton's method; slope 1 if `fixed`."""
    slope, intercept = np.ones(len(weight)), np.zeros(len(weight))
    for _ in range(_STEPS):
        fitted = expit(intercept[:, None] + slope[:, None] * x)
        error, spread = weight * (outcome - fitted), weight * fitted * (1 - fitted)
        g0, h00 = error.sum(1), spread.sum(1) + _SURE
        if fixed:
            intercept = intercept + np.clip(g0 / h00, -1, 1)
            continue
        g1, h01, h11 = error @ x, spread @ x, spread @ x**2 + _SURE
        determinant = h00 * h11 - h01**2 + _SURE**2
        intercept = intercept + np.clip((h11 * g0 - h01 * g1) / determinant, -1, 1)
        slope = slope + np.clip((h00 * g1 - h01 * g0) / determinant, -1, 1)
    return slope, intercept
