"""The clinical record: which variables are known, used by the model, or missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reportlab.lib.units import mm
from reportlab.platypus import Flowable, Spacer

from fedpet.clinical.variables import VARIABLES
from fedpet.core.messages import Message
from inference.input_contract import default_contract
from inference.record_concordance import LABELS, with_days
from reports.labels import AGREEMENTS, confirmed_by
from reports.pdf.style import VERMILION, WIDTH, Heading, clip, columns, grid, panel, paragraph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fedpet.clinical.record import ClinicalRecord
    from inference.record_concordance import ComparedItem
    from reports.content import ReportContent
    from reports.locale import Locale

_LONGEST_REASON = 400  # characters
USED, KNOWN, MISSING = "●", "○", "✗"


def clinical_inputs(content: ReportContent, locale: Locale) -> list[Flowable]:
    """Two columns of variables with their values, marked as used, known but not used, or missing."""
    _ = locale.text
    used = _used(content)
    lines = [
        _line(name, content, locale, used=name in used)
        for name in VARIABLES
        if getattr(content.record, name) is not None or name in content.prediction.missing
    ]
    half = (len(lines) + 1) // 2
    widths = [13 * mm, 43 * mm, 32 * mm]
    head = [_("Use"), _("Variable"), _("Value")]
    tables: list[str | Flowable | list[Flowable]] = [
        grid([head, *part], widths) if part else "" for part in (lines[:half], lines[half:])
    ]
    key = _("● used by the model – ○ given, not used – ✗ used by the model, missing: the model then takes its"
            " reference value and knows that the variable is missing")  # fmt: skip
    return [Heading(_("Clinical and biological data")), columns(tables, [92 * mm, 88 * mm]), paragraph(key, "quiet")]


def contradictions(content: ReportContent, locale: Locale) -> list[Flowable]:
    """For the first page: what of the record contradicts the images, and who confirmed it; nothing where all fits."""
    found = content.concordance
    if found is None or not found.contradictions:
        return []
    _ = locale.text
    warning = _("The clinical record contradicts the images: the answer may be another patient’s.")
    differences = [
        locale.translate(
            Message(
                "{item}: {record} (record), {images} (images)",
                item=LABELS[item.name],
                record=_stated(item.record, locale),
                images=_stated(item.images, locale),
            )
        )
        for item in found.contradictions
    ]
    said = [paragraph(f"✗ {warning}", "strong"), paragraph(locale.listed(differences) + ".", "body")]
    if found.confirmed:
        said.append(paragraph(clip(locale.translate(confirmed_by(found)), _LONGEST_REASON), "strong"))
    return [panel(list[Flowable](said), WIDTH, edge=VERMILION), Spacer(0, 2 * mm)]


def concordance(content: ReportContent, locale: Locale) -> list[Flowable]:
    """Every item of the record that was compared with the images."""
    if content.concordance is None:
        return []
    _ = locale.text
    return [Heading(_("Record and images compared")), _compared(content.concordance.items, locale)]


def _compared(items: Sequence[ComparedItem], locale: Locale) -> Flowable:
    _ = locale.text
    rows = [[_("Item"), _("Record"), _("Images"), _("Comparison")]]
    for item in items:
        mark, word = AGREEMENTS[item.verdict]
        sides = (_stated(side, locale) for side in (item.record, item.images))
        rows.append([locale.translate(LABELS[item.name]), *sides, f"{mark} {locale.translate(word)}"])
    return grid(rows, [36 * mm, 54 * mm, 50 * mm, 34 * mm])


def _stated(value: Message | None, locale: Locale) -> str:
    _ = locale.text
    return _("not stated") if value is None else locale.translate(with_days(value, locale.day))


def value_text(record: ClinicalRecord, name: str, locale: Locale) -> str:
    """The value of a variable with its unit, or "not given"."""
    _ = locale.text
    value, variable = getattr(record, name), VARIABLES[name]
    if value is None:
        return _("not given")
    for choice in variable.choices:
        if choice.value == value:
            return locale.translate(choice.label)
    unit = "" if variable.unit is None else locale.translate(variable.unit)
    written = locale.decimal(value, _digits(value))
    return written + (locale.percent_sign if unit == "%" else f" {unit}" if unit else "")


def _digits(value: float) -> int:
    """As many decimals as were entered, up to three: ratios of rounded values would not match them."""
    written = f"{value:.3f}".rstrip("0")
    return len(written) - written.index(".") - 1


def _line(name: str, content: ReportContent, locale: Locale, *, used: bool) -> list[str | Flowable | list[Flowable]]:
    _ = locale.text
    missing = name in content.prediction.missing
    mark = MISSING if missing else USED if used else KNOWN
    value = _("missing value") if missing else value_text(content.record, name, locale)
    return [mark, locale.translate(VARIABLES[name].label), paragraph(value, "small_strong" if missing else "small")]


def _used(content: ReportContent) -> frozenset[str]:
    """The variables in the terms of this prediction; none where the model abstained."""
    terms = (term for term in default_contract().terms if term.name in content.prediction.contributions)
    return frozenset(name for term in terms for name in term.variables)
