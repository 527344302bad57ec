"""What each lesion and each variable adds to a score that is computed from the lesion table.

One reference for all of it: this patient without the lesions, with the record and the organ ratios of the contract's
reference patient; what is missing stays missing. Every term is a difference from that reference, and they sum to the
difference of the score. NumPy only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import factorial
from typing import TYPE_CHECKING

import numpy as np

from explain.explanation import ScoreTerm
from fedpet.clinical.variables import VARIABLES
from fedpet.core.messages import Message
from fedpet.imaging.anatomy.regions import REGIONS
from fedpet.imaging.lesions.lesion_table import QUANTITIES
from inference.encoding import encode, term_label
from inference.input_contract import LESION_PREFIX
from inference.lesion_crops import largest_lesions

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from fedpet.clinical.record import ClinicalRecord
    from fedpet.imaging.lesions.lesion_table import LesionTable
    from inference.engine import Engine
    from inference.input_contract import InputContract
    from inference.lesion_crops import LesionCrops
    from inference.prediction import SurvivalCurve

    Credits = dict[int, "Credit"]
    Values = Callable[[frozenset[int]], float | NDArray[np.float64]]

EXACT_LESIONS = 10  # up to as many, all subsets are scored
MONTHS = 12.0  # of the probability whose change is measured
_SUBSETS = 20_000  # scored where there are more lesions: about 2 s
_SEED = 20260
_ROUNDING = 1e-5  # of float32 inputs
_OTHERS = (LESION_PREFIX, "missing:")
_REMAINDER = Message("Interaction of the lesions, not credited to one of them")
_COMMON = Message("Common to several lesions")
_ORGAN_RATIOS = tuple(name for name, one in QUANTITIES.items() if one.without_lesions is None)


@dataclass(frozen=True)
class Credit:
    """What a lesion adds to the score, and the standard error of it where it was sampled."""

    value: float
    error: float = 0.0


@dataclass(frozen=True, eq=False)
class LearnedTerms:
    """The learned term of a patient as a function of the lesions that count: a mean over the largest of them.

    Attributes:
        alone: the term that each lesion would give alone, by number.
        weights: of the mean, by number.
        most: how many of the largest lesions count.
    """

    alone: Mapping[int, float]
    weights: Mapping[int, float]
    most: int

    @staticmethod
    def of(engine: Engine, crops: LesionCrops) -> LearnedTerms:
        """Run the graph that answers on each lesion alone."""
        contract = crops.contract
        nothing = np.zeros(len(contract.inputs), np.float32)
        alone = {
            number: float(engine.run(crops.bag_of([number]), nothing).contributions[-1]) for number in crops.by_lesion
        }
        weights = {number: float(np.sqrt(crop[2].sum())) for number, crop in crops.by_lesion.items()}
        return LearnedTerms(alone, weights, contract.image_shape[0])

    def __call__(self, table: LesionTable) -> float:
        """The term of the patient with the lesions of a table; 0 without any."""
        chosen = largest_lesions(table, self.most)
        total = sum(self.weights[number] for number in chosen)
        return sum(self.weights[number] * self.alone[number] for number in chosen) / total if total else 0.0


@dataclass(frozen=True, eq=False)
class TableScore:
    """The risk score of one patient as a function of the lesions that count: weights . inputs, and the learned term.

    Attributes:
        contract: of the model.
        weights: (n,), in the order of `contract.inputs`.
        record: of the patient.
        table: all lesions of the patient.
        learned: the learned term; None where the model has none.
    """

    contract: InputContract
    weights: NDArray[np.float64]
    record: ClinicalRecord
    table: LesionTable
    learned: LearnedTerms | None = None

    @property
    def lesions(self) -> tuple[int, ...]:
        """Numbers of the lesions."""
        return tuple(one.id for one in self.table.lesions)

    def inputs(self, lesions: Collection[int]) -> NDArray[np.float64]:
        """Encoded inputs (n,) of this patient with these lesions only."""
        return encode(self.record, self.contract, self._left(lesions)).values.astype(np.float64)

    def _left(self, lesions: Collection[int]) -> LesionTable:
        return self.table.without([number for number in self.lesions if number not in lesions])

    def __call__(self, lesions: Collection[int]) -> float:
        """The score of this patient with these lesions only."""
        linear = float(self.weights @ self.inputs(lesions))
        return linear if self.learned is None else linear + self.learned(self._left(lesions))

    def own(self) -> NDArray[np.bool_]:
        """(n,) which inputs do not depend on the lesions: the record and the organ ratios, without missing flags."""
        organs = {f"{LESION_PREFIX}{name}" for name in _ORGAN_RATIOS}
        return np.array([name in organs or not name.startswith(_OTHERS) for name in self.contract.inputs])

    def reference(self) -> float:
        """The score of the reference: no lesions, every input of the record and of the organs at its mean."""
        return float(self.weights @ np.where(self.own(), 0.0, self.inputs(())))


def shapley_credits(score: Callable[[frozenset[int]], float], lesions: Sequence[int]) -> Credits:
    """Shapley values of the lesions: exact up to ten, else sampled over permutations and their reverses.

    Args:
        score: of the patient with the given lesions only.
        lesions: their numbers.

    Returns:
        Credits that sum to score(all) - score(none), exactly in either case. Source: Shapley 1953; antithetic
        permutations: Mitchell 2022, J Mach Learn Res 23:43.
    """
    values, errors = _shapley(score, lesions)
    return {
        one: Credit(value, error) for one, value, error in zip(lesions, values.tolist(), errors.tolist(), strict=True)
    }


def ablation_credits(score: Callable[[frozenset[int]], float], lesions: Sequence[int]) -> Credits:
    """The measured effect of each lesion: the score with all of them minus that without it.

    Where lesions interact these do not sum to what they do together.
    """
    everything = frozenset(lesions)
    whole = score(everything)
    return {number: Credit(whole - score(everything - {number})) for number in lesions}


TABLE_METHODS: Mapping[str, Callable[[TableScore, Sequence[int]], Credits]] = {
    "ablation": ablation_credits,
    "shapley": shapley_credits,
}


def input_credits(score: TableScore, method: str) -> NDArray[np.float64]:
    """What each lesion has of each input of the model, by the same method as its credit.

    Args:
        score: of the patient.
        method: "ablation" or "shapley".

    Returns:
        (lesions, inputs); times the weights of any model of these inputs, the credits under it, without a learned term.
    """
    lesions = score.lesions
    if not lesions:
        return np.zeros((0, len(score.weights)))
    if method == "shapley":
        return _shapley(score.inputs, lesions)[0]
    whole = score.inputs(lesions)
    return np.array([whole - score.inputs([one for one in lesions if one != number]) for number in lesions])


def _shapley(value: Values, lesions: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shapley values (lesions, ...) of a function whose values are numbers or arrays, and standard errors."""
    return _exact(value, lesions) if len(lesions) <= EXACT_LESIONS else _sampled(value, lesions)


def _exact(value: Values, lesions: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    count = len(lesions)
    subsets = np.arange(2**count)
    members = subsets[:, None] >> np.arange(count) & 1
    values = np.array([value(frozenset(np.array(lesions)[row == 1].tolist())) for row in members], dtype=np.float64)
    sizes = members.sum(1)
    shares = np.array([factorial(k) * factorial(count - k - 1) / factorial(count) for k in range(count)])
    shared = np.zeros((count, *values.shape[1:]))
    for place in range(count):
        without = subsets[members[:, place] == 0]
        gains = values[without | 1 << place] - values[without]
        shared[place] = np.tensordot(shares[sizes[without]], gains, 1)
    return shared, np.zeros_like(shared)


def _sampled(value: Values, lesions: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    count = len(lesions)
    pairs = max(8, _SUBSETS // (2 * count))
    known = cache(value)
    total, squares = np.zeros(1), np.zeros(1)
    for order in _orders(count, pairs):
        gains = _gains(known, lesions, order) / 2 + _gains(known, lesions, order[::-1]) / 2
        total, squares = total + gains, squares + gains**2
    mean = total / pairs
    spread = np.sqrt(np.maximum(squares - pairs * mean**2, 0.0) / (pairs - 1))
    return mean, spread / np.sqrt(pairs)


def _gains(known: Values, lesions: Sequence[int], order: NDArray[np.intp]) -> NDArray[np.float64]:
    """(lesions, ...) what each adds when they come in this order."""
    values = np.array([known(frozenset(lesions[at] for at in order[:k])) for k in range(len(order) + 1)], np.float64)
    gains = np.empty_like(values[1:])
    gains[order] = np.diff(values, axis=0)
    return gains


def _orders(count: int, pairs: int) -> Iterator[NDArray[np.intp]]:
    generator = np.random.default_rng(_SEED)
    for _pair in range(pairs):
        yield generator.permutation(count)


def free_after(curve: SurvivalCurve, change: float) -> float:
    """Probability of being progression-free at 12 months if the calibrated score changed.

    A change of the score moves the hazard logit of every interval alike, so the curve itself says what it becomes.

    Args:
        curve: of the patient.
        change: of the calibrated score, log hazard.
    """
    until = curve.months.index(MONTHS) + 1
    free = np.array(curve.probability[:until])
    hazard = 1.0 - free[1:] / free[:-1]
    odds = hazard / (1.0 - hazard) * np.exp(change)
    return float(np.prod(1.0 / (1.0 + odds)))


def score_terms(
    score: TableScore, shared: Mapping[int, Credit], curve: SurvivalCurve, slope: float
) -> tuple[ScoreTerm, ...]:
    """Every term of the score against the reference, with its measured effect on the answer.

    Args:
        score: of the patient.
        shared: credits of the lesions.
        curve: of the patient.
        slope: of the calibration: by how much the calibrated score follows the score.

    Returns:
        Lesions; what they do together beyond the effects of each ("common"; 0 in the score where their credits are not
        these effects); then organ ratios and variables that the patient has; last the remainder, where it is not 0.
    """

    def points(change: float) -> float:
        """With minus without a part that adds `change` to the score."""
        return free_after(curve, 0.0) - free_after(curve, -slope * change)

    measured = ablation_credits(score, score.lesions)
    lesions = [
        ScoreTerm(
            f"lesion:{one.id}",
            lesion_label(one.id, one.region),
            shared[one.id].value,
            points(measured[one.id].value),
            shared[one.id].error,
        )
        for one in score.table.lesions
    ]
    together = score(score.lesions) - score(())
    beyond = together - sum(one.value for one in measured.values())
    alone = all(abs(shared[number].value - one.value) < _ROUNDING for number, one in measured.items())
    if abs(beyond) >= _ROUNDING:
        effect = points(together) - sum(term.points or 0.0 for term in lesions)
        lesions.append(ScoreTerm("common", _COMMON, beyond if alone else 0.0, effect))
    own = [ScoreTerm(name, label, term, points(term)) for name, label, term in _own_terms(score)]
    left = score(score.lesions) - score.reference() - sum(term.score for term in (*lesions, *own))
    rest = [] if abs(left) < _ROUNDING else [ScoreTerm("remainder", _REMAINDER, left)]
    return (*lesions, *own, *rest)


def lesion_label(number: int, region: str) -> Message:
    """Number and region of a lesion."""
    return Message("Lesion {number}, {region}", number=number, region=REGIONS[region])


def _own_terms(score: TableScore) -> Iterator[tuple[str, Message, float]]:
    """Name, label and term of the organ ratios and of the clinical variables that are not missing."""
    contract = score.contract
    own = np.where(score.own(), score.weights * score.inputs(()), 0.0)
    terms = dict(zip(contract.inputs, own.tolist(), strict=True))
    ratios = score.table.values()
    for quantity in contract.quantities:
        if quantity.name in _ORGAN_RATIOS and (ratio := ratios[quantity.name]) is not None:
            label = Message("{what}: {ratio:.2f}", what=QUANTITIES[quantity.name].label, ratio=ratio)
            yield f"organ:{quantity.name}", label, terms[f"{LESION_PREFIX}{quantity.name}"]
    yield from variable_terms(score.record, contract, terms)


def variable_terms(
    record: ClinicalRecord, contract: InputContract, terms: Mapping[str, float]
) -> Iterator[tuple[str, Message, float]]:
    """Name, label with the patient's own value, and term of the variables that are not missing.

    Args:
        record: of the patient.
        contract: of the model.
        terms: of its inputs; those of one variable are summed.
    """
    for fields in dict.fromkeys(term.variables for term in contract.terms):
        names = [term.name for term in contract.terms if term.variables == fields]
        if all(getattr(record, field) is not None for field in fields):
            yield f"variable:{fields[0]}", own_value(record, fields, names[0]), sum(terms[name] for name in names)


_PAIRS = {
    "ldh_above_uln": Message("LDH against the upper limit of normal")
}  # whatever side of the limit the value is on


def own_value(record: ClinicalRecord, fields: Sequence[str], term: str) -> Message:
    """A variable of the record with the patient's value; where a term joins two, both.

    Args:
        record: that has these fields.
        fields: one or two.
        term: of the contract, whose label names a pair.
    """
    values = [_value(record, field) for field in fields]
    if len(values) == 1:
        return Message("{what}: {value}", what=VARIABLES[fields[0]].label, value=values[0])
    return Message(
        "{what}: {first} to {second}", what=_PAIRS.get(term) or term_label(term), first=values[0], second=values[1]
    )


def _value(record: ClinicalRecord, field: str) -> Message:
    value, variable = getattr(record, field), VARIABLES[field]
    for choice in variable.choices:
        if choice.value == value:
            return choice.label
    if variable.unit is None:
        return Message("{x:g}", x=float(value))
    return Message("{x:g} {unit}", x=float(value), unit=variable.unit)
