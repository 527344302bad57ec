"""Whether a learned term enters the bundle: the gate's verdict on the runs of a federation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from fedpet.core.errors import FederationError
from fedpet.core.messages import Message
from training.bundle.risk_model import risk_model
from training.task.learned_term import LEARNED, GateResult, is_gate_run
from training.task.runs import MODEL

if TYPE_CHECKING:
    from training.bundle.model_card import TrainingSummary
    from training.task.task import TrainingTask

TABLE: Final = "table"  # name of the table's run where the model has the learned term


def require_table(task: TrainingTask) -> None:
    """Refuse a learned term without a table that is fitted exactly, or without crops.

    Raises:
        FederationError: there is none.
    """
    if task.newton is None or task.contract.crops is None:
        raise FederationError(
            found=Message("A learned term beside the network “{network}”.", network=task.network),
            needed=Message("The network “table” by Newton's method, and an input contract with crops."),
            advice=Message("Prepare node data with --crops, or leave [learned_term] out."),
        )


def judged(trained: TrainingSummary) -> TrainingSummary:
    """The results without the runs of the gate; the model has the learned term where the gate lets it in."""
    gate = GateResult.of_histories(trained.histories)
    names = {name: name for name in trained.runs if name != LEARNED and not is_gate_run(name)}
    if gate.passed:
        names |= {MODEL: LEARNED, TABLE: MODEL}
    return replace(
        trained,
        runs={name: trained.runs[of] for name, of in names.items()},
        networks={name: trained.networks[of] for name, of in names.items()},
        histories={name: trained.histories[of] for name, of in names.items()},
        gate=gate.to_json(),
    )


def described(trained: TrainingSummary) -> dict[str, Any]:
    """Entries of the card: the gate's result, and the fit of the table beneath a learned term."""
    if not trained.gate:
        return {}
    fit = risk_model(trained.runs[TABLE].task, trained.histories[TABLE]) if TABLE in trained.runs else {}
    return {"learned_term": dict(trained.gate), **fit}
