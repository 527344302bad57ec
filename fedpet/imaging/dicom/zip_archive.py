"""The DICOM members of a zip archive, taken out without believing what the archive says of itself.

Names are never used as paths. The directory is read up to a bounded size, members may not share bytes (the trick of
zip bombs and of archives that contain themselves), and bytes are counted while they are inflated. Nothing but DICOM is
written; archives inside are not opened.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from itertools import pairwise
from typing import TYPE_CHECKING

from fedpet.core.errors import UnreadableStudyError
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from pathlib import Path
    from typing import IO

    from fedpet.imaging.dicom.files import SizeLimiter

HEAD_BYTES = 132  # preamble and "DICM" (PS3.10 7.1)
_CHUNK = 1 << 20
_BARE_STARTS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")  # a data set without preamble starts with group 0002 or 0008
_ARCHIVES = (b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!", b"BZ")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # Python inflates others in pieces without bound
_LOCAL_HEADER = 30  # least bytes before a member's content (APPNOTE 4.3.7)
_ENTRY_BYTES = 512  # of the directory for each file allowed; a long path and extra fields take 300
_DAMAGED = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError, LookupError,
    OverflowError,
)  # fmt: skip


def extract_dicom_members(source: Path, scratch: Path, budget: SizeLimiter) -> tuple[list[Path], int, int]:
    """DICOM members of an archive as numbered files in `scratch`; how many are not; how many of those are archives.

    Raises:
        UnreadableStudyError: damaged, encrypted, of overlapping members, of an unknown method, or beyond the limits.
    """
    try:
        with _Bounded(io.FileIO(source)) as stream:
            stream.longest = max(_CHUNK, _ENTRY_BYTES * budget.limits.max_files)
            with zipfile.ZipFile(stream) as archive:
                members = [member for member in archive.infolist() if not member.is_dir()]
                budget.files(len(members))
                _require_apart(members, archive.start_dir)
                return _spooled(archive, members, scratch, budget)
    except _DAMAGED as error:
        raise UnreadableStudyError(
            found=Message("The zip archive is damaged, encrypted or compressed by an unknown method."),
            needed=Message("A plain zip archive without a password."),
            advice=Message("Make the archive again, or give the folder itself."),
        ) from error


class _Bounded(io.BufferedReader):
    """A file read in pieces of bounded size: `zipfile` reads the directory of an archive in one piece."""

    longest = 0

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(self.longest + 1 if size is None or size < 0 else min(size, self.longest + 1))
        if len(content) > self.longest:
            raise zipfile.BadZipFile("a directory larger than that of the files allowed")
        return content


def _require_apart(members: list[zipfile.ZipInfo], end: int) -> None:
    """Refuse members that overlap each other or the directory."""
    ordered = sorted(members, key=lambda member: member.header_offset)
    starts = [*(member.header_offset for member in ordered), end]
    for member, (start, following) in zip(ordered, pairwise(starts), strict=True):
        if start + _LOCAL_HEADER + member.compress_size > following:
            raise zipfile.BadZipFile("members overlap")


def _spooled(
    archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], scratch: Path, budget: SizeLimiter
) -> tuple[list[Path], int, int]:
    files, skipped, archives = [], 0, 0
    for number, member in enumerate(members):
        if member.compress_type not in _METHODS:
            raise NotImplementedError
        with archive.open(member) as stream:
            head = stream.read(HEAD_BYTES)
            if looks_dicom(head):
                files.append(_spool(head, stream, scratch / f"{number:06d}", budget))
            else:
                skipped += 1
                archives += looks_archive(head)
    return files, skipped, archives


def _spool(head: bytes, stream: IO[bytes], target: Path, budget: SizeLimiter) -> Path:
    with target.open("wb") as file:
        chunk = head
        while chunk:
            budget.bytes(len(chunk))
            file.write(chunk)
            chunk = stream.read(_CHUNK)
    return target


def looks_dicom(head: bytes) -> bool:
    """Whether a file that starts so may be DICOM, with a preamble or without."""
    return head[128:132] == b"DICM" or head[:2] in _BARE_STARTS


def looks_archive(head: bytes) -> bool:
    """Whether a file that starts so is an archive that may hold DICOM."""
    return head.startswith(_ARCHIVES)
