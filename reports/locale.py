"""Sentences, numbers and dates of a report in one language."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from babel.dates import format_date, format_datetime
from babel.numbers import format_decimal

from fedpet.core.messages import Message, catalogue, translate_message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fedpet.core.messages import Language

_THIN_SPACE, _NO_BREAK = "\u202f", "\u00a0"
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_ISO_DAY = re.compile(r"(19|20)\d\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])")
_BEFORE_PERCENT = re.compile(r"(?<=\d)[ \u00a0\u202f](?=%)")
_BEFORE_SIGN = re.compile(r" (?=[:;?!%»])|(?<=«) ")


class _Number(float):
    """A number inside a sentence: no "-0.0", and powers of ten as people write them."""

    def __format__(self, spec: str) -> str:
        written, _, exponent = super().__format__(spec).partition("e")
        if exponent:
            power = f"10{str(int(exponent)).translate(_RAISED)}"
            return power if written == "1" else f"{written}{_NO_BREAK}×{_NO_BREAK}{power}"
        return written.replace("-", "−") if re.search(r"[1-9]", written) else written.lstrip("-")


class _FrenchNumber(_Number):
    """The same with the decimal comma, and a thin space before the percent sign."""

    def __format__(self, spec: str) -> str:
        return super().__format__(spec).replace(",", _THIN_SPACE).replace(".", ",").replace("%", f"{_THIN_SPACE}%")


@dataclass(frozen=True)
class Locale:
    """French or English, with the numbers of that language."""

    language: Language

    def text(self, sentence: str) -> str:
        """The gettext function, called `_` where it is used."""
        return self._spaced(catalogue(self.language).gettext(sentence))

    def translate(self, message: Message) -> str:
        """A message with its numbers and dates (values written YYYY-MM-DD) in the language's format."""
        number = _FrenchNumber if self.language == "fr" else _Number
        return self._spaced(translate_message(self.language)(_localised(message, number, self.day)))

    def decimal(self, x: float, digits: int = 1, *, sign: bool = False) -> str:
        """A number with `digits` decimals, grouped thousands, and "+" before positive ones where `sign`."""
        pattern = "#,##0" + ("." + "0" * digits if digits else "")
        written = str(format_decimal(x, format=pattern, locale=self.language)).replace("-", "−")
        return f"+{written}" if sign and x > 0 else written

    def percent(self, p: float) -> str:
        """A probability (0 to 1) in whole per cent; "<1" or ">99" where rounding would show 0 or 100."""
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
        """The percent sign, after a thin space in French."""
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

    def listed(self, parts: Iterable[str]) -> str:
        """Parts of a list, separated by semicolons."""
        return self._spaced((" ; " if self.language == "fr" else "; ").join(parts))

    def _spaced(self, sentence: str) -> str:
        """No line begins with a sign that French separates by a space; English has none before "%"."""
        sentence = sentence.replace(" -- ", " – ")  # as headers write a dash
        return _BEFORE_SIGN.sub(_NO_BREAK, sentence) if self.language == "fr" else _BEFORE_PERCENT.sub("", sentence)

    @property
    def _locale(self) -> str:
        return "fr_FR" if self.language == "fr" else "en_GB"


class _Integer(int):
    """A whole number, which a sentence may ask for with decimals."""

    number: type[_Number] = _Number

    def __format__(self, spec: str) -> str:
        return format(self.number(self), spec) if spec[-1:] in {"e", "f", "g", "%"} else self._grouped(spec)

    def _grouped(self, spec: str) -> str:
        """Thousands grouped where the sentence asks for nothing else."""
        return super().__format__(spec or ",")


class _FrenchInteger(_Integer):
    number = _FrenchNumber

    def _grouped(self, spec: str) -> str:
        return super()._grouped(spec).replace(",", _THIN_SPACE)


def _localised(message: Message, number: type[_Number], day: Callable[[str], str]) -> Message:
    """The same message with every number and date written as the language does."""
    integer = _FrenchInteger if number is _FrenchNumber else _Integer

    def wrap(value: Any) -> Any:  # noqa: ANN401 - what a message carries
        if isinstance(value, Message):
            return _localised(value, number, day)
        if isinstance(value, str):
            return day(value) if _ISO_DAY.fullmatch(value) else value
        if isinstance(value, int) and not isinstance(value, bool):
            return integer(value)
        return number(value) if isinstance(value, float) else value

    return message.with_values({name: wrap(value) for name, value in message.values.items()})
