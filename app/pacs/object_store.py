"""Received DICOM objects and the folder they go to: numbered names, one file per instance, within limits."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING

from pydicom import dcmread

from fedpet.core.errors import FedpetError, PacsError, UnreadableStudyError
from fedpet.core.messages import Message
from fedpet.core.progress import no_progress
from fedpet.imaging.dicom.headers.unvalidated import values_as_written

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fedpet.core.progress import Progress
    from fedpet.imaging.dicom.files import InputLimits

STORED, NO_ROOM, MISMATCH = 0x0000, 0xA700, 0xA900  # answers to C-STORE (PS3.4 table B.2-1)
_IDS = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
_PERSON = ["PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate"]
_PREAMBLE = 132  # bytes before the file meta information, the length of which stands in its first element
FIRST = f"{0:06d}"  # name of the first file of a store
_PART = ".part"  # suffix of a file that is being written


@dataclass(frozen=True)
class ReceivedObject:
    """One DICOM object: a whole file, its class and identifiers, and what it states of the person, by attribute."""

    kind: str
    uid: str
    study_uid: str
    series_uid: str
    content: bytes
    person: Mapping[str, str] = field(default_factory=dict)


@values_as_written()
def parse(content: bytes) -> ReceivedObject:
    """Read the identifiers of a DICOM file.

    Raises:
        KeyError: an identifier is missing.
        Exception: whatever `pydicom.dcmread` raises on files that are not DICOM.
    """
    header = dcmread(BytesIO(content), specific_tags=[*_IDS, *_PERSON], stop_before_pixels=True)
    kind, uid, study_uid, series_uid = (str(header[name].value) for name in _IDS)
    stated = {name: str(header.get(name) or "").strip() for name in _PERSON}
    return ReceivedObject(kind, uid, study_uid, series_uid, content, {name: one for name, one in stated.items() if one})


def content_digest(content: bytes) -> str:
    """SHA-256 of a DICOM file without its preamble and meta information, which name who wrote it."""
    length = int.from_bytes(content[_PREAMBLE + 8 : _PREAMBLE + 12], "little")
    return hashlib.sha256(content[_PREAMBLE + 12 + length :]).hexdigest()


class ObjectStore:
    """The instances of one study on disk. An instance that arrives again replaces the first.

    Files are named 000000, 000001, … in the order of arrival, since file names of a PACS may identify the patient.
    Files that a former process left in the folder count, except one that it had not finished.
    """

    def __init__(self, folder: Path, limits: InputLimits) -> None:
        self.folder = folder
        self._limits = limits
        self._lock = threading.Lock()
        self._files: dict[str, str] = {}  # SOP Instance UID -> name
        self._sizes: dict[str, int] = {}  # name -> bytes
        self.size = 0  # bytes in the store
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in sorted(folder.iterdir()):
            self._adopt(path)
        self._next = 1 + max((int(name) for name in self._sizes), default=-1)

    @values_as_written()
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

    def content_digest(self, uid: str) -> str:
        """The `content_digest` of an instance in the store; "" where it is not there."""
        with self._lock:
            name = self._files.get(uid)
        return content_digest((self.folder / name).read_bytes()) if name else ""

    @property
    def uids(self) -> frozenset[str]:
        """The instances in the store."""
        with self._lock:
            return frozenset(self._files)

    def put(self, uid: str, content: bytes) -> None:
        """Store a DICOM file.

        Raises:
            UnreadableStudyError: beyond the limits; nothing is written.
            OSError: the disk is full, or may not be written to; nothing is kept.
        """
        with self._lock:
            name = self._files.get(uid) or f"{self._next:06d}"
            self._check(name, len(content))
            part = self.folder / f"{name}{_PART}"
            try:
                part.write_bytes(content)
                part.replace(self.folder / name)
            except OSError:
                part.unlink(missing_ok=True)
                raise
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


class StudyStore:
    """Receives the objects of one study, and remembers why one was refused.

    Attributes:
        expected: how many images are to arrive.
        refused: why an object was refused; None where none was.
    """

    def __init__(
        self, store: ObjectStore, study_uid: str, limits: InputLimits, progress: Progress = no_progress
    ) -> None:
        self.objects = store
        self.study_uid = study_uid
        self.limits = limits
        self.expected = 0
        self._progress = progress
        self.refused: FedpetError | None = None

    def put(self, item: ReceivedObject, _sender: object = None) -> int:
        """Store an object of the study; returns the DIMSE status for its sender."""
        if item.study_uid != self.study_uid:
            return MISMATCH
        try:
            self.objects.put(item.uid, item.content)
        except UnreadableStudyError as error:
            self.refused = error
        except OSError as error:
            self.refused = _unwritable(error)
        return STORED if self.refused is None else NO_ROOM

    def too_large(self) -> None:
        """Record that an object is larger than the whole study may be."""
        self.refused = _beyond(Message("The study has more than {n:.0f} MB.", n=self.limits.max_bytes / 2**20))

    def check(self) -> None:
        """Raise the error that made `put` refuse an object; otherwise report the progress.

        Raises:
            UnreadableStudyError: the study is beyond the limits.
            PacsError: an image could not be written.
        """
        if self.refused is not None:
            raise self.refused
        count = len(self.objects)
        received = Message("{n} of {total} images received", n=count, total=self.expected)
        self._progress(min(1.0, count / max(1, self.expected)), received)


def _beyond(found: Message) -> UnreadableStudyError:
    return UnreadableStudyError(
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
