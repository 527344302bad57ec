"""What the researcher tells its parent process: one JSON object a line."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from training.task.risk_table import pooled_concordance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from training.task.task import TrainingTask


def emit(event: str, **facts: Any) -> None:
    """Print an event."""
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


def emit_validation(name: str, task: TrainingTask, final: Mapping[str, Mapping[str, float]]) -> None:
    """Report the sites' validation of the model that a run ended with."""
    emit("validated", run=name, validation=losses(final), concordance=concordance(final, task))


def losses(validation: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """By site, the metrics other than the cells of its tables."""
    shown = (
        "loss",
        "loss_square",
        "n",
        "sites",
        "vetoes",
        "worse",
        "changed",
        "change",
        "change_square",
        "concept_loss",
    )
    return {site: {key: values[key] for key in shown if key in values} for site, values in validation.items()}


def concordance(validation: Mapping[str, Mapping[str, float]], task: TrainingTask) -> float | None:
    """Of the sites' tables together; None without a comparable pair."""
    return pooled_concordance(validation, len(task.contract.month_edges) - 1)
