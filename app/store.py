"""Cases, as kept in the database: SQLite in the settings' folder, or another database by URL.

A case is known by a random identifier that says nothing about the patient. Files lie in one folder per case, under
that identifier; the names of uploaded files are never kept.
"""

from __future__ import annotations

import shutil
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, event, select, update
from sqlalchemy.orm import Session

from app.tables import Case, Status
from fedpet.messages import Message

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

    from fedpet.messages import Language
    from fedpet.settings import Settings

INTERRUPTED = Message("The server stopped while this case was being computed.")


class Store:
    """The cases and their folders. Returned cases are snapshots: changing one changes nothing in the database."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._engine = engine
        self._folder = folder

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Connect, and bring the tables to the present version."""
        url = settings.database or f"sqlite:///{settings.folder / 'cases.sqlite'}"
        engine = create_engine(url)
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _tune_sqlite)
        config = Config()
        config.set_main_option("script_location", "app:migrations")
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        return cls(engine, settings.folder / "cases")

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

    def upload(self, case_id: str) -> Path:
        """Where the files of a case lie as received, until they are no longer needed."""
        return self.folder(case_id) / "upload"

    def create(self, language: Language, record: Mapping[str, Any] | None = None) -> Case:
        """A new case without images, and its folder."""
        case = Case(
            id=str(uuid.uuid4()),
            created=datetime.now(UTC),
            status=Status.RECEIVED,
            language=language,
            record=dict(record or {}),
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

    def receive(self, case_id: str, *, files: int, size: int) -> None:
        """The images are on disk."""
        self._change(case_id, {Status.RECEIVED}, received={"files": files, "bytes": size})

    def draft(self, case_id: str, record: Mapping[str, Any], language: Language) -> None:
        """Keep the clinical values entered so far."""
        self._change(case_id, {Status.RECEIVED, Status.FAILED}, record=dict(record), language=language)

    def start(self, case_id: str) -> bool:
        """Mark as running; False where another page already did."""
        waiting = Message("Waiting for the computation to start")
        return self._change(
            case_id,
            {Status.RECEIVED, Status.FAILED},
            status=Status.RUNNING,
            fraction=0.0,
            message=waiting.to_json(),
        )

    def progress(self, case_id: str, fraction: float, message: Message) -> None:
        """Tell how far a running case is."""
        self._change(case_id, {Status.RUNNING}, fraction=fraction, message=message.to_json())

    def finish(self, case_id: str, *, pseudonym: str, study_date: str, result: Mapping[str, Any]) -> bool:
        """Keep the answer of a running case; False where the case was given up meanwhile."""
        return self._change(
            case_id,
            {Status.RUNNING},
            status=Status.READY,
            fraction=1.0,
            message=None,
            pseudonym=pseudonym,
            study_date=study_date,
            result=dict(result),
        )

    def stop(self, case_id: str, status: Status, message: Message) -> bool:
        """End a running case without an answer: "refused" or "failed", and why."""
        return self._change(case_id, {Status.RUNNING}, status=status, message=message.to_json())

    def fail_interrupted(self) -> int:
        """Mark every running case as failed: called once when the server starts. Returns how many there were."""
        with self._session() as session, session.begin():
            running = session.scalars(select(Case).where(Case.status == Status.RUNNING)).all()
            for case in running:
                case.status, case.message = Status.FAILED, INTERRUPTED.to_json()
        return len(running)

    def delete(self, case_id: str) -> None:
        """Forget a case and remove its files."""
        with self._session() as session, session.begin():
            case = session.get(Case, case_id)
            if case is not None:
                session.delete(case)
        shutil.rmtree(self.folder(case_id))

    def _session(self) -> Session:
        return Session(self._engine, expire_on_commit=False)

    def _change(self, case_id: str, allowed: set[Status], **values: Any) -> bool:
        """Set the values of a case whose status is one of the allowed; False where it is not."""
        query = update(Case).where(Case.id == case_id, Case.status.in_(allowed)).values(**values)
        with self._session() as session, session.begin():
            return session.connection().execute(query).rowcount == 1


def _tune_sqlite(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:  # noqa: ARG001  SQLAlchemy's
    """Readers and the one writer do not block each other; a second writer waits."""
    for pragma in ("journal_mode=WAL", "busy_timeout=10000", "synchronous=NORMAL"):
        connection.cursor().execute(f"PRAGMA {pragma}")
