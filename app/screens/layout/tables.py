"""A plain table of words, which a screen reader and a narrow window can both use."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import streamlit as st

if TYPE_CHECKING:
    from collections.abc import Iterable


def table(headings: Iterable[str], rows: Iterable[Iterable[str]], *, label: str) -> None:
    """Draw rows below their headings; `label` names the region, which scrolls where it is large."""
    table_of(headings, (f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows), label=label)


def table_of(headings: Iterable[str], rows: Iterable[str], *, label: str) -> None:
    """The same, of rows that are HTML."""
    head = "".join(f"<th scope='col'>{escape(heading)}</th>" for heading in headings)
    st.html(
        f"<div class='fp-scroll' tabindex='0' role='region' aria-label='{escape(label)}'>"
        f"<table class='fp'><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
