"""The stream of answered cases for `inference.monitoring`, and outcomes that an administrator enters later.

No identity leaves the database: a monitored case is a day, encoded inputs and an answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from app.cases.tables import Outcome
from fedpet.clinical.record import ClinicalRecord
from fedpet.clinical.tabular import read_cells
from fedpet.clinical.value_parsing import normalize_key, read_date, read_flag
from fedpet.core.errors import RecordError
from fedpet.core.messages import Message
from fedpet.imaging.lesions.lesion_table import LesionTable
from inference.encoding import input_values
from inference.monitoring import MonitoredCase, MonitorReference, MonitorReport, compare

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from app.audit.trail import AuditTrail
    from app.cases.store import Store
    from app.cases.tables import Case
    from inference.bundle.storage import Bundle
    from inference.input_contract import InputContract

COLUMNS: Final = ("pseudonym", "free_12m", "date")
_YEAR: Final = timedelta(days=365)
_MAY_DIFFER: Final = timedelta(days=31 + 92)  # of the delay from PET to treatment, and of the visit


@dataclass(frozen=True)
class Monitoring:
    """The stream of one model against its reference.

    Attributes:
        report: of the newest cases.
        months: by month (YYYY-MM), oldest first, its cases.
        reference: of the bundle.
    """

    report: MonitorReport
    months: Mapping[str, Sequence[MonitoredCase]]
    reference: MonitorReference

    @staticmethod
    def of(store: Store, bundle: Bundle, *, until: date | None = None) -> Monitoring:
        """Compare the cases that a bundle answered.

        Args:
            store: of the cases.
            bundle: the model; cases answered by another are left out.
            until: last day; None for today.
        """
        last = until or datetime.now(UTC).date()
        cases = [one for one in stream(store, bundle) if one.day <= last]
        reference = MonitorReference.from_card(bundle.card, bundle.contract)
        months: dict[str, list[MonitoredCase]] = {}
        for one in sorted(cases, key=lambda case: case.day):
            months.setdefault(f"{one.day:%Y-%m}", []).append(one)
        report = compare(cases, reference, until=last, level=bundle.calibration.interval_level)
        return Monitoring(report, months, reference)


def stream(store: Store, bundle: Bundle) -> list[MonitoredCase]:
    """The cases that a bundle answered or abstained from, without identity; unreadable results are left out."""
    outcomes = store.outcomes()
    found = []
    for case in store.with_results():
        if case.result is not None and case.result["prediction"]["model"]["digest"] == bundle.digest:
            seen = outcomes.get(case.id)
            found.append(replace(_monitored(case, case.result, bundle.contract), free=seen.free_12m if seen else None))
    return found


def _monitored(case: Case, result: Mapping[str, Any], contract: InputContract) -> MonitoredCase:
    prediction = result["prediction"]
    table = prediction.get("table")
    record = ClinicalRecord(**result["record"])
    values = input_values(record, contract, LesionTable.from_json(_without_values(table)) if table else None)
    main = next((one for one in prediction["endpoints"] if one["name"] == "pfs_12m"), None)
    return MonitoredCase(
        day=case.created.date(),
        inputs=values,
        probability=main and main["probability"],
        verdict=main and main.get("verdict"),
    )


def _without_values(table: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in table.items() if name != "values"}


def import_outcomes(store: Store, audit: AuditTrail, path: Path, *, actor: str) -> tuple[int, int]:
    """Enter the outcomes of a table: `pseudonym`, `free_12m` (yes or no) and `date` of the event or of the last news.

    Args:
        store: of the cases.
        audit: gets one entry with the counts.
        path: CSV or xlsx.
        actor: user who enters them.

    Returns:
        Number of cases with an outcome from the table, and of its rows whose pseudonym has no case here.

    Raises:
        RecordError: a column or a value is missing, or contradicts the day of an examination; nothing is entered.
    """
    table = read_cells(path, lambda cells: "pseudonym" in {normalize_key(cell) for cell in cells})
    columns = {normalize_key(name): name for name in table.columns}
    lacking = [name for name in COLUMNS if name not in columns]
    if lacking:
        raise RecordError(
            found=Message("The table has no column {names}.", names=", ".join(lacking)),
            needed=Message("Columns pseudonym, free_12m (yes or no) and date."),
            advice=Message("Add what is missing; dates as YYYY-MM-DD."),
        )
    entered, unknown = [], 0
    for cells, line in zip(table.rows, table.lines, strict=True):
        pseudonym, free, day = (cells[columns[name]].strip() for name in COLUMNS)
        cases = store.find_by_patient(pseudonym) if pseudonym else ()
        unknown += not cases
        entered += [_outcome(case, free, day, line, actor) for case in cases]
    store.save_outcomes(entered)
    audit.record(actor, "outcomes.entered", detail={"cases": len(entered), "rows_without_case": unknown})
    return len(entered), unknown


def entered_sentence(entered: int, unknown: int) -> Message:
    """What an import did."""
    return Message(
        "Outcomes of {n} cases entered; {unknown} rows name no case of this centre.", n=entered, unknown=unknown
    )


def _outcome(case: Case, free: str, day: str, line: int, actor: str) -> Outcome:
    """An outcome that agrees with the day of the examination; the error names the row, never the patient."""
    progression_free, on = read_flag("free_12m", free), read_date("date", day)
    if progression_free is None or on is None:
        raise RecordError(
            found=Message("Row {line} has no outcome or no date.", line=line),
            needed=Message("Whether the patient was free of progression at 12 months, and a date."),
            advice=Message("Complete the row, or remove it until the outcome is known."),
        )
    examined = date.fromisoformat(case.study_date) if case.study_date else case.created.date()
    latest = datetime.now(UTC).date()
    early = progression_free and on < examined + _YEAR - _MAY_DIFFER
    late = not progression_free and on > examined + _YEAR + _MAY_DIFFER
    if on < examined or on > latest or early or late:
        raise RecordError(
            found=Message("Row {line}: the outcome and its date do not fit the day of the examination.", line=line),
            needed=Message(
                "Yes with the date of news after 12 months, or no with that of a progression or death before 12 months."
            ),
            advice=Message("Correct the date or the outcome."),
        )
    return Outcome(case=case.id, free_12m=progression_free, on=on.isoformat(), actor=actor, entered=datetime.now(UTC))
