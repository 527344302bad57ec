"""The whole way in headless Chromium by the keyboard alone: images and record in, answer, viewer, verdict and report.

And every page as its user sees it: no violation of axe and nothing cut off at 1280 and 768 pixels.
"""

from __future__ import annotations

import csv
import re
import signal
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import expect

from app.cases.tables import Status
from app.exchange.cases import connect
from app.pacs.transfer import send_files
from fedpet.core.settings import Settings
from training.simulation.cohort import simulate_cohort

pytestmark = pytest.mark.browser

_SECONDS = 1000.0  # milliseconds, the unit of Playwright
_MAIN = "document.querySelector('[data-testid=stMain]')"
_PANEL = "document.querySelector('.st-key-workspace_side')"
_MOST_STEPS = 150  # of the Tab key on one page
_FOCUSED = """(wanted) => {
    let one = document.activeElement
    while (one?.shadowRoot?.activeElement) one = one.shadowRoot.activeElement
    return one === wanted
}"""
_OUTLINED = """async (one) => {
    const still = document.createElement('style')
    still.textContent = '* { transition: none !important }'
    document.head.append(still)
    const parts = [one.nextElementSibling]
    for (let part = one; part && parts.length < 6; part = part.parentElement) parts.push(part)
    const shown = () => parts.filter(Boolean).map((part) => {
        const { outlineStyle, outlineWidth, boxShadow, borderColor, backgroundColor } = getComputedStyle(part)
        return [outlineStyle !== 'none' && parseFloat(outlineWidth) > 0, boxShadow, borderColor, backgroundColor]
    }).join()
    const focused = shown()
    one.blur()
    await new Promise((done) => setTimeout(done, 40)) // React draws later
    const left = shown()
    one.focus({ focusVisible: true })
    still.remove()
    return focused !== left
}"""


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


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1280, "height": 800}, locale="fr-FR", accept_downloads=True)
    context.set_default_timeout(60 * _SECONDS)
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda message: errors.append(message.text) if "Content Security" in message.text else None)
    yield opened
    context.close()
    assert errors == []


def _reach(page, wanted):
    """Go to something by the Tab key alone; where the focus is, can be seen."""
    expect(wanted).to_be_visible()
    for _ in range(_MOST_STEPS):
        page.keyboard.press("Tab")
        if wanted.evaluate(_FOCUSED):
            assert wanted.evaluate(_OUTLINED)
            return
    pytest.fail(f"the keyboard does not reach {wanted}")


def _press(page, wanted, key="Enter"):
    _reach(page, wanted)
    page.keyboard.press(key)


def _give(page, label, file):
    """Choose a file: the button opens the browser's own dialogue."""
    with page.expect_file_chooser() as chooser:
        _press(page, page.get_by_role("group", name=re.compile(f"^{label}")).locator("button"))
    chooser.value.set_files(file)


def _give_the_case(page, study, seen):
    """From the list of cases to a running computation."""
    images, record = study
    _press(page, page.get_by_role("button", name="Nouveau dossier"))
    seen(page, "new")
    _give(page, "Études DICOM", images)
    # the pseudonym is known once the images are read
    expect(page.get_by_role("heading", name=re.compile("^Dossier P-"))).to_be_visible(timeout=240 * _SECONDS)
    _press(page, page.locator("summary", has_text="Charger un fichier"))
    _give(page, "Données cliniques", record)
    expect(page.get_by_text("Le formulaire a été rempli")).to_be_visible()
    assert page.get_by_label(re.compile("Help|Increment|Skip|App pages")).count() == 0  # Streamlit's own words
    age = page.get_by_label(re.compile("^Âge"))
    expect(age).to_have_count(1)  # the fields drawn before the file are gone
    _reach(page, age)
    page.keyboard.press("Control+A")
    page.keyboard.type("55\t")
    _reach(page, page.get_by_label(re.compile("^Tabagisme")))
    page.keyboard.type("sevré")
    page.keyboard.press("Enter")
    seen(page, "checks")
    _press(page, page.get_by_role("button", name="Lancer l’analyse"))
    expect(page.get_by_text("en cours", exact=True)).to_be_visible()


def _use_the_viewer(page):
    readout = page.locator(".readout")
    first = readout.inner_text()
    _press(page, page.locator(".panel.axial.fused canvas"), "ArrowLeft")
    expect(readout).not_to_have_text(first)
    second = readout.inner_text()
    page.keyboard.press("PageUp")
    expect(readout).not_to_have_text(second)
    assert re.search(r"TDM -?\d+ UH", readout.inner_text())
    assert re.search(r"SUV \d+,\d\d", readout.inner_text())
    _press(page, page.locator(".lesions button").first)
    expect(readout).to_contain_text(re.compile(r"Lésion (\d|–)"))


def _step(page, name):
    """Go on to a step of the reading: the group is reached by the Tab key, its radio by the arrows."""
    group = page.get_by_role("radiogroup", name="Étapes")
    wanted = group.get_by_role("radio", name=name)
    for _ in range(_MOST_STEPS):
        if group.evaluate("(group) => group.contains(document.activeElement)"):
            break
        page.keyboard.press("Tab")
    for _ in range(4):
        if wanted.evaluate(_FOCUSED):
            break
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    expect(wanted).to_be_checked()


def _correct_a_lesion(page):
    """A lesion is left out, a focus outlined, two strokes drawn at once, and all taken back; the images stay."""
    figures, listed = page.locator(".figures"), page.locator(".lesions")
    first = figures.text_content()
    _press(page, listed.get_by_role("checkbox").first, "Space")
    expect(figures).not_to_have_text(first, timeout=240 * _SECONDS)  # the images are read first
    second = figures.text_content()
    _press(page, page.locator(".panel.axial.fused canvas"), "s")
    expect(page.locator(".segmenting:visible")).to_contain_text("SUVmax", timeout=60 * _SECONDS)
    page.keyboard.press("]")
    page.keyboard.press("Enter")
    expect(figures).not_to_have_text(second, timeout=60 * _SECONDS)
    expect(page.locator(".viewer")).to_have_attribute("data-ready", "yes")
    page.keyboard.press("Escape")
    page.keyboard.press("u")
    expect(figures).to_have_text(second, timeout=60 * _SECONDS)
    for key in ("b", "b", "Shift+ArrowRight", "b"):  # the second stroke waits until the first is measured
        page.keyboard.press(key)
    expect(page.locator(".findings")).not_to_have_class(re.compile("computing"), timeout=60 * _SECONDS)
    expect(figures).not_to_have_text(second)
    for _ in range(2):
        page.keyboard.press("u")
    expect(figures).to_have_text(second, timeout=60 * _SECONDS)
    page.keyboard.press("u")
    expect(figures).to_have_text(first, timeout=60 * _SECONDS)
    liver = page.locator(".findings .liver")
    for key in ("l", "l"):  # its sphere is placed at the crosshair, which lies in a lesion
        page.keyboard.press(key)
    expect(liver).to_contain_text("placée par le lecteur", timeout=60 * _SECONDS)
    expect(liver).to_contain_text("hors du foie")
    expect(liver).to_contain_text("ml de lésions")
    page.keyboard.press("Escape")
    page.keyboard.press("u")
    expect(liver).to_contain_text("lobe droit", timeout=60 * _SECONDS)


def _read_before_the_answer(page):
    """The answer comes after the patient and the lesions were confirmed, and an estimate was given."""
    confirm = page.get_by_role("button", name="Confirmer la lecture et voir la réponse")
    expect(confirm).to_be_disabled()
    expect(page.get_by_test_id("identity")).to_contain_text("SYNTH")
    _step(page, "3 Réponse")
    expect(page.get_by_text("La réponse est retenue")).to_be_visible()
    assert page.get_by_test_id("probability").count() == 0
    _press(page, page.get_by_role("button", name="Aller aux lésions"))
    _press(page, page.get_by_role("button", name="Images et données sont d’un même patient"))
    expect(page.get_by_text("sont d’un même patient : local")).to_be_visible()
    _press(page, page.locator("input[name=estimate]"), "ArrowRight")
    expect(page.locator(".estimate output")).to_have_text("51 %")
    _press(page, confirm)


def _fills_the_window(page):
    """At 1280 x 720 nothing of the page is below the window: its panels scroll, the images fill the height."""
    page.set_viewport_size({"width": 1280, "height": 720})
    page.wait_for_timeout(100)
    high, screen = page.evaluate(f"{_MAIN}.scrollHeight"), page.locator(".screen").bounding_box()
    assert high <= 720
    assert screen["height"] > 500
    assert screen["y"] + screen["height"] < 720
    page.set_viewport_size({"width": 1280, "height": 800})


def _sign(page):
    _reach(page, page.get_by_role("radio", name="Acceptée"))
    page.keyboard.press("Space")
    _press(page, page.get_by_role("button", name="Signer le compte rendu"))
    expect(page.get_by_text("signé", exact=True)).to_be_visible(timeout=600 * _SECONDS)


def test_by_the_keyboard_a_study_becomes_an_answer_and_a_signed_report_though_the_server_is_killed(
    page, study, site, seen
):
    page.goto(site.url)
    _give_the_case(page, study, seen)
    case = re.search(r"case=([0-9a-f-]{36})", page.url)[1]
    site.end(signal.SIGKILL)
    expect(page.get_by_role("alert").filter(has_text="L’application ne répond pas")).to_be_visible()
    assert site.store.get(case).status is Status.RUNNING
    site.start()
    page.goto(f"{site.url}/case?case={case}")
    lesions = page.locator(".lesions")  # the reading begins with the images and their lesions, not with the answer
    expect(lesions).to_be_visible(timeout=600 * _SECONDS)
    assert page.get_by_test_id("probability").count() == 0
    expect(page.get_by_text("MODÈLE SYNTHÉTIQUE")).to_be_visible()
    expect(page.locator(".viewer")).to_have_attribute("data-ready", "yes")
    _use_the_viewer(page)
    _fills_the_window(page)
    _correct_a_lesion(page)
    seen(page, "read")
    _read_before_the_answer(page)
    # the answer to the lesions as they are now, at once; then what hangs on them
    expect(page.get_by_test_id("probability")).to_have_text(re.compile(r"^\d+\s%$"))
    expect(page.locator(".viewer")).to_have_attribute("data-ready", "yes")
    expect(page.get_by_text("Points à 12 mois").first).to_be_visible(timeout=600 * _SECONDS)
    expect(page.get_by_text("sont en cours de calcul")).to_have_count(0, timeout=600 * _SECONDS)
    expect(page.locator(".viewer")).to_have_attribute("data-ready", "yes")
    expect(page.locator("input[name=saliency]")).to_have_count(1)  # its map is there, though the editor read the images
    seen(page, "answer")
    page.evaluate(f"{_PANEL}.scrollTop = 400")
    _step(page, "4 Signer")
    page.wait_for_function(f"{_PANEL}.scrollTop === 0")
    with page.expect_download() as download:
        _press(page, page.get_by_role("link", name="Compte rendu en français"))
    assert Path(download.value.path()).read_bytes().startswith(b"%PDF")
    _sign(page)
    expect(page.locator(".viewer")).to_have_attribute("data-ready", "yes")
    seen(page, "signed")
    _press(page, page.get_by_role("radio", name="FR"), "ArrowRight")
    page.keyboard.press("Space")
    expect(page.get_by_role("heading", name=re.compile("^Case P-"))).to_be_visible()
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.get_by_label(re.compile("Plein écran|Augmenter|Pages")).count() == 0
    seen(page, "english")
    _check_what_is_kept(site.home)
    _check_the_guard(site.url, case)


def _check_what_is_kept(home):
    assert not [path for path in home.rglob("*") if "DUPONT" in path.name]
    for path in (home / "cases.sqlite", *home.glob("cases/*/result.json")):
        assert b"DUPONT" not in path.read_bytes()


def _check_the_guard(url, case):
    """Another visitor, who has the address of the case but no cookie, gets nothing."""
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{url}/files/{case}/pet.bin")  # noqa: S310  our own server


def test_uploads_are_followed_in_the_language_of_the_page(page, site):
    held = []
    page.route("**/upload_file/none/none", lambda route: held.append(route))  # noqa: PLW0108  Playwright marks the function
    page.goto(f"{site.url}/new")
    expect(page.get_by_role("heading", name="Nouveau dossier")).to_be_visible()
    page.wait_for_function("!XMLHttpRequest.prototype.open.toString().includes('[native code]')")  # ours is in place
    page.evaluate("""() => {
        const chip = document.createElement('div')
        chip.dataset.testid = 'stFileChip'
        chip.innerHTML = '<p aria-label="a.zip, 47.9MB">47.9MB</p>'
        document.body.append(chip)
        window.sent = new XMLHttpRequest()
        sent.open('PUT', '/_stcore/upload_file/none/none')
        sent.send('x')
        sent.upload.dispatchEvent(new ProgressEvent('progress', { lengthComputable: true, loaded: 42, total: 100 }))
    }""")
    expect(page.get_by_text("47,9 Mo")).to_be_visible()
    expect(page.get_by_label("a.zip, 47,9 Mo")).to_be_visible()
    notice = page.get_by_role("status").filter(has_text=re.compile(r"Envoi des images\s: 42\s%"))
    expect(notice).to_be_visible()
    held[0].abort()
    expect(notice).to_have_count(0)


def test_every_other_page_has_no_axe_violation(page, site, seen):
    page.goto(site.url)
    expect(page.get_by_role("button", name="Ouvrir").first).to_be_visible()
    seen(page, "worklist")
    page.goto(f"{site.url}/comparison?case={site.cases['plain']}&with={site.cases['unreliable']}")
    expect(page.locator(".viewer[data-ready=yes]")).to_have_count(2)
    seen(page, "comparison")
    page.goto(f"{site.url}/case?case={site.cases['no_suv']}")
    expect(page.locator(".viewer")).to_have_attribute("data-ready", "yes")
    seen(page, "no_suv")
    for name, title in (("model", "Fiche du modèle"), ("federation", "Fédération")):
        page.goto(f"{site.url}/{name}")
        expect(page.get_by_role("heading", name=title)).to_be_visible()
        seen(page, name)


def test_no_part_of_the_administration_has_an_axe_violation(page, site, seen):
    page.goto(f"{site.url}/administration")
    parts = page.get_by_role("radiogroup", name="Partie").get_by_role("radio")
    expect(parts.first).to_be_visible()
    for number, part in enumerate(parts.all()):
        part.click()
        seen(page, f"administration{number}")


def test_the_search_of_a_pacs_has_no_axe_violation(page, site, seen, dicom, tmp_path):
    suv, _, origin = dicom.thorax((2, 20, 20))
    marks = {"PatientName": "SEARCHED^ONE", "PatientID": "SEARCH-4711"}
    dicom.save(dicom.pet(suv, origin=origin, **marks), tmp_path)
    send_files(connect(Settings(pacs=site.pacs), "hospital"), tmp_path)
    page.goto(f"{site.url}/new")
    page.get_by_role("radio", name="Depuis le PACS").click()
    page.get_by_role("textbox", name="Identifiant du patient").fill("SEARCH-4711")
    page.get_by_role("button", name="Chercher dans le PACS").click()
    expect(page.get_by_text("SEARCHED")).to_be_visible()
    seen(page, "pacs_search")
