"""The guard in front of every page, file and web socket: sessions, users, limits, and the headers that browsers obey.

It refuses before anything is read: everything about a patient needs a session (401), and files and uploads need a user
who works with cases (401, or 403 for a visitor). Messages through the web socket of a user whose sign-in has ended
become a plain run of the page, which then asks them to sign in.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # no types published
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import Response
from streamlit.proto.BackMsg_pb2 import BackMsg

from app.server.deployment import HERE
from app.services import ACTIVE, FILES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from app.server.deployment import Deployment
    from app.services import Services

_UPLOADS: Final = "/_stcore/upload_file/"
_FOR_SESSIONS: Final = ("/_stcore/stream",)  # the pages: they ask to sign in
_FOR_USERS: Final = ("/media/", ACTIVE)
_FOR_READERS: Final = (f"{FILES}/", _UPLOADS)
_CLOSED: Final = ("/_stcore/metrics", "/_stcore/agent/", "/_stcore/script-health-check")
_SIGNED_IN, _SIGNED_OUT = "/oauth2callback", "/auth/logout"  # Streamlit's routes of the sign-in
_ENCRYPTED: Final = {"https", "wss"}  # as proxies say it
_OWN: Final = {"same-origin", "none"}  # Sec-Fetch-Site of a page of ours, and of an address typed by the user
_AUDITED: Final = {401, 403}  # refusals that are recorded in the audit trail
_MAX_BODY: Final = 65_536  # bytes of a request that is no upload
_MAX_WAIT_S: Final = 120.0  # of an upload for its turn
_HEADERS: Final = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Streamlit loads a component's script from a blob and its charts compile expressions
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' blob: data:; worker-src 'self' blob:; frame-ancestors 'none'; form-action 'self'; "
    "base-uri 'self'; object-src 'none'",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Guard:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, services: Services, deployment: Deployment) -> None:
        self._app = app
        self._access = services.access
        self._deployment = deployment
        self._identity_s = round(services.settings.session_hours * 3600)
        self._turns = asyncio.Semaphore(services.settings.max_uploads)
        self._headers = dict(_HEADERS)
        if deployment.secure:
            self._headers["Strict-Transport-Security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on and add the cookie and the security headers."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        request, path = HTTPConnection(scope), scope["path"]
        session = self._access.session(request.cookies)
        status = self._refusal(scope, request, session)
        if status is not None:
            if status in _AUDITED and path != ACTIVE:
                await run_in_threadpool(self._access.refuse, session, "server")
            await Response(status_code=status)(scope, receive, send)
            return
        if path == _SIGNED_OUT:
            await run_in_threadpool(self._access.sign_out, session)

        async def add_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add_headers(MutableHeaders(scope=message), path, known=session is not None)
            await send(message)

        if scope["type"] == "websocket":
            await self._app(scope, self._watch(receive, session), add_headers)
        elif path.startswith(_UPLOADS):
            self._access.touch(session)
            async with self._turn() as free:
                await (self._app if free else Response(status_code=503))(scope, receive, add_headers)
        else:
            await self._app(scope, _limit_body(receive), add_headers)

    def _refusal(self, scope: Scope, request: HTTPConnection, session: str | None) -> int | None:
        """The status of a refused request; None where it may pass."""
        path, user = scope["path"], self._access.user(session)
        if path.startswith(_CLOSED):
            return 404
        if not self._is_own(scope, request, session):
            return 403
        if session is None and path.startswith(_FOR_SESSIONS):
            return 401
        if path.startswith((*_FOR_USERS, *_FOR_READERS)):
            if user is None:
                return 401
            if path.startswith(_FOR_READERS) and not user.reads:
                return 403
        length = request.headers.get("content-length", "0")
        too_long = not length.isdecimal() or int(length) > _MAX_BODY
        return 413 if too_long and not path.startswith(_UPLOADS) else None

    def _is_own(self, scope: Scope, request: HTTPConnection, session: str | None) -> bool:
        """Whether the browser encrypted, by what the proxy says, and no other site changes anything or signs out."""
        if self._deployment.secure and request.headers.get("x-forwarded-proto", "https") not in _ENCRYPTED:
            return False
        asked_here = session is not None and request.headers.get("sec-fetch-site", "none") in _OWN
        if scope["path"] == _SIGNED_OUT and not asked_here:
            return False
        changes = scope["type"] == "websocket" or scope["method"] not in {"GET", "HEAD", "OPTIONS"}
        return not changes or self._from_here(request)

    def _from_here(self, request: HTTPConnection) -> bool:
        """Whether a page of this application sent the request; programs other than browsers name no origin."""
        origin = request.headers.get("origin")
        if origin is None or origin == self._deployment.origin:
            return True
        sender = urlsplit(origin)
        if self._deployment.secure and sender.hostname not in HERE:  # over TLS a name alone is not the same origin
            return False
        return sender.netloc == request.headers.get("host")

    def _add_headers(self, headers: MutableHeaders, path: str, *, known: bool) -> None:
        for name, value in self._headers.items():
            headers.setdefault(name, value)
        if path.startswith("/media/"):
            headers["Cache-Control"] = "no-store"
        if path == _SIGNED_OUT and "location" in headers:
            headers["Location"] = _without_token(headers["Location"])
        cookies = [self._hardened(cookie) for cookie in headers.getlist("set-cookie")]
        page = headers.get("content-type", "").startswith("text/html")
        # another session before and after a sign-in: knowing the first one is then useless
        if path in {_SIGNED_IN, _SIGNED_OUT} or (page and not known):
            new = f"{self._access.cookie}={self._access.new_cookie()}; HttpOnly; Path=/; SameSite=Strict"
            cookies.append(self._hardened(new))
        del headers["set-cookie"]
        for cookie in cookies:
            headers.append("set-cookie", cookie)

    def _hardened(self, cookie: str) -> str:
        """A cookie that travels by https only, where pages do, and an identity cookie that ends with the sessions."""
        if cookie.startswith("_streamlit_user"):
            cookie = re.sub(r"(?<=Max-Age=)\d+", lambda age: str(min(int(age[0]), self._identity_s)), cookie)
        return f"{cookie}; Secure" if self._deployment.secure and "; secure" not in cookie.lower() else cookie

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[bool]:
        """Wait for a free place for an upload; False where none became free."""
        try:
            await asyncio.wait_for(self._turns.acquire(), _MAX_WAIT_S)
        except TimeoutError:
            yield False
            return
        try:
            yield True
        finally:
            self._turns.release()

    def _watch(self, receive: Receive, session: str | None) -> Receive:
        """The messages of a page: activity of its user, or, without one, only requests to draw the page."""

        async def watched() -> Message:
            message = await receive()
            if message["type"] == "websocket.receive" and message.get("bytes"):
                return {**message, "bytes": self._admit(message["bytes"], session)}
            return message

        return receive if self._access.local else watched

    def _admit(self, content: bytes, session: str | None) -> bytes:
        request = BackMsg()
        try:
            request.ParseFromString(content)
        except DecodeError:  # Streamlit closes the connection
            return content
        redraw = request.WhichOneof("type") == "rerun_script"
        if self._access.user(session) is not None:
            if redraw and not request.rerun_script.is_auto_rerun:
                self._access.touch(session)
            return content
        if redraw:
            request.rerun_script.ClearField("fragment_id")
        else:
            request = BackMsg(app_heartbeat=True)
        return bytes(request.SerializeToString())


def _without_token(address: str) -> str:
    """The provider's address for signing out without the identity token, which would stay in histories and logs."""
    parts = urlsplit(address)
    kept = [(name, value) for name, value in parse_qsl(parts.query) if name != "id_token_hint"]
    return urlunsplit(parts._replace(query=urlencode(kept)))


def _limit_body(receive: Receive) -> Receive:
    """Cut off a body that is longer than any request except an upload needs."""
    total = 0

    async def limited() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        return message if total <= _MAX_BODY else {"type": "http.disconnect"}

    return limited
