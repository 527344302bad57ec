"""The model: what it is for, who trained it on what, how well it does, and its limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reportlab.lib.units import mm
from reportlab.platypus import KeepTogether, Spacer

from fedpet.messages import Message
from reports.card import Card
from reports.style import WIDTH, Heading, columns, facts, grid, paragraph

if TYPE_CHECKING:
    from reportlab.platypus import Flowable

    from inference.prediction import ModelReference
    from reports.content import ReportContent
    from reports.edition import Edition


_WIDTHS = (102 * mm, 6 * mm, 72 * mm)  # performance, gap, centres


def provenance(content: ReportContent, edition: Edition) -> list[Flowable]:
    """Identity, federation, performance and limits from the card; what the card does not say is "not stated"."""
    _ = edition.translate
    card, model = Card(content.card), content.prediction.model
    secure, rounds = card.first("federation.secure_aggregation"), card.first("federation.rounds")
    aggregation = [rounds, card.first("federation.aggregator")]
    identity = [
        (_("Model"), f"{model.name} {model.version}"),
        (_("Created"), _said(card.first("created"), edition)),
        (_("Trained on"), _("synthetic patients only") if model.synthetic else _("patients of the federation")),
        (_("Federation software"), _said(card.framework, edition)),
        (_("Rounds; aggregation"), _said("; ".join(str(x) for x in aggregation if x is not None), edition)),
        (_("Secure aggregation"), _said(secure if secure is None else _("yes") if secure else _("no"), edition)),
    ]
    return [
        Heading(_("The model")),
        facts(identity, columns=3),
        Spacer(0, 1.5 * mm),
        *_sentences(card, edition),
        KeepTogether([Spacer(0, 2 * mm), columns([_performance(card, edition), "", _nodes(card, edition)], _WIDTHS)]),
        Spacer(0, 2 * mm),
        KeepTogether([_hashes(card, model, edition)]),
    ]


def _sentences(card: Card, edition: Edition) -> list[Flowable]:
    """Intended use, data and limits, in the card's language."""
    _ = edition.translate
    use, data = _said(card.first("intended_use"), edition), _said(card.first("data.description"), edition)
    return [
        paragraph(edition.say(Message("Intended use: {use}", use=use)), "small"),
        paragraph(edition.say(Message("Training data: {data}", data=data)), "small"),
        paragraph(_("Limits"), "small_strong"),
        *(paragraph(f"– {limit}", "small") for limit in card.limits or (_("not stated"),)),
    ]


def _performance(card: Card, edition: Edition) -> Flowable:
    _ = edition.translate
    patients = card.first("evaluation.patients", "metrics.patients")
    rows = [[_("Performance on patients held out"), _("Value"), _("Interval")]]
    if patients is not None:
        rows.append([_("Number of patients"), edition.decimal(patients, 0), "–"])
    for metric in card.metrics:
        interval = "–".join(edition.decimal(x, 3) for x in metric.interval) if metric.interval else "–"
        rows.append([edition.say(metric.label), edition.decimal(metric.value, 3), interval])
    if len(rows) == 1:
        rows.append([_("not stated"), "–", "–"])
    return grid(rows, [58 * mm, 18 * mm, 26 * mm], numbers_from=1)


def _nodes(card: Card, edition: Edition) -> Flowable:
    _ = edition.translate
    rows = [[_("Centre"), _("Training cases")]]
    rows += [[site, _("not stated") if cases is None else edition.decimal(cases, 0)] for site, cases in card.nodes]
    if len(rows) == 1:
        rows.append([_("not stated"), "–"])
    return grid(rows, [36 * mm, 36 * mm], numbers_from=1)


def _hashes(card: Card, model: ModelReference, edition: Edition) -> Flowable:
    """Digests that tie the answer to its model."""
    _ = edition.translate
    rows = [
        [_("Fingerprint"), "SHA-256"],
        [_("Model bundle"), model.digest],
        [_("Input contract"), model.contract_fingerprint],
        [_("Approved training plan"), _said(card.plan, edition)],
        [_("Computed by"), model.provider],
    ]
    return grid(rows, [45 * mm, WIDTH - 45 * mm])


def _said(value: object, edition: Edition) -> str:
    _ = edition.translate
    return _("not stated") if value in (None, "") else str(value)
