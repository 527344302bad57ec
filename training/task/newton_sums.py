"""What a centre adds to the sums of a Newton round, as a vector whose masked sum is exact enough for the fit.

A sum c over the n training patients of a centre is sent as its mean c / n divided by a bound, which the average
weighted by n turns into the sum over all centres. The bounds follow from the likelihood: over K intervals the
expected events of a patient are between 0 and K, h (1 - h) is at most 1/4, and an input's root mean square at a
centre is at most `LARGEST_SPREAD` (the node refuses others; means of products then are bounded by Cauchy and
Schwarz). The means are far from 0 at a centre even where their sum is 0, so that nothing smaller would do. Two digits
of 2^13 levels under masks leave a step of 2^-26 of the bound: for K = 8, 1e-6 in the mean of a gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from fedpet.core.errors import FederationError
from fedpet.core.messages import Message
from training.task.carried import LARGEST_LOSS
from training.task.newton import LARGEST_SPREAD
from training.task.quantization import from_digits, to_digits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    Floats = NDArray[np.float64]

SUMS: Final = "sums"  # name of the parameter


@dataclass(frozen=True)
class SumsLayout:
    """The parts of the vector in their order.

    Attributes:
        inputs: q.
        intervals: K.
        folds: F, of the cross-validation.
        ridges: R.
    """

    inputs: int
    intervals: int
    folds: int
    ridges: int

    @property
    def coefficients(self) -> int:
        """Number q + K of coefficients: inputs, then baseline."""
        return self.inputs + self.intervals

    @cached_property
    def bounds(self) -> dict[str, Floats]:
        """By part, the largest mean over a centre's patients of each entry.

        patients, loss (1,); gradient (1 + F, q + K) and hessian (1 + F, upper triangle): of all patients, then of those
        outside of each fold, with the centre's intercept that these have; first, second (q,): inputs and their
        squares; scores (upper triangle): outer products of the patients' scores; held_out (R,): losses; time_gradient
        (q,), time_across (q, q + K), time_own (q, q): derivatives by interactions with a function of time in [-1, 1].
        """
        q, k, x = self.inputs, self.intervals, LARGEST_SPREAD
        slope = np.array([k * x] * q + [1.0] * k)
        scale = np.array([x * np.sqrt(k)] * q + [1.0] * k)  # twice the root of a second derivative
        score = np.array([2.0 * k * x] * q + [k + 1.0] * k)  # centred by the centre's intercept
        return {
            "patients": np.ones(1),
            "loss": np.full(1, LARGEST_LOSS),
            "gradient": np.tile(slope, (1 + self.folds, 1)),
            "hessian": np.tile(self.triangle(np.outer(scale, scale) / 4.0), (1 + self.folds, 1)),
            "first": np.full(q, x),
            "second": np.full(q, x**2),
            "scores": self.triangle(np.outer(score, score)),
            "held_out": np.full(self.ridges, LARGEST_LOSS),
            "time_gradient": slope[:q],
            "time_across": np.outer(scale[:q], scale) / 4.0,
            "time_own": np.outer(scale[:q], scale[:q]) / 4.0,
        }

    @cached_property
    def _bounds(self) -> Floats:
        return np.concatenate([bound.ravel() for bound in self.bounds.values()])

    @property
    def size(self) -> int:
        """Length of the vector."""
        return 2 * len(self._bounds)

    def triangle(self, matrix: Floats) -> Floats:
        """The upper triangle of a symmetric (q + K, q + K) matrix."""
        return np.asarray(matrix[np.triu_indices(self.coefficients)])

    def symmetric(self, triangle: Floats) -> Floats:
        """The inverse of `triangle`."""
        upper = np.zeros((self.coefficients, self.coefficients))
        upper[np.triu_indices(self.coefficients)] = triangle
        return upper + np.triu(upper, 1).T

    def encode(self, sums: Mapping[str, Floats], patients: int, *, masked: bool) -> Tensor:
        """The vector of a centre.

        Args:
            sums: by part; what is not asked for is missing.
            patients: number of its training patients, by which the average is weighted.
            masked: under secure aggregation.

        Raises:
            FederationError: a sum is not finite or beyond its bound, where it would be clipped.
        """
        for name, values in sums.items():
            within = np.abs(values) <= patients * self.bounds[name]  # False for nan
            if not within.all():
                raise FederationError(
                    found=Message("A sum of the fit, “{name}”, that cannot be sent.", name=name),
                    needed=Message("Finite sums within the bounds of the likelihood: others would be clipped."),
                    advice=Message("Let the data manager check the node data; train again with a larger ridge."),
                )
        missing = {name: np.zeros_like(bound) for name, bound in self.bounds.items() if name not in sums}
        whole = {**sums, **missing}
        flat = np.concatenate([np.ravel(whole[name]) for name in self.bounds])
        return to_digits((flat / (patients * self._bounds) + 1.0) / 2.0, masked=masked)

    def decode(self, means: Sequence[float], patients: int, *, masked: bool) -> dict[str, Floats]:
        """The sums over all centres by part; the inverse of `encode`.

        Args:
            means: weighted by training patients: of the vector in clear, of its levels under masks.
            patients: number of training patients of all these centres.
            masked: under secure aggregation.
        """
        flat = (2.0 * from_digits(means, masked=masked) - 1.0) * patients * self._bounds
        found, start = {}, 0
        for name, bound in self.bounds.items():
            found[name] = flat[start : start + bound.size].reshape(bound.shape)
            start += bound.size
        return found
