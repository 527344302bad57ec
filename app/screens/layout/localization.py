"""The language of the pages: its sentences, numbers and dates."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING

import streamlit as st
from babel.dates import format_date, format_datetime
from babel.numbers import format_decimal, format_percent

from app.services import services
from fedpet.core.messages import LANGUAGES, gettext_for
from reports.locale import Locale

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from fedpet.core.messages import Language, Message

LANGUAGE_KEY = "language"  # of the widget that chooses it, and of the parameter in the page's address


@dataclass(frozen=True)
class Localization:
    """French or English, with the numbers and dates of that language."""

    language: Language

    @cached_property
    def text(self) -> Callable[[str], str]:
        """The gettext function `_`, for sentences without values."""
        return gettext_for(self.language)

    def translate(self, message: Message) -> str:
        """A message in this language, with its number format."""
        return Locale(self.language).translate(message)

    def titled(self, title: str) -> str:
        """A title with its colon, before which French has a no-break space."""
        return f"{title}\u00a0:" if self.language == "fr" else f"{title}:"

    def number(self, value: float | None, digits: int = 1) -> str:
        """A number with that many decimals; a dash where it is unknown."""
        if value is None:
            return "–"
        return format_decimal(value, format="#,##0" + ("." + "0" * digits if digits else ""), locale=self.language)

    def signed(self, value: float, digits: int = 2) -> str:
        """A number with its sign, also where it is positive; none where it rounds to 0."""
        rounded = round(value, digits) or 0.0
        written = self.number(rounded, digits).replace("-", "−")
        return f"+{written}" if rounded > 0 else written

    def percent(self, value: float) -> str:
        """A fraction as whole percent."""
        return format_percent(value, format="#,##0 %" if self.language == "fr" else "#,##0%", locale=self.language)

    def size(self, count: int) -> str:
        """A number of bytes, in MB or GB."""
        mega, giga = ("Mo", "Go") if self.language == "fr" else ("MB", "GB")
        large = count >= 1e9
        return f"{self.number(count / (1e9 if large else 1e6))} {giga if large else mega}"

    def day(self, written: str) -> str:
        """A day given as YYYY-MM-DD; a dash where it is unknown."""
        return format_date(date.fromisoformat(written), format="medium", locale=self._locale) if written else "–"

    def scanner_time(self, value: datetime) -> str:
        """A day and time on the clock of the scanner, to the second."""
        return f"{format_date(value, self._day_format, locale=self._locale)} {value:%H:%M:%S}"

    def moment(self, value: datetime) -> str:
        """A day and time on this machine's clock."""
        return format_datetime(value.astimezone(), f"{self._day_format} HH:mm", locale=self._locale)

    @property
    def _locale(self) -> str:
        return "fr_FR" if self.language == "fr" else "en_GB"

    @property
    def _day_format(self) -> str:
        """Day before month in either language; in English the month is a word, since a number would be ambiguous."""
        return "dd/MM/yyyy" if self.language == "fr" else "d MMM yyyy"


def localization() -> Localization:
    """The language that the user chose, else the configured one."""
    chosen = st.session_state.get(LANGUAGE_KEY)
    return Localization(next((language for language in LANGUAGES if language == chosen), services().settings.language))
