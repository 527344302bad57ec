"""Which model is exported: the last one, unless an earlier one was better; none that clinical variables surpass."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any

from fedpet.core.errors import FederationError
from fedpet.core.messages import Message
from training.task.pooled import loss_error, pooled_loss
from training.task.runs import BASELINE, MODEL

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_Z = 1.645  # one-sided, 95 %


def is_worse(
    later: Collection[Mapping[str, float]], earlier: Collection[Mapping[str, float]], *, errors: float = 1.0
) -> bool:
    """Whether a model's validation loss is above another's by more than some standard errors; nan is worse.

    The error is the earlier one's: a model that fails on some patients has a large one. Both are of the same patients,
    so that this errs on the side of the later model.
    """
    return not pooled_loss(later) <= pooled_loss(earlier) + errors * loss_error(earlier)


def stops_early(rounds: int, best: int | None, patience: int | None) -> bool:
    """Whether a training ends before its last round: the validation loss got no smaller for long enough.

    Args:
        rounds: that are over; the model before the last of them is the latest that was validated.
        best: number of rounds behind the model of the smallest loss; None where there is none yet.
        patience: validated models after it, of which none had a smaller loss; None trains all rounds.
    """
    return patience is not None and best is not None and rounds - 1 - best >= patience


def require_better_than_clinical(histories: Mapping[str, Any]) -> None:
    """Refuse to export a model whose validation is worse than that of the clinical variables alone.

    Args:
        histories: of the runs, by name.

    Raises:
        FederationError: its loss is above the baseline's beyond what chance explains (one-sided, 5 %), or is nan.
    """
    if BASELINE not in histories:
        return
    model, clinical = (histories[name]["final"].values() for name in (MODEL, BASELINE))
    loss, other = pooled_loss(model), pooled_loss(clinical)
    patients = int(sum(site.get("n", 0.0) for site in model))
    if not patients:
        return
    if not loss <= other + _Z * sqrt(loss_error(model) ** 2 + loss_error(clinical) ** 2):
        raise FederationError(
            found=Message(
                "The model's final validation loss is {loss:.3f}, that of the clinical variables alone {other:.3f}"
                " ({count} patients).",
                loss=loss,
                other=other,
                count=patients,
            ),
            needed=Message("A model that is not worse than the clinical variables alone."),
            advice=Message("Read the rounds and the sites' logs; no bundle is written."),
        )
