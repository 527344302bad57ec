"""The clinical-biological record of one patient. Missing is `None`, never a default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Sex = Literal["F", "M"]
Smoking = Literal["never", "former", "current"]
Histology = Literal["adenocarcinoma", "squamous", "undifferentiated", "other"]
Drug = Literal["nivolumab", "pembrolizumab", "atezolizumab"]
DriverAlteration = Literal["yes", "no", "unknown"]


@dataclass(frozen=True, kw_only=True)
class ClinicalRecord:
    """Variables with their units; see `clinical.variables` for ranges, French names and codes."""

    age: float | None = None  # years, at the start of immunotherapy
    sex: Sex | None = None
    height_cm: float | None = None
    weight_kg: float | None = None
    ecog_ps: int | None = None  # 0-4
    smoking: Smoking | None = None
    pack_years: float | None = None
    histology: Histology | None = None
    pdl1_tps: float | None = None  # %
    line: int | None = None  # line of immunotherapy
    drug: Drug | None = None
    metastatic_organs: int | None = None
    brain_metastases: bool | None = None
    liver_metastases: bool | None = None
    bone_metastases: bool | None = None
    adrenal_metastases: bool | None = None
    pleural_effusion: bool | None = None
    ldh: float | None = None  # U/L
    ldh_uln: float | None = None  # U/L, the laboratory's upper limit of normal
    leucocytes: float | None = None  # G/L
    neutrophils: float | None = None  # G/L
    lymphocytes: float | None = None  # G/L
    platelets: float | None = None  # G/L
    haemoglobin: float | None = None  # g/dL
    albumin: float | None = None  # g/L
    crp: float | None = None  # mg/L
    steroids: bool | None = None  # >= 10 mg/d prednisone-equivalent
    antibiotics: bool | None = None  # within 30 days before immunotherapy
    driver_alteration: DriverAlteration | None = None  # EGFR / ALK / ROS1
    pet_to_treatment_days: float | None = None  # PET to first dose; negative: PET after the first dose
    glycaemia_mmol_l: float | None = None  # at the PET
