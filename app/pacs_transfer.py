"""Fetching a whole study and sending objects, with retries: a study half received is said so, and not left behind."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from app import pacs_errors
from app.pacs_shelf import STORED, Basket, Shelf
from fedpet.errors import PacsError, PacsUnavailable
from fedpet.messages import Message
from fedpet.progress import silent

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from app.pacs_query import Level, Query, Row
    from fedpet.pacs_settings import PacsSettings
    from fedpet.progress import Progress
    from imaging.intake import IntakeLimits

_STORED_WITH_WARNING = frozenset({0xB000, 0xB006, 0xB007})  # PS3.4 table B.2-1
Listed = Mapping[str, Mapping[str, str]]  # series -> SOP instance -> SOP class, "" where the PACS does not tell it


@dataclass(frozen=True)
class Outcome:
    """What the PACS says of the transfers of one retrieval."""

    failed: int = 0
    remaining: int = 0


@dataclass(frozen=True)
class Sent:
    """One object and the answer to it: a DIMSE status or the failure reason of STOW-RS; None without an answer.

    `final`: sending it again cannot help.
    """

    file: Path
    status: int | None
    final: bool = False

    @property
    def stored(self) -> bool:
        """Whether the PACS has it now."""
        return self.status == STORED or self.status in _STORED_WITH_WARNING


@dataclass(frozen=True)
class Fetched:
    """A study that is complete."""

    images: int
    size: int
    attempts: int


@dataclass(frozen=True)
class Shipped:
    """Objects that the PACS stored, all of them; `skipped` files were not DICOM."""

    objects: int
    skipped: int
    attempts: int


class Pacs(Protocol):
    """The operations of a PACS; see `app.pacs_dimse.DimsePacs` for what each does and raises."""

    name: str
    settings: PacsSettings

    def echo(self) -> None:
        """Whether the PACS answers us."""

    def find(self, query: Query, level: Level, limit: int) -> list[Row]:
        """At most `limit` answers to a query."""

    def images(self, study_uid: str, modalities: Collection[str] = ()) -> Listed:
        """The images that the PACS holds of a study, in the series of some modalities, or of all."""

    def fetch(self, wanted: Listed, basket: Basket) -> Outcome:
        """Fetch series of the basket's study into it."""

    def send(self, files: Sequence[Path]) -> Iterator[Sent]:
        """Send files, each with the answer to it."""


def fetch_study(
    pacs: Pacs,
    study_uid: str,
    folder: Path,
    *,
    limits: IntakeLimits,
    modalities: Collection[str] = (),
    progress: Progress = silent,
) -> Fetched:
    """Fetch a study into a new folder, which exists only once the study is there as a whole.

    Args:
        pacs: from where.
        study_uid: Study Instance UID.
        folder: new folder; its files get numbered names.
        limits: number of files and bytes.
        modalities: only the series of these; all where empty.
        progress: told how many images came.

    Raises:
        PacsError: the PACS cannot be reached, refuses, or images are missing after every retry.
        UnreadableStudy: the study is beyond the limits.
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
        basket = Basket(Shelf(part, limits), study_uid, limits, progress)
        attempts = complete(pacs, basket, modalities)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Fetched(len(basket.shelf), basket.shelf.size, attempts)


def complete(pacs: Pacs, basket: Basket, modalities: Collection[str] = ()) -> int:
    """Fetch what a basket lacks, until it has all that the PACS lists of its study; returns the attempts it took.

    The list is asked for again after each attempt, so that images which reach the PACS meanwhile are fetched too. What
    was listed once stays expected: images that the PACS lost meanwhile are missing.

    Raises:
        PacsError: the PACS cannot be reached, refuses, or images are missing after every retry.
        UnreadableStudy: the study is beyond the limits.
    """
    expected: set[str] = set()
    why = pacs_errors.counted(0, 0)
    for attempt in _tries(pacs.settings):
        try:
            listed = pacs.images(basket.study_uid, modalities)
            expected |= _uids(listed)
            if not expected:
                raise pacs_errors.no_study(pacs.name)
            basket.expected = len(expected)
            outcome = pacs.fetch(_missing(listed, basket), basket)
            expected |= _uids(pacs.images(basket.study_uid, modalities))
        except PacsUnavailable as error:
            if attempt > pacs.settings.retries and not expected:
                raise
            why = error.found
            continue
        if expected <= basket.shelf.uids:
            return attempt
        why = pacs_errors.counted(outcome.failed, outcome.remaining)
    received = len(expected & basket.shelf.uids)
    raise pacs_errors.incomplete(pacs.name, received=received, expected=len(expected), why=why)


def _uids(listed: Listed) -> set[str]:
    return {uid for images in listed.values() for uid in images}


def _missing(listed: Listed, basket: Basket) -> Listed:
    """The series that lack images, with those."""
    held = basket.shelf.uids
    lacking = {
        series_uid: {uid: kind for uid, kind in images.items() if uid not in held}
        for series_uid, images in listed.items()
    }
    return {series_uid: images for series_uid, images in lacking.items() if images}


def send_files(pacs: Pacs, source: Path, *, progress: Progress = silent) -> Shipped:
    """Send a DICOM file, or every DICOM file below a folder; an object that was refused is sent again a few times.

    Raises:
        PacsError: no DICOM file, the PACS cannot be reached, or objects were refused after every retry.
    """
    files, skipped = _dicom_files(source)
    answers: dict[Path, Sent] = {}
    waiting = files
    for attempt in _tries(pacs.settings):
        try:
            for sent in pacs.send(waiting):
                answers[sent.file] = sent
                done = sum(answer.stored for answer in answers.values())
                progress(done / len(files), Message("{n} of {total} objects sent", n=done, total=len(files)))
        except PacsUnavailable:
            if attempt > pacs.settings.retries and not answers:
                raise
        waiting = [file for file in files if file not in answers or not answers[file].stored]
        if not waiting:
            return Shipped(len(files), skipped, attempt)
        if all(file in answers and answers[file].final for file in waiting):
            break
    raise pacs_errors.refused(
        pacs.name,
        refused=len(waiting),
        total=len(files),
        statuses=", ".join(sorted({_status(answers.get(file)) for file in waiting})),
    )


def _status(answer: Sent | None) -> str:
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
