"""Metabolic response between two examinations by PERCIST 1.0, with the criterion that decided.

PERCIST (Wahl 2009, J Nucl Med 50 Suppl 1:122S; Joo Hyun O 2016, Radiology 280:576) compares the SULpeak of the hottest
lesion of each examination, which need not be the same lesion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fedpet.imaging.response.comparison import Examination, LesionMatch

Category = Literal["CMR", "PMR", "SMD", "PMD", "NE"]

_RELATIVE, _ABSOLUTE = 0.30, 0.8  # change of SULpeak, relative and g/ml
_TLG_GROWTH = 0.75  # relative
_LIVER_SHARE, _LIVER_SUL = 0.20, 0.3  # largest difference of the liver, relative and g/ml
_UPTAKE_MIN = 15.0  # largest difference of the uptake times


@dataclass(frozen=True)
class Response:
    """The response with the criterion that decided.

    Attributes:
        category: complete (CMR) or partial metabolic response (PMR), stable (SMD) or progressive metabolic disease
            (PMD), or not evaluable (NE).
        quantity: "SULpeak", or "SUVpeak" where lean body mass is not known for both examinations.
        before: quantity of the hottest lesion of the earlier examination, g/ml.
        after: quantity of the hottest lesion of the later examination, g/ml.
        measurable_from: quantity from which a lesion of the earlier examination is measurable, g/ml; None: unknown.
        criterion: why this category.
    """

    category: Category
    quantity: Literal["SULpeak", "SUVpeak"]
    before: float
    after: float
    measurable_from: float | None
    criterion: Message


def sul_factors(before: Examination, after: Examination) -> tuple[float, float] | None:
    """SUL for one SUVbw in both examinations; None where it is not known for one of them."""
    if before.sul_per_suv is None or after.sul_per_suv is None:
        return None
    return before.sul_per_suv, after.sul_per_suv


def percist_response(before: Examination, after: Examination, matches: Sequence[LesionMatch]) -> Response:
    """Assess the response of the later examination against the earlier one.

    Args:
        before: earlier examination.
        after: later examination.
        matches: of their lesions (`fedpet.imaging.response.comparison.match_lesions`).
    """
    sul = sul_factors(before, after)
    factors = sul or (1.0, 1.0)
    start, end = before.suv_peak * factors[0], after.suv_peak * factors[1]
    measurable = None if before.measurable_from is None else before.measurable_from * factors[0]
    category, criterion = _category(before, after, matches, (start, end, measurable))
    return Response(category, "SULpeak" if sul else "SUVpeak", start, end, measurable, criterion)


def _category(
    before: Examination, after: Examination, matches: Sequence[LesionMatch], peaks: tuple[float, float, float | None]
) -> tuple[Category, Message]:
    start, end, measurable = peaks
    if new := [match.after.id for match in matches if match.kind == "new" and match.after]:
        numbers = ", ".join(map(str, new))
        return "PMD", Message("New lesion ({numbers}), to be confirmed on the images.", numbers=numbers)
    if not before.lesions:
        return "NE", Message("No lesion was delineated at the earlier date.")
    if measurable is not None and start < measurable:
        return "NE", Message(
            "The hottest lesion of the earlier date was not measurable: peak {peak:.2f}, {needed:.2f} are needed.",
            peak=start,
            needed=measurable,
        )
    if not after.lesions:
        return "CMR", Message(
            "No lesion is delineated any more; that uptake is below the liver is to be confirmed visually."
        )
    return _by_change(before, after, start, end)


def _by_change(before: Examination, after: Examination, start: float, end: float) -> tuple[Category, Message]:
    """The category where both examinations have lesions and the earlier one a measurable one."""
    values = {"percent": 100.0 * (end - start) / start, "change": end - start}
    if end - start <= -_ABSOLUTE and end <= (1.0 - _RELATIVE) * start:
        return "PMR", Message("Fall of at least 30 % and 0.8: {percent:+.0f} %, {change:+.2f}.", **values)
    if end - start >= _ABSOLUTE and end >= (1.0 + _RELATIVE) * start:
        return "PMD", Message("Rise of at least 30 % and 0.8: {percent:+.0f} %, {change:+.2f}.", **values)
    if end >= start and after.tlg >= (1.0 + _TLG_GROWTH) * before.tlg and before.method == after.method:
        return "PMD", Message("TLG rose by at least 75 % and the peak did not fall.")
    return "SMD", Message("Change of less than 30 % or 0.8: {percent:+.0f} %, {change:+.2f}.", **values)


def percist_caveats(before: Examination, after: Examination) -> tuple[Message, ...]:
    """What makes the two examinations less comparable (PERCIST 1.0, table 4)."""
    caveats = []
    if before.method != after.method:
        caveats.append(Message("The lesions were delineated by different methods: volumes cannot be compared."))
    if before.scanner != after.scanner:
        caveats.append(Message("The examinations were made on different scanners."))
    if (
        before.uptake_min is not None
        and after.uptake_min is not None
        and abs(before.uptake_min - after.uptake_min) > _UPTAKE_MIN
    ):
        caveats.append(
            Message(
                "The uptake times differ by more than 15 minutes: {before:.0f} and {after:.0f} min.",
                before=before.uptake_min,
                after=after.uptake_min,
            )
        )
    return (*caveats, *_liver_caveats(before, after))


def _liver_caveats(before: Examination, after: Examination) -> tuple[Message, ...]:
    if before.liver is None or after.liver is None:
        return (Message("The liver is not a reference at both dates: comparability was not checked by it."),)
    factors = sul_factors(before, after) or (1.0, 1.0)
    old, new = before.liver[0] * factors[0], after.liver[0] * factors[1]
    if abs(new - old) <= min(_LIVER_SHARE * old, _LIVER_SUL):
        return ()
    return (
        Message("The liver differs by more than 20 % or 0.3: {before:.2f} and {after:.2f}.", before=old, after=new),
    )
