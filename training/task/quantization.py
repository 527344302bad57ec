"""Rounding under secure aggregation, without the drift that Fed-BioMed's own has.

Fed-BioMed 6.4.1 turns a parameter x in [-R, R] into the integer floor((x + R) T / 2R) with T = 2^13, sums the integers
weighted by patients, floors their mean and returns mean * 2R / (T - 1) - R. The two floors pull parameters down in
every round (half a step on average, measured), and an update smaller than a step may vanish for ever. So a site first
adds a random part of a step, which makes the floor correct on average (stochastic rounding), and the researcher uses
the mean as it is. The random part is seeded, so that a resumed training equals the uninterrupted one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from fedpet.core.errors import FederationError
from fedpet.core.messages import Message
from training.task.method import MASKED_RANGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from training.task.method import FederatedMethod

    Floats = NDArray[np.float64]

QUANTIZATION_LEVELS = 2**13  # Fed-BioMed's; `tests/training/node/test_fedbiomed_names.py` pins it
STEP = 2 * MASKED_RANGE / QUANTIZATION_LEVELS
_TOP = QUANTIZATION_LEVELS - 1


def to_digits(share: Floats, *, masked: bool) -> Tensor:
    """(2n,) two digits of each of n values in [0, 1]: under masks levels, in clear a float32 and what it leaves."""
    if not masked:
        high = share.astype(np.float32)
        return torch.from_numpy(np.concatenate([high, (share - high).astype(np.float32)]))
    high = np.floor(share * _TOP)
    levels = np.concatenate([high, np.round((share * _TOP - high) * _TOP)])
    return torch.from_numpy((levels + 0.5) * STEP - MASKED_RANGE).float()  # rounded down to its level


def from_digits(means: Sequence[float], *, masked: bool) -> Floats:
    """(n,) the inverse of `to_digits`, or of an average: of what was sent in clear, of the levels under masks."""
    high, low = np.split(np.asarray(means, float), 2)
    return np.asarray((high + low / _TOP) / _TOP if masked else high + low)


def quantize(parameters: dict[str, Tensor], method: FederatedMethod, seed: int) -> dict[str, Tensor]:
    """Parameters whose rounding by Fed-BioMed is correct on average; personal ones stay as they are.

    Raises:
        FederationError: a parameter lies outside the range, where Fed-BioMed would clip it with only a warning, or is
            nan.
    """
    generator = torch.Generator().manual_seed(seed)
    return {
        name: value if method.is_personal(name) else _with_random_part(value, generator)
        for name, value in parameters.items()
    }


def levels(value: Tensor) -> Tensor:
    """The levels to which Fed-BioMed rounds parameters, 0 to 2^13 - 1, as numbers."""
    return torch.floor((value.double() + MASKED_RANGE) / STEP)


def dequantize(
    means: Sequence[float], clipping_range: float | None = None, target_range: int = QUANTIZATION_LEVELS
) -> list[float]:
    """Parameters from the `means` of the sites' integers; replaces Fed-BioMed's own function."""
    limit = MASKED_RANGE if clipping_range is None else clipping_range
    return [mean * 2 * limit / target_range - limit for mean in means]


def _with_random_part(value: Tensor, generator: torch.Generator) -> Tensor:
    largest = float(value.abs().max())
    if not largest <= MASKED_RANGE - 2 * STEP:
        raise FederationError(
            found=Message("A parameter of size {size:.2f} after local training.", size=largest),
            needed=Message("Parameters within ±{limit:g}: larger ones would be clipped.", limit=MASKED_RANGE),
            advice=Message("Lower the learning rate, or set secure_aggregation = “none”."),
        )
    part = torch.rand(value.shape, generator=generator, dtype=torch.float64)
    return (value.double().cpu() + part * STEP).to(value)
