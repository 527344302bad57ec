"""The users of the application: who they are, what they may see, and for how long.

Every browser gets a random session identifier, signed with a key that never leaves the settings' folder, in a cookie
that scripts cannot read (`HttpOnly`) and other sites cannot send (`SameSite=Strict`). Where users sign in, a page of
that browser binds the session to the identity that the provider states; the binding is in memory, so that a restart
signs everyone out. It ends after a time without activity, after a maximum time, and when the user signs out; a sign-in
that has ended cannot be used again, from any browser. In the local mode every session belongs to the one local user.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import threading
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from fedpet.core.errors import SignInError
from fedpet.core.messages import Message
from fedpet.core.settings import read_or_create_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from app.access.accounts import Accounts
    from app.audit.trail import AuditTrail
    from app.cases.tables import Case
    from fedpet.core.settings import Settings

_RESERVED = {"anonymous", "fedpet", "local"}  # other actors of the audit trail
_CONTACT = Message("Contact the administrator of this application.")
_QUIET_S = 60.0  # in which refusals of one user and kind make one entry


class Role(StrEnum):
    """What a user may do, least first."""

    VISITOR = "visitor"  # the pages about the model, nothing about a patient
    READER = "reader"  # their own cases, and those that came from the PACS
    ADMINISTRATOR = "administrator"  # every case, and the administration


@dataclass(frozen=True)
class User:
    """The user of a page."""

    name: str
    role: Role

    @property
    def reads(self) -> bool:
        """Whether they may work with cases."""
        return self.role is not Role.VISITOR

    @property
    def administers(self) -> bool:
        """Whether they may see every case and the administration."""
        return self.role is Role.ADMINISTRATOR

    @property
    def only(self) -> str | None:
        """For `app.cases.store.Search`: whose cases are listed, beside those of nobody; None for everyone's."""
        return None if self.administers else self.name

    def sees(self, case: Case) -> bool:
        """Whether they may see a case."""
        return self.administers or (self.reads and case.owner in {"", self.name})


LOCAL = User("local", Role.ADMINISTRATOR)  # of the local mode: nobody signs in there


def user_of(claims: Mapping[str, Any], settings: Settings) -> User:
    """The user that an identity token describes.

    Args:
        claims: of the verified token.
        settings: names of the claims.

    Returns:
        The user, with the highest of their roles; a visitor where none is known.

    Raises:
        SignInError: the token holds no name that can be used.
    """
    name = claims.get(settings.oidc_name_claim)
    if not isinstance(name, str) or not 0 < len(name.strip()) <= 128 or name.strip() in _RESERVED:
        raise SignInError(
            found=Message("Your account has no name that can be used here."),
            needed=Message("A name of 1 to 128 characters in the claim “{claim}”.", claim=settings.oidc_name_claim),
            advice=_CONTACT,
        )
    held: Any = claims
    for step in settings.oidc_roles_claim.split("."):
        held = held.get(step) if isinstance(held, dict) else None
    roles = [held] if isinstance(held, str) else held if isinstance(held, list) else []
    highest = next((role for role in reversed(Role) if role.value in roles), Role.VISITOR)
    return User(name.strip(), highest)


@dataclass
class _SignIn:
    user: User
    began: float  # on the clock
    active: float
    ended: bool = False


class SessionService:
    """Sessions and their users."""

    def __init__(
        self,
        key: bytes,
        *,
        settings: Settings,
        audit: AuditTrail,
        accounts: Accounts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._key, self._settings, self._audit, self._accounts, self._clock = key, settings, audit, accounts, clock
        self._idle, self._longest = settings.idle_minutes * 60, settings.session_hours * 3600
        self._sessions: dict[str, str] = {}  # session: sign-in
        self._sign_ins: dict[str, _SignIn] = {}
        self._refused: dict[tuple[str, str], tuple[float, int]] = {}  # user and kind: last entry, refusals since
        self._lock = threading.Lock()
        # cookies ignore ports: two applications on one host must not share a name
        self.cookie = f"fedpet_{hashlib.sha256(key).hexdigest()[:8]}"

    @classmethod
    def open(cls, settings: Settings, audit: AuditTrail, accounts: Accounts) -> SessionService:
        """Open with the key in the settings' folder, which is created at first use."""
        return cls(
            read_or_create_key(settings.folder / "session.key"), settings=settings, audit=audit, accounts=accounts
        )

    @property
    def local(self) -> bool:
        """Whether this is the local single-user mode."""
        return self._settings.sign_in == "local"

    def new_cookie(self) -> str:
        """The value of the cookie for a new session."""
        session = secrets.token_urlsafe(24)
        return f"{session}.{self._sign(session)}"

    def session(self, cookies: Mapping[str, str]) -> str | None:
        """The session of a request with these cookies; None where there is no valid one."""
        session, _, signature = cookies.get(self.cookie, "").partition(".")
        known = hmac.compare_digest(signature.encode(), self._sign(session).encode())
        return session if known and session else None

    def user(self, session: str | None) -> User | None:
        """The user of a session now; None where nobody is signed in."""
        if session is None:
            return None
        if self.local:
            return LOCAL
        found = self._sign_ins.get(self._sessions.get(session, ""))
        return found.user if found is not None and self._lasts(found) else None

    def touch(self, session: str | None) -> None:
        """Record that the user of a session was active."""
        found = self._sign_ins.get(self._sessions.get(session or "", ""))
        if found is not None and self._lasts(found):
            found.active = self._clock()

    def sign_in(self, session: str, claims: Mapping[str, Any]) -> User | None:
        """Bind a session to the user of a verified identity token.

        Returns:
            The user; None where this sign-in has ended, or is too old to start.

        Raises:
            SignInError: no name that can be used, or the name of another account of the provider.
        """
        user = user_of(claims, self._settings)
        content = json.dumps(dict(claims), sort_keys=True, default=str)  # holds a nonce: different for every sign-in
        known = hashlib.sha256(content.encode()).hexdigest()
        age = max(0.0, time.time() - claims["iat"])  # OpenID Connect Core 2: every identity token has it
        with self._lock:
            now = self._clock()
            self._forget(now)
            if known not in self._sign_ins:
                if age >= self._longest:
                    return None
                self._welcome(user, claims)
                self._sign_ins[known] = _SignIn(user, began=now - age, active=now)
            self._sessions[session] = known
        return self.user(session)

    def sign_out(self, session: str | None) -> None:
        """End the sign-in of a session, in every browser that uses it."""
        with self._lock:
            found = self._sign_ins.get(self._sessions.get(session or "", ""))
            if found is None or not self._lasts(found):
                return
            found.ended = True
        self._audit.record(found.user.name, "user.signed_out")

    def refuse(self, session: str | None, what: str, *, case: str = "") -> None:
        """Record a refused access: one entry a minute for each user and kind, with the count since the last."""
        user = self.user(session)
        name = user.name if user else "anonymous"
        with self._lock:
            now = self._clock()
            last, count = self._refused.get((name, what), (float("-inf"), 0))
            due = now - last >= _QUIET_S
            self._refused[name, what] = (now, 0) if due else (last, count + 1)
        if due:
            self._audit.record(name, "access.refused", case=case, detail={"what": what, "times": count + 1})

    def _welcome(self, user: User, claims: Mapping[str, Any]) -> None:
        subject = hashlib.sha256(f"{claims.get('iss')} {claims.get('sub')}".encode()).hexdigest()
        if not self._accounts.record_sign_in(user.name, subject=subject, role=user.role):
            raise SignInError(
                found=Message("The name of your account belongs to another account here."),
                needed=Message("One name for each account of the provider."),
                advice=_CONTACT,
            )
        self._audit.record(user.name, "user.signed_in", detail={"role": user.role.value})

    def _lasts(self, sign_in: _SignIn) -> bool:
        now = self._clock()
        if now - sign_in.active >= self._idle or now - sign_in.began >= self._longest:
            sign_in.ended = True
        return not sign_in.ended

    def _forget(self, now: float) -> None:
        """Drop what is older than any identity token that could still be presented."""
        self._sign_ins = {key: one for key, one in self._sign_ins.items() if now - one.began < self._longest}
        self._sessions = {session: key for session, key in self._sessions.items() if key in self._sign_ins}

    def _sign(self, session: str) -> str:
        return hmac.new(self._key, session.encode(), hashlib.sha256).hexdigest()
