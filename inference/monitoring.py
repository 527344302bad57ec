"""Whether the patients of a centre are like those that the model knows, and whether its answers hold.

A stream of answered cases is compared with the reference of the bundle, over the newest cases up to a day:

- **inputs**: the mean of each encoded input against that of the reference (z test), and its missing share (binomial);
- **answers**: the mean P(free of progression at 12 months) against the reference (z test);
- **abstentions**: their share against that of the reference, else of the earlier cases of the stream (Fisher's test);
- **calibration**, once outcomes at 12 months are known: observed against expected numbers free of progression (z test),
  and how often the conformal sets held what happened (binomial, too seldom only).

Each p-value is multiplied by the number of tests of its kind (Bonferroni); below `ALARM` it is a finding. A finding is
a reason to look, not a verdict: patients may be others for good reasons. Nothing here identifies a patient.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan, sqrt
from statistics import NormalDist, fmean
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from scipy.stats import binom, fisher_exact

from inference.missing_inputs import covariance

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date

    from numpy.typing import NDArray

    from inference.input_contract import InputContract
    from inference.prediction import ConformalAnswer

ALARM: Final = 0.01  # of a corrected p-value
LEAST: Final = 20  # cases, or outcomes, that a comparison needs
NEWEST: Final = 100  # cases that are compared

Kind = Literal["input", "missing", "answer", "abstention", "calibration", "coverage"]


@dataclass(frozen=True)
class InputReference:
    """An encoded input over the reference patients whose value is known, and the share without one (nan: not known)."""

    mean: float
    sd: float
    missing: float

    @staticmethod
    def of(values: NDArray[np.float64]) -> InputReference:
        """From the patients' values (n,); nan is missing."""
        known = values[np.isfinite(values)]
        if not len(known):
            return InputReference(0.0, 0.0, 1.0)
        return InputReference(float(known.mean()), float(known.std()), 1 - len(known) / len(values))


@dataclass(frozen=True)
class MonitorReference:
    """What the stream is compared with.

    Attributes:
        patients: number of reference patients; 0 where the means are those of the contract, which are rounded.
        inputs: by name of the input.
        answer: P(free of progression at 12 months); None where it is not known.
        abstained: share of abstentions; None where it is not known.
    """

    patients: int
    inputs: Mapping[str, InputReference]
    answer: InputReference | None = None
    abstained: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data, as a card holds it; `from_card` reads it."""
        plain = {
            name: vars(one) | {"missing": None if isnan(one.missing) else one.missing}
            for name, one in self.inputs.items()
        }
        answer = None if self.answer is None else vars(self.answer)
        return {"patients": self.patients, "inputs": plain, "answer": answer, "abstained": self.abstained}

    @staticmethod
    def from_card(card: Mapping[str, Any], contract: InputContract) -> MonitorReference:
        """The reference of a bundle: that of its card, else means and spreads of the contract."""
        stated = card.get("reference")
        if stated is None:
            return MonitorReference(0, _from_contract(contract))
        inputs = {
            name: InputReference(one["mean"], one["sd"], float("nan") if one["missing"] is None else one["missing"])
            for name, one in stated["inputs"].items()
        }
        answer = stated["answer"] and InputReference(**stated["answer"])
        return MonitorReference(stated["patients"], inputs, answer, stated["abstained"])


def _from_contract(contract: InputContract) -> dict[str, InputReference]:
    """Encoded means are 0; missing shares are not known (nan), nor the means of terms that are not centred."""
    clinical = {term.name: InputReference(0.0, sqrt(covariance([term])[0, 0]), float("nan")) for term in contract.terms}
    centred = [term for term in contract.quantities if term.mean]
    return clinical | {f"lesion:{term.name}": InputReference(0.0, 1.0, float("nan")) for term in centred}


@dataclass(frozen=True)
class MonitoredCase:
    """One case of the stream, without identity.

    Attributes:
        day: of the answer.
        inputs: encoded, by name; None is missing.
        probability: P(free of progression at 12 months); None where the model abstained.
        verdict: of the conformal set at 12 months; None where there is none.
        free: whether the patient was free of progression at 12 months; None where that is not known.
    """

    day: date
    inputs: Mapping[str, float | None]
    probability: float | None = None
    verdict: ConformalAnswer | None = None
    free: bool | None = None


@dataclass(frozen=True)
class Comparison:
    """One comparison of the stream with the reference.

    Attributes:
        kind: what was compared.
        name: of the input; "" for the other kinds.
        cases: number of the stream.
        found: mean or share of the stream.
        expected: of the reference.
        p: corrected for the number of comparisons of this kind, 1 at most.
    """

    kind: Kind
    name: str
    cases: int
    found: float
    expected: float
    p: float

    @property
    def alarm(self) -> bool:
        """Whether somebody should look."""
        return self.p < ALARM


@dataclass(frozen=True)
class MonitorReport:
    """The comparisons of one period.

    Attributes:
        until: last day.
        cases: of the stream up to that day.
        compared: the newest of them, which were compared.
        abstained: of these.
        outcomes: that are known of the answered cases among all of the stream.
        comparisons: those that there were enough cases for.
    """

    until: date
    cases: int
    compared: int
    abstained: int
    outcomes: int
    comparisons: tuple[Comparison, ...]

    @property
    def findings(self) -> tuple[Comparison, ...]:
        """Comparisons that somebody should look at."""
        return tuple(one for one in self.comparisons if one.alarm)


def compare(
    stream: Iterable[MonitoredCase], reference: MonitorReference, *, until: date, level: float, newest: int = NEWEST
) -> MonitorReport:
    """Compare the newest cases of a stream with the reference.

    Args:
        stream: cases in any order.
        reference: of the bundle that answered them.
        until: last day of the period.
        level: that the conformal sets promise.
        newest: number of cases to compare.
    """
    cases = sorted((one for one in stream if one.day <= until), key=lambda one: one.day)
    recent, earlier = cases[-newest:], cases[:-newest]
    outcomes = [one for one in cases if one.free is not None and one.probability is not None]
    comparisons = (
        *_corrected(_inputs(recent, reference)),
        *_corrected(_missing(recent, reference)),
        *_answers(recent, reference),
        *_abstentions(recent, earlier, reference),
        *_calibration(outcomes[-newest:]),
        *_coverage(outcomes[-newest:], level),
    )
    abstained = sum(one.probability is None for one in recent)
    return MonitorReport(until, len(cases), len(recent), abstained, len(outcomes), comparisons)


def _corrected(found: Sequence[Comparison]) -> list[Comparison]:
    return [
        Comparison(one.kind, one.name, one.cases, one.found, one.expected, min(1.0, one.p * len(found)))
        for one in found
    ]


def _inputs(cases: Sequence[MonitoredCase], reference: MonitorReference) -> list[Comparison]:
    found = []
    for name, expected in reference.inputs.items():
        values = [value for one in cases if (value := one.inputs.get(name)) is not None]
        if len(values) >= LEAST and expected.sd > 0:
            found.append(_mean("input", name, values, expected, reference.patients))
    return found


def _mean(kind: Kind, name: str, values: Sequence[float], expected: InputReference, patients: int) -> Comparison:
    """Two-sided z test of a mean; the reference's own error counts where its patients are known."""
    missing = 0.0 if isnan(expected.missing) else expected.missing
    mean, known = fmean(values), patients * (1 - missing)
    error = expected.sd * sqrt(1 / len(values) + (1 / known if known else 0.0))
    return Comparison(kind, name, len(values), mean, expected.mean, _two_sided((mean - expected.mean) / error))


def _missing(cases: Sequence[MonitoredCase], reference: MonitorReference) -> list[Comparison]:
    """Exact two-sample test of the missing share of each input; only where the reference knows it."""
    found = []
    for name, expected in reference.inputs.items():
        given = [one.inputs[name] for one in cases if name in one.inputs]
        if len(given) >= LEAST and not isnan(expected.missing):
            lacking = sum(value is None for value in given)
            before = round(expected.missing * reference.patients)
            p = _two_shares(lacking, len(given), before, reference.patients)
            found.append(Comparison("missing", name, len(given), lacking / len(given), expected.missing, p))
    return found


def _answers(cases: Sequence[MonitoredCase], reference: MonitorReference) -> list[Comparison]:
    values = [one.probability for one in cases if one.probability is not None]
    if reference.answer is None or len(values) < LEAST:
        return []
    return [_mean("answer", "", values, reference.answer, reference.patients)]


def _abstentions(
    cases: Sequence[MonitoredCase], earlier: Sequence[MonitoredCase], reference: MonitorReference
) -> list[Comparison]:
    now = sum(one.probability is None for one in cases)
    if reference.abstained is not None:
        before, total = round(reference.abstained * reference.patients), reference.patients
    else:
        before, total = sum(one.probability is None for one in earlier), len(earlier)
    if min(len(cases), total) < LEAST:
        return []
    p = _two_shares(now, len(cases), before, total)
    return [Comparison("abstention", "", len(cases), now / len(cases), before / total, p)]


def _calibration(outcomes: Sequence[MonitoredCase]) -> list[Comparison]:
    """Observed against expected share free of progression at 12 months (Spiegelhalter's variance of the sum)."""
    expected = [one.probability for one in outcomes if one.probability is not None]
    if len(expected) < LEAST:
        return []
    free = fmean(bool(one.free) for one in outcomes)
    error = sqrt(sum(p * (1 - p) for p in expected)) / len(expected)
    p = _two_sided((free - fmean(expected)) / max(error, 1e-9))
    return [Comparison("calibration", "", len(expected), free, fmean(expected), p)]


def _coverage(outcomes: Sequence[MonitoredCase], level: float) -> list[Comparison]:
    held = [one.verdict == "indeterminate" or (one.verdict == "free") == one.free for one in outcomes if one.verdict]
    if len(held) < LEAST:
        return []
    p = float(binom.cdf(sum(held), len(held), level))
    return [Comparison("coverage", "", len(held), fmean(held), level, p)]


def _two_sided(z: float) -> float:
    return 2 * NormalDist().cdf(-abs(z))


def _two_shares(a: int, n: int, b: int, m: int) -> float:
    return float(fisher_exact(np.array([[a, n - a], [b, m - b]])).pvalue)
