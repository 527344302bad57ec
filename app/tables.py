"""The tables of the application's database; `app/migrations` makes them and brings them up to date."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import JSON, DateTime, Enum, Integer, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from fedpet.messages import Message

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import Dialect


class Status(StrEnum):
    """Where a case stands. Only "running" can become "ready", "refused" or "failed"."""

    RECEIVED = "received"  # images stored, clinical record being filled in
    RUNNING = "running"
    READY = "ready"
    REFUSED = "refused"  # the images or the record cannot be used, and why is said
    FAILED = "failed"  # the computation stopped; it may be started again


class _UtcTime(TypeDecorator[datetime]):
    """An aware time in UTC; SQLite forgets the zone."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002  the signature is SQLAlchemy's
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002  the signature is SQLAlchemy's
        return None if value is None else value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    """Declarative base of the application's tables; `app/migrations` makes them."""


class Case(Base):
    """One case. `record` holds the clinical values by field name, as far as they are known."""

    __tablename__ = "cases"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    created: Mapped[datetime] = mapped_column(_UtcTime, index=True)
    status: Mapped[Status] = mapped_column(
        Enum(Status, native_enum=False, length=16, values_callable=lambda kind: [item.value for item in kind])
    )
    language: Mapped[str] = mapped_column(String(2))
    pseudonym: Mapped[str] = mapped_column(String(64), default="")
    study_date: Mapped[str] = mapped_column(String(10), default="")
    fraction: Mapped[float] = mapped_column(default=0.0)
    message: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    record: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    received: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)  # {"files": n, "bytes": n}
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON)

    @property
    def sentence(self) -> Message | None:
        """What is being done, or why the case was refused or failed."""
        return None if self.message is None else Message.from_json(self.message)


class Entry(Base):
    """One line of the trail. `digest` is over every other column, in the order of `_sealed`."""

    __tablename__ = "audit"

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    moment: Mapped[str] = mapped_column(String(32))  # UTC, ISO 8601 with microseconds
    actor: Mapped[str] = mapped_column(String(128))
    action: Mapped[str] = mapped_column(String(64), index=True)
    case: Mapped[str] = mapped_column(String(36), index=True)
    model: Mapped[str] = mapped_column(String(64))  # digest of the bundle, "" where none was used
    detail: Mapped[dict[str, Any]] = mapped_column(JSON)
    previous: Mapped[str] = mapped_column(String(64), unique=True)  # two entries cannot follow the same one
    digest: Mapped[str] = mapped_column(String(64))

    def to_json(self) -> dict[str, Any]:
        """The entry as exported, one JSON object."""
        names = ("number", "moment", "actor", "action", "case", "model", "detail", "previous", "digest")
        return {name: getattr(self, name) for name in names}
