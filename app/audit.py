"""The audit trail: who did what, when, to which case, with which model. Append-only, and hash-chained.

Each entry holds the SHA-256 of itself and of the entry before it, so that a changed, removed or inserted entry breaks
the chain. Entries cut off at the end leave a sound chain: the latest entry is therefore also named in a file beside the
database (`audit.head`), under the settings' folder. Whoever can write both the database and that folder can still
rewrite the whole trail; exporting it regularly to another place closes that gap.

Entries name a case by its random identifier, never a patient.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.tables import Entry
from fedpet.messages import Message

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from sqlalchemy import Engine

_FIRST: Final = "0" * 64  # what the first entry follows
_ATTEMPTS: Final = 20  # of writers that append at the same moment
_CHAIN: Final = 0x66656461  # advisory lock of PostgreSQL


@dataclass(frozen=True)
class Verdict:
    """What a verification found: how many entries follow each other, and what is wrong, or None."""

    entries: int
    broken: Message | None


class Audit:
    """The trail of one database."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._engine = engine
        self._head = folder / "audit.head"

    def record(
        self, actor: str, action: str, *, case: str = "", model: str = "", detail: Mapping[str, Any] | None = None
    ) -> Entry:
        """Append one entry.

        Args:
            actor: who: the user's name as the sign-in gave it, or "fedpet" for what the program does by itself.
            action: what, as "noun.verb", for example "verdict.signed".
            case: random identifier of the case.
            model: digest of the bundle that was used.
            detail: JSON-able facts; never an identity.

        Returns:
            the entry as it stands in the chain.

        Raises:
            RuntimeError: other writers were always faster.
        """
        for _ in range(_ATTEMPTS):
            try:
                entry = self._append(actor, action, case, model, dict(detail or {}))
            except IntegrityError:  # another writer took this place in the chain
                continue
            self._remember(entry)
            return entry
        raise RuntimeError(f"the audit entry {action} could not be appended in {_ATTEMPTS} attempts")

    def entries(self, *, case: str = "", words: str = "", newest: int | None = None) -> list[Entry]:
        """Entries, newest first: of one case, with `words` in actor, action, case or day, or the `newest` only."""
        query = select(Entry).order_by(Entry.number.desc()).limit(newest)
        if case:
            query = query.where(Entry.case == case)
        if wanted := words.strip():
            columns = (Entry.actor, Entry.action, Entry.case, Entry.moment)
            query = query.where(or_(*(column.icontains(wanted, autoescape=True) for column in columns)))
        with self._session() as session:
            return list(session.scalars(query))

    def export(self) -> Iterator[str]:
        """Every entry as one line of JSON, oldest first."""
        with self._session() as session:
            for entry in session.scalars(select(Entry).order_by(Entry.number)):
                yield json.dumps(entry.to_json(), ensure_ascii=False, sort_keys=True)

    def verify(self) -> Verdict:
        """Follow the chain from the first entry to the one the head file names."""
        previous, number = _FIRST, 0
        remembered = self._remembered()
        with self._session() as session:
            for entry in session.scalars(select(Entry).order_by(Entry.number)):
                number += 1
                if entry.number != number or entry.previous != previous or entry.digest != _seal(entry):
                    return Verdict(number - 1, Message("Entry {n} was changed, removed or inserted.", n=number))
                if remembered.get("number") == number and remembered["digest"] != entry.digest:
                    return Verdict(number - 1, Message("Entry {n} is not the one that was written.", n=number))
                previous = entry.digest
        if remembered.get("number", 0) > number:
            return Verdict(number, Message("{n} entries are missing at the end.", n=int(remembered["number"]) - number))
        return Verdict(number, None)

    def _append(self, actor: str, action: str, case: str, model: str, detail: dict[str, Any]) -> Entry:
        with self._session() as session, session.begin():
            if self._engine.dialect.name == "postgresql":  # writers come one after the other
                session.execute(select(func.pg_advisory_xact_lock(_CHAIN)))
            last = session.scalars(select(Entry).order_by(Entry.number.desc()).limit(1)).first()
            entry = Entry(
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

    def _remember(self, entry: Entry) -> None:
        """Name the latest entry in the head file; a writer that was overtaken changes nothing."""
        if entry.number <= self._remembered().get("number", 0):
            return
        draft = self._head.with_suffix(f".{os.getpid()}.{entry.number}")
        draft.write_text(json.dumps({"number": entry.number, "digest": entry.digest}))
        draft.replace(self._head)

    def _remembered(self) -> dict[str, Any]:
        try:
            head: dict[str, Any] = json.loads(self._head.read_text())
        except FileNotFoundError:
            return {}
        return head

    def _session(self) -> Session:
        return Session(self._engine, expire_on_commit=False)


def _seal(entry: Entry) -> str:
    """SHA-256 of the entry's columns but the digest, as canonical JSON."""
    content = {name: value for name, value in entry.to_json().items() if name != "digest"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
