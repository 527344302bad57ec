"""Fetches whole studies and sends objects, with retries; a study received in part is an error and is removed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from app.pacs import errors as pacs_errors
from app.pacs.object_store import STORED, ObjectStore, StudyStore
from fedpet.core.errors import PacsError, PacsUnavailableError
from fedpet.core.messages import Message
from fedpet.core.progress import no_progress
from fedpet.imaging.dicom.headers.unvalidated import values_as_written

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from app.pacs.query import Level, Query, Row
    from fedpet.core.pacs_settings import PacsSettings
    from fedpet.core.progress import Progress
    from fedpet.imaging.dicom.files import InputLimits

_STORED_WITH_WARNING = frozenset({0xB000, 0xB006, 0xB007})  # PS3.4 table B.2-1
# series -> SOP instance -> SOP class, "" where the PACS does not state it
InstanceList = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class TransferStatus:
    """The counts of failed and remaining transfers of one retrieval, by the PACS."""

    failed: int = 0
    remaining: int = 0


@dataclass(frozen=True)
class StoreResponse:
    """The response of a PACS to one object.

    Attributes:
        file: of the object.
        status: DIMSE status, or failure reason of STOW-RS; None without a response.
        final: whether it is pointless to send the object again.
    """

    file: Path
    status: int | None
    final: bool = False

    @property
    def stored(self) -> bool:
        """Whether the PACS has stored it."""
        return self.status == STORED or self.status in _STORED_WITH_WARNING


@dataclass(frozen=True)
class FetchSummary:
    """A study that was fetched completely: images, bytes and attempts."""

    images: int
    size: int
    attempts: int


@dataclass(frozen=True)
class TransferSummary:
    """Objects that were all stored by the PACS; `skipped` files were not DICOM."""

    objects: int
    skipped: int
    attempts: int


class Pacs(Protocol):
    """The operations of a PACS; see `app.pacs.dimse.DimsePacs` for what each does and raises."""

    name: str
    settings: PacsSettings

    def echo(self) -> None:
        """Check that the PACS answers us."""

    def find(self, query: Query, level: Level, limit: int) -> list[Row]:
        """At most `limit` answers to a query."""

    def images(self, study_uid: str, modalities: Collection[str] = ()) -> InstanceList:
        """The images that the PACS holds of a study, in the series of some modalities, or of all."""

    def fetch(self, wanted: InstanceList, store: StudyStore) -> TransferStatus:
        """Fetch series of the study of the store into it."""

    def send(self, files: Sequence[Path]) -> Iterator[StoreResponse]:
        """Send files, each with the answer to it."""


def fetch_study(
    pacs: Pacs,
    study_uid: str,
    folder: Path,
    *,
    limits: InputLimits,
    modalities: Collection[str] = (),
    progress: Progress = no_progress,
) -> FetchSummary:
    """Fetch a study into a new folder, which exists only once the study is complete.

    Args:
        pacs: to fetch it from.
        study_uid: Study Instance UID.
        folder: new folder; its files get numbered names.
        limits: number of files and bytes.
        modalities: only the series of these; all where empty.
        progress: receives how many images have arrived.

    Raises:
        PacsError: the PACS cannot be reached, refuses, or images are missing after every retry.
        UnreadableStudyError: the study is beyond the limits.
    """
    if folder.exists():
        raise PacsError(
            found=Message("The folder for the study exists already."),
            needed=Message("A new folder: a study is not mixed with other files."),
            advice=Message("Name another folder."),
        )
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        store = StudyStore(ObjectStore(part, limits), study_uid, limits, progress)
        attempts = complete(pacs, store, modalities)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return FetchSummary(len(store.objects), store.objects.size, attempts)


def complete(pacs: Pacs, store: StudyStore, modalities: Collection[str] = ()) -> int:
    """Fetch the images that a store lacks, until it has all that the PACS lists for its study.

    The list is requested again after each attempt, so that images that reach the PACS meanwhile are fetched too. Images
    that were listed once stay expected, also where the PACS no longer lists them.

    Returns:
        How many attempts it took.

    Raises:
        PacsError: the PACS cannot be reached, refuses, or images are missing after every retry.
        UnreadableStudyError: the study is beyond the limits.
    """
    expected: set[str] = set()
    why = pacs_errors.count_of_transfers(0, 0)
    for attempt in _tries(pacs.settings):
        try:
            listed = pacs.images(store.study_uid, modalities)
            expected |= _uids(listed)
            if not expected:
                raise pacs_errors.no_study(pacs.name)
            store.expected = len(expected)
            outcome = pacs.fetch(_missing(listed, store), store)
            expected |= _uids(pacs.images(store.study_uid, modalities))
        except PacsUnavailableError as error:
            if attempt > pacs.settings.retries and not expected:
                raise
            why = error.found
            continue
        if expected <= store.objects.uids:
            return attempt
        why = pacs_errors.count_of_transfers(outcome.failed, outcome.remaining)
    received = len(expected & store.objects.uids)
    raise pacs_errors.incomplete(pacs.name, received=received, expected=len(expected), why=why)


def _uids(listed: InstanceList) -> set[str]:
    return {uid for images in listed.values() for uid in images}


def _missing(listed: InstanceList, store: StudyStore) -> InstanceList:
    """The series that lack images, with those."""
    held = store.objects.uids
    lacking = {
        series_uid: {uid: kind for uid, kind in images.items() if uid not in held}
        for series_uid, images in listed.items()
    }
    return {series_uid: images for series_uid, images in lacking.items() if images}


def send_files(pacs: Pacs, source: Path, *, progress: Progress = no_progress) -> TransferSummary:
    """Send a DICOM file, or every DICOM file below a folder; refused objects are sent again a few times.

    Raises:
        PacsError: no DICOM file, the PACS cannot be reached, or objects were refused after every retry.
    """
    files, skipped = _dicom_files(source)
    answers: dict[Path, StoreResponse] = {}
    waiting = files
    for attempt in _tries(pacs.settings):
        try:
            for sent in pacs.send(waiting):
                answers[sent.file] = sent
                done = sum(answer.stored for answer in answers.values())
                progress(done / len(files), Message("{n} of {total} objects sent", n=done, total=len(files)))
        except PacsUnavailableError:
            if attempt > pacs.settings.retries and not answers:
                raise
        waiting = [file for file in files if file not in answers or not answers[file].stored]
        if not waiting:
            return TransferSummary(len(files), skipped, attempt)
        if all(file in answers and answers[file].final for file in waiting):
            break
    raise pacs_errors.refused(
        pacs.name,
        refused=len(waiting),
        total=len(files),
        statuses=", ".join(sorted({_status(answers.get(file)) for file in waiting})),
    )


def _status(answer: StoreResponse | None) -> str:
    return "–" if answer is None or answer.status is None else f"{answer.status:04X}"


def _dicom_files(source: Path) -> tuple[list[Path], int]:
    """The DICOM files of a folder, and how many files are none."""
    paths = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    files = [path for path in paths if not path.is_symlink() and _is_object(path)]
    if not files:
        raise PacsError(
            found=Message("None of {n} files is a DICOM file.", n=len(paths)),
            needed=Message("DICOM files with their file meta information (PS3.10)."),
            advice=Message("Give the folder that holds them."),
        )
    return files, len(paths) - len(files)


@values_as_written()
def _is_object(path: Path) -> bool:
    try:
        meta = dcmread(path, specific_tags=["SOPInstanceUID"], stop_before_pixels=True).file_meta
    except (InvalidDicomError, EOFError):
        return False
    return "MediaStorageSOPInstanceUID" in meta and "TransferSyntaxUID" in meta


def _tries(settings: PacsSettings) -> Iterator[int]:
    """1, 2, … with a wait between that doubles, as often as the settings allow."""
    for attempt in range(1, settings.retries + 2):
        if attempt > 1:
            time.sleep(settings.backoff_s * 2 ** (attempt - 2))
        yield attempt
