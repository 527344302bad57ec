"""How a notebook shows a value: a small HTML table, with a picture beside it. In English, like names in the code."""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def html_table(title: str, rows: Iterable[Sequence[str]], *, header: Sequence[str] = (), png: bytes = b"") -> str:
    """A table under a title; every cell is escaped.

    Args:
        title: its caption.
        rows: cells, from left to right.
        header: names of the columns; () for a table of names and values.
        png: a picture to the left of the table; b"" for none.
    """
    lines = [_row(header, "th")] if header else []
    lines += [_row(row, "td") for row in rows]
    caption = f'<caption style="text-align: left; font-weight: bold">{escape(title)}</caption>'
    table = f"<table>{caption}{''.join(lines)}</table>"
    if not png:
        return table
    source = f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
    image = f'<img src="{source}" alt="{escape(title)}" style="max-height: 24em">'
    return f'<div style="display: flex; gap: 1em; align-items: flex-start">{image}{table}</div>'


def _row(cells: Iterable[str], tag: str) -> str:
    inside = "".join(f'<{tag} style="text-align: left">{escape(cell)}</{tag}>' for cell in cells)
    return f"<tr>{inside}</tr>"
