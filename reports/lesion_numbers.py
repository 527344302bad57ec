"""The numbers that a report gives to lesions and hot foci: 1 to n for the lesions, letters for what is left out.

A delineation numbers every hot focus, so that the lesions among them are, say, 2, 5 and 11. A report numbers what
counts, without gaps; the number of the focus, which the application shows, stands beside it where it is another.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from string import ascii_lowercase
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from explain.explanation import Explanation, SanityCheckResult, ScoreTerm
    from fedpet.imaging.volume import Volume
    from inference.prediction import Prediction


class _HotFocus(Protocol):
    """A hot component, as computed or as the application stored it."""

    @property
    def id(self) -> int: ...

    @property
    def included(self) -> bool: ...


_NAMED = "numbers"  # value of a message that lists lesions, such as "2, 5"


@dataclass(frozen=True, eq=False)
class NumberedLesions:
    """A prediction and its explanation with lesions numbered from 1 without gaps, in the order of their foci.

    Attributes:
        prediction: with the new numbers in quantities, label volume and table; hot components keep theirs.
        explanation: with the new numbers; None where there is none.
        foci: number of a lesion -> its number in the label volume before.
    """

    prediction: Prediction
    explanation: Explanation | None
    foci: Mapping[int, int]


def report_numbers(foci: Iterable[int]) -> dict[int, int]:
    """The number of each lesion in the report, by that of its focus; `foci` are in the order of the prediction."""
    return {focus: number for number, focus in enumerate(foci, start=1)}


def number_lesions(prediction: Prediction, explanation: Explanation | None) -> NumberedLesions:
    """Number the lesions of a prediction from 1 without gaps."""
    numbers = report_numbers(lesion.id for lesion in prediction.quantities.lesions)
    foci = {number: focus for focus, number in numbers.items()}
    if all(number == focus for number, focus in foci.items()):
        return NumberedLesions(prediction, explanation, foci)
    quantities, table = prediction.quantities, prediction.table
    if table is not None:
        rows = tuple(replace(one, id=numbers[one.id]) for one in table.lesions if one.id in numbers)
        table = replace(table, lesions=rows)
    numbered = replace(
        prediction,
        quantities=replace(quantities, lesions=tuple(replace(one, id=numbers[one.id]) for one in quantities.lesions)),
        lesion_labels=_relabelled(prediction.lesion_labels, numbers),
        table=table,
    )
    return NumberedLesions(numbered, explanation and _explained(explanation, numbers), foci)


def letters(components: Iterable[_HotFocus]) -> dict[int, str]:
    """A letter for each hot component that is no lesion, by its number: a to z, then aa, ab and so on."""
    left_out = [one.id for one in components if not one.included]
    return {focus: _letter(place) for place, focus in enumerate(left_out)}


def _letter(place: int) -> str:
    first, last = divmod(place, len(ascii_lowercase))
    return (ascii_lowercase[first - 1] if first else "") + ascii_lowercase[last]


def _relabelled(labels: Volume, numbers: Mapping[int, int]) -> Volume:
    new = np.zeros(int(labels.array.max(initial=0)) + 1, labels.array.dtype)
    for focus, number in numbers.items():
        new[focus] = number
    return labels.like(new[labels.array], labels.unit)


def _explained(explanation: Explanation, numbers: Mapping[int, int]) -> Explanation:
    return replace(
        explanation,
        lesion_share={numbers.get(focus, focus): share for focus, share in explanation.lesion_share.items()},
        terms=tuple(_term(term, numbers) for term in explanation.terms),
        gates=tuple(_gate(gate, numbers) for gate in explanation.gates),
    )


def _term(term: ScoreTerm, numbers: Mapping[int, int]) -> ScoreTerm:
    if term.lesion is None:
        return term
    number = numbers[term.lesion]
    values = {**term.label.values, **({"number": number} if "number" in term.label.values else {})}
    return replace(term, name=f"lesion:{number}", label=term.label.with_values(values))


def _gate(gate: SanityCheckResult, numbers: Mapping[int, int]) -> SanityCheckResult:
    """The same check; a sentence that lists lesions lists them by their new numbers."""
    listed = gate.reason.values.get(_NAMED)
    if not isinstance(listed, str):
        return gate
    named = ", ".join(str(numbers.get(int(part), int(part))) for part in listed.split(", ") if part.isdigit())
    return replace(gate, reason=gate.reason.with_values({**gate.reason.values, _NAMED: named}))
