"""Every field of `ClinicalRecord` with its French column, unit, ranges and labels.

Warn range: a value outside it is kept and reported. Reject range: a value outside it is refused, since it is
a mistake of unit or of entry rather than a patient. Column names are those of the trial's data dictionary; the last
nine variables are not in it: published scores and a combination with chemotherapy need three, a tumour board asks for
the stage and for what was done before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from fedpet.clinical.record import MCategory, NCategory, Stage, TCategory
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Mapping

VariableType = Literal["number", "integer", "category", "flag"]
Bounds = tuple[float, float]


@dataclass(frozen=True)
class CategoryOption:
    """One value of a category or flag: as stored in the record, as written in a French table, as shown."""

    value: str | bool
    french: str
    label: Message


@dataclass(frozen=True)
class Variable:
    """One clinical variable.

    Attributes:
        name: field of `ClinicalRecord` and English column name.
        french: French column name.
        kind: "number", "integer", "category" or "flag".
        unit: None where the value has no unit.
        warn: closed range outside of which a value is reported; None for categories, or where there is none.
        reject: closed range outside of which a value is refused; None for categories.
        choices: values of a category or flag; empty for numbers.
    """

    name: str
    french: str
    kind: VariableType
    label: Message
    unit: Message | None = None
    warn: Bounds | None = None
    reject: Bounds | None = None
    choices: tuple[CategoryOption, ...] = ()


_YES = CategoryOption(value=True, french="oui", label=Message("yes"))
_NO = CategoryOption(value=False, french="non", label=Message("no"))
_GIGA = Message("G/L")


def _flag(name: str, french: str, label: Message) -> Variable:
    return Variable(name, french, "flag", label, choices=(_YES, _NO))


def _coded(name: str, french: str, label: Message, *codes: str) -> Variable:
    """A category whose values are codes, the same in every language."""
    choices = (CategoryOption(code, code, Message("{code}", code=code)) for code in codes)
    return Variable(name, french, "category", label, choices=tuple(choices))


def _category(name: str, french: str, label: Message, *choices: CategoryOption) -> Variable:
    return Variable(name, french, "category", label, choices=choices)


_ALL = (
    Variable(
        "age",
        "age_immunotherapie",
        "number",
        Message("Age at the start of immunotherapy"),
        Message("years"),
        (40, 90),
        (18, 110),
    ),
    _category(
        "sex",
        "sexe",
        Message("Sex"),
        CategoryOption("F", "F", Message("female")),
        CategoryOption("M", "M", Message("male")),
    ),
    Variable("height_cm", "taille_cm", "number", Message("Height"), Message("cm"), (145, 200), (100, 230)),
    Variable("weight_kg", "poids_kg", "number", Message("Weight"), Message("kg"), (40, 130), (25, 250)),
    Variable("ecog_ps", "ecog_ps", "integer", Message("ECOG performance status"), None, (0, 2), (0, 4)),
    _category(
        "smoking",
        "tabagisme",
        Message("Smoking"),
        CategoryOption("never", "jamais", Message("never smoker")),
        CategoryOption("former", "sevre", Message("former smoker")),
        CategoryOption("current", "actif", Message("current smoker")),
    ),
    Variable("pack_years", "paquets_annees", "number", Message("Pack-years"), None, (0, 100), (0, 250)),
    _category(
        "histology",
        "histologie",
        Message("Histology"),
        CategoryOption("adenocarcinoma", "adenocarcinome", Message("adenocarcinoma")),
        CategoryOption("squamous", "epidermoide", Message("squamous cell carcinoma")),
        CategoryOption("undifferentiated", "indifferencie", Message("undifferentiated carcinoma")),
        CategoryOption("other", "autre", Message("other histology")),
    ),
    Variable(
        "pdl1_tps",
        "pdl1_tps",
        "number",
        Message("PD-L1 tumour proportion score"),
        Message("%"),
        (0, 100),
        (0, 100),
    ),
    Variable("line", "ligne", "integer", Message("Line of immunotherapy"), None, (1, 2), (1, 6)),
    _category(
        "drug",
        "molecule",
        Message("Immunotherapy drug"),
        CategoryOption("nivolumab", "nivolumab", Message("nivolumab")),
        CategoryOption("pembrolizumab", "pembrolizumab", Message("pembrolizumab")),
        CategoryOption("atezolizumab", "atezolizumab", Message("atezolizumab")),
    ),
    Variable("metastatic_organs", "nb_sites_meta", "integer", Message("Metastatic organs"), None, (1, 6), (0, 15)),
    _flag("brain_metastases", "meta_cerebrales", Message("Known brain metastases")),
    _flag("liver_metastases", "meta_hepatiques", Message("Known liver metastases")),
    _flag("bone_metastases", "meta_osseuses", Message("Known bone metastases")),
    _flag("adrenal_metastases", "meta_surrenaliennes", Message("Known adrenal metastases")),
    _flag("pleural_effusion", "epanchement_pleural", Message("Pleural effusion")),
    Variable("ldh", "ldh", "number", Message("LDH"), Message("U/L"), (120, 1000), (50, 10000)),
    Variable(
        "ldh_uln",
        "ldh_lsn",
        "number",
        Message("LDH, laboratory's upper limit of normal"),
        Message("U/L"),
        (200, 480),
        (150, 700),
    ),
    Variable("leucocytes", "leucocytes", "number", Message("White blood cells"), _GIGA, (3, 20), (0.5, 100)),
    Variable("neutrophils", "neutrophiles", "number", Message("Neutrophils"), _GIGA, (1.5, 15), (0.1, 80)),
    Variable("lymphocytes", "lymphocytes", "number", Message("Lymphocytes"), _GIGA, (0.5, 4), (0.05, 50)),
    Variable("platelets", "plaquettes", "number", Message("Platelets"), _GIGA, (120, 600), (10, 2000)),
    Variable("haemoglobin", "hemoglobine", "number", Message("Haemoglobin"), Message("g/dL"), (8, 17), (4, 22)),
    Variable("albumin", "albumine", "number", Message("Serum albumin"), Message("g/L"), (25, 50), (10, 65)),
    Variable("crp", "crp", "number", Message("C-reactive protein"), Message("mg/L"), (0, 200), (0, 600)),
    _flag("steroids", "corticoides", Message("Steroids ≥ 10 mg/d prednisone-equivalent")),
    _flag("antibiotics", "antibiotiques", Message("Antibiotics within 30 days before immunotherapy")),
    _category(
        "driver_alteration",
        "egfr_alk_ros1",
        Message("EGFR, ALK or ROS1 alteration"),
        CategoryOption("yes", "oui", Message("yes")),
        CategoryOption("no", "non", Message("no")),
        CategoryOption("unknown", "inconnu", Message("unknown")),
    ),
    Variable(
        "pet_to_treatment_days",
        "delai_tep_ici",
        "number",
        Message("PET to first dose"),
        Message("days"),
        (0, 60),
        (-365, 92),
    ),
    Variable(
        "glycaemia_mmol_l",
        "glycemie",
        "number",
        Message("Blood glucose at the PET"),
        Message("mmol/L"),
        (4, 9),
        (2, 20),
    ),
    _flag("chemotherapy", "chimiotherapie_associee", Message("Chemotherapy beside immunotherapy")),
    Variable(
        "prior_systemic_lines",
        "lignes_anterieures",
        "integer",
        Message("Systemic treatment lines before immunotherapy"),
        None,
        (0, 2),
        (0, 8),
    ),
    Variable("tmb", "tmb_mut_mb", "number", Message("Tumour mutational burden"), Message("mut/Mb"), (0, 50), (0, 500)),
    _coded("stage", "stade", Message("Stage (UICC)"), *get_args(Stage)),
    _coded("t_category", "tnm_t", Message("TNM: primary tumour (T)"), *get_args(TCategory)),
    _coded("n_category", "tnm_n", Message("TNM: lymph nodes (N)"), *get_args(NCategory)),
    _coded("m_category", "tnm_m", Message("TNM: metastases (M)"), *get_args(MCategory)),
    _flag("prior_surgery", "chirurgie_anterieure", Message("Surgery of the tumour before immunotherapy")),
    _flag("prior_radiotherapy", "radiotherapie_anterieure", Message("Radiotherapy before immunotherapy")),
)

VARIABLES: Mapping[str, Variable] = {variable.name: variable for variable in _ALL}
