"""The examinations of one patient: which there are, and the earlier one beside the images of a case."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.cases.reading import Reading, is_locked
from app.cases.tables import ANSWERED, Status
from app.screens.case import lesions
from app.screens.layout.frame import signed_in
from app.services import FILES, services
from app.viewer.description import has_images, read_description
from fedpet.core.messages import Message
from fedpet.imaging.response.comparison import align_bodies

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from app.cases.stored_result import StoredResult
    from app.cases.tables import Case
    from app.screens.layout.localization import Localization

_BY = {
    "landmarks": Message("aligned by landmarks of the spine"),
    "bounds": Message("aligned by the bounds of the body"),
}


def of_patient(case: Case) -> Sequence[Case]:
    """All cases of the patient that this user may see, oldest first."""
    known = services().store.find_by_patient(case.pseudonym) if case.pseudonym else ()
    return [one for one in known if signed_in().sees(one)]


def is_read(case: Case) -> bool:
    """Whether a reader has confirmed the lesions of an answer; where none is kept back, has read it."""
    if case.status not in ANSWERED or is_locked(case, services().settings):
        return False
    return case.status is not Status.READY or Reading.of(case).confirmed is not None


def earlier_images(
    case: Case, result: StoredResult | None, here: Mapping[str, Any], loc: Localization
) -> dict[str, Any] | None:
    """What the viewer needs of the latest earlier examination of the patient; None where there are no images of one.

    Its lesions are there where its reader confirmed them. `shift` (mm) takes a point of the case to the earlier one.

    Args:
        case: the case.
        result: its answer; None before there is one.
        here: the description of its volumes (`read_description`).
        loc: the language in force.
    """
    folder = services().store.folder
    before = [one for one in of_patient(case) if "" < one.study_date < case.study_date and has_images(folder(one.id))]
    if not before:
        return None
    former = before[-1]
    there = read_description(folder(former.id))
    if there["quantity"] != here["quantity"]:
        return None  # one range of the PET cannot suit both
    found = former.stored_result if is_read(former) else None
    landmarks = [{} if one is None else one.landmarks_mm for one in (found or former.stored_result, result)]
    bodies = [(tuple(low), tuple(high)) for low, high in (there["body"], here["body"])]
    alignment = align_bodies((landmarks[0], bodies[0]), (landmarks[1], bodies[1]))
    shown = ("pet", "ct") if found is None else ("pet", "ct", "lesions")
    return {
        **there,
        "base": f"{FILES}/{former.id}",
        "volumes": [one for one in there["volumes"] if one["name"] in shown],
        "lesions": lesions.table_data(former, found, loc, services().settings) | {"choices": None},
        "sul": lesions.lean_share(former),
        "shift": alignment.shift,
        "date": loc.day(former.study_date),
        "note": loc.translate(_BY[alignment.by]),
    }
