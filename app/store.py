"""Cases, as kept in the database: SQLite in the settings' folder, or another database by URL.

A case is known by a random identifier that says nothing about the patient. Files lie in one folder per case, under
that identifier; the names of uploaded files are never kept.
"""

from __future__ import annotations

import shutil
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.database import open_database
from app.tables import ANSWERED, BUSY, Case, Decision, Delivery, Status, Version
from fedpet.messages import Message

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from sqlalchemy import Engine

    from fedpet.messages import Language
    from fedpet.settings import Settings

_WAITING = Message("Waiting for the computation to start")
_WAITING_TRANSFER = Message("Waiting for the transfer to start")
INTERRUPTED = Message("The server stopped twice while this case was being computed.")


class Store:
    """The cases and their folders. Returned cases are snapshots: changing one changes nothing in the database."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._engine = engine
        self._folder = folder

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Connect, and bring the tables to the present version.

        Raises:
            SettingsError: the database cannot be used.
        """
        return cls(open_database(settings), settings.folder / "cases")

    @property
    def engine(self) -> Engine:
        """The connections, for what is kept beside the cases."""
        return self._engine

    def close(self) -> None:
        """Give back the connections."""
        self._engine.dispose()

    def folder(self, case_id: str) -> Path:
        """The folder of a case.

        Raises:
            ValueError: the identifier is not a UUID, so that no other path can be reached.
        """
        return self._folder / str(uuid.UUID(case_id))

    def source(self, case_id: str) -> Path:
        """Where the files of a case lie as received; kept, so that another series or a correction can be tried."""
        return self.folder(case_id) / "source"

    def version_folder(self, case_id: str, number: int) -> Path:
        """Where the files of a signed version lie."""
        return self.folder(case_id) / "versions" / str(number)

    def create(
        self, language: Language, record: Mapping[str, Any] | None = None, *, owner: str = "", origin: str = "upload"
    ) -> Case:
        """A new case without images, and its folder."""
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

    def newest(self, limit: int = 200) -> Sequence[Case]:
        """The cases, newest first."""
        with self._session() as session:
            return session.scalars(select(Case).order_by(Case.created.desc()).limit(limit)).all()

    def listed(
        self,
        *,
        words: str = "",
        statuses: Collection[Status] = (),
        owner: str | None = None,
        only: str | None = None,
        limit: int = 500,
    ) -> Sequence[Case]:
        """The cases, newest first, whose pseudonym or date of examination holds `words`, of some statuses and owner.

        `only` names a user who sees no other cases than their own and those of nobody (`app.access.User.only`).
        """
        query = select(Case).order_by(Case.created.desc()).limit(limit)
        if words.strip():
            query = query.where(
                Case.pseudonym.icontains(words.strip(), autoescape=True)
                | Case.study_date.contains(words.strip(), autoescape=True)
            )
        if statuses:
            query = query.where(Case.status.in_(statuses))
        if owner is not None:
            query = query.where(Case.owner == owner)
        if only is not None:
            query = query.where(Case.owner.in_(("", only)))
        with self._session() as session:
            return session.scalars(query).all()

    def of_patient(self, pseudonym: str) -> Sequence[Case]:
        """The cases of one patient, by date of the examination, oldest first."""
        with self._session() as session:
            query = select(Case).where(Case.pseudonym == pseudonym).order_by(Case.study_date, Case.created)
            return session.scalars(query).all()

    def made_before(self, moment: datetime) -> Sequence[Case]:
        """The cases made before a moment, oldest first."""
        with self._session() as session:
            return session.scalars(select(Case).where(Case.created < moment).order_by(Case.created)).all()

    def request(self, case_id: str, *, pacs: str, study_uid: str) -> bool:
        """Queue the transfer of the images from a PACS."""
        asked = {"pacs": pacs, "study_uid": study_uid}
        return self._queue(case_id, {Status.RECEIVED}, Status.FETCHING, received=asked)

    def request_again(self, case_id: str) -> bool:
        """Queue a transfer that failed once more; False where the images are here, or no PACS was asked for them."""
        case = self.get(case_id)
        asked = case is not None and "study_uid" in case.received
        return asked and self._queue(case_id, {Status.FAILED}, Status.FETCHING)

    def fetched(self, case_id: str, *, files: int, size: int) -> bool:
        """The images came from the PACS: queue their check; False where the case was given up meanwhile."""
        here = {"files": files, "bytes": size}
        return self._queue(case_id, {Status.FETCHING}, Status.CHECKING, received=here)

    def receive(self, case_id: str, *, files: int, size: int) -> None:
        """The images are on disk."""
        self._change(case_id, {Status.RECEIVED}, received={"files": files, "bytes": size})

    def draft(self, case_id: str, record: Mapping[str, Any], language: Language) -> None:
        """Keep the clinical values entered so far."""
        drafting = {Status.FETCHING, Status.RECEIVED, Status.CHECKING, Status.CHECKED, Status.FAILED}
        self._change(case_id, drafting, record=dict(record), language=language)

    def start(self, case_id: str) -> bool:
        """Queue the check of the images; False where another page already did."""
        return self._queue(case_id, {Status.RECEIVED, Status.FAILED}, Status.CHECKING)

    def confirm(self, case_id: str) -> bool:
        """The record is complete. True where the answer is to be computed now; else it follows the running check."""
        self._change(case_id, set(Status) - ANSWERED, confirmed=True)
        return self._queue(case_id, {Status.CHECKED}, Status.RUNNING)

    def reopen(self, case_id: str, *, options: Mapping[str, Any] | None = None, checked: bool = False) -> bool:
        """Bring a case back to be prepared anew, with other options; what was signed stays as a version.

        Args:
            case_id: the case.
            options: the reader's choices; None keeps those in force.
            checked: True where the checks of the images still hold (the record or the lesions change, not the images).
        """
        case = self.get(case_id)
        if case is None or case.status in BUSY:
            return False
        changed: dict[str, Any] = {} if options is None else {"options": dict(options)}
        if case.status is Status.SIGNED:
            changed["version"] = case.version + 1
        status = Status.CHECKED if checked and case.inspection else Status.RECEIVED
        return self._change(case_id, {case.status}, status=status, message=None, confirmed=False, **changed)

    def progress(self, case_id: str, fraction: float, message: Message) -> None:
        """Tell how far a busy case is."""
        self._change(case_id, BUSY, fraction=fraction, message=message.to_json())

    def checked(self, case_id: str, *, pseudonym: str, study_date: str, inspection: Mapping[str, Any]) -> Case | None:
        """Keep what the checks found; the case runs on where its record is confirmed and the images can be used.

        Returns:
            the case as it is now; None where it was given up meanwhile.
        """
        found = {"pseudonym": pseudonym, "study_date": study_date, "inspection": dict(inspection), "message": None}
        if not self._change(case_id, {Status.CHECKING}, status=Status.CHECKED, fraction=1.0, **found):
            return None
        case = self.get(case_id)
        if case is not None and case.confirmed and not inspection.get("refused"):
            self._queue(case_id, {Status.CHECKED}, Status.RUNNING)
        return self.get(case_id)

    def finish(self, case_id: str, *, result: Mapping[str, Any]) -> bool:
        """Keep the answer of a running case; False where the case was given up meanwhile."""
        answer = {"fraction": 1.0, "message": None, "result": dict(result)}
        return self._change(case_id, {Status.RUNNING}, status=Status.READY, **answer)

    def read(self, case_id: str) -> bool:
        """A reader opened the answer; True the first time."""
        return self._change(case_id, {Status.READY}, status=Status.READ)

    def sign(self, case_id: str, *, decision: Decision, comment: str, reader: str) -> bool:
        """Queue the final report of a case that was read; False where it is not there to be signed."""
        verdict = {"decision": decision.value, "comment": comment, "reader": reader}
        return self._queue(case_id, {Status.READ}, Status.SIGNING, verdict=verdict)

    def signed(self, version: Version) -> bool:
        """Keep the signed version whose report was written; False where the case was given up meanwhile."""
        with self._session() as session, session.begin():
            case = session.get(Case, version.case, with_for_update=True)
            if case is None or case.status is not Status.SIGNING or case.version != version.number:
                return False
            case.status, case.message, case.verdict = Status.SIGNED, None, None
            session.add(version)
        return True

    def not_signed(self, case_id: str, message: Message) -> bool:
        """The final report could not be written: the case is to be read again, and why."""
        return self._change(case_id, {Status.SIGNING}, status=Status.READ, message=message.to_json(), verdict=None)

    def versions(self, case_id: str) -> Sequence[Version]:
        """The signed versions of a case, newest first."""
        with self._session() as session:
            query = select(Version).where(Version.case == case_id).order_by(Version.number.desc())
            return session.scalars(query).all()

    def stop(self, case_id: str, status: Status, message: Message) -> bool:
        """End a busy case without an answer: "refused" or "failed", and why."""
        return self._change(case_id, BUSY, status=status, message=message.to_json())

    def interrupted(self) -> Sequence[Case]:
        """The cases that were busy when the server stopped, oldest first: called once when it starts."""
        with self._session() as session:
            return session.scalars(select(Case).where(Case.status.in_(BUSY)).order_by(Case.created)).all()

    def delete(self, case_id: str) -> None:
        """Forget a case with its versions and remove its files."""
        with self._session() as session, session.begin():
            session.execute(delete(Delivery).where(Delivery.case == case_id))
            session.execute(delete(Version).where(Version.case == case_id))
            session.execute(delete(Case).where(Case.id == case_id))
        shutil.rmtree(self.folder(case_id), ignore_errors=True)

    def _session(self) -> Session:
        return Session(self._engine, expire_on_commit=False)

    def begin(self, case_id: str) -> int:
        """Count one more attempt of a busy case; returns how many there were, 0 where it is not busy."""
        counted = self._change(case_id, BUSY, attempts=Case.attempts + 1)
        case = self.get(case_id) if counted else None
        return case.attempts if case else 0

    def _queue(self, case_id: str, allowed: Collection[Status], status: Status, **values: Any) -> bool:
        waiting = _WAITING_TRANSFER if status is Status.FETCHING else _WAITING
        queued = {"status": status, "fraction": 0.0, "message": waiting.to_json(), "attempts": 0}
        return self._change(case_id, allowed, **queued, **values)

    def _change(self, case_id: str, allowed: Collection[Status], **values: Any) -> bool:
        """Set the values of a case whose status is one of the allowed; False where it is not."""
        query = update(Case).where(Case.id == case_id, Case.status.in_(allowed)).values(**values)
        with self._session() as session, session.begin():
            return session.connection().execute(query).rowcount == 1
