"""Who uses the application, what they may see, for how long; what is erased, and that nothing identifying is left."""

from __future__ import annotations

import json
import logging
import os
import time
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text
from streamlit.runtime.context import ContextProxy
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

import app
from app.access.accounts import Accounts
from app.access.sessions import LOCAL, Role, SessionService, User, user_of
from app.audit.trail import AuditTrail
from app.cases.erasure import erase_patient, purge
from app.cases.remains import QUARANTINE
from app.cases.store import Search, Store
from app.cases.tables import BUSY, Case, Decision, Status
from app.cli.main import main
from app.server.deployment import SECRET, Deployment
from app.services import open_services, pages_use
from fedpet.core.errors import SettingsError, SignInError
from fedpet.core.pseudonyms import pseudonym
from fedpet.core.settings import Settings

MARKED_NAME, MARKED_ID = "DUPONT^MARKED", "MARKED-4711"


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path / "home", sign_in="oidc", idle_minutes=30, session_hours=12, retention_days=30)


@pytest.fixture
def store(settings):
    opened = Store.open(settings)
    yield opened
    opened.close()


@pytest.fixture
def audit(store, settings):
    return AuditTrail(store.engine, settings.folder)


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
def access(settings, store, audit, clock):
    return SessionService(
        b"k" * 32, settings=settings, audit=audit, accounts=Accounts(store.engine), clock=lambda: clock[0]
    )


def _claims(name="dr.a", roles=("reader",), **others):
    claims = {"iss": "https://provider", "sub": name, "iat": time.time(), "nonce": "n1", "preferred_username": name}
    return claims | {"roles": list(roles)} | others


def _actions(audit, action):
    return [entry for entry in audit.entries() if entry.action == action]


@pytest.mark.parametrize(
    ("held", "role"),
    [
        (["reader"], Role.READER),
        (["visitor", "administrator", "reader"], Role.ADMINISTRATOR),
        ("reader", Role.READER),
        (["Reader", "surgeon"], Role.VISITOR),
        ([], Role.VISITOR),
        (None, Role.VISITOR),
        ({"reader": True}, Role.VISITOR),
    ],
)
def test_the_highest_known_role_counts_and_without_one_a_user_is_a_visitor(settings, held, role):
    assert user_of(_claims() | {"roles": held}, settings) == User("dr.a", role)


def test_roles_may_lie_in_an_object_and_names_in_another_claim(settings):
    elsewhere = settings.model_copy(update={"oidc_roles_claim": "realm_access.roles", "oidc_name_claim": "upn"})
    claims = _claims() | {"realm_access": {"roles": ["administrator"]}, "upn": " a@hospital.example "}
    assert user_of(claims, elsewhere) == User("a@hospital.example", Role.ADMINISTRATOR)
    assert user_of(claims | {"realm_access": "administrator"}, elsewhere).role is Role.VISITOR


@pytest.mark.parametrize("name", [None, "", "  ", "x" * 129, 7, "fedpet", "local", "anonymous"])
def test_a_user_without_a_name_of_their_own_is_refused(settings, name):
    with pytest.raises(SignInError, match="preferred_username"):
        user_of(_claims() | {"preferred_username": name}, settings)


@pytest.mark.parametrize(
    ("user", "owner", "sees"),
    [
        (User("a", Role.READER), "a", True),
        (User("a", Role.READER), "", True),
        (User("a", Role.READER), "b", False),
        (User("a", Role.VISITOR), "a", False),
        (User("a", Role.VISITOR), "", False),
        (User("a", Role.ADMINISTRATOR), "b", True),
        (LOCAL, "b", True),
    ],
)
def test_who_sees_which_case(user, owner, sees):
    assert user.sees(Case(owner=owner)) is sees


def test_the_list_holds_what_its_user_may_see(store):
    cases = {owner: store.create("fr", owner=owner).id for owner in ("a", "b", "")}
    reader, chief = User("a", Role.READER), User("c", Role.ADMINISTRATOR)
    assert {case.id for case in store.find(Search(only=reader.only), limit=9)} == {cases["a"], cases[""]}
    assert {case.id for case in store.find(Search(only=chief.only), limit=9)} == set(cases.values())
    assert store.find(Search(owner="b", only=reader.only), limit=9) == []


def test_a_sign_in_binds_the_session_and_leaves_one_line(access, audit):
    assert access.user("s1") is None
    claims = _claims()
    assert access.sign_in("s1", claims) == User("dr.a", Role.READER)
    assert access.sign_in("s2", claims) == access.user("s1")  # another page of the same browser
    assert [(entry.actor, entry.detail) for entry in _actions(audit, "user.signed_in")] == [
        ("dr.a", {"role": "reader"})
    ]


def test_a_user_without_activity_is_signed_out(access, clock):
    access.sign_in("s", _claims())
    clock[0] = 29 * 60
    access.touch("s")
    clock[0] = 58 * 60
    assert access.user("s") is not None
    clock[0] = 59 * 60
    assert access.user("s") is None
    access.touch("s")
    assert access.user("s") is None


def test_even_an_active_user_is_signed_out_after_the_longest_time(access, clock):
    access.sign_in("s", _claims())
    for minutes in range(20, 12 * 60, 20):
        clock[0] = minutes * 60
        access.touch("s")
        assert access.user("s") is not None
    clock[0] = 12 * 3600
    assert access.user("s") is None


def test_the_longest_time_counts_from_the_sign_in_at_the_provider(access, clock):
    access.sign_in("s", _claims(iat=time.time() - 11.9 * 3600))
    assert access.user("s") is not None
    clock[0] = 0.2 * 3600
    assert access.user("s") is None
    assert access.sign_in("s", _claims(nonce="n2", iat=time.time() - 12.1 * 3600)) is None


def test_signing_out_ends_every_page_and_the_identity_cannot_be_used_again(access, audit):
    claims = _claims()
    access.sign_in("s1", claims)
    access.sign_in("s2", claims)
    access.sign_out("s1")
    access.sign_out("s1")
    assert (access.user("s1"), access.user("s2")) == (None, None)
    assert access.sign_in("thief", claims) is None
    assert access.sign_in("s1", _claims(nonce="n2")) is not None  # signs in again
    assert [entry.actor for entry in _actions(audit, "user.signed_out")] == ["dr.a"]


def test_an_identity_that_timed_out_cannot_be_used_again(access, clock):
    claims = _claims()
    access.sign_in("s", claims)
    clock[0] = 31 * 60
    assert access.user("s") is None
    assert access.sign_in("s", claims) is None


def test_a_restart_signs_everyone_out_but_keeps_the_sessions_of_browsers(settings, audit, store):
    first = SessionService.open(settings, audit, Accounts(store.engine))
    cookies = {first.cookie: first.new_cookie()}
    first.sign_in(first.session(cookies), _claims())
    second = SessionService.open(settings, audit, Accounts(store.engine))
    assert second.session(cookies) == first.session(cookies)
    assert second.user(second.session(cookies)) is None
    assert (settings.folder / "session.key").stat().st_mode & 0o077 == 0


def test_a_cookie_signed_with_another_key_is_no_session(access, settings, audit, store):
    other = SessionService(b"another key", settings=settings, audit=audit, accounts=Accounts(store.engine))
    assert access.session({access.cookie: other.new_cookie()}) is None
    assert access.session({access.cookie: access.new_cookie()}) is not None


def test_a_name_stays_with_the_account_that_had_it_first(access, store):
    access.sign_in("s1", _claims(sub="account-1"))
    with pytest.raises(SignInError, match="another account"):
        access.sign_in("s2", _claims(sub="account-2"))
    assert access.user("s2") is None
    assert Accounts(store.engine).release("dr.a")
    assert access.sign_in("s2", _claims(sub="account-2")) is not None


def test_refused_accesses_leave_one_line_a_minute_with_their_number(access, audit, clock):
    access.sign_in("s", _claims())
    for _ in range(5):
        access.refuse("s", "case", case="c1")
    access.refuse(None, "server")
    clock[0] = 61
    access.refuse("s", "case", case="c2")
    lines = [(entry.actor, entry.case, entry.detail["times"]) for entry in _actions(audit, "access.refused")]
    assert lines == [("dr.a", "c2", 5), ("anonymous", "", 1), ("dr.a", "c1", 1)]


def test_the_local_mode_knows_one_user_and_no_time_out(tmp_path, audit, store, clock):
    local = SessionService(
        b"k", settings=Settings(home=tmp_path), audit=audit, accounts=Accounts(store.engine), clock=lambda: clock[0]
    )
    clock[0] = 1e9
    assert local.user("any") == LOCAL
    assert local.user(None) is None
    local.sign_out("any")
    assert local.user("any") == LOCAL


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "::", "pet.hospital.example"])  # noqa: S104  refused
def test_without_sign_in_nothing_listens_beyond_this_machine(host):
    with pytest.raises(SettingsError, match="Without sign-in"):
        Deployment.of(Settings(host=host))
    assert Deployment.of(Settings(host="127.0.0.2")).auth is None


def _hospital(**changes):
    given = {
        "sign_in": "oidc", "host": "0.0.0.0", "public_url": "https://pet.hospital.example/",  # noqa: S104  behind a proxy
        "oidc_issuer": "https://login.hospital.example/realm", "oidc_client_id": "fedpet", "allowed_hosts": ("pet",),
    }  # fmt: skip
    return Settings(**(given | changes))


def test_a_hospital_signs_in_at_its_provider(monkeypatch):
    monkeypatch.setenv(SECRET, "s3cret")
    place = Deployment.of(_hospital())
    assert SECRET not in os.environ  # the processes that compute do not inherit it
    assert (place.hosts, place.origin, place.secure) == (
        ("127.0.0.1", "localhost", "pet.hospital.example", "pet"), "https://pet.hospital.example", True,
    )  # fmt: skip
    assert place.auth["redirect_uri"] == "https://pet.hospital.example/oauth2callback"
    assert place.auth["server_metadata_url"] == "https://login.hospital.example/realm/.well-known/openid-configuration"
    assert "s3cret" in place.auth.values()
    monkeypatch.setenv(SECRET, "s3cret")
    assert Deployment.of(_hospital()).auth["cookie_secret"] != place.auth["cookie_secret"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"public_url": ""}, "public_url"),
        ({"public_url": "http://pet.hospital.example"}, "public_url"),
        ({"public_url": "https://pet.hospital.example/fedpet"}, "public_url"),
        ({"oidc_issuer": "http://login.hospital.example"}, "oidc_issuer"),
        ({"oidc_issuer": "https://user:pw@login.hospital.example"}, "oidc_issuer"),
        ({"oidc_client_id": ""}, "oidc_client_id"),
        ({"oidc_secret_file": Path("/nowhere")}, "oidc_secret_file"),
    ],
)
def test_an_unsafe_deployment_is_refused_by_the_name_of_its_setting(changes, named, monkeypatch):
    monkeypatch.setenv(SECRET, "s3cret")
    with pytest.raises(SettingsError, match=named):
        Deployment.of(_hospital(**changes))


def test_the_secret_comes_from_a_private_file_or_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv(SECRET, raising=False)
    with pytest.raises(SettingsError, match=SECRET):
        Deployment.of(_hospital())
    file = tmp_path / "secret"
    file.write_text("from-file\n")
    file.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        Deployment.of(_hospital(oidc_secret_file=file))
    file.chmod(0o600)
    assert "from-file" in Deployment.of(_hospital(oidc_secret_file=file)).auth.values()


# pages


@pytest.fixture
def page(settings, monkeypatch):
    """A page of the application with sign-in, and its services; AppTest has no cookies to give."""
    opened = open_services(settings)
    monkeypatch.setattr(ContextProxy, "cookies", {opened.access.cookie: opened.access.new_cookie()})
    made = AppTest.from_file(str(Path(app.__path__[0]) / "main.py"), default_timeout=60)
    made.user = {"is_logged_in": False}
    with pages_use(opened):
        yield made, opened
    opened.store.close()


def _as(page, **claims):
    page.user = {"is_logged_in": True, **_claims(**claims)}
    return page.run()


def _pages(page):
    return {known.get("url_pathname") for known in page._registered_pages.values()}


def _go(page, name, **query):
    page._page_hash = next(key for key, known in page._registered_pages.items() if known.get("url_pathname") == name)
    for key, value in query.items():
        page.query_params[key] = value
    page.run()
    assert not page.exception
    return page


def _press(page, label):
    next(button for button in page.button if button.label == label).click().run()


def _html(page):
    return "".join(element.proto.body for element in page.html)


def test_without_a_user_a_page_shows_the_sign_in_and_nothing_else(page):
    drawn, services = page
    services.store.create("fr", owner="dr.a")
    drawn.run()
    assert [title.value for title in drawn.title] == ["Se connecter"]
    assert [button.label for button in drawn.button] == ["Se connecter"]


@pytest.mark.parametrize(
    ("role", "pages"),
    [
        ("visitor", {"", "federation"}),
        ("reader", {"", "new", "case", "comparison", "model", "federation"}),
        ("administrator", {"", "new", "case", "comparison", "model", "federation", "administration"}),
    ],
)
def test_each_role_has_its_pages(page, role, pages):
    drawn, _ = page
    shown = _pages(_as(drawn, roles=[role]))
    assert shown == pages
    assert drawn.title[0].value == ("Fiche du modèle" if role == "visitor" else "Dossiers")


def test_the_local_mode_says_so_on_every_page(tmp_path, monkeypatch):
    local = open_services(Settings(home=tmp_path / "local"))
    monkeypatch.setattr(ContextProxy, "cookies", {local.access.cookie: local.access.new_cookie()})
    with pages_use(local):
        drawn = AppTest.from_file(str(Path(app.__path__[0]) / "main.py"), default_timeout=60).run()
        for name in ("", "new", "case", "comparison", "model", "federation", "administration"):
            assert "Mode local mono-utilisateur" in _html(_go(drawn, name))
    local.store.close()


def test_another_users_case_is_no_case(page):
    drawn, services = page
    mine, others = (services.store.create("fr", owner=owner).id for owner in ("dr.a", "dr.b"))
    _as(drawn)
    assert [button.key for button in drawn.button if str(button.key).startswith("open_")] == [f"open_{mine}"]
    assert _go(drawn, "case", case=others).info[0].value == "Ce dossier n’existe pas."
    assert drawn.title[0].value == "Dossier"
    assert services.workflow.audit.entries(case=others)[0].action == "access.refused"
    assert not _go(drawn, "case", case=mine).info or "n’existe pas" not in drawn.info[0].value


def test_a_page_whose_user_timed_out_asks_to_sign_in(page):
    drawn, services = page
    services.store.create("fr", owner="dr.a")
    _as(drawn)
    for sign_in in services.access._sign_ins.values():
        sign_in.active -= 31 * 60
    drawn.run()
    assert drawn.title[0].value == "Se connecter"
    assert "30 minutes" in drawn.info[0].value


def test_the_user_signs_out_by_the_button(page):
    drawn, services = page
    _as(drawn)
    drawn.button(key="sign_out").click().run()
    assert services.access.user(services.access.session(ContextProxy.cookies)) is None
    assert services.workflow.audit.entries()[0].action == "user.signed_out"


def test_an_account_without_a_usable_name_is_told_so(page):
    drawn, _ = page
    assert "preferred_username" in _as(drawn, name="fedpet").error[0].value
    assert drawn.title[0].value == "Se connecter"


def _checked_case(services, name):
    case = services.store.create("fr", owner="dr.b")
    services.store.start_check(case.id)
    return services.store.finish_check(case.id, pseudonym=name, study_date="2026-01-02", inspection={"refused": None})


def test_the_administration_shows_users_trail_and_erases_a_patient_with_proof(page):
    drawn, services = page
    known = pseudonym(MARKED_ID, services.settings.pseudonym_key())
    case = _checked_case(services, known)
    _go(_as(drawn, name="chief", roles=["administrator"]), "administration")
    assert "<td>chief</td>" in _html(drawn)
    parts = drawn.segmented_control[-1]
    parts.select("Journal d’audit").run()
    _press(drawn, "Vérifier la chaîne")
    assert "intacte" in drawn.success[0].value
    assert "user.signed_in" in _html(drawn)
    drawn.segmented_control[-1].select("Effacement d’un patient").run()
    drawn.text_input[0].input(MARKED_ID)
    _press(drawn, "Afficher les dossiers du patient")
    assert f"<td>{case.id[:8]}</td>" in _html(drawn)
    drawn.text_input[1].input("demande du patient")
    _press(drawn, "Effacer les dossiers du patient")
    assert "confirmez" in drawn.error[0].value
    assert services.store.get(case.id) is not None
    drawn.checkbox[0].check()
    late = _checked_case(services, known)  # received since the list was shown
    _press(drawn, "Effacer les dossiers du patient")
    assert "Rien n’a été décidé" in drawn.error[0].value
    assert services.store.get(case.id) is not None
    services.store.delete(late.id)
    drawn.run()
    _press(drawn, "Effacer les dossiers du patient")
    assert "1" in drawn.success[0].value
    assert services.store.get(case.id) is None
    (proof,) = services.proofs.iterdir()
    assert proof.name in _html(drawn)
    two = (f"{known}-aaaaaaaa", f"{known}-bbbbbbbb")  # two persons under one identifier
    persons = {name: _checked_case(services, name) for name in two}
    _press(drawn, "Afficher les dossiers du patient")
    assert all(name in drawn.error[0].value for name in persons)
    drawn.text_input[0].input(f"{known}-bbbbbbbb")
    _press(drawn, "Afficher les dossiers du patient")
    drawn.text_input[1].input("demande du patient")
    drawn.checkbox[0].check()
    _press(drawn, "Effacer les dossiers du patient")
    assert [services.store.get(case.id) is None for case in persons.values()] == [False, True]


# erasure


def _old(services, days, status=Status.RECEIVED):
    case = services.store.create("fr", owner="dr.a")
    (services.store.folder(case.id) / "pet.bin").write_bytes(b"12345")
    moment = datetime.now(UTC) - timedelta(days=days)
    with services.store.engine.begin() as connection:
        values = {"made": moment.replace(tzinfo=None).isoformat(" "), "id": case.id, "status": status.value}
        connection.execute(text("UPDATE cases SET created = :made, status = :status WHERE id = :id"), values)
    return case


@pytest.fixture
def services(settings):
    opened = open_services(settings)
    yield opened
    opened.jobs.stop()
    opened.store.close()


def test_what_is_too_old_is_erased_and_proven(services):
    old, busy, young = _old(services, 31), _old(services, 31, Status.RUNNING), _old(services, 29)
    path = purge(services.workflow, 30, services.proofs, actor="chief")
    proof = json.loads(path.read_text())
    assert (proof["cases"], proof["files"], proof["bytes"]) == (1, 1, 5)
    assert proof["left_because_busy"] == [busy.id]
    assert services.store.get(old.id) is None
    assert services.store.get(young.id) is not None
    entries = {entry.number: entry for entry in services.workflow.audit.entries()}
    (erased,) = proof["erased"]
    entry = entries[erased["audit_entry"]]
    assert (entry.action, entry.case, entry.digest) == ("case.erased", old.id, erased["audit_digest"])
    assert entry.detail["sha256"] == erased["sha256"]
    assert services.workflow.audit.entries()[0].detail["proof"] == path.name
    assert path.parent.stat().st_mode & 0o077 == 0


def test_the_administration_says_what_is_too_old_also_in_quarantine(page):
    drawn, services = page
    for days in (31, 29):
        _old(services, days)
    waiting = services.settings.folder / QUARANTINE / "study-content" / "images" / "000000"
    waiting.parent.mkdir(parents=True)
    waiting.write_bytes(b"image")
    os.utime(waiting, (0, 0))
    _go(_as(drawn, name="chief", roles=["administrator"]), "administration")
    drawn.segmented_control[-1].select("Conservation").run()
    said = " ".join(one.value for one in drawn.markdown)
    assert "plus anciens : 1" in said.replace("\u202f", " ").replace("\xa0", " ")
    assert "en quarantaine sans nouvel ajout depuis aussi longtemps : 1." in said.replace("\u202f", " ").replace(
        "\xa0", " "
    )
    assert "Effacer ce qui est trop ancien" in [button.label for button in drawn.button]


def test_a_retention_of_zero_keeps_everything(services):
    _old(services, 10_000)
    assert purge(services.workflow, 0, services.proofs, actor="chief") is None
    assert services.store.count(Search()) == 1


def test_the_proof_of_a_patients_erasure_names_nobody(services, settings):
    known = "P-0123456789ab"
    cases = [_old(services, 1) for _ in range(2)]
    other = _old(services, 1)
    with services.store.engine.begin() as connection:
        for case in cases:
            connection.execute(text("UPDATE cases SET pseudonym = :p WHERE id = :id"), {"p": known, "id": case.id})
    path = erase_patient(services.workflow, known, services.proofs, actor="chief", reason="asked")
    assert json.loads(path.read_text())["cases"] == 2
    assert services.store.get(other.id) is not None
    assert erase_patient(services.workflow, known, services.proofs, actor="chief", reason="asked") is None
    with services.store.engine.connect() as connection:
        connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    left = [file for file in settings.folder.rglob("*") if file.is_file() and known.encode() in file.read_bytes()]
    assert left == []  # nor in the pages that the database freed


def test_the_commands_purge_erase_and_list(services, settings, monkeypatch):
    for name, value in (("HOME", settings.folder), ("SIGN_IN", "oidc"), ("RETENTION_DAYS", "30")):
        monkeypatch.setenv(f"FEDPET_{name}", str(value))
    _old(services, 31)
    services.accounts.record_sign_in("dr.a", subject="s", role="reader")

    def run(*words):
        done = CliRunner().invoke(main, list(words))
        return done.exit_code, json.loads(done.stdout) if done.stdout else None

    assert run("cases", "purge", "--dry-run", "--json") == (0, {"cases": 1, "waiting_studies": 0})
    assert run("cases", "purge", "--json")[1]["what"] == "retention"
    assert run("cases", "purge", "--json") == (0, {"cases": 0})
    assert run("cases", "erase", "P-1", "--json") == (2, {"cases": 0})
    assert [user["name"] for user in run("users", "list")[1]["users"]] == ["dr.a"]
    assert (run("users", "release", "dr.a")[0], run("users", "release", "dr.a")[0]) == (0, 2)
    assert services.workflow.audit.entries()[0].action == "user.released"


# identity


def _marked_study(dicom, folder, target):
    """A small PET/CT whose every place for an identity is marked."""
    suv = np.ones((12, 24, 24))
    suv[5:8, 8:12, 8:12] = 9.0
    frame = {"spacing": (4.0, 4.0, 4.0), "origin": (-48.0, -48.0, 0.0)}
    marks = {
        "PatientName": MARKED_NAME, "PatientID": MARKED_ID, "PatientBirthDate": "19470812",
        "PatientAddress": f"Rue {MARKED_NAME}", "OtherPatientIDs": MARKED_ID, "PatientComments": MARKED_NAME,
        "AccessionNumber": MARKED_ID,
    }  # fmt: skip
    slices = [*dicom.pet(suv, **frame, **marks), *dicom.ct(np.zeros(suv.shape, int), **frame, **marks)]
    dicom.save(slices, folder / "images")
    target.mkdir(parents=True)
    with zipfile.ZipFile(target / "000000", "w") as archive:
        for number, path in enumerate((folder / "images").iterdir()):
            archive.write(path, f"{MARKED_NAME}/{MARKED_ID}_{number}.dcm")


def _wait(services, case, status):
    while (found := services.store.get(case.id)).status in BUSY | {Status.CHECKED}:
        time.sleep(0.05)
    assert found.status is status, found.sentence


def test_after_a_full_run_nothing_but_dicom_names_the_patient(services, dicom, tmp_path, capfd, caplog):
    """Logs at their most talkative, database, results, reports, trail; images and objects for a PACS have headers."""
    caplog.set_level(logging.DEBUG)
    workflow = services.workflow
    case = workflow.create("fr", actor="dr.a", record={"age": 76.0})
    _marked_study(dicom, tmp_path, services.store.source(case.id))
    workflow.receive_images(case.id, files=1, size=1, actor="dr.a")
    workflow.confirm_record(case.id, actor="dr.a")
    _wait(services, case, Status.READY)
    workflow.mark_read(services.store.get(case.id), actor="dr.a")
    workflow.sign(case.id, Decision.ACCEPT, "", actor="dr.a")
    _wait(services, case, Status.SIGNED)
    services.jobs.stop()
    folder = services.store.folder(case.id)
    named = (folder / "source", folder / "versions" / "1" / "dicom")  # as received, and as a PACS wants its objects
    files = [path for path in services.settings.folder.rglob("*") if path.is_file()]
    kept = [path for path in files if not any(path.is_relative_to(one) for one in named)]
    assert len(kept) > 15
    written = capfd.readouterr()  # also by the processes that computed
    loc = {"log": (caplog.text + written.out + written.err).encode()} | {path: path.read_bytes() for path in kept}
    marks = [mark.encode() for mark in ("DUPONT", "MARKED", "19470812", "1947-08-12")]
    assert [(name, mark) for name, content in loc.items() for mark in marks if mark in content] == []
    assert workflow.audit.verify().broken is None
