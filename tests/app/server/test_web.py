"""The guard and the routes, behind a real server on the loopback interface."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import uvicorn
from pypdfium2 import PdfDocument
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse
from starlette.routing import Route
from streamlit.proto.BackMsg_pb2 import BackMsg

from app.access.sessions import Role, SessionService
from app.server.deployment import Deployment
from app.server.request_guard import Guard
from app.server.web import _options, _tell_error, guards, routes
from app.services import ACTIVE, FILES, open_services
from fedpet.core.settings import Settings
from fedpet.imaging.loading import load_study
from reports.pdf.document import write_pdf
from tests.support import report_content as cases

BYTES = bytes(range(256)) * 64
HTTP = Deployment(("127.0.0.1", "localhost"), "http://127.0.0.1", None)
HTTPS = Deployment(("127.0.0.1", "localhost", "fedpet.example"), "https://fedpet.example", None)


def _oidc(tmp_path_factory):
    return Settings(home=tmp_path_factory.mktemp("home"), sign_in="oidc", idle_minutes=30, session_hours=12)


@pytest.fixture(scope="module")
def clock():
    """A clock that a test moves: `clock[0] += seconds`."""
    return [1000.0]


@pytest.fixture(scope="module")
def services(tmp_path_factory, clock):
    opened = open_services(_oidc(tmp_path_factory))
    audit = opened.workflow.audit
    access = SessionService(
        b"k" * 32, settings=opened.settings, audit=audit, accounts=opened.accounts, clock=lambda: clock[0]
    )
    return replace(opened, access=access)


@contextmanager
def _served(services, deployment):
    """A server with the application's guard and routes; the pages are stand-ins for Streamlit's."""

    async def page(_):
        return HTMLResponse("<html></html>")

    async def text(request):
        return PlainTextResponse(str(len(await request.body())))

    async def identity(_):
        return PlainTextResponse("", headers={"Set-Cookie": "_streamlit_user=x; HttpOnly; Max-Age=2592000; Path=/"})

    async def leave(_):
        return RedirectResponse("https://login.example/end?client_id=fedpet&id_token_hint=eyJhbGciOi", 302)

    own = [*routes(services), Route("/", page), Route("/oauth2callback", identity), Route("/auth/logout", leave)]
    paths = ("/media/{name}", "/static/{name}", "/_stcore/metrics", "/_stcore/upload_file/{a}/{b}")
    stand_ins = [Route(path, text, methods=["GET", "PUT"]) for path in paths]
    app = Starlette(routes=[*own, *stand_ins], middleware=guards(services, deployment))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def port(services):
    with _served(services, HTTP) as port:
        yield port


def _request(port, path, *, cookie="", method="GET", body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body=body, headers={**({"Cookie": cookie} if cookie else {}), **given})
    response = connection.getresponse()
    return response, response.read()


@pytest.fixture
def get(port):
    return lambda path, **options: _request(port, path, **options)


@pytest.fixture
def enter(services):
    """Sign someone in, and give the cookie of their browser."""

    def sign_in(name, role=Role.READER):
        cookie = services.access.new_cookie()
        claims = {
            "iss": "https://provider", "sub": name, "iat": time.time(), "nonce": str(uuid.uuid4()),
            "preferred_username": name, "roles": [role.value],
        }  # fmt: skip
        services.access.sign_in(services.access.session({services.access.cookie: cookie}), claims)
        return f"{services.access.cookie}={cookie}"

    return sign_in


@pytest.fixture
def cookie(enter):
    return enter("dr.a")


@pytest.fixture
def make(services):
    def make(owner):
        made = services.store.create("fr", owner=owner)
        folder = services.store.folder(made.id)
        (folder / "pet.bin").write_bytes(BYTES)
        (folder / "report.fr.pdf").write_bytes(b"%PDF-1.4")
        (folder / "result.json").write_text("{}")
        return made

    return make


@pytest.fixture
def case(make):
    return make("dr.a")


def _session(services, cookie):
    name, _, value = cookie.partition("=")
    return services.access.session({name: value})


def _newest(services, action):
    return next(entry for entry in services.workflow.audit.entries() if entry.action == action)


def test_a_page_brings_a_session_cookie_that_scripts_and_other_sites_cannot_use(get, services):
    response, _ = get("/")
    name, *attributes = response.getheader("Set-Cookie").split("; ")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(attributes)
    assert _session(services, name) is not None


def test_a_known_session_keeps_its_cookie(get, cookie):
    assert get("/", cookie=cookie)[0].getheader("Set-Cookie") is None


def test_an_own_file_is_served_as_it_is(get, case, cookie):
    response, body = get(f"{FILES}/{case.id}/pet.bin", cookie=cookie)
    assert (response.status, body) == (200, BYTES)
    assert response.getheader("Content-Encoding") == "identity"
    assert response.getheader("Cache-Control") == "no-store"
    assert response.getheader("X-Content-Type-Options") == "nosniff"


def test_the_report_is_a_download_without_the_patient_in_its_name(get, case, cookie):
    response, body = get(f"{FILES}/{case.id}/report.fr.pdf", cookie=cookie)
    assert (response.status, body[:4]) == (200, b"%PDF")
    assert response.getheader("Content-Disposition") == 'attachment; filename="fedpet-report.fr.pdf"'


def test_without_a_session_nothing_about_a_patient_is_served(get, case):
    for path in (f"{FILES}/{case.id}/pet.bin", "/media/report.pdf", "/_stcore/upload_file/a/b", "/_stcore/stream"):
        assert get(path)[0].status == 401
    assert get("/static/app.js")[0].status == 200


def test_a_session_that_nobody_signed_in_to_gets_pages_only(get, services, case):
    anonymous = f"{services.access.cookie}={services.access.new_cookie()}"
    for path in (f"{FILES}/{case.id}/pet.bin", "/media/report.pdf", "/_stcore/upload_file/a/b", ACTIVE):
        assert get(path, cookie=anonymous)[0].status == 401
    assert get("/", cookie=anonymous)[0].status == 200


@pytest.mark.parametrize(
    ("role", "statuses"),
    [(Role.READER, (200, 404, 200)), (Role.ADMINISTRATOR, (200, 200, 200)), (Role.VISITOR, (403, 403, 403))],
)
def test_each_role_gets_the_files_it_may_see(get, enter, make, role, statuses):
    cookie = enter(f"a {role}", role)
    for owner, status in zip((f"a {role}", "dr.other", ""), statuses, strict=True):
        assert get(f"{FILES}/{make(owner).id}/pet.bin", cookie=cookie)[0].status == status


def test_another_users_case_is_the_same_as_none_but_leaves_a_line(get, services, enter, make):
    other, cookie = make("dr.other"), enter("dr.curious")
    paths = (f"{FILES}/{other.id}/pet.bin", f"{FILES}/{other.id}/1/report.fr.pdf", f"{FILES}/{uuid.uuid4()}/pet.bin")
    answers = {(get(path, cookie=cookie)[0].status, get(path, cookie=cookie)[1]) for path in paths}
    assert answers == {(404, b"")}
    line = _newest(services, "access.refused")
    assert (line.actor, line.case, line.detail) == ("dr.curious", other.id, {"what": "case", "times": 1})


@pytest.mark.parametrize("name", ["reading", "lesions", "marks"])
def test_what_a_reader_does_in_the_viewer_is_bound_to_their_session_and_their_case(get, enter, make, name):
    def post(case, cookie="", body="{}", **headers):
        return get(f"{FILES}/{case.id}/{name}", cookie=cookie, method="POST", body=body, **headers)[0].status

    own, other, cookie = make("dr.reading"), make("dr.other"), enter("dr.reading")
    assert post(own) == 401
    assert post(own, enter("visitor", Role.VISITOR)) == 403
    assert post(own, cookie, Origin="http://evil.example") == 403
    assert post(other, cookie) == 404
    assert post(own, cookie, body="no JSON") == 400
    assert post(own, cookie, body="[]") == 400
    assert post(own, cookie) == 409  # a case without an answer: nothing to confirm, to correct or to measure
    assert get(f"{FILES}/{own.id}/{name}", cookie=cookie)[0].status == 404


def test_estimates_and_points_that_are_none_are_refused_in_the_language_of_the_page(get, make, cookie):
    case = make("dr.a")
    for name, content in (("reading", {"estimate": 1.5}), ("reading", {"estimate": "x"}), ("marks", {"marks": 3})):
        body = json.dumps({**content, "language": "en"})
        response, said = get(f"{FILES}/{case.id}/{name}", cookie=cookie, method="POST", body=body)
        assert response.status == 409
        assert json.loads(said)["message"]


def test_a_sign_in_that_ended_is_refused_at_once(get, services, enter, make):
    case, cookie = make("dr.leaving"), enter("dr.leaving")
    assert get(f"{FILES}/{case.id}/pet.bin", cookie=cookie)[0].status == 200
    services.access.sign_out(_session(services, cookie))
    assert get(f"{FILES}/{case.id}/pet.bin", cookie=cookie)[0].status == 401


def test_an_idle_user_is_refused_and_signs_of_activity_keep_them(get, enter, make, clock):
    case, cookie = make("dr.slow"), enter("dr.slow")
    for method in ("POST", "POST", "GET"):  # asking is no sign
        clock[0] += 29 * 60
        assert get(ACTIVE, cookie=cookie, method=method)[0].status == 204
    clock[0] += 2 * 60
    assert get(ACTIVE, cookie=cookie)[0].status == 401
    assert get(f"{FILES}/{case.id}/pet.bin", cookie=cookie)[0].status == 401


@pytest.mark.parametrize(
    "change", [lambda value: value[:-1] + ("0" if value[-1] != "0" else "1"), lambda value: "x" + value]
)
def test_a_forged_cookie_is_refused(get, case, cookie, change):
    name, _, value = cookie.partition("=")
    assert get(f"{FILES}/{case.id}/pet.bin", cookie=f"{name}={change(value)}")[0].status == 401


@pytest.mark.parametrize("name", ["ct.bin", "result.json", "..%2F..%2Fcases.sqlite", "../../session.key", "pet.bin/"])
def test_only_the_listed_files_of_a_case_are_found(get, case, cookie, name):
    assert get(f"{FILES}/{case.id}/{name}", cookie=cookie)[0].status in {307, 404}


def test_a_case_that_is_no_uuid_is_not_found(get, cookie):
    assert get(f"{FILES}/..%2f..%2fetc/pet.bin", cookie=cookie)[0].status == 404


def test_a_site_that_takes_the_address_of_this_machine_is_refused(get):
    assert get("/", Host="evil.example")[0].status == 400


def test_a_signed_version_is_served_from_its_own_folder_and_leaves_a_trace(get, services, case, cookie):
    folder = services.store.version_folder(case.id, 2)
    folder.mkdir(parents=True)
    (folder / "report.fr.pdf").write_bytes(b"%PDF-1.4 signed")
    (folder / "secret").write_bytes(b"1")
    assert get(f"/files/{case.id}/2/report.fr.pdf", cookie=cookie)[1] == b"%PDF-1.4 signed"
    for name in ("2/secret", "3/report.fr.pdf", "versions/2/report.fr.pdf"):
        assert get(f"/files/{case.id}/{name}", cookie=cookie)[0].status == 404
    trace = services.workflow.audit.entries(case=case.id)[0]
    assert (trace.actor, trace.action, trace.detail) == (
        "dr.a", "report.opened", {"name": "report.fr.pdf", "version": 2},
    )  # fmt: skip


def test_the_report_with_the_identity_is_made_on_request_and_leaves_a_trace(get, services, case, cookie, enter, dicom):
    slices = dicom.pet(np.random.default_rng(5).uniform(0.5, 3.0, (8, 10, 12)), PatientID="H-1",
                       PatientName="DUPONT^Zoé", SpecificCharacterSet="ISO_IR 100")  # fmt: skip
    dicom.save(slices, services.store.source(case.id))
    study = load_study(services.store.source(case.id), pseudonym_key=services.settings.pseudonym_key())
    content = cases.signed(cases.without_lesions(cases.make_content()))
    folder = services.store.version_folder(case.id, 3)
    folder.mkdir(parents=True)
    same = {"pseudonym": study.pseudonym, "study_date": study.study_date}
    write_pdf(replace(content, study=replace(content.study, **same)), folder / "report.fr.pdf", language="fr")
    write_pdf(content, folder / "report.en.pdf", language="en")  # of another patient
    address = f"{FILES}/{case.id}/3/identified"
    response, body = get(f"{address}.fr.pdf", cookie=cookie)
    assert response.status == 200
    assert response.getheader("Cache-Control") == "no-store"
    assert "DUPONT" not in response.getheader("Content-Disposition")
    assert "DUPONT Zoé" in PdfDocument(body)[0].get_textpage().get_text_range()
    trace = services.workflow.audit.entries(case=case.id)[0]
    assert (trace.actor, trace.action, trace.detail) == (
        "dr.a", "report.identified", {"version": 3, "language": "fr"},
    )  # fmt: skip
    refused, said = get(f"{address}.en.pdf", cookie=cookie)
    assert (refused.status, "not of the patient" in said.decode()) == (409, True)
    for path in (f"{FILES}/{case.id}/4/identified.fr.pdf", f"{address}.de.pdf"):
        assert get(path, cookie=cookie)[0].status == 404
    assert get(f"{address}.fr.pdf", cookie=enter("dr.b"))[0].status == 404
    assert not list(services.store.folder(case.id).rglob("*identified*"))


def test_the_trail_and_the_proofs_are_for_administrators(get, services, enter, cookie):
    services.proofs.mkdir(exist_ok=True)
    proof = f"erasure-{uuid.uuid4()}.json"
    (services.proofs / proof).write_text('{"cases": 1}')
    chief = enter("chief", Role.ADMINISTRATOR)
    for name in ("audit.jsonl", proof):
        assert get(f"{FILES}/administration/{name}", cookie=cookie)[0].status == 404
    lines = get(f"{FILES}/administration/audit.jsonl", cookie=chief)[1].decode().splitlines()
    assert [json.loads(line)["number"] for line in lines] == list(range(1, len(lines) + 1))
    assert json.loads(get(f"{FILES}/administration/{proof}", cookie=chief)[1]) == {"cases": 1}
    for name in ("..%2Fsession.key", "erasure-1.json", f"erasure-{uuid.uuid4()}.json"):
        assert get(f"{FILES}/administration/{name}", cookie=chief)[0].status == 404


def test_a_request_of_another_site_changes_nothing(get, services, cookie):
    assert get(ACTIVE, method="POST", cookie=cookie, Origin="https://evil.example")[0].status == 403
    assert get("/_stcore/stream", cookie=cookie, method="POST", Origin="null")[0].status == 403
    assert _newest(services, "access.refused").detail["what"] == "server"


def test_a_page_of_this_site_may_change_things(get, port, cookie):
    for origin in (f"http://127.0.0.1:{port}", "http://127.0.0.1"):  # by its own name, and by the public one
        assert get(ACTIVE, method="POST", cookie=cookie, Origin=origin)[0].status == 204


def test_no_other_site_signs_a_user_out_and_no_token_stands_in_an_address(get, services, cookie):
    assert get("/auth/logout")[0].status == 403  # without the cookie, which other sites cannot send
    for site in ("cross-site", "same-site"):
        assert get("/auth/logout", cookie=cookie, Sec_Fetch_Site=site)[0].status == 403
    assert services.access.user(_session(services, cookie)) is not None
    response = get("/auth/logout", cookie=cookie, Sec_Fetch_Site="same-origin")[0]
    assert response.getheader("Location") == "https://login.example/end?client_id=fedpet"
    assert services.access.user(_session(services, cookie)) is None


def test_over_tls_the_scheme_counts_as_well_as_the_name(services, enter):
    with _served(services, HTTPS) as port:
        host = HTTPS.origin.removeprefix("https://")
        cookie = enter("dr.tls")
        posts = {"method": "POST", "cookie": cookie, "Host": host}
        assert _request(port, ACTIVE, **posts, Origin=HTTPS.origin)[0].status == 204
        assert _request(port, ACTIVE, **posts, Origin=f"http://{host}")[0].status == 403
        assert _request(port, "/", Host=host, X_Forwarded_Proto="http")[0].status == 403
        assert _request(port, "/", Host=host, X_Forwarded_Proto="https")[0].status == 200
        assert _request(port, "/", Host="evil.example")[0].status == 400


def test_a_long_body_is_refused_by_its_length_and_cut_without(get, cookie):
    assert get("/media/x", cookie=cookie, method="PUT", body=b"x" * 65_536)[1] == b"65536"
    assert get("/media/x", cookie=cookie, method="PUT", body=b"x" * 65_537)[0].status == 413
    endless = (b"x" * 10_000 for _ in range(7))
    assert get("/media/x", cookie=cookie, method="PUT", body=endless)[0].status == 500
    assert get("/_stcore/upload_file/a/b", cookie=cookie, method="PUT", body=b"x" * 70_000)[1] == b"70000"


def test_what_streamlit_offers_to_machines_is_closed(get, cookie):
    for path in ("/_stcore/metrics", "/_stcore/agent/interact", "/_stcore/agent/mcp"):
        assert get(path, cookie=cookie)[0].status == 404


def test_signing_in_and_out_changes_the_session(get, services, cookie, case):
    new = _session(services, get("/oauth2callback", cookie=cookie)[0].headers.get_all("Set-Cookie")[-1].split("; ")[0])
    assert new not in {None, _session(services, cookie)}
    assert services.access.user(new) is None
    assert get("/auth/logout", cookie=cookie)[0].getheader("Set-Cookie") is not None
    assert get(f"{FILES}/{case.id}/pet.bin", cookie=cookie)[0].status == 401
    assert _newest(services, "user.signed_out").actor == "dr.a"


def test_an_identity_lasts_no_longer_than_a_session(get):
    identity = get("/oauth2callback")[0].headers.get_all("Set-Cookie")[0]
    assert re.search(r"Max-Age=(\d+)", identity)[1] == str(12 * 3600)


def test_over_https_every_cookie_is_secure_and_browsers_stay_there(services, get):
    with _served(services, HTTPS) as port:
        response, _ = _request(port, "/oauth2callback")
        cookies = response.headers.get_all("Set-Cookie")
        assert len(cookies) == 2
        assert all(cookie.endswith("; Secure") for cookie in cookies)
        assert response.getheader("Strict-Transport-Security").startswith("max-age=")
    assert get("/")[0].getheader("Strict-Transport-Security") is None
    assert "Secure" not in get("/")[0].getheader("Set-Cookie")


def test_no_foreign_origin_and_no_frame(get):
    headers = get("/")[0]
    policy = headers.getheader("Content-Security-Policy")
    assert "frame-ancestors 'none'" in policy
    assert not re.search(r"https?:|\*", policy)
    assert headers.getheader("X-Frame-Options") == "DENY"
    assert headers.getheader("Referrer-Policy") == "no-referrer"


def test_an_error_of_the_server_tells_nothing(services, cookie, case, monkeypatch):
    def fail(_):
        raise RuntimeError("DUPONT^MARKED in /srv/secret")

    with _served(services, HTTP) as port:
        monkeypatch.setattr(services.store, "get", fail)
        response, body = _request(port, f"{FILES}/{case.id}/pet.bin", cookie=cookie)
    assert (response.status, body) == (500, b"Internal Server Error")


def test_an_error_of_a_page_is_told_in_our_words():
    assert _tell_error(ValueError("DUPONT^MARKED")) is True  # Streamlit adds nothing of its own
    options = _options(Settings(), HTTP, 8501)
    assert (options["client.showErrorDetails"], options["server.enableXsrfProtection"]) == ("none", True)
    assert options["secrets.files"] == []


def test_uploads_wait_for_their_turn(services, enter, monkeypatch):
    """Six at a time (the setting); the seventh begins when one of them is done, or gives up."""
    name, _, value = enter("dr.uploads").partition("=")
    headers = [(b"cookie", f"{name}={value}".encode()), (b"host", b"127.0.0.1")]
    scope = {"type": "http", "method": "PUT", "path": "/_stcore/upload_file/a/b", "headers": headers}
    running, most, full, finish, statuses = 0, 0, asyncio.Event(), asyncio.Event(), []

    async def upload(_scope, _receive, send):
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == services.settings.max_uploads:
            full.set()
        await finish.wait()
        running -= 1
        await send({"type": "http.response.start", "status": 204, "headers": []})

    async def send(message):
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def run():
        guard = Guard(upload, services, HTTP)
        first = [asyncio.create_task(guard(scope, None, send)) for _ in range(8)]
        await full.wait()
        monkeypatch.setattr("app.server.request_guard._MAX_WAIT_S", 0.0)
        await guard(scope, None, send)
        finish.set()
        await asyncio.gather(*first)

    asyncio.run(run())
    assert (most, statuses) == (6, [503, *[204] * 8])


@pytest.mark.parametrize("signed_in", [True, False])
def test_the_web_socket_of_a_user_who_left_only_draws_the_page_anew(services, enter, signed_in):
    cookie = enter("dr.socket")
    session = _session(services, cookie)
    if not signed_in:
        services.access.sign_out(session)
    guard = Guard(None, services, HTTP)
    fragment, rows = BackMsg(), BackMsg()
    fragment.rerun_script.fragment_id, fragment.rerun_script.query_string = "f", "case=1"
    rows.backend_operation_request.SetInParent()
    passed = [BackMsg.FromString(guard._admit(asked.SerializeToString(), session)) for asked in (fragment, rows)]
    assert (passed[0].rerun_script.fragment_id, passed[0].rerun_script.query_string) == ("f" * signed_in, "case=1")
    assert passed[1].WhichOneof("type") == ("backend_operation_request" if signed_in else "app_heartbeat")


def test_what_runs_by_itself_is_no_sign_of_the_user(services, enter, clock):
    session = _session(services, enter("dr.away"))
    guard, automatic, click = Guard(None, services, HTTP), BackMsg(), BackMsg()
    automatic.rerun_script.is_auto_rerun = True
    click.rerun_script.SetInParent()
    for asked, stays in ((click, True), (automatic, True), (automatic, False)):
        clock[0] += 20 * 60
        guard._admit(asked.SerializeToString(), session)
        assert (services.access.user(session) is not None) is stays
