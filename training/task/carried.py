"""What a site adds to a round's sums beside its parameters: losses and tables of its validation patients.

They travel as one more parameter of the network, so that secure aggregation covers them: the coordinating centre sees
the sums over all sites. A sum c of a site with n training patients is sent as c / n, which the average weighted by n
turns into the sum over all sites divided by all training patients. Under masks a value of 0 to 1 takes two of the
2^13 levels of Fed-BioMed, the second for what the first leaves, so that counts are exact and the others nearly so.

The vector is the first parameter of the network, and its first entry says nothing: Fed-BioMed masks a number that both
sides know, to find sums that are incomplete, as it masks the first entry, which therefore is no secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from fedpet.core.errors import FederationError
from fedpet.core.messages import Message
from inference.calibration import SEGMENT_ENDS
from training.task.quantization import from_digits, to_digits
from training.task.risk_table import BINS, FINE_BINS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    Floats = NDArray[np.float64]

CARRIED: Final = "carried"  # name of the parameter
ALL_SITES: Final = "all sites"  # in the place of a site's name, where only the sum is known
LARGEST_LOSS: Final = 16.0  # of a patient; a larger one counts as this
_LOWEST_SCORE = -8.0  # of a bin's mean; the highest is its negative
_COUNTS = {
    "compared",
    "sites",
    "vetoes",
    "worse",
    "changed",
    "n",
    "events",
    "concept_n",
    "followed",
    "patients",
    "free",
    "failed",
}


@dataclass(frozen=True)
class CarriedValues:
    """The names of the sums and the largest value of each for one training patient, in the order of the vector.

    Attributes:
        intervals: of time, of the input contract.
    """

    intervals: int

    @property
    def largest(self) -> dict[str, float]:
        """By name of the sum, the largest share of one patient."""
        sums = {"nothing": 1.0, "sites": 1.0, "n": 1.0, "loss": LARGEST_LOSS, "loss_square": LARGEST_LOSS**2}
        sums |= {"concept_n": 1.0, "concept_loss": 4 * LARGEST_LOSS, "events": 4.0, "followed": 1.0}
        sums |= {"vetoes": 1.0, "worse": 1.0, "changed": 1.0}
        sums |= {"change": 2 * LARGEST_LOSS, "change_square": LARGEST_LOSS**2}
        sums |= {"compared": 1.0, "gain": 2 * LARGEST_LOSS, "gain_square": LARGEST_LOSS**2}
        for b in range(BINS):
            sums |= {f"patients_{b}": 1.0, f"score_{b}": -2 * _LOWEST_SCORE}
            sums |= {f"{name}_{b}_{k}": 1.0 for k in range(self.intervals) for name in ("exposure", "events")}
        for e in range(len(SEGMENT_ENDS)):
            sums |= {f"{name}_{e}_{b}": 1.0 for b in range(FINE_BINS) for name in ("free", "failed")}
        return sums

    @property
    def size(self) -> int:
        """Length of the vector."""
        return 2 * len(self.largest)

    def encode(self, metrics: Mapping[str, float], patients: int, *, masked: bool) -> Tensor:
        """The vector of a site.

        Args:
            metrics: of its validation, means where the name says so (`training.node.steps.ValidationMetrics`).
            patients: number of its training patients, by which the average is weighted.
            masked: under secure aggregation.

        Raises:
            FederationError: a value is not finite, or a sum is larger than the training patients allow.
        """
        sums, largest = _sums(metrics), self.largest
        share = np.array([sums.get(name, 0.0) / (patients * limit) for name, limit in largest.items()])
        if not (np.isfinite(share).all() and (share >= 0).all() and (share <= 1).all()):
            wrong = next(name for name, value in zip(largest, share, strict=True) if not 0 <= value <= 1)
            raise FederationError(
                found=Message("A sum of the validation, “{name}”, that cannot be sent.", name=wrong),
                needed=Message("Finite losses, and fewer validation patients than training patients."),
                advice=Message("Lower the learning rate; read the node's log."),
            )
        return to_digits(share, masked=masked)

    def decode(self, means: Sequence[float], patients: int, *, masked: bool) -> dict[str, float]:
        """Metrics over all sites of an average; the inverse of `encode`.

        Args:
            means: weighted by training patients: of the vector in clear, of its levels under masks.
            patients: number of training patients of all these sites.
            masked: under secure aggregation.
        """
        share = from_digits(means[: self.size], masked=masked)
        largest = self.largest
        limits = np.array(list(largest.values()))
        sums = dict(zip(largest, (share * patients * limits).tolist(), strict=True))
        counts = {name: float(round(value)) for name, value in sums.items() if {name, name.split("_")[0]} & _COUNTS}
        return _metrics(sums | counts)


def _sums(metrics: Mapping[str, float]) -> dict[str, float]:
    """Sums in place of means."""
    sums = {name: value for name, value in metrics.items() if not name.startswith("score_")}
    n, drawn = metrics.get("n", 0.0), metrics.get("concept_n", 0.0)
    for name, count in (("loss", n), ("loss_square", n), ("concept_loss", drawn)):
        if name in metrics:
            sums[name] = metrics[name] * count
    if changed := metrics.get("changed"):
        sums["change"] = (metrics["change"] + LARGEST_LOSS) * changed
        sums["change_square"] = metrics["change_square"] * changed
    if compared := metrics.get("compared"):
        sums["gain"] = (metrics["gain"] + LARGEST_LOSS) * compared
        sums["gain_square"] = metrics["gain_square"] * compared
    for b in range(BINS):
        if f"score_{b}" in metrics:
            mean = min(max(metrics[f"score_{b}"], _LOWEST_SCORE), -_LOWEST_SCORE)
            sums[f"score_{b}"] = (mean - _LOWEST_SCORE) * metrics[f"patients_{b}"]
    return sums


def _metrics(sums: Mapping[str, float]) -> dict[str, float]:
    """Means in place of sums, without empty bins; the inverse of `_sums`."""
    found: dict[str, float] = {"sites": sums["sites"], "n": sums["n"], "events": sums["events"]}
    for name, divisor in (("loss", "n"), ("loss_square", "n"), ("concept_loss", "concept_n")):
        if sums[divisor]:
            found[name] = sums[name] / sums[divisor]
    if sums["concept_n"]:
        found["concept_n"] = sums["concept_n"]
    for b in range(BINS):
        if count := sums[f"patients_{b}"]:
            found[f"patients_{b}"] = count
            found[f"score_{b}"] = sums[f"score_{b}"] / count + _LOWEST_SCORE
            cells = [name for name in sums if name.startswith((f"exposure_{b}_", f"events_{b}_"))]
            found |= {name: sums[name] for name in cells}
    found |= {name: sums[name] for name in ("vetoes", "worse") if sums[name]}
    if changed := sums["changed"]:
        found |= {"changed": changed, "change": sums["change"] / changed - LARGEST_LOSS}
        found["change_square"] = sums["change_square"] / changed
    if compared := sums["compared"]:
        found |= {"compared": compared, "gain": sums["gain"] / compared - LARGEST_LOSS}
        found["gain_square"] = sums["gain_square"] / compared
    if sums["followed"]:
        found["followed"] = sums["followed"]
        found |= {name: value for name, value in sums.items() if value and name.startswith(("free_", "failed_"))}
    return found
