"""Why the model answered as it did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedpet.messages import Message
    from imaging.volume import Volume


@dataclass(frozen=True)
class GateVerdict:
    """One sanity gate of the attribution. A failed gate hides the overlay."""

    name: str
    passed: bool
    reason: Message


@dataclass(frozen=True, eq=False)
class Explanation:
    """Integrated gradients of the risk score, baseline: the same CT with the PET clipped at SUV 2.5.

    Attributes:
        method: for example "integrated gradients (Captum), 32 steps, PET clipped at SUV 2.5".
        attribution: float32 on the PET grid, signed: positive raises the risk score. Sums to the score difference.
        lesion_share: lesion id -> share of the absolute attribution (0 to 1); key 0 is everything outside lesions.
        variable_contributions: clinical variable -> signed contribution to the risk score.
        completeness_error: |sum of attributions - score difference| / max(|score difference|, 1e-3).
        gates: verdicts; the overlay is shown only if all passed.
        description: the method as a sentence in the reader's language; None where none was given.
    """

    method: str
    attribution: Volume
    lesion_share: dict[int, float]
    variable_contributions: dict[str, float]
    completeness_error: float
    gates: tuple[GateVerdict, ...]
    description: Message | None = None

    @property
    def reliable(self) -> bool:
        """True where every gate passed."""
        return all(gate.passed for gate in self.gates)
