"""Every patient of a hospital: which images, which row, whether they agree, and what a person should look at.

Only headers are read; `fedpet cohort prepare` also checks the pixels.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from fedpet.clinical.reading import DATE_COLUMNS, read_table
from fedpet.clinical.record import RecordReference
from fedpet.clinical.value_parsing import AMBIGUOUS_DATES
from fedpet.clinical.variables import VARIABLES
from fedpet.core.messages import Message
from fedpet.core.progress import no_progress
from fedpet.core.pseudonyms import pseudonym
from inference.record_concordance import Agreement, RecordConcordance, compare_record
from training.data.eligibility import PairedBy, disagreement, pair_studies_with_records
from training.data.study_folders import read_study_folders

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import date
    from pathlib import Path

    from fedpet.clinical.reading import ClinicalTable, TableRow
    from fedpet.core.errors import RecordError
    from fedpet.core.progress import Progress
    from training.data.eligibility import ExcludedPatient, Pairing
    from training.data.study_folders import StudyFolder

USABLE: Final = "usable"
EVENTS: Final = frozenset({"date_progression", "date_deces"})  # empty where nothing happened
NEARLY_EMPTY: Final = 0.2  # share of the rows, below which a column is named as one to look at
_OPTIONAL: Final = frozenset(  # the default input contracts do not read them, and few tables hold them
    {"stade", "tnm_t", "tnm_n", "tnm_m", "chirurgie_anterieure", "radiotherapie_anterieure"}
)
_LEAST_FILLED: Final = 8  # columns, for a row to be said to repeat another
_LEAST_AGREEING: Final = 3  # items, for images to be said to fit another row


@dataclass(frozen=True)
class CheckedPatient:
    """A row, a study, or both.

    Attributes:
        row: of the table; None for a study without one.
        study: None for a row without one.
        by: what made the pair.
        concordance: of record and headers, where there are both.
        code: `USABLE`, or why not (`training.data.eligibility`).
        reasons: why not, for people.
        remarks: what a person should look at all the same.
    """

    row: TableRow | None
    study: StudyFolder | None
    by: PairedBy | None
    concordance: RecordConcordance | None
    code: str
    reasons: tuple[Message, ...] = ()
    remarks: tuple[Message, ...] = ()


@dataclass(frozen=True)
class ColumnCompleteness:
    """How often the table states a variable or a date.

    Attributes:
        column: French name.
        label: for people.
        there: whether the table has the column.
        filled: rows in which it states something.
        meant: a column that is not known and is perhaps this one; "" for none.
    """

    column: str
    label: Message
    there: bool
    filled: int
    meant: str = ""


@dataclass(frozen=True)
class SiteCheck:
    """What was found at a hospital.

    Attributes:
        table: as read.
        studies: every folder.
        patients: every row and every study, paired.
        columns: completeness of each variable and date.
    """

    table: ClinicalTable
    studies: tuple[StudyFolder, ...]
    patients: tuple[CheckedPatient, ...]
    columns: tuple[ColumnCompleteness, ...]

    @property
    def usable(self) -> tuple[CheckedPatient, ...]:
        """Patients whom the headers and the table allow to be prepared."""
        return tuple(one for one in self.patients if one.code == USABLE)

    @property
    def misnamed(self) -> tuple[ColumnCompleteness, ...]:
        """Columns that the table lacks, and perhaps has under a name that is not known."""
        return tuple(one for one in self.columns if one.meant)

    @property
    def unstated(self) -> tuple[ColumnCompleteness, ...]:
        """Optional columns that no row states, which is no fault."""
        return tuple(one for one in self.columns if one.column in _OPTIONAL and not one.filled and not one.meant)

    @property
    def sparse(self) -> tuple[ColumnCompleteness, ...]:
        """Columns that the table lacks or that fewer than `NEARLY_EMPTY` of its rows state; not `misnamed` ones."""
        left_out = EVENTS.union(one.column for one in (*self.misnamed, *self.unstated))
        least = NEARLY_EMPTY * len(self.table)
        return tuple(one for one in self.columns if one.column not in left_out and one.filled < least)

    @property
    def ambiguous_dates(self) -> int:
        """Number of rows that are refused because the day or the month may stand first in a date."""
        return sum(any(one.advice == AMBIGUOUS_DATES for one in row.refusals) for row in self.table)


def check_site(
    dicom_dir: Path,
    table: Path,
    key: bytes,
    *,
    memory: Path | None = None,
    workers: int = 1,
    today: date | None = None,
    progress: Progress = no_progress,
) -> SiteCheck:
    """Compare the images and the table of a hospital.

    Args:
        dicom_dir: one folder a patient.
        table: CSV or xlsx.
        key: secret of the pseudonyms.
        memory: private file that remembers headers, so that a corrected table is checked in seconds.
        workers: processes.
        today: later dates are refused; None for the day of the call.
        progress: reports each folder.

    Raises:
        RecordError: the table cannot be read.
        NodeDataError: there is no folder of a patient.
    """
    read = read_table(table, today=today)
    studies = read_study_folders(dicom_dir, key, memory=memory, workers=workers, progress=progress)
    return compare_site(read, studies, key)


def compare_site(read: ClinicalTable, studies: tuple[StudyFolder, ...], key: bytes) -> SiteCheck:
    """Compare what was read of a hospital's images and table.

    Args:
        read: the table.
        studies: every folder.
        key: secret of the pseudonyms.
    """
    eligible = pair_studies_with_records(studies, read.rows, key)
    names = frozenset(row.patient_id for row in read)
    patients = [_pair(pair, read, names, key) for pair in eligible.pairs]
    patients += [_left_out(one, read) for one in eligible.left_out]
    copies = _copies(read)
    patients = [replace(one, remarks=(*one.remarks, *copies.get(_identifier(one), ()))) for one in patients]
    ordered = sorted(patients, key=lambda one: (one.row is None, one.row.line if one.row else 0))
    return SiteCheck(read, studies, tuple(ordered), tuple(_completeness(read)))


def _identifier(one: CheckedPatient) -> str:
    return one.row.patient_id if one.row else ""


def _copies(rows: Iterable[TableRow]) -> dict[str, tuple[Message, ...]]:
    """A remark for each row that repeats another one but for its identifier."""
    alike: dict[object, list[TableRow]] = defaultdict(list)
    for row in rows:
        if len(row.filled) >= _LEAST_FILLED:
            alike[row.record, row.outcome, row.pet_date, row.first_dose].append(row)
    return {
        row.patient_id: (Message("The row repeats that of “{patient}”.", patient=other.patient_id),)
        for same in alike.values()
        for row, other in zip(same, (*same[1:], same[0]), strict=True)
        if row is not other and row.record is not None
    }


def _pair(pair: Pairing, table: ClinicalTable, names: frozenset[str], key: bytes) -> CheckedPatient:
    study, row = pair.study, pair.row
    if study is None or row is None:
        raise ValueError("pairs of a hospital have a study and a row")
    concordance = compare_record(pair.record, pair.reference, study.facts)
    remarks = [*_of_the_pair(pair, study, names), *row.warnings]
    code, reasons = USABLE, tuple[Message, ...]()
    if study.refusal:
        code, reasons = "study_refused", study.refusal
    elif "CT" not in dict(study.images):
        code, reasons = "study_refused", (_NO_CT,)
    elif (excluded := disagreement(pair, study.facts, pseudonym(pair.patient_id, key))) is not None:
        code, reasons = excluded.code, excluded.reasons
        if code == "record_contradicts":
            remarks += _fitting(study, (other for other in table if other is not row))
    return CheckedPatient(row, study, pair.by, concordance, code, reasons, tuple(remarks))


def _of_the_pair(pair: Pairing, study: StudyFolder, names: frozenset[str]) -> Iterator[Message]:
    folder = study.folder.name
    if pair.by is PairedBy.FOLDER:
        yield Message(
            "Paired by the name of the folder alone: the images bear the identifier “{identifier}”, which the table"
            " does not hold.",
            identifier=", ".join(study.patient_ids) or "-",
        )
    elif pair.by is PairedBy.EXAMINATION:
        yield Message("Paired by the Study ID and the day of the PET.")
    if folder != pair.patient_id and folder in names:
        yield Message(
            "The folder is named “{folder}” like another patient of the table; the images are those of “{patient}”.",
            folder=folder,
            patient=pair.patient_id,
        )


def _left_out(excluded: ExcludedPatient, table: ClinicalTable) -> CheckedPatient:
    row, study = excluded.row, excluded.study
    remarks = list(row.warnings) if row else []
    reasons = excluded.reasons
    if row is not None and excluded.code == "record_refused":
        reasons = tuple(part for one in row.refusals for part in _parts(one))
    if study is not None and excluded.code == "several_patients":
        remarks.append(Message("Patients: {patients}.", patients=", ".join(study.patient_ids)))
    if study is not None and excluded.code == "no_row":
        remarks += _fitting(study, table)
    return CheckedPatient(row, study, None, None, excluded.code, reasons, tuple(remarks))


def _parts(refusal: RecordError) -> tuple[Message, ...]:
    """What the row of a patient says of a wrong cell; of dates that may be read in two ways the page speaks once."""
    found = (refusal.found,)
    return found if refusal.advice == AMBIGUOUS_DATES else (*found, refusal.needed, refusal.advice)


_NO_CT: Final = Message("The folder holds a PET and no CT: export the whole PET/CT again.")


def _fitting(study: StudyFolder, rows: Iterable[TableRow]) -> Iterator[Message]:
    """Rows that the images would fit in everything that both state."""
    for row in rows:
        if row.record is None:
            continue
        reference = RecordReference(pet_date=row.pet_date, first_dose=row.first_dose)
        found = compare_record(row.record, reference, study.facts)
        agreeing = [item for item in found.items if item.verdict is Agreement.AGREE]
        if not found.contradictions and len(agreeing) >= _LEAST_AGREEING:
            yield Message("The images fit the row of “{patient}”.", patient=row.patient_id)


_DATE_LABELS: Final[Mapping[str, Message]] = {
    "date_tep": Message("Day of the PET"),
    "date_debut_ici": Message("First dose"),
    "date_progression": Message("Progression"),
    "date_deces": Message("Death"),
    "date_dernieres_nouvelles": Message("Last news"),
}


def _completeness(table: ClinicalTable) -> Iterator[ColumnCompleteness]:
    labels = {variable.french: variable.label for variable in VARIABLES.values()}
    english = {variable.name: variable.french for variable in VARIABLES.values()}
    meant = {english.get(one.nearest, one.nearest): one.name for one in table.unread if one.nearest}
    for column in (*labels, *DATE_COLUMNS):
        yield ColumnCompleteness(
            column,
            labels[column] if column in labels else _DATE_LABELS[column],
            column in table.columns,
            sum(column in row.filled for row in table),
            "" if column in table.columns else meant.get(column, ""),
        )
