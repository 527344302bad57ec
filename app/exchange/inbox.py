"""The studies that are arriving, from every association and from the watched folder."""

from __future__ import annotations

import hashlib
import hmac
import shutil
import threading
import time
from collections import Counter
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

from app.cases.remains import INBOX, QUARANTINE
from app.exchange.incoming_study import IncomingStudy
from app.exchange.quarantine import keep_apart
from app.pacs.object_store import NO_ROOM, STORED
from fedpet.core.errors import UnreadableStudyError
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Hashable
    from pathlib import Path

    from app.exchange.quarantine import Reason
    from app.pacs.object_store import ReceivedObject
    from fedpet.imaging.dicom.files import InputLimits

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
    """What one association sends: (study, series) in order.

    `number` counts associations, from 1; `last` is the number of the latest one when this one's connection ended. An
    object of the series in `lost` was not stored.
    """

    number: int
    sent: dict[tuple[str, str], None] = field(default_factory=dict)
    lost: set[tuple[str, str]] = field(default_factory=set)
    last: int | None = None


class Inbox:
    """Receives objects from several threads, and knows which studies are quiet.

    Args:
        home: folder of the settings; the studies wait in `pacs/inbox`, what contradicts them in `pacs/quarantine`.
        key: for the digests that replace identifiers on disk.
        limits: of one study.
        max_bytes: of all waiting studies, and of all in quarantine.
    """

    def __init__(self, home: Path, key: bytes, limits: InputLimits, *, max_bytes: int) -> None:
        self._home, self._folder = home, home / INBOX
        folder = self._folder
        self._key = key
        self._limits = limits
        self._max_bytes = max_bytes
        self._deliveries: dict[Hashable, _Delivery] = {}
        self._whole: dict[tuple[str, str], int] = {}  # sent completely by that association, while others send it too
        self._count = 0
        self.apart: Counter[Reason] = Counter()  # objects kept apart since they were told last
        self.lock = threading.RLock()  # held while a study is read or changed
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.studies = {
            path.name: IncomingStudy(path, limits, self._digest) for path in folder.iterdir() if path.is_dir()
        }

    def receive(self, item: ReceivedObject, sender: Hashable = None) -> int:
        """Receive an object.

        Objects other than PET and CT images are accepted and dropped: they are not used, and our own results, where the
        PACS forwards them to us, must not start a study.

        Args:
            item: the object.
            sender: the association that sends it, which `end` will name; None for a file.

        Returns:
            The DIMSE status for its sender (PS3.4 table B.2-1).
        """
        if item.kind not in _USED:
            return STORED
        name, series = self._digest(item.study_uid), self._digest(item.series_uid)
        with self.lock:
            try:
                status = self._take(item, name, series, sender)
            except OSError:  # the disk is full, or may not be written to
                status = NO_ROOM
            if status == NO_ROOM and sender is not None:
                self._delivery(sender).lost.add((name, series))
            return status

    def _take(self, item: ReceivedObject, name: str, series: str, sender: Hashable) -> int:
        self.drop_erased()
        if sender is not None:
            self._delivery(sender).sent[name, series] = None
        if name not in self.studies:
            self.studies[name] = IncomingStudy(self._folder / name, self._limits, self._digest)
        study = self.studies[name]
        if sender is not None:
            study.begin(series)
        if sum(one.objects.size for one in self.studies.values()) + len(item.content) > self._max_bytes:
            study.refused = _no_room(self._max_bytes)
        if study.refused:
            study.last = time.monotonic()
            return NO_ROOM
        if (reason := study.conflict(item)) is not None:
            return self._keep_apart(study, item, reason)
        return study.put(item)

    def _keep_apart(self, study: IncomingStudy, item: ReceivedObject, reason: Reason) -> int:
        apart = (self._home / QUARANTINE).rglob("*")
        if sum(path.stat().st_size for path in apart) + len(item.content) > self._max_bytes:
            return NO_ROOM
        try:
            keep_apart(self._home, study.folder.name, reason, item, study.case, self._limits)
        except (UnreadableStudyError, OSError):
            return NO_ROOM
        self.apart[reason] += 1
        return STORED

    def note_closing(self, sender: Hashable) -> None:
        """Record that the connection of an association closes: associations from now on may send its images again."""
        with self.lock:
            delivery = self._deliveries.get(sender)
            if delivery is not None and delivery.last is None:
                delivery.last = self._count

    def end(self, sender: Hashable, *, well: bool) -> None:
        """Record that an association ended: normally, or in the middle of the series that it sent last."""
        with self.lock:
            self.drop_erased()
            delivery = self._deliveries.pop(sender, _Delivery(0))
            sent = list(delivery.sent)
            for name, series in sent:
                if name not in self.studies:  # erased meanwhile
                    self._whole.pop((name, series), None)
                elif (not well and (name, series) == sent[-1]) or (name, series) in delivery.lost:
                    self.studies[name].break_off(series, self._count if delivery.last is None else delivery.last)
                else:
                    self._whole[name, series] = max(delivery.number, self._whole.get((name, series), 0))
                if name in self.studies and (name, series) in self._whole and not self._is_being_sent(name, series):
                    self.studies[name].end(series, self._whole.pop((name, series)))

    def drop_erased(self) -> None:
        """Drop the studies whose folder is gone, since their patient was erased."""
        with self.lock:
            for name in [name for name, study in self.studies.items() if not study.folder.is_dir()]:
                del self.studies[name]

    def quiet(self, seconds: float) -> list[IncomingStudy]:
        """The studies that no association sends and to which nothing was added for `seconds`."""
        with self.lock:
            now = time.monotonic()
            return [
                study
                for name, study in self.studies.items()
                if (len(study.objects) or study.refused)
                and not study.moving
                and now - study.last >= seconds
                and not any(self._is_being_sent(name, series) for series in study.open)
            ]

    def free_bytes(self) -> int:
        """Room on the disk of the studies."""
        return shutil.disk_usage(self._folder).free

    def unfinished(self) -> list[IncomingStudy]:
        """The studies whose images were to be moved to their case, and were not for lack of room."""
        with self.lock:
            return [study for study in self.studies.values() if study.moving]

    def remove(self, study: IncomingStudy) -> None:
        """Remove a study with its images."""
        with self.lock:
            shutil.rmtree(study.folder)
            self.studies.pop(study.folder.name, None)

    def _delivery(self, sender: Hashable) -> _Delivery:
        if sender not in self._deliveries:
            self._count += 1
            self._deliveries[sender] = _Delivery(self._count)
        return self._deliveries[sender]

    def _is_being_sent(self, name: str, series: str) -> bool:
        return any((name, series) in delivery.sent for delivery in self._deliveries.values())

    def _digest(self, uid: str) -> str:
        return hmac.new(self._key, f"inbox {uid}".encode(), hashlib.sha256).hexdigest()[:32]


def _no_room(most: int) -> UnreadableStudyError:
    return UnreadableStudyError(
        found=Message("More than {n:.0f} MB wait to be complete.", n=most / 2**20),
        needed=Message("Room for the study among those that wait."),
        advice=Message("Have incomplete studies sent again, or raise max_waiting_mb in the settings."),
    )
