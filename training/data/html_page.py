"""One self-contained HTML page in French and English: both in one file, without scripts, the reader switches."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

from babel.dates import format_date
from babel.numbers import format_decimal

from fedpet.core.messages import LANGUAGES, Message, translate_message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import date
    from pathlib import Path

    from fedpet.core.messages import Language

    Cell = str | tuple[str, str]  # text, and with it a class of the style sheet

_NAMES: Final[dict[Language, str]] = {"fr": "Français", "en": "English"}
_ISO_DATE: Final = re.compile(r"\b(\d{4})-(\d{2})-(\d{2})\b")
_DECIMAL_POINT: Final = re.compile(r"(?<![\d.])(\d+)\.(\d+)(?!\d|\.\d)")
_STYLE: Final = """
:root{color-scheme:light}body{font:15px/1.5 system-ui,sans-serif;color:#1d2730;max-width:1280px;margin:1.2rem auto;
padding:0 1rem}h1{font-size:1.6rem;margin:.2rem 0 .6rem}h2{font-size:1.2rem;margin:2rem 0 .5rem;border-bottom:2px solid
#0b6e99;padding-bottom:.15rem}.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.86rem;margin:.4rem 0 1rem;
font-variant-numeric:tabular-nums}caption{text-align:left;color:#56646f;padding-bottom:.3rem}th,td{padding:.3rem .7rem;
border-bottom:1px solid #d8dee3;text-align:left;vertical-align:top;white-space:pre-line}thead th{background:#eef3f6}
tbody th{white-space:nowrap}
.num{text-align:right}.good{color:#1c6b34;font-weight:600}.bad{color:#a12a1e;font-weight:600}.odd{color:#7a5200;
font-weight:600}.muted{color:#56646f}.private{background:#fff3d6;border:1px solid #c99a2e;padding:.5rem .9rem;
font-weight:600}.cards{display:flex;flex-wrap:wrap;gap:.8rem;margin:1rem 0;padding:0;list-style:none}.cards li{border:
1px solid #d8dee3;border-radius:6px;padding:.5rem 1rem;min-width:8rem}.cards b{display:block;font-size:1.7rem;
line-height:1.2}summary{cursor:pointer;font-weight:600;margin:.6rem 0}.language{float:right}.language label{
margin:0 .7rem 0 .2rem}body:has(#show-fr:checked) main[lang=en],body:has(#show-en:checked) main[lang=fr]{display:none}
"""


@dataclass(frozen=True)
class Words:
    """How one language says sentences, numbers and days."""

    language: Language

    def say(self, message: Message) -> str:
        """The sentence, with the days and numbers in it as the language writes them."""
        text = translate_message(self.language)(message)
        if self.language == "fr":
            text = _ISO_DATE.sub(r"\3/\2/\1", text)
            text = _DECIMAL_POINT.sub(r"\1,\2", text)
        return text

    def number(self, value: float, digits: int = 0) -> str:
        """With so many decimals, and the separators of the language."""
        pattern = "#,##0" + ("." + "0" * digits if digits else "")
        return str(format_decimal(round(value, digits), format=pattern, locale=self.language))

    def percent(self, share: float) -> str:
        """A share of 1, in whole per cent."""
        sign = "\u202f%" if self.language == "fr" else "%"
        return f"{self.number(100 * share)}{sign}"

    def day(self, day: date | None) -> str:
        """A day; "" for none."""
        return (
            ""
            if day is None
            else str(format_date(day, format="short" if self.language == "fr" else "yyyy-MM-dd", locale=self.language))
        )


def bilingual_page(title: Message, body: Callable[[Words], str], *, first: Language) -> str:
    """The page.

    Args:
        title: of the page.
        body: the HTML of one language.
        first: language that is shown first.
    """
    switch = "".join(
        f'<input type="radio" name="language" id="show-{one}"{" checked" if one == first else ""}>'
        f'<label for="show-{one}" lang="{one}">{_NAMES[one]}</label>'
        for one in LANGUAGES
    )
    mains = "".join(
        f'<main lang="{one}"><h1>{escape(Words(one).say(title))}</h1>{body(Words(one))}</main>' for one in LANGUAGES
    )
    return (
        f'<!doctype html>\n<html lang="{first}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"{_generator(title)}"
        f"<title>{escape(Words(first).say(title))}</title><style>{_STYLE}</style></head><body>"
        f'<header><form class="language">{switch}</form></header>{mains}</body></html>\n'
    )


def is_page(path: Path, title: Message) -> bool:
    """Whether a file is a page of this title, made by `bilingual_page`."""
    mark = _generator(title).encode()
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return mark in file.read(1024)


def _generator(title: Message) -> str:
    """What tells a page of ours from any other file."""
    return f'<meta name="generator" content="fedpet: {escape(str(title))}">'


def heading(text: str) -> str:
    """A heading of the second level."""
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str, style: str = "") -> str:
    """A paragraph."""
    return f'<p class="{style}">{escape(text)}</p>' if style else f"<p>{escape(text)}</p>"


def cards(numbers: Iterable[tuple[str, str, str]]) -> str:
    """Large numbers: value, what it counts, class."""
    items = (f"<li><b{_class(style)}>{escape(value)}</b>{escape(label)}</li>" for value, label, style in numbers)
    return f'<ul class="cards">{"".join(items)}</ul>'


def table(header: Sequence[str], rows: Iterable[Sequence[str | tuple[str, str]]], caption: str = "") -> str:
    """A table whose first column names the row; every cell is escaped."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "".join(f"<tr>{_first(row[0])}{''.join(map(_cell, row[1:]))}</tr>" for row in rows)
    said = f"<caption>{escape(caption)}</caption>" if caption else ""
    inside = f"{said}<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="wide" tabindex="0"><table>{inside}</table></div>'


def folded(summary: str, inside: str) -> str:
    """Something that is opened by its summary."""
    return f"<details><summary>{escape(summary)}</summary>{inside}</details>"


def _first(cell: Cell) -> str:
    text, style = cell if isinstance(cell, tuple) else (cell, "")
    return f'<th scope="row"{_class(style)}>{escape(text)}</th>'


def _cell(cell: Cell) -> str:
    text, style = cell if isinstance(cell, tuple) else (cell, "")
    return f"<td{_class(style)}>{escape(text)}</td>"


def _class(style: str) -> str:
    return f' class="{style}"' if style else ""
