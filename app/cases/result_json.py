"""Writes `result.json`: a case as plain data, for the application, the command line and other programs."""

from __future__ import annotations

from dataclasses import asdict, fields, is_dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import numpy as np

import fedpet
from app.cases.stored_result import FORMAT
from explain.explanation import Explanation, SanityCheckResult, ScoreTerm
from fedpet.core.messages import Message
from fedpet.imaging.lesions.lesion_table import LesionTable
from fedpet.imaging.volume import Volume
from inference.prediction import PredictionOrigin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.cases.stored_result import StoredExplanation
    from fedpet.clinical.record import ClinicalRecord
    from fedpet.imaging.analysis import StudyAnalysis
    from inference.prediction import Prediction
    from inference.record_concordance import RecordConcordance

# Beside the answer, not within it: the answer that is signed is compared with the stored one, field by field.
MEASURED_AGAINST: Final = {
    "prediction.contributions": (
        "score before calibration (log hazard); each input against its mean in the input contract (0: the reference"
        " patient); positive raises the risk"
    ),
    "explanation.terms": (
        "score: before calibration (log hazard), against this patient without the lesions, with record and organ ratios"
        " of the reference patient (what is missing stays missing); positive raises the risk. points: probability of"
        " being progression-free at 12 months with the part minus without it; negative is worse. common: what the"
        " lesions do together beyond the points of each"
    ),
}


def result_json(
    analysis: StudyAnalysis,
    record: ClinicalRecord,
    prediction: Prediction,
    explanation: Explanation | None,
    concordance: RecordConcordance | None = None,
) -> dict[str, Any]:
    """The case as JSON-compatible data. Images stay in their own files; the patient appears by pseudonym only."""
    study = analysis.study
    return {
        "format": FORMAT,
        "software": f"fedpet {fedpet.__version__}",
        "pseudonym": study.pseudonym,
        "study": {
            "date": study.study_date,
            "pet": plain(study.pet_facts),
            "series": plain(study.series),
            "geometry": {"pet": _geometry(study.pet), "ct": _geometry(study.ct)},
            "corrections": plain(study.corrections),
        },
        "checks": plain(analysis.checks),
        "concordance": plain(concordance),
        "mask": mask_json(analysis),
        "record": {name: value for name, value in asdict(record).items() if value is not None},
        "prediction": plain(prediction),
        "explanation": plain(explanation),
        "measured_against": MEASURED_AGAINST,
    }


def mask_json(analysis: StudyAnalysis) -> dict[str, Any] | None:
    """What was read of the reader's mask (`fedpet.imaging.lesions.mask_audit.MaskAudit`) and its fit."""
    return None if analysis.mask is None else plain(analysis.mask.audit) | {"fit": plain(analysis.mask_fit)}


def inspection_json(analysis: StudyAnalysis) -> dict[str, Any]:
    """What the checks of the images found, before any answer; "refused" where the SUV cannot be computed."""
    study = analysis.study
    refusal = study.suv_refusal
    return {
        "date": study.study_date,
        "pet": plain(study.pet_facts),
        "patient": plain(study.patient),
        "series": plain(study.series),
        "geometry": {"pet": _geometry(study.pet), "ct": _geometry(study.ct)},
        "checks": plain(analysis.checks),
        "corrections": plain(study.corrections),
        "refused": None
        if refusal is None
        else {name: plain(getattr(refusal, name)) for name in ("found", "needed", "advice")},
    }


def explanation_from(stored: StoredExplanation, attribution: Volume, prediction: Prediction) -> Explanation:
    """An explanation from what is stored of it, and its map on the PET grid.

    Version 0.1 did not store what was explained; there it is taken to be the prediction, as then.
    """
    recorded = stored.origin is not None
    return Explanation(
        method=stored.method,
        attribution=attribution,
        lesion_share=stored.lesion_share,
        variable_contributions=stored.variable_contributions,
        completeness_error=stored.completeness_error,
        gates=tuple(SanityCheckResult(gate.name, gate.passed, gate.reason) for gate in stored.gates),
        description=stored.description,
        origin=PredictionOrigin(stored.origin.images, stored.origin.record) if stored.origin else prediction.origin,
        risk_score=stored.risk_score if recorded else prediction.risk_score,
        terms=tuple(ScoreTerm(one.name, one.label, one.score, one.points, one.error) for one in stored.terms),
        reference_score=stored.reference_score,
    )


def plain(value: object) -> Any:  # noqa: ANN401  JSON has no narrower type
    """Dataclasses, messages and NumPy values as JSON-compatible data; a lesion table with its values, no volumes."""
    if isinstance(value, Message):
        return {"text": str(value), **_numbers(value.to_json())}
    if isinstance(value, LesionTable):
        return plain(value.to_json())
    if is_dataclass(value) and not isinstance(value, type):
        values = {field.name: getattr(value, field.name) for field in fields(value)}
        return {name: plain(inner) for name, inner in values.items() if not isinstance(inner, Volume)}
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return _scalar(value)


def _numbers(message: Mapping[str, Any]) -> dict[str, Any]:
    return {"template": message["template"], "values": {k: plain(v) for k, v in message["values"].items()}}


def _scalar(value: object) -> Any:  # noqa: ANN401  JSON has no narrower type
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, datetime):
        return value.isoformat()
    return value.value if isinstance(value, Enum) else value


def _geometry(volume: Volume | None) -> dict[str, Any] | None:
    """Shape (slices, rows, columns), spacing along (column, row, slice) in mm, centre of the first voxel in LPS mm."""
    if volume is None:
        return None
    return {
        "shape": list(volume.shape),
        "spacing_mm": [round(step, 5) for step in volume.spacing],
        "origin_mm": [round(float(x), 3) for x in volume.affine[:3, 3]],
    }
