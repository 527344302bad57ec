"""Rounding under secure aggregation, without the drift that Fed-BioMed's own has.

Fed-BioMed 6.4.1 turns a parameter x in [-R, R] into the integer floor((x + R) T / 2R) with T = 2^13, sums the integers
weighted by patients, floors their mean and returns mean * 2R / (T - 1) - R. The two floors pull parameters down in
every round (half a step on average, measured), and an update smaller than a step may vanish for ever. So a site adds a
random part of a step before that, which makes the floor right on average (stochastic rounding), and the researcher
takes the mean as it is. The random part is seeded, so that a resumed training is the uninterrupted one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fedpet.errors import FederationError
from fedpet.messages import Message
from training.method import MASKED_RANGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from training.method import Method

MASKED_STEPS = 2**13  # Fed-BioMed's; `tests/test_training_internals.py` pins it
STEP = 2 * MASKED_RANGE / MASKED_STEPS


def prepare(parameters: dict[str, Tensor], method: Method, seed: int) -> dict[str, Tensor]:
    """Parameters whose rounding by Fed-BioMed is right on average; personal ones stay as they are.

    Raises:
        FederationError: a parameter lies outside the range and would be clipped with a warning only, or is no number.
    """
    generator = torch.Generator().manual_seed(seed)
    return {name: value if method.personal(name) else _moved(value, generator) for name, value in parameters.items()}


def restore(
    means: Sequence[float], clipping_range: float | None = None, target_range: int = MASKED_STEPS
) -> list[float]:
    """The parameters of which `means` are the means of the sites' integers, in place of Fed-BioMed's own."""
    limit = MASKED_RANGE if clipping_range is None else clipping_range
    return [mean * 2 * limit / target_range - limit for mean in means]


def _moved(value: Tensor, generator: torch.Generator) -> Tensor:
    largest = float(value.abs().max())
    if not largest <= MASKED_RANGE - 2 * STEP:
        raise FederationError(
            found=Message("A parameter of size {size:.2f} after local training.", size=largest),
            needed=Message("Parameters within ±{limit:g}: larger ones would be clipped.", limit=MASKED_RANGE),
            advice=Message("Lower the learning rate, or set secure_aggregation = “none”."),
        )
    part = torch.rand(value.shape, generator=generator, dtype=torch.float64)
    return (value.double().cpu() + part * STEP).to(value)
