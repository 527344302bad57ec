"""The explanation of a prediction, in patient space."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from explain.methods import METHOD_NAMES, choose_method
from explain.table_explanation import explain_table
from fedpet.clinical.reading import ReadRecord
from fedpet.clinical.record import ClinicalRecord
from fedpet.core.arguments import require_choice, require_type
from fedpet.core.errors import NothingToExplainError, SettingsError
from fedpet.core.messages import Message
from fedpet.core.profile import Stage, stage
from fedpet.core.progress import no_progress
from fedpet.imaging.analysis import StudyAnalysis
from fedpet.imaging.study import PetCtStudy
from inference.bundle.storage import Bundle
from inference.prediction import Prediction
from inference.record_concordance import complete_record

if TYPE_CHECKING:
    from explain.explanation import Explanation
    from explain.methods import MethodName
    from fedpet.core.progress import Progress


@stage(Stage.EXPLANATION)
def explain_prediction(
    study: PetCtStudy | StudyAnalysis,
    record: ClinicalRecord | ReadRecord,
    model: Bundle,
    prediction: Prediction,
    *,
    method: MethodName | None = None,
    steps: int = 32,
    progress: Progress = no_progress,
) -> Explanation:
    """Explain the risk score of a prediction, against the same patient without the lesions.

    A model that answers from the lesion table is explained without torch; a network that reads the images needs the
    extra `explain` (torch, Captum).

    Args:
        study: the study that was predicted, or its analysis. Where the model was not shown the uptake of components
            that the reader excluded (`Prediction.pet_seen`), neither is the explanation.
        record: the record that was predicted.
        model: the bundle that predicted.
        prediction: with a risk score.
        method: of `explain.methods.METHODS`; None for the default of such models.
        steps: points along the path, for networks that read the images.
        progress: called with a fraction (0 to 1) and a message after each pass.

    Returns:
        Terms of the score with their measured effects, signed attributions on the PET grid, and the sanity checks that
        tell whether the map may be shown (`Explanation.reliable`).

    Raises:
        ArgumentError: an argument of another type, or a method that does not explain such models.
        NothingToExplainError: the model abstained, so there is no score to explain.
        PredictionMismatchError: it was made from other images, another record or by another model.
        CorruptBundleError: the bundle's weights do not fit its network.
        SettingsError: torch or Captum is needed and not installed.
    """
    require_type("study", study, PetCtStudy, StudyAnalysis)
    require_type("record", record, ClinicalRecord, ReadRecord)
    require_type("model", model, Bundle)
    require_type("prediction", prediction, Prediction)
    if method is not None:
        require_choice("method", method, METHOD_NAMES)
    if prediction.risk_score is None:
        raise NothingToExplainError(
            found=Message("The model abstained: there is no answer to explain. {why}", why=prediction.abstained or ""),
            needed=Message("A prediction with an answer."),
            advice=Message("Mend what the model abstained for and predict again, or do without an explanation."),
        )
    analysis = StudyAnalysis.of(study)
    if isinstance(record, ReadRecord):
        record = complete_record(record.record, record.reference(), analysis.study.patient)
    prediction.require_origin(analysis, record, model.digest)
    if not model.contract.reads_images:
        chosen = choose_method(method, "table")
        return explain_table(analysis, record, model, prediction, method=chosen)
    try:
        from explain.image_explanation import explain_images  # noqa: PLC0415  brings torch, which a table does not need
    except ModuleNotFoundError as error:
        raise SettingsError(
            found=Message("The package “{name}” is not installed.", name=error.name or ""),
            needed=Message("PyTorch and Captum, which explain a network that reads images."),
            advice=Message("Install them (pip install 'fedpet[explain]'), or do without an explanation."),
        ) from error
    seen = analysis.study if prediction.pet_seen is None else replace(analysis.study, pet=prediction.pet_seen)
    chosen = choose_method(method, "images")
    return explain_images(seen, record, model, prediction, method=chosen, steps=steps, progress=progress)
