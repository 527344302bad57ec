"""Speed and memory of the image viewer, in headless Chromium, through the real server.

Makes a case (CT 512 x 512 x 300, PET 200 x 200 x 300, influence map, 30 lesions), starts `fedpet app` on a free port
with a home of its own, opens the case's page and prints one line for each figure:

- from opening the page to reading the PET, and to having every volume (`data-ready` of the viewer);
- redraws after a click that moves the crosshair through all planes, a turn of the wheel and a change of the window:
  the time that the viewer works, and the time until the browser has put the new picture on the screen;
- heap of the page, with what its arrays hold; memory of the server beside that of an idle one.

Run: `python -m benchmarks.app_viewer [repeats]` (needs Playwright and /usr/bin/chromium). Nothing else should run: the
load of the machine is printed first.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from playwright.sync_api import sync_playwright

from app.cases.reading import Stamp
from app.cases.result_json import inspection_json, result_json
from app.cases.store import Store
from app.viewer.volumes import store_images, store_prediction
from fedpet.core.settings import Settings
from fedpet.imaging.lesions.quantities import quantify
from fedpet.imaging.volume import Volume
from tests.support import case_files
from tests.support.header_checks_only import HeaderChecksOnly

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

    from app.cases.pipeline import CaseResult

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
CT, PET = (300, 512, 512), (300, 200, 200)  # slices, rows, columns
LESIONS = 30
MODES = {"fused": 1, "3 x 3": 4}
# the time that the viewer works, and until the second picture after the change: the first one shows it
REDRAW = """(viewer) => new Promise((done) => {
    const start = performance.now()
    viewer.addEventListener('redrawn', ({ detail }) => requestAnimationFrame(() => requestAnimationFrame(
        () => done([detail, performance.now() - start]))), { once: true })
    ;(CHANGE)(viewer)
})"""
CHANGES = {
    "crosshair through all planes": """(viewer) => {
        const canvas = viewer.querySelector('.panel.axial:not([hidden]) canvas'), box = canvas.getBoundingClientRect()
        const at = { pointerId: 1, clientX: box.left + box.width * (0.3 + 0.4 * Math.random()),
            clientY: box.top + box.height * (0.3 + 0.4 * Math.random()), bubbles: true }
        canvas.setPointerCapture = () => {}
        canvas.dispatchEvent(new PointerEvent('pointerdown', at))
        canvas.dispatchEvent(new PointerEvent('pointerup', at))
        canvas.dispatchEvent(new WheelEvent('wheel', { deltaY: Math.random() < 0.5 ? 1 : -1 }))
    }""",
    "one slice further": """(viewer) => viewer.querySelector('.panel.axial:not([hidden]) canvas').dispatchEvent(
        new WheelEvent('wheel', { deltaY: -1 }))""",
    "another window": """(viewer) => {
        const range = viewer.querySelector('input[name=high]')
        range.value = 5 + 10 * Math.random()
        range.dispatchEvent(new Event('input'))
    }""",
}


def big_case(folder: Path) -> CaseResult:
    """A phantom of the sizes that the targets are set for, and an answer about it."""
    random = np.random.default_rng(0)
    pet = _body(PET, random.uniform(0.4, 1.6, PET).astype(np.float32), outside=0.0, unit="g/ml")
    ct = _body(CT, random.normal(40.0, 20.0, CT).astype(np.int16), outside=-1000, unit="HU")
    labels = np.zeros(PET, np.uint16)
    for number in range(1, LESIONS + 1):
        z, y, x = random.integers((20, 70, 60), (280, 130, 140))
        labels[z - 3 : z + 4, y - 4 : y + 5, x - 4 : x + 5] = number
    pet.array[labels > 0] += 8.0
    result: CaseResult = case_files.make_case(folder)
    lesions = pet.like(labels, "label")
    attribution = pet.like((pet.array * random.normal(0.0, 1.0, PET)).astype(np.float32), "1")
    assert result.explanation is not None  # noqa: S101  the fixture explains
    return replace(
        result,
        analysis=HeaderChecksOnly(replace(result.study, pet=pet, ct=ct)),
        prediction=replace(result.prediction, lesion_labels=lesions, quantities=quantify(pet, lesions, method="suv4")),
        explanation=replace(result.explanation, attribution=attribution),
    )


def _body(shape: tuple[int, int, int], array: Any, *, outside: float, unit: Any) -> Volume:  # noqa: ANN401  any number
    """Values inside an ellipse of 36 x 26 cm; the field of view is 50 cm wide and 90 cm high."""
    spacing = np.array((500.0 / shape[2], 500.0 / shape[1], 900.0 / shape[0]))
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-250.0, -250.0, -900.0)
    y, x = (affine[axis, 3] + spacing[axis] * np.arange(shape[2 - axis]) for axis in (1, 0))
    array[:, (x[None] / 180.0) ** 2 + (y[:, None] / 130.0) ** 2 > 1.0] = outside
    return Volume(array, affine, unit)


def prepared(home: Path) -> tuple[str, int]:
    """A home with the case in it, ready to be read; its identifier and the bytes of its volumes."""
    store = Store.open(Settings(home=home))
    case = store.create("fr")
    store.record_images(case.id, files=600, size=1)
    store.start_check(case.id)
    folder = store.folder(case.id)
    result = big_case(folder)
    store_images(result.study, folder)
    study = result.study
    found = {
        "pseudonym": study.pseudonym,
        "study_date": study.study_date,
        "inspection": inspection_json(result.analysis),
    }
    store.finish_check(case.id, **found)
    store.confirm_record(case.id)
    store_prediction(result, folder)
    store.finish_computation(
        case.id, result=result_json(result.analysis, result.record, result.prediction, result.explanation)
    )
    # the influence map is shown once the lesions are confirmed
    store.save_reading(case.id, lambda reading: reading.model_copy(update={"confirmed": Stamp.now("benchmark")}))
    store.close()
    return case.id, sum(path.stat().st_size for path in folder.glob("*.bin"))


@contextmanager
def server(home: Path) -> Iterator[tuple[str, psutil.Process]]:
    """`fedpet app` on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "app.cli.main", "app", "--port", str(port), "--no-browser"]
    environment = {**os.environ, "FEDPET_HOME": str(home)}
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL) as process:  # noqa: S603  ours
        url = f"http://127.0.0.1:{port}"
        while process.poll() is None and not _healthy(url):
            time.sleep(0.1)
        yield url, psutil.Process(process.pid)
        process.terminate()


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/_stcore/health", timeout=1) as response:  # noqa: S310  our own server
            return bool(response.status == 200)
    except (urllib.error.URLError, TimeoutError):
        return False


def opened(browser: Browser, url: str, case: str, process: psutil.Process) -> tuple[Page, dict[str, float], float]:
    """The page of the case, seconds until the PET and until all volumes are there, and the server's highest memory."""
    page = browser.new_context(viewport={"width": 1440, "height": 900}, locale="fr").new_page()
    page.set_default_timeout(120_000)
    page.goto(f"{url}/")
    page.get_by_role("button", name="Ouvrir").wait_for()
    idle = process.memory_info().rss
    start, highest, seconds = time.perf_counter(), idle, {}
    page.goto(f"{url}/case?case={case}&step=read", wait_until="commit")
    viewer = page.locator(".viewer")
    for state, values in (("PET", ("pet", "yes")), ("all volumes", ("yes",))):
        while viewer.count() == 0 or viewer.get_attribute("data-ready") not in values:
            highest = max(highest, process.memory_info().rss)
        seconds[state] = time.perf_counter() - start
    return page, seconds, (highest - idle) / 2**20


def redraws(page: Page, mode: str, influence: bool, repeats: int) -> Iterator[tuple[str, list[list[float]]]]:  # noqa: FBT001  a state
    """Times of redraws in ms, (viewer, until seen), for each kind of change."""
    viewer = page.locator(".viewer")
    viewer.locator(".modes button").nth(MODES[mode]).click()
    viewer.locator("input[name=saliency]").evaluate(
        "(range, value) => { range.value = value; range.dispatchEvent(new Event('input')) }", 0.6 if influence else 0
    )
    page.wait_for_timeout(500)
    for name, change in CHANGES.items():
        yield name, [viewer.evaluate(REDRAW.replace("CHANGE", change)) for _ in range(repeats)]


def main(repeats: int) -> None:
    """Print the figures."""
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        case, size = prepared(Path(folder))
        print(f"volumes {size / 2**20:.0f} MB")
        with server(Path(folder)) as (url, process), sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
            page, seconds, memory = opened(browser, url, case, process)
            for name, value in seconds.items():
                print(f"opened to {name}: {value:.2f} s")
            print(f"server: {memory:.0f} MB more than before, {memory / (size / 2**20):.2f} x the volumes")
            for mode in MODES:
                for influence in (False, True):
                    for name, times in redraws(page, mode, influence, repeats):
                        worked, seen = (statistics.median(one) for one in zip(*times, strict=True))
                        shown = f"{mode}{' + influence' if influence else ''}, {name}"
                        print(f"{shown}: redraw {worked:.0f} ms, seen after {seen:.0f} ms (median of {repeats})")
            heap = page.context.new_cdp_session(page).send("Runtime.getHeapUsage")
            arrays = heap.get("backingStorageSize", 0)
            print(f"browser: heap {heap['usedSize'] / 2**20:.0f} MB, arrays {arrays / 2**20:.0f} MB")
            reported = page.evaluate("performance.memory.usedJSHeapSize")
            print(f"browser: performance.memory {reported / 2**20:.0f} MB")
            browser.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
