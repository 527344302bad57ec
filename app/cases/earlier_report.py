"""The earlier examination that a report is compared with: the last one of the patient whose report a reader signed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pydicom

from app.cases.examinations import read_examination
from app.cases.stored_result import StoredResult
from fedpet.imaging.response.assessment import assess_response

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from app.cases.store import Store
    from app.cases.tables import Case
    from fedpet.imaging.response.assessment import ResponseAssessment
    from fedpet.imaging.response.comparison import Box, Examination

_SEGMENTATION = "lesions.dcm"


@dataclass(frozen=True, eq=False)
class EarlierReport:
    """What a report takes from the earlier one.

    Attributes:
        response: of both examinations, lesions by the numbers of their reports.
        tracking: number of a lesion in the later report -> DICOM tracking UID of the same lesion in the earlier one.
    """

    response: ResponseAssessment
    tracking: dict[int, str]


def earlier_report(store: Store, case: Case, body_of: Callable[[str], Box]) -> EarlierReport | None:
    """The comparison of an answered case with the last signed examination of the same patient before it.

    Only cases of the same owner, or of nobody, are compared: a report tells nothing that its readers may not see.

    Args:
        store: of the cases.
        case: whose lesions a reader confirmed, for the comparison speaks of confirmed readings only.
        body_of: smallest and largest LPS coordinates of the body in the PET of a case, by its identifier.

    Returns:
        None where there is no earlier one.
    """
    earlier = [
        one
        for one in store.find_by_patient(case.pseudonym)
        if one.id != case.id and one.owner in {"", case.owner} and one.study_date < case.study_date
        and store.versions(one.id)
    ]  # fmt: skip
    result = case.stored_result
    if not case.pseudonym or not earlier or result is None:
        return None
    former = earlier[-1]
    version = store.versions(former.id)[0]
    before = _examination(StoredResult.read(version.result), body_of(former.id))
    after = _examination(result, body_of(case.id))
    response = assess_response(before, after)
    known = _tracking_uids(store.version_folder(former.id, version.number) / "dicom" / _SEGMENTATION)
    matched = [(match.before, match.after) for match in response.matches if match.kind == "persisting"]
    tracking = {now.id: known[then.id] for then, now in matched if then and now and then.id in known}
    return EarlierReport(response, tracking)


def _examination(result: StoredResult, body: Box) -> Examination:
    """The examination with its lesions numbered as in its report: from 1 without gaps."""
    found = read_examination(result, body)
    return replace(found, lesions=tuple(replace(one, id=place) for place, one in enumerate(found.lesions, start=1)))


def _tracking_uids(segmentation: Path) -> dict[int, str]:
    """Tracking UIDs by the number of the lesion in the report; empty where no segmentation was written."""
    if not segmentation.is_file():
        return {}
    header = pydicom.dcmread(segmentation, specific_tags=["SegmentSequence"])
    return {int(one.SegmentNumber): str(one.TrackingUID) for one in header.SegmentSequence if one.SegmentNumber}
