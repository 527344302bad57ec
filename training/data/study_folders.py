"""The patient folders of a hospital's DICOM directory: what their headers state, read once and remembered.

What is remembered lies in a private file, keyed by names, sizes and times of the files of each folder: a folder that
changed is read again, and a table can be corrected and checked again in seconds.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from pydicom import dcmread

from fedpet import __version__
from fedpet.core.errors import NodeDataError, StudyError
from fedpet.core.messages import Message
from fedpet.core.progress import no_progress
from fedpet.core.pseudonyms import identifier_digest
from fedpet.imaging.dicom.files import DAMAGED
from fedpet.imaging.dicom.headers.patient_module import same_patient
from fedpet.imaging.loading import read_headers
from fedpet.imaging.study import PatientFacts
from training.data.private_files import open_private
from training.data.process_pool import Lost, surviving_map

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from fedpet.core.progress import Progress
    from fedpet.imaging.dicom.headers.patient_module import PatientModule
    from fedpet.imaging.loading import ExaminationHeaders
    from training.data.process_pool import Workers

_FORMAT: Final = f"study-folder-1/{__version__}"
_UNSTATED = PatientFacts()


@dataclass(frozen=True)
class StudyFolder:
    """What the headers in one folder state. Holds the patient's identifier: it stays in the hospital.

    Attributes:
        folder: of the study.
        digest: of names, sizes and times of its files.
        patient_ids: every PatientID stated.
        several: whether the images name several patients.
        person: keyed digests of issuer, name and birth date, by name of the field; what is not stated is left out.
        facts: for comparison with a record.
        study_id: Study ID (0020,0010) of the PET.
        manufacturer, model: of the PET scanner.
        images: number of images by modality.
        refusal: why the study cannot be used, as far as the headers say: found, needed, advice.
    """

    folder: Path
    digest: str
    patient_ids: tuple[str, ...] = ()
    several: bool = False
    person: tuple[tuple[str, str], ...] = ()
    facts: PatientFacts = _UNSTATED
    study_id: str = ""
    manufacturer: str = ""
    model: str = ""
    images: tuple[tuple[str, int], ...] = ()
    refusal: tuple[Message, ...] = ()

    @property
    def patient_id(self) -> str:
        """The one PatientID of the images; "" where there is none, or several."""
        return self.patient_ids[0] if len(self.patient_ids) == 1 else ""

    def contradicts(self, other: StudyFolder) -> bool:
        """Whether both state an issuer, name, birth date or sex, and not the same."""
        one, two = dict(self.person), dict(other.person)
        return any(one[field] != two[field] for field in one.keys() & two.keys())

    def to_json(self) -> dict[str, Any]:
        """What is remembered."""
        values = {**asdict(self), "folder": self.folder.name, "refusal": [part.to_json() for part in self.refusal]}
        return {"format": _FORMAT, **values}

    @classmethod
    def from_json(cls, data: dict[str, Any], folder: Path) -> StudyFolder:
        """The inverse of `to_json`.

        Raises:
            KeyError, TypeError: another version remembered it.
        """
        facts = data["facts"]
        return cls(
            folder=folder,
            digest=data["digest"],
            patient_ids=tuple(data["patient_ids"]),
            several=data["several"],
            person=tuple((field, digest) for field, digest in data["person"]),
            facts=PatientFacts(**{**facts, "pet_dates": tuple(facts["pet_dates"])}),
            study_id=data["study_id"],
            manufacturer=data["manufacturer"],
            model=data["model"],
            images=tuple((modality, count) for modality, count in data["images"]),
            refusal=tuple(map(Message.from_json, data["refusal"])),
        )


def read_study_folders(
    dicom_dir: Path,
    key: bytes,
    *,
    memory: Path | None = None,
    workers: Workers = 1,
    progress: Progress = no_progress,
) -> tuple[StudyFolder, ...]:
    """Read the headers of every folder below `dicom_dir`.

    Args:
        dicom_dir: one folder a patient.
        key: secret of the pseudonyms.
        memory: private file that remembers what was read; None remembers nothing.
        workers: processes, or a cluster.
        progress: reports each folder.

    Returns:
        The folders, by name.

    Raises:
        NodeDataError: there is no folder.
    """
    folders = patient_folders(dicom_dir)
    digests = {folder: files_digest(folder) for folder in folders}
    known = _remembered(memory, digests, key)
    unread = [(folder, digest) for folder, digest in digests.items() if folder not in known]
    for done, result in enumerate(surviving_map(partial(_read, key=key), unread, workers=workers), start=1):
        if isinstance(result, Lost):
            study = _failed(*result.item, result.why)
        else:
            study = result
            if memory is not None:
                _remember(memory, study, key)
        known[study.folder] = study
        progress(done / len(unread), Message("Reading DICOM headers ({done} of {n})", done=done, n=len(unread)))
    return tuple(known[folder] for folder in folders)


def patient_folders(dicom_dir: Path) -> list[Path]:
    """The folders below `dicom_dir`, by name.

    Raises:
        NodeDataError: there is none.
    """
    folders = sorted(entry for entry in dicom_dir.iterdir() if entry.is_dir())
    if not folders:
        raise NodeDataError(
            found=Message("The folder {name} holds no folder of a patient.", name=dicom_dir.resolve().name),
            needed=Message("One folder a patient, with the files of the PET/CT inside."),
            advice=Message("Put the files of each patient into a folder of their own, or give the folder above these."),
        )
    return folders


def _read(item: tuple[Path, str], *, key: bytes) -> StudyFolder:
    """Read the headers of one folder with its digest; a damaged one is no reason to stop."""
    folder, digest = item
    try:
        headers = read_headers(folder, pseudonym_key=key)
        return _study_folder(folder, digest, headers, key)
    except StudyError as refusal:
        return StudyFolder(folder, digest, refusal=(refusal.found, refusal.needed, refusal.advice))
    except (*DAMAGED, OSError) as error:
        return _failed(folder, digest, type(error).__name__)


def files_digest(folder: Path) -> str:
    """SHA-256 over names, sizes and times of all files below a folder."""
    listed: list[str] = []
    pending = [os.fspath(folder)]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                else:
                    facts = entry.stat(follow_symlinks=False)
                    listed.append(f"{os.path.relpath(entry.path, folder)}\0{facts.st_size}\0{facts.st_mtime_ns}")
    return hashlib.sha256("\n".join(sorted(listed)).encode("utf-8", "surrogateescape")).hexdigest()


def _study_folder(folder: Path, digest: str, headers: ExaminationHeaders, key: bytes) -> StudyFolder:
    refusal = headers.refusal
    return StudyFolder(
        folder=folder,
        digest=digest,
        patient_ids=headers.patient_ids,
        several=same_patient(headers.patients) is None,
        person=_person(headers.patients, key),
        facts=headers.facts or PatientFacts(),
        study_id="" if headers.pet_file is None else _study_id(headers.pet_file),
        manufacturer="" if headers.pet is None else headers.pet.manufacturer,
        model="" if headers.pet is None else headers.pet.model,
        images=tuple(sorted(headers.images.items())),
        refusal=() if refusal is None else (refusal.found, refusal.needed, refusal.advice),
    )


def _person(patients: Iterable[PatientModule], key: bytes) -> tuple[tuple[str, str], ...]:
    stated = ((field, getattr(one, field)) for one in patients for field in ("issuer", "name", "birth_date", "sex"))
    return tuple(
        sorted({field: identifier_digest(f"{field}:{value}", key) for field, value in stated if value}.items())
    )


def _study_id(file: Path) -> str:
    """Read apart: the loader keeps no identifier of the examination."""
    header = dcmread(file, stop_before_pixels=True, specific_tags=["StudyID"])
    return str(header.get("StudyID") or "").strip()


def _failed(folder: Path, digest: str, why: str) -> StudyFolder:
    found = Message("The files of the folder cannot be read ({why}).", why=why)
    needed = Message("The DICOM files of one PET/CT examination.")
    return StudyFolder(folder, digest, refusal=(found, needed, Message("Export the examination again from the PACS.")))


def _remembered(memory: Path | None, digests: dict[Path, str], key: bytes) -> dict[Path, StudyFolder]:
    """What an earlier run read of folders that did not change; what was read last counts."""
    if memory is None or not memory.is_file():
        return {}
    names = {_name(folder, key): folder for folder in digests}
    known: dict[Path, StudyFolder] = {}
    for line in memory.read_text(encoding="utf-8").splitlines():
        try:
            data = json.loads(line)
            folder = names.get(data["of"])
            if folder is not None and data["format"] == _FORMAT and data["digest"] == digests[folder]:
                known[folder] = StudyFolder.from_json(data, folder)
        except (ValueError, KeyError, TypeError):
            continue  # a line that was cut off
    return known


def _remember(memory: Path, study: StudyFolder, key: bytes) -> None:
    with open_private(memory, "a") as file:
        file.write(json.dumps({"of": _name(study.folder, key), **study.to_json()}, sort_keys=True) + "\n")


def _name(folder: Path, key: bytes) -> str:
    """Of the folder and the key, since digests are made with it."""
    return hashlib.sha256(key + os.fsencode(folder.resolve())).hexdigest()


def scanners(studies: Sequence[StudyFolder]) -> dict[tuple[str, str], int]:
    """Number of studies by maker and model of the scanner."""
    counts: dict[tuple[str, str], int] = {}
    for study in studies:
        counts[study.manufacturer, study.model] = counts.get((study.manufacturer, study.model), 0) + 1
    return counts
