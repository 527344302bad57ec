"""The application as `fedpet app` serves it, with a few finished cases, and what a test in Chromium needs of it.

Use through the fixtures `site`, `browser` and `seen`. `FEDPET_SCREENSHOTS` names a folder that keeps the pictures.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

from app.audit.trail import AuditTrail
from app.cases.result_json import inspection_json, plain
from app.cases.store import Store
from app.viewer.volumes import store_images, store_prediction
from explain.explanation import SanityCheckResult
from fedpet.core.errors import SuvError
from fedpet.core.messages import Message
from fedpet.core.settings import Settings
from fedpet.imaging.anatomy.reference_uptake import OrganReferences, ReferenceUptake
from fedpet.imaging.lesions.delineation import HotComponent
from fedpet.imaging.lesions.quantities import quantify
from fedpet.imaging.volume import Volume
from tests.support import ROOT as _ROOT
from tests.support import case_files as cases
from tests.support.header_checks_only import HeaderChecksOnly

_CHROMIUM = Path("/usr/bin/chromium")
_ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
_MS = 30_000.0
WIDTHS = (1280, 768)
_AT_REST = "[data-testid=stApp][data-test-script-state=notRunning]"
_MAIN = "document.querySelector('[data-testid=stMain]')"
_WIDTH = f"Math.max(document.documentElement.scrollWidth, {_MAIN}.scrollWidth)"

MARKER = np.array([18.0, -22.0, -95.0])  # LPS mm
HU, SUV = 24, 4.0  # of the tissue of the plain case
LESION, BLADDER, LIVER = (26, 20, 24), (8, 40, 30), (20, 30, 40)  # slice, row, column of the plain case


@contextmanager
def chromium():
    """Headless; skips where it is not installed."""
    if not _CHROMIUM.exists():
        message = "Chromium is missing: apt-get install chromium"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    expect.set_options(timeout=_MS)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=_CHROMIUM, args=_ARGUMENTS)
        yield opened
        opened.close()


def look(page, name):
    """At both widths the page has no violation of axe and nothing beside the window."""
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_timeout(100)
        expect(page.locator(_AT_REST)).to_be_visible()  # what is being drawn anew is pale
        if folder := os.environ.get("FEDPET_SCREENSHOTS"):
            _photograph(page, Path(folder) / f"{name}-{width}.png", width)
        assert page.evaluate(_WIDTH) <= width, (name, width)
        found = Axe().run(page).response["violations"]
        told = [(one["id"], node["target"], node["html"]) for one in found for node in one["nodes"]]
        assert not told, (name, width, told)
    page.set_viewport_size({"width": WIDTHS[0], "height": 800})


def _photograph(page, path, width):
    """The whole page, which scrolls inside the window."""
    height = page.evaluate(f"{_MAIN}.scrollHeight")
    page.set_viewport_size({"width": width, "height": max(800, height)})
    page.wait_for_timeout(800)
    page.screenshot(path=path)
    page.set_viewport_size({"width": width, "height": 800})


class Site:
    """A server in the folder `home` with the answered `known` cases and one PACS, "hospital"."""

    def __init__(self, home, store, known, pacs):
        self.home, self.store, self.cases, self.pacs = home, store, known, {"hospital": pacs}
        self.audit = AuditTrail(store.engine, home)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]

    @property
    def url(self):
        return f"http://127.0.0.1:{self._port}"

    def start(self):
        """Serve, always at the same port."""
        command = [sys.executable, "-m", "app.cli.main", "app", "--port", str(self._port), "--no-browser"]
        environment = {**os.environ, "FEDPET_HOME": str(self.home), "OMP_NUM_THREADS": "1"}
        environment["FEDPET_PACS"] = json.dumps(self.pacs)
        self._process = subprocess.Popen(command, env=environment, cwd=_ROOT, stdout=subprocess.DEVNULL)
        while self._process.poll() is None and not self._healthy():
            pass

    def end(self, how=signal.SIGTERM):
        self._process.send_signal(how)
        self._process.wait()

    def _healthy(self):
        try:
            with urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=1) as response:  # noqa: S310  ours
                return response.status == 200
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return False


@contextmanager
def serving(home, orthanc):
    """A site whose cases are answered already; its PACS is `orthanc`."""
    settings = Settings(home=home)
    store = Store.open(settings)
    known = {
        "plain": _answered(store, plain_case),
        "unreliable": _answered(store, plain_case, reliable=False, date="2026-01-05"),
        "tilted": _answered(store, tilted_case),
        "changed": _answered(store, measured_case),
        "no_suv": _without_suv(store),
        "pet_only": _answered(store, pet_only_case),
    }
    pacs = {"host": "127.0.0.1", "port": orthanc.dicom_port, "called_ae": orthanc.ae, "retries": 0}
    site = Site(settings.folder, store, known, pacs)
    site.start()
    yield site
    site.end()
    store.close()


def plain_case(folder, *, reliable=True, date="2026-03-10"):
    """Uniform tissue, one lesion, and one hot component that is none and is hollow."""
    base = cases.make_case(folder, reliable=reliable)
    affine = cases.grid_affine((5.0, 5.0, 5.0), (-150.0, -150.0, -200.0))
    suv, labels = np.full((40, 60, 60), SUV, np.float32), np.zeros((40, 60, 60), np.uint16)
    for number, ((z, y, x), high) in enumerate(((LESION, 9.0), (BLADDER, 14.0)), start=1):
        box = slice(z - 2, z + 3), slice(y - 2, y + 3), slice(x - 2, x + 3)
        suv[box], labels[box] = high, number
    suv[BLADDER], labels[BLADDER] = SUV, 0  # hollow: its centre is outside of it
    pet = Volume(suv, affine, "g/ml")
    ct = Volume(
        np.full((50, 100, 100), HU, np.int16), cases.grid_affine((3.0, 3.0, 4.0), (-149.0, -149.0, -199.0)), "HU"
    )
    lesions = pet.like(np.where(labels == 1, labels, 0).astype(np.uint16), "label")
    points = [tuple(float(one) for one in pet.to_mm(np.array(place, float))) for place in (LESION, BLADDER)]
    prediction = replace(
        base.prediction,
        lesion_labels=lesions,
        quantities=quantify(pet, lesions, method="suv4"),
        component_labels=pet.like(labels, "label"),
        components=(
            HotComponent(1, True, "lung_right", Message("No physiological uptake was recognised here."), False, 9.0,
            15.6,
                      points[0]),
            HotComponent(2, False, "bladder", Message("by its size and place in the PET, without a CT."), False, 14.0,
                      15.6, points[1]),
        ),
    )  # fmt: skip
    gates = (
        SanityCheckResult("completeness", True, Message("Completeness error 0.1 %.")),
        SanityCheckResult("localisation", reliable, Message("The map does not follow the lesions.")),
    )
    attribution = pet.like(np.where(labels == 1, 1.0, 0.0).astype(np.float32), "1")
    explanation = replace(base.explanation, attribution=attribution, gates=gates)
    analysis = HeaderChecksOnly(replace(base.study, pet=pet, ct=ct, study_date=date))
    return replace(base, analysis=analysis, prediction=prediction, explanation=explanation)


def measured_case(folder):
    """The plain case with a healthy liver and spleen, measured around a point beside the lesion."""
    case = plain_case(folder)
    x, y, z = case.study.pet.to_mm(np.array(LIVER, float))
    liver = ReferenceUptake("liver", "sphere_3cm_right_lobe", SUV, 0.1, 14.1, (float(x), float(y), float(z)))
    spleen = ReferenceUptake("spleen", "sphere_2cm", SUV, 0.1, 4.2, liver.centroid_mm)
    vars(case.analysis.anatomy)["references"] = OrganReferences(liver, None, spleen, None, {})
    return case


def pet_only_case(folder):
    """The plain case without its CT, its lesion hottest beside its centre."""
    case = plain_case(folder)
    suv = case.study.pet.array.copy()
    suv[tuple(np.add(LESION, (2, -1, 1)))] = 20.0
    pet = case.study.pet.like(suv, "g/ml")
    return replace(case, analysis=HeaderChecksOnly(replace(case.study, pet=pet, ct=None)))


def tilted_case(folder):
    """A marker at one place in a CT of a tilted gantry and a PET turned about the patient's axis."""
    base = cases.make_case(folder)
    slope, turn = np.tan(np.deg2rad(15.0)), np.deg2rad(8.0)
    leaning = np.diag([2.0, 2.0, 3.0, 1.0])
    leaning[1, 2], leaning[:3, 3] = 3.0 * slope, (-110.0, -150.0, -210.0)
    turned = np.diag([4.0, 4.0, 4.0, 1.0])
    turned[:2, :2] = 4.0 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    turned[:3, 3] = (-90.0, -130.0, -200.0)
    ct = Volume(np.full((60, 110, 110), -50, np.int16), leaning, "HU")
    pet = Volume(np.full((48, 54, 54), 1.0, np.float32), turned, "g/ml")
    ct.array[_distance(ct) < 8.0] = 900
    pet.array[_distance(pet) < 9.0] = 9.5
    labels = pet.like((pet.array > 5.0).astype(np.uint16), "label")
    prediction = replace(base.prediction, lesion_labels=labels, quantities=quantify(pet, labels, method="suv4"))
    analysis = HeaderChecksOnly(replace(base.study, pet=pet, ct=ct))
    return replace(base, analysis=analysis, prediction=prediction, explanation=None)


def _distance(volume):
    """Of every voxel from the marker, mm."""
    return np.linalg.norm(volume.to_mm(np.stack(np.indices(volume.shape), axis=-1).astype(float)) - MARKER, axis=-1)


def _answered(store, result_of, **options):
    case = store.create("fr")
    store.record_images(case.id, files=2, size=1)
    store.start_check(case.id)
    folder = store.folder(case.id)
    result = result_of(folder, **options)
    _check(store, case, result.study)
    store.confirm_record(case.id)
    store_prediction(result, folder)
    more = {"references": plain(result.analysis.references)}
    store.finish_computation(case.id, result=cases.make_json(result) | more)
    cases.confirm_lesions(store, case.id)
    return case.id


def _check(store, case, study):
    store_images(study, store.folder(case.id))
    found = {
        "pseudonym": study.pseudonym,
        "study_date": study.study_date,
        "inspection": inspection_json(HeaderChecksOnly(study)),
    }
    store.finish_check(case.id, **found)


def _without_suv(store):
    case = store.create("fr")
    store.record_images(case.id, files=2, size=1)
    store.start_check(case.id)
    study = cases.make_study()
    refusal = SuvError(found=Message("No weight."), needed=Message("A weight."), advice=Message("Give it."))
    stored = study.pet.like(study.pet.array * 1000.0, "stored")
    _check(store, case, replace(study, pet=stored, suv_refusal=refusal))
    return case.id
