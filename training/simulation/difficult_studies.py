"""Studies with one fault or difficulty each, to show that it is detected: `fedpet cohort unfavourable`.

All are the same ordinary patient of the first centre, so that a check that fails is due to the difficulty. OUT is laid
out like a centre: dicom/<name>/{PT,CT}/*.dcm and clinical.csv; expected.csv lists what must be detected, and how.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from fedpet.clinical.record import ClinicalRecord
from fedpet.core.messages import Message
from fedpet.core.progress import no_progress
from training.data.process_pool import ordered_map
from training.simulation.acquisition.dicom_series import write_study
from training.simulation.acquisition.dicom_writer import Encoding
from training.simulation.cohort import table_row, write_table
from training.simulation.patients.centres import SITES
from training.simulation.patients.population import draw_patient
from training.simulation.patients.risk import DEFAULT_SIGNAL
from training.simulation.phantom.tissues import Tissue
from training.simulation.wrong_scans import WRONG_SCANS, Fault, Scans, cut, scan_plain, scan_with, shifted, weighed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fedpet.core.progress import Progress
    from training.simulation.patients.population import Patient
    from training.simulation.phantom.canvas import Canvas
    from training.simulation.phantom.rendering import Body

ExpectedDetector = Literal["image_check", "record", "model"]
ExpectedOutcome = Literal["fail", "warn", "pass", "missing", "abstains"]

_NUMBER: Final = 0
_ENCODING: Final = Encoding(compressed=True)
_BLOOD: Final = (
    "leucocytes", "neutrophils", "lymphocytes", "haemoglobin", "platelets", "ldh", "ldh_uln", "crp", "albumin",
    "glycaemia_mmol_l",
)  # fmt: skip
_KNOWN_AT_LEAST: Final = ("age", "sex", "histology", "pet_to_treatment_days")
_ALMOST_ALL: Final = tuple(one.name for one in fields(ClinicalRecord) if one.name not in _KNOWN_AT_LEAST)
_FLUID_BEHIND_MM, _FLUID_HU = 15.0, 8.0
_BROWN_SUV: Final = 7.0
_FAT_HU: Final = -95.0


@dataclass(frozen=True)
class DifficultStudy:
    """One difficulty, and how it must be detected.

    Attributes:
        name: of the folder, and the patient's identifier.
        speaker: "image_check": a check of the study named `finding`; "record": the encoding or the abstention;
            "model": the rules about what the network found.
        finding: name of the check, or of a variable that is missing.
        outcome: level of the check, "pass" where it cannot notice; "missing": the variable is named as missing;
            "abstains": the model must not answer.
        fault: what is wrong.
    """

    name: str
    speaker: ExpectedDetector
    finding: str
    outcome: ExpectedOutcome
    fault: Fault = field(default_factory=Fault)


def write_difficult_studies(out: Path, *, seed: int = 1, workers: int = 1, progress: Progress = no_progress) -> None:
    """Write OUT/dicom/<name>/{PT,CT}/*.dcm, OUT/clinical.csv and OUT/expected.csv; the same seed gives the same bytes.

    Args:
        out: folder to write; made if missing.
        seed: of the patient.
        workers: processes.
        progress: reports each study.
    """
    names = list(CASES)
    made = ordered_map(_Writer(out, seed), names, workers=workers)
    rows = []
    for done, row in enumerate(made, start=1):
        rows.append(row)
        progress(done / len(names), Message("Simulating patients ({done} of {n})", done=done, n=len(names)))
    write_table(rows, out / "clinical.csv")
    with (out / "expected.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["patient_id", "speaker", "finding", "outcome"])
        writer.writerows([one.name, one.speaker, one.finding, one.outcome] for one in CASES.values())


@dataclass(frozen=True)
class _Writer:
    """Writes a case by its name; functions of a case cannot travel to another process, names can."""

    out: Path
    seed: int

    def __call__(self, name: str) -> dict[str, str]:
        scans = scanned(CASES[name], seed=self.seed)
        write_study(scans.patient, scans.pet, scans.ct, self.out / "dicom" / name, seed=self.seed, encoding=_ENCODING)
        return table_row(scans.patient, signal=DEFAULT_SIGNAL)


def scanned(case: DifficultStudy, *, seed: int = 1) -> Scans:
    """The patient with the difficulty, drawn, rendered and scanned."""
    scans = scan_with(case.fault, _ordinary(seed), plain=_ordinary_scans(seed))
    return replace(scans, patient=replace(scans.patient, id=case.name))


@cache
def _ordinary(seed: int) -> Patient:
    """Arms up, no contrast medium, no effusion, nothing missing."""
    drawn = draw_patient(SITES[0], _NUMBER, seed=seed)
    return replace(
        drawn,
        anatomy=replace(drawn.anatomy, arms_up=True, effusion=False),
        acquisition=replace(drawn.acquisition, contrast=False),
        observed=drawn.record,
    )


@cache
def _ordinary_scans(seed: int) -> Scans:
    return scan_plain(_ordinary(seed))


def _record(*missing: str) -> Callable[[Patient], Patient]:
    def change(patient: Patient) -> Patient:
        return replace(patient, observed=replace(patient.observed, **dict.fromkeys(missing)))

    return change


def _arms_down(patient: Patient) -> Patient:
    return replace(patient, anatomy=replace(patient.anatomy, arms_up=False))


def _contrast(patient: Patient) -> Patient:
    return replace(patient, acquisition=replace(patient.acquisition, contrast=True))


def _effusion(body: Body, canvas: Canvas, patient: Patient) -> None:
    """Fluid in the back of the right chest; an effusion of the population model is smaller."""
    lung = np.isin(body.tissues, [Tissue.LUNG, Tissue.VESSEL])
    fluid = lung & (canvas.x < 0) & (canvas.y > _FLUID_BEHIND_MM)
    body.hu[fluid] = _FLUID_HU
    body.suv[fluid] = 0.6 * patient.anatomy.blood


def _brown_fat(body: Body, canvas: Canvas, _: Patient) -> None:
    """Fat beside the neck on both sides that takes up the tracer."""
    soft = np.isin(body.tissues, [Tissue.MUSCLE, Tissue.FAT])
    aside = (np.abs(canvas.x) > 30) & (np.abs(canvas.x) < 75)
    fat = soft & aside & (canvas.z > 780) & (canvas.z < 830)
    body.hu[fat] = _FAT_HU
    body.suv[fat & (np.abs(canvas.y) < 25)] = _BROWN_SUV


def _centimetres(patient: Patient) -> float:
    return 100 * patient.anatomy.height_m


_ALL: Final = (
    DifficultStudy("blood-panel-missing", "record", "pdl1_tps", "missing", Fault(_record("pdl1_tps", *_BLOOD))),
    DifficultStudy("record-almost-empty", "record", "pdl1_tps", "abstains", Fault(_record(*_ALMOST_ALL))),
    DifficultStudy("effusion", "image_check", "effusion", "warn", Fault(painted=_effusion)),
    DifficultStudy("arms-down", "image_check", "arms", "warn", Fault(_arms_down)),
    DifficultStudy("contrast-ct", "image_check", "contrast_ct", "warn", Fault(_contrast)),
    DifficultStudy("brown-fat", "image_check", "brown_fat", "warn", Fault(painted=_brown_fat)),
    DifficultStudy("weight-is-height", "image_check", "weight_fits", "fail", Fault(after=weighed(_centimetres))),
    DifficultStudy(
        "weight-digit-lost",
        "image_check",
        "weight",
        "fail",
        Fault(after=weighed(lambda patient: patient.anatomy.weight_kg / 10)),
    ),
    DifficultStudy("ct-8-cm-aside", "image_check", "ct_fits", "fail", Fault(after=shifted(x_mm=80.0))),
    DifficultStudy("ct-8-cm-along", "image_check", "ct_fits", "fail", Fault(after=shifted(z_mm=80.0))),
    DifficultStudy("no-ct", "image_check", "ct_present", "fail", Fault(after=lambda scans: replace(scans, ct=None))),
    DifficultStudy("brain-only", "image_check", "chest_covered", "fail", Fault(after=cut(820, 1080))),
    DifficultStudy("thorax-only", "image_check", "pet_extent", "fail", Fault(after=cut(560, 800))),
    DifficultStudy("pelvis-and-thighs-only", "image_check", "chest_covered", "fail", Fault(after=cut(0, 420))),
    DifficultStudy("chest-truncated", "image_check", "chest_covered", "warn", Fault(after=cut(0, 640))),
)
_NOTICED_BY: Final[dict[str, str]] = {  # check that fails on a wrong scan
    "mirrored": "sides",
    "pet-mirrored": "sides",
    "face-down": "orientation",
    "upside-down": "orientation",
    "feet-first": "orientation",
    "ct-of-another": "ct_fits",
    "ct-3-cm-away": "ct_fits",
    "ct-8-cm-away": "ct_fits",
    "suv-x-0.37": "suv_scale",
    "suv-x-1.43": "suv_scale",
    "suv-x-1000": "suv_scale",
    "sul-as-suvbw": "suv_scale",
    "weight-in-pounds": "weight_fits",
    "not-fasted": "fasting",
    "extravasation": "extravasation",
    "marrow-stimulated": "marrow_stimulation",
    "ends-below-neck": "scanned_region",
    "ends-above-groin": "scanned_region",
}
_UNNOTICED: Final = frozenset({"sul-as-suvbw"})  # of a lean man: 0.82 times SUVbw, within healthy variation
_WRONG: Final = tuple(
    DifficultStudy(name, "image_check", check, "pass" if name in _UNNOTICED else "fail", WRONG_SCANS[name])
    for name, check in _NOTICED_BY.items()
)
_NOT_FOR_THE_MODEL: Final = (
    DifficultStudy("after-first-dose", "record", "pet_to_treatment_days", "abstains", WRONG_SCANS["after-first-dose"]),
    DifficultStudy("no-tumour", "model", "lesion", "abstains", WRONG_SCANS["no-tumour"]),
)
CASES: Final = {case.name: case for case in (*_ALL, *_WRONG, *_NOT_FOR_THE_MODEL)}
