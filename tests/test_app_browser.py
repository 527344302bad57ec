"""The whole way in headless Chromium: images and record in, answer, viewer and report out."""

from __future__ import annotations

import csv
import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from cohort.simulate import simulate_cohort

pytestmark = pytest.mark.browser

_CHROMIUM = Path("/usr/bin/chromium")
_ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
_SECONDS = 1000.0  # milliseconds, the unit of Playwright


@pytest.fixture(scope="module")
def browser():
    if not _CHROMIUM.exists():
        message = "Chromium is missing: apt-get install chromium"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=_CHROMIUM, args=_ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A synthetic patient: the images as a zip, the record as a CSV with one row."""
    folder = tmp_path_factory.mktemp("cohort")
    simulate_cohort(patients=1, sites=1, seed=11, out=folder / "out", fidelity="coarse")
    table = next((folder / "out").glob("*/clinical.csv"))
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file, delimiter=";"))
    with (folder / "record.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=";").writerows(rows[:2])
    images = table.parent / "dicom" / rows[1][0]
    with zipfile.ZipFile(folder / "DUPONT_JEAN.zip", "w") as archive:
        for path in sorted(images.rglob("*.dcm")):
            archive.write(path, path.relative_to(images))
    return folder / "DUPONT_JEAN.zip", folder / "record.csv"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The command `fedpet app` on a free port, with a home of its own."""
    home = tmp_path_factory.mktemp("home")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "app.command", "app", "--port", str(port), "--no-browser"]
    environment = {**os.environ, "FEDPET_HOME": str(home), "OMP_NUM_THREADS": "1"}
    root = Path(__file__).resolve().parents[1]
    with subprocess.Popen(command, env=environment, cwd=root, stdout=subprocess.DEVNULL) as process:
        url = f"http://127.0.0.1:{port}"
        while process.poll() is None and not _healthy(url):
            pass
        yield url, home
        process.terminate()


def _healthy(url):
    try:
        with urllib.request.urlopen(f"{url}/_stcore/health", timeout=1) as response:  # noqa: S310  our own server
            return response.status == 200
    except (urllib.error.URLError, TimeoutError):
        return False


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    context.set_default_timeout(60 * _SECONDS)
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda message: errors.append(message.text) if "Content Security" in message.text else None)
    yield opened
    context.close()
    assert errors == []


def _give_the_case(page, study):
    """From the list of cases to a running computation."""
    images, record = study
    page.get_by_role("button", name="Nouveau dossier").click()
    page.locator("input[type=file]").set_input_files(images)
    expect(page.get_by_text("Examen reçu")).to_be_visible()
    page.get_by_text("Charger un fichier").click()
    page.get_by_test_id("stExpander").locator("input[type=file]").set_input_files(record)
    expect(page.get_by_text("Le formulaire a été rempli")).to_be_visible()
    age = page.get_by_label(re.compile("^Âge"))
    age.fill("67")
    age.press("Tab")
    page.get_by_label(re.compile("^Tabagisme")).click()
    page.get_by_role("option", name="fumeur sevré").click()
    page.get_by_role("button", name="Lancer l’analyse").click()
    expect(page.get_by_text("en cours", exact=True)).to_be_visible()


def _use_the_viewer(page):
    readout = page.locator(".readout")
    first = readout.inner_text()
    axial = page.locator(".panel.axial.fused canvas")
    axial.scroll_into_view_if_needed()
    box = axial.bounding_box()
    axial.click(position={"x": box["width"] * 0.4, "y": box["height"] * 0.55})
    expect(readout).not_to_have_text(first)
    second = readout.inner_text()
    axial.press("PageUp")
    expect(readout).not_to_have_text(second)
    assert re.search(r"TDM -?\d+ UH", readout.inner_text())
    assert re.search(r"SUV \d+,\d\d", readout.inner_text())
    page.locator(".lesions button").first.click()
    expect(readout).to_contain_text(re.compile(r"Lésion (\d|–)"))


def test_a_study_becomes_an_answer_and_a_report(page, study, server):
    url, home = server
    page.goto(url)
    _give_the_case(page, study)
    page.reload()  # the progress is in the database, not in the page
    expect(page.get_by_test_id("probability")).to_have_text(re.compile(r"^\d+\s%$"), timeout=600 * _SECONDS)
    expect(page.get_by_text("MODÈLE SYNTHÉTIQUE")).to_be_visible()
    expect(page.locator(".viewer")).to_have_attribute("data-ready", "yes")
    _use_the_viewer(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Compte rendu en français").click()
    assert Path(download.value.path()).read_bytes().startswith(b"%PDF")
    page.reload()
    expect(page.locator(".viewer")).to_have_attribute("data-ready", "yes")
    page.goto(url)
    expect(page.get_by_text("prêt", exact=True)).to_be_visible()
    page.get_by_role("button", name="Ouvrir").click()
    expect(page.locator(".viewer")).to_have_attribute("data-ready", "yes")
    page.get_by_role("radio", name="EN").click()
    expect(page.get_by_role("heading", name=re.compile("^Case P-"))).to_be_visible()
    assert page.evaluate("document.documentElement.lang") == "en"
    _check_what_is_kept(home)
    _check_the_guard(url, page.url)


def _check_what_is_kept(home):
    kept = [path.name for path in home.rglob("*")]
    assert "upload" not in kept
    assert not [name for name in kept if "DUPONT" in name]
    for path in (home / "cases.sqlite", *home.glob("cases/*/result.json")):
        assert b"DUPONT" not in path.read_bytes()


def _check_the_guard(url, case_url):
    """Another visitor, who has the address of the case but no cookie, gets nothing."""
    case = re.search(r"case=([0-9a-f-]{36})", case_url)[1]
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{url}/files/{case}/pet.bin")  # noqa: S310  our own server
