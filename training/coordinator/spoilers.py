"""Which site spoils the model: the round before is repeated without each of them in turn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from training.coordinator import fedbiomed_researcher as internals
from training.coordinator.choice import is_worse
from training.coordinator.plausibility import IMPLAUSIBLE
from training.task.carried import CARRIED
from training.task.pooled import loss_error, pooled_change, pooled_loss, vetoed, worsened

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import nn

    from training.coordinator.site_rounds import SiteRounds

_SPOILED_ERRORS: Final = 3.0  # standard errors by which the validation loss rises when a site is looked for
_SMALLEST_ERROR: Final = 1e-6
_SPOILS: Final = "without its update the model is better at the other sites"


@dataclass(frozen=True, eq=False)
class GoodModel:
    """The model that a round started from, with its validation, when nothing was wrong with it."""

    index: int
    parameters: Mapping[str, torch.Tensor]
    validation: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, eq=False)
class _Trial:
    """A round without a site.

    Attributes:
        gain: by how much the model is better without the site than with it, in standard errors.
        loss: at the other sites.
        parameters: of the round without it.
    """

    gain: float
    loss: float
    parameters: dict[str, torch.Tensor]


class Spoilers:
    """Compares the model of each round with the last good one."""

    def __init__(self, rounds: SiteRounds) -> None:
        self._rounds = rounds
        self.good: GoodModel | None = None

    def repeated(
        self,
        validation: Mapping[str, Mapping[str, float]],
        before: Mapping[str, torch.Tensor],
        nodes: list[str],
        network: nn.Module,
    ) -> bool:
        """Where the last aggregate is worse than the model before it, look for a site that explains it.

        The round that made it is repeated without each site in turn, and a site that explains it is left out. Where
        none does, the training goes on with all: from the model before if this one is far worse, else from this one.

        Args:
            validation: of the aggregate.
            before: the aggregate.
            nodes: that take part.
            network: of the experiment, which has been trained further.

        Returns:
            False where nothing was repeated: the aggregate is not worse, or there are too few sites to leave one out.
        """
        good, task = self.good, self._rounds.task
        if good is None or not task.trains or task.newton is not None or not good.validation:
            return False
        far = is_worse(validation.values(), good.validation.values(), errors=_SPOILED_ERRORS)
        far = far or vetoed(validation.values())
        if not ((far or worsened(validation.values())) and self._rounds.can_leave_out(nodes)):
            return False
        if found := self._explained(good, before, nodes, network):
            self._rounds.leave_out([found[0]], _SPOILS, good.index, found[1], network)
        else:
            network.load_state_dict(good.parameters if far else before)
        self.good, self._rounds.new_masks = None, True
        internals.rewind(self._rounds.experiment, good.index + 1)
        return True

    def repeat_impossible(self, good: GoodModel, nodes: list[str], network: nn.Module) -> bool:
        """The same for an aggregate that no training can produce, which came of the last good model.

        Returns:
            False where no single site explains it, or there are too few to leave one out.
        """
        together = {key: value.clone() for key, value in network.state_dict().items()}
        finite = all(bool(value.isfinite().all()) for value in together.values())
        if not (finite and good.validation and self._rounds.can_leave_out(nodes)):
            return False
        if found := self._explained(good, together, nodes, network):
            self._rounds.leave_out([found[0]], IMPLAUSIBLE, good.index, good.parameters, network)
            self.good = None
        return bool(found)

    def _explained(
        self, good: GoodModel, together: Mapping[str, torch.Tensor], nodes: list[str], network: nn.Module
    ) -> tuple[str, dict[str, torch.Tensor]] | None:
        """The site without which the round makes a better model, and the parameters of the round without it.

        At the other sites the losses of the same patients under the model of all sites (`together`) and under the one
        without the site are compared; the latter must not be far worse than the model before, either.
        """
        trials = {node: self._trial(good, node, together, network) for node in nodes}
        node = max(trials, key=lambda one: trials[one].gain)
        best, values = trials[node], good.validation.values()
        bearable = best.loss <= pooled_loss(values) + _SPOILED_ERRORS * loss_error(values)
        return (node, best.parameters) if best.gain > _SPOILED_ERRORS and bearable else None

    def _trial(self, good: GoodModel, without: str, together: Mapping[str, torch.Tensor], network: nn.Module) -> _Trial:
        """A repeated round without a site, validated at the other sites beside the model of all of them."""
        network.load_state_dict(good.parameters)
        internals.rewind(self._rounds.experiment, good.index)
        self._rounds.new_masks = True
        self._rounds.answered(good.index, without={without})
        kept = {CARRIED: good.parameters[CARRIED]}
        repeated = {key: kept.get(key, value).clone() for key, value in network.state_dict().items()}
        alone, all_sites = (self._validation(one, without, network) for one in (repeated, together))
        (after, error), (before, other) = pooled_change(alone), pooled_change(all_sites)
        gain = (before - after) / max(math.hypot(error, other), _SMALLEST_ERROR)
        loss = pooled_loss(alone)
        return _Trial(gain if math.isfinite(gain) else -math.inf, loss if math.isfinite(loss) else math.inf, repeated)

    def _validation(
        self, parameters: Mapping[str, torch.Tensor], without: str, network: nn.Module
    ) -> list[dict[str, float]]:
        """What the sites but one say of a model."""
        network.load_state_dict(parameters)
        internals.rewind(self._rounds.experiment, self._rounds.task.rounds)
        self._rounds.new_masks = True
        nodes = self._rounds.answered(self._rounds.task.rounds, without={without})
        said = list(self._rounds.validation(self._rounds.task.rounds, nodes).values())
        internals.forget_parameters(self._rounds.experiment)
        return said
