"""The content of a report."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from fedpet.core.errors import PredictionMismatchError
from fedpet.core.messages import Message
from fedpet.imaging.analysis import StudyAnalysis
from reports.lesion_numbers import number_lesions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from explain.explanation import Explanation
    from fedpet.clinical.record import ClinicalRecord
    from fedpet.imaging.anatomy.reference_uptake import OrganReferences
    from fedpet.imaging.response.assessment import ResponseAssessment
    from fedpet.imaging.study import PetCtStudy, QualityCheck
    from inference.bundle.storage import Bundle
    from inference.prediction import Prediction
    from inference.record_concordance import RecordConcordance

Decision = Literal["accept", "amend", "reject"]

_SAME_SCORE = 1e-3  # log hazard


@dataclass(frozen=True)
class ReaderDecision:
    """A reader's decision on the model's answer, and the time of the signature (ISO 8601).

    `shown` is the SHA-256 of what was displayed to the reader who decided, "" where nothing is known of it;
    `conclusion` is what stands in the place of the sentences that the report composes, "" for these; `estimate` is what
    the reader held probable before the answer was shown (no progression at 12 months, 0 to 1), None where nothing was
    said; `key_points` are the points (LPS mm) of the images that the reader kept.
    """

    decision: Decision
    comment: str
    reader: str
    signed: str
    shown: str = ""
    conclusion: str = ""
    estimate: float | None = None
    key_points: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True, eq=False)
class ReportContent:
    """One case, as the report needs it.

    Attributes:
        report_uid: identifier of this report, printed on every page.
        created: local date and time of the report, ISO 8601, printed in the body.
        checks: all quality checks of the images, those of the headers included.
        centre: name of the centre, "" where not configured.
        card: the bundle's `card.json` (provenance, metrics, limits).
        explanation: None where none was requested, or the model abstained.
        verdict: None until a reader signs the answer; the report is then a draft and says so.
        version: of the reading, from 1; a change after a signature makes the next one.
        concordance: the comparison of record and images; None where there was none.
        references: uptake of healthy organs; None where it was not measured.
        foci: number of a lesion in the report -> its number among the hot components of the delineation.
        response: comparison with an earlier examination of the patient; None where there is none.
        tracking: number of a lesion in the report -> DICOM tracking UID of the same lesion at the earlier examination.
    """

    report_uid: str
    created: str
    centre: str
    study: PetCtStudy
    checks: tuple[QualityCheck, ...]
    record: ClinicalRecord
    prediction: Prediction
    explanation: Explanation | None
    card: Mapping[str, Any]
    verdict: ReaderDecision | None = None
    version: int = 1
    references: OrganReferences | None = None
    concordance: RecordConcordance | None = None
    foci: Mapping[int, int] = field(default_factory=dict)
    response: ResponseAssessment | None = None
    tracking: Mapping[int, str] = field(default_factory=dict)


def report_content(
    study: PetCtStudy | StudyAnalysis,
    record: ClinicalRecord,
    prediction: Prediction,
    explanation: Explanation | None = None,
    *,
    model: Bundle,
    centre: str = "",
    verdict: ReaderDecision | None = None,
    version: int = 1,
    concordance: RecordConcordance | None = None,
) -> ReportContent:
    """Put the parts of a case together for a report that is dated now; lesions are numbered from 1 without gaps.

    Args:
        study: the images, or their analysis.
        record: the clinical record.
        prediction: of both.
        explanation: of the prediction; None where there is none.
        model: the bundle that predicted.
        centre: name of the centre, printed on every page.
        verdict: of the reader who signs; None for a draft.
        version: of the reading.
        concordance: what of record and images was compared; None where nobody did.

    Raises:
        PredictionMismatchError: the prediction is not of these images, this record and this model, or the explanation
            not of it.
    """
    analysis = StudyAnalysis.of(study)
    prediction.require_origin(analysis, record, model.digest)
    if explanation is not None:
        _require_explained(explanation, prediction)
    numbered = number_lesions(prediction, explanation)
    return ReportContent(
        report_uid=f"2.25.{uuid.uuid4().int}",  # a DICOM UID derived from a UUID (PS3.5 B.2)
        created=datetime.now().astimezone().isoformat(timespec="seconds"),
        centre=centre,
        study=analysis.study,
        checks=analysis.checks,
        record=record,
        prediction=numbered.prediction,
        explanation=numbered.explanation,
        card=model.card,
        verdict=verdict,
        version=version,
        references=analysis.references_beside(numbered.prediction.lesion_labels),
        concordance=concordance,
        foci=numbered.foci,
    )


def _require_explained(explanation: Explanation, prediction: Prediction) -> None:
    lesions = {lesion.id for lesion in prediction.quantities.lesions}
    same_images = explanation.attribution.on_grid_of(prediction.lesion_labels)
    same_answer = explanation.origin == prediction.origin and _same_score(explanation, prediction)
    if same_images and same_answer and {*explanation.lesion_share} - {0} == lesions:
        return
    raise PredictionMismatchError(
        found=Message("The explanation is of another prediction: other images, record, answer or lesions."),
        needed=Message("The explanation of this prediction, or none."),
        advice=Message("Explain the prediction again."),
    )


def _same_score(explanation: Explanation, prediction: Prediction) -> bool:
    """Equal but for what another number of threads changes; both absent is no explanation of anything."""
    if explanation.risk_score is None or prediction.risk_score is None:
        return False
    return abs(explanation.risk_score - prediction.risk_score) < _SAME_SCORE
