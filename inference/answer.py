"""The answer of a model from its inputs: read from the network's output, or at once from a lesion table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from inference.abstention import table_reason
from inference.encoding import encode
from inference.input_contract import BIOMARKERS, LEARNED_TERM
from inference.lesion_crops import image_input
from inference.missing_inputs import unknown_variance, variance_of_missing

if TYPE_CHECKING:
    from fedpet.clinical.record import ClinicalRecord
    from fedpet.core.messages import Message
    from fedpet.imaging.lesions.lesion_table import LesionTable
    from inference.bundle.storage import Bundle
    from inference.engine import Engine, EngineOutput
    from inference.lesion_crops import LesionCrops
    from inference.prediction import EndpointProbability, OverallSurvival, RiskGroup, SurvivalCurve


@dataclass(frozen=True)
class Answer:
    """What a model says of one patient; the fields are those of `inference.prediction.Prediction`.

    Attributes:
        endpoints: probabilities (0 to 1) with their intervals.
        survival: progression-free survival by month.
        risk_group: third of the training cohort that the score falls into.
        risk_score: calibrated linear predictor (log hazard scale); higher is worse.
        contributions: additive terms of the uncalibrated score by input; image biomarkers as "image:<name>", a learned
            term of the lesions as `inference.input_contract.LEARNED_TERM`.
        centre: whose calibration it is, see `inference.prediction.Prediction`.
        abstained: why the model abstains from a patient with such lesions: the rest is then an extrapolation.
        overall_survival: see `inference.prediction.Prediction`.
    """

    endpoints: tuple[EndpointProbability, ...]
    survival: SurvivalCurve
    risk_group: RiskGroup
    risk_score: float
    contributions: dict[str, float]
    centre: str | None
    abstained: Message | None = None
    overall_survival: OverallSurvival | None = None

    @classmethod
    def of(
        cls, output: EngineOutput, bundle: Bundle, abstained: Message | None = None, *, unknown: float = 0.0
    ) -> Answer:
        """Read the output of the network with the bundle's calibration.

        Args:
            output: of the network.
            bundle: whose network it is.
            abstained: why the model abstains.
            unknown: variance of the score by what is missing, see `inference.missing_inputs.unknown_variance`.
        """
        calibration, contract = bundle.calibration, bundle.contract
        curve = calibration.survival(output.hazard_logits, output.score, contract.month_edges, unknown=unknown)
        biomarkers = [f"image:{name}" for name in BIOMARKERS] if len(output.biomarkers) else []
        names = [*contract.inputs, *biomarkers]
        names += [LEARNED_TERM] if len(output.contributions) > len(names) else []
        return cls(
            endpoints=calibration.endpoints(curve),
            survival=curve,
            risk_group=calibration.risk_group(output.score),
            risk_score=calibration.score(output.score),
            contributions={name: float(x) for name, x in zip(names, output.contributions, strict=True)},
            centre=None if calibration.between_centres is None else calibration.centre,
            abstained=abstained,
        )


def answer(
    bundle: Bundle,
    engine: Engine,
    record: ClinicalRecord,
    table: LesionTable,
    *,
    crops: LesionCrops | None = None,
    confirmed: bool = False,
) -> Answer:
    """Answer from a lesion table, in milliseconds: for the lesions as they are, without some, or corrected.

    Images and record are not checked here: `inference.predict.predict` does that.

    Args:
        bundle: whose contract has quantities of the table and reads no images.
        engine: open on the same bundle.
        record: missing variables stay missing.
        table: `fedpet.imaging.quantification.measure_table`, or `LesionTable.without`.
        crops: of the same patient, where the contract has crops (`inference.lesion_crops.lesion_crops`).
        confirmed: that a reader gave or included lesions.

    Raises:
        ArgumentError: the table was measured by other rules than those of the contract, or crops are missing.
    """
    contract = bundle.contract
    clinical = encode(record, contract, table).values
    output = engine.run(image_input(contract, table, crops), clinical)
    reason = table_reason(table, clinical, contract, confirmed=confirmed)
    answered = Answer.of(output, bundle, reason, unknown=unknown_variance(record, contract, engine, table))
    if bundle.overall_survival is None:
        return answered
    unknown = variance_of_missing(bundle.overall_survival.by_input(contract), record, contract, table)
    centre = bundle.calibration.centre
    overall = bundle.overall_survival.answer(clinical, contract, unknown=unknown, centre=centre)
    return replace(answered, overall_survival=overall)
