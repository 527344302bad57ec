"""Signing in by OpenID Connect, in headless Chromium against a local provider: two readers at once, and the others."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect

from app.cases.result_json import inspection_json
from app.cases.store import Store
from app.cases.tables import Status
from app.viewer.volumes import store_images
from fedpet.core.settings import Settings
from tests.support import ROOT as _ROOT
from tests.support import case_files
from tests.support.header_checks_only import HeaderChecksOnly

pytestmark = pytest.mark.browser

_VENV = _ROOT / ".cache" / "oidc-venv"  # its dependencies clash with those of Fed-BioMed
_INSTALL = (
    f"python3.11 -m venv {_VENV.relative_to(_ROOT)} && {_VENV.relative_to(_ROOT)}/bin/pip install oidc-provider-mock"
)
_PEOPLE = {"alpha": ["reader"], "beta": ["reader"], "chief": ["reader", "administrator"], "guest": ["surgeon"]}
_MARKS = ("DUPONT", "MARKED", "4711")


def _free_port():
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(process, url):
    while process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=1):  # noqa: S310  our own servers
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"the server of {url} ended")


@pytest.fixture(scope="module")
def provider():
    """The address of a provider that knows four people."""
    program = _VENV / "bin" / "oidc-provider-mock"
    if not program.exists():
        steps = ([sys.executable, "-m", "venv", _VENV], [_VENV / "bin" / "pip", "install", "-q", "oidc-provider-mock"])
        if any(subprocess.run(step, check=False, capture_output=True).returncode for step in steps):
            message = f"the provider of identities is missing: {_INSTALL}"
            pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    people = [{"sub": name, "preferred_username": f"dr.{name}", "roles": roles} for name, roles in _PEOPLE.items()]
    port = _free_port()
    claims = [word for one in people for word in ("--user-claims", json.dumps(one))]
    with subprocess.Popen([program, "-p", str(port), *claims], stderr=subprocess.DEVNULL) as process:
        url = f"http://127.0.0.1:{port}"
        _wait_for(process, f"{url}/.well-known/openid-configuration")
        yield url
        process.terminate()


@pytest.fixture(scope="module")
def server(provider, tmp_path_factory):
    """The command `fedpet app` with sign-in: its address, its home and its log.

    The provider is at another site (127.0.0.1, not localhost), so that coming back from it is a cross-site navigation.
    """
    folder, port = tmp_path_factory.mktemp("server"), _free_port()
    url = f"http://localhost:{port}"
    options = {
        "HOME": folder / "home", "SIGN_IN": "oidc", "PUBLIC_URL": url, "OIDC_ISSUER": provider, "PORT": port,
        "OIDC_CLIENT_ID": "fedpet", "OIDC_SECRET": "s3cret",
    }  # fmt: skip
    environment = os.environ | {f"FEDPET_{name}": str(value) for name, value in options.items()}
    environment |= {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "app.cli.main", "app", "--no-browser"]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, env=environment, cwd=_ROOT, stdout=log, stderr=log) as process,
    ):
        _wait_for(process, f"{url}/_stcore/health")
        yield url, folder / "home", folder / "log"
        process.terminate()


@pytest.fixture(scope="module")
def enter(browser, server):
    """Sign someone in, in a browser of their own; returns the page."""

    def sign_in(name):
        context = browser.new_context(viewport={"width": 1280, "height": 800}, locale="fr-FR")
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.goto(server[0])
        page.get_by_role("button", name="Se connecter").click()
        page.get_by_role("button", name=name, exact=True).click()
        expect(page.get_by_text(f"dr.{name} (")).to_be_visible()
        return page

    return sign_in


@pytest.fixture(scope="module")
def readers(enter):
    return enter("alpha"), enter("beta")


@pytest.fixture(scope="module")
def study(dicom, tmp_path_factory):
    """A small study in a zip: every name in it is marked."""
    frame = {"spacing": (4.0, 4.0, 4.0), "origin": (-48.0, -48.0, 0.0)}
    marks = {"PatientName": "DUPONT^MARKED", "PatientID": "MARKED-4711"}
    suv = np.ones((12, 24, 24))
    slices = [*dicom.pet(suv, **frame, **marks), *dicom.ct(np.zeros(suv.shape, int), **frame, **marks)]
    folder = tmp_path_factory.mktemp("study")
    dicom.save(slices, folder / "images")
    with zipfile.ZipFile(folder / "DUPONT_MARKED.zip", "w") as archive:
        for path in (folder / "images").iterdir():
            archive.write(path, f"DUPONT^MARKED/{path.name}")
    return folder / "DUPONT_MARKED.zip"


@pytest.fixture(scope="module")
def cases(readers, server, study, tmp_path_factory):
    """The cases that the two readers made at the same time: a study, and a file that is none."""
    other = tmp_path_factory.mktemp("other") / "MARKED-4711.zip"
    other.write_bytes(b"no archive")
    for page, file in zip(readers, (study, other), strict=True):
        page.goto(f"{server[0]}/new")
        page.locator("input[type=file]").set_input_files(file)
    for page in readers:
        page.wait_for_url(re.compile("/case"))
    return [re.search(r"case=([0-9a-f-]{36})", page.url)[1] for page in readers]


def _status(page, path):
    return page.evaluate("async (path) => (await fetch(path)).status", path)


def test_the_way_to_sign_in_has_no_axe_violation(browser, server, seen):
    page = browser.new_page(locale="fr-FR")
    page.goto(server[0])
    expect(page.get_by_role("button", name="Se connecter")).to_be_visible()
    seen(page, "sign_in")
    page.close()


def test_two_readers_at_once_each_see_their_own_case_only(readers, cases, server):
    url = server[0]
    expect(readers[0].get_by_role("heading", name="Données cliniques", exact=True)).to_be_visible()
    for page, own, other in ((readers[0], *cases), (readers[1], *cases[::-1])):
        page.goto(url)
        expect(page.get_by_test_id("stBaseButton-secondary").filter(has_text="Ouvrir")).to_have_count(1)
        page.goto(f"{url}/case?case={other}")
        expect(page.get_by_text("Ce dossier n’existe pas.")).to_be_visible()
        page.goto(f"{url}/case?case={own}")
        expect(page.get_by_role("heading", name=re.compile("^Dossier"))).to_be_visible()
        assert page.get_by_text("Ce dossier n’existe pas.").count() == 0
    store = Store.open(Settings(home=server[1]))
    while store.get(cases[0]).status is Status.CHECKING:
        time.sleep(0.1)
    assert [store.get(case).owner for case in cases] == ["dr.alpha", "dr.beta"]
    assert store.get(cases[0]).status is Status.CHECKED
    store.close()
    assert [_status(page, f"/files/{cases[0]}/pet.bin") for page in readers] == [200, 404]
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{url}/files/{cases[0]}/pet.bin")  # noqa: S310  our own server


@pytest.fixture
def broken(server):
    """A case of the first reader whose answer makes every page fail that shows it."""
    store = Store.open(Settings(home=server[1]))
    case = store.create("fr", owner="dr.alpha")
    store.start_check(case.id)
    store.confirm_record(case.id)
    store.finish_check(
        case.id,
        pseudonym="P-1",
        study_date="2026-01-02",
        inspection=inspection_json(HeaderChecksOnly(case_files.make_study())),
    )
    result = case_files.make_json(case_files.make_case(store.folder(case.id)))
    result["prediction"]["quantities"]["lesions"][0]["region"] = "nowhere"
    store_images(case_files.make_study(), store.folder(case.id))
    store.finish_computation(case.id, result=result)
    yield case
    store.delete(case.id)
    store.close()


def test_an_unexpected_error_shows_our_words_and_no_traceback(readers, server, broken):
    page = readers[0]
    page.goto(f"{server[0]}/case?case={broken.id}")
    expect(page.get_by_text("Une erreur inattendue")).to_be_visible()
    assert not re.search(r"Traceback|KeyError|\.py", page.inner_text("body"))


def test_an_administrator_sees_everyone_and_a_visitor_no_case(enter, cases, server):
    url = server[0]
    chief = enter("chief")
    expect(chief.get_by_test_id("stBaseButton-secondary").filter(has_text="Ouvrir")).to_have_count(2)
    assert _status(chief, f"/files/{cases[0]}/pet.bin") == 200
    chief.goto(f"{url}/administration")
    for name in ("dr.alpha", "dr.beta", "dr.chief"):
        expect(chief.get_by_role("cell", name=name)).to_be_visible()
    chief.get_by_role("radio", name="Journal d’audit").click()
    chief.get_by_role("button", name="Vérifier la chaîne").click()
    expect(chief.get_by_text("La chaîne est intacte")).to_be_visible()
    with chief.expect_download() as download:
        chief.get_by_role("link", name="Exporter").click()
    actions = [json.loads(line)["action"] for line in Path(download.value.path()).read_text().splitlines()]
    assert {"user.signed_in", "images.received", "access.refused"} <= set(actions)
    guest = enter("guest")
    expect(guest.get_by_role("heading", name="Fiche du modèle")).to_be_visible()
    assert guest.get_by_role("link", name="Dossiers").count() == 0
    guest.goto(f"{url}/case?case={cases[0]}")
    expect(guest.get_by_role("heading", name="Fiche du modèle")).to_be_visible()
    assert [_status(guest, f"/files/{cases[0]}/pet.bin"), _status(guest, "/files/administration/audit.jsonl")] == [
        403
    ] * 2
    for page in (chief, guest):
        page.context.close()


def test_signing_out_ends_every_page_of_the_browser_at_once(readers, cases, server):
    page = readers[0]
    other = page.context.new_page()
    other.clock.install()
    other.goto(f"{server[0]}/case?case={cases[0]}")
    expect(other.get_by_role("heading", name="Données cliniques", exact=True)).to_be_visible()
    page.goto(server[0])
    page.get_by_role("button", name="Se déconnecter").click()
    page.wait_for_url(re.compile("end_session"))
    assert _status(other, f"/files/{cases[0]}/pet.bin") == 401
    other.clock.fast_forward(31_000)  # the page asks twice a minute whether its user is still there
    expect(other.get_by_role("heading", name="Se connecter")).to_be_visible()
    expect(readers[1].get_by_text("dr.beta (")).to_be_visible()


def test_neither_log_nor_home_names_the_patient(cases, server):
    _, home, log = server
    kept = [path for path in home.rglob("*") if path.is_file() and "source" not in path.relative_to(home).parts]
    assert any(path.name == "pet.bin" for path in kept)
    label = home / "cases" / cases[1] / "upload_label"  # of a study that is none: by it alone its owner knows it
    kept.remove(label)
    assert label.stat().st_mode & 0o777 == 0o600
    named = [str(path) for path in (log, *kept) if any(mark.encode() in path.read_bytes() for mark in _MARKS)]
    assert named == []
    assert [path.name for path in (home / "cases" / cases[0] / "source").iterdir()] == ["000000"]
    assert "s3cret" not in log.read_text()
