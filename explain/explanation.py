"""Explanation of a prediction: attributions and their sanity checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedpet.core.notebook import html_table

if TYPE_CHECKING:
    from fedpet.core.messages import Message
    from fedpet.imaging.volume import Volume
    from inference.prediction import PredictionOrigin


@dataclass(frozen=True)
class SanityCheckResult:
    """One sanity check of the attribution; where it failed, the overlay is hidden.

    Attributes:
        name: stable identifier, such as "completeness".
        passed: whether it passed.
        reason: what was found, with what was expected.
    """

    name: str
    passed: bool
    reason: Message


@dataclass(frozen=True)
class ScoreTerm:
    """What one part of the patient adds to the risk score, and what it does to the answer.

    Attributes:
        name: "lesion:<number>", "variable:<field of the record>", "organ:<quantity of the lesion table>", "model:<input
            of the model>", "common": what several lesions do together beyond what each does alone, or "remainder": what
            the other terms leave of the difference.
        label: the part, with the patient's own value.
        score: term of the score before calibration, against the reference; positive raises the risk.
        points: measured: the probability of being progression-free at 12 months with the part minus that without it
            (a lesion) or with it as in the reference patient (a variable), -1 to 1; of "common", that with all lesions
            minus that without any, less the points of each. None where it was not measured.
        error: standard error of `score` where it was sampled; 0 where it is exact.
    """

    name: str
    label: Message
    score: float
    points: float | None = None
    error: float = 0.0

    @property
    def lesion(self) -> int | None:
        """Number of the lesion; None where it is none."""
        kind, _, number = self.name.partition(":")
        return int(number) if kind == "lesion" else None


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why a patient's risk score differs from that of the reference: the same patient without the lesions.

    Attributes:
        method: for example "measured effect of each lesion, spread over its voxels by integrated gradients".
        attribution: float32 on the PET grid, signed: positive raises the risk score. Sums to the terms of the images.
        lesion_share: lesion id -> share of the absolute attribution (0 to 1); key 0 is everything outside lesions.
        variable_contributions: clinical variable -> signed contribution to the risk score.
        completeness_error: |sum of attributions - score difference| / max(|score difference|, 1e-3).
        gates: the sanity checks; the overlay is shown only where all passed.
        description: the method as a sentence for people; None where none was given.
        origin: the images and the record of the prediction that is explained.
        risk_score: of the prediction that is explained.
        terms: the parts of the score's difference from `reference_score`: they sum to it.
        reference_score: before calibration, of the reference.
    """

    method: str
    attribution: Volume
    lesion_share: dict[int, float]
    variable_contributions: dict[str, float]
    completeness_error: float
    gates: tuple[SanityCheckResult, ...]
    description: Message | None = None
    origin: PredictionOrigin | None = None
    risk_score: float | None = None
    terms: tuple[ScoreTerm, ...] = ()
    reference_score: float | None = None

    def __repr__(self) -> str:
        failed = ", ".join(gate.name for gate in self.gates if not gate.passed)
        return f"Explanation({self.method}; {f'NOT RELIABLE: {failed} failed' if failed else 'reliable'})"

    def _repr_html_(self) -> str:
        """The checks; where all passed, the share of each lesion."""
        rows = [(gate.name, "passed" if gate.passed else "FAILED", str(gate.reason)) for gate in self.gates]
        table = html_table(self.method, rows, header=("check", "result", "reason"))
        if not self.reliable:
            return table
        shares = [(str(lesion) if lesion else "outside", f"{share:.0%}") for lesion, share in self.lesion_share.items()]
        return table + html_table("Share of the attribution", shares, header=("lesion", "share"))

    @property
    def reliable(self) -> bool:
        """Whether every sanity check passed."""
        return all(gate.passed for gate in self.gates)
