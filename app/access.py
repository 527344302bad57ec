"""Who may read the files of a case.

The application is a local, single-user one: the server listens on the loopback interface only. Every browser gets a
random session identifier, signed with a key that never leaves the settings' folder, in a cookie that scripts cannot
read (`HttpOnly`) and other sites cannot send (`SameSite=Strict`). A page that shows a case grants that case to the
session it belongs to; the route of the files serves only what was granted. Nothing of this is in a URL.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING

from fedpet.settings import kept_key

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


LOCAL_USER = "local"  # who uses the local mode: nobody signs in there


class Access:
    """Sessions and the cases they may read. Grants live in memory: the page renews them when it is drawn."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._grants: set[tuple[str, str]] = set()
        # cookies do not tell ports apart: two applications on one host must not share a name
        self.cookie = f"fedpet_{hashlib.sha256(key).hexdigest()[:8]}"

    @classmethod
    def open(cls, folder: Path) -> Access:
        """With the key kept in `folder`, made at the first use, so that a restart keeps the sessions."""
        return cls(kept_key(folder / "session.key"))

    def new_cookie(self) -> str:
        """The value of a cookie for a new session."""
        session = secrets.token_urlsafe(24)
        return f"{session}.{self._sign(session)}"

    def session(self, cookies: Mapping[str, str]) -> str | None:
        """The session of a request with these cookies, or None where none is valid."""
        session, _, signature = cookies.get(self.cookie, "").partition(".")
        known = hmac.compare_digest(signature.encode(), self._sign(session).encode())
        return session if known and session else None

    def user(self, session: str) -> str:  # noqa: ARG002  one user in the local mode
        """The name of a session's user."""
        return LOCAL_USER

    def grant(self, session: str, case_id: str) -> None:
        """Let a session read the files of a case."""
        self._grants.add((session, case_id))

    def allows(self, session: str, case_id: str) -> bool:
        """Whether a session may read the files of a case."""
        return (session, case_id) in self._grants

    def _sign(self, session: str) -> str:
        return hmac.new(self._key, session.encode(), hashlib.sha256).hexdigest()
