"""The studies that are arriving, from every association and from the watched folder."""

from __future__ import annotations

import hashlib
import hmac
import shutil
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedPETImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedPETImageStorage,
    PositronEmissionTomographyImageStorage,
)

from app.pacs_parcel import Parcel
from app.pacs_shelf import NO_ROOM, STORED
from fedpet.errors import UnreadableStudy
from fedpet.messages import Message

if TYPE_CHECKING:
    from collections.abc import Hashable
    from pathlib import Path

    from app.pacs_shelf import Received
    from imaging.intake import IntakeLimits

_USED = frozenset(
    {
        CTImageStorage,
        EnhancedCTImageStorage,
        LegacyConvertedEnhancedCTImageStorage,
        PositronEmissionTomographyImageStorage,
        EnhancedPETImageStorage,
        LegacyConvertedEnhancedPETImageStorage,
    }
)


@dataclass
class _Delivery:
    """What one association brings: (study, series) in order.

    `number` counts associations, from 1; `last` is the number of the latest one when this one's connection ended.
    """

    number: int
    brought: dict[tuple[str, str], None] = field(default_factory=dict)
    last: int | None = None


class Inbox:
    """Takes in objects, from several threads; says which studies are quiet.

    Args:
        folder: where they wait.
        key: for digests of identifiers, which are names and state on disk.
        limits: of one study.
        max_bytes: that may wait in all.
    """

    def __init__(self, folder: Path, key: bytes, limits: IntakeLimits, *, max_bytes: int) -> None:
        self._folder = folder
        self._key = key
        self._limits = limits
        self._max_bytes = max_bytes
        self._deliveries: dict[Hashable, _Delivery] = {}
        self._whole: dict[tuple[str, str], int] = {}  # brought well by that association, while others bring it too
        self._count = 0
        self.lock = threading.RLock()  # held while a parcel is read or changed
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.parcels = {path.name: Parcel(path, limits, self._digest) for path in folder.iterdir() if path.is_dir()}

    def take(self, item: Received, sender: Hashable = None) -> int:
        """Take in an object; returns the answer to its sender (PS3.4 table B.2-1).

        What is no PET or CT image is accepted and dropped: it is not used, and our own results, if the PACS forwards
        them to us, must not begin a study.

        Args:
            item: the object.
            sender: the association that brings it, which `ended` will name; None for a file.
        """
        if item.kind not in _USED:
            return STORED
        name, series = self._digest(item.study_uid), self._digest(item.series_uid)
        with self.lock:
            if name not in self.parcels:
                self.parcels[name] = Parcel(self._folder / name, self._limits, self._digest)
            parcel = self.parcels[name]
            if sender is not None:
                self._delivery(sender).brought[name, series] = None
                parcel.begin(series)
            if sum(one.shelf.size for one in self.parcels.values()) + len(item.content) > self._max_bytes:
                parcel.refused = _no_room(self._max_bytes)
            if parcel.refused:
                parcel.last = time.monotonic()
                return NO_ROOM
            return parcel.put(item)

    def closing(self, sender: Hashable) -> None:
        """The connection of an association ended: associations that begin from now on may bring its images again."""
        with self.lock:
            delivery = self._deliveries.get(sender)
            if delivery is not None and delivery.last is None:
                delivery.last = self._count

    def ended(self, sender: Hashable, *, well: bool) -> None:
        """An association ended: by a release, or broke off in the middle of what it brought last."""
        with self.lock:
            delivery = self._deliveries.pop(sender, _Delivery(0))
            brought = list(delivery.brought)
            for name, series in brought:
                if not well and (name, series) == brought[-1]:
                    self.parcels[name].break_off(series, self._count if delivery.last is None else delivery.last)
                else:
                    self._whole[name, series] = max(delivery.number, self._whole.get((name, series), 0))
                if (name, series) in self._whole and not self._is_brought(name, series):
                    self.parcels[name].end(series, self._whole.pop((name, series)))

    def quiet(self, seconds: float) -> list[Parcel]:
        """The studies with images or refused ones that no association brings and to which nothing came for a time."""
        with self.lock:
            now = time.monotonic()
            return [
                parcel
                for name, parcel in self.parcels.items()
                if (len(parcel.shelf) or parcel.refused)
                and now - parcel.last >= seconds
                and not any(self._is_brought(name, series) for series in parcel.open)
            ]

    def remove(self, parcel: Parcel) -> None:
        """Forget a study, with its images."""
        with self.lock:
            shutil.rmtree(parcel.folder)
            del self.parcels[parcel.folder.name]

    def _delivery(self, sender: Hashable) -> _Delivery:
        if sender not in self._deliveries:
            self._count += 1
            self._deliveries[sender] = _Delivery(self._count)
        return self._deliveries[sender]

    def _is_brought(self, name: str, series: str) -> bool:
        return any((name, series) in delivery.brought for delivery in self._deliveries.values())

    def _digest(self, uid: str) -> str:
        return hmac.new(self._key, f"inbox {uid}".encode(), hashlib.sha256).hexdigest()[:32]


def _no_room(most: int) -> UnreadableStudy:
    return UnreadableStudy(
        found=Message("More than {n:.0f} MB wait to be complete.", n=most / 2**20),
        needed=Message("Room for the study among those that wait."),
        advice=Message("Have incomplete studies sent again, or raise max_waiting_mb in the settings."),
    )
