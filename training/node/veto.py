"""The site's veto: an aggregate that is much worse on the site's own validation patients than one before is not taken.

`accepted.safetensors` in the node's folder holds the last aggregate that was taken in the training in progress, the
smallest loss so far with its standard error, and the losses of the patients under the last one. Where a later aggregate
has a loss above the smallest one by more than the policy's number of standard errors, or one that is no number, the
node trains from the last one that it took; the coordinating centre learns how many sites did so. It also learns the sum
of the changes since the last one that was taken, patient by patient, which tell far more than two means: they show
whether the model is better without a site. A site with too few validation patients for a loss has no veto.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from safetensors import safe_open
from safetensors.torch import save_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

ACCEPTED: Final = "accepted.safetensors"
_LOSSES: Final = "losses"  # of the validation patients, beside the parameters
_PARAMETER: Final = "parameter."
_Z: Final = 1.645  # one-sided, 95 %


@dataclass(frozen=True, eq=False)
class Accepted:
    """What a node took.

    Attributes:
        parameters: of the last aggregate.
        losses: (n,) of the validation patients under it.
        smallest: mean loss of the best aggregate so far.
        error: its standard error.
    """

    parameters: Mapping[str, Tensor]
    losses: Tensor
    smallest: float
    error: float

    def vetoes(self, losses: Tensor, limit: float) -> bool:
        """Whether an aggregate with these losses is not taken: `limit` is in standard errors."""
        return not float(losses.mean()) <= self.smallest + limit * self.error

    def compared(self, losses: Tensor) -> dict[str, float]:
        """Change of the same patients' losses since the last aggregate that was taken, and whether it is for the worse.

        Returns:
            "changed", a number of patients; mean "change" and "change_square"; "worse", 1 beyond what chance explains
            (one-sided, 5 %). Empty where they are not the same patients.
        """
        if len(losses) != len(self.losses):
            return {}
        change = losses - self.losses
        worse = bool(change.mean() > _Z * change.std() / len(change) ** 0.5)
        means = {"change": float(change.mean()), "change_square": float(change.square().mean())}
        return {"changed": float(len(change)), "worse": float(worse), **means}


def read_accepted(folder: Path, experiment: str) -> Accepted | None:
    """What the node took in a training; None before its first round."""
    path = folder / ACCEPTED
    if not path.is_file():
        return None
    with safe_open(path, framework="pt") as file:
        known = json.loads(file.metadata()["accepted"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no dict
    if known["experiment"] != experiment:
        return None
    parameters = {key.removeprefix(_PARAMETER): value for key, value in tensors.items() if key != _LOSSES}
    return Accepted(parameters, tensors[_LOSSES], known["smallest"], known["error"])


def accept(folder: Path, experiment: str, parameters: Mapping[str, Tensor], losses: Tensor) -> None:
    """Record that an aggregate is taken."""
    before, loss = read_accepted(folder, experiment), float(losses.mean())
    smallest, error = loss, float(losses.std() / len(losses) ** 0.5)
    if before is not None and before.smallest <= loss:
        smallest, error = before.smallest, before.error
    facts = {"experiment": experiment, "smallest": smallest, "error": error}
    waiting = folder / f".{ACCEPTED}"
    tensors = {f"{_PARAMETER}{name}": value.detach().cpu().contiguous() for name, value in parameters.items()}
    save_file({**tensors, _LOSSES: losses}, waiting, metadata={"accepted": json.dumps(facts)})
    waiting.replace(folder / ACCEPTED)
