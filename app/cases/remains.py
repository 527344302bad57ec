"""What is left of a patient outside the cases: studies that arrive, quarantine, temporary files, the database's files.

Erasure removes it, then searches all of it again; the proof says what was searched and what was found.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from app.cases.store import remove_folder
from app.database.connection import DATABASE, forget_deleted
from fedpet.core.errors import FedpetError
from fedpet.core.pseudonyms import has_identifier
from fedpet.core.scratch import SCRATCH, sweep_scratch
from fedpet.core.settings import read_or_create_key
from fedpet.imaging.dicom.headers.patient_module import PatientModule, examination_uid
from fedpet.imaging.dicom.headers.unvalidated import values_as_written

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from app.cases.store import Store

INBOX: Final = "pacs/inbox"  # in `home`: studies that arrive
QUARANTINE: Final = "pacs/quarantine"  # objects that contradict what is there
FETCHED: Final = "pacs/fetched"  # studies on their way from a PACS
_STATES: Final = {"state.json", "quarantine.json"}
_IDENTITY: Final = ["PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID"]
_UNREADABLE: Final = (
    InvalidDicomError,
    OSError,
    ValueError,
    KeyError,
    EOFError,
    AttributeError,
    TypeError,
    FedpetError,
)
_CHUNK: Final = 2**20  # bytes read at once


@dataclass(frozen=True)
class Patient:
    """Whose remains are searched.

    Attributes:
        pseudonym: "" where cases were erased by their age, or where a case of the patient is still being computed.
        cases: identifiers of the erased cases.
    """

    pseudonym: str
    cases: Collection[str]


def find_waiting_since(home: Path, before: datetime) -> list[Path]:
    """Folders of studies half received, quarantined or fetched, of which no file was written since a moment."""
    return [folder for folder in _waiting(home) if _waits_since(folder, before)]


def _waits_since(folder: Path, before: datetime) -> bool:
    files = list(_files(folder))
    if all(path.name in _STATES for path in files):  # remembers a study that became a case
        return False
    try:
        newest = max(path.stat().st_mtime for path in files)
    except FileNotFoundError:  # it is being moved
        return False
    return datetime.fromtimestamp(newest, UTC) < before


def remove_remains(store: Store, patient: Patient, expired: Sequence[Path] = ()) -> dict[str, Any]:
    """Remove what is left of a patient outside the cases, then search for it.

    Args:
        store: of the cases, from which those of the patient were erased.
        patient: whose remains.
        expired: folders of studies that are removed for their age (`find_waiting_since`).

    Returns:
        For the proof: "removed" folders, what was "searched" (files, by place), and "found", places where something of
        the patient is still there.

    Raises:
        ErasureError: a file cannot be removed.
    """
    sweep_scratch(store.home)
    key = read_or_create_key(store.home / "pseudonym.key")
    removed = [
        folder
        for folder in _waiting(store.home)
        if folder in expired or any(_belongs(path, patient, key) for path in _files(folder))
    ]
    for folder in removed:
        gone = folder.with_name(f".erased-{folder.name}")  # in one step, also while a receiver writes into it
        folder.rename(gone)
        remove_folder(gone)
    found = [] if forget_deleted(store.engine) else ["write-ahead log: in use, not emptied"]
    searched: dict[str, int] = {}
    for place in (INBOX, QUARANTINE, FETCHED, SCRATCH):
        files = list(_files(store.home / place))
        searched[place] = len(files)
        found += [place for path in files if _belongs(path, patient, key)]
    for path in sorted(store.home.glob(f"{DATABASE}*")):
        searched[path.name] = 1
        found += [path.name] if patient.pseudonym and _holds(path, patient.pseudonym) else []
    return {"removed": len(removed), "searched": searched, "found": sorted(set(found))}


def _belongs(path: Path, patient: Patient, key: bytes) -> bool:
    """Whether a file is an image of the patient, or the state of a study of which an erased case was made."""
    if path.name in _STATES:
        try:
            return json.loads(path.read_text("utf-8")).get("case", "") in patient.cases
        except ValueError:
            return False
    try:
        with values_as_written():
            header = dcmread(path, specific_tags=_IDENTITY, stop_before_pixels=True)
            name = PatientModule.from_header(header).pseudonym(examination_uid(header), key)
    except _UNREADABLE:
        return False
    return bool(patient.pseudonym) and (name == patient.pseudonym or has_identifier(name, patient.pseudonym))


def _holds(path: Path, word: str) -> bool:
    sought, before = word.encode(), b""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            if sought in before + chunk:
                return True
            before = chunk[-len(sought) :]
    return False


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _waiting(home: Path) -> list[Path]:
    """Folders of single studies outside the cases."""
    places = [home / place for place in (INBOX, QUARANTINE, FETCHED)]
    return sorted(path for place in places if place.is_dir() for path in place.iterdir() if path.is_dir())
