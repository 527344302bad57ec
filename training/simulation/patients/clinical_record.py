"""The clinical and biological record of a synthetic patient, consistent with the disease that is drawn.

Marginals follow a French cohort of 845 patients treated by immunotherapy for non-small-cell lung cancer: age 65
(59-72), 67.8 % men, ECOG PS 0-1 78.1 %, never-smokers 6.6 %, non-squamous 69.6 %, PD-L1 >= 75 % 48.9 %, brain
metastases 20.8 %, steroids 10.9 %, antibiotics 16.8 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from fedpet.clinical.record import ClinicalRecord, Drug, Histology, Smoking
from training.simulation.patients.metastases import metastatic_organs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from training.simulation.patients.centres import SimulatedCentre
    from training.simulation.patients.metastases import LesionSpec
    from training.simulation.patients.population import LatentVariables, PatientAnatomy

_T = TypeVar("_T", bound=str)
_ECOG_CUTS = (-0.46, 0.87, 2.45)
_SMOKING: dict[Smoking, float] = {"never": 0.066, "former": 0.535, "current": 0.399}
_HISTOLOGY: dict[Histology, float] = {"adenocarcinoma": 0.63, "squamous": 0.304, "undifferentiated": 0.066}
_PDL1_BANDS = {"<1": (0, 1), "1-49": (1, 50), "50-74": (50, 75), ">=75": (75, 101)}
_PDL1_FIRST_LINE = {"50-74": 0.32, ">=75": 0.68}
_PDL1_LATER = {"<1": 0.46, "1-49": 0.36, "50-74": 0.09, ">=75": 0.09}
_TMB_MEASURED = 0.3  # of the patients
_COUNTS = ("leucocytes", "neutrophils", "lymphocytes")  # one blood sample: missing together


@dataclass(frozen=True)
class Blood:
    """Counts in G/L; neutrophils + lymphocytes are 92 % of the leucocytes."""

    leucocytes: float
    neutrophils: float
    lymphocytes: float


def draw_record(
    rng: np.random.Generator,
    site: SimulatedCentre,
    latents: LatentVariables,
    anatomy: PatientAnatomy,
    lesions: Sequence[LesionSpec],
) -> tuple[ClinicalRecord, ClinicalRecord]:
    """The complete record, and the record as the centre's table shows it."""
    organs = metastatic_organs(lesions)
    kinds = {lesion.kind for lesion in lesions}
    inflammation, burden = latents.inflammation, latents.total_burden
    ecog = int(np.digitize(rng.normal() + 0.28 * burden + 0.25 * inflammation + site.mix.ecog, _ECOG_CUTS))
    steroids = bool(rng.random() < _logistic(-2.45 + 0.6 * (ecog >= 2) + 0.6 * ("brain" in kinds) + 0.15 * burden))
    smoking = _pick(rng, _SMOKING)
    line = 2 if rng.random() < site.mix.second_line else 1
    blood = _draw_blood(rng, inflammation, steroids=steroids)
    record = ClinicalRecord(
        age=round(min(max(rng.normal(65.2, 9.6), 36), 89), 1),
        sex=anatomy.sex,
        height_cm=round(anatomy.height_m * 100),
        weight_kg=anatomy.weight_kg,
        ecog_ps=ecog,
        smoking=smoking,
        pack_years=_draw_pack_years(rng, smoking),
        histology=_pick(rng, _HISTOLOGY),
        pdl1_tps=_draw_pdl1(rng, line),
        line=line,
        drug=_draw_drug(rng, line),
        metastatic_organs=len(organs),
        brain_metastases="brain" in kinds,
        liver_metastases="liver" in kinds,
        bone_metastases="bone" in kinds,
        adrenal_metastases="adrenal" in kinds,
        pleural_effusion=anatomy.effusion,
        ldh=_draw_ldh(rng, site, latents),
        ldh_uln=site.ldh_uln,
        leucocytes=blood.leucocytes,
        neutrophils=blood.neutrophils,
        lymphocytes=blood.lymphocytes,
        platelets=round(min(max(290 * math.exp(0.18 * inflammation + 0.25 * rng.normal()), 60), 900)),
        haemoglobin=_draw_haemoglobin(rng, anatomy.sex, inflammation),
        albumin=round(min(max(38.5 - 1.8 * inflammation - 0.7 * burden + 2.9 * rng.normal(), 20), 50), 1),
        crp=round(min(max(13 * math.exp(0.85 * inflammation + 0.85 * rng.normal()), 0.5), 380), 1),
        steroids=steroids,
        antibiotics=bool(rng.random() < _logistic(-1.65 + 0.3 * inflammation)),
        driver_alteration="unknown" if rng.random() < 0.05 else "no",
        pet_to_treatment_days=float(min(max(round(math.exp(rng.normal(math.log(21), 0.5))), 1), 85)),
        glycaemia_mmol_l=round(min(max(rng.normal(5.9, 1.0), 3.9), 8.9), 1),
        chemotherapy=False,
        prior_systemic_lines=line - 1,
    )
    others = rng.spawn(1)[0]  # of its own, so that everything else is drawn as before it was there
    record = replace(record, tmb=_draw_tmb(others, smoking))
    observed = _forget(rng, record, site)
    return record, observed if others.random() < _TMB_MEASURED else replace(observed, tmb=None)


def _forget(rng: np.random.Generator, record: ClinicalRecord, site: SimulatedCentre) -> ClinicalRecord:
    """The record without what the centre did not collect."""
    lost = [name for name, probability in site.missing.items() if rng.random() < probability]
    names = {other for name in lost for other in (_COUNTS if name == "neutrophils" else (name,))}
    blanks: dict[str, None] = dict.fromkeys(sorted(names))
    return replace(record, **blanks)


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _pick(rng: np.random.Generator, shares: dict[_T, float]) -> _T:
    index = int(np.searchsorted(np.cumsum(list(shares.values())), rng.random(), side="right"))
    return list(shares)[min(index, len(shares) - 1)]


def _draw_pack_years(rng: np.random.Generator, smoking: Smoking) -> float:
    drawn = math.exp(rng.normal(math.log(38), 0.5))
    return 0.0 if smoking == "never" else float(round(min(max(drawn, 2), 150)))


def _draw_tmb(rng: np.random.Generator, smoking: Smoking) -> float:
    """Mutations per megabase: fewer in never smokers; without an effect on the outcome."""
    return round(min(max(math.exp(rng.normal(math.log(3.5 if smoking == "never" else 7.5), 0.75)), 0.5), 120.0), 1)


def _draw_pdl1(rng: np.random.Generator, line: int) -> float:
    """First line is given for a TPS of 50 % or more; 75 % or more in 48.9 % of all patients."""
    band = _pick(rng, _PDL1_FIRST_LINE if line == 1 else _PDL1_LATER)
    return float(rng.integers(*_PDL1_BANDS[band]))


def _draw_drug(rng: np.random.Generator, line: int) -> Drug:
    first: dict[Drug, float] = {"pembrolizumab": 0.92, "atezolizumab": 0.08}
    later: dict[Drug, float] = {"nivolumab": 0.62, "pembrolizumab": 0.23, "atezolizumab": 0.15}
    return _pick(rng, first if line == 1 else later)


def _draw_ldh(rng: np.random.Generator, site: SimulatedCentre, latents: LatentVariables) -> float:
    """In units of the laboratory's upper limit, so that absolute values are not comparable between centres."""
    ratio = math.exp(-0.12 + 0.16 * latents.total_burden + 0.12 * latents.inflammation + 0.25 * rng.normal())
    return float(max(round(site.ldh_uln * ratio), 80))


def _draw_haemoglobin(rng: np.random.Generator, sex: str, inflammation: float) -> float:
    mean = (12.3 if sex == "F" else 13.2) - 0.6 * inflammation
    return round(min(max(rng.normal(mean, 1.3), 7.0), 17.5), 1)


def _draw_blood(rng: np.random.Generator, inflammation: float, *, steroids: bool) -> Blood:
    """NLR has a median of 4.0; steroids raise the neutrophils."""
    nlr = math.exp(math.log(3.9) + 0.32 * inflammation + 0.42 * rng.normal() + 0.15 * steroids)
    total = math.exp(math.log(8.3) + 0.14 * inflammation + 0.24 * rng.normal() + 0.12 * steroids)
    leucocytes = round(min(max(total, 2.5), 40), 2)
    lymphocytes = round(max(0.92 * leucocytes / (1 + nlr), 0.15), 2)
    return Blood(leucocytes, round(0.92 * leucocytes - lymphocytes, 2), lymphocytes)
