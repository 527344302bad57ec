"""Seconds of each part of a reading, as its reader waits for them: in headless Chromium, through the real server.

A study is uploaded, its record given, answered, opened again, its lesions are corrected, the answer is seen and the
report signed. One line of JSON for each run: upload to checks, run to answer, case to usable viewer (PET, then all
volumes), redraw of a plane (median, ms), correction to new quantities and to new answer, the map behind it, signing.

Run: `python -m benchmarks.reading_speed [runs] [images.zip record.csv]` (needs Playwright and /usr/bin/chromium).
Without files a coarse synthetic patient of 4 MB is made; give the demonstration patient or a clinical study for the
figures of docs/reading.md. Nothing else should run: the load of the machine is printed.
"""

from __future__ import annotations

import csv
import json
import os
import re
import statistics
import sys
import tempfile
import time
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import expect, sync_playwright

from benchmarks.app_viewer import ARGUMENTS, CHANGES, CHROMIUM, REDRAW, server
from training.simulation.cohort import simulate_cohort

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

_LONGEST_MS = 900_000
_REDRAWS, _CORRECTIONS = 30, 6


def synthetic(folder: Path) -> tuple[Path, Path]:
    """A coarse synthetic patient: images as a zip, and the record."""
    simulate_cohort(patients=1, sites=1, seed=11, out=folder / "out", fidelity="coarse")
    table = next((folder / "out").glob("*/clinical.csv"))
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file, delimiter=";"))
    images, record = folder / "images.zip", folder / "record.csv"
    with record.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=";").writerows(rows[:2])
    source = table.parent / "dicom" / rows[1][0]
    with zipfile.ZipFile(images, "w") as archive:
        for path in sorted(source.rglob("*.dcm")):
            archive.write(path, path.relative_to(source))
    return images, record


class Reading:
    """One reading in a page, with its seconds."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Keep the seconds of a part."""
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)

    def upload(self, images: Path) -> None:
        """From the files to the checks of the images."""
        self.page.goto(f"{self.url}/new")
        with self.page.expect_file_chooser() as chooser:
            self.page.get_by_role("group", name=re.compile("^Études DICOM")).locator("button").click()
        with self.timed("upload to checks"):
            chooser.value.set_files(images)
            expect(self.page.get_by_role("heading", name=re.compile("^Dossier P-"))).to_be_visible()
            expect(self.page.get_by_test_id("identity")).to_be_visible()

    def answer(self, record: Path) -> str:
        """From the start of the analysis to the lesions; returns the case."""
        self.page.locator("summary", has_text="Charger un fichier").click()
        with self.page.expect_file_chooser() as chooser:
            self.page.get_by_role("group", name=re.compile("^Données cliniques")).locator("button").click()
        chooser.value.set_files(record)
        expect(self.page.get_by_text("Le formulaire a été rempli")).to_be_visible()
        with self.timed("run to answer"):
            self.page.get_by_role("button", name="Lancer l’analyse").click()
            expect(self.page.locator(".lesions")).to_be_visible()
        found = re.search(r"case=([0-9a-f-]{36})", self.page.url)
        assert found is not None  # noqa: S101  the page of a case
        return found[1]

    def reopen(self, case: str) -> None:
        """From the address to a viewer that can be used."""
        start = time.perf_counter()
        self.page.goto(f"{self.url}/case?case={case}&step=read", wait_until="commit")
        for name, states in (("usable viewer (PET)", "pet|yes"), ("viewer with all volumes", "yes")):
            expect(self.page.locator(".viewer")).to_have_attribute("data-ready", re.compile(f"^({states})$"))
            self.seconds[f"case to {name}"] = round(time.perf_counter() - start, 3)

    def redraw(self) -> None:
        """The median of redraws after one slice further, ms."""
        viewer, change = self.page.locator(".viewer"), CHANGES["one slice further"]
        worked = [viewer.evaluate(REDRAW.replace("CHANGE", change))[0] for _ in range(_REDRAWS)]
        self.seconds["redraw, ms"] = round(statistics.median(worked), 1)

    def correct(self, name: str) -> None:
        """From a click on a lesion's box to new quantities, with the answer where it is shown; every second undoes."""
        clicks = (".lesions input[type=checkbox]", ".tools button:nth-last-child(2)")
        taken = [self.page.evaluate(_CORRECT, clicks[number % 2]) for number in range(_CORRECTIONS)]
        self.seconds[f"{name} (first)"] = round(taken[0] / 1000, 3)
        self.seconds[name] = round(statistics.median(taken[1:]) / 1000, 3)

    def confirm(self) -> None:
        """Say that it is one patient, confirm the lesions, and wait for the answer, then for its map."""
        self.page.get_by_role("button", name="Images et données sont d’un même patient").click()
        confirm = self.page.get_by_role("button", name="Confirmer la lecture et voir la réponse")
        expect(confirm).to_be_enabled()
        with self.timed("confirmed to answer shown"):
            confirm.click()
            expect(self.page.get_by_test_id("probability")).to_be_visible()
        with self.timed("map and reports behind it"):
            expect(self.page.get_by_text("sont en cours de calcul")).to_have_count(0)

    def sign(self) -> None:
        """From the button to the signed version."""
        self._step("4 Signer")
        self.page.get_by_text("Acceptée", exact=True).click()
        with self.timed("sign"):
            self.page.get_by_role("button", name="Signer le compte rendu").click()
            expect(self.page.get_by_text("signé", exact=True)).to_be_visible()

    def correct_answered(self) -> None:
        """A correction after the answer was seen: from the click to the new answer."""
        self._step("2 Lire")
        expect(self.page.locator(".viewer")).to_have_attribute("data-ready", "yes")
        self.correct("correction to new answer")
        self._step("3 Réponse")
        expect(self.page.get_by_text("sont en cours de calcul")).to_have_count(0)

    def _step(self, name: str) -> None:
        self.page.get_by_role("radiogroup", name="Étapes").get_by_text(name, exact=True).click()


# the viewer is in a shadow root; the time is taken in the page, so that asking for it costs nothing
_FIND = """
    const roots = [document, ...[...document.querySelectorAll('*')].map((one) => one.shadowRoot).filter(Boolean)]
    const find = (selector) => roots.map((root) => root.querySelector(selector)).find(Boolean)
    const figures = () => find('.figures')?.textContent
"""
_CORRECT = f"""(clicked) => new Promise((done) => {{ {_FIND}
    const start = performance.now(), before = figures()
    const look = () => {{
        if (figures() !== before && !find('.computing')) done(performance.now() - start)
        else setTimeout(look, 5)
    }}
    find(clicked).click()
    look()
}})"""


def main(runs: int, files: tuple[Path, Path] | None) -> None:
    """Print the seconds of each run."""
    expect.set_options(timeout=_LONGEST_MS)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        images, record = files or synthetic(Path(folder))
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        with server(Path(folder) / "home") as (url, _):
            for number in range(runs):
                context = browser.new_context(viewport={"width": 1280, "height": 720}, locale="fr-FR")
                context.set_default_timeout(_LONGEST_MS)
                reading = Reading(context.new_page(), url)
                reading.upload(images)
                case = reading.answer(record)
                reading.reopen(case)
                reading.redraw()
                reading.correct("correction to new quantities")
                reading.confirm()
                reading.correct_answered()
                reading.sign()
                machine = {"load": round(os.getloadavg()[0], 1), "cores": os.cpu_count()}
                facts = {"run": number + 1, "images_mb": round(images.stat().st_size / 2**20, 1)}
                print(json.dumps(facts | machine | reading.seconds), flush=True)
                context.close()
        browser.close()


if __name__ == "__main__":
    given = sys.argv[2:4]
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3, (Path(given[0]), Path(given[1])) if given else None)
