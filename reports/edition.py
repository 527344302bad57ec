"""How a report speaks: sentences and numbers in one language."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from babel.dates import format_date, format_datetime
from babel.numbers import format_decimal

from fedpet.messages import Message, catalogue, say

if TYPE_CHECKING:
    from fedpet.messages import Language

_THIN_SPACE, _NO_BREAK = "\u202f", "\u00a0"
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_BEFORE_SIGN = re.compile(r" (?=[:;?!%»])|(?<=«) ")


class _Written(float):
    """A number inside a sentence: no "-0.0", and powers of ten as people write them."""

    def __format__(self, spec: str) -> str:
        written, _, exponent = super().__format__(spec).partition("e")
        if exponent:
            power = f"10{str(int(exponent)).translate(_RAISED)}"
            return power if written == "1" else f"{written}{_NO_BREAK}×{_NO_BREAK}{power}"
        return written.replace("-", "−") if re.search(r"[1-9]", written) else written.lstrip("-")


class _WithComma(_Written):
    """The same with the decimal comma."""

    def __format__(self, spec: str) -> str:
        return super().__format__(spec).replace(",", _THIN_SPACE).replace(".", ",")


@dataclass(frozen=True)
class Edition:
    """French or English, with the numbers of that language."""

    language: Language

    def translate(self, sentence: str) -> str:
        """The gettext function, called `_` where it is used."""
        return self._spaced(catalogue(self.language).gettext(sentence))

    def say(self, message: Message) -> str:
        """A message with its numbers in the language's format."""
        number = _WithComma if self.language == "fr" else _Written
        return self._spaced(say(self.language)(_localised(message, number)))

    def decimal(self, x: float, digits: int = 1, *, sign: bool = False) -> str:
        """A number with `digits` decimals, grouped thousands, and "+" before positive ones where `sign`."""
        pattern = "#,##0" + ("." + "0" * digits if digits else "")
        written = str(format_decimal(x, format=pattern, locale=self.language)).replace("-", "−")
        return f"+{written}" if sign and x > 0 else written

    def percent(self, p: float) -> str:
        """A probability (0 to 1) in whole per cent; "<1" or ">99" where it is neither 0 nor 1 but would look so."""
        if 0.0 < p < 0.005:
            return f"<1{self.percent_sign}"
        if 0.995 <= p < 1.0:
            return f">99{self.percent_sign}"
        return self.decimal(100 * p, 0) + self.percent_sign

    def interval(self, lower: float, upper: float) -> str:
        """Two probabilities (0 to 1) as a range in whole per cent."""
        return f"{self.decimal(100 * lower, 0)}–{self.decimal(100 * upper, 0)}{self.percent_sign}"

    @property
    def percent_sign(self) -> str:
        """With its space before, where the language has one."""
        return f"{_THIN_SPACE}%" if self.language == "fr" else "%"

    def day(self, iso: str) -> str:
        """A date written YYYY-MM-DD, in words; "" stays ""."""
        return str(format_date(date.fromisoformat(iso), "long", locale=self._locale)) if iso else ""

    def moment(self, iso: str) -> str:
        """A local date and time in ISO 8601, in words."""
        return str(format_datetime(datetime.fromisoformat(iso), "d MMMM y, HH:mm", locale=self._locale))

    def clock(self, moment: datetime) -> str:
        """A date and time to the second, in figures."""
        return str(format_datetime(moment, "dd/MM/y HH:mm:ss", locale=self._locale))

    def _spaced(self, sentence: str) -> str:
        """No line begins with a sign that French separates by a space."""
        return _BEFORE_SIGN.sub(_NO_BREAK, sentence) if self.language == "fr" else sentence

    @property
    def _locale(self) -> str:
        return "fr_FR" if self.language == "fr" else "en_GB"


def _localised(message: Message, number: type[_Written]) -> Message:
    """The same message with every fractional number written as the language does."""

    def wrap(value: Any) -> Any:  # noqa: ANN401 - what a message carries
        if isinstance(value, Message):
            return _localised(value, number)
        return number(value) if isinstance(value, float) else value

    return Message(message.template, **{name: wrap(value) for name, value in message.values.items()})
