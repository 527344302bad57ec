"""The cases in the database: SQLite in the settings' folder, or another database by URL.

A case is known by a random identifier that says nothing about the patient. Its files are in a folder of that name; the
names of uploaded files are never stored. Every change of a case goes through the table of `app.cases.lifecycle`.
"""

from __future__ import annotations

import shutil
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Self

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.orm import Session

from app.cases.lifecycle import CHANGED_MEANWHILE, CaseEvent, next_status
from app.cases.prefill import FILLED, entered, fill
from app.cases.reading import Reading
from app.cases.tables import ANSWERED, BUSY, Case, Decision, Delivery, Outcome, SignedVersion, Status
from app.database.connection import forget_deleted, open_database
from fedpet.core.errors import CaseNotFoundError, ErasureError, OutdatedError, TransitionError
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from sqlalchemy import ColumnElement, Engine

    from fedpet.core.messages import Language
    from fedpet.core.settings import Settings

    _Values = Mapping[str, Any]  # of columns, by name

Order = Literal["created", "study_date", "pseudonym", "status"]
_LABEL, _LABEL_LENGTH = "upload_label", 120  # a file that may name the patient, as the images beside it do
_WAITING = Message("Waiting for the computation to start")
_WAITING_TRANSFER = Message("Waiting for the transfer to start")
INTERRUPTED = Message("The server stopped twice while this case was being computed.")


@dataclass(frozen=True)
class Search:
    """What is searched among the cases.

    Attributes:
        words: part of the pseudonym, of the date of examination (YYYY-MM-DD), or the beginning of the identifier.
        statuses: only these; empty for all.
        owner: only the cases of this user.
        only: a user who sees no other cases than their own and those of nobody (`app.access.sessions.User.only`).
        order: what the cases are sorted by: newest first, latest examination first, or by pseudonym or state.
        reverse: the other way round.
    """

    words: str = ""
    statuses: Collection[Status] = ()
    owner: str | None = None
    only: str | None = None
    order: Order = "created"
    reverse: bool = False

    def conditions(self) -> list[ColumnElement[bool]]:
        """The conditions of a query."""
        found: list[ColumnElement[bool]] = []
        if words := self.words.strip():
            found.append(
                or_(
                    Case.pseudonym.icontains(words, autoescape=True),
                    Case.study_date.contains(words, autoescape=True),
                    Case.id.istartswith(words, autoescape=True),
                )
            )
        if self.statuses:
            found.append(Case.status.in_(self.statuses))
        if self.owner is not None:
            found.append(Case.owner == self.owner)
        if self.only is not None:
            found.append(Case.owner.in_(("", self.only)))
        return found


class Store:
    """The cases and their folders.

    Returned cases are snapshots: changing one changes nothing in the database. Methods that change a case raise
    `CaseNotFoundError` where there is none of this identifier, and `TransitionError` where its state does not allow the
    step; nothing is changed then.
    """

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._engine = engine
        self._folder = folder

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Connect to the database and upgrade its tables to this version.

        Raises:
            SettingsError: the database cannot be used.
        """
        return cls(open_database(settings), settings.folder / "cases")

    @property
    def home(self) -> Path:
        """The folder of the settings."""
        return self._folder.parent

    @property
    def engine(self) -> Engine:
        """The database engine, for the other tables of the application."""
        return self._engine

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def folder(self, case_id: str) -> Path:
        """The folder of a case.

        Raises:
            ValueError: the identifier is not a UUID, so that no other path can be reached.
        """
        return self._folder / str(uuid.UUID(case_id))

    def source(self, case_id: str) -> Path:
        """The files of a case as received; they stay, so that another series or a correction can be tried."""
        return self.folder(case_id) / "source"

    def keep_label(self, case_id: str, label: str) -> None:
        """Keep what an upload was called, beside its images, until they are known by their pseudonym."""
        path = self.folder(case_id) / _LABEL
        path.touch(mode=0o600)
        path.write_text("".join(filter(str.isprintable, label))[:_LABEL_LENGTH], encoding="utf-8")

    def label(self, case_id: str) -> str:
        """What the upload of a case was called, for its owner alone; "" once its images were usable."""
        path = self.folder(case_id) / _LABEL
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    def version_folder(self, case_id: str, number: int) -> Path:
        """The folder of a signed version."""
        return self.folder(case_id) / "versions" / str(number)

    def create(
        self, language: Language, record: Mapping[str, Any] | None = None, *, owner: str = "", origin: str = "upload"
    ) -> Case:
        """Create a case without images, and its folder.

        Args:
            language: of its reports.
            record: clinical values that are known already.
            owner: user who created it; "" for a case that belongs to every reader.
            origin: "upload", or "pacs:" and the name of the PACS.
        """
        case = Case(
            id=str(uuid.uuid4()),
            created=datetime.now(UTC),
            status=Status.RECEIVED,
            language=language,
            record=dict(record or {}),
            owner=owner,
            origin=origin,
        )
        self.folder(case.id).mkdir(parents=True, mode=0o700)
        with self._session() as session, session.begin():
            session.add(case)
        return case

    def get(self, case_id: str) -> Case | None:
        """The case, or None where there is none of this identifier."""
        with self._session() as session:
            return session.get(Case, case_id)

    def require(self, case_id: str) -> Case:
        """The case.

        Raises:
            CaseNotFoundError: there is none of this identifier.
        """
        case = self.get(case_id)
        if case is None:
            raise CaseNotFoundError(
                found=Message("There is no such case."),
                needed=Message("A case of this application that was not erased."),
                advice=Message("Go back to the list of cases."),
            )
        return case

    def identifiers(self) -> set[str]:
        """The identifiers of all cases."""
        with self._session() as session:
            return set(session.scalars(select(Case.id)))

    def newest(self, limit: int = 200) -> Sequence[Case]:
        """The newest cases, newest first."""
        return self.find(Search(), limit=limit)

    def find(self, search: Search, *, limit: int, offset: int = 0) -> Sequence[Case]:
        """Cases that a search finds, in its order: `limit` of them after the first `offset`."""
        column = {
            "created": Case.created,
            "study_date": Case.study_date,
            "pseudonym": Case.pseudonym,
            "status": Case.status,
        }[search.order]
        latest_first = search.order in {"created", "study_date"}
        order = column.desc() if latest_first is not search.reverse else column.asc()
        with self._session() as session:
            query = select(Case).where(*search.conditions()).order_by(order, Case.created.desc(), Case.id)
            return session.scalars(query.limit(limit).offset(offset)).all()

    def count(self, search: Search) -> int:
        """How many cases a search finds."""
        with self._session() as session:
            return session.scalars(select(func.count()).select_from(Case).where(*search.conditions())).one()

    def find_by_patient(self, pseudonym: str) -> Sequence[Case]:
        """The cases of one patient, by date of the examination, oldest first."""
        with self._session() as session:
            query = select(Case).where(Case.pseudonym == pseudonym).order_by(Case.study_date, Case.created)
            return session.scalars(query).all()

    def pseudonyms_of(self, identifier_pseudonym: str) -> Sequence[str]:
        """The pseudonyms of an identifier that cases bear: two where two persons share it (`pseudonyms`)."""
        with self._session() as session:
            alike = Case.pseudonym.startswith(f"{identifier_pseudonym}-", autoescape=True)
            query = select(Case.pseudonym).where((Case.pseudonym == identifier_pseudonym) | alike)
            return session.scalars(query.distinct().order_by(Case.pseudonym)).all()

    def find_created_before(self, moment: datetime) -> Sequence[Case]:
        """The cases created before a moment, oldest first."""
        with self._session() as session:
            return session.scalars(select(Case).where(Case.created < moment).order_by(Case.created)).all()

    def find_answered(self) -> Sequence[Case]:
        """The cases with an answer, oldest first."""
        with self._session() as session:
            return session.scalars(select(Case).where(Case.status.in_(ANSWERED)).order_by(Case.created)).all()

    def find_busy(self) -> Sequence[Case]:
        """The busy cases, oldest first; when a server starts, those that the former one left behind."""
        with self._session() as session:
            return session.scalars(select(Case).where(Case.status.in_(BUSY)).order_by(Case.created)).all()

    def find_results(self, origin: str, *, unsigned: bool) -> Sequence[tuple[str, Path]]:
        """The folders of the results of all cases from an origin, with the case, oldest first.

        Args:
            origin: as in `Case.origin`.
            unsigned: also the answers that no reader has signed yet.
        """
        signed = select(SignedVersion.case, SignedVersion.number).join(Case, Case.id == SignedVersion.case)
        answered = select(Case.id).where(Case.origin == origin, Case.status.in_(ANSWERED - {Status.SIGNED}))
        with self._session() as session:
            versions = session.execute(signed.where(Case.origin == origin).order_by(SignedVersion.signed)).all()
            waiting = session.scalars(answered.order_by(Case.created)).all() if unsigned else ()
        folders = [(case_id, self.version_folder(case_id, number)) for case_id, number in versions]
        return [*folders, *((case_id, self.folder(case_id)) for case_id in waiting)]

    def with_results(self) -> Sequence[Case]:
        """The cases with an answer or an abstention, oldest first."""
        with self._session() as session:
            query = select(Case).where(Case.status.in_(ANSWERED)).order_by(Case.created)
            return session.scalars(query).all()

    def outcomes(self) -> Mapping[str, Outcome]:
        """The outcomes that were entered, by case."""
        with self._session() as session:
            return {one.case: one for one in session.scalars(select(Outcome))}

    def save_outcomes(self, outcomes: Sequence[Outcome]) -> None:
        """Save outcomes, each in the place of an earlier one of its case; all of them or none."""
        with self._session() as session, session.begin():
            for one in outcomes:
                session.merge(one)

    def versions(self, case_id: str) -> Sequence[SignedVersion]:
        """The signed versions of a case, newest first."""
        with self._session() as session:
            query = select(SignedVersion).where(SignedVersion.case == case_id).order_by(SignedVersion.number.desc())
            return session.scalars(query).all()

    def record_images(self, case_id: str, *, files: int, size: int) -> None:
        """Record that the images are on disk: how many files, and their size in bytes."""
        self._apply(case_id, CaseEvent.RECORD_IMAGES, received={"files": files, "bytes": size})

    def request_transfer(self, case_id: str, *, pacs: str, study_uid: str) -> None:
        """Queue the transfer of a study from a PACS."""
        requested = {"pacs": pacs, "study_uid": study_uid}
        self._apply(case_id, CaseEvent.REQUEST_TRANSFER, **_queued(_WAITING_TRANSFER), received=requested)

    def finish_transfer(self, case_id: str, *, files: int, size: int) -> None:
        """Record that the images have come from the PACS, and queue their check."""
        self._apply(case_id, CaseEvent.FINISH_TRANSFER, **_queued(_WAITING), received={"files": files, "bytes": size})

    def save_draft(self, case_id: str, changed: Mapping[str, Any], language: Language) -> Case:
        """Save clinical values that a person entered; the others stay, so that no older value comes back.

        Args:
            case_id: the case.
            changed: values by field name, typed or of a file; None for one that is missing now. They are the record's
                own from then on, also where the images stated the same.
            language: of the page.

        Returns:
            The case as it is now.
        """

        def save(case: Case) -> tuple[CaseEvent, _Values]:
            record = {name: value for name, value in {**case.record, **changed}.items() if value is not None}
            values = {"record": record, "record_version": case.record_version + 1, "language": language}
            return CaseEvent.SAVE_DRAFT, values | entered(case, changed)

        self._update(case_id, save)
        return self.require(case_id)

    def start_check(self, case_id: str) -> None:
        """Queue the check of the images, or their transfer where they are still to come from a PACS."""

        def start(case: Case) -> tuple[CaseEvent, _Values]:
            if case.awaits_transfer:
                return CaseEvent.REQUEST_TRANSFER, _queued(_WAITING_TRANSFER)
            return CaseEvent.START_CHECK, _queued(_WAITING)

        self._update(case_id, start)

    def confirm_record(
        self, case_id: str, *, options: Mapping[str, Any] | None = None, shown: str | None = None
    ) -> bool:
        """Record that the clinical record is complete.

        Args:
            case_id: the case.
            options: the reader's choices with a confirmation of the record; None for those in force.
            shown: digest of what was displayed to the reader who decides (`Case.digest`); None for the program.

        Returns:
            True where the computation is queued now; False where it follows the check of the images.
        """
        changed = {"confirmed": True} | ({} if options is None else {"options": dict(options)})

        def confirm(case: Case) -> tuple[CaseEvent, _Values]:
            if case.status is Status.CHECKED:
                return CaseEvent.START_COMPUTATION, changed | _queued(_WAITING)
            return CaseEvent.CONFIRM_RECORD, changed

        return self._update(case_id, confirm, shown=shown) is Status.CHECKED

    def finish_check(
        self,
        case_id: str,
        *,
        pseudonym: str,
        study_date: str,
        inspection: Mapping[str, Any],
        stated: Mapping[str, Any] | None = None,
    ) -> Case:
        """Store what the checks of the images found.

        The computation is queued at once where the record is confirmed and the images can be used.

        Args:
            case_id: the case.
            pseudonym: of the patient.
            study_date: YYYY-MM-DD, "" where it is not known.
            inspection: `app.cases.result_json.inspection_json`.
            stated: values for the record that the images state (`app.cases.prefill`); None for none.

        Returns:
            The case as it is now.
        """

        def finish(case: Case) -> tuple[CaseEvent, _Values]:
            record, taken = fill(case, stated or {})
            found: dict[str, Any] = {
                "pseudonym": pseudonym,
                "study_date": study_date,
                "inspection": {**inspection, FILLED: taken},
            }
            if record != case.record:
                found |= {"record": record, "record_version": case.record_version + 1}
            if case.confirmed and not inspection.get("refused"):
                return CaseEvent.FINISH_CHECK_AND_RUN, found | _queued(_WAITING)
            return CaseEvent.FINISH_CHECK, found | {"fraction": 1.0, "message": None}

        self._update(case_id, finish)
        (self.folder(case_id) / _LABEL).unlink(missing_ok=True)
        return self.require(case_id)

    def finish_computation(
        self, case_id: str, *, result: Mapping[str, Any], options: Mapping[str, Any] | None = None
    ) -> None:
        """Store the answer (`app.cases.result_json`) of a running case.

        Args:
            case_id: the case.
            result: the answer.
            options: of the case when it was computed; None where they cannot have changed.

        Raises:
            TransitionError: the case has other options now, or does not run.
        """

        def finish(case: Case) -> tuple[CaseEvent, _Values]:
            if options is not None and case.options != options:
                raise TransitionError(
                    found=Message("The lesions were corrected while this answer was computed."),
                    needed=Message("An answer to the lesions as they are now."),
                    advice=CHANGED_MEANWHILE,
                )
            return CaseEvent.FINISH_COMPUTATION, {"fraction": 1.0, "message": None, "result": dict(result)}

        self._update(case_id, finish)

    def mark_read(self, case_id: str, *, shown: str | None = None) -> bool:
        """Record that a reader says to have read the answer; True the first time."""
        return self._apply(case_id, CaseEvent.MARK_READ, shown) is Status.READY

    def save_verdict(
        self, case_id: str, *, decision: Decision | None, comment: str, reader: str, conclusion: str = ""
    ) -> None:
        """Save a draft of the verdict on an answer that was read."""
        verdict = {
            "decision": decision.value if decision else "",
            "comment": comment,
            "conclusion": conclusion,
            "reader": reader,
        }
        self._apply(case_id, CaseEvent.SAVE_VERDICT, verdict=verdict)

    def save_reading(self, case_id: str, change: Callable[[Reading], Reading], *, shown: str | None = None) -> Reading:
        """Keep what a reader did.

        Args:
            case_id: the case.
            change: the reading as it is then, from the one there is.
            shown: digest of what was displayed to the reader; None for the program.

        Returns:
            The reading as it is now.
        """

        def save(case: Case) -> tuple[CaseEvent, _Values]:
            return CaseEvent.SAVE_READING, {"reading": change(Reading.of(case)).to_json()}

        self._update(case_id, save, shown=shown)
        return Reading.of(self.require(case_id))

    def edit_lesions(
        self,
        case_id: str,
        *,
        options: Mapping[str, Any],
        measured: Mapping[str, Any],
        reading: Reading,
        shown: str | None = None,
    ) -> None:
        """Store corrected lesions with the answer to them; what else hangs on them is pending.

        Where that is being computed, the case goes back to its answer: it is computed anew once the reader goes on.

        Args:
            case_id: the case.
            options: with the correction.
            measured: parts of the result with these options (`app.cases.result_json.plain`): "prediction", and
                "references" where they are known.
            reading: with what can be undone.
            shown: digest of what was displayed.
        """

        def edit(case: Case) -> tuple[CaseEvent, _Values]:
            require_answered(case)
            stale: dict[str, Any] = {"explanation": None, "what_if": [], "pending": True}
            values = {
                "fraction": 1.0,
                "message": None,
                "options": dict(options),
                "result": {**(case.result or {}), **measured, **stale},
                "reading": reading.to_json(),
                # the words of a draft stay, the decision was on another answer
                "verdict": None if case.verdict is None else {**case.verdict, "decision": ""},
            }
            return CaseEvent.EDIT_LESIONS, values

        self._update(case_id, edit, shown=shown)

    def start_refresh(self, case_id: str) -> None:
        """Queue what hangs on corrected lesions: influence map, reports, objects."""
        self._apply(case_id, CaseEvent.REFRESH, **_queued(_WAITING))

    def start_signing(
        self,
        case_id: str,
        *,
        decision: Decision,
        comment: str,
        reader: str,
        conclusion: str = "",
        shown: str | None = None,
    ) -> None:
        """Queue the final report, with the reader's verdict on what was displayed (`Case.digest`)."""

        def start(case: Case) -> tuple[CaseEvent, _Values]:
            verdict = {
                "decision": decision.value,
                "comment": comment,
                "conclusion": conclusion,
                "reader": reader,
                "shown": case.digest,
            }
            return CaseEvent.START_SIGNING, {**_queued(_WAITING), "verdict": verdict}

        self._update(case_id, start, shown=shown)

    def finish_signing(self, version: SignedVersion) -> None:
        """Store the signed version whose report was written.

        Raises:
            TransitionError: also where the case is at another version.
        """

        def finish(case: Case) -> tuple[CaseEvent, _Values]:
            if case.version != version.number:
                raise TransitionError(
                    found=Message("The case is at version {number} now.", number=case.version),
                    needed=Message("The report of this version."),
                    advice=CHANGED_MEANWHILE,
                )
            return CaseEvent.FINISH_SIGNING, {"message": None, "verdict": None}

        self._update(version.case, finish, then=lambda session: session.add(version))

    def start_attempt(self, case_id: str) -> int:
        """Count one more attempt at a busy case; returns how many there were since it was queued."""
        self._apply(case_id, CaseEvent.START_ATTEMPT, attempts=Case.attempts + 1)
        return self.require(case_id).attempts

    def forget_attempt(self, case_id: str) -> None:
        """Count one attempt less: it ended for lack of room, and nothing was wrong with the case."""
        self._apply(case_id, CaseEvent.START_ATTEMPT, attempts=Case.attempts - 1)

    def record_progress(self, case_id: str, fraction: float, message: Message) -> None:
        """Record how far a busy case is: a fraction of 1, and what is being done."""
        self._apply(case_id, CaseEvent.RECORD_PROGRESS, fraction=fraction, message=message.to_json())

    def record_refusal(
        self, case_id: str, reason: Message, *, series: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        """Record that the images or the record cannot be used; a case that was being signed is to be read again.

        Args:
            case_id: the case.
            reason: why.
            series: of a refused study, those that a reader can choose from; None where the checks hold.
        """
        checked: _Values = {} if series is None else {"inspection": {"series": list(series)}}
        self._apply(case_id, CaseEvent.RECORD_REFUSAL, message=reason.to_json(), **checked)

    def record_failure(self, case_id: str, reason: Message) -> None:
        """Record that the work on a case failed; one that was being signed is to be read again, its verdict a draft."""
        self._apply(case_id, CaseEvent.RECORD_FAILURE, message=reason.to_json())

    def record_mismatch(self, case_id: str, reason: Message) -> None:
        """Record that the record contradicts the images, or that the model is gone: a reader decides how it goes on.

        A case that was being signed is to be read again.
        """

        def put_back(case: Case) -> tuple[CaseEvent, _Values]:
            if case.status is Status.SIGNING:
                return CaseEvent.RECORD_MISMATCH, {"message": reason.to_json(), "verdict": None}
            return CaseEvent.RECORD_MISMATCH, {"message": None, "confirmed": False}

        self._update(case_id, put_back)

    def reopen_images(self, case_id: str, *, options: Mapping[str, Any], shown: str | None = None) -> None:
        """Start a case again with other series or corrections; signed versions stay.

        Args:
            case_id: the case.
            options: the reader's choices (`CaseOptions.to_json`).
            shown: digest of what was displayed to the reader; None for the program.
        """

        def reopen(case: Case) -> tuple[CaseEvent, _Values]:
            return CaseEvent.REOPEN_IMAGES, _reopened(case, options) | {"reading": {}}

        self._update(case_id, reopen, shown=shown)

    def reopen_record(
        self, case_id: str, *, options: Mapping[str, Any] | None = None, shown: str | None = None
    ) -> None:
        """Start a case again from its record or lesions: the checks of the images hold, signed versions stay.

        Args:
            case_id: the case.
            options: the reader's choices (`CaseOptions.to_json`); None for those in force.
            shown: digest of what was displayed to the reader; None for the program.
        """
        self._update(case_id, lambda case: (CaseEvent.REOPEN_RECORD, _reopened(case, options)), shown=shown)

    def open_version(self, case_id: str, *, shown: str | None = None) -> None:
        """Open a signed case for a new version, from its record on."""
        self._update(case_id, lambda case: (CaseEvent.OPEN_VERSION, _reopened(case, None)), shown=shown)

    def delete(self, case_id: str, *, shown: str | None = None) -> None:
        """Delete a case with its versions, deliveries, outcome and files.

        Raises:
            ErasureError: a file cannot be removed; the case stays.
        """

        def delete_rows(session: Session) -> None:
            session.execute(delete(Outcome).where(Outcome.case == case_id))
            session.execute(delete(Delivery).where(Delivery.case == case_id))
            session.execute(delete(SignedVersion).where(SignedVersion.case == case_id))
            session.execute(delete(Case).where(Case.id == case_id))
            remove_folder(self.folder(case_id))  # before the rows are gone for good

        self._update(case_id, lambda _: (CaseEvent.DELETE, {}), then=delete_rows, shown=shown)
        forget_deleted(self._engine)

    def _apply(self, case_id: str, event: CaseEvent, shown: str | None = None, **values: Any) -> Status:
        return self._update(case_id, lambda _: (event, values), shown=shown)

    def _update(
        self,
        case_id: str,
        decide: Callable[[Case], tuple[CaseEvent, _Values]],
        then: Callable[[Session], None] | None = None,
        shown: str | None = None,
    ) -> Status:
        """Let an event happen to a case.

        Where another writer changes the case between reading and writing, the event is decided anew.

        Args:
            case_id: the case.
            decide: the event and the values of other columns that go with it, given the case as it is.
            then: what else is written in the same transaction.
            shown: digest of what the reader who asks for it was shown; None where no reader decides.

        Returns:
            The state before.

        Raises:
            OutdatedError: the case is no longer what was shown.
        """
        while True:
            case = self.require(case_id)
            event, values = decide(case)
            status = next_status(case.status, event)
            require_shown(shown, case.digest)
            query = update(Case).where(Case.id == case_id, Case.revision == case.revision)
            query = query.values(status=status, revision=case.revision + 1, **values)
            with self._session() as session, session.begin():
                if session.connection().execute(query).rowcount == 1:
                    if then is not None:
                        then(session)
                    return case.status

    def _session(self) -> Session:
        return Session(self._engine, expire_on_commit=False)


def remove_folder(folder: Path) -> None:
    """Remove a folder with all that is in it, if there is one.

    Raises:
        ErasureError: something cannot be removed.
    """
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        if folder.exists():
            remove_folder(folder)  # a file went while it was listed
    except OSError as error:
        raise ErasureError(
            found=Message("A file could not be removed ({why}).", why=error.strerror or type(error).__name__),
            needed=Message("The right to remove every file in the settings’ folder."),
            advice=Message("Let the folder belong to the account of fedpet, then erase again."),
        ) from error


def require_shown(shown: str | None, now: str) -> None:
    """Require that what is decided on is still what was displayed.

    Args:
        shown: digest of what was displayed; None where the program decides.
        now: digest of what there is.

    Raises:
        OutdatedError: they differ.
    """
    if shown is not None and shown != now:
        raise OutdatedError(
            found=Message("What you decided on is no longer what the page showed."),
            needed=Message("A decision on the case as it is now; nothing was decided."),
            advice=Message("Read the page again as it is now, then decide."),
        )


def require_answered(case: Case) -> None:
    """Require an answer whose lesions can be corrected, also while what hangs on them is computed behind it.

    Raises:
        TransitionError: there is none, or it is signed.
    """
    next_status(case.status, CaseEvent.EDIT_LESIONS)
    if not case.is_answered:
        raise TransitionError(
            found=Message("The answer of this case is being computed."),
            needed=Message("Its first answer."),
            advice=CHANGED_MEANWHILE,
        )


def _queued(waiting: Message) -> dict[str, Any]:
    """The values of a case that waits for a process."""
    return {"fraction": 0.0, "message": waiting.to_json(), "attempts": 0}


def _reopened(case: Case, options: Mapping[str, Any] | None) -> dict[str, Any]:
    """The values of a case that is prepared again; what was signed stays as a version."""
    values: dict[str, Any] = {"message": None, "confirmed": False, "verdict": None}
    if options is not None:
        values["options"] = dict(options)
    if case.is_pending:
        values["result"] = {**(case.result or {}), "pending": False}
    if case.status is Status.SIGNED:
        values["version"] = case.version + 1
    return values
