"""One study that arrives image by image: its images and its state, on disk.

A sender may break off. A series therefore stays open until the association that sends it ends normally; one that broke
off stays open until another association, started later, has sent it again. An open series may lack images.
"""

from __future__ import annotations

import json
import shutil
import time
from typing import TYPE_CHECKING, Literal

from pydicom import dcmread

from app.pacs.object_store import FIRST, ObjectStore, StudyStore, content_digest
from fedpet.imaging.dicom.headers.unvalidated import values_as_written

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from app.exchange.quarantine import Reason
    from app.pacs.object_store import ReceivedObject
    from fedpet.core.errors import FedpetError
    from fedpet.imaging.dicom.files import InputLimits

_STATE = "state.json"


class IncomingStudy:
    """A study in a folder whose name, like the digests, reveals nothing about it.

    Attributes:
        folder: of `images/` and `state.json`.
        objects: the images.
        open: series (as digests) that may lack images, and after how many associations one broke off.
        earlier: digests of the images that the case has, each with that of its content, "" where it is not known.
        person: digests of what the first images stated of the person, by attribute.
        case: identifier of the case that has them.
        moving: whether moving them to the case was started and not finished.
        last: arrival of the last image, on the monotonic clock; a restart counts as one.
        refused: why an image was refused.
        notice: the last notice about it, so that it is not repeated.
    """

    def __init__(self, folder: Path, limits: InputLimits, digest: Callable[[str], str]) -> None:
        self.folder = folder
        self._limits = limits
        self._digest = digest
        folder.mkdir(mode=0o700, exist_ok=True)
        self.objects = self._new_store()
        known = json.loads((folder / _STATE).read_text("utf-8")) if (folder / _STATE).is_file() else {}
        self.open: dict[str, int] = dict.fromkeys(known.get("open", []), 0)
        self.earlier: dict[str, str] = _earlier(known.get("earlier", {}))
        self.person: dict[str, str] = known.get("person", {})
        self.case: str = known.get("case", "")
        self.moving: bool = known.get("moving", False)
        self.last = time.monotonic()
        self.refused: FedpetError | None = None
        self.notice = ""

    @values_as_written()
    def study_uid(self) -> str:
        """The Study Instance UID of the images."""
        first = self.objects.folder / FIRST
        return str(dcmread(first, specific_tags=["StudyInstanceUID"], stop_before_pixels=True).StudyInstanceUID)

    def study_store(self) -> StudyStore:
        """A store to fetch the missing images into."""
        return StudyStore(self.objects, self.study_uid(), self._limits)

    def put(self, item: ReceivedObject) -> int:
        """Store an image; returns the DIMSE status for its sender."""
        store = StudyStore(self.objects, item.study_uid, self._limits)
        if not set(stated := self._person(item)) <= set(self.person):
            self.person = stated | self.person
            self._save()
        answer = store.put(item)
        self.last, self.refused, self.notice = time.monotonic(), store.refused, ""
        return answer

    def conflict(self, item: ReceivedObject) -> Reason | None:
        """Why an object contradicts what is there: the person, or the content under its identifier; None where not."""
        if any(self.person.get(name, one) != one for name, one in self._person(item).items()):
            return "patient"
        held = self.objects.content_digest(item.uid) or self.earlier.get(self._digest(item.uid), "")
        return "content" if held and held != content_digest(item.content) else None

    def begin(self, series: str) -> None:
        """Record that an association sends a series."""
        if series not in self.open:
            self.open[series] = 0
            self._save()

    def break_off(self, series: str, count: int) -> None:
        """Record that the association that sent a series, one of the first `count`, broke off."""
        self.open[series] = max(count, self.open.get(series, 0))

    def end(self, series: str, number: int) -> None:
        """Record that association `number` ended normally: the series is complete unless a later one broke off."""
        if self.open.get(series, number) < number:
            del self.open[series]
            self._save()

    def change_since_last(self) -> Literal["all", "more", "same", "part"]:
        """How the images compare with those of the case; "part": some of those are missing."""
        held = self._digests()
        earlier = set(self.earlier)
        if not earlier:
            return "all"
        if held == earlier:
            return "same"
        return "more" if held > earlier else "part"

    def assign(self, case: str) -> None:
        """Assign the images to a case, before they are moved there."""
        contents = {self._digest(uid): self.objects.content_digest(uid) for uid in self.objects.uids}
        self.case, self.moving, self.earlier = case, True, contents
        self.open.clear()
        self._save()

    def move(self, target: Path) -> None:
        """Move the images to the folder of their case; can be repeated after an attempt that did not finish."""
        self._save()  # that they are being moved, which may have failed for lack of room
        if len(self.objects):
            self.objects.folder.rename(target)
        self.objects = self._new_store()

    def mark_imported(self) -> None:
        """Record that the case has its images."""
        self.moving = False
        self._save()

    def forget(self) -> None:
        """Forget the case, which was erased, and its images."""
        self.case, self.moving, self.earlier, self.person = "", False, {}, {}
        self._save()

    def clear(self) -> None:
        """Remove the images."""
        shutil.rmtree(self.objects.folder)
        self.objects, self.refused = self._new_store(), None
        self.open.clear()
        self._save()

    def _person(self, item: ReceivedObject) -> dict[str, str]:
        return {name: self._digest(f"{name} {value}") for name, value in item.person.items()}

    def _new_store(self) -> ObjectStore:
        return ObjectStore(self.folder / "images", self._limits)

    def _digests(self) -> set[str]:
        return set(map(self._digest, self.objects.uids))

    def _save(self) -> None:
        known = {
            "open": list(self.open),
            "earlier": self.earlier,
            "person": self.person,
            "case": self.case,
            "moving": self.moving,
        }
        part = self.folder / f"{_STATE}.part"
        part.write_text(json.dumps(known), encoding="utf-8")
        part.replace(self.folder / _STATE)


def _earlier(known: list[str] | dict[str, str]) -> dict[str, str]:
    """The images that the case has; their contents were not kept at first."""
    return known if isinstance(known, dict) else dict.fromkeys(known, "")
