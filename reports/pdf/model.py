"""The model: its intended use, training, performance and limits."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from reportlab.lib.units import mm
from reportlab.platypus import KeepTogether, Spacer

from fedpet.core.messages import Message
from reports.model_card import ModelCard
from reports.pdf.style import WIDTH, Heading, columns, facts, grid, paragraph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reportlab.platypus import Flowable

    from inference.prediction import ModelReference
    from reports.content import ReportContent
    from reports.locale import Locale
    from reports.model_card import Metric


_WIDTHS = (84 * mm, 4 * mm, 92 * mm)  # sentences, gap, performance


def provenance(content: ReportContent, locale: Locale) -> list[Flowable]:
    """Identity, performance and limits from the card, on half a page; what the card does not say is "not stated"."""
    _ = locale.text
    card, model = ModelCard(content.card), content.prediction.model
    told = columns([_sentences(card, locale), "", [_performance(card, locale)]], _WIDTHS)
    parts = [_identity(card, model, locale), told, _hashes(card, model, locale)]
    return [KeepTogether([Heading(_("The model")), *(one for part in parts for one in (part, Spacer(0, 1.5 * mm)))])]


def _identity(card: ModelCard, model: ModelReference, locale: Locale) -> Flowable:
    _ = locale.text
    secure, rounds = card.first("federation.secure_aggregation"), card.first("federation.rounds")
    aggregator = card.first("federation.aggregator")
    aggregation = [rounds, None if aggregator is None else _(str(aggregator))]
    values = [
        (_("Model"), f"{model.name} {model.version}"),
        (_("Created"), _day(card.first("created"), locale)),
        (_("Trained on"), _("synthetic patients only") if model.synthetic else _("patients of the federation")),
        (_("Federation software"), _stated(card.framework, locale)),
        (_("Rounds; aggregation"), _stated(", ".join(str(x) for x in aggregation if x is not None), locale)),
        (_("Secure aggregation"), _stated(secure if secure is None else _("yes") if secure else _("no"), locale)),
        (_("Differential privacy"), _privacy(card, locale)),
        (_("Centres"), str(len(card.nodes)) if card.nodes else _("not stated")),
    ]
    return facts(values, columns=4)


def _privacy(card: ModelCard, locale: Locale) -> str:
    """Epsilon, or that there is no differential privacy."""
    _ = locale.text
    privacy = card.privacy
    if isinstance(privacy, float):
        return f"ε = {locale.decimal(privacy, 2)}"
    return _("none: no ε") if privacy is False else _stated(None if privacy is None else _("yes"), locale)


def _sentences(card: ModelCard, locale: Locale) -> list[Flowable]:
    """Intended use, data and limits; sentences that fedpet did not write stay in the card's language."""
    _ = locale.text
    use = _stated(card.first("intended_use"), locale)
    return [
        paragraph(locale.translate(Message("Intended use: {use}", use=_(use))), "small"),
        paragraph(locale.translate(Message("Training data: {data}", data=_data(card, locale))), "small"),
        paragraph(_("Limits"), "small_strong"),
        *(paragraph(f"– {_(limit)}", "small") for limit in card.limits or ("not stated",)),
    ]


def _data(card: ModelCard, locale: Locale) -> str:
    """How many patients of how many centres, or what the card says."""
    patients = card.first("data.patients")
    if patients is None or not card.nodes:
        return _stated(card.first("data.description"), locale)
    return locale.translate(
        Message(
            "{patients} patients of {centres} centres",
            patients=locale.decimal(patients, 0),
            centres=len(card.nodes),
        )
    )


def _performance(card: ModelCard, locale: Locale) -> Flowable:
    """Performance on held-out patients."""
    _ = locale.text
    rows: list[Sequence[str | Flowable]] = [[_("Performance on patients held out"), _("Value"), _("Interval")]]
    if card.tested is not None:
        rows.append([_("Number of patients"), locale.decimal(card.tested, 0), "–"])
    rows += [_figure(locale.translate(metric.label), metric, locale) for metric in card.metrics]
    if len(rows) == 1:
        rows.append([_("not stated"), "–", "–"])
    return grid(rows, [48 * mm, 18 * mm, 26 * mm], numbers_from=1)


def _figure(label: str, metric: Metric, locale: Locale) -> list[str]:
    interval = "–".join(locale.decimal(x, 3) for x in metric.interval) if metric.interval else "–"
    return [label, locale.decimal(metric.value, 3), interval]


def _hashes(card: ModelCard, model: ModelReference, locale: Locale) -> Flowable:
    """The digests that identify the model of the answer."""
    _ = locale.text
    rows = [
        [_("Fingerprint"), "SHA-256"],
        [_("Model bundle"), model.digest],
        [_("Input contract"), model.contract_fingerprint],
        [_("Approved training plan"), _stated(card.plan, locale)],
        [_("Computed by"), model.provider],
    ]
    return grid(rows, [45 * mm, WIDTH - 45 * mm])


def _stated(value: object, locale: Locale) -> str:
    _ = locale.text
    return _("not stated") if value in (None, "") else str(value)


def _day(value: object, locale: Locale) -> str:
    """A date of the card in words; anything else unchanged."""
    try:
        return locale.day(date.fromisoformat(str(value)[:10]).isoformat())
    except ValueError:
        return _stated(value, locale)
