"""One study that arrives image by image: its images, and what is known of them, on disk.

A sender may break off. A series therefore stays open until the association that brings it ends well; one that broke off
stays open until another association, begun later, has sent it again. An open series may lack images.
"""

from __future__ import annotations

import json
import shutil
import time
from typing import TYPE_CHECKING, Literal

from pydicom import dcmread

from app.pacs_shelf import FIRST, Basket, Shelf

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from app.pacs_shelf import Received
    from fedpet.errors import FedpetError
    from imaging.intake import IntakeLimits

_STATE = "state.json"


class Parcel:
    """A study in a folder whose name, like the digests, says nothing about it.

    Attributes:
        folder: `images/`, and `state.json`: what is known of them.
        shelf: the images.
        open: series (as digests) that may lack images, and after how many associations one broke off.
        earlier: digests of the images handed over before.
        case: identifier of the case they were handed over to.
        moving: whether a hand-over was begun and not finished.
        last: when an image came, on the monotonic clock; a restart counts as one.
        refused: why an image was refused.
        told: what was last said about it, so that it is said once.
    """

    def __init__(self, folder: Path, limits: IntakeLimits, digest: Callable[[str], str]) -> None:
        self.folder = folder
        self._limits = limits
        self._digest = digest
        folder.mkdir(mode=0o700, exist_ok=True)
        self.shelf = self._empty_shelf()
        known = json.loads((folder / _STATE).read_text("utf-8")) if (folder / _STATE).is_file() else {}
        self.open: dict[str, int] = dict.fromkeys(known.get("open", []), 0)
        self.earlier: frozenset[str] = frozenset(known.get("earlier", []))
        self.case: str = known.get("case", "")
        self.moving: bool = known.get("moving", False)
        self.last = time.monotonic()
        self.refused: FedpetError | None = None
        self.told = ""

    def study_uid(self) -> str:
        """Study Instance UID, as the images say."""
        first = self.shelf.folder / FIRST
        return str(dcmread(first, specific_tags=["StudyInstanceUID"], stop_before_pixels=True).StudyInstanceUID)

    def basket(self) -> Basket:
        """To fetch what is missing."""
        return Basket(self.shelf, self.study_uid(), self._limits)

    def put(self, item: Received) -> int:
        """Keep an image; returns the answer to its sender."""
        basket = Basket(self.shelf, item.study_uid, self._limits)
        answer = basket.keep(item)
        self.last, self.refused, self.told = time.monotonic(), basket.refused, ""
        return answer

    def begin(self, series: str) -> None:
        """An association brings a series."""
        if series not in self.open:
            self.open[series] = 0
            self._save()

    def break_off(self, series: str, count: int) -> None:
        """Its association, one of the first `count`, did not end well."""
        self.open[series] = max(count, self.open.get(series, 0))

    def end(self, series: str, number: int) -> None:
        """Its association, the `number`th, ended well: the series is whole, unless an earlier one broke off later."""
        if self.open.get(series, number) < number:
            del self.open[series]
            self._save()

    def news(self) -> Literal["all", "more", "same", "part"]:
        """How the images compare to those handed over before; "part": some of those are missing."""
        held = self._digests()
        if not self.earlier:
            return "all"
        if held == self.earlier:
            return "same"
        return "more" if held > self.earlier else "part"

    def assign(self, case: str) -> None:
        """Bind the images to a case, before they are moved there."""
        self.case, self.moving, self.earlier = case, True, self._digests()
        self.open.clear()
        self._save()

    def move(self, target: Path) -> None:
        """Move the images to the folder of their case; can be repeated where a former process did not finish."""
        if len(self.shelf):
            self.shelf.folder.rename(target)
        self.shelf = self._empty_shelf()

    def settle(self) -> None:
        """The case has its images."""
        self.moving = False
        self._save()

    def forget(self) -> None:
        """The case is gone: what was handed over does not count any more."""
        self.case, self.moving, self.earlier = "", False, frozenset()
        self._save()

    def clear(self) -> None:
        """Remove the images."""
        shutil.rmtree(self.shelf.folder)
        self.shelf, self.refused = self._empty_shelf(), None
        self.open.clear()
        self._save()

    def _empty_shelf(self) -> Shelf:
        return Shelf(self.folder / "images", self._limits)

    def _digests(self) -> frozenset[str]:
        return frozenset(map(self._digest, self.shelf.uids))

    def _save(self) -> None:
        known = {"open": list(self.open), "earlier": sorted(self.earlier), "case": self.case, "moving": self.moving}
        part = self.folder / f"{_STATE}.part"
        part.write_text(json.dumps(known), encoding="utf-8")
        part.replace(self.folder / _STATE)
