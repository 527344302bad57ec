"""The first page: the answer and its uncertainty, or why there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from reportlab.lib.units import mm
from reportlab.platypus import Spacer

from explain.figures.case_figures import mip_with_lesions
from fedpet.core.messages import Message
from inference.prediction import RiskGroup
from reports.labels import ENDPOINTS, RISK_GROUPS, VERDICTS, meaning_of_answer, meaning_of_interval
from reports.pdf.charts import gauge, risk_boxes, survival_chart
from reports.pdf.images import embed_image
from reports.pdf.style import VERMILION, columns, grid, panel, paragraph
from reports.pdf.tagging import Figure

if TYPE_CHECKING:
    from reportlab.platypus import Flowable

    from inference.prediction import EndpointProbability, Prediction, SurvivalCurve
    from reports.content import ReportContent
    from reports.locale import Locale

_LEFT, _GAP, _RIGHT = 108 * mm, 5 * mm, 67 * mm


def answer(content: ReportContent, locale: Locale) -> list[Flowable]:
    """The answer or the abstention beside the projections of the PET."""
    prediction = content.prediction
    endpoint, curve = prediction.endpoint("pfs_12m"), prediction.survival
    if prediction.abstained is not None or endpoint is None or curve is None:
        left = _abstention(prediction, locale)
    else:
        left = _answered(prediction, endpoint, curve, locale)
    return [columns([left, "", _projections(content, locale)], [_LEFT, _GAP, _RIGHT])]


def _answered(
    prediction: Prediction, endpoint: EndpointProbability, curve: SurvivalCurve, locale: Locale
) -> list[Flowable]:
    _ = locale.text
    level = locale.percent(prediction.interval_level)
    interval = Message(
        "{level} interval: {interval}", level=level, interval=locale.interval(endpoint.lower, endpoint.upper)
    )
    base = Message("◇ Training cohort: {rate}", rate=locale.percent(endpoint.base_rate))
    verdict = endpoint.verdict and Message(
        "Answer at {level}: {answer}", level=level, answer=VERDICTS[endpoint.verdict]
    )
    headline = columns(
        [
            [
                paragraph(locale.percent(endpoint.probability), "answer"),
                *([] if verdict is None else [paragraph(locale.translate(verdict), "strong")]),
            ],
            [
                paragraph(_("Probability of being alive without progression 12 months after the first dose"), "lead"),
                paragraph(locale.translate(interval), "strong"),
                paragraph(locale.translate(base), "body"),
            ],
        ],
        [37 * mm, _LEFT - 43 * mm],
    )
    notes = [
        Message("Line: this patient. Diamond: the whole training cohort. Band:"),
        meaning_of_interval(level, missing=prediction.missing, centre=prediction.centre),
    ]
    if any(one.verdict for one in prediction.endpoints):
        notes.append(meaning_of_answer(level, by_outcome=prediction.centre is not None))
    scale = ". ".join(locale.translate(part) for part in (interval, base))
    return [
        panel([headline, Spacer(0, 2 * mm), Figure(gauge(endpoint, locale, width=_LEFT - 8 * mm), scale)], _LEFT),
        Spacer(0, 2 * mm),
        *_risk(prediction, locale),
        _endpoints(prediction, locale),
        Spacer(0, 2.5 * mm),
        Figure(survival_chart(prediction, curve, locale, size=(_LEFT, 38 * mm)), _curve_in_words(curve, locale)),
        paragraph(" ".join(locale.translate(part) for part in notes), "quiet"),
    ]


def _curve_in_words(curve: SurvivalCurve, locale: Locale) -> str:
    points = zip(curve.months, curve.probability, strict=True)
    values = "; ".join(f"{locale.decimal(month)}: {locale.percent(p)}" for month, p in points)
    return locale.translate(Message("Progression-free survival by month: {points}", points=values))


def _risk(prediction: Prediction, locale: Locale) -> list[Flowable]:
    if prediction.risk_group is None:
        return []
    _ = locale.text
    groups: tuple[RiskGroup, ...] = get_args(RiskGroup)
    labels = [locale.translate(RISK_GROUPS[group]) for group in groups]
    return [
        Figure(
            risk_boxes(labels, groups.index(prediction.risk_group), width=_LEFT),
            locale.translate(RISK_GROUPS[prediction.risk_group]),
        ),
        paragraph(_("Thirds of the training cohort by the model's score; upper: highest risk."), "quiet"),
        Spacer(0, 1.5 * mm),
    ]


def _endpoints(prediction: Prediction, locale: Locale) -> Flowable:
    _ = locale.text
    rows = [[_("Endpoint"), _("This patient"), _("Cohort"), _("Answer")]]
    rows += [
        [
            locale.translate(ENDPOINTS[endpoint.name]),
            f"{locale.percent(endpoint.probability)} ({locale.interval(endpoint.lower, endpoint.upper)})",
            locale.percent(endpoint.base_rate),
            locale.translate(VERDICTS[endpoint.verdict]) if endpoint.verdict else "–",
        ]
        for endpoint in prediction.endpoints
    ]
    widths = [45 * mm, 25 * mm, 16 * mm, 22 * mm]
    if not any(endpoint.verdict for endpoint in prediction.endpoints):
        rows, widths = [row[:-1] for row in rows], [62 * mm, 28 * mm, 18 * mm]
    return grid(rows, widths, numbers_from=1)


def _abstention(prediction: Prediction, locale: Locale) -> list[Flowable]:
    _ = locale.text
    quantities = prediction.quantities
    reason = locale.translate(prediction.abstained) if prediction.abstained else _("The model gave no answer.")
    lines: list[Flowable] = [
        paragraph(_("The model abstains"), "title", tag="H2"),
        Spacer(0, 2 * mm),
        paragraph(reason, "lead"),
        Spacer(0, 2 * mm),
        paragraph(
            _("No estimate is given for this patient: neither a survival curve nor a risk group. An abstention says"
              " nothing about the prognosis. The measurements of the images below remain valid where the checks pass."),
            "body",
        ),
    ]  # fmt: skip
    rows = [
        [_("Measurement"), _("Value")],
        [_("Total metabolic tumour volume (TMTV)"), f"{locale.decimal(quantities.tmtv_ml)} ml"],
        [_("Total lesion glycolysis (TLG)"), f"{locale.decimal(quantities.tlg)} g"],
        [_("SUVmax"), locale.decimal(quantities.suv_max) if quantities.lesions else "–"],
        [_("Number of lesions"), str(len(quantities.lesions))],
    ]
    return [panel(lines, _LEFT, edge=VERMILION), Spacer(0, 4 * mm), grid(rows, [75 * mm, 33 * mm], numbers_from=1)]


def _projections(content: ReportContent, locale: Locale) -> list[Flowable]:
    _ = locale.text
    figure = mip_with_lesions(content.study, content.prediction.lesion_labels, language=locale.language)
    caption = _(
        "Maximum intensity projections of the PET, from the front and from the left; lesions outlined and numbered."
    )
    return [embed_image(figure, caption, width=_RIGHT, height=112 * mm), paragraph(caption, "quiet")]
