"""Received DICOM objects and the folder they go to: numbered names, one file per instance, within limits."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from pydicom import dcmread

from fedpet.errors import FedpetError, PacsError, UnreadableStudy
from fedpet.messages import Message
from fedpet.progress import silent

if TYPE_CHECKING:
    from pathlib import Path

    from fedpet.progress import Progress
    from imaging.intake import IntakeLimits

STORED, NO_ROOM, MISMATCH = 0x0000, 0xA700, 0xA900  # answers to C-STORE (PS3.4 table B.2-1)
_IDS = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
FIRST = f"{0:06d}"  # name of the first file of a shelf
_PART = ".part"  # suffix of a file that is being written


@dataclass(frozen=True)
class Received:
    """One DICOM object: a whole file, and the identifiers that tell what it is and where it belongs."""

    kind: str
    uid: str
    study_uid: str
    series_uid: str
    content: bytes


def parse(content: bytes) -> Received:
    """A DICOM file as received.

    Raises:
        KeyError: an identifier is missing.
        Exception: what `pydicom.dcmread` raises on what is not DICOM.
    """
    header = dcmread(BytesIO(content), specific_tags=_IDS, stop_before_pixels=True)
    kind, uid, study_uid, series_uid = (str(header[name].value) for name in _IDS)
    return Received(kind, uid, study_uid, series_uid, content)


class Shelf:
    """Instances of one study. An instance that comes again takes the place of the first.

    Files are named 000000, 000001, … in the order of arrival: a name of the PACS may tell who the patient is. What a
    former process left in the folder counts, but for a file that it had not finished.
    """

    def __init__(self, folder: Path, limits: IntakeLimits) -> None:
        self.folder = folder
        self._limits = limits
        self._lock = threading.Lock()
        self._files: dict[str, str] = {}  # SOP Instance UID -> name
        self._sizes: dict[str, int] = {}  # name -> bytes
        self.size = 0  # bytes on the shelf
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in sorted(folder.iterdir()):
            self._adopt(path)
        self._next = 1 + max((int(name) for name in self._sizes), default=-1)

    def _adopt(self, path: Path) -> None:
        if path.suffix == _PART:
            path.unlink()
            return
        header = dcmread(path, specific_tags=["SOPInstanceUID"], stop_before_pixels=True)
        self._count(str(header.SOPInstanceUID), path.name, path.stat().st_size)

    def _count(self, uid: str, name: str, size: int) -> None:
        self.size += size - self._sizes.get(name, 0)
        self._files[uid], self._sizes[name] = name, size

    def __len__(self) -> int:
        return len(self._files)

    @property
    def uids(self) -> frozenset[str]:
        """The instances on the shelf."""
        with self._lock:
            return frozenset(self._files)

    def put(self, uid: str, content: bytes) -> None:
        """Keep a DICOM file.

        Raises:
            UnreadableStudy: beyond the limits; nothing is written.
        """
        with self._lock:
            name = self._files.get(uid) or f"{self._next:06d}"
            self._check(name, len(content))
            part = self.folder / f"{name}{_PART}"
            part.write_bytes(content)
            part.replace(self.folder / name)
            self._next += uid not in self._files
            self._count(uid, name, len(content))

    def _check(self, name: str, size: int) -> None:
        limits = self._limits
        if name not in self._sizes and len(self._sizes) >= limits.max_files:
            found = Message("The study has more than {n} images.", n=limits.max_files)
        elif self.size - self._sizes.get(name, 0) + size > limits.max_bytes:
            found = Message("The study has more than {n:.0f} MB.", n=limits.max_bytes / 2**20)
        else:
            return
        raise _beyond(found)


class Basket:
    """Takes in the objects of one study and keeps, for the one who asked for them, why one was refused.

    Attributes:
        expected: how many images are to come.
        refused: why an object was refused.
    """

    def __init__(self, shelf: Shelf, study_uid: str, limits: IntakeLimits, progress: Progress = silent) -> None:
        self.shelf = shelf
        self.study_uid = study_uid
        self.limits = limits
        self.expected = 0
        self._progress = progress
        self.refused: FedpetError | None = None

    def keep(self, item: Received, _sender: object = None) -> int:
        """Keep an object of the study; returns the answer to its sender."""
        if item.study_uid != self.study_uid:
            return MISMATCH
        try:
            self.shelf.put(item.uid, item.content)
        except UnreadableStudy as error:
            self.refused = error
        except OSError as error:
            self.refused = _unwritable(error)
        return STORED if self.refused is None else NO_ROOM

    def too_large(self) -> None:
        """An object is larger than the whole study may be."""
        self.refused = _beyond(Message("The study has more than {n:.0f} MB.", n=self.limits.max_bytes / 2**20))

    def check(self) -> None:
        """Raise what made `keep` refuse an object; else tell how far it is.

        Raises:
            UnreadableStudy: the study is beyond the limits.
            PacsError: an image could not be written.
        """
        if self.refused is not None:
            raise self.refused
        count = len(self.shelf)
        told = Message("{n} of {total} images received", n=count, total=self.expected)
        self._progress(min(1.0, count / max(1, self.expected)), told)


def _beyond(found: Message) -> UnreadableStudy:
    return UnreadableStudy(
        found=found,
        needed=Message("A study within the limits set for this installation."),
        advice=Message("Take only the PET and CT series, or raise max_files or max_upload_mb in the settings."),
    )


def _unwritable(error: OSError) -> PacsError:
    return PacsError(
        found=Message("An image that came from the PACS could not be written ({why}).", why=type(error).__name__),
        needed=Message("Room on the disk, and the right to write into the folder."),
        advice=Message("Make room, then try again."),
    )
