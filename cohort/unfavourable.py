"""Studies with one thing wrong or difficult each, to show that somebody notices: `fedpet cohort unfavourable`.

All are the same ordinary patient of the first centre, so that a check which speaks speaks of the difficulty. OUT is
laid out as a centre is: dicom/<name>/{PT,CT}/*.dcm and clinical.csv; expected.csv says who has to notice what.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from clinical.record import ClinicalRecord
from cohort.anatomy import Canvas
from cohort.dicom import write_study
from cohort.instances import Encoding
from cohort.landmarks import REFERENCE_HEIGHT_M
from cohort.parallel import ordered_map
from cohort.population import draw_patient
from cohort.rendering import render
from cohort.risk import DEFAULT_SIGNAL
from cohort.scanner import ct_image, pet_image
from cohort.simulate import table_row, write_table
from cohort.sites import SITES
from cohort.tissues import Tissue
from fedpet.messages import Message
from fedpet.progress import silent
from imaging.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cohort.anatomy import Field, Mask
    from cohort.landmarks import Mm
    from cohort.population import Patient
    from cohort.rendering import Body
    from fedpet.progress import Progress

    Paint = Callable[[Body, Canvas, Patient], None]

Speaker = Literal["image_check", "record"]
Outcome = Literal["fail", "warn", "missing", "abstains"]

_SPACING_MM: Final = (4.0, 4.0, 6.0)
_NUMBER: Final = 0
_ENCODING: Final = Encoding(compressed=True)
_POUNDS: Final = 2.20462  # in a kilogram
_BLOOD: Final = (
    "leucocytes", "neutrophils", "lymphocytes", "haemoglobin", "platelets", "ldh", "ldh_uln", "crp", "albumin",
    "glycaemia_mmol_l",
)  # fmt: skip
_KNOWN_AT_LEAST: Final = ("age", "sex", "histology", "pet_to_treatment_days")
_ALMOST_ALL: Final = tuple(one.name for one in fields(ClinicalRecord) if one.name not in _KNOWN_AT_LEAST)
_ELBOW_MM: Final[Mm] = (-112.0, -22.0, 930.0)  # reference position, in the raised right arm
_SPILL_MM, _SPILL_SHARE = 20.0, 0.10  # reach of the tracer beside the vein, share of the injected activity
_FLUID_BEHIND_MM, _FLUID_HU = 15.0, 8.0
_BROWN_SUV: Final = 7.0
_FAT_HU: Final = -95.0


@dataclass(frozen=True, eq=False)
class Scans:
    """A patient as scanned; `patient` is who the headers tell of, `ct` None where it is lost."""

    patient: Patient
    pet: Volume
    ct: Volume | None


@dataclass(frozen=True)
class Unfavourable:
    """One difficulty, and who must notice it.

    Attributes:
        name: of the folder, and the patient's identifier.
        speaker: "image_check": a check of the study named `finding`; "record": the encoding or the abstention.
        finding: name of the check, or of a variable that is missing.
        outcome: level of the check; "missing": the variable is named as missing; "abstains": the model must not answer.
        before: changes the patient.
        painted: changes the body before it is scanned.
        after: changes what was scanned.
    """

    name: str
    speaker: Speaker
    finding: str
    outcome: Outcome
    before: Callable[[Patient], Patient] = lambda patient: patient
    painted: Paint | None = None
    after: Callable[[Scans], Scans] = lambda scans: scans


def write_unfavourable(out: Path, *, seed: int = 1, workers: int = 1, progress: Progress = silent) -> None:
    """Write OUT/dicom/<name>/{PT,CT}/*.dcm, OUT/clinical.csv and OUT/expected.csv; the same seed gives the same bytes.

    Args:
        out: folder to write; made if missing.
        seed: of the patient.
        workers: processes.
        progress: told after each study.
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


def scanned(case: Unfavourable, *, seed: int = 1) -> Scans:
    """The patient with the difficulty, drawn, rendered and scanned."""
    ordinary = _ordinary(seed)
    patient = case.before(ordinary)
    if case.painted is None and patient.anatomy == ordinary.anatomy and patient.acquisition == ordinary.acquisition:
        scans = replace(_ordinary_scans(seed), patient=patient)
    else:
        scans = _scan(patient, case.painted)
    after = case.after(scans)
    return replace(after, patient=replace(after.patient, id=case.name))


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
    return _scan(_ordinary(seed), None)


def _scan(patient: Patient, painted: Paint | None) -> Scans:
    body = render(patient, _SPACING_MM)
    if painted is not None:
        painted(body, Canvas(patient.anatomy, body.lattice), patient)
    return Scans(patient, pet_image(body, patient), ct_image(body, patient))


def _record(*missing: str) -> Callable[[Patient], Patient]:
    def change(patient: Patient) -> Patient:
        return replace(patient, observed=replace(patient.observed, **dict.fromkeys(missing)))

    return change


def _arms_down(patient: Patient) -> Patient:
    return replace(patient, anatomy=replace(patient.anatomy, arms_up=False))


def _contrast(patient: Patient) -> Patient:
    return replace(patient, acquisition=replace(patient.acquisition, contrast=True))


def _extravasation(body: Body, canvas: Canvas, patient: Patient) -> None:
    """Part of the activity stays in the arm, and is missing everywhere else."""
    arm = _ball(canvas, _ELBOW_MM, _SPILL_MM) & np.isin(body.tissues, [Tissue.MUSCLE, Tissue.FAT])
    grams = arm.sum() * float(np.prod(body.lattice.spacing)) / 1000
    body.suv[...] *= 1 - _SPILL_SHARE
    body.suv[arm] = _SPILL_SHARE * patient.anatomy.weight_kg * 1000 / grams


def _effusion(body: Body, canvas: Canvas, patient: Patient) -> None:
    """Fluid in the back of the right chest; what the population model calls an effusion is smaller."""
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


def _ball(canvas: Canvas, centre: Mm, radius: float) -> Mask:
    x, y, z = centre
    distance: Field = (canvas.x - x) ** 2 + (canvas.y - y) ** 2 + (canvas.z - z) ** 2
    return np.asarray(distance < radius**2)


def _weighed(weight_kg: Callable[[Patient], float]) -> Callable[[Scans], Scans]:
    """The weight in the headers is wrong; the activity that was measured stays, so that the SUV is wrong with it."""

    def change(scans: Scans) -> Scans:
        anatomy = scans.patient.anatomy
        wrong = weight_kg(scans.patient)
        told = replace(anatomy, weight_kg=wrong)
        suv = scans.pet.array * np.float32(wrong / anatomy.weight_kg)
        return Scans(replace(scans.patient, anatomy=told), scans.pet.like(suv, "g/ml"), scans.ct)

    return change


def _shifted(x_mm: float, z_mm: float) -> Callable[[Scans], Scans]:
    """The CT lies elsewhere than the PET: the patient moved between the two."""

    def change(scans: Scans) -> Scans:
        ct = _given(scans.ct)
        affine = ct.affine.copy()
        affine[0, 3] += x_mm
        affine[2, 3] += z_mm
        return replace(scans, ct=Volume(ct.array, affine, ct.unit))

    return change


def _cut(low_mm: float, high_mm: float) -> Callable[[Scans], Scans]:
    """Only the part between two heights of the reference body was scanned."""

    def part(volume: Volume, scale: float) -> Volume:
        step = volume.spacing[2]
        first, last = (min(max(round(mm * scale / step), 0), volume.shape[0]) for mm in (low_mm, high_mm))
        affine = volume.affine.copy()
        affine[2, 3] += first * step
        return Volume(volume.array[first:last], affine, volume.unit)

    def change(scans: Scans) -> Scans:
        scale = scans.patient.anatomy.height_m / REFERENCE_HEIGHT_M
        return replace(scans, pet=part(scans.pet, scale), ct=part(_given(scans.ct), scale))

    return change


def _upside_down(scans: Scans) -> Scans:
    """Slices in the wrong order, so that the head lies at the feet."""
    pet, ct = scans.pet, _given(scans.ct)
    return replace(scans, pet=pet.like(pet.array[::-1], pet.unit), ct=ct.like(ct.array[::-1], ct.unit))


def _given(ct: Volume | None) -> Volume:
    if ct is None:
        raise ValueError("this difficulty needs the CT")
    return ct


def _centimetres(patient: Patient) -> float:
    return 100 * patient.anatomy.height_m


_ALL: Final = (
    Unfavourable("blood-panel-missing", "record", "pdl1_tps", "missing", before=_record("pdl1_tps", *_BLOOD)),
    Unfavourable("record-almost-empty", "record", "pdl1_tps", "abstains", before=_record(*_ALMOST_ALL)),
    Unfavourable("effusion", "image_check", "effusion", "warn", painted=_effusion),
    Unfavourable("arms-down", "image_check", "arms", "warn", before=_arms_down),
    Unfavourable("contrast-ct", "image_check", "contrast_ct", "warn", before=_contrast),
    Unfavourable("extravasation", "image_check", "extravasation", "warn", painted=_extravasation),
    Unfavourable("brown-fat", "image_check", "brown_fat", "warn", painted=_brown_fat),
    Unfavourable(
        "weight-in-pounds",
        "image_check",
        "weight_fits",
        "warn",
        after=_weighed(lambda patient: _POUNDS * patient.anatomy.weight_kg),
    ),
    Unfavourable("weight-is-height", "image_check", "weight_fits", "warn", after=_weighed(_centimetres)),
    Unfavourable(
        "weight-digit-lost",
        "image_check",
        "weight",
        "fail",
        after=_weighed(lambda patient: patient.anatomy.weight_kg / 10),
    ),
    Unfavourable("ct-8-cm-aside", "image_check", "alignment", "warn", after=_shifted(80.0, 0.0)),
    Unfavourable("ct-8-cm-along", "image_check", "suv_plausible", "warn", after=_shifted(0.0, 80.0)),
    Unfavourable("no-ct", "image_check", "ct_present", "fail", after=lambda scans: replace(scans, ct=None)),
    Unfavourable("brain-only", "image_check", "chest_covered", "fail", after=_cut(820, 1080)),
    Unfavourable("thorax-only", "image_check", "pet_extent", "fail", after=_cut(560, 800)),
    Unfavourable("pelvis-and-thighs-only", "image_check", "chest_covered", "fail", after=_cut(0, 420)),
    Unfavourable("chest-truncated", "image_check", "chest_covered", "warn", after=_cut(0, 640)),
    Unfavourable("upside-down", "image_check", "orientation", "fail", after=_upside_down),
)
CASES: Final = {case.name: case for case in _ALL}
