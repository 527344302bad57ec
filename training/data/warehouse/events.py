"""What happened to a patient, as any warehouse tells it: dated codes and values, each with the row it stands in."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date, datetime
from fnmatch import fnmatchcase
from math import isfinite
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

EventKind = Literal["birth", "sex", "death", "news", "drug", "measure", "primary", "metastasis", "imaging"]
KINDS: Final[tuple[EventKind, ...]] = (
    *("birth", "sex", "death", "news", "drug", "measure", "primary", "metastasis", "imaging"),
)
_YEAR_FIRST: Final = re.compile(r"(\d{4})(?:[-/]?(\d{2})(?:[-/]?(\d{2}))?)?(?:[T ].*)?")
_NOTHING: Final = frozenset({"", "none", "nan", "nat", "null"})  # written where there is no date
_MIDDLE_DAY, _MIDDLE_MONTH = 15, 7  # where a warehouse keeps no day, or no month


@dataclass(frozen=True)
class Origin:
    """Where a value stands: table or resource type, and its row or identifier."""

    table: str
    row: str


@dataclass(frozen=True)
class Event:
    """One row of a warehouse.

    Attributes:
        kind: what it tells.
        origin: where it stands.
        day: when; None where it is not dated.
        codes: what it is about, in every code system that the row gives: drug, laboratory test, topography, modality.
        value: number or text; of "imaging" the Study ID, of "sex" the sex.
        unit: of the value.
        upper_limit: of normal, of the laboratory.
        estimated: the warehouse keeps only year or month; the day is the middle.
        unreadable: a date is written and cannot be read.
    """

    kind: EventKind
    origin: Origin
    day: date | None = None
    codes: tuple[str, ...] = ()
    value: str | float | None = None
    unit: str = ""
    upper_limit: float | None = None
    estimated: bool = False
    unreadable: bool = False

    def about(self, patterns: Iterable[str]) -> bool:
        """Whether a code fits a pattern (`L01FF*`), whatever its case."""
        return any(fnmatchcase(code.casefold(), one.casefold()) for one in patterns for code in self.codes)


@dataclass
class History:
    """Everything that a warehouse tells of one patient, without the patients who object."""

    patient_id: str
    events: list[Event] = field(default_factory=list)

    def of(self, kind: EventKind, patterns: Iterable[str] = ("*",)) -> list[Event]:
        """Dated events of a kind about these codes, by day."""
        chosen = [one for one in self.events if one.kind == kind and one.day is not None]
        wanted = tuple(patterns)
        if wanted != ("*",):
            chosen = [one for one in chosen if one.about(wanted)]
        return sorted(chosen, key=lambda one: (one.day or date.min, one.origin.table, one.origin.row))


def read_day(*parts: object) -> tuple[date | None, bool]:
    """A day from one value or from year, month and day; whether it was estimated.

    Args:
        parts: a date or text with the year first, perhaps cut off after the year or month; or up to three numbers.
    """
    first = parts[0] if parts else None
    if isinstance(first, datetime):
        return first.date(), False
    if isinstance(first, date):
        return first, False
    numbers = _numbers(first) if len(parts) == 1 else [_whole(part) for part in parts]
    if not numbers or numbers[0] is None:
        return None, False
    year, month, day = (*numbers, None, None)[:3]
    try:
        if month is None:
            return date(year or 0, _MIDDLE_MONTH, 1), True
        return date(year or 0, month, day or _MIDDLE_DAY), day is None
    except ValueError:
        return None, False


def is_unreadable(day: date | None, *written: object) -> bool:
    """Whether something is written for a day, and no day could be read of it."""
    return day is None and any(str(one).strip().casefold() not in _NOTHING for one in written)


def read_number(value: object) -> float | None:
    """A number, also with a decimal comma; None for text."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(str(value).strip().replace(",", "."))
    except ValueError:
        return None


def _numbers(value: object) -> list[int | None]:
    found = _YEAR_FIRST.fullmatch(str(value or "").strip())
    return [] if found is None else [_whole(part) for part in found.groups()]


def _whole(value: object) -> int | None:
    number = read_number(value)
    return None if number is None or not isfinite(number) else int(number)
