"""Faults planted in the scan of a synthetic patient: what must never be answered as if it were right.

Each fault is drawn for the patient (side, direction, amount), so that a cohort holds it in many forms; the same patient
gives the same fault. `fedpet cohort unfavourable` writes one study of each; `benchmarks/wrong_scans.py` counts how many
of a cohort are caught.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from fedpet.imaging.suv.normalization import lean_body_mass_kg
from fedpet.imaging.volume import Volume
from training.simulation.acquisition.scanner import ct_image, pet_image
from training.simulation.patients.population import draw_patient
from training.simulation.patients.reference_body import REFERENCE_HEIGHT_M
from training.simulation.phantom.canvas import Canvas
from training.simulation.phantom.rendering import render
from training.simulation.phantom.tissues import Tissue

if TYPE_CHECKING:
    from collections.abc import Callable

    from training.simulation.patients.population import Patient
    from training.simulation.patients.reference_body import Mm
    from training.simulation.phantom.canvas import Field, Mask
    from training.simulation.phantom.rendering import Body

    Paint = Callable[[Body, Canvas, Patient], None]

COARSE_MM: Final = (4.0, 4.0, 6.0)  # column, row, slice
POUNDS: Final = 2.20462  # in a kilogram
_AIR_HU: Final = -1000.0
_DIRECTIONS: Final = tuple(tuple(sign * (axis == i) for i in range(3)) for axis in range(3) for sign in (-1, 1))
_OTHER_PATIENTS: Final = 5000  # numbers from here on are nobody's in a cohort
_MUSCLE, _HEART_SUV, _LIVER, _BRAIN = (1.8, 3.2), (8.0, 16.0), (0.75, 0.95), (0.5, 0.8)  # without fasting
_MARROW, _SPLEEN = (1.5, 2.2), (1.2, 1.6)  # uptake relative to the liver after G-CSF
_SPILL = 0.10, 0.30  # share of the injected activity that stays in the arm
_SPILL_MM: Final = 20.0
_TOP_MM, _BOTTOM_MM = (600.0, 765.0), (230.0, 450.0)  # reference heights: upper chest, abdomen and upper pelvis


@dataclass(frozen=True, eq=False)
class Scans:
    """A patient as scanned; `patient` as the headers and the record describe them, `ct` None where it is lost."""

    patient: Patient
    pet: Volume
    ct: Volume | None

    @property
    def given_ct(self) -> Volume:
        """The CT.

        Raises:
            ValueError: it is lost.
        """
        if self.ct is None:
            raise ValueError("this fault needs the CT")
        return self.ct


@dataclass(frozen=True)
class Fault:
    """What is wrong.

    Attributes:
        before: changes the patient.
        painted: changes the body before it is scanned.
        after: changes what was scanned.
    """

    before: Callable[[Patient], Patient] = lambda patient: patient
    painted: Paint | None = None
    after: Callable[[Scans], Scans] = lambda scans: scans

    def scanned_again(self, patient: Patient) -> bool:
        """Whether the images cannot be made from those of the patient without the fault."""
        changed = self.before(patient)
        images = (changed.anatomy, changed.lesions, changed.acquisition)
        return self.painted is not None or images != (patient.anatomy, patient.lesions, patient.acquisition)


def scan_with(fault: Fault, patient: Patient, *, plain: Scans | None = None) -> Scans:
    """The patient with the fault, rendered coarsely and scanned.

    Args:
        fault: what is wrong.
        patient: without the fault.
        plain: the same patient scanned without the fault, used where nothing has to be scanned again.
    """
    changed = fault.before(patient)
    scans = scan_plain(changed, fault.painted) if plain is None or fault.scanned_again(patient) else plain
    return fault.after(replace(scans, patient=changed))


def scan_plain(patient: Patient, painted: Paint | None = None) -> Scans:
    """The patient rendered coarsely, painted on, and scanned."""
    body = render(patient, COARSE_MM)
    if painted is not None:
        painted(body, Canvas(patient.anatomy, body.lattice), patient)
    return Scans(patient, pet_image(body, patient), ct_image(body, patient))


def mirrored(scans: Scans, *, pet: bool = True, ct: bool = True) -> Scans:
    """Left and right exchanged."""
    return _turned(scans, (slice(None), slice(None), slice(None, None, -1)), pet=pet, ct=ct)


def upside_down(scans: Scans) -> Scans:
    """Slices in the wrong order, so that the head lies at the feet."""
    return _turned(scans, (slice(None, None, -1),))


def feet_first(scans: Scans) -> Scans:
    """Scanned with the feet first, declared as head first: turned about the axis from front to back."""
    return _turned(scans, (slice(None, None, -1), slice(None), slice(None, None, -1)))


def _turned(scans: Scans, index: tuple[slice, ...], *, pet: bool = True, ct: bool = True) -> Scans:
    def turn(volume: Volume) -> Volume:
        return volume.like(np.ascontiguousarray(volume.array[index]), volume.unit)

    return replace(scans, pet=turn(scans.pet) if pet else scans.pet, ct=turn(scans.given_ct) if ct else scans.ct)


def face_down(body: Body, canvas: Canvas, patient: Patient) -> None:
    """Lies on the belly, declared as lying on the back: turned about the long axis, without the couch."""
    del canvas, patient
    couch = body.tissues == Tissue.COUCH
    body.hu[couch] = _AIR_HU
    body.tissues[couch] = Tissue.AIR
    for image in (body.suv, body.hu, body.tissues):
        image[...] = image[:, ::-1, ::-1].copy()


def other_ct(scans: Scans) -> Scans:
    """The CT of another patient of the centre under the headers of this one."""
    patient = scans.patient
    other = draw_patient(patient.site, _OTHER_PATIENTS, seed=patient.acquisition.seed)
    return replace(scans, ct=scan_plain(other).ct)


def shifted(x_mm: float = 0.0, y_mm: float = 0.0, z_mm: float = 0.0) -> Callable[[Scans], Scans]:
    """The CT lies elsewhere than the PET: the patient moved between the two."""

    def change(scans: Scans) -> Scans:
        ct = scans.given_ct
        affine = ct.affine.copy()
        affine[:3, 3] += (x_mm, y_mm, z_mm)
        return replace(scans, ct=Volume(ct.array, affine, ct.unit))

    return change


def displaced(mm: float) -> Callable[[Scans], Scans]:
    """The CT lies `mm` to the left, right, front, back, head or feet."""

    def change(scans: Scans) -> Scans:
        direction = _DIRECTIONS[_draws(scans.patient, "displaced").integers(6)]
        return shifted(*(mm * one for one in direction))(scans)

    return change


def scaled(factor: float | Callable[[Patient], float]) -> Callable[[Scans], Scans]:
    """Every SUV is `factor` times what it should be; the headers are right."""

    def change(scans: Scans) -> Scans:
        times = factor if isinstance(factor, float) else factor(scans.patient)
        return replace(scans, pet=scans.pet.like(scans.pet.array * np.float32(times), scans.pet.unit))

    return change


def lean_share(patient: Patient) -> float:
    """SUL for an SUVbw of 1."""
    anatomy = patient.anatomy
    return lean_body_mass_kg(anatomy.weight_kg, anatomy.height_m, anatomy.sex) / anatomy.weight_kg


def weighed(weight_kg: Callable[[Patient], float]) -> Callable[[Scans], Scans]:
    """The weight in the headers is wrong; the measured activity stays, so that the SUV is wrong as well."""

    def change(scans: Scans) -> Scans:
        anatomy = scans.patient.anatomy
        wrong = weight_kg(scans.patient)
        times = wrong / anatomy.weight_kg
        return replace(scaled(times)(scans), patient=replace(scans.patient, anatomy=replace(anatomy, weight_kg=wrong)))

    return change


def not_fasted(patient: Patient) -> Patient:
    """Insulin drives the tracer into muscle and heart; less is left for liver and brain."""
    draws, anatomy = _draws(patient, "not_fasted"), patient.anatomy
    return replace(
        patient,
        anatomy=replace(
            anatomy,
            muscle=anatomy.muscle * draws.uniform(*_MUSCLE),
            myocardium=max(anatomy.myocardium, draws.uniform(*_HEART_SUV)),
            liver=anatomy.liver * draws.uniform(*_LIVER),
            brain=anatomy.brain * draws.uniform(*_BRAIN),
        ),
    )


def stimulated(patient: Patient) -> Patient:
    """Marrow and spleen after a growth factor."""
    draws, anatomy = _draws(patient, "stimulated"), patient.anatomy
    return replace(
        patient,
        anatomy=replace(
            anatomy, marrow=anatomy.liver * draws.uniform(*_MARROW), spleen=anatomy.liver * draws.uniform(*_SPLEEN)
        ),
    )


def no_tumour(patient: Patient) -> Patient:
    """No lesion at all."""
    return replace(patient, lesions=())


def treated(patient: Patient) -> Patient:
    """The PET comes after the first dose of immunotherapy, by the record."""
    days = -float(_draws(patient, "treated").integers(1, 60))
    return replace(
        patient,
        record=replace(patient.record, pet_to_treatment_days=days),
        observed=replace(patient.observed, pet_to_treatment_days=days),
    )


def extravasation(body: Body, canvas: Canvas, patient: Patient) -> None:
    """Part of the activity stays in an arm, and is missing everywhere else."""
    draws, anatomy = _draws(patient, "extravasation"), patient.anatomy
    share = draws.uniform(*_SPILL)
    side = int(draws.choice((-1, 1)))
    arm = _ball(canvas, _elbow(patient, side), _SPILL_MM) & np.isin(body.tissues, [Tissue.MUSCLE, Tissue.FAT])
    grams = arm.sum() * float(np.prod(body.lattice.spacing)) / 1000
    body.suv[...] *= 1 - share
    body.suv[arm] = share * anatomy.weight_kg * 1000 / grams


def _elbow(patient: Patient, side: int) -> Mm:
    """Reference position, LPS mm; `side` is -1 for the right arm."""
    if patient.anatomy.arms_up:
        return side * 112.0, -22.0, 930.0
    fat_mm = 1.35 * (patient.anatomy.bmi - 16)
    return side * (195.0 + 0.6 * max(fat_mm, 0.0)), 26.0, 470.0


def _ball(canvas: Canvas, centre: Mm, radius: float) -> Mask:
    x, y, z = centre
    distance: Field = (canvas.x - x) ** 2 + (canvas.y - y) ** 2 + (canvas.z - z) ** 2
    return np.asarray(distance < radius**2)


def cut(low_mm: float, high_mm: float, *, ct: bool = True) -> Callable[[Scans], Scans]:
    """Only the part between two heights of the reference body was scanned; without `ct` by the PET alone."""

    def change(scans: Scans) -> Scans:
        scale = scans.patient.anatomy.height_m / REFERENCE_HEIGHT_M
        pet, whole = (_part(one, low_mm * scale, high_mm * scale) for one in (scans.pet, scans.given_ct))
        return replace(scans, pet=pet, ct=whole if ct else scans.ct)

    return change


def below_neck(scans: Scans) -> Scans:
    """The scan ends in the upper chest; of every other patient the CT goes on."""
    draws = _draws(scans.patient, "below_neck")
    return cut(0, draws.uniform(*_TOP_MM), ct=bool(draws.integers(2)))(scans)


def above_groin(scans: Scans) -> Scans:
    """The scan begins above the groin; of every other patient the CT shows more."""
    draws = _draws(scans.patient, "above_groin")
    return cut(draws.uniform(*_BOTTOM_MM), 1100, ct=bool(draws.integers(2)))(scans)


def _part(volume: Volume, low_mm: float, high_mm: float) -> Volume:
    step = volume.spacing[2]
    first, last = (min(max(round(mm / step), 0), volume.shape[0]) for mm in (low_mm, high_mm))
    affine = volume.affine.copy()
    affine[2, 3] += first * step
    return Volume(volume.array[first:last], affine, volume.unit)


def _draws(patient: Patient, fault: str) -> np.random.Generator:
    """The patient's random numbers for a fault."""
    return np.random.default_rng([patient.acquisition.seed, *fault.encode()])


WRONG_SCANS: Final = {
    "mirrored": Fault(after=mirrored),
    "pet-mirrored": Fault(after=lambda scans: mirrored(scans, ct=False)),
    "face-down": Fault(painted=face_down),
    "upside-down": Fault(after=upside_down),
    "feet-first": Fault(after=feet_first),
    "ct-of-another": Fault(after=other_ct),
    "ct-3-cm-away": Fault(after=displaced(30.0)),
    "ct-8-cm-away": Fault(after=displaced(80.0)),
    "suv-x-0.37": Fault(after=scaled(0.37)),
    "suv-x-1.43": Fault(after=scaled(1.43)),
    "suv-x-1000": Fault(after=scaled(1000.0)),
    "sul-as-suvbw": Fault(after=scaled(lean_share)),
    "weight-in-pounds": Fault(after=weighed(lambda patient: POUNDS * patient.anatomy.weight_kg)),
    "not-fasted": Fault(before=not_fasted),
    "extravasation": Fault(painted=extravasation),
    "marrow-stimulated": Fault(before=stimulated),
    "after-first-dose": Fault(before=treated),
    "no-tumour": Fault(before=no_tumour),
    "ends-below-neck": Fault(after=below_neck),
    "ends-above-groin": Fault(after=above_groin),
}
"""Faults of a scan by name; see docs/cohort.md."""
