"""The clinical record: what was given, what the model used, and what it missed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reportlab.lib.units import mm

from clinical.variables import VARIABLES
from fedpet.messages import Message
from inference.contract import default_contract
from reports.style import Heading, columns, grid, paragraph

if TYPE_CHECKING:
    from reportlab.platypus import Flowable

    from clinical.record import ClinicalRecord
    from reports.content import ReportContent
    from reports.edition import Edition

USED, GIVEN, MISSING = "●", "○", "✗"


def clinical_inputs(content: ReportContent, edition: Edition) -> list[Flowable]:
    """Two columns of variables with their values, marked as used, given only, or missing."""
    _ = edition.translate
    used = _used(content)
    lines = [
        _line(name, content, edition, used=name in used)
        for name in VARIABLES
        if getattr(content.record, name) is not None or name in content.prediction.missing
    ]
    half = (len(lines) + 1) // 2
    widths = [6 * mm, 50 * mm, 32 * mm]
    head = ["", _("Variable"), _("Value")]
    tables: list[str | Flowable | list[Flowable]] = [
        grid([head, *part], widths) if part else "" for part in (lines[:half], lines[half:])
    ]
    key = _("● used by the model – ○ given, not used – ✗ used by the model, missing: the model then takes its"
            " reference value and knows that the variable is missing")  # fmt: skip
    return [Heading(_("Clinical and biological data")), columns(tables, [92 * mm, 88 * mm]), paragraph(key, "quiet")]


def missing_line(content: ReportContent, edition: Edition) -> Flowable:
    """The missing inputs in one sentence, for the first page."""
    _ = edition.translate
    names = [edition.say(VARIABLES[name].label) for name in content.prediction.missing]
    if not names:
        return paragraph(_("No clinical variable of the model is missing."), "small")
    missing = Message("Clinical variables of the model that are missing: {names}.", names=", ".join(names))
    return paragraph(edition.say(missing), "small_strong")


def written(record: ClinicalRecord, name: str, edition: Edition) -> str:
    """The value of a variable with its unit, or "not given"."""
    _ = edition.translate
    value, variable = getattr(record, name), VARIABLES[name]
    if value is None:
        return _("not given")
    for choice in variable.choices:
        if choice.value == value:
            return edition.say(choice.label)
    digits = 0 if float(value).is_integer() else 1
    unit = "" if variable.unit is None else f" {edition.say(variable.unit)}"
    return f"{edition.decimal(value, digits)}{unit}"


def _line(name: str, content: ReportContent, edition: Edition, *, used: bool) -> list[str | Flowable | list[Flowable]]:
    _ = edition.translate
    missing = name in content.prediction.missing
    mark = MISSING if missing else USED if used else GIVEN
    value = _("missing") if missing else written(content.record, name, edition)
    return [mark, edition.say(VARIABLES[name].label), paragraph(value, "small_strong" if missing else "small")]


def _used(content: ReportContent) -> frozenset[str]:
    """Variables behind the terms of this prediction; none where the model abstained."""
    terms = (term for term in default_contract().terms if term.name in content.prediction.contributions)
    return frozenset(name for term in terms for name in term.variables)
