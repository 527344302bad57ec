"""The web server: Streamlit's pages, the files of the cases, and the guard in front of both.

Local single-user mode: the server binds the loopback interface; see `app.access` for the sessions and `docs/app.md` for
what this protects against and what it does not.
"""

from __future__ import annotations

import logging
import re
import threading
import webbrowser
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from app.services import FILES, Services, open_services
from app.views.speech import speech

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from fedpet.settings import Settings

_logger = logging.getLogger(__name__)
HOST = "127.0.0.1"
_SERVED = (
    (re.compile(r"(pet|ct|saliency|lesions|mip)\.bin"), "application/octet-stream"),
    (re.compile(r"report\.(fr|en)\.pdf"), "application/pdf"),
    (re.compile(r"report\.(fr|en)\.\d\.png"), "image/png"),
)
_GUARDED = (f"{FILES}/", "/media/", "/_stcore/upload_file/", "/_stcore/stream")
_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Streamlit loads a component's script from a blob and its charts compile expressions
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' blob: data:; worker-src 'self' blob:; frame-ancestors 'none'; form-action 'self'; "
    "base-uri 'self'; object-src 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Guard:
    """ASGI middleware: every page carries a session cookie; what is about a patient needs one (401)."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app = app
        self._access = services.access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on and add the cookie and the security headers."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        known = self._access.session(HTTPConnection(scope).cookies) is not None
        if not known and scope["path"].startswith(_GUARDED):
            await Response(status_code=401)(scope, receive, send)
            return

        async def add_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if not known and headers.get("content-type", "").startswith("text/html"):
                    headers.append("set-cookie", self._new_cookie())
            await send(message)

        await self._app(scope, receive, add_headers)

    def _new_cookie(self) -> str:
        return f"{self._access.cookie}={self._access.new_cookie()}; HttpOnly; Path=/; SameSite=Strict"


def case_files(services: Services) -> list[Route]:
    """The routes of the files of a case and of its signed versions.

    401 without a session, 404 for what the session was not granted; a report that is opened leaves its trace.
    """

    async def read(request: Request) -> Response:
        session = services.access.session(request.cookies)
        if session is None:
            return Response(status_code=401)
        case_id, name = str(request.path_params["case_id"]), request.path_params["name"]
        kind = next((kind for pattern, kind in _SERVED if pattern.fullmatch(name)), None)
        if kind is None or not services.access.allows(session, case_id):
            return Response(status_code=404)
        version = request.path_params.get("version")
        store = services.store
        path = (store.folder(case_id) if version is None else store.version_folder(case_id, version)) / name
        if not path.is_file():
            return Response(status_code=404)
        if kind == "application/pdf":
            report = {"name": name, "version": version}
            services.workflow.audit.record(services.access.user(session), "report.opened", case=case_id, detail=report)
        return FileResponse(
            path,
            media_type=kind,
            filename=f"fedpet-{name}" if name.endswith(".pdf") else None,
            # identity: compressing a volume takes longer than sending it to the same machine
            headers={"Cache-Control": "no-store", "Content-Encoding": "identity"},
        )

    paths = ("{case_id:uuid}/{name}", "{case_id:uuid}/{version:int}/{name}")
    return [Route(f"{FILES}/{path}", read, methods=["GET"]) for path in paths]


def guards(services: Services) -> list[Middleware]:
    """What stands in front of every page and file."""
    return [
        # another name than the loopback's means a page of another site that renamed itself (DNS rebinding)
        Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"]),
        Middleware(Guard, services=services),
    ]


def build(settings: Settings, *, on_start: Callable[[], None] | None = None) -> st.App:
    """The ASGI application, with its database open."""
    services = open_services(settings)

    @asynccontextmanager
    async def lifespan(_: st.App) -> AsyncIterator[None]:
        services.jobs.resume()
        if on_start is not None:
            on_start()
        yield
        services.jobs.stop()
        services.store.close()

    return st.App(
        Path(__file__).with_name("main.py"),
        routes=case_files(services),
        middleware=guards(services),
        lifespan=lifespan,
        on_script_error=_tell_error,
    )


def _tell_error(error: Exception) -> bool:
    """Log an error nobody expected and say so on the page, in place of Streamlit's own words."""
    _logger.error("a page failed", exc_info=error)
    st.error(speech().text("An unexpected error stopped this page. Reload it; the log of the server says more."))
    return True


def serve(settings: Settings, *, port: int, open_browser: bool) -> None:
    """Serve the application on the loopback interface until it is interrupted."""
    page = threading.Timer(1.0, webbrowser.open, (f"http://{HOST}:{port}",))
    build(settings, on_start=page.start if open_browser else None).run(config=_options(settings, port))


def _options(settings: Settings, port: int) -> dict[str, Any]:
    """Streamlit's configuration; it wins over any file on this machine."""
    return {
        "browser.gatherUsageStats": False,
        "client.showErrorDetails": "none",
        "client.toolbarMode": "minimal",
        "server.address": HOST,
        "server.allowedHosts": [HOST, "localhost"],
        "server.enableXsrfProtection": True,
        "server.fileWatcherType": "none",
        "server.headless": True,
        "server.maxUploadSize": settings.max_upload_mb,
        "server.port": port,
        "theme.base": "light",
        "theme.primaryColor": "#0b5c7d",
        "theme.textColor": "#1c2733",
        "theme.secondaryBackgroundColor": "#f3f6f8",
        "theme.borderColor": "#d5dde3",
        "theme.baseRadius": "small",
        "theme.showWidgetBorder": True,
    }
