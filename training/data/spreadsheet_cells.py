"""Cells of the tables that a hospital opens in a spreadsheet: what they hold must not be run as a formula."""

from __future__ import annotations

import re
from typing import Final

_RUN: Final = re.compile(r"'*[=+\-@\t\r\n]")  # with what a spreadsheet begins a formula, or skips to one
_NUMBER: Final = re.compile(r"[+-]?\d+(?:[.,]\d+)?(?:[eE][+-]?\d+)?")


def safe_cell(value: str) -> str:
    """The text so that a spreadsheet shows it and does not run it; numbers such as -0.5 stay as they are.

    An apostrophe is put before it, which `fedpet.clinical.tabular` takes off again: a value is read back as it was.

    Args:
        value: of the cell.
    """
    if _RUN.match(value) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value
