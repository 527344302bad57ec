"""The head of the audit trail: its latest entry, in a file outside the database, sealed with a key that is not in it.

Whoever can write the database alone can neither move the head to a trail of their own nor make a new one: the head only
moves on from an entry that is still in the database. A head that is gone, empty or not sealed with the key is a finding
of `AuditTrail.verify`, which stays until an administrator takes note of it.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fedpet.core.messages import Message
from fedpet.core.settings import read_or_create_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MISSING: Final = Message("The file audit.head is missing: it names the latest entry, which can no longer be checked.")
_DAMAGED: Final = Message("The file audit.head is empty or damaged: it names the latest entry.")
_FORGED: Final = Message("The file audit.head was not written by fedpet: its seal does not fit the key.")


@dataclass(frozen=True)
class Head:
    """The latest entry: its number, from 1, and its digest."""

    number: int
    digest: str


class HeadFile:
    """`audit.head` and `audit.key` in the settings' folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "audit.head"
        self._key = folder / "audit.key"

    @property
    def exists(self) -> bool:
        """Whether there is a head, whatever it says."""
        return self._path.exists()

    def read(self) -> Head | Message:
        """The head, or why there is none that can be trusted."""
        try:
            known = json.loads(self._path.read_text(encoding="utf-8"))
            head = Head(int(known["number"]), str(known["digest"]))
        except FileNotFoundError:
            return _MISSING
        except (ValueError, KeyError, TypeError):
            return _DAMAGED
        if not self._key.exists():  # written before heads were sealed
            return head
        return head if hmac.compare_digest(str(known.get("seal", "")), self._seal(head)) else _FORGED

    def write(self, head: Head) -> None:
        """Replace the head, on disk before this returns."""
        content = {"number": head.number, "digest": head.digest, "seal": self._seal(head)}
        draft = self._path.with_suffix(f".{os.getpid()}.{head.number}")
        with draft.open("w", encoding="utf-8") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from moving the head."""
        with self._path.with_suffix(".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _seal(self, head: Head) -> str:
        key = read_or_create_key(self._key)
        return hmac.new(key, f"{head.number} {head.digest}".encode(), hashlib.sha256).hexdigest()
