"""The audit trail: who did what, when, to which case, with which model. Append-only, and hash-chained.

Each entry holds the SHA-256 of itself and of the entry before it, so that a changed, removed or inserted entry breaks
the chain. Cutting entries off at the end leaves a valid chain, and so does writing all of them anew: the latest entry
is therefore also named in a sealed file in the settings' folder (`app.audit.head`). Someone who can read and write that
folder, too, can still rewrite the whole trail; anchoring its digests in another place (`app.audit.anchor`) shows that,
and so do the time stamps of an authority (`app.audit.time_stamps`).

Entries name a case by its random identifier, never a patient.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self

from sqlalchemy import func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.audit.anchor import Anchor
from app.audit.head import Head, HeadFile
from app.audit.tables import AuditEntry
from app.audit.time_stamps import TimeStamps
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from sqlalchemy import Engine

    from fedpet.core.settings import Settings

_FIRST: Final = "0" * 64  # in place of a digest before the first entry
_ATTEMPTS: Final = 20  # of writers that append at the same moment
_CHAIN: Final = 0x66656461  # advisory lock of PostgreSQL


@dataclass(frozen=True)
class ChainVerification:
    """The result of a verification: how many entries are valid, and what is wrong; None where nothing is."""

    entries: int
    broken: Message | None


class AuditTrail:
    """The trail of one database."""

    def __init__(self, engine: Engine, folder: Path, anchor: str = "", *, certificate: Path | None = None) -> None:
        self._engine = engine
        self.stamps = TimeStamps(folder, certificate)
        self._head = HeadFile(folder)
        self._anchor = Anchor(anchor)

    @classmethod
    def of(cls, engine: Engine, settings: Settings) -> Self:
        """The trail of a database, with the head, the anchor and the time stamps of the settings."""
        certificate = settings.audit_authority_certificate
        return cls(engine, settings.folder, settings.audit_anchor, certificate=certificate)

    def record(
        self, actor: str, action: str, *, case: str = "", model: str = "", detail: Mapping[str, Any] | None = None
    ) -> AuditEntry:
        """Append one entry.

        Args:
            actor: name of the signed-in user, or "fedpet" for what the program does on its own.
            action: as "noun.verb", for example "verdict.signed".
            case: random identifier of the case.
            model: digest of the bundle that was used.
            detail: JSON-compatible facts; never an identity.

        Returns:
            The entry in the chain.

        Raises:
            RuntimeError: other writers were faster in every attempt.
        """
        for _ in range(_ATTEMPTS):
            try:
                entry = self._append(actor, action, case, model, dict(detail or {}))
            except IntegrityError:  # another writer was faster
                continue
            self._move_head(entry)
            self._anchor.write(entry)
            return entry
        raise RuntimeError(f"the audit entry {action} could not be appended in {_ATTEMPTS} attempts")

    def entries(self, *, case: str = "", words: str = "", newest: int | None = None) -> list[AuditEntry]:
        """Entries, newest first.

        Args:
            case: only those of this case.
            words: only those with these words in actor, action, case or day.
            newest: at most so many.
        """
        query = select(AuditEntry).order_by(AuditEntry.number.desc()).limit(newest)
        if case:
            query = query.where(AuditEntry.case == case)
        if wanted := words.strip():
            columns = (AuditEntry.actor, AuditEntry.action, AuditEntry.case, AuditEntry.moment)
            query = query.where(or_(*(column.icontains(wanted, autoescape=True) for column in columns)))
        with self._session() as session:
            return list(session.scalars(query))

    def export(self) -> Iterator[str]:
        """Every entry as one line of JSON, oldest first."""
        with self._session() as session:
            for entry in session.scalars(select(AuditEntry).order_by(AuditEntry.number)):
                yield json.dumps(entry.to_json(), ensure_ascii=False, sort_keys=True)

    def verify(self) -> ChainVerification:
        """Check the chain from the first entry to the one that the head names, and what is anchored or stamped."""
        previous, number = _FIRST, 0
        head, stamps = self._head.read(), self.stamps.read()
        anchored = {**({} if isinstance(stamps, Message) else {n: one.digest for n, one in stamps.items()}),
                    **self._anchor.digests()}  # fmt: skip
        with self._session() as session:
            for entry in session.scalars(select(AuditEntry).order_by(AuditEntry.number)):
                number += 1
                if entry.number != number or entry.previous != previous or entry.digest != _seal(entry):
                    return ChainVerification(
                        number - 1, Message("Entry {n} was changed, removed or inserted.", n=number)
                    )
                if (isinstance(head, Head) and head.number == number and head.digest != entry.digest) or anchored.get(
                    number, entry.digest
                ) != entry.digest:
                    return ChainVerification(
                        number - 1, Message("Entry {n} is not the one that was written.", n=number)
                    )
                previous = entry.digest
        last = max([number, *anchored, *([head.number] if isinstance(head, Head) else [])])
        if last > number:
            return ChainVerification(
                number,
                Message(
                    "One entry is missing at the end.", "{count} entries are missing at the end.", count=last - number
                ),
            )
        if isinstance(head, Message) and number:
            return ChainVerification(number, head)
        if isinstance(stamps, Message):
            return ChainVerification(number, stamps)
        return ChainVerification(number, None)

    def reseal(self, *, actor: str, reason: str) -> AuditEntry:
        """Take note of a broken trail, as after a restored backup: an entry says what was found, and the head is new.

        Args:
            actor: who takes note.
            reason: why the trail may go on from here.

        Returns:
            The entry.
        """
        found = self.verify()
        detail = {"reason": reason, "what": str(found.broken or ""), "entries": found.entries}
        entry = self.record(actor, "audit.resealed", detail=detail)
        with self._head.locked():
            self._head.write(Head(entry.number, entry.digest))
        return entry

    def _append(self, actor: str, action: str, case: str, model: str, detail: dict[str, Any]) -> AuditEntry:
        with self._session() as session, session.begin():
            if self._engine.dialect.name == "postgresql":  # writers come one after the other
                session.execute(select(func.pg_advisory_xact_lock(_CHAIN)))
            last = session.scalars(select(AuditEntry).order_by(AuditEntry.number.desc()).limit(1)).first()
            entry = AuditEntry(
                number=last.number + 1 if last else 1,
                moment=datetime.now(UTC).isoformat(timespec="microseconds"),
                actor=actor,
                action=action,
                case=case,
                model=model,
                detail=detail,
                previous=last.digest if last else _FIRST,
            )
            entry.digest = _seal(entry)
            session.add(entry)
        return entry

    def _move_head(self, entry: AuditEntry) -> None:
        """Name the latest entry in the head, unless a later one is named there, or one that is not in the trail."""
        with self._head.locked():
            head = self._head.read()
            if isinstance(head, Head):
                if entry.number > head.number and self._has(head):
                    self._head.write(Head(entry.number, entry.digest))
            elif entry.number == 1 and not self._head.exists:
                self._head.write(Head(entry.number, entry.digest))

    def _has(self, head: Head) -> bool:
        with self._session() as session:
            entry = session.get(AuditEntry, head.number)
            return entry is not None and entry.digest == head.digest

    def _session(self) -> Session:
        return Session(self._engine, expire_on_commit=False)


def _seal(entry: AuditEntry) -> str:
    """SHA-256 of the entry's columns but the digest, as canonical JSON."""
    content = {name: value for name, value in entry.to_json().items() if name != "digest"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
