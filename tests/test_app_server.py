"""The guard and the route of the files, behind a real server on the loopback interface."""

from __future__ import annotations

import http.client
import threading
import time
import uuid

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route

from app.access import Access
from app.server import case_files, guards
from app.services import FILES, open_services
from fedpet.settings import Settings

BYTES = bytes(range(256)) * 64


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    return open_services(Settings(home=tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="module")
def port(services):
    """A server with the application's guard and route; the pages are stand-ins for Streamlit's."""

    async def page(_):
        return HTMLResponse("<html></html>")

    async def text(_):
        return PlainTextResponse("patient")

    routes = [*case_files(services), Route("/", page), Route("/media/{name}", text), Route("/static/{name}", text)]
    app = Starlette(routes=routes, middleware=guards(services))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


@pytest.fixture
def get(port):
    def request(path, *, cookie="", host=""):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        headers = {"Cookie": cookie} if cookie else {}
        connection.request("GET", path, headers={**headers, **({"Host": host} if host else {})})
        response = connection.getresponse()
        return response, response.read()

    return request


@pytest.fixture
def case(services):
    made = services.store.create("fr")
    (services.store.folder(made.id) / "pet.bin").write_bytes(BYTES)
    (services.store.folder(made.id) / "report.fr.pdf").write_bytes(b"%PDF-1.4")
    (services.store.folder(made.id) / "result.json").write_text("{}")
    return made


@pytest.fixture
def cookie(services):
    return f"{services.access.cookie}={services.access.new_cookie()}"


def _session(services, cookie):
    name, _, value = cookie.partition("=")
    return services.access.session({name: value})


def test_a_page_brings_a_session_cookie_that_scripts_and_other_sites_cannot_use(get, services):
    response, _ = get("/")
    name, *attributes = response.getheader("Set-Cookie").split("; ")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(attributes)
    assert _session(services, name) is not None


def test_a_known_session_keeps_its_cookie(get, cookie):
    assert get("/", cookie=cookie)[0].getheader("Set-Cookie") is None


def test_a_granted_file_is_served_as_it_is(get, services, case, cookie):
    services.access.grant(_session(services, cookie), case.id)
    response, body = get(f"{FILES}/{case.id}/pet.bin", cookie=cookie)
    assert (response.status, body) == (200, BYTES)
    assert response.getheader("Content-Encoding") == "identity"
    assert response.getheader("Cache-Control") == "no-store"
    assert response.getheader("X-Content-Type-Options") == "nosniff"


def test_the_report_is_a_download_without_the_patient_in_its_name(get, services, case, cookie):
    services.access.grant(_session(services, cookie), case.id)
    response, body = get(f"{FILES}/{case.id}/report.fr.pdf", cookie=cookie)
    assert (response.status, body[:4]) == (200, b"%PDF")
    assert response.getheader("Content-Disposition") == 'attachment; filename="fedpet-report.fr.pdf"'


def test_without_a_session_nothing_about_a_patient_is_served(get, services, case, cookie):
    services.access.grant(_session(services, cookie), case.id)
    for path in (f"{FILES}/{case.id}/pet.bin", "/media/report.pdf", "/_stcore/upload_file/a/b", "/_stcore/stream"):
        assert get(path)[0].status == 401
    assert get("/static/app.js")[0].status == 200


@pytest.mark.parametrize(
    "change", [lambda value: value[:-1] + ("0" if value[-1] != "0" else "1"), lambda value: "x" + value]
)
def test_a_forged_cookie_is_refused(get, services, case, cookie, change):
    services.access.grant(_session(services, cookie), case.id)
    name, _, value = cookie.partition("=")
    assert get(f"{FILES}/{case.id}/pet.bin", cookie=f"{name}={change(value)}")[0].status == 401


def test_a_cookie_signed_with_another_key_is_refused(get, services, case):
    other = Access(b"another key")
    forged = f"{services.access.cookie}={other.new_cookie()}"
    assert get(f"{FILES}/{case.id}/pet.bin", cookie=forged)[0].status == 401


def test_a_case_that_the_session_did_not_open_is_not_found(get, services, case, cookie):
    assert get(f"{FILES}/{case.id}/pet.bin", cookie=cookie)[0].status == 404
    services.access.grant(_session(services, cookie), str(uuid.uuid4()))
    assert get(f"{FILES}/{case.id}/pet.bin", cookie=cookie)[0].status == 404


@pytest.mark.parametrize("name", ["ct.bin", "result.json", "..%2F..%2Fcases.sqlite", "../../session.key", "pet.bin/"])
def test_only_the_listed_files_of_a_case_are_found(get, services, case, cookie, name):
    services.access.grant(_session(services, cookie), case.id)
    assert get(f"{FILES}/{case.id}/{name}", cookie=cookie)[0].status in {307, 404}


def test_a_case_that_is_no_uuid_is_not_found(get, cookie):
    assert get(f"{FILES}/..%2f..%2fetc/pet.bin", cookie=cookie)[0].status == 404


def test_a_site_that_takes_the_loopback_address_is_refused(get):
    assert get("/", host="evil.example")[0].status == 400


def test_sessions_survive_a_restart_and_the_key_is_the_owners_only(tmp_path):
    first = Access.open(tmp_path)
    cookies = {first.cookie: first.new_cookie()}
    assert Access.open(tmp_path).session(cookies) == first.session(cookies)
    assert (tmp_path / "session.key").stat().st_mode & 0o077 == 0


def test_a_signed_version_is_served_from_its_own_folder_and_leaves_a_trace(get, services, case, cookie):
    folder = services.store.version_folder(case.id, 2)
    folder.mkdir(parents=True)
    (folder / "report.fr.pdf").write_bytes(b"%PDF-1.4 signed")
    (folder / "secret").write_bytes(b"1")
    services.access.grant(_session(services, cookie), case.id)
    assert get(f"/files/{case.id}/2/report.fr.pdf", cookie=cookie)[1] == b"%PDF-1.4 signed"
    for name in ("2/secret", "3/report.fr.pdf", "versions/2/report.fr.pdf"):
        assert get(f"/files/{case.id}/{name}", cookie=cookie)[0].status == 404
    trace = services.workflow.audit.entries(case=case.id)[0]
    assert (trace.action, trace.detail) == ("report.opened", {"name": "report.fr.pdf", "version": 2})
