"""The explanation: attribution and its sanity checks, terms of the score, established markers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reportlab.lib.units import mm
from reportlab.platypus import KeepTogether, Spacer

from fedpet.core.messages import Message
from fedpet.imaging.study import CheckStatus
from inference.encoding import input_label, term_label
from reports.clinical_markers import markers
from reports.labels import LEVELS, inline
from reports.pdf.attribution import attribution_figure
from reports.pdf.charts import bars
from reports.pdf.first_page import effects, points
from reports.pdf.style import VERMILION, WIDTH, Heading, columns, grid, panel, paragraph, splitting
from reports.pdf.tagging import Figure

if TYPE_CHECKING:
    from reportlab.platypus import Flowable

    from explain.explanation import Explanation, ScoreTerm
    from reports.content import ReportContent
    from reports.locale import Locale

_SHOWN = 8  # terms in the chart; the others are summed
_EFFECTS = 14  # in a table: a cell cannot go on to the next page
_CHART = 105 * mm


def explanation(content: ReportContent, locale: Locale) -> list[Flowable]:
    """The attribution where every sanity check passed, the checks, and the terms of the score."""
    _ = locale.text
    if content.prediction.abstained is not None:
        return []
    found, heading = content.explanation, Heading(_("Map of the explanation"))
    shown = (
        [paragraph(_("No attribution map was computed."), "body")] if found is None else _map(content, found, locale)
    )
    parts: list[Flowable] = [KeepTogether([heading, *shown, Spacer(0, 2 * mm)])]
    if found is not None and found.terms:
        parts.insert(0, KeepTogether(_effects(content, found, locale)))
    terms = _terms(content, locale)
    values = "; ".join(f"{name}: {locale.decimal(value, 2, sign=True)}" for name, value in terms)
    chart = Figure(bars(terms, locale, width=_CHART), values)
    key = (
        _(
            "A positive term raises the risk. Log-hazard scale, before calibration, against the reference patient"
            " without lesions."
        )
        if _by_part(content)
        else _("A positive term raises the risk. Log-hazard scale, before calibration, each input against its mean.")
    )
    right = [] if found is None else _gates(found, locale)
    beside = columns([[chart, paragraph(key, "quiet")], "", right], [_CHART, 5 * mm, WIDTH - _CHART - 5 * mm])
    return [*parts, KeepTogether([Heading(_("Terms of the score")), beside])]


def _effects(content: ReportContent, found: Explanation, locale: Locale) -> list[Flowable]:
    """What each part of the patient does to the answer, as measured, in two columns: lesions and organs, the record."""
    _ = locale.text
    measured = effects(found)
    record = [one for one in measured if one.name.startswith("variable:")]
    sides = ((_("Lesions and organs"), [one for one in measured if one not in record]), (_("Record"), record))
    tables: list[Flowable] = []
    for title, part in sides:
        rows = [[title, _("Points")], *([locale.translate(one.label), points(one, locale)] for one in part[:_EFFECTS])]
        tables.append(grid(rows, [70 * mm, 16 * mm], numbers_from=1))
    meaning = _(
        "Points: the probability of being progression-free at 12 months with this part of the patient, minus that"
        " without it (a lesion left out, a variable as in the reference patient). Measured one by one: lesions and what"
        " is common to them add up, the rest need not. They are not causes. Effects below half a point are left out."
    )
    beside = columns([tables[0], "", tables[1]], [86 * mm, 8 * mm, 86 * mm])
    said = [paragraph(meaning, "quiet"), beside]
    if missing := [inline(locale.translate(input_label(name))) for name in content.prediction.missing]:
        lacking = Message("Missing, so taken as in the reference patient, with a wider interval: {names}.",
                          names=", ".join(missing))  # fmt: skip
        said.append(paragraph(locale.translate(lacking), "small"))
    return [Heading(_("Why: what each part does to the answer")), *said]


def _map(content: ReportContent, found: Explanation, locale: Locale) -> list[Flowable]:
    _ = locale.text
    if not found.reliable:
        warning = _("Attribution map not reliable: at least one gate failed, so the map is not shown.")
        why = [paragraph(locale.translate(gate.reason), "small") for gate in found.gates if not gate.passed]
        return [panel([paragraph(f"✗ {warning}", "strong"), *why], WIDTH, edge=VERMILION)]
    outside = Message(
        "Influential areas, not causes. Share of the attribution outside the lesions: {outside}. Method: {method}. From"
        " the front, and in slices through the lesions with the largest shares.",
        outside=locale.percent(found.lesion_share.get(0, 0.0)),
        method=found.description or found.method,
    )
    caption = locale.translate(outside)
    return [paragraph(caption, "strong"), attribution_figure(content, found, caption, locale)]


def _gates(found: Explanation, locale: Locale) -> list[Flowable]:
    _ = locale.text
    error = Message(
        "Completeness error: {error}.", error=locale.decimal(100 * found.completeness_error, 2) + locale.percent_sign
    )
    verdicts: list[Flowable] = [paragraph(_("Gates of the attribution map"), "strong"), Spacer(0, 1 * mm)]
    for gate in found.gates:
        mark, word = LEVELS[CheckStatus.PASS if gate.passed else CheckStatus.FAIL]
        verdicts.append(
            paragraph(
                f"{mark} {locale.translate(word)} – {locale.translate(gate.reason)}",
                "small" if gate.passed else "small_strong",
            )
        )
        verdicts.append(Spacer(0, 0.8 * mm))
    return [*verdicts, paragraph(locale.translate(error), "quiet")]


def _by_part(content: ReportContent) -> tuple[ScoreTerm, ...]:
    """The terms of the explanation, against the patient without lesions; none where it is not reliable."""
    found = content.explanation
    return found.terms if found is not None and found.reliable else ()


def _terms(content: ReportContent, locale: Locale) -> list[tuple[str, float]]:
    """The largest terms by size, and the sum of the others; terms that are exactly 0 are left out."""
    by_part = _by_part(content)
    values = {one.name: one.score for one in by_part} or content.prediction.contributions
    labels = {one.name: one.label for one in by_part}
    ordered = sorted(values.items(), key=lambda term: (-abs(term[1]), term[0]))
    shown = [
        (locale.translate(labels.get(name) or term_label(name)), value) for name, value in ordered[:_SHOWN] if value
    ]
    if rest := [value for _name, value in ordered[_SHOWN:] if value]:
        other = Message("Other terms ({count})", count=len(rest))
        shown.append((locale.translate(other), sum(rest)))
    return shown


def comparators(content: ReportContent, locale: Locale) -> list[Flowable]:
    """Published scores, PD-L1 and TMTV: markers that do not depend on the model."""
    _ = locale.text
    rows = [[_("Comparator"), _("This patient"), _("Reference")]]
    rows += [
        [locale.translate(one.name), locale.translate(one.value), one.reference if isinstance(one.reference, str)
         else locale.translate(one.reference)]
        for one in markers(content.record, content.prediction.quantities.tmtv_ml)
    ]  # fmt: skip
    table = grid(rows, [74 * mm, 68 * mm, 38 * mm])
    return splitting(_("Established markers, without the model"), table)
