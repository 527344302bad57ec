"""What a reader did with a case before the answer: said whose images they are, estimated, confirmed the lesions.

The answer of a model influences who has seen it (anchoring). Where `Settings.blind_reading` is on, it is therefore kept
back until the reader has confirmed the lesions; the estimate that they may give before is kept beside it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from app.cases.tables import Status
from fedpet.core.errors import ArgumentError
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from app.cases.tables import Case
    from fedpet.core.settings import Settings


_AXES = 3


class Stamp(BaseModel):
    """Who did something, and when (UTC)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    by: str
    moment: str

    @classmethod
    def now(cls, by: str) -> Stamp:
        """By somebody, now."""
        return cls(by=by, moment=datetime.now(UTC).isoformat(timespec="seconds"))


class Reading(BaseModel):
    """The reading of a case, as the database keeps it.

    Attributes:
        identity: that images and record are of one patient.
        confirmed: that the lesions are as the reader sees them; from then on the answer is shown.
        estimate: probability of no progression at 12 months, 0 to 1, that the reader gave before the answer was shown;
            None where none was given.
        answer: that of the model when the reader had confirmed the lesions, 0 to 1; None where it abstained.
        blind: whether the answer was kept back until then.
        marks: distances, angles, spheres and key images of the viewer, as it draws them.
        undo, redo: choices of lesions (`app.cases.lesion_editing.lesion_choices`) to go back to, the latest last.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    identity: Stamp | None = None
    confirmed: Stamp | None = None
    estimate: float | None = Field(default=None, ge=0.0, le=1.0)
    answer: float | None = None
    blind: bool = False
    marks: dict[str, list[dict[str, Any]]] = {}
    undo: tuple[dict[str, Any], ...] = ()
    redo: tuple[dict[str, Any], ...] = ()

    @property
    def key_points(self) -> tuple[tuple[float, float, float], ...]:
        """The points of the key images, LPS mm; those that are no points are left out."""
        points = [one.get("point") for one in self.marks.get("keys", [])]
        return tuple(
            (float(p[0]), float(p[1]), float(p[2]))
            for p in points
            if isinstance(p, list) and len(p) == _AXES and all(isinstance(x, int | float) for x in p)
        )

    @classmethod
    def of(cls, case: Case) -> Reading:
        """That of a case."""
        return cls.model_validate(case.reading or {})

    def to_json(self) -> dict[str, Any]:
        """As the database keeps it."""
        return self.model_dump(mode="json")


def is_locked(case: Case, settings: Settings) -> bool:
    """Whether the answer of a case is kept back until its reader has confirmed the lesions."""
    if not settings.blind_reading or case.status in {Status.SIGNING, Status.SIGNED} or not case.is_answered:
        return False
    return Reading.of(case).confirmed is None


class Changes(BaseModel):
    """How estimates before the answer relate to it, over many cases.

    Attributes:
        readings: how many were confirmed.
        estimates: how many of them with an estimate before an answer that was kept back.
        mean_change: mean of answer minus estimate, -1 to 1; None without an estimate.
        mean_distance: mean of the absolute difference; None without an estimate.
        other_side: in how many the two lie on different sides of one half.
    """

    readings: int
    estimates: int
    mean_change: float | None
    mean_distance: float | None
    other_side: int


def changes(readings: Iterable[Reading]) -> Changes:
    """The statistic of some readings."""
    confirmed = [one for one in readings if one.confirmed is not None]
    pairs = [(one.estimate, one.answer) for one in confirmed if one.blind]
    both = [(estimate, answer) for estimate, answer in pairs if estimate is not None and answer is not None]
    differences = [answer - estimate for estimate, answer in both]
    count = len(both)
    return Changes(
        readings=len(confirmed),
        estimates=count,
        mean_change=sum(differences) / count if count else None,
        mean_distance=sum(map(abs, differences)) / count if count else None,
        other_side=sum((estimate >= 0.5) != (answer >= 0.5) for estimate, answer in both),
    )


_MARKS = ("distances", "angles", "spheres", "keys")
_MOST = 100  # of each kind


def checked_marks(marks: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The marks of the viewer, where they have its form.

    Raises:
        ArgumentError: they have another form, or there are too many.
    """
    kept = {name: marks.get(name, []) for name in _MARKS}
    for listed in kept.values():
        if not isinstance(listed, list) or len(listed) > _MOST or not all(isinstance(one, dict) for one in listed):
            raise ArgumentError(
                found=Message("The measurements could not be kept."),
                needed=Message("At most {most} distances, angles, spheres and key images each.", most=_MOST),
                advice=Message("Remove some of them."),
            )
    return kept
