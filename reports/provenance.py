"""The model: what it is for, who trained it on what, how well it does, and its limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from reportlab.lib.units import mm
from reportlab.platypus import KeepTogether, Spacer

from fedpet.messages import Message
from reports.card import Card
from reports.style import WIDTH, Heading, clipped, columns, facts, grid, paragraph

if TYPE_CHECKING:
    from reportlab.platypus import Flowable

    from inference.prediction import ModelReference
    from reports.card import Metric
    from reports.content import ReportContent
    from reports.edition import Edition


_SHOWN = 10  # centres or subgroups; a table cannot go on to the next page here
_WIDTHS = (94 * mm, 4 * mm, 82 * mm)  # performance, gap, centres


def provenance(content: ReportContent, edition: Edition) -> list[Flowable]:
    """Identity, federation, performance and limits from the card; what the card does not say is "not stated"."""
    _ = edition.translate
    card, model = Card(content.card), content.prediction.model
    left = [_performance(card, edition)]
    right = [_nodes(card, edition), Spacer(0, 1.5 * mm), _subgroups(card, edition)]
    return [
        Heading(_("The model")),
        _identity(card, model, edition),
        Spacer(0, 1.5 * mm),
        *_sentences(card, edition),
        KeepTogether([Spacer(0, 2 * mm), columns([left, "", right], _WIDTHS)]),
        Spacer(0, 1.5 * mm),
        KeepTogether([_hashes(card, model, edition)]),
    ]


def _identity(card: Card, model: ModelReference, edition: Edition) -> Flowable:
    _ = edition.translate
    secure, rounds = card.first("federation.secure_aggregation"), card.first("federation.rounds")
    aggregator = card.first("federation.aggregator")
    aggregation = [rounds, None if aggregator is None else _(str(aggregator))]
    told = [
        (_("Model"), f"{model.name} {model.version}"),
        (_("Created"), _said(card.first("created"), edition)),
        (_("Trained on"), _("synthetic patients only") if model.synthetic else _("patients of the federation")),
        (_("Federation software"), _said(card.framework, edition)),
        (_("Rounds; aggregation"), _said(", ".join(str(x) for x in aggregation if x is not None), edition)),
        (_("Secure aggregation"), _said(secure if secure is None else _("yes") if secure else _("no"), edition)),
        (_("Differential privacy"), _privacy(card, edition)),
        (_("Centres"), str(len(card.nodes)) if card.nodes else _("not stated")),
    ]
    return facts(told, columns=4)


def _privacy(card: Card, edition: Edition) -> str:
    """Epsilon, or that there is none."""
    _ = edition.translate
    given = card.privacy
    if isinstance(given, float):
        return f"ε = {edition.decimal(given, 2)}"
    return _("none: no ε") if given is False else _said(None if given is None else _("yes"), edition)


def _sentences(card: Card, edition: Edition) -> list[Flowable]:
    """Intended use, data and limits; sentences that fedpet did not write stay in the card's language."""
    _ = edition.translate
    use = _said(card.first("intended_use"), edition)
    return [
        paragraph(edition.say(Message("Intended use: {use}", use=_(use))), "small"),
        paragraph(edition.say(Message("Training data: {data}", data=_data(card, edition))), "small"),
        paragraph(_("Limits"), "small_strong"),
        *(paragraph(f"– {_(limit)}", "small") for limit in card.limits or ("not stated",)),
    ]


def _data(card: Card, edition: Edition) -> str:
    """How many patients of how many centres, or what the card says."""
    patients = card.first("data.patients")
    if patients is None or not card.nodes:
        return _said(card.first("data.description"), edition)
    return edition.say(Message("{patients} patients of {centres} centres", patients=patients, centres=len(card.nodes)))


def _performance(card: Card, edition: Edition) -> Flowable:
    """Figures on held-out patients, then by centre where the card has them."""
    _ = edition.translate
    patients = card.first("evaluation.patients", "metrics.patients")
    rows = [[_("Performance on patients held out"), _("Value"), _("Interval")]]
    if patients is not None:
        rows.append([_("Number of patients"), edition.decimal(patients, 0), "–"])
    rows += [_figure(edition.say(metric.label), metric, edition) for metric in card.metrics]
    if len(rows) == 1:
        rows.append([_("not stated"), "–", "–"])
    rows += _groups(card, "centre", edition, title=_("By centre (AUC)"))
    return grid(rows, [50 * mm, 20 * mm, 24 * mm], numbers_from=1)


def _subgroups(card: Card, edition: Edition) -> Flowable:
    _ = edition.translate
    title = _("By subgroup (AUC)")
    return grid([[title, _("Value"), _("Interval")], *_groups(card, "subgroup", edition)],
                [38 * mm, 20 * mm, 24 * mm], numbers_from=1)  # fmt: skip


def _groups(card: Card, kind: Literal["centre", "subgroup"], edition: Edition, *, title: str = "") -> list[list[str]]:
    """A row for each centre or subgroup, or that the card has none."""
    groups = card.groups(kind)[:_SHOWN]
    if not groups:
        return [[title or "–", edition.translate("not stated"), "–"]]
    return [_figure(f"{title}: {name}".removeprefix(": "), metric, edition) for name, metric in groups]


def _figure(label: str, metric: Metric, edition: Edition) -> list[str]:
    interval = "–".join(edition.decimal(x, 3) for x in metric.interval) if metric.interval else "–"
    return [label, edition.decimal(metric.value, 3), interval]


def _nodes(card: Card, edition: Edition) -> Flowable:
    """Patients of each centre, and the loss on those kept for validation."""
    _ = edition.translate

    def told(number: float | None, digits: int) -> str:
        return "–" if number is None else edition.decimal(number, digits)

    validated = any(node.validation is not None for node in card.nodes)
    rows = [[_("Centre"), _("Training cases"), _("Validation cases"), _("Validation loss")]]
    rows += [
        [clipped(node.site, 40), told(node.training, 0), told(node.validation, 0), told(node.loss, 2)]
        for node in card.nodes[:_SHOWN]
    ]
    if rest := card.nodes[_SHOWN:]:
        more = Message("{count} more centres", count=len(rest))
        rows.append([edition.say(more), told(sum(node.training or 0 for node in rest), 0), "–", "–"])
    if not card.nodes:
        rows.append([_("not stated"), "–", "–", "–"])
    widths = [20 * mm, 24 * mm, 20 * mm, 18 * mm] if validated else [40 * mm, 42 * mm]
    return grid([row[: len(widths)] for row in rows], widths, numbers_from=1)


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
