"""The population model: who the synthetic patients are, before any image is rendered.

Four latent variables drive a patient: burden, systemic inflammation (correlated 0.35 with burden), avidity, and
propensity to necrosis (correlated 0.30 with burden). Anatomy, lesions (`training.simulation.patients.metastases`), the
clinical record (`training.simulation.patients.clinical_record`) and the acquisition follow from them, so that images
and blood tests are consistent. The outcome is drawn from these values by `training.simulation.patients.risk`.
Documented in docs/cohort.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

import numpy as np

from training.simulation.patients.clinical_record import draw_record
from training.simulation.patients.metastases import LesionSpec, draw_lesions

if TYPE_CHECKING:
    from fedpet.clinical.record import ClinicalRecord
    from training.simulation.patients.centres import SimulatedCentre

SHARE_OF_WOMEN = 0.322
_RECRUITMENT_START = datetime(2017, 1, 2, 8, 0)  # noqa: DTZ001  DICOM local time without a zone, as scanners write it
_RECRUITMENT_DAYS = 1000
_STRANDING_STREAM = 13  # of random numbers, beside those of the patient


@dataclass(frozen=True)
class LatentVariables:
    """Standard normal drivers; `burden` also carries the centre's shift in `site_burden`."""

    burden: float
    site_burden: float
    inflammation: float
    avidity: float
    necrosis: float

    @property
    def total_burden(self) -> float:
        """Burden in this centre."""
        return self.burden + self.site_burden


@dataclass(frozen=True, kw_only=True)
class PatientAnatomy:
    """The body to render. Uptake values are SUVbw at 60 min."""

    sex: Literal["F", "M"]
    height_m: float
    weight_kg: float
    liver: float
    marrow: float
    spleen: float
    blood: float
    brain: float
    myocardium: float
    urine: float
    bowel: float
    muscle: float
    arms_up: bool
    effusion: bool
    warp_seed: int
    texture_seed: int
    varied: bool = False  # painted by `phantom.varied`, not the reference anatomy deformed

    @property
    def bmi(self) -> float:
        """Body mass index, kg/m2."""
        return self.weight_kg / self.height_m**2


@dataclass(frozen=True, kw_only=True)
class PatientAcquisition:
    """One PET/CT examination."""

    injection: datetime
    uptake_min: float
    dose_bq: float
    noise: float  # relative to the reference scanner
    calibration: float  # factor on SUV: the centre's bias times a daily drift
    respiration_mm: float  # amplitude of the diaphragm during the PET
    respiration_offset_mm: float  # mean diaphragm position of the PET against the CT, positive to the head
    contrast: bool
    seed: int

    @property
    def start(self) -> datetime:
        """Start of the PET."""
        return self.injection + timedelta(minutes=self.uptake_min)


@dataclass(frozen=True)
class Patient:
    """A synthetic patient: everything the images, the table and the outcome are made from.

    `record` is complete; `observed` is what the centre's table shows, with its missing values. `stranding` is standard
    normal: how dense lung and fat are around the lesions on the CT. None, the default: they are as elsewhere, and no
    risk hangs on it.
    """

    id: str
    site: SimulatedCentre
    latents: LatentVariables
    anatomy: PatientAnatomy
    lesions: tuple[LesionSpec, ...]
    record: ClinicalRecord
    observed: ClinicalRecord
    acquisition: PatientAcquisition
    outcome_seed: int
    stranding: float | None = None


def clipped_normal(rng: np.random.Generator, mean: float, sd: float, low: float, high: float) -> float:
    """A normal draw, clipped."""
    return min(max(float(rng.normal(mean, sd)), low), high)


def draw_patient(site: SimulatedCentre, number: int, *, seed: int) -> Patient:
    """Patient `number` of `site` in the cohort of `seed`; depends on these three and on nothing else."""
    rng = np.random.default_rng([seed, int(site.code[1:]), number])
    latents = _draw_latents(rng, site)
    anatomy = _draw_anatomy(rng, site, latents)
    lesions = draw_lesions(rng, latents.total_burden, latents.avidity, latents.necrosis)
    acquisition = _draw_acquisition(rng, site, anatomy.weight_kg)
    record, observed = draw_record(rng, site, latents, anatomy, lesions)
    return Patient(
        id=f"SYN-{site.code}-{number:04d}",
        site=site,
        latents=latents,
        anatomy=anatomy,
        lesions=lesions,
        record=record,
        observed=observed,
        acquisition=acquisition,
        outcome_seed=_seed(rng),
    )


def with_stranding(patient: Patient, *, seed: int) -> Patient:
    """The patient with stranding around the lesions, the effect that no quantity of the lesion table measures.

    It depends on the patient and the seed of the cohort and on nothing else, and is independent of all else.
    """
    _, site, number = patient.id.split("-")
    rng = np.random.default_rng([seed, int(site[1:]), int(number), _STRANDING_STREAM])
    return replace(patient, stranding=clipped_normal(rng, 0.0, 1.0, -2.5, 2.5))


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def _draw_latents(rng: np.random.Generator, site: SimulatedCentre) -> LatentVariables:
    burden, inflammation, avidity, necrosis = (float(value) for value in rng.normal(size=4))
    return LatentVariables(
        burden=burden,
        site_burden=site.mix.burden,
        inflammation=0.35 * burden + math.sqrt(1 - 0.35**2) * inflammation,
        avidity=avidity,
        necrosis=0.30 * burden + math.sqrt(1 - 0.30**2) * necrosis,
    )


def _draw_anatomy(rng: np.random.Generator, site: SimulatedCentre, latents: LatentVariables) -> PatientAnatomy:
    sex: Literal["F", "M"] = "F" if rng.random() < SHARE_OF_WOMEN else "M"
    height = clipped_normal(rng, 1.62 if sex == "F" else 1.745, 0.065, 1.45, 1.98)
    bmi = math.exp(clipped_normal(rng, math.log(24.3), 0.16, math.log(16), math.log(40)))
    liver = clipped_normal(rng, 2.25, 0.33, 1.4, 3.4)
    marrow_ratio = math.exp(
        clipped_normal(rng, math.log(0.72) + 0.17 * latents.inflammation, 0.13, math.log(0.35), math.log(1.7))
    )
    spleen_ratio = clipped_normal(rng, 0.86 + 0.05 * latents.inflammation, 0.10, 0.55, 1.4)
    return PatientAnatomy(
        sex=sex,
        height_m=round(height, 2),
        weight_kg=round(bmi * height**2, 1),
        liver=liver,
        marrow=liver * marrow_ratio,
        spleen=liver * spleen_ratio,
        blood=clipped_normal(rng, 1.7, 0.22, 1.1, 2.4),
        brain=clipped_normal(rng, 9.0, 1.8, 4.5, 14),
        myocardium=math.exp(clipped_normal(rng, 1.2, 0.75, 0.35, 2.75)),
        urine=math.exp(clipped_normal(rng, 3.0, 0.55, 1.6, 4.2)),
        bowel=math.exp(clipped_normal(rng, 0.55, 0.40, -0.2, 1.9)),
        muscle=clipped_normal(rng, 0.70, 0.09, 0.45, 1.05),
        arms_up=bool(rng.random() < site.mix.arms_up),
        effusion=bool(rng.random() < 0.12),
        warp_seed=_seed(rng),
        texture_seed=_seed(rng),
    )


def _draw_acquisition(rng: np.random.Generator, site: SimulatedCentre, weight_kg: float) -> PatientAcquisition:
    day = timedelta(days=int(rng.integers(_RECRUITMENT_DAYS)), seconds=int(rng.integers(8 * 3600)))
    dose = weight_kg * site.pet.mbq_per_kg * clipped_normal(rng, 1.0, 0.07, 0.8, 1.2) * 1e6
    return PatientAcquisition(
        injection=_RECRUITMENT_START + day,
        uptake_min=round(clipped_normal(rng, site.pet.uptake_min, 6, 46, 110)),
        dose_bq=round(dose, -4),
        noise=site.pet.noise * math.exp(rng.normal(0, 0.12)),
        calibration=site.pet.calibration * clipped_normal(rng, 1.0, 0.03, 0.9, 1.1),
        respiration_mm=clipped_normal(rng, 9, 3, 3, 18),
        respiration_offset_mm=clipped_normal(rng, 0, 3, -7, 7),
        contrast=bool(rng.random() < site.ct.contrast_share),
        seed=_seed(rng),
    )
