"""The tables of the application's database; `app/migrations` makes them and brings them up to date."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import JSON, DateTime, Enum, ForeignKey, Integer, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from fedpet.messages import Message

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import Dialect


class Status(StrEnum):
    """Where a case stands: (fetching,) received, checking, checked, running, ready, read, signing, signed.

    Only a case that is being fetched, checked or computed can be refused or fail. A change to what a case rests on
    (another series, a correction, the record) brings it back to "received"; what was signed stays as a version.
    """

    FETCHING = "fetching"  # the images are coming from a PACS
    RECEIVED = "received"  # the images are stored
    CHECKING = "checking"  # the images are being read and checked
    CHECKED = "checked"  # the checks are there; the clinical record is to be confirmed
    RUNNING = "running"  # the answer is being computed
    READY = "ready"  # to be read
    READ = "read"  # opened by a reader
    SIGNING = "signing"  # the final report is being written
    SIGNED = "signed"  # a reader signed the verdict: the report is final
    REFUSED = "refused"  # the images or the record cannot be used, and why is said
    FAILED = "failed"  # the computation stopped; it may be started again


BUSY = frozenset({Status.FETCHING, Status.CHECKING, Status.RUNNING, Status.SIGNING})
ANSWERED = frozenset({Status.READY, Status.READ, Status.SIGNING, Status.SIGNED})


class Sending(StrEnum):
    """How far the results of a signed version are on their way to a PACS."""

    UNDER_WAY = "sending"
    DONE = "sent"
    REFUSED = "refused"  # and why is said; it may be tried again


class Decision(StrEnum):
    """What a reader says of the model's answer."""

    ACCEPT = "accept"
    AMEND = "amend"
    REJECT = "reject"


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
    """One case.

    Attributes:
        owner: who made it; "" before users sign in.
        origin: "upload", or "pacs:" and the name of the PACS.
        received: {"files": n, "bytes": n}; until the images are here, {"pacs": name, "study_uid": UID} asks for them.
        record: clinical values by field name, as far as they are known.
        confirmed: whether the record is complete for its reader, so that the answer may be computed.
        options: the reader's choices (`app.options.CaseOptions`).
        inspection: what the checks of the images found (`app.casework.inspection_json`).
        result: the answer (`app.result`).
        version: of what is being prepared; `Version` holds those that were signed.
        verdict: the decision, comment and reader of a case that is being signed.
        attempts: how often the computation under way was begun; a server that dies of it does not try for ever.
    """

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
    received: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    owner: Mapped[str] = mapped_column(String(128), default="")
    origin: Mapped[str] = mapped_column(String(64), default="upload")
    confirmed: Mapped[bool] = mapped_column(default=False)
    options: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    inspection: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    version: Mapped[int] = mapped_column(default=1)
    verdict: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    attempts: Mapped[int] = mapped_column(default=0)

    @property
    def sentence(self) -> Message | None:
        """What is being done, or why the case was refused or failed."""
        return None if self.message is None else Message.from_json(self.message)


class Version(Base):
    """A signed reading of a case; never changed afterwards. Its files lie in `versions/<number>` of the case."""

    __tablename__ = "versions"

    case: Mapped[str] = mapped_column(ForeignKey("cases.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    signed: Mapped[datetime] = mapped_column(_UtcTime)
    reader: Mapped[str] = mapped_column(String(128))
    decision: Mapped[Decision] = mapped_column(
        Enum(Decision, native_enum=False, length=16, values_callable=lambda kind: [item.value for item in kind])
    )
    comment: Mapped[str] = mapped_column(Text)
    report_uid: Mapped[str] = mapped_column(String(64))
    content_hash: Mapped[str] = mapped_column(String(64))  # of the report, as printed on it
    result: Mapped[dict[str, Any]] = mapped_column(JSON)


class Delivery(Base):
    """The DICOM objects of a signed version that a reader sends to a PACS; the last attempt."""

    __tablename__ = "deliveries"

    case: Mapped[str] = mapped_column(ForeignKey("cases.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)  # of the version
    pacs: Mapped[str] = mapped_column(String(32))
    actor: Mapped[str] = mapped_column(String(128))
    moment: Mapped[datetime] = mapped_column(_UtcTime)  # of the last change
    state: Mapped[Sending] = mapped_column(
        Enum(Sending, native_enum=False, length=16, values_callable=lambda kind: [item.value for item in kind])
    )
    message: Mapped[dict[str, Any] | None] = mapped_column(JSON)

    @property
    def sentence(self) -> Message | None:
        """Why the PACS did not take them."""
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


class Account(Base):
    """Someone who signed in. `subject` ties the name to one account of the provider, as a digest."""

    __tablename__ = "accounts"

    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    subject: Mapped[str] = mapped_column(String(64))
    role: Mapped[str] = mapped_column(String(16))  # at the last sign-in (`app.access.Role`)
    seen: Mapped[datetime] = mapped_column(_UtcTime)  # the last sign-in
