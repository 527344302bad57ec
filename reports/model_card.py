"""Reads a model card: the facts that a report prints, wherever the card of a bundle has them.

A card is written by the training of the model; what it does not state is None here and "not stated" in the report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal

from fedpet.core.messages import Message

_AUC = "expected_auc_pfs_12m"  # of a centre's figures
_EXPECTED = Message("Expected AUC against the true probability, PFS at 12 months")
_METRICS: tuple[tuple[Message, tuple[str, ...]], ...] = (
    (Message("AUC, PFS at 12 months"), ("metrics.auc_pfs_12m",)),
    (Message("AUC, clinical data alone"), ("metrics.auc_clinical_only",)),
    (Message("AUC of the known truth (ceiling)"), ("metrics.auc_bayes",)),
    (_EXPECTED, ("evaluation.expected_auc_pfs_12m.model",)),
    (Message("Expected AUC, clinical data alone"), ("evaluation.expected_auc_pfs_12m.clinical",)),
    (Message("Expected AUC of the true probability (ceiling)"), ("evaluation.expected_auc_pfs_12m.bayes_ceiling",)),
    (Message("C-index"), ("metrics.c_index", "evaluation.observed_c_index.model")),
    (Message("Answers at 12 months that hold the outcome"), ("evaluation.conformal_sets.pfs_12m.all.coverage",)),
    (
        Message("The same, of those without progression"),
        ("evaluation.conformal_sets.pfs_12m.all.by_outcome.free",),
    ),
    (
        Message("The same, of those who progress"),
        ("evaluation.conformal_sets.pfs_12m.all.by_outcome.progression",),
    ),
    (Message("Indeterminate answers at 12 months"), ("evaluation.conformal_sets.pfs_12m.all.indeterminate",)),
)


@dataclass(frozen=True)
class Metric:
    """A measure of performance, with its interval where the card has one."""

    label: Message
    value: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class CardNode:
    """A centre of the federation: patients for training and validation, and the validation loss."""

    site: str
    training: int | None
    validation: int | None = None
    loss: float | None = None


@dataclass(frozen=True)
class ModelCard:
    """The facts of a card; None or empty where it does not state them."""

    content: Mapping[str, Any]

    def first(self, *paths: str) -> Any:  # noqa: ANN401 - a card is free-form JSON
        """The first value found at one of several dotted paths; None where there is none."""
        found = (reduce(_step, path.split("."), self.content) for path in paths)
        return next((value for value in found if value is not None), None)

    @property
    def framework(self) -> str | None:
        """Name and version of the federation software."""
        version = self.first("federation.framework_version", "software.fedbiomed")
        return None if version is None else f"{self.first('federation.framework') or 'Fed-BioMed'} {version}"

    @property
    def plan(self) -> str | None:
        """SHA-256 of the training plan that the nodes approved."""
        plan = self.first("federation.plan_sha256", "federation.training_plan_sha256")
        return None if plan is None else str(plan)

    @property
    def limits(self) -> tuple[str, ...]:
        """The limits of the model, one sentence each."""
        limits = self.first("limits") or ()
        return (limits,) if isinstance(limits, str) else tuple(limits)

    @property
    def nodes(self) -> tuple[CardNode, ...]:
        """The centres, in the order of the card."""
        nodes = self.first("federation.nodes") or ()
        if not isinstance(nodes, Mapping):
            return tuple(CardNode(str(node.get("site", "–")), node.get("training_cases")) for node in nodes)
        final = self.first("validation.model.final_by_node") or {}
        return tuple(
            CardNode(site, _step(counts, "training"), _step(counts, "validation"), _step(final.get(site), "loss"))
            for site, counts in nodes.items()
        )

    @property
    def privacy(self) -> float | bool | None:
        """Epsilon of the differential privacy; False without it, None where the card does not state it."""
        epsilon = self.first("federation.differential_privacy.epsilon")
        return self.first("federation.differential_privacy") if epsilon is None else float(epsilon)

    def groups(self, kind: Literal["centre", "subgroup"]) -> tuple[tuple[str, Metric], ...]:
        """Expected AUC by centre or by subgroup of patients: `evaluation.by_centre`, `evaluation.by_subgroup`."""
        groups: Mapping[str, Any] = self.first(f"evaluation.by_{kind}") or {}
        figures = {name: one[_AUC] if isinstance(one, Mapping) and _AUC in one else one for name, one in groups.items()}
        return tuple((name, _metric(_EXPECTED, one)) for name, one in figures.items() if one is not None)

    @property
    def blocks(self) -> int | None:
        """Into how many blocks the patients were dealt who all trained, each validated by a fit without their block.

        None where other patients validated.
        """
        folds = self.first("federation.aggregation.folds")
        same = self.nodes and all(one.training == one.validation for one in self.nodes)
        return folds if same and isinstance(folds, int) and folds > 1 else None

    @property
    def tested(self) -> int | None:
        """How many patients the figures are of, whom the training did not see."""
        patients = self.first("evaluation.patients", "metrics.patients")
        return None if patients is None else int(patients)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Performance on held-out patients, in the order of the report."""
        values = ((label, self.first(*paths)) for label, paths in _METRICS)
        return tuple(_metric(label, figure) for label, figure in values if figure is not None)


def _step(value: Any, key: str) -> Any:  # noqa: ANN401 - a card is free-form JSON
    return value.get(key) if isinstance(value, Mapping) else None


def _metric(label: Message, figure: float | Mapping[str, float]) -> Metric:
    """A measure written as a number or as {value, lower, upper}."""
    if not isinstance(figure, Mapping):
        return Metric(label, figure, None)
    interval = (figure["lower"], figure["upper"]) if {"lower", "upper"} <= set(figure) else None
    return Metric(label, figure["value"], interval)
