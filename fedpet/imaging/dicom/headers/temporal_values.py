"""The strict reader of dates and times: value representations DA, TM and DT (DICOM PS3.5 6.2).

A text is understood exactly or raises `UnreadableValueError`; nothing is guessed, and no part of a text is left aside.
Understood are the standard's forms, those of ACR-NEMA that PS3.5 asks readers to know (`2024.03.05`, `09:00:00`), and
forms that exporters write: ISO 8601 with its T, a space between date and time, hyphens and colons, a `Z` or `+01:00`;
any number of decimals; `HHMMSSffffff` without its point. Decimals beyond the microsecond are cut off.

Not read, although the standard allows them: a time without minutes and a date-time without a time of day, since decay
over an unknown part of an hour cannot be corrected. Ambiguous texts are not read either, such as five digits that lost
a leading zero, `05/03/2024`, or twelve digits that may be a date-time as well.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta, timezone
from functools import lru_cache
from typing import Final

YEARS: Final = range(1000, 9999)  # four digits, and room to move a date by years or count a day on
_RECENT_YEARS: Final = range(1900, 2200)
_PADDING: Final = " \0\t\r\n"
_DATE: Final = r"(?P<year>\d{4})(?P<mark>[.\-/]?)(?P<month>\d\d)(?P=mark)(?P<day>\d\d)"
_CLOCK: Final = (
    r"(?:(?P<hour>\d\d)(?P<minute>\d\d)(?:(?P<second>\d\d)(?:[.,](?P<fraction>\d*)|(?P<joined>\d{6}))?)?"
    r"|(?P<hour_>\d{1,2}):(?P<minute_>\d\d)(?::(?P<second_>\d\d)(?:[.,](?P<fraction_>\d*))?)?)"
)
_ZONE: Final = r"(?: ?(?P<zone>Z|(?P<sign>[+-])(?P<hours>\d\d)(?::?(?P<minutes>[0-5]\d))?))?"
_DA: Final = re.compile(_DATE)
_TM: Final = re.compile(f"T?{_CLOCK}", re.IGNORECASE)
_DT: Final = re.compile(rf"{_DATE}(?P<between>T| +|)(?:{_CLOCK}){_ZONE}", re.IGNORECASE)
_OFFSETS: Final = timedelta(hours=-12), timedelta(hours=14)  # PS3.5 6.2


class UnreadableValueError(ValueError):
    """A text that is no date or time, or not certainly one."""


@lru_cache(maxsize=1024)
def read_date(text: str) -> date:
    """A DA.

    Args:
        text: as written; blanks and zero bytes around it do not count.

    Raises:
        UnreadableValueError: not a date of the years 1000 to 9998 in year, month, day.
    """
    return _date(_match(_DA, text))


@lru_cache(maxsize=8192)
def read_time(text: str) -> time:
    """A TM, without a time zone; a leap second is the second before.

    Args:
        text: as written; blanks and zero bytes around it do not count.

    Raises:
        UnreadableValueError: not a time of day with hours and minutes.
    """
    found = _match(_TM, text)
    if found["joined"] and _is_date_time(text):
        raise UnreadableValueError("twelve digits that may be a date and time")
    return _time(found)


@lru_cache(maxsize=8192)
def read_date_time(text: str) -> datetime:
    """A DT: with a time zone where it states its offset from UTC, else without.

    Args:
        text: as written; blanks and zero bytes around it do not count.

    Raises:
        UnreadableValueError: not a date with a time of day, or an offset beyond -1200 to +1400.
    """
    found = _match(_DT, text)
    if found["mark"] and not found["between"]:
        raise UnreadableValueError("nothing between date and time")
    return datetime.combine(_date(found), _time(found), _zone(found))


@lru_cache(maxsize=64)
def read_utc_offset(text: str) -> timezone:
    """An offset from UTC as `&ZZXX` (PS3.3 C.12.1.1.8), `+01:00` or `Z`.

    Raises:
        UnreadableValueError: another form, or beyond -1200 to +1400.
    """
    found = re.fullmatch(_ZONE, text.strip(_PADDING), re.IGNORECASE)
    zone = _zone(found) if found else None
    if zone is None:
        raise UnreadableValueError("no offset from UTC")
    return zone


def _match(form: re.Pattern[str], text: str) -> re.Match[str]:
    found = form.fullmatch(text.strip(_PADDING)) if text.isascii() else None
    if found is None:
        raise UnreadableValueError("another form")
    return found


def _date(found: re.Match[str]) -> date:
    year = int(found["year"])
    if year not in YEARS:
        raise UnreadableValueError("a year that no examination is of")
    try:
        return date(year, int(found["month"]), int(found["day"]))
    except ValueError as error:
        raise UnreadableValueError("no day of the calendar") from error


def _time(found: re.Match[str]) -> time:
    hour, minute, second, fraction = (
        found[name] or found[f"{name}_"] or "" for name in ("hour", "minute", "second", "fraction")
    )
    microsecond = (found["joined"] or fraction).ljust(6, "0")[:6]
    try:
        return time(int(hour), int(minute), 59 if second == "60" else int(second or 0), int(microsecond))
    except ValueError as error:
        raise UnreadableValueError("no time of day") from error


def _zone(found: re.Match[str]) -> timezone | None:
    if not found["zone"]:
        return None
    if not found["sign"]:
        return timezone(timedelta(0))
    offset = timedelta(hours=int(found["hours"]), minutes=int(found["minutes"] or 0))
    if found["sign"] == "-":
        if not offset:  # ISO 8601 and PS3.5 rule it out; elsewhere it means that the offset is not known
            raise UnreadableValueError("an offset of minus zero")
        offset = -offset
    if not _OFFSETS[0] <= offset <= _OFFSETS[1]:
        raise UnreadableValueError("an offset from UTC that no place has")
    return timezone(offset)


def _is_date_time(text: str) -> bool:
    try:
        return read_date_time(text).year in _RECENT_YEARS
    except UnreadableValueError:
        return False
