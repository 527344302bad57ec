"""The tables of cases, signed versions and deliveries; `app/migrations` creates and upgrades them."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, Enum, ForeignKey, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.cases.stored_result import StoredInspection, StoredResult, StoredSeries, StoredSeriesList
from app.database.base import Base, UtcDateTime
from fedpet.core.messages import Message


def digest_of(shown: object) -> str:
    """SHA-256 of JSON-compatible data that a page displays, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(shown, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class Status(StrEnum):
    """The state of a case. `app.cases.lifecycle` says what may happen in each."""

    FETCHING = "fetching"  # the images are coming from a PACS
    RECEIVED = "received"  # the case exists; its images are stored, or about to be
    CHECKING = "checking"  # the images are being read and checked
    CHECKED = "checked"  # the images are checked; the clinical record is to be confirmed
    RUNNING = "running"  # the answer is being computed
    READY = "ready"  # answered, not read yet
    READ = "read"  # a reader opened the answer
    SIGNING = "signing"  # the final report is being written
    SIGNED = "signed"  # a reader signed the verdict: the report is final
    REFUSED = "refused"  # the images or the record cannot be used, for the reason in `message`
    FAILED = "failed"  # the transfer or computation stopped, for the reason in `message`; it may be tried again


BUSY = frozenset({Status.FETCHING, Status.CHECKING, Status.RUNNING, Status.SIGNING})
ANSWERED = frozenset({Status.READY, Status.READ, Status.SIGNING, Status.SIGNED})


class DeliveryState(StrEnum):
    """The state of the delivery of a signed version to a PACS."""

    UNDER_WAY = "sending"
    DONE = "sent"
    REFUSED = "refused"  # for the reason in `message`; it may be tried again


class Decision(StrEnum):
    """A reader's verdict on the model's answer."""

    ACCEPT = "accept"
    AMEND = "amend"
    REJECT = "reject"


class Case(Base):
    """One case.

    Attributes:
        owner: user who created it; "" in local single-user mode, and for what a PACS sent.
        fraction: of the work of a busy case that is done, 0 to 1.
        message: what is being done, or why the case was refused or failed.
        origin: "upload", or "pacs:" and the name of the PACS.
        received: {"files": n, "bytes": n}; until the images are here, {"pacs": name, "study_uid": UID} to request them.
        record: clinical values by field name, as far as they are known.
        confirmed: whether a reader has said that the record is complete, so that the answer may be computed.
        options: the reader's choices (`app.cases.options.CaseOptions`).
        inspection: what the checks of the images found (`app.cases.result_json.inspection_json`); of a refused study
            {"series": [...]} only.
        result: the answer (`app.cases.result_json`).
        version: number of the version being prepared; `SignedVersion` holds those that were signed.
        verdict: decision ("" where open), comment and reader: a draft while the case is read, then what is signed.
        attempts: how often work on the busy case was started, so that one that kills its server is not tried for ever.
        revision: number of the last change; a writer that read an earlier one decides anew.
        record_version: number of the last change of `record` by a person.
        reading: what its reader did (`app.cases.reading.Reading`).
    """

    __tablename__ = "cases"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    created: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    status: Mapped[Status] = mapped_column(
        Enum(Status, native_enum=False, length=16, values_callable=lambda kind: [item.value for item in kind]),
        index=True,
    )
    language: Mapped[str] = mapped_column(String(2))
    pseudonym: Mapped[str] = mapped_column(String(64), default="", index=True)
    study_date: Mapped[str] = mapped_column(String(10), default="")
    fraction: Mapped[float] = mapped_column(default=0.0)
    message: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    record: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    received: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    owner: Mapped[str] = mapped_column(String(128), default="", index=True)
    origin: Mapped[str] = mapped_column(String(64), default="upload", index=True)
    confirmed: Mapped[bool] = mapped_column(default=False)
    options: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    inspection: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    version: Mapped[int] = mapped_column(default=1)
    verdict: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    attempts: Mapped[int] = mapped_column(default=0)
    revision: Mapped[int] = mapped_column(default=0)
    record_version: Mapped[int] = mapped_column(default=0)
    reading: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)

    @property
    def sentence(self) -> Message | None:
        """What is being done, or why the case was refused or failed."""
        return None if self.message is None else Message.from_json(self.message)

    @property
    def stored_result(self) -> StoredResult | None:
        """The answer, typed; None before there is one.

        Raises:
            StoredResultError: this version cannot read it.
        """
        return None if self.result is None else StoredResult.read(self.result)

    @property
    def stored_inspection(self) -> StoredInspection | None:
        """What the checks of the images found, typed; None before they are done.

        Raises:
            StoredResultError: this version cannot read it.
        """
        return None if self.inspection is None else StoredInspection.read(self.inspection)

    @property
    def stored_series(self) -> tuple[StoredSeries, ...]:
        """The series that a reader can choose from, also of a refused study; () where they are not known.

        Raises:
            StoredResultError: this version cannot read them.
        """
        return StoredSeriesList.read(self.inspection or {}).series

    @property
    def digest(self) -> str:
        """SHA-256 of all that a page displays of the case and that a decision rests on.

        That is the version, what the images showed, the record, the reader's choices and the answer; not how far the
        work is, nor the draft of a verdict.
        """
        names = ("id", "version", "pseudonym", "study_date", "record", "options", "inspection", "result")
        return digest_of([getattr(self, name) for name in names])

    @property
    def is_answered(self) -> bool:
        """Whether there is an answer that holds; also while what hangs on corrected lesions is computed behind it."""
        return self.status in ANSWERED or (self.status is Status.RUNNING and self.is_pending)

    @property
    def is_pending(self) -> bool:
        """Whether the influence map, the reports and the like are still those of lesions before a correction."""
        return bool((self.result or {}).get("pending"))

    @property
    def awaits_transfer(self) -> bool:
        """Whether the images are still to come from a PACS."""
        return "study_uid" in self.received


class SignedVersion(Base):
    """A signed reading of a case; never changed afterwards. Its files are in `versions/<number>` of the case."""

    __tablename__ = "versions"

    case: Mapped[str] = mapped_column(ForeignKey("cases.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    signed: Mapped[datetime] = mapped_column(UtcDateTime)
    reader: Mapped[str] = mapped_column(String(128))
    decision: Mapped[Decision] = mapped_column(
        Enum(Decision, native_enum=False, length=16, values_callable=lambda kind: [item.value for item in kind])
    )
    comment: Mapped[str] = mapped_column(Text)
    report_uid: Mapped[str] = mapped_column(String(64))
    content_hash: Mapped[str] = mapped_column(String(64))  # of the report, as printed on it
    result: Mapped[dict[str, Any]] = mapped_column(JSON)


class Outcome(Base):
    """What became of the patient of a case, as an administrator entered it for the monitoring.

    Attributes:
        free_12m: whether the patient was free of progression 12 months after the first dose.
        on: YYYY-MM-DD, of the progression or death, or of the last news.
        actor: user who entered it.
    """

    __tablename__ = "outcomes"

    case: Mapped[str] = mapped_column(ForeignKey("cases.id", ondelete="CASCADE"), primary_key=True)
    free_12m: Mapped[bool]
    on: Mapped[str] = mapped_column(String(10))
    actor: Mapped[str] = mapped_column(String(128))
    entered: Mapped[datetime] = mapped_column(UtcDateTime)


class Delivery(Base):
    """The last attempt to send the DICOM objects of a signed version to a PACS."""

    __tablename__ = "deliveries"

    case: Mapped[str] = mapped_column(ForeignKey("cases.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)  # of the version
    pacs: Mapped[str] = mapped_column(String(32))
    actor: Mapped[str] = mapped_column(String(128))
    moment: Mapped[datetime] = mapped_column(UtcDateTime)  # of the last change
    state: Mapped[DeliveryState] = mapped_column(
        Enum(DeliveryState, native_enum=False, length=16, values_callable=lambda kind: [item.value for item in kind])
    )
    message: Mapped[dict[str, Any] | None] = mapped_column(JSON)

    @property
    def sentence(self) -> Message | None:
        """Why the PACS did not accept them."""
        return None if self.message is None else Message.from_json(self.message)
