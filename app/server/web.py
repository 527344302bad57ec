"""The web server: Streamlit's pages, the files of the cases, and the guard in front of both.

See `app.server.deployment` for where it listens, `app.access.sessions` for the users, and `docs/security.md` for what
this protects against and what it does not.
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
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from app.cases.identified_report import identified_report
from app.cases.reading import is_locked
from app.screens.layout.localization import localization
from app.server.deployment import Deployment
from app.server.reading_routes import reading_routes
from app.server.request_guard import Guard
from app.services import ACTIVE, FILES, Services, open_services, pages_use
from fedpet.core.errors import FedpetError
from fedpet.core.locks import only_server
from fedpet.core.messages import LANGUAGES, translate_message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request

    from fedpet.core.settings import Settings

_logger = logging.getLogger(__name__)
_SERVED = (
    (re.compile(r"(pet|ct|saliency|lesions|references|mip)\.bin"), "application/octet-stream"),
    (re.compile(r"report\.(fr|en)\.pdf"), "application/pdf"),
    (re.compile(r"report\.(fr|en)\.\d{1,3}\.png"), "image/png"),
)
_KEPT_BY_ADMINISTRATORS = re.compile(r"erasure-[0-9a-f-]{36}\.json")
_OF_THE_ANSWER = ("report.", "saliency.")  # kept back with it, and while those of corrected lesions are computed
_NO_STORE = {"Cache-Control": "no-store"}


def routes(services: Services) -> list[Route]:
    """The routes beside the pages; `request_guard` admits users only, and readers only to the files."""
    versions = ("{case_id:uuid}/{name}", "{case_id:uuid}/{version:int}/{name}")
    return [
        Route(
            f"{FILES}/{{case_id:uuid}}/{{version:int}}/identified.{{language}}.pdf",
            _identified(services),
            methods=["GET"],
        ),
        *(Route(f"{FILES}/{path}", _case_file(services), methods=["GET"]) for path in versions),
        Route(f"{FILES}/administration/{{name}}", _administration_file(services), methods=["GET"]),
        *reading_routes(services),
        Route(ACTIVE, _activity(services), methods=["GET", "POST"]),
    ]


def _case_file(services: Services) -> Callable[[Request], Response]:
    """The files of a case and of its signed versions: 404 for users who may not see it; opening a report is audited."""

    def read(request: Request) -> Response:
        session = services.access.session(request.cookies)
        user, case_id = services.access.user(session), str(request.path_params["case_id"])
        case, name = services.store.get(case_id), request.path_params["name"]
        if user is None or case is None:
            return Response(status_code=404)
        if not user.sees(case):
            services.access.refuse(session, "case", case=case_id)
            return Response(status_code=404)
        version = request.path_params.get("version")
        store = services.store
        kept_back = is_locked(case, services.settings) or case.is_pending
        if version is None and name.startswith(_OF_THE_ANSWER) and kept_back:
            return Response(status_code=404)
        path = (store.folder(case_id) if version is None else store.version_folder(case_id, version)) / name
        kind = next((kind for pattern, kind in _SERVED if pattern.fullmatch(name)), None)
        if kind is None or not path.is_file():
            return Response(status_code=404)
        if kind == "application/pdf":
            report = {"name": name, "version": version}
            services.workflow.audit.record(user.name, "report.opened", case=case_id, detail=report)
        return FileResponse(
            path,
            media_type=kind,
            filename=f"fedpet-{name}" if name.endswith(".pdf") else None,
            # identity: compressing a volume takes longer than sending it to the same machine
            headers={**_NO_STORE, "Content-Encoding": "identity"},
        )

    return read


def _identified(services: Services) -> Callable[[Request], Response]:
    """A signed report with the patient's identity, made for this request; every one is in the audit trail."""

    def write(request: Request) -> Response:
        session = services.access.session(request.cookies)
        user, case_id = services.access.user(session), str(request.path_params["case_id"])
        version, language = request.path_params["version"], request.path_params["language"]
        case = services.store.get(case_id)
        if user is None or case is None or language not in LANGUAGES:
            return Response(status_code=404)
        if not user.sees(case):
            services.access.refuse(session, "case", case=case_id)
            return Response(status_code=404)
        try:
            edition = identified_report(services.store, case_id, version, language, services.settings)
        except FileNotFoundError:
            return Response(status_code=404)
        except FedpetError as error:
            translate = translate_message(language)
            said = " ".join(translate(sentence) for sentence in (error.found, error.needed, error.advice))
            return Response(said, status_code=409, media_type="text/plain; charset=utf-8", headers=_NO_STORE)
        detail = {"version": version, "language": language}
        services.workflow.audit.record(user.name, "report.identified", case=case_id, detail=detail)
        named = {**_NO_STORE, "Content-Disposition": f'attachment; filename="fedpet-identified.{language}.pdf"'}
        return Response(edition, media_type="application/pdf", headers=named)

    return write


def _administration_file(services: Services) -> Callable[[Request], Response]:
    """The audit trail and the proofs of erasures, for administrators."""

    def read(request: Request) -> Response:
        session, name = services.access.session(request.cookies), request.path_params["name"]
        user, audit = services.access.user(session), services.workflow.audit
        if user is None or not user.administers:
            services.access.refuse(session, "administration")
            return Response(status_code=404)
        headers = {**_NO_STORE, "Content-Disposition": f'attachment; filename="fedpet-{name}"'}
        if name == "audit.jsonl":
            audit.record(user.name, "audit.exported")
            lines = (f"{line}\n" for line in audit.export())
            return StreamingResponse(lines, media_type="application/x-ndjson", headers=headers)
        path = services.proofs / name
        if not _KEPT_BY_ADMINISTRATORS.fullmatch(name) or not path.is_file():
            return Response(status_code=404)
        return FileResponse(path, media_type="application/json", headers=headers)

    return read


def _activity(services: Services) -> Callable[[Request], Response]:
    """A page reports that its user is active (POST), or asks whether they are signed in (GET): 401 where not."""

    def respond(request: Request) -> Response:
        if request.method == "POST":
            services.access.touch(services.access.session(request.cookies))
        return Response(status_code=204)

    return respond


def guards(services: Services, deployment: Deployment) -> list[Middleware]:
    """The middleware in front of every page and file."""
    return [
        # another name means a page of another site that renamed itself (DNS rebinding)
        Middleware(TrustedHostMiddleware, allowed_hosts=list(deployment.hosts), www_redirect=False),
        Middleware(Guard, services=services, deployment=deployment),
    ]


def build(settings: Settings, deployment: Deployment, *, on_start: Callable[[], None] | None = None) -> st.App:
    """The ASGI application, with its database open."""
    services = open_services(settings)

    @asynccontextmanager
    async def lifespan(_: st.App) -> AsyncIterator[None]:
        services.jobs.resume()
        if on_start is not None:
            on_start()
        with pages_use(services):
            yield
        services.editors.stop()
        services.jobs.stop()
        services.store.close()

    return st.App(
        Path(__file__).parents[1] / "main.py",
        secrets=None if deployment.auth is None else {"auth": deployment.auth},
        routes=routes(services),
        middleware=guards(services, deployment),
        lifespan=lifespan,
        on_script_error=_tell_error,
    )


def _tell_error(error: Exception) -> bool:
    """Log an error nobody expected and say so on the page, in place of Streamlit's own words."""
    _logger.error("a page failed", exc_info=error)
    st.error(localization().text("An unexpected error stopped this page. Reload it; the log of the server says more."))
    return True


def serve(settings: Settings, *, port: int | None = None, open_browser: bool) -> None:
    """Serve the application until it is interrupted.

    Raises:
        SettingsError: it would be open to everyone, its users could not sign in safely, or another one uses its folder.
    """
    deployment, port = Deployment.of(settings), port or settings.port
    page = threading.Timer(1.0, webbrowser.open, (deployment.origin or f"http://{settings.host}:{port}",))
    with only_server(settings.folder, "app"):
        app = build(settings, deployment, on_start=page.start if open_browser else None)
        app.run(config=_options(settings, deployment, port))


def _options(settings: Settings, deployment: Deployment, port: int) -> dict[str, Any]:
    """Streamlit's configuration; it wins over any file on this machine."""
    return {
        "browser.gatherUsageStats": False,
        "client.showErrorDetails": "none",
        "client.toolbarMode": "minimal",
        "secrets.files": [],
        "server.address": settings.host,
        "server.allowedHosts": list(deployment.hosts),
        "server.corsAllowedOrigins": [deployment.origin] if deployment.origin else [],
        "server.enableAgentApi": False,
        "server.enableStaticServing": False,
        "server.enableXsrfProtection": True,
        "server.fileWatcherType": "none",
        "server.headless": True,
        "server.maxUploadSize": settings.max_upload_mb,
        "server.port": port,
        "server.xsrfCookieSameSite": "strict",
        "theme.base": "dark",  # readers sit in the dark, and images are judged beside it
        "theme.primaryColor": "#4fb3bf",
        "theme.backgroundColor": "#12161b",
        "theme.textColor": "#e6ebf0",
        "theme.secondaryBackgroundColor": "#1b222a",
        "theme.borderColor": "#39444f",
        "theme.baseRadius": "small",
        "theme.showWidgetBorder": True,
    }
