"""Published prognostic scores. A missing input makes a score not computable (None); nothing is imputed.

`SCORES` lists them all with their sources; `missing_inputs` says what one lacks. Albumin, in g/L, is converted to
the g/dL of ALI and LORIS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import exp
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

from fedpet.core.messages import Message

if TYPE_CHECKING:
    from fedpet.clinical.record import ClinicalRecord

TMTV: Final = "tmtv_ml"  # the one input that comes from the images: TMTV of the lesion table, ml
_Compute = Callable[["ClinicalRecord", float | None], float | None]
_HEAVY_SMOKER = 43.0  # pack-years
_SEBAN_ML = 75.0
_GRAMS_A_DECILITRE = 0.1  # of a g/L


def nlr(record: ClinicalRecord) -> float | None:
    """Neutrophil-to-lymphocyte ratio."""
    if record.neutrophils is None or record.lymphocytes is None:
        return None
    return record.neutrophils / record.lymphocytes


def dnlr(record: ClinicalRecord) -> float | None:
    """Derived ratio: neutrophils / (leucocytes - neutrophils), where leucocytes exceed neutrophils."""
    if record.neutrophils is None or record.leucocytes is None or record.leucocytes <= record.neutrophils:
        return None
    return record.neutrophils / (record.leucocytes - record.neutrophils)


def lipi(record: ClinicalRecord) -> Literal[0, 1, 2] | None:
    """Lung Immune Prognostic Index: 0 good, 1 intermediate, 2 poor.

    One point each for dNLR > 3 and LDH above the laboratory's upper limit (Mezquita, JAMA Oncol 2018).
    """
    ratio, high_ldh = dnlr(record), _ldh_above_limit(record)
    if ratio is None or high_ldh is None:
        return None
    if ratio > 3 and high_ldh:
        return 2
    return 1 if ratio > 3 or high_ldh else 0


def grim(record: ClinicalRecord) -> int | None:
    """Gustave Roussy Immune score, 0 to 3 (see `grim_group`).

    One point each for NLR > 6, LDH above the upper limit and albumin < 35 g/L (Bigot, Eur J Cancer 2017).
    """
    ratio, high_ldh = nlr(record), _ldh_above_limit(record)
    if ratio is None or high_ldh is None or record.albumin is None:
        return None
    return int(ratio > 6) + int(high_ldh) + int(record.albumin < 35)


def grim_group(points: int) -> Literal["low", "high"]:
    """Risk group of a GRIm score (0 to 3): high from 2 points (Bigot, Eur J Cancer 2017)."""
    return "low" if points < 2 else "high"


def bmi(record: ClinicalRecord) -> float | None:
    """Body mass index, kg/m2."""
    if record.weight_kg is None or record.height_cm is None:
        return None
    return record.weight_kg / (record.height_cm / 100) ** 2


def ali(record: ClinicalRecord) -> float | None:
    """Advanced Lung Cancer Inflammation Index: BMI (kg/m2) x albumin (g/dL) / NLR.

    Below 18 the inflammation is high and the outcome worse (Jafri, BMC Cancer 2013).
    """
    mass, ratio = bmi(record), nlr(record)
    if mass is None or ratio is None or record.albumin is None:
        return None
    return mass * record.albumin * _GRAMS_A_DECILITRE / ratio


def epsilon(record: ClinicalRecord) -> int | None:
    """EPSILoN: number of unfavourable factors, 0 to 5 (Prelaj, Cancers 2019).

    ECOG >= 2; smoked less than 43 pack-years; liver metastases; LDH >= 400 U/L (printed as mg/dL there); NLR >= 4.
    """
    ratio, heavy = nlr(record), _heavy_smoker(record)
    ecog, liver, ldh = record.ecog_ps, record.liver_metastases, record.ldh
    if ratio is None or heavy is None or ecog is None or liver is None or ldh is None:
        return None
    return sum((ecog >= 2, not heavy, liver, ldh >= 400, ratio >= 4))


def seban(record: ClinicalRecord, tmtv_ml: float | None) -> Literal[0, 1, 2] | None:
    """Number of unfavourable factors: TMTV > 75 ml, dNLR > 3 (Seban, EJNMMI 2020).

    Args:
        record: with the blood counts.
        tmtv_ml: metabolic tumour volume of all lesions, ml, as the lesion table has it.
    """
    ratio = dnlr(record)
    if ratio is None or tmtv_ml is None:
        return None
    large = tmtv_ml > _SEBAN_ML
    if large and ratio > 3:
        return 2
    return 1 if large or ratio > 3 else 0


def loris(record: ClinicalRecord) -> float | None:
    """LORIS for NSCLC: probability-like score of a response, 0 to 1, higher is better (Chang, Nat Cancer 2024).

    Six-feature logistic regression; coefficients as the authors publish them with their code (rootchang/LORIS).
    """
    ratio, treated = nlr(record), _treated_before(record)
    if ratio is None or treated is None or record.albumin is None or record.tmb is None or record.pdl1_tps is None:
        return None
    return _logistic(
        0.0353 * min(record.tmb, 50.0)
        + 0.0111 * record.pdl1_tps
        - 0.375 * treated
        + 0.2924 * record.albumin * _GRAMS_A_DECILITRE
        - 0.0103 * min(ratio, 25.0)
        - 1.5593
    )


def loris_without_tmb(record: ClinicalRecord) -> float | None:
    """LORIS for NSCLC where no tumour mutational burden is known, 0 to 1, higher is better.

    Not published: the authors' procedure (L1 logistic regression, mean over random splits) applied to their public data
    of 324 patients without the feature TMB; the same derivation gives back the published coefficients with it.
    """
    ratio, treated = nlr(record), _treated_before(record)
    if ratio is None or treated is None or record.albumin is None or record.pdl1_tps is None:
        return None
    return _logistic(
        0.01055 * record.pdl1_tps
        - 0.3977 * treated
        + 0.3325 * record.albumin * _GRAMS_A_DECILITRE
        - 0.01082 * min(ratio, 25.0)
        - 1.3455
    )


def loris_pan_cancer(record: ClinicalRecord) -> float | None:
    """Pan-cancer LORIS with its term for NSCLC: needs TMB and age, but no PD-L1 (Chang, Nat Cancer 2024); 0 to 1."""
    ratio, treated = nlr(record), _treated_before(record)
    if ratio is None or treated is None or record.albumin is None or record.tmb is None or record.age is None:
        return None
    return _logistic(
        0.0371 * min(record.tmb, 50.0)
        - 0.8775 * treated
        + 0.5382 * record.albumin * _GRAMS_A_DECILITRE
        - 0.033 * min(ratio, 25.0)
        + 0.0049 * min(record.age, 85.0)
        + 0.0008
        - 2.0886
    )


@dataclass(frozen=True)
class PublishedScore:
    """A score that ranks patients by itself.

    Attributes:
        name: stable; its column in node data is "score:<name>".
        label: in words, with its criteria where they are short.
        compute: from the record and TMTV in ml; None where an input is missing.
        inputs: fields of `ClinicalRecord` and `TMTV` that it needs.
        worse: which values go with a worse outcome.
        reference: where it is published.
    """

    name: str
    label: Message
    compute: _Compute
    inputs: tuple[str, ...]
    worse: Literal["higher", "lower"]
    reference: str


def published_scores(record: ClinicalRecord, tmtv_ml: float | None = None) -> dict[str, float | None]:
    """Every score of a patient by its name; None where an input is missing (`missing_inputs` says which).

    Args:
        record: of the patient.
        tmtv_ml: metabolic tumour volume of all lesions, ml.
    """
    return {name: score.compute(record, tmtv_ml) for name, score in SCORES.items()}


def lacking_inputs(record: ClinicalRecord, tmtv_ml: float | None = None) -> dict[str, tuple[str, ...]]:
    """The missing inputs by name of each score that lacks one; arguments as of `published_scores`."""
    found = {name: missing_inputs(score, record, tmtv_ml) for name, score in SCORES.items()}
    return {name: inputs for name, inputs in found.items() if inputs}


def missing_inputs(score: PublishedScore, record: ClinicalRecord, tmtv_ml: float | None = None) -> tuple[str, ...]:
    """The inputs of a score that are not known; empty where it can be computed, unless values contradict each other.

    A never smoker needs no pack-years, and a second line says that there was a systemic treatment before.
    """
    known = {TMTV: tmtv_ml is not None, "pack_years": _heavy_smoker(record) is not None}
    known["prior_systemic_lines"] = _treated_before(record) is not None
    return tuple(name for name in score.inputs if not known.get(name, getattr(record, name, None) is not None))


_NLR = ("neutrophils", "lymphocytes")
_DNLR = ("leucocytes", "neutrophils")
_LDH = ("ldh", "ldh_uln")
_LORIS = ("prior_systemic_lines", "albumin", *_NLR)
_SIZE = ("height_cm", "weight_kg")
_CHANG = "Chang, Nat Cancer 2024"


def _of_record(compute: Callable[[ClinicalRecord], float | None]) -> _Compute:
    return lambda record, _tmtv_ml: compute(record)


_ALL = (
    PublishedScore("nlr", Message("NLR"), _of_record(nlr), _NLR, "higher", ""),
    PublishedScore("dnlr", Message("dNLR"), _of_record(dnlr), _DNLR, "higher", ""),
    PublishedScore(
        "lipi",
        Message("LIPI (dNLR > 3, LDH above the limit)"),
        _of_record(lipi),
        (*_DNLR, *_LDH),
        "higher",
        "Mezquita, JAMA Oncol 2018",
    ),
    PublishedScore(
        "grim",
        Message("GRIm (NLR > 6, LDH above the limit, albumin < 35 g/L)"),
        _of_record(grim),
        (*_NLR, *_LDH, "albumin"),
        "higher",
        "Bigot, Eur J Cancer 2017",
    ),
    PublishedScore(
        "ali",
        Message("ALI (BMI × albumin / NLR)"),
        _of_record(ali),
        (*_SIZE, "albumin", *_NLR),
        "lower",
        "Jafri, BMC Cancer 2013",
    ),
    PublishedScore(
        "epsilon",
        Message("EPSILoN (ECOG, smoking, liver, LDH ≥ 400 U/L, NLR ≥ 4)"),
        _of_record(epsilon),
        ("ecog_ps", "pack_years", "liver_metastases", "ldh", *_NLR),
        "higher",
        "Prelaj, Cancers 2019",
    ),
    PublishedScore(
        "seban", Message("TMTV > 75 ml and dNLR > 3"), seban, (TMTV, *_DNLR), "higher", "Seban, EJNMMI 2020"
    ),
    PublishedScore(
        "loris", Message("LORIS for NSCLC"), _of_record(loris), ("tmb", "pdl1_tps", *_LORIS), "lower", _CHANG
    ),
    PublishedScore(
        "loris_without_tmb",
        Message("LORIS for NSCLC without TMB"),
        _of_record(loris_without_tmb),
        ("pdl1_tps", *_LORIS),
        "lower",
        _CHANG,
    ),
    PublishedScore(
        "loris_pan_cancer",
        Message("LORIS, pan-cancer"),
        _of_record(loris_pan_cancer),
        ("tmb", "age", *_LORIS),
        "lower",
        _CHANG,
    ),
)
SCORES: Final[Mapping[str, PublishedScore]] = MappingProxyType({score.name: score for score in _ALL})


def pdl1_class(tps: float) -> Literal["below_1", "1_to_49", "50_or_more"]:
    """Class of a tumour proportion score of PD-L1 (0 to 100 %) by which first-line treatment is chosen."""
    if tps < 1:
        return "below_1"
    return "50_or_more" if tps >= 50 else "1_to_49"


def _ldh_above_limit(record: ClinicalRecord) -> bool | None:
    if record.ldh is None or record.ldh_uln is None:
        return None
    return record.ldh > record.ldh_uln


def _heavy_smoker(record: ClinicalRecord) -> bool | None:
    if record.smoking == "never":
        return False
    return None if record.pack_years is None else record.pack_years >= _HEAVY_SMOKER


def _treated_before(record: ClinicalRecord) -> bool | None:
    """Whether there was chemotherapy or targeted therapy before immunotherapy; a second line says so too."""
    if record.line is not None and record.line > 1:
        return True
    return None if record.prior_systemic_lines is None else record.prior_systemic_lines > 0


def _logistic(x: float) -> float:
    return 1.0 / (1.0 + exp(-x))
