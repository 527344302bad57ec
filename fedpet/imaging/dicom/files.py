"""The DICOM files of a folder, a zip archive or a single file, taken in with limits.

An archive is never extracted to the names it holds: see `fedpet.imaging.dicom.zip_archive`. Links are not followed, and
what is neither file nor folder (a pipe, a device) is not opened. A damaged file is skipped and counted; a file that the
system cannot read refuses the study, since nobody would know what is missing.
"""

from __future__ import annotations

import os
import struct
import tempfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from fedpet.core.errors import UnreadableStudyError
from fedpet.core.messages import Message
from fedpet.imaging.dicom.enhanced import IMAGES, split_into_frames
from fedpet.imaging.dicom.headers.attributes import SEQUENCES, TAG_SET, text, without_identity
from fedpet.imaging.dicom.headers.parser import ITEM_BYTES, MAX_SEQUENCE_ITEMS, DeflatedError, inflate, parse_header
from fedpet.imaging.dicom.headers.patient_module import PatientModule
from fedpet.imaging.dicom.headers.unvalidated import values_as_written
from fedpet.imaging.dicom.zip_archive import HEAD_BYTES, extract_dicom_members, looks_archive, looks_dicom

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from pydicom.dataset import Dataset
    from pydicom.tag import BaseTag

    from fedpet.core.progress import Progress

# What pydicom raises on damaged files.
DAMAGED = (
    InvalidDicomError, BytesLengthException, EOFError, ValueError, LookupError, AttributeError, TypeError,
    NotImplementedError, OverflowError, RecursionError, MemoryError, AssertionError, struct.error, zlib.error,
)  # fmt: skip
_NO_PATIENT = PatientModule()
_DEEPEST = 16  # levels of a sequence that is kept; that of the radiopharmaceutical has 3


@dataclass(frozen=True)
class InputLimits:
    """Upper bounds of what is taken in: number of files, and bytes after inflation."""

    max_files: int = 20_000
    max_bytes: int = 4096 * 2**20


@dataclass(frozen=True, eq=False)
class DicomInstance:
    """One DICOM image: where its pixels can be read, and the attributes in `headers.attributes.TAGS`.

    Attributes:
        pixels_at: where the element after the header starts in the file: Pixel Data if there is one.
        frame: its number in a multi-frame file, from 0; None for the single image of a file.
        syntax: transfer syntax of the file.
        patient: whom the image names.
    """

    file: Path
    header: Dataset
    pixels_at: int
    frame: int | None = None
    syntax: UID = ExplicitVRLittleEndian
    patient: PatientModule = _NO_PATIENT


@dataclass(frozen=True, eq=False)
class DicomFileSet:
    """What was taken in. The files exist while `open_dicom_files` is open.

    Attributes:
        skipped: files that are not DICOM images (damaged ones, DICOMDIR and links included).
        archives: archives found inside, not opened; also counted in `skipped`.
    """

    instances: tuple[DicomInstance, ...]
    skipped: int
    archives: int


class SizeLimiter:
    """Counts files and bytes against the limits."""

    def __init__(self, limits: InputLimits) -> None:
        self.limits = limits
        self._files = 0
        self._bytes = 0

    def files(self, count: int = 1) -> None:
        """Some more files."""
        self._files += count
        if self._files > self.limits.max_files:
            raise _beyond_limits(Message("More than {n} files.", n=self.limits.max_files))

    def bytes(self, count: int) -> None:
        """Some more bytes."""
        self._bytes += count
        if self._bytes > self.limits.max_bytes:
            raise _beyond_limits(Message("More than {n:.0f} MB of images.", n=self.limits.max_bytes / 2**20))


def _unreadable(error: OSError) -> Message:
    if isinstance(error, FileNotFoundError):
        return Message("There is no such file or folder.")
    return Message("A file could not be read ({why}).", why=error.strerror or type(error).__name__)


@contextmanager
def open_dicom_files(source: Path, limits: InputLimits, progress: Progress) -> Iterator[DicomFileSet]:
    """The DICOM images of `source`; files made from an archive are deleted on leaving.

    While it is open, pydicom converts values without validating them (`values_as_written`).

    Raises:
        UnreadableStudyError: nothing there, a damaged or encrypted archive, limits exceeded, or no DICOM at all.
    """
    with values_as_written(), tempfile.TemporaryDirectory(prefix="fedpet-") as scratch:
        try:
            taker = _FileReader(SizeLimiter(limits), Path(scratch))
            taker.take(source, progress)
        except OSError as error:
            raise UnreadableStudyError(
                found=_unreadable(error),
                needed=Message("A folder, a zip archive or a DICOM file that this program may read."),
                advice=Message("Check that the files exist and that access is allowed."),
            ) from error
        if not taker.instances:
            raise taker.no_dicom()
        yield DicomFileSet(tuple(taker.instances), taker.skipped, taker.archives)


class _FileReader:
    """Takes files in one by one and counts what is no DICOM image."""

    def __init__(self, budget: SizeLimiter, scratch: Path) -> None:
        self.instances: list[DicomInstance] = []
        self.skipped = self.archives = self.directories = 0
        self.zipped = False
        self._budget = budget
        self._scratch = scratch
        self._sound: set[tuple[str | None, bool, bytes]] = set()
        self._items = 0

    def take(self, source: Path, progress: Progress) -> None:
        """A folder, an archive or a file."""
        count = self._budget.bytes
        if source.is_dir():
            files = self._below(source)
        elif not source.is_file():
            raise FileNotFoundError
        elif _is_zip(source):
            self.zipped = True
            files, self.skipped, self.archives = extract_dicom_members(source, self._scratch, self._budget)
            count = _counted_already
        else:
            files = [source]
        for number, file in enumerate(files):
            if number % 50 == 0:
                progress(number / len(files), Message("Reading DICOM headers"))
            found = self._instances(file, count)
            self.instances.extend(found)
            self.skipped += not found

    def _below(self, folder: Path) -> list[Path]:
        """Regular files below a folder, by name; links and special files are skipped."""
        files: list[str] = []
        folders = [os.fspath(folder)]
        while folders:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                        continue
                    self._budget.files()
                    if entry.is_file(follow_symlinks=False):
                        files.append(entry.path)
                    else:
                        self.skipped += 1
        return [Path(file) for file in sorted(files)]

    def _instances(self, file: Path, count: Callable[[int], None]) -> tuple[DicomInstance, ...]:
        """The DICOM images with a modality in a file; none in a DICOMDIR, a damaged file, or one alike by chance."""
        with file.open("rb") as stream:
            start = stream.read(HEAD_BYTES)
            if not looks_dicom(start):
                self.archives += looks_archive(start)
                return ()
            count(os.fstat(stream.fileno()).st_size)
            try:
                return self._read(file, stream)
            except DeflatedError as deflated:
                inflated = self._scratch / f"inflated-{len(self.instances)}"
                return self._inflated(stream, deflated.start, inflated)
            except DAMAGED:
                return ()
            except OSError as error:
                if error.errno is None:  # pydicom's word for a damaged sequence
                    return ()
                raise

    def _inflated(self, stream: BinaryIO, start: int, target: Path) -> tuple[DicomInstance, ...]:
        try:
            with target.open("wb") as out:
                inflate(stream, start, out, self._budget.bytes)
        except zlib.error:
            return ()
        return self._instances(target, _counted_already)

    def _read(self, file: Path, stream: BinaryIO) -> tuple[DicomInstance, ...]:
        head = parse_header(stream, TAG_SET)
        if head.media_class == MediaStorageDirectoryStorage:
            self.directories += 1
            return ()
        self._require_sound_sequences(head.header)
        if not text(head.header, "SOPClassUID"):  # anonymised away
            head.header.SOPClassUID = head.media_class
        if not text(head.header, "Modality") and text(head.header, "SOPClassUID") not in IMAGES:
            return ()
        patient = PatientModule.from_header(head.header)
        header = without_identity(head.header)
        return split_into_frames(DicomInstance(file, header, head.pixels_at, syntax=head.syntax, patient=patient))

    def _require_sound_sequences(self, header: Dataset) -> None:
        """Parse sequences here, where damage is caught; each content once, since the slices of a series repeat it."""
        for tag in SEQUENCES:
            raw: object = header.get_item(tag)
            if not isinstance(raw, RawDataElement) or not raw.value:
                continue
            content = raw.VR, raw.is_implicit_VR, raw.value
            if content in self._sound:
                continue
            self._items += raw.value.count(ITEM_BYTES)
            if self._items > MAX_SEQUENCE_ITEMS:
                raise ValueError("more items than the headers of a study have")
            _parse_sequence(header, tag)
            self._sound.add(content)

    def no_dicom(self) -> UnreadableStudyError:
        """What to say where no image was found."""
        if self.directories:
            return UnreadableStudyError(
                found=Message("Only a DICOMDIR was found: the table of contents of a disc, without its images."),
                needed=Message("The DICOM files of one PET/CT examination, in a folder or a zip archive."),
                advice=Message("Copy the whole disc, with the folders beside its DICOMDIR, and give that folder."),
            )
        return UnreadableStudyError(
            found=Message(
                "No DICOM image found in the zip archive. Files looked at in it: {n}, of these archives: {archives}."
                if self.zipped
                else "No DICOM image found. Files looked at: {n}, of these archives: {archives}.",
                n=self.skipped,
                archives=self.archives,
            ),
            needed=Message("The DICOM files of one PET/CT examination, in a folder or a zip archive."),
            advice=Message("Export the examination as DICOM; unpack archives that lie inside."),
        )


def _is_zip(file: Path) -> bool:
    with file.open("rb") as stream:
        start = stream.read(HEAD_BYTES)
    return start.startswith(b"PK") and not start.endswith(b"DICM")


def _parse_sequence(dataset: Dataset, tag: BaseTag, level: int = 1) -> None:
    """Down to the innermost items."""
    items = dataset[tag].value
    if not isinstance(items, Sequence) or level > _DEEPEST:
        raise ValueError("a sequence of another representation or nested too deeply")
    for item in items:
        for inner in [*item.keys()]:
            if dictionary_has_tag(inner) and dictionary_VR(inner) == "SQ":
                _parse_sequence(item, inner, level + 1)


def _counted_already(count: int) -> None:
    """Bytes that were counted when the file was made."""


def _beyond_limits(found: Message) -> UnreadableStudyError:
    return UnreadableStudyError(
        found=found,
        needed=Message("A study within the limits set for this installation."),
        advice=Message("Send only the PET/CT examination, or raise max_files or max_upload_mb in the settings."),
    )
