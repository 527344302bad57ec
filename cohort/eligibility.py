"""Who of a centre can be prepared at all: studies and table rows paired, and why the others are left out.

Reasons (`LeftOut.code`): "no_row", "no_study", "duplicate_study", "record_refused", "no_outcome",
"pet_after_treatment"; later, from the images, "study_refused" and "failed_check".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from clinical.reading import read_table
from fedpet.messages import Message, say
from imaging.loading import pseudonym

if TYPE_CHECKING:
    from pathlib import Path

    from clinical.endpoints import Outcome
    from clinical.reading import TableRow
    from clinical.record import ClinicalRecord


@dataclass(frozen=True)
class LeftOut:
    """A patient who was not prepared. Reasons hold no identity."""

    pseudonym: str
    code: str
    reasons: tuple[Message, ...]

    def to_json(self) -> dict[str, Any]:
        """Code, and the reasons in both languages."""
        return {
            "pseudonym": self.pseudonym,
            "code": self.code,
            "reason": {
                "en": " ".join(map(say("en"), self.reasons)),
                "fr": " ".join(map(say("fr"), self.reasons)),
            },
        }


@dataclass(frozen=True)
class Pairing:
    """A study with its complete row."""

    folder: Path
    patient_id: str
    record: ClinicalRecord
    outcome: Outcome


@dataclass(frozen=True)
class Pairings:
    """Who can be prepared, and who cannot."""

    pairs: tuple[Pairing, ...]
    left_out: tuple[LeftOut, ...]


def pair(dicom_dir: Path, table: Path, key: bytes) -> Pairings:
    """Pair the patient folders of `dicom_dir` with the rows of `table`.

    A folder belongs to the row whose `patient_id` is its name, or else the `PatientID` of its first DICOM file.

    Raises:
        RecordRefused: the table cannot be read.
    """
    rows = {row.patient_id: row for row in read_table(table)}
    pairs: list[Pairing] = []
    left_out: list[LeftOut] = []
    seen: set[str] = set()
    for folder in sorted(entry for entry in dicom_dir.iterdir() if entry.is_dir()):
        name = folder.name if folder.name in rows else _patient_id(folder)
        result = pair_row(folder, name, rows.get(name), key=key, again=name in seen)
        seen.add(name)
        if isinstance(result, LeftOut):
            left_out.append(result)
        else:
            pairs.append(result)
    missing = Message("The table has a row for this patient, but there is no study.")
    left_out += [LeftOut(pseudonym(name, key), "no_study", (missing,)) for name in rows if name not in seen]
    return Pairings(tuple(pairs), tuple(left_out))


def pair_row(folder: Path, name: str, row: TableRow | None, *, key: bytes, again: bool = False) -> Pairing | LeftOut:
    """Judge a study by its row: None where the table has none, `again` where the patient has an earlier study."""

    def left_out(code: str, *reasons: Message) -> LeftOut:
        return LeftOut(pseudonym(name, key), code, reasons)

    if row is None:
        return left_out("no_row", Message("There is a study, but the table has no row for this patient."))
    if again:
        return left_out("duplicate_study", Message("The patient has a second study; only the first is used."))
    if row.refused is not None:
        return left_out("record_refused", row.refused.found, row.refused.needed, row.refused.advice)
    if row.record is None or row.outcome is None:
        return left_out("no_outcome", Message("The table's dates do not give a progression-free survival."))
    days = row.record.pet_to_treatment_days
    if days is not None and days < 0:
        return left_out("pet_after_treatment", Message("The PET was acquired after the first dose."))
    return Pairing(folder, name, row.record, row.outcome)


def _patient_id(folder: Path) -> str:
    """`PatientID` of the first DICOM file of a folder; the folder's name where there is none."""
    for path in sorted(entry for entry in folder.rglob("*") if entry.is_file()):
        try:
            header = dcmread(path, stop_before_pixels=True, specific_tags=["PatientID"])
        except (InvalidDicomError, OSError):
            continue
        return str(header.get("PatientID", "")).strip() or folder.name
    return folder.name
