"""What an attribute of a header says: a value, zero, nothing, or a text that cannot be read; each has its own word."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from fedpet.core.messages import Message
from fedpet.imaging.dicom.headers.attributes import numbers, texts
from fedpet.imaging.dicom.headers.temporal_values import UnreadableValueError, read_date, read_date_time, read_time

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date, datetime, time

    from pydicom.dataset import Dataset

Value = TypeVar("Value")
_LONGEST_SHOWN = 32
_WORD = re.compile(r"[^\W\d_]{3,}")


@dataclass(frozen=True)
class Reading(Generic[Value]):
    """One attribute as read.

    Attributes:
        value: what it says; None where it is missing or cannot be read.
        text: as written, "" where the attribute is missing or empty.
    """

    value: Value | None = None
    text: str = ""

    @property
    def unreadable(self) -> bool:
        """Whether something is written that is no value."""
        return self.value is None and self.text != ""

    def problem(self, what: Message) -> Message | None:
        """Why there is no value, said of `what` ("the weight"); None where there is one other than zero."""
        if self.unreadable:
            return Message("{what} cannot be read (“{text}”).", what=what, text=shown(self.text))
        if self.value is None:
            return Message("{what} is missing.", what=what)
        return None if self.value else Message("{what} is zero.", what=what)


def number_reading(header: Dataset, keyword: str) -> Reading[float]:
    """A number; several values that differ cannot be read."""
    written = dict.fromkeys(texts(header, keyword))
    values = set(numbers(header, keyword))
    return Reading(values.pop() if len(values) == 1 else None, "\\".join(written))


def date_reading(header: Dataset, keyword: str) -> Reading[date]:
    """A DA."""
    return _temporal(header, keyword, read_date)


def time_reading(header: Dataset, keyword: str) -> Reading[time]:
    """A TM."""
    return _temporal(header, keyword, read_time)


def date_time_reading(header: Dataset, keyword: str) -> Reading[datetime]:
    """A DT, with a time zone where it states its offset from UTC."""
    return _temporal(header, keyword, read_date_time)


def shown(text: str) -> str:
    """A text of a header as it may be shown: words are left out, for damage can put a name anywhere."""
    cut = text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"
    return _WORD.sub("…", cut)


def _temporal(header: Dataset, keyword: str, read: Callable[[str], Value]) -> Reading[Value]:
    written = dict.fromkeys(texts(header, keyword))
    try:
        values = dict.fromkeys(map(read, written))
    except UnreadableValueError:
        values = {}
    return Reading(next(iter(values)) if len(values) == 1 else None, "\\".join(written))
