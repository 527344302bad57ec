"""The first page: what is answered and how sure it is, or why nothing is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from reportlab.lib.units import mm
from reportlab.platypus import Spacer

from explain.figures import mip_with_lesions
from fedpet.messages import Message
from inference.prediction import RiskGroup
from reports.charts import gauge, risk_boxes, survival_chart
from reports.pictures import picture
from reports.style import VERMILION, columns, grid, panel, paragraph
from reports.tagging import Figure
from reports.wording import ENDPOINTS, RISK_GROUPS, VERDICTS, meaning_of_answer

if TYPE_CHECKING:
    from reportlab.platypus import Flowable

    from inference.prediction import EndpointProbability, Prediction, SurvivalCurve
    from reports.content import ReportContent
    from reports.edition import Edition

_LEFT, _GAP, _RIGHT = 108 * mm, 5 * mm, 67 * mm


def answer(content: ReportContent, edition: Edition) -> list[Flowable]:
    """The answer or the abstention beside the projections of the PET."""
    prediction = content.prediction
    endpoint, curve = prediction.endpoint("pfs_12m"), prediction.survival
    if prediction.abstained is not None or endpoint is None or curve is None:
        left = _abstention(prediction, edition)
    else:
        left = _answered(prediction, endpoint, curve, edition)
    return [columns([left, "", _projections(content, edition)], [_LEFT, _GAP, _RIGHT])]


def _answered(
    prediction: Prediction, endpoint: EndpointProbability, curve: SurvivalCurve, edition: Edition
) -> list[Flowable]:
    _ = edition.translate
    level = edition.percent(prediction.interval_level)
    interval = Message(
        "{level} interval: {interval}", level=level, interval=edition.interval(endpoint.lower, endpoint.upper)
    )
    base = Message("◇ Training cohort: {rate}", rate=edition.percent(endpoint.base_rate))
    verdict = endpoint.verdict and Message(
        "Answer at {level}: {answer}", level=level, answer=VERDICTS[endpoint.verdict]
    )
    headline = columns(
        [
            [
                paragraph(edition.percent(endpoint.probability), "answer"),
                *([] if verdict is None else [paragraph(edition.say(verdict), "strong")]),
            ],
            [
                paragraph(_("Probability of being alive without progression 12 months after the first dose"), "lead"),
                paragraph(edition.say(interval), "strong"),
                paragraph(edition.say(base), "body"),
            ],
        ],
        [37 * mm, _LEFT - 43 * mm],
    )
    explained = [
        Message(
            "Line: this patient. Band: {level} interval, from the uncertainty of the calibration; it does not cover"
            " what distinguishes two patients with the same data. Diamond: the whole training cohort.",
            level=level,
        )
    ]
    if any(one.verdict for one in prediction.endpoints):
        explained.append(meaning_of_answer(level))
    scale = ". ".join(edition.say(part) for part in (interval, base))
    return [
        panel([headline, Spacer(0, 2 * mm), Figure(gauge(endpoint, edition, width=_LEFT - 8 * mm), scale)], _LEFT),
        Spacer(0, 2 * mm),
        *_risk(prediction, edition),
        _endpoints(prediction, edition),
        Spacer(0, 2.5 * mm),
        Figure(survival_chart(prediction, curve, edition, size=(_LEFT, 38 * mm)), _curve_in_words(curve, edition)),
        paragraph(" ".join(edition.say(part) for part in explained), "quiet"),
    ]


def _curve_in_words(curve: SurvivalCurve, edition: Edition) -> str:
    points = zip(curve.months, curve.probability, strict=True)
    told = "; ".join(f"{edition.decimal(month)}: {edition.percent(p)}" for month, p in points)
    return edition.say(Message("Progression-free survival by month: {points}", points=told))


def _risk(prediction: Prediction, edition: Edition) -> list[Flowable]:
    if prediction.risk_group is None:
        return []
    _ = edition.translate
    groups: tuple[RiskGroup, ...] = get_args(RiskGroup)
    labels = [edition.say(RISK_GROUPS[group]) for group in groups]
    return [
        Figure(
            risk_boxes(labels, groups.index(prediction.risk_group), width=_LEFT),
            edition.say(RISK_GROUPS[prediction.risk_group]),
        ),
        paragraph(_("Thirds of the training cohort by the model's score."), "quiet"),
        Spacer(0, 1.5 * mm),
    ]


def _endpoints(prediction: Prediction, edition: Edition) -> Flowable:
    _ = edition.translate
    rows = [[_("Endpoint"), _("This patient"), _("Cohort"), _("Answer")]]
    rows += [
        [
            edition.say(ENDPOINTS[endpoint.name]),
            f"{edition.percent(endpoint.probability)} ({edition.interval(endpoint.lower, endpoint.upper)})",
            edition.percent(endpoint.base_rate),
            edition.say(VERDICTS[endpoint.verdict]) if endpoint.verdict else "–",
        ]
        for endpoint in prediction.endpoints
    ]
    widths = [45 * mm, 25 * mm, 16 * mm, 22 * mm]
    if not any(endpoint.verdict for endpoint in prediction.endpoints):
        rows, widths = [row[:-1] for row in rows], [62 * mm, 28 * mm, 18 * mm]
    return grid(rows, widths, numbers_from=1)


def _abstention(prediction: Prediction, edition: Edition) -> list[Flowable]:
    _ = edition.translate
    quantities = prediction.quantities
    reason = edition.say(prediction.abstained) if prediction.abstained else _("The model gave no answer.")
    said: list[Flowable] = [
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
        [_("Total metabolic tumour volume (TMTV)"), f"{edition.decimal(quantities.tmtv_ml)} ml"],
        [_("Total lesion glycolysis (TLG)"), f"{edition.decimal(quantities.tlg)} g"],
        [_("SUVmax"), edition.decimal(quantities.suv_max) if quantities.lesions else "–"],
        [_("Number of lesions"), str(len(quantities.lesions))],
    ]
    return [panel(said, _LEFT, edge=VERMILION), Spacer(0, 4 * mm), grid(rows, [75 * mm, 33 * mm], numbers_from=1)]


def _projections(content: ReportContent, edition: Edition) -> list[Flowable]:
    _ = edition.translate
    figure = mip_with_lesions(content.study, content.prediction.lesion_labels)
    caption = _(
        "Maximum intensity projections of the PET, from the front and from the left; lesions outlined and numbered."
    )
    return [picture(figure, caption, width=_RIGHT, height=112 * mm), paragraph(caption, "quiet")]
