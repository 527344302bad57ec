"""The model: what it is for, who trained it on what, how well it does, and its limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reportlab.lib.units import mm
from reportlab.platypus import KeepTogether, Spacer

from fedpet.messages import Message
from reports.style import WIDTH, Heading, columns, facts, grid, paragraph

if TYPE_CHECKING:
    from reportlab.platypus import Flowable

    from reports.content import ReportContent
    from reports.edition import Edition

_METRICS: Mapping[str, Message] = {
    "auc_pfs_12m": Message("AUC, PFS at 12 months"),
    "auc_bayes": Message("AUC of the known truth (ceiling)"),
    "auc_clinical_only": Message("AUC, clinical data alone"),
    "c_index": Message("C-index"),
    "brier": Message("Brier score"),
}


def provenance(content: ReportContent, edition: Edition) -> list[Flowable]:
    """Identity, federation, performance and limits from the card; what the card does not say is "not stated"."""
    _ = edition.translate
    card, model = content.card, content.prediction.model
    federation = _mapping(card.get("federation"))
    secure = federation.get("secure_aggregation")
    identity = [
        (_("Model"), f"{model.name} {model.version}"),
        (_("Created"), _said(card.get("created"), edition)),
        (_("Trained on"), _("synthetic patients only") if model.synthetic else _("patients of the federation")),
        (_("Federation software"), _joined(federation, ("framework", "framework_version"), edition)),
        (_("Rounds; aggregation"), _joined(federation, ("rounds", "aggregator"), edition)),
        (_("Secure aggregation"), _said(secure if secure is None else _("yes") if secure else _("no"), edition)),
    ]
    return [
        Heading(_("The model")),
        facts(identity, columns=3),
        Spacer(0, 1.5 * mm),
        *_sentences(card, edition),
        KeepTogether([Spacer(0, 2 * mm), _figures(card, edition)]),
        Spacer(0, 2 * mm),
        KeepTogether([_hashes(content, edition)]),
    ]


def _sentences(card: Mapping[str, Any], edition: Edition) -> list[Flowable]:
    """Intended use, data and limits, as the card says them (in the card's language)."""
    _ = edition.translate
    data = _mapping(card.get("data")).get("description")
    parts: list[Flowable] = [
        paragraph(edition.say(Message("Intended use: {use}", use=_said(card.get("intended_use"), edition))), "small"),
        paragraph(edition.say(Message("Training data: {data}", data=_said(data, edition))), "small"),
        paragraph(_("Limits"), "small_strong"),
    ]
    limits = card.get("limits")
    limits = [limits] if isinstance(limits, str) else limits or [_("not stated")]
    return parts + [paragraph(f"– {limit}", "small") for limit in limits]


def _figures(card: Mapping[str, Any], edition: Edition) -> Flowable:
    """Performance at the left, the nodes at the right."""
    _ = edition.translate
    metrics = _mapping(card.get("metrics"))
    rows = [[_("Performance on patients held out"), _("Value"), _("Interval")]]
    rows += [
        [edition.say(label), *_metric(metrics.get(name), edition)]
        for name, label in _METRICS.items()
        if name in metrics
    ]
    nodes = _mapping(card.get("federation")).get("nodes") or []
    sites = [[_("Centre"), _("Training cases")]]
    sites += [[str(node.get("site", "–")), _count(node.get("training_cases"), edition)] for node in nodes]
    empty = [_("not stated"), "–", "–"]
    left = grid(rows if len(rows) > 1 else [*rows, empty], [58 * mm, 18 * mm, 26 * mm], numbers_from=1)
    right = grid(sites if nodes else [*sites, empty[:2]], [36 * mm, 36 * mm], numbers_from=1)
    return columns([left, "", right], [102 * mm, 6 * mm, 72 * mm])


def _hashes(content: ReportContent, edition: Edition) -> Flowable:
    """Digests that tie the answer to its model."""
    _ = edition.translate
    model = content.prediction.model
    plan = _mapping(content.card.get("federation")).get("plan_sha256")
    rows = [
        [_("Fingerprint"), "SHA-256"],
        [_("Model bundle"), model.digest],
        [_("Input contract"), model.contract_fingerprint],
        [_("Approved training plan"), _said(plan, edition)],
        [_("Computed by"), model.provider],
    ]
    return grid(rows, [45 * mm, WIDTH - 45 * mm])


def _metric(metric: object, edition: Edition) -> list[str]:
    """Value and interval of a metric given as a number or as {value, lower, upper}."""
    given: Mapping[str, Any] = metric if isinstance(metric, Mapping) else {"value": metric}
    value, lower, upper = given.get("value"), given.get("lower"), given.get("upper")
    interval = "–" if lower is None or upper is None else f"{edition.decimal(lower, 3)}–{edition.decimal(upper, 3)}"
    return ["–" if value is None else edition.decimal(value, 3), interval]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _count(value: object, edition: Edition) -> str:
    return edition.decimal(value, 0) if isinstance(value, int) else _said(value, edition)


def _said(value: object, edition: Edition) -> str:
    _ = edition.translate
    return _("not stated") if value in (None, "") else str(value)


def _joined(source: Mapping[str, Any], names: Sequence[str], edition: Edition) -> str:
    given = [str(source[name]) for name in names if source.get(name) is not None]
    return _said(" ".join(given), edition)
