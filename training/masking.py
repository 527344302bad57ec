"""Rounding of what a site sends under secure aggregation, without the drift that Fed-BioMed's own has.

Fed-BioMed 6.4.1 turns a parameter x in [-R, R] into the integer floor((x + R) T / 2R) with T = 2^13, sums the
integers weighted by patients, floors their mean, and returns mean * 2R / (T - 1) - R. The two floors pull parameters
down in every round (half a step on average, measured), and an update smaller than a step may vanish for ever. So a site
first moves its parameters: to the other denominator, up by the half step that the mean's floor takes, and up by a
random part of a step, after which the floor is right on average (stochastic rounding). The random part is seeded, so
that a resumed training is the uninterrupted one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fedpet.errors import FederationError
from fedpet.messages import Message
from training.method import MASKED_RANGE

if TYPE_CHECKING:
    from torch import Tensor

    from training.method import Method

MASKED_STEPS = 2**13  # Fed-BioMed's; `tests/test_training_internals.py` pins it


def prepare(parameters: dict[str, Tensor], method: Method, seed: int) -> dict[str, Tensor]:
    """Parameters whose rounding by Fed-BioMed is right on average; personal ones stay as they are.

    Raises:
        FederationError: a parameter lies outside the range and would be clipped with a warning only, or is no number.
    """
    generator = torch.Generator().manual_seed(seed)
    return {name: value if method.personal(name) else _moved(value, generator) for name, value in parameters.items()}


def _moved(value: Tensor, generator: torch.Generator) -> Tensor:
    largest = float(value.abs().max())
    if not largest <= MASKED_RANGE - 2 * _step():
        raise FederationError(
            found=Message("A parameter of size {size:.2f} after local training.", size=largest),
            needed=Message("Parameters within ±{limit:g}: larger ones would be clipped.", limit=MASKED_RANGE),
            advice=Message("Lower the learning rate, or set secure_aggregation = “none”."),
        )
    part = torch.rand(value.shape, generator=generator, dtype=torch.float64)
    steps = (value.double().cpu() + MASKED_RANGE) * (MASKED_STEPS - 1) / (2 * MASKED_RANGE) + 0.5 + part
    return (steps * _step() - MASKED_RANGE).to(value)


def _step() -> float:
    return 2 * MASKED_RANGE / MASKED_STEPS
