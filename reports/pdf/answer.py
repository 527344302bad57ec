"""The answer in detail: survival by month, every endpoint with what its interval covers, the third of the cohort."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from reportlab.lib.units import mm
from reportlab.platypus import KeepTogether, Spacer

from fedpet.core.messages import Message
from inference.prediction import RiskGroup
from reports.labels import ENDPOINTS, OVERALL_SURVIVAL, RISK_GROUPS, VERDICTS, meaning_of_interval, meaning_of_kept
from reports.pdf.charts import risk_boxes, survival_chart
from reports.pdf.style import Heading, columns, grid, paragraph
from reports.pdf.tagging import Figure

if TYPE_CHECKING:
    from reportlab.platypus import Flowable

    from inference.prediction import Prediction, SurvivalCurve
    from reports.content import ReportContent
    from reports.locale import Locale

_LEFT, _GAP, _RIGHT = 80 * mm, 5 * mm, 95 * mm


def answer_in_detail(content: ReportContent, locale: Locale) -> list[Flowable]:
    """Curve, endpoints and third; nothing where the model abstained."""
    prediction, curve = content.prediction, content.prediction.survival
    if prediction.abstained is not None or curve is None:
        return []
    _ = locale.text
    level = locale.percent(prediction.interval_level)
    alive = prediction.overall_survival
    notes = [
        Message("Line: this patient. Diamond: the whole training cohort. Band:"),
        meaning_of_interval(level, missing=prediction.missing, centre=prediction.centre),
    ]
    if any(one.verdict for one in prediction.endpoints):
        notes.append(meaning_of_kept(prediction.interval_level, by_outcome=prediction.centre is not None))
    if alive is not None:
        notes.append(Message("Dashed line: overall survival, a secondary endpoint that is not explained."))
    words = [Message("Progression-free survival by month: {points}", points=_in_words(curve, locale))]
    if alive is not None:
        words.append(Message("Overall survival by month: {points}", points=_in_words(alive.curve, locale)))
    shown = survival_chart(prediction, curve, locale, size=(_LEFT, 46 * mm))
    left = [Figure(shown, ". ".join(map(locale.translate, words)))]
    right = [_endpoints(prediction, locale), Spacer(0, 2 * mm), *_risk(prediction, locale)]
    said = paragraph(" ".join(locale.translate(part) for part in notes), "quiet")
    return [KeepTogether([Heading(_("The answer in detail")),
                          columns([left, "", right], [_LEFT, _GAP, _RIGHT]), said])]  # fmt: skip


def _in_words(curve: SurvivalCurve, locale: Locale) -> str:
    points = zip(curve.months, curve.probability, strict=True)
    return "; ".join(f"{locale.decimal(month)}: {locale.percent(p)}" for month, p in points)


def _risk(prediction: Prediction, locale: Locale) -> list[Flowable]:
    if prediction.risk_group is None:
        return []
    _ = locale.text
    groups: tuple[RiskGroup, ...] = get_args(RiskGroup)
    labels = [locale.translate(RISK_GROUPS[group]) for group in groups]
    return [
        Figure(
            risk_boxes(labels, groups.index(prediction.risk_group), width=_RIGHT),
            locale.translate(RISK_GROUPS[prediction.risk_group]),
        ),
        paragraph(_("Thirds of the training cohort by the model's score; upper: highest risk."), "quiet"),
        Spacer(0, 1.5 * mm),
    ]


def _endpoints(prediction: Prediction, locale: Locale) -> Flowable:
    _ = locale.text
    rows = [[_("Endpoint"), _("This patient"), _("Cohort"), _("Kept")]]
    rows += [
        [
            locale.translate(ENDPOINTS[endpoint.name]),
            f"{locale.percent(endpoint.probability)} ({locale.interval(endpoint.lower, endpoint.upper)})",
            locale.percent(endpoint.base_rate),
            locale.translate(VERDICTS[endpoint.verdict]) if endpoint.verdict else "–",
        ]
        for endpoint in prediction.endpoints
    ]
    widths = [32 * mm, 25 * mm, 15 * mm, 23 * mm]
    if (alive := prediction.overall_survival) is not None:
        found = f"{locale.percent(alive.probability)} ({locale.interval(alive.lower, alive.upper)})"
        rows.append([locale.translate(OVERALL_SURVIVAL), found, locale.percent(alive.base_rate), "–"])
    if not any(endpoint.verdict for endpoint in prediction.endpoints):
        rows, widths = [row[:-1] for row in rows], [54 * mm, 26 * mm, 15 * mm]
    return grid(rows, widths, numbers_from=1)
