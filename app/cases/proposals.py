"""What a reader decided on the lesions of an earlier examination, proposed at the same places of a later one."""

from __future__ import annotations

from dataclasses import dataclass
from math import dist
from typing import TYPE_CHECKING, Literal

from app.cases.examinations import read_examination
from app.cases.options import CaseOptions
from app.cases.reading import Reading
from app.cases.stored_result import StoredResult
from app.cases.tables import ANSWERED
from fedpet.imaging.response.comparison import align

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from app.cases.store import Store
    from app.cases.stored_result import StoredComponent
    from app.cases.tables import Case
    from fedpet.imaging.response.comparison import Box

    Point = tuple[float, float, float]  # LPS, mm

NEAR_MM = 30.0  # as the comparison of two examinations


@dataclass(frozen=True)
class Proposal:
    """A decision of the earlier reading.

    Attributes:
        do: "exclude" what counts here, "include" what does not, or "add" a lesion where nothing hot was found.
        date: of the earlier examination, YYYY-MM-DD.
        point_mm: its place in the later examination, LPS.
        id: the component here; None for one that is to be added.
        region: of the earlier lesion, or its site.
    """

    do: Literal["exclude", "include", "add"]
    date: str
    point_mm: Point
    id: int | None
    region: str


def proposals(
    store: Store, case: Case, *, visible: Callable[[Case], bool], body_of: Callable[[str], Box | None]
) -> tuple[Proposal, ...]:
    """What the latest earlier examination of the patient proposes for a case; only a confirmed reading proposes.

    A focus that a reader left out there is proposed to be left out here, one that they counted or drew to count; what
    the reader of this case switched is not proposed any more.

    Args:
        store: of the cases.
        case: answered.
        visible: whether the user may see a case.
        body_of: smallest and largest LPS coordinates of the body in the PET of a case, by its identifier; None where
            its images are gone.
    """
    now = case.stored_result
    if now is None or not case.pseudonym or not case.study_date:
        return ()
    earlier = [
        (one, confirmed)
        for one in store.find_by_patient(case.pseudonym)
        if one.id != case.id and one.study_date < case.study_date and visible(one)
        and (confirmed := _confirmed(store, one)) is not None
    ]  # fmt: skip
    if not earlier:
        return ()
    former, before = earlier[-1]
    bodies = body_of(former.id), body_of(case.id)
    if bodies[0] is None or bodies[1] is None:
        return ()
    shift = align(read_examination(before, bodies[0]), read_examination(now, bodies[1])).shift
    drawn = CaseOptions.from_json(former.options).edits.first or float("inf")
    components = now.prediction.components
    made: list[Proposal] = []
    for one in before.prediction.components:
        if one.switched or one.id >= drawn:
            x, y, z = (value - step for value, step in zip(one.centroid_mm, shift, strict=True))
            proposal = _proposed(one, (x, y, z), components, former.study_date)
            made += [proposal] if proposal else []
    return tuple(made)


def _confirmed(store: Store, case: Case) -> StoredResult | None:
    """The result of a case whose lesions a reader confirmed, else that of its latest signed version."""
    if case.status in ANSWERED and Reading.of(case).confirmed is not None:
        return case.stored_result
    versions = store.versions(case.id)
    return StoredResult.read(versions[0].result) if versions else None


def _proposed(
    before: StoredComponent, place: Point, components: Iterable[StoredComponent], date: str
) -> Proposal | None:
    near = [one for one in components if dist(one.centroid_mm, place) <= NEAR_MM]
    near.sort(key=lambda one: dist(one.centroid_mm, place))
    if not before.included:
        here = next((one for one in near if one.included), None)
        if here is None or here.switched or any(not one.included for one in near[: near.index(here)]):
            return None
        return Proposal("exclude", date, here.centroid_mm, here.id, before.place)
    if any(one.included for one in near):
        return None
    here = next((one for one in near if not one.switched), None)
    if here is not None:
        return Proposal("include", date, here.centroid_mm, here.id, before.place)
    return None if near else Proposal("add", date, place, None, before.place)
