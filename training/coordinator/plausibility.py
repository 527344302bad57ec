"""Parameters that no training can produce: of a site in clear, or of the aggregate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from fedpet.core.errors import FederationError
from fedpet.core.messages import Message
from training.task.method import MASKED_RANGE
from training.task.statistics import STATISTICS
from training.task.task import AUXILIARY

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import nn

    from training.task.task import TrainingTask

IMPLAUSIBLE: Final = "parameters that no training can produce"


def is_plausible(parameters: Mapping[str, torch.Tensor], norm: float, jump: float) -> bool:
    """Whether a site's parameters are finite and of a norm that a round may lead to."""
    squares = [float(value.double().square().sum()) for name, value in parameters.items() if name not in AUXILIARY]
    return math.isfinite(sum(squares)) and math.sqrt(sum(squares)) <= jump * norm


def parameter_norm(network: nn.Module) -> float:
    """Euclidean norm of all parameters that are trained."""
    named = [parameter for name, parameter in network.named_parameters() if name not in AUXILIARY]
    return math.sqrt(sum(float(parameter.detach().double().square().sum()) for parameter in named))


def implausible(network: nn.Module, task: TrainingTask, before: float, limit: float) -> FederationError | None:
    """Why no training can have produced an aggregate: not finite, a jump of the norm, or what masks would clip.

    Args:
        network: with the aggregate.
        task: of the round.
        before: norm of the parameters before the round.
        limit: largest factor by which the norm may change.
    """
    after = parameter_norm(network)
    largest = 0.0 if task.newton is not None else task.method.largest_parameter(network)  # no site sends a fit's
    jump = after / before if task.network != STATISTICS else 1.0
    if not (math.isfinite(after) and 1 / limit <= jump <= limit):
        return FederationError(
            found=Message(
                "The norm of the parameters went from {before:.3g} to {after:.3g}.", before=before, after=after
            ),
            needed=Message("At most a factor of {limit:g} in a round.", limit=limit),
            advice=Message("Lower the learning rate or the server's rate; read the nodes' logs."),
        )
    if task.method.masked and largest > MASKED_RANGE:
        return FederationError(
            found=Message("A parameter of size {size:.2f} after the aggregation.", size=largest),
            needed=Message("Parameters within ±{limit:g}: larger ones would be clipped.", limit=MASKED_RANGE),
            advice=Message("Lower the learning rate, or set secure_aggregation = “none”."),
        )
    return None
