"""The model: its intended use, training, performance and limits."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Literal

from reportlab.lib.units import mm
from reportlab.platypus import KeepTogether, Spacer

from fedpet.core.messages import Message
from reports.model_card import ModelCard
from reports.pdf.style import WIDTH, Heading, clip, columns, facts, grid, paragraph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reportlab.platypus import Flowable

    from inference.prediction import ModelReference
    from reports.content import ReportContent
    from reports.locale import Locale
    from reports.model_card import Metric


_SHOWN = 10  # centres or subgroups; a table cannot go on to the next page here
_WIDTHS = (94 * mm, 4 * mm, 82 * mm)  # performance, gap, centres


def provenance(content: ReportContent, locale: Locale) -> list[Flowable]:
    """Identity, federation, performance and limits from the card; what the card does not say is "not stated"."""
    _ = locale.text
    card, model = ModelCard(content.card), content.prediction.model
    left = [_performance(card, locale)]
    right: list[Flowable] = [_nodes(card, locale)]
    if card.groups("subgroup"):
        right += [Spacer(0, 1.5 * mm), _subgroups(card, locale)]
    return [
        Heading(_("The model")),
        _identity(card, model, locale),
        Spacer(0, 1.5 * mm),
        *_sentences(card, locale),
        KeepTogether([Spacer(0, 2 * mm), columns([left, "", right], _WIDTHS)]),
        Spacer(0, 1.5 * mm),
        KeepTogether([_hashes(card, model, locale)]),
    ]


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
    """Performance on held-out patients, then by centre where the card has it."""
    _ = locale.text
    patients = card.first("evaluation.patients", "metrics.patients")
    rows: list[Sequence[str | Flowable]] = [[_("Performance on patients held out"), _("Value"), _("Interval")]]
    if patients is not None:
        rows.append([_("Number of patients"), locale.decimal(patients, 0), "–"])
    rows += [_figure(locale.translate(metric.label), metric, locale) for metric in card.metrics]
    if len(rows) == 1:
        rows.append([_("not stated"), "–", "–"])
    if centres := _groups(card, "centre", locale):
        rows += [[paragraph(_("By centre (AUC)"), "small_strong"), "", ""], *centres]
    return grid(rows, [50 * mm, 20 * mm, 24 * mm], numbers_from=1)


def _subgroups(card: ModelCard, locale: Locale) -> Flowable:
    _ = locale.text
    title = _("By subgroup (AUC)")
    return grid([[title, _("Value"), _("Interval")], *_groups(card, "subgroup", locale)],
                [38 * mm, 20 * mm, 24 * mm], numbers_from=1)  # fmt: skip


def _groups(card: ModelCard, kind: Literal["centre", "subgroup"], locale: Locale) -> list[list[str]]:
    """A row for each centre or subgroup of the card."""
    return [_figure(name, metric, locale) for name, metric in card.groups(kind)[:_SHOWN]]


def _figure(label: str, metric: Metric, locale: Locale) -> list[str]:
    interval = "–".join(locale.decimal(x, 3) for x in metric.interval) if metric.interval else "–"
    return [label, locale.decimal(metric.value, 3), interval]


def _nodes(card: ModelCard, locale: Locale) -> Flowable:
    """Patients of each centre, and the validation loss."""
    _ = locale.text

    def decimal(number: float | None, digits: int) -> str:
        return "–" if number is None else locale.decimal(number, digits)

    validated = any(node.validation is not None for node in card.nodes)
    rows = [[_("Centre"), _("Training cases"), _("Validation cases"), _("Validation loss")]]
    rows += [
        [clip(node.site, 40), decimal(node.training, 0), decimal(node.validation, 0), decimal(node.loss, 2)]
        for node in card.nodes[:_SHOWN]
    ]
    if rest := card.nodes[_SHOWN:]:
        more = Message("{count} more centres", count=len(rest))
        rows.append([locale.translate(more), decimal(sum(node.training or 0 for node in rest), 0), "–", "–"])
    if not card.nodes:
        rows.append([_("not stated"), "–", "–", "–"])
    widths = [20 * mm, 24 * mm, 20 * mm, 18 * mm] if validated else [40 * mm, 42 * mm]
    return grid([row[: len(widths)] for row in rows], widths, numbers_from=1)


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
