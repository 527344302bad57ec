"""Local differential privacy: its cost for a site (epsilon), and per-patient gradients of our networks.

A site trains with DP-SGD (Abadi et al., CCS 2016; Opacus): batches drawn by Poisson sampling, every patient's gradient
clipped to norm `clip`, Gaussian noise of `noise` times `clip` added to their sum. Renyi accounting (Mironov 2017;
conversion of Balle et al., AISTATS 2020), composed over all training requests to the site, those of repeated rounds
included.

It covers what training derives from a patient: the parameters. It does not cover the validation losses and risk tables
(of other patients, those that validate) and the number of training patients.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache
from math import ceil, inf
from typing import TYPE_CHECKING

from opacus.accountants.analysis import rdp
from opacus.grad_sample import register_grad_sampler

from inference.network import SurvivalHead

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

_ORDERS = [1 + step / 10 for step in range(1, 100)] + [float(order) for order in range(12, 257)]


@dataclass(frozen=True)
class PrivacySpending:
    """One training of a site with DP-SGD.

    Attributes:
        patients: number of the site's training patients.
        batch_size: mean number of patients in a batch.
        epochs: total passes over the patients, rounds times local epochs.
        noise: standard deviation of the noise, in units of the clipping norm; None without.
    """

    patients: int
    batch_size: int
    epochs: int
    noise: float | None


def total_epsilon(trainings: Iterable[PrivacySpending], delta: float) -> float:
    """Epsilon of (epsilon, delta)-differential privacy of a site's training patients, of all trainings together.

    The Renyi curves are added, then converted once. Patients who were not in every training spent less.

    Args:
        trainings: on one site's patients, in any order.
        delta: probability with which the bound may fail.
    """
    passes: Counter[tuple[int, float]] = Counter()
    for one in trainings:
        if one.noise is None:
            return inf
        batches = ceil(one.patients / one.batch_size)
        passes[batches, one.noise] += batches * one.epochs
    if not passes:
        return 0.0
    spent = sum(_curve(batches, noise) * steps for (batches, noise), steps in passes.items())
    return float(rdp.get_privacy_spent(orders=_ORDERS, rdp=spent, delta=delta)[0])


def epsilon(*, patients: int, batch_size: int, epochs: int, noise: float, delta: float) -> float:
    """Epsilon of a single training (see `PrivacySpending` and `total_epsilon`)."""
    return total_epsilon([PrivacySpending(patients, batch_size, epochs, noise)], delta)


@cache
def _curve(batches: int, noise: float) -> NDArray[np.float64]:
    """Renyi divergence by order of one step that takes a patient with probability 1 / batches."""
    curve: NDArray[np.float64] = rdp.compute_rdp(q=1.0 / batches, noise_multiplier=noise, steps=1, orders=_ORDERS)
    return curve


def _baseline_gradients(layer: SurvivalHead, _: list[Tensor], backprops: Tensor) -> dict[nn.Parameter, Tensor]:
    """Per-patient gradients of the baseline hazards; without them, Opacus takes those of the clinical terms as 0."""
    return {layer.baseline: backprops}


register_grad_sampler(SurvivalHead)(_baseline_gradients)
