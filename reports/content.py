"""What a report is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clinical.record import ClinicalRecord
    from explain.explanation import Explanation
    from imaging.references import OrganReferences
    from imaging.study import Study
    from inference.prediction import Prediction

Decision = Literal["accept", "amend", "reject"]


@dataclass(frozen=True)
class ReaderVerdict:
    """What a reader decided on the model's answer, and when it was signed (ISO 8601)."""

    decision: Decision
    comment: str
    reader: str
    signed: str


@dataclass(frozen=True, eq=False)
class ReportContent:
    """One case, as the report needs it.

    Attributes:
        report_uid: identifier of this report, printed on every page.
        created: local date and time of the report, ISO 8601, printed in the body.
        centre: name of the centre, "" where not configured.
        card: the bundle's `card.json` (provenance, metrics, limits).
        explanation: None where it was not asked for or the model abstained.
        verdict: None while the answer was not signed by a reader: the report is a draft and says so.
        version: of the reading; a change after a signature makes the next one.
        references: uptake of healthy organs; None where it was not measured.
    """

    report_uid: str
    created: str
    centre: str
    study: Study
    record: ClinicalRecord
    prediction: Prediction
    explanation: Explanation | None
    card: Mapping[str, Any]
    verdict: ReaderVerdict | None = None
    version: int = 1
    references: OrganReferences | None = None
