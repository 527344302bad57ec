"""The DICOM files of a folder, a zip archive or a single file, taken in with limits.

An archive is never extracted to the names it holds: each member becomes a numbered file in a private temporary folder,
its bytes are counted while they are inflated, and nothing but DICOM is written. Links are not followed, archives inside
are not opened.
"""

from __future__ import annotations

import os
import struct
import tempfile
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import DeflatedExplicitVRLittleEndian, MediaStorageDirectoryStorage

from fedpet.errors import UnreadableStudy
from fedpet.messages import Message
from imaging.header import TAGS, text, without_identity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from pydicom.dataset import Dataset

    from fedpet.progress import Progress

_HEAD = 132  # preamble and "DICM" (PS3.10 7.1)
_CHUNK = 1 << 20
_BARE_STARTS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")  # a data set without preamble starts with group 0002 or 0008
# What pydicom raises on damaged files.
_DAMAGED = (
    InvalidDicomError, BytesLengthException, EOFError, ValueError, KeyError, AttributeError, TypeError,
    NotImplementedError, RecursionError, MemoryError, struct.error, zlib.error,
)  # fmt: skip


@dataclass(frozen=True)
class IntakeLimits:
    """Upper bounds of what is taken in: number of files, and bytes after inflation."""

    max_files: int = 20_000
    max_bytes: int = 4096 * 2**20


@dataclass(frozen=True, eq=False)
class Instance:
    """One DICOM file: where its pixels can be read, and the attributes in `imaging.header.TAGS`.

    `pixels_at` is where the element after the header starts in the file: Pixel Data, unless the file is deflated.
    """

    file: Path
    header: Dataset
    pixels_at: int


@dataclass(frozen=True, eq=False)
class Pile:
    """What was taken in. The files exist while `taken_in` is open.

    Attributes:
        skipped: files that are not DICOM images (damaged ones, DICOMDIR and links included).
        archives: archives found inside, not opened; also counted in `skipped`.
    """

    instances: tuple[Instance, ...]
    skipped: int
    archives: int


class _Budget:
    """Counts files and bytes against the limits."""

    def __init__(self, limits: IntakeLimits) -> None:
        self._limits = limits
        self._files = 0
        self._bytes = 0

    def file(self) -> None:
        """One more file."""
        self._files += 1
        if self._files > self._limits.max_files:
            raise _beyond_limits(Message("More than {n} files.", n=self._limits.max_files))

    def bytes(self, count: int) -> None:
        """Some more bytes."""
        self._bytes += count
        if self._bytes > self._limits.max_bytes:
            raise _beyond_limits(Message("More than {n:.0f} MB of images.", n=self._limits.max_bytes / 2**20))


@contextmanager
def taken_in(source: Path, limits: IntakeLimits, progress: Progress) -> Iterator[Pile]:
    """The DICOM images of `source`; files made from an archive are deleted on leaving.

    Raises:
        UnreadableStudy: nothing there, a damaged or encrypted archive, limits exceeded, or no DICOM at all.
    """
    budget = _Budget(limits)
    with tempfile.TemporaryDirectory(prefix="fedpet-") as scratch:
        try:
            if source.is_file() and _head(source).startswith(b"PK"):
                files, skipped, archives = _unzip(source, Path(scratch), budget)
            else:
                files, skipped, archives = _gather(source, budget)
            instances = _read_headers(files, limits, progress)
        except OSError as error:
            raise UnreadableStudy(
                found=Message("A file could not be read ({why}).", why=type(error).__name__),
                needed=Message("A folder, a zip archive or a DICOM file that this program may read."),
                advice=Message("Check that the files exist and that access is allowed."),
            ) from error
        if not instances:
            raise _no_dicom(len(files) + skipped, archives)
        yield Pile(instances, skipped + len(files) - len(instances), archives)


def _gather(source: Path, budget: _Budget) -> tuple[list[Path], int, int]:
    """Files of a folder (or the one file) that look like DICOM; how many do not; how many of those are archives."""
    if not source.exists():
        raise FileNotFoundError
    files, skipped, archives = [], 0, 0
    for path in [source] if source.is_file() else _walk(source):
        budget.file()
        if path.is_symlink() and path != source:
            skipped += 1
            continue
        head = _head(path)
        if _looks_dicom(head):
            budget.bytes(path.stat().st_size)
            files.append(path)
        else:
            skipped += 1
            archives += _looks_archive(head)
    return files, skipped, archives


def _walk(folder: Path) -> Iterator[Path]:
    """Regular files and links below a folder, in a fixed order."""
    for parent, folders, names in os.walk(folder, onerror=_fail):
        folders.sort()
        yield from (path for name in sorted(names) if (path := Path(parent, name)).is_symlink() or path.is_file())


def _fail(error: OSError) -> None:
    raise error


def _unzip(source: Path, scratch: Path, budget: _Budget) -> tuple[list[Path], int, int]:
    """DICOM members of an archive as numbered files in `scratch`; the rest is counted as in `_gather`."""
    files, skipped, archives = [], 0, 0
    try:
        with zipfile.ZipFile(source) as archive:
            for number, member in enumerate(archive.infolist()):
                if member.is_dir():
                    continue
                budget.file()
                with archive.open(member) as stream:
                    head = stream.read(_HEAD)
                    if _looks_dicom(head):
                        files.append(_spool(head, stream, scratch / f"{number:06d}", budget))
                    else:
                        skipped += 1
                        archives += _looks_archive(head)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UnreadableStudy(
            found=Message("The zip archive is damaged, encrypted or compressed by an unknown method."),
            needed=Message("A plain zip archive without a password."),
            advice=Message("Make the archive again, or give the folder itself."),
        ) from error
    return files, skipped, archives


def _spool(head: bytes, stream: IO[bytes], target: Path, budget: _Budget) -> Path:
    with target.open("wb") as file:
        chunk = head
        while chunk:
            budget.bytes(len(chunk))
            file.write(chunk)
            chunk = stream.read(_CHUNK)
    return target


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_HEAD)


def _looks_dicom(head: bytes) -> bool:
    return head[128:132] == b"DICM" or head[:2] in _BARE_STARTS


def _looks_archive(head: bytes) -> bool:
    return head.startswith((b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!")) or head[:2] == b"BZ"


def _read_headers(files: list[Path], limits: IntakeLimits, progress: Progress) -> tuple[Instance, ...]:
    """Headers of the files that are DICOM images."""
    instances = []
    for number, file in enumerate(files):
        if number % 50 == 0:
            progress(number / len(files), Message("Reading DICOM headers"))
        instance = _read_instance(file, limits)
        if instance is not None:
            instances.append(instance)
    return tuple(instances)


def _read_instance(file: Path, limits: IntakeLimits) -> Instance | None:
    """The DICOM object with a modality in a file, or None: a DICOMDIR, damaged, or alike by chance."""
    try:
        if _inflates_beyond(file, limits.max_bytes):
            raise _beyond_limits(Message("More than {n:.0f} MB of images.", n=limits.max_bytes / 2**20))
        with file.open("rb") as stream:
            header = pydicom.dcmread(stream, stop_before_pixels=True, force=True, specific_tags=TAGS)
            pixels_at = stream.tell()
    except _DAMAGED:
        return None
    if header.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        return None
    return Instance(file, without_identity(header), pixels_at) if text(header, "Modality") else None


def _inflates_beyond(file: Path, limit: int) -> bool:
    """Whether a data set in the deflated transfer syntax (PS3.5 A.5) would inflate beyond the limit."""
    with file.open("rb") as stream:
        if DeflatedExplicitVRLittleEndian.encode() not in stream.read(2048):
            return False
        stream.seek(0)
        pydicom.filereader.read_preamble(stream, force=True)
        pydicom.filereader._read_file_meta_info(stream)  # noqa: SLF001  the public one does not leave the stream there
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        inflater.decompress(stream.read(), limit)
        return bool(inflater.unconsumed_tail)


def _beyond_limits(found: Message) -> UnreadableStudy:
    return UnreadableStudy(
        found=found,
        needed=Message("A study within the limits set for this installation."),
        advice=Message("Send only the PET/CT examination, or raise max_files or max_upload_mb in the settings."),
    )


def _no_dicom(files: int, archives: int) -> UnreadableStudy:
    return UnreadableStudy(
        found=Message("No DICOM image among {n} files ({archives} of them archives).", n=files, archives=archives),
        needed=Message("The DICOM files of one PET/CT examination, in a folder or a zip archive."),
        advice=Message("Export the examination as DICOM; unpack archives that lie inside."),
    )
