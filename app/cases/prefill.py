"""What the images state of their patient, for the fields of the record that nobody filled in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from app.cases.tables import Case
    from fedpet.imaging.study import PatientFacts

FILLED = "filled"  # in the inspection of a case: the values taken, by field of the record


def stated(images: PatientFacts) -> dict[str, Any]:
    """Values for a record, by field; without those that the images do not state, or state twice."""
    days = set(images.pet_dates)
    values = {
        "sex": images.sex or None,
        "age": None if images.age_years is None else float(images.age_years),
        "weight_kg": images.weight_kg,
        "height_cm": None if images.height_m is None else round(100 * images.height_m, 1),
        "pet_date": days.pop() if len(days) == 1 else None,
    }
    return {name: value for name, value in values.items() if value is not None}


def fill(case: Case, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The record of a case with values of its images where nobody entered one.

    Returns:
        The record, and what of it was taken from the images.
    """
    own = {name: value for name, value in case.record.items() if name not in copied(case)}
    taken = {name: value for name, value in values.items() if name not in own}
    return {**own, **taken}, taken


def entered(case: Case, names: Collection[str]) -> dict[str, Any]:
    """The inspection of a case once a person or a file gave fields of its record, as a column to change; {} as it was.

    What is given is no copy of the images any more, even where it is the same.
    """
    taken = (case.inspection or {}).get(FILLED) or {}
    left = {name: value for name, value in taken.items() if name not in names}
    return {} if left == taken else {"inspection": {**(case.inspection or {}), FILLED: left}}


def found_in(images: Mapping[str, Any] | None) -> dict[str, Any]:
    """The inspection of a case without what of it went into the record."""
    return {name: value for name, value in (images or {}).items() if name != FILLED}


def copied(case: Case) -> frozenset[str]:
    """The fields of a record that only the images gave, and nobody entered since: they cannot be compared."""
    taken = (case.inspection or {}).get(FILLED) or {}
    return frozenset(name for name, value in taken.items() if case.record.get(name) == value)
