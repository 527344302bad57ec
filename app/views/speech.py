"""How the pages speak: the language in force, its sentences, numbers and dates."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING

import streamlit as st
from babel.dates import format_date, format_datetime
from babel.numbers import format_decimal, format_percent

from app.services import services
from fedpet.messages import LANGUAGES, translator
from reports.edition import Edition

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from fedpet.messages import Language, Message

LANGUAGE_KEY = "language"  # of the widget that chooses it, and of the parameter in the page's address


@dataclass(frozen=True)
class Speech:
    """One language."""

    language: Language

    @cached_property
    def text(self) -> Callable[[str], str]:
        """The gettext function `_`, for sentences without values."""
        return translator(self.language)

    def say(self, message: Message) -> str:
        """Say a message, its numbers written as the language does."""
        return Edition(self.language).say(message)

    def number(self, value: float | None, digits: int = 1) -> str:
        """A number with that many decimals; a dash where it is not known."""
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

    def day(self, written: str) -> str:
        """A day given as YYYY-MM-DD; a dash where it is not known."""
        return format_date(date.fromisoformat(written), format="medium", locale=self.language) if written else "–"

    def moment(self, value: datetime) -> str:
        """A day and time on this machine's clock."""
        return format_datetime(value.astimezone(), format="short", locale=self.language)


def speech() -> Speech:
    """The language that the user chose, or the configured one."""
    chosen = st.session_state.get(LANGUAGE_KEY)
    return Speech(next((language for language in LANGUAGES if language == chosen), services().settings.language))
