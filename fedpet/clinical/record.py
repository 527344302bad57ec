"""The clinical-biological record of one patient. Missing is `None`, never a default."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

from fedpet.core.notebook import html_table

if TYPE_CHECKING:
    from datetime import date

Sex = Literal["F", "M"]
Smoking = Literal["never", "former", "current"]
Histology = Literal["adenocarcinoma", "squamous", "undifferentiated", "other"]
Drug = Literal["nivolumab", "pembrolizumab", "atezolizumab"]
DriverAlteration = Literal["yes", "no", "unknown"]
Stage = Literal["I", "IA", "IB", "II", "IIA", "IIB", "III", "IIIA", "IIIB", "IIIC", "IV", "IVA", "IVB"]
TCategory = Literal["TX", "T0", "T1", "T1a", "T1b", "T1c", "T2", "T2a", "T2b", "T3", "T4"]
NCategory = Literal["NX", "N0", "N1", "N2", "N2a", "N2b", "N3"]
MCategory = Literal["M0", "M1", "M1a", "M1b", "M1c", "M1c1", "M1c2"]


@dataclass(frozen=True, kw_only=True)
class ClinicalRecord:
    """What is known of a patient before immunotherapy. A variable that is not stated is None, never a default.

    `fedpet.clinical.variables` has the ranges, French names and codes.

    Attributes:
        age: years, at the start of immunotherapy.
        sex: "F" or "M".
        height_cm: cm.
        weight_kg: kg.
        ecog_ps: performance status, 0 to 4.
        smoking: "never", "former" or "current".
        pack_years: packs a day times years.
        histology: "adenocarcinoma", "squamous", "undifferentiated" or "other".
        pdl1_tps: tumour proportion score of PD-L1, %.
        line: line of immunotherapy, from 1.
        drug: "nivolumab", "pembrolizumab" or "atezolizumab".
        metastatic_organs: number of organs with metastases.
        brain_metastases, liver_metastases, bone_metastases, adrenal_metastases: whether there are any.
        pleural_effusion: whether there is one.
        ldh: U/L; cannot be used without `ldh_uln`.
        ldh_uln: the laboratory's upper limit of normal of LDH, U/L.
        leucocytes, neutrophils, lymphocytes, platelets: G/L.
        haemoglobin: g/dL.
        albumin: g/L.
        crp: mg/L.
        steroids: at least 10 mg/d of prednisone or its equivalent.
        antibiotics: within 30 days before immunotherapy.
        driver_alteration: of EGFR, ALK or ROS1: "yes", "no" or "unknown" where it was not tested.
        pet_to_treatment_days: from the PET to the first dose; negative where the PET came after it.
        glycaemia_mmol_l: at the PET, mmol/L.
        chemotherapy: given beside the first dose of immunotherapy.
        prior_systemic_lines: lines of chemotherapy or targeted therapy before immunotherapy, adjuvant ones included.
        tmb: tumour mutational burden by panel sequencing, mutations per megabase.
        stage: of the tumour, of the UICC's 8th or 9th edition.
        t_category, n_category, m_category: of the same TNM.
        prior_surgery: of the tumour, with the aim to remove it.
        prior_radiotherapy: of any site.
    """

    age: float | None = None
    sex: Sex | None = None
    height_cm: float | None = None
    weight_kg: float | None = None
    ecog_ps: int | None = None
    smoking: Smoking | None = None
    pack_years: float | None = None
    histology: Histology | None = None
    pdl1_tps: float | None = None
    line: int | None = None
    drug: Drug | None = None
    metastatic_organs: int | None = None
    brain_metastases: bool | None = None
    liver_metastases: bool | None = None
    bone_metastases: bool | None = None
    adrenal_metastases: bool | None = None
    pleural_effusion: bool | None = None
    ldh: float | None = None
    ldh_uln: float | None = None
    leucocytes: float | None = None
    neutrophils: float | None = None
    lymphocytes: float | None = None
    platelets: float | None = None
    haemoglobin: float | None = None
    albumin: float | None = None
    crp: float | None = None
    steroids: bool | None = None
    antibiotics: bool | None = None
    driver_alteration: DriverAlteration | None = None
    pet_to_treatment_days: float | None = None
    glycaemia_mmol_l: float | None = None
    chemotherapy: bool | None = None
    prior_systemic_lines: int | None = None
    tmb: float | None = None
    stage: Stage | None = None
    t_category: TCategory | None = None
    n_category: NCategory | None = None
    m_category: MCategory | None = None
    prior_surgery: bool | None = None
    prior_radiotherapy: bool | None = None

    def __repr__(self) -> str:
        """The variables that are stated, and how many are not."""
        stated = self._stated()
        values = "".join(f"{name}={value!r}, " for name, value in stated.items())
        return f"ClinicalRecord({values}{self._missing(stated)} not stated)"

    def _repr_html_(self) -> str:
        """The variables that are stated, with their units."""
        from fedpet.clinical.variables import VARIABLES  # noqa: PLC0415  that table describes this class

        stated = self._stated()
        described = ((VARIABLES[name], value) for name, value in stated.items())
        rows = [(str(variable.label), _shown(value), str(variable.unit or "")) for variable, value in described]
        return html_table(f"Clinical record, {self._missing(stated)} variables not stated", rows)

    def _stated(self) -> dict[str, object]:
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def _missing(self, stated: dict[str, object]) -> int:
        return len(fields(self)) - len(stated)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, kw_only=True)
class RecordReference:
    """Whose record it is, and of which examination and treatment, as far as it says so.

    Attributes:
        identifier: keyed digest of the patient's identifier (`fedpet.core.pseudonyms.identifier_digest`), never the
            identifier itself; "" where it is not stated.
        pet_date: day of the PET.
        first_dose: day of the first dose of immunotherapy.
        copied: variables, or "pet_date", that were taken from the images: they say nothing of whose record it is.
    """

    identifier: str = ""
    pet_date: date | None = None
    first_dose: date | None = None
    copied: frozenset[str] = frozenset()
