"""Which patients of a centre can be prepared: studies paired with rows of the table, and reasons for exclusion.

A study belongs to the row of its `PatientID`, whatever its folder is called; where the table does not hold that
identifier, to the row with its Study ID and day of the PET, else to the row that its folder is named by.

Reasons (`ExcludedPatient.code`): "no_row", "no_study", "duplicate_study", "several_patients", "identifier_shared",
"record_refused", "no_outcome", "pet_after_treatment"; later, from the images, "study_refused", "study_failed",
"record_contradicts", "no_delay" and "failed_check".
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations
from typing import TYPE_CHECKING, Any

from fedpet.clinical.record import RecordReference
from fedpet.core.messages import Message, translate_message
from fedpet.core.pseudonyms import identifier_digest, pseudonym
from inference.record_concordance import compare_record, complete_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from fedpet.clinical.endpoints import SurvivalOutcome
    from fedpet.clinical.reading import TableRow
    from fedpet.clinical.record import ClinicalRecord
    from fedpet.imaging.study import PatientFacts
    from training.data.study_folders import StudyFolder


PET_AFTER_TREATMENT = Message("The PET was acquired after the first dose.")


@dataclass(frozen=True)
class ExcludedPatient:
    """A patient who was not prepared; the reasons contain no identity.

    Attributes:
        pseudonym: of the patient.
        code: see above.
        reasons: for people.
        row: of the table, where there is one. It and the folder stay in the hospital.
        study: folder of the images, where there is one.
    """

    pseudonym: str
    code: str
    reasons: tuple[Message, ...]
    row: TableRow | None = field(default=None, repr=False, compare=False)
    study: StudyFolder | None = field(default=None, repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Code, and the reasons in both languages."""
        return {
            "pseudonym": self.pseudonym,
            "code": self.code,
            "reason": {
                "en": " ".join(map(translate_message("en"), self.reasons)),
                "fr": " ".join(map(translate_message("fr"), self.reasons)),
            },
        }


class PairedBy(StrEnum):
    """What made the pair of a study and a row."""

    PATIENT_ID = "patient_id"
    EXAMINATION = "examination"  # Study ID and day of the PET
    FOLDER = "folder"  # its name


@dataclass(frozen=True)
class Pairing:
    """A study with its complete row.

    Attributes:
        folder: of the study.
        patient_id: of the row.
        record: of the row.
        outcome: of the row.
        reference: whose row it is, and the days it states. Without identifier where another thing made the pair: the
            images then bear an identifier that the table does not hold.
        by: what made the pair.
        study: what the headers state; None where the images were never files.
        row: of the table.
    """

    folder: Path
    patient_id: str
    record: ClinicalRecord
    outcome: SurvivalOutcome
    reference: RecordReference
    by: PairedBy = PairedBy.PATIENT_ID
    study: StudyFolder | None = field(default=None, repr=False)
    row: TableRow | None = field(default=None, repr=False)


@dataclass(frozen=True)
class EligiblePatients:
    """Patients who can be prepared, and those who cannot.

    Attributes:
        pairs: studies with their rows.
        left_out: all other patients.
    """

    pairs: tuple[Pairing, ...]
    left_out: tuple[ExcludedPatient, ...]


def pair_studies_with_records(studies: Sequence[StudyFolder], rows: Sequence[TableRow], key: bytes) -> EligiblePatients:
    """Pair studies with rows.

    Where two studies belong to one row, that of the table's PET, else the first, is used if both are of one patient; if
    they are not, the row could be either's, and none is used.

    Args:
        studies: of the centre.
        rows: of its table.
        key: secret of the pseudonyms.
    """
    finder = _RowFinder(rows, key)
    by_row: dict[str, list[tuple[StudyFolder, PairedBy]]] = defaultdict(list)
    left_out: list[ExcludedPatient] = []
    for study in studies:
        if study.several:
            left_out.append(_without_row(study, "several_patients", (_SEVERAL,), key))
        elif (found := finder.find(study)) is None:
            unreadable = bool(study.refusal) and not study.images
            code, reasons = ("study_refused", study.refusal) if unreadable else ("no_row", (_NO_ROW,))
            left_out.append(_without_row(study, code, reasons, key))
        else:
            row, by = found
            by_row[row.patient_id].append((study, by))
    pairs: list[Pairing] = []
    for row in rows:
        used, others = _pair_studies(by_row.get(row.patient_id, []), row, key)
        pairs += used
        left_out += others
    return EligiblePatients(tuple(pairs), tuple(left_out))


def pair_row(
    folder: Path,
    row: TableRow,
    *,
    key: bytes,
    by: PairedBy = PairedBy.PATIENT_ID,
    study: StudyFolder | None = None,
) -> Pairing | ExcludedPatient:
    """Pair a study with its row, or exclude it.

    Args:
        folder: of the study.
        row: of the table.
        key: secret of the pseudonyms.
        by: what made the pair.
        study: what its headers state.
    """

    def left_out(code: str, *reasons: Message) -> ExcludedPatient:
        return ExcludedPatient(pseudonym(row.patient_id, key), code, reasons, row, study)

    if row.refused is not None:
        return left_out("record_refused", row.refused.found, row.refused.needed, row.refused.advice)
    if row.record is None or row.outcome is None:
        return left_out("no_outcome", Message("The table's dates do not give a progression-free survival."))
    days = row.record.pet_to_treatment_days
    if days is not None and days < 0:
        return left_out("pet_after_treatment", PET_AFTER_TREATMENT)
    identifier = identifier_digest(row.patient_id, key) if by is PairedBy.PATIENT_ID else ""
    reference = RecordReference(identifier=identifier, pet_date=row.pet_date, first_dose=row.first_dose)
    return Pairing(folder, row.patient_id, row.record, row.outcome, reference, by, study, row)


def disagreement(pairing: Pairing, facts: PatientFacts, case_id: str) -> ExcludedPatient | None:
    """Why record and images are not of one patient before treatment, or None.

    Args:
        pairing: the record, and what it says whose it is.
        facts: what the images state.
        case_id: pseudonym of the patient.
    """

    def left_out(code: str, reason: Message) -> ExcludedPatient:
        return ExcludedPatient(case_id, code, (reason,), pairing.row, pairing.study)

    concordance = compare_record(pairing.record, pairing.reference, facts)
    if concordance.contradictions:
        return left_out("record_contradicts", concordance.check().reason)
    days = complete_record(pairing.record, pairing.reference, facts).pet_to_treatment_days
    if days is None:
        missing = Message("Neither table nor images say when the PET was made: give date_tep or delai_tep_ici.")
        return left_out("no_delay", missing)
    return left_out("pet_after_treatment", PET_AFTER_TREATMENT) if days < 0 else None


_SEVERAL = Message("The folder holds images of several patients.")
_NO_ROW = Message("There is a study, but the table has no row for this patient.")


class _RowFinder:
    """The row of a study. What two rows share (an identifier but for its zeros, a Study ID) finds neither."""

    def __init__(self, rows: Iterable[TableRow], key: bytes) -> None:
        listed = list(rows)
        self._key = key
        self._by_name = {row.patient_id: row for row in listed}
        self._by_digest = _unique((identifier_digest(row.patient_id, key), row) for row in listed)
        self._by_examination = _unique((row.study_id, row) for row in listed)

    def find(self, study: StudyFolder) -> tuple[TableRow, PairedBy] | None:
        """The row, and what found it."""
        if study.patient_id:
            digest = identifier_digest(study.patient_id, self._key)
            row = self._by_name.get(study.patient_id) or self._by_digest.get(digest)
            if row is not None:
                return row, PairedBy.PATIENT_ID
        row = self._by_examination.get(study.study_id)
        if row is not None and row.pet_date is not None and row.pet_date.isoformat() in study.facts.pet_dates:
            return row, PairedBy.EXAMINATION
        row = self._by_name.get(study.folder.name)
        return None if row is None else (row, PairedBy.FOLDER)


def _unique(items: Iterable[tuple[str, TableRow]]) -> dict[str, TableRow]:
    listed = [(name, row) for name, row in items if name]
    counts = Counter(name for name, _ in listed)
    return {name: row for name, row in listed if counts[name] == 1}


def _pair_studies(
    found: Sequence[tuple[StudyFolder, PairedBy]], row: TableRow, key: bytes
) -> tuple[list[Pairing], list[ExcludedPatient]]:
    """The studies that belong to one row: the one that is used, if it can be, and the others."""
    name = pseudonym(row.patient_id, key)
    if not found:
        return [], [ExcludedPatient(name, "no_study", (_NO_STUDY,), row)]
    if any(one.contradicts(other) for (one, _), (other, _) in combinations(found, 2)):
        return [], [ExcludedPatient(name, "identifier_shared", (_SHARED,), row, study) for study, _ in found]
    stated = None if row.pet_date is None else row.pet_date.isoformat()
    (study, by), *again = sorted(found, key=lambda one: stated not in one[0].facts.pet_dates)
    others = [ExcludedPatient(name, "duplicate_study", (_AGAIN,), row, one) for one, _ in again]
    first = pair_row(study.folder, row, key=key, by=by, study=study)
    return ([], [first, *others]) if isinstance(first, ExcludedPatient) else ([first], others)


_NO_STUDY = Message("The table has a row for this patient, but there is no study.")
_SHARED = Message("Several patients bear this identifier (other name or birth date): the row may be any one's.")
_AGAIN = Message("The patient has a second study; only one is used.")


def _without_row(study: StudyFolder, code: str, reasons: tuple[Message, ...], key: bytes) -> ExcludedPatient:
    """Pseudonymised by the identifier of the images, else by the name of the folder."""
    return ExcludedPatient(pseudonym(study.patient_id or study.folder.name, key), code, reasons, study=study)
