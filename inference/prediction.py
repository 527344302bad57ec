"""What the model answers for one patient."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from fedpet.core.errors import PredictionMismatchError
from fedpet.core.messages import Message
from fedpet.core.notebook import html_table

if TYPE_CHECKING:
    from fedpet.clinical.record import ClinicalRecord
    from fedpet.imaging.analysis import StudyAnalysis
    from fedpet.imaging.lesions.delineation import HotComponent
    from fedpet.imaging.lesions.lesion import Quantities
    from fedpet.imaging.lesions.lesion_table import LesionTable
    from fedpet.imaging.volume import Volume

EndpointName = Literal["early_failure_3m", "dcb_6m", "pfs_12m"]
RiskGroup = Literal["low", "intermediate", "high"]
ConformalAnswer = Literal["free", "progression", "indeterminate"]


@dataclass(frozen=True)
class EndpointProbability:
    """Probability of being progression-free at `months` (for "early_failure_3m": of NOT being), with its interval.

    Attributes:
        name: of the endpoint.
        months: after the first dose.
        probability: 0 to 1.
        lower: limit of the interval.
        upper: limit of the interval.
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
    verdict: ConformalAnswer | None = None


@dataclass(frozen=True)
class SurvivalCurve:
    """Progression-free or overall survival; the first point is (0 months, 1.0).

    Attributes:
        months: after the first dose, ascending.
        probability: of being free of the event, 0 to 1, never rising.
        lower: limit of the interval at each time.
        upper: limit of the interval at each time.
    """

    months: tuple[float, ...]
    probability: tuple[float, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]


@dataclass(frozen=True)
class OverallSurvival:
    """Overall survival, a secondary endpoint: the probability of being alive at `months`, and the whole curve.

    Attributes:
        months: after the first dose.
        probability: 0 to 1.
        lower: limit of the interval.
        upper: limit of the interval.
        base_rate: the same probability in the whole training cohort.
        curve: of overall survival.
    """

    months: float
    probability: float
    lower: float
    upper: float
    base_rate: float
    curve: SurvivalCurve


@dataclass(frozen=True)
class ModelReference:
    """Which model answered, and on what."""

    name: str
    version: str
    digest: str  # SHA-256 of the bundle's SHA256SUMS
    contract_fingerprint: str
    synthetic: bool  # trained on synthetic patients
    provider: str  # ONNX Runtime provider that ran, for example "CPUExecutionProvider"

    def in_short(self) -> str:
        """Name and version, and whether real patients taught it."""
        return f"{self.name} {self.version}{', SYNTHETIC' if self.synthetic else ''}"


@dataclass(frozen=True)
class PredictionOrigin:
    """What a prediction was made from, as SHA-256 over all of it (hexadecimal); it identifies nobody.

    Attributes:
        images: `fedpet.imaging.analysis.StudyAnalysis.images_digest`.
        record: over all fields of the clinical record.
    """

    images: str
    record: str

    @classmethod
    def of(cls, analysis: StudyAnalysis, record: ClinicalRecord) -> PredictionOrigin:
        """The origin of what is predicted from these."""
        fields = json.dumps(asdict(record), sort_keys=True, default=str).encode()
        return cls(analysis.images_digest, hashlib.sha256(fields).hexdigest())


@dataclass(frozen=True, eq=False)
class Prediction:
    """The answer, or the reason why there is none.

    Where `abstained` is set, `endpoints` is empty, `survival`, `risk_group` and `risk_score` are None; lesions and
    quantities are still there.

    Attributes:
        model: which model answered.
        origin: the images and the record that it was made from.
        abstained: why there is no answer; None where there is one.
        endpoints: probabilities (0 to 1) with their intervals.
        survival: progression-free survival by month.
        risk_group: third of the training cohort that the score falls into.
        risk_score: calibrated linear predictor (log hazard scale); higher is worse.
        interval_level: coverage of the intervals and of the conformal sets, for example 0.80.
        missing: inputs that the model uses and the patient lacks: names of `ClinicalRecord` fields, and quantities of
            the lesion table that could not be measured, prefixed with "lesion:". The intervals widen with each.
        contributions: additive terms of the uncalibrated score: clinical variables by field name, image concepts by
            name prefixed with "image:", quantities of the lesion table with "lesion:"; they sum, with the intercept, to
            the score.
        quantities: of the lesions, in SUVbw.
        lesion_labels: label volume on the PET grid; quantities refer to it.
        components: all hot components with the decision on each; empty where the reader drew the lesions.
        component_labels: all of them by number on the PET grid; None where the reader drew the lesions.
        painted_out: ids of the components that the reader excluded, whose uptake was removed from the PET of the model.
        pet_seen: the PET as the model saw it, where uptake was removed; None: the PET of the study.
        table: the lesions and the uptake of healthy organs; what a model of the lesion table answers from.
        centre: whose calibration answered; "" for a centre that the model does not know, so that the interval holds how
            far centres differ; None where the bundle says nothing of centres, and the interval leaves that out.
        overall_survival: of the same patient; None where the bundle does not hold it, or the model abstained.
    """

    model: ModelReference
    origin: PredictionOrigin
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
    components: tuple[HotComponent, ...] = ()
    component_labels: Volume | None = None
    painted_out: tuple[int, ...] = ()
    pet_seen: Volume | None = None
    table: LesionTable | None = None
    centre: str | None = None
    overall_survival: OverallSurvival | None = None

    def __repr__(self) -> str:
        answer = [str(self.abstained)] if self.abstained else [_in_short(one) for one in self.endpoints]
        return f"Prediction({self.model.in_short()}: {'; '.join([*answer, repr(self.quantities)])})"

    def _repr_html_(self) -> str:
        """The endpoints, or why there is no answer; then the lesions."""
        if self.abstained:
            table = html_table(f"{self.model.in_short()} abstains", [(str(self.abstained),)])
        else:
            level = f"{self.interval_level:.0%}"
            header = ("endpoint", "months", "probability", f"{level} interval", "base rate", f"at {level}")
            rows = [
                (
                    one.name,
                    f"{one.months:g}",
                    f"{one.probability:.2f}",
                    f"{one.lower:.2f} to {one.upper:.2f}",
                    f"{one.base_rate:.2f}",
                    one.verdict or "",
                )
                for one in self.endpoints
            ]
            third = {"low": "lower", "intermediate": "middle", "high": "upper"}[self.risk_group or "intermediate"]
            title = f"{self.model.in_short()}: {third} third of the training cohort by risk"
            table = html_table(title, rows, header=header)
        return table + self.quantities._repr_html_()

    def require_origin(self, analysis: StudyAnalysis, record: ClinicalRecord, model_digest: str) -> None:
        """Refuse images, a record or a model other than those the prediction was made from.

        Args:
            analysis: of the images.
            record: the clinical record.
            model_digest: `Bundle.digest` of the model.

        Raises:
            PredictionMismatchError: they are others.
        """
        given = PredictionOrigin.of(analysis, record)
        if self.model.digest != model_digest:
            found = Message("The prediction was made by another model than the one given.")
        elif not self.lesion_labels.on_grid_of(analysis.study.pet):
            found = Message("The prediction was made from other images than those given: their PET has another grid.")
        elif self.origin.images != given.images:
            found = Message("The prediction was made from other images than those given: their voxels differ.")
        elif self.origin.record != given.record:
            found = Message("The prediction was made from another clinical record than the one given.")
        else:
            return
        raise PredictionMismatchError(
            found=found,
            needed=Message("The images, the record and the model that the prediction was made from."),
            advice=Message("Give these, or predict again."),
        )

    @property
    def confirmed(self) -> bool:
        """Whether a reader gave the lesions, or included one."""
        return reader_confirmed(self.quantities, self.components, self.component_labels)

    def endpoint(self, name: EndpointName) -> EndpointProbability | None:
        """The named endpoint, or None where the model abstained."""
        return next((endpoint for endpoint in self.endpoints if endpoint.name == name), None)


def _in_short(one: EndpointProbability) -> str:
    return f"{one.name} {one.probability:.2f} ({one.lower:.2f} to {one.upper:.2f})"


def reader_confirmed(
    quantities: Quantities, components: tuple[HotComponent, ...], component_labels: Volume | None
) -> bool:
    """Whether there are lesions and a reader gave them, or included one; arguments as in `Prediction`."""
    included = any(one.switched and one.included for one in components)
    return bool(quantities.lesions) and (component_labels is None or included)
