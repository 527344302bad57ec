"""What the model answers for one patient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from fedpet.messages import Message
    from imaging.delineation import Component
    from imaging.lesions import Quantities
    from imaging.volume import Volume

EndpointName = Literal["early_failure_3m", "dcb_6m", "pfs_12m"]
RiskGroup = Literal["low", "intermediate", "high"]
Verdict = Literal["free", "progression", "indeterminate"]


@dataclass(frozen=True)
class EndpointProbability:
    """Probability of being progression-free at `months` (for "early_failure_3m": of NOT being), with its interval.

    Attributes:
        base_rate: the same probability in the whole training cohort.
        verdict: the outcome at `months` that the conformal set holds, or "indeterminate" where it holds both; None
            where the bundle has no threshold for the endpoint.
    """

    name: EndpointName
    months: float
    probability: float
    lower: float
    upper: float
    base_rate: float
    verdict: Verdict | None = None


@dataclass(frozen=True)
class SurvivalCurve:
    """Progression-free survival; the first point is (0 months, 1.0)."""

    months: tuple[float, ...]
    probability: tuple[float, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]


@dataclass(frozen=True)
class ModelReference:
    """Which model answered, and on what."""

    name: str
    version: str
    digest: str  # SHA-256 of the bundle's SHA256SUMS
    contract_fingerprint: str
    synthetic: bool  # trained on synthetic patients
    provider: str  # ONNX Runtime provider that ran, for example "CPUExecutionProvider"


@dataclass(frozen=True, eq=False)
class Prediction:
    """The answer, or the reason why there is none.

    Where `abstained` is set, `endpoints` is empty, `survival`, `risk_group` and `risk_score` are None; lesions and
    quantities are still there.

    Attributes:
        risk_score: calibrated linear predictor (log hazard scale); higher is worse.
        interval_level: coverage of the intervals and of the conformal sets, for example 0.80.
        missing: clinical variables the model uses and did not get (names of `ClinicalRecord` fields).
        contributions: additive terms of the uncalibrated score: clinical variables by field name, image concepts by
            name prefixed with "image:"; they sum, with the intercept, to the score.
        lesion_labels: label volume on the PET grid; quantities refer to it.
        components: all hot components with the decision on each; empty where the reader drew the lesions.
        component_labels: all of them by number on the PET grid; None where the reader drew the lesions.
        painted_out: those that the reader took out, whose uptake the model was not shown.
        pet_seen: the PET as the model saw it, where something was painted out; None: the PET of the study.
    """

    model: ModelReference
    abstained: Message | None
    endpoints: tuple[EndpointProbability, ...]
    survival: SurvivalCurve | None
    risk_group: RiskGroup | None
    risk_score: float | None
    interval_level: float
    missing: tuple[str, ...]
    contributions: dict[str, float]
    quantities: Quantities
    lesion_labels: Volume
    components: tuple[Component, ...] = ()
    component_labels: Volume | None = None
    painted_out: tuple[int, ...] = ()
    pet_seen: Volume | None = None

    def endpoint(self, name: EndpointName) -> EndpointProbability | None:
        """The named endpoint, or None where the model abstained."""
        return next((endpoint for endpoint in self.endpoints if endpoint.name == name), None)
