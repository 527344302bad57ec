"""Why: the attribution and its gates, the terms of the score, and established scores beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reportlab.lib.units import mm
from reportlab.platypus import KeepTogether, Spacer

from explain.figures import saliency_figure
from fedpet.messages import Message
from imaging.study import Level
from inference.encoding import term_label
from reports.charts import bars
from reports.markers import markers
from reports.pictures import picture
from reports.style import VERMILION, WIDTH, Heading, columns, grid, panel, paragraph
from reports.tagging import Figure
from reports.wording import LEVELS

if TYPE_CHECKING:
    from reportlab.platypus import Flowable

    from explain.explanation import Explanation
    from reports.content import ReportContent
    from reports.edition import Edition

_SHOWN = 8  # terms in the chart; the rest is summed up
_CHART = 105 * mm


def explanation(content: ReportContent, edition: Edition) -> list[Flowable]:
    """The attribution where every gate passed, the verdicts of the gates, and the terms of the score."""
    _ = edition.translate
    if content.prediction.abstained is not None:
        return []
    found, heading = content.explanation, Heading(_("Explanation"))
    shown = (
        [paragraph(_("No attribution map was computed."), "body")] if found is None else _map(content, found, edition)
    )
    parts: list[Flowable] = [KeepTogether([heading, *shown, Spacer(0, 2 * mm)])]
    terms = _terms(content, edition)
    told = "; ".join(f"{name}: {edition.decimal(value, 2, sign=True)}" for name, value in terms)
    chart = Figure(bars(terms, edition, width=_CHART), told)
    key = _("A positive term raises the risk. Log-hazard scale, before calibration, against the reference patient.")
    right = [] if found is None else _gates(found, edition)
    beside = columns([[chart, paragraph(key, "quiet")], "", right], [_CHART, 5 * mm, WIDTH - _CHART - 5 * mm])
    return [*parts, KeepTogether([Heading(_("Terms of the score")), beside])]


def _map(content: ReportContent, found: Explanation, edition: Edition) -> list[Flowable]:
    _ = edition.translate
    if not found.reliable:
        warning = _("Attribution map not reliable: at least one gate failed, so the map is not shown.")
        return [panel([paragraph(f"✗ {warning}", "strong")], WIDTH, edge=VERMILION)]
    figure = saliency_figure(content.study, content.prediction.lesion_labels, found, language=edition.language)
    outside = Message(
        "Influential areas, not causes. {outside} of the attribution lies outside the lesions. Method: {method}. "
        "Printed in grey, the map shows strength, not direction.",
        outside=edition.percent(found.lesion_share.get(0, 0.0)),
        method=found.description or found.method,
    )
    told = edition.say(outside)
    return [picture(figure, told, width=WIDTH, height=68 * mm), paragraph(told, "quiet")]


def _gates(found: Explanation, edition: Edition) -> list[Flowable]:
    _ = edition.translate
    error = Message(
        "Completeness error: {error}.", error=edition.decimal(100 * found.completeness_error, 2) + edition.percent_sign
    )
    verdicts: list[Flowable] = [paragraph(_("Gates of the attribution map"), "strong"), Spacer(0, 1 * mm)]
    for gate in found.gates:
        mark, word = LEVELS[Level.PASS if gate.passed else Level.FAIL]
        verdicts.append(
            paragraph(
                f"{mark} {edition.say(word)} – {edition.say(gate.reason)}", "small" if gate.passed else "small_strong"
            )
        )
        verdicts.append(Spacer(0, 0.8 * mm))
    return [*verdicts, paragraph(edition.say(error), "quiet")]


def _terms(content: ReportContent, edition: Edition) -> list[tuple[str, float]]:
    """The largest terms by size, and the sum of the others; terms that are exactly 0 say nothing and are left out."""
    ordered = sorted(content.prediction.contributions.items(), key=lambda term: (-abs(term[1]), term[0]))
    shown = [(edition.say(term_label(name)), value) for name, value in ordered[:_SHOWN] if value]
    if rest := [value for _name, value in ordered[_SHOWN:] if value]:
        other = Message("Other terms ({count})", count=len(rest))
        shown.append((edition.say(other), sum(rest)))
    return shown


def comparators(content: ReportContent, edition: Edition) -> list[Flowable]:
    """LIPI, GRIm, PD-L1 and TMTV: what is known without the model."""
    _ = edition.translate
    rows = [[_("Comparator"), _("This patient"), _("Reference")]]
    rows += [
        [edition.say(one.name), edition.say(one.value), one.reference if isinstance(one.reference, str)
         else edition.say(one.reference)]
        for one in markers(content.record, content.prediction.quantities.tmtv_ml)
    ]  # fmt: skip
    table = grid(rows, [74 * mm, 68 * mm, 38 * mm])
    return [KeepTogether([Heading(_("Established markers, without the model")), table])]
