"""The documented truth: how risk follows from a patient, and how much of it can be known.

eta = signal x (image terms + clinical terms + one interaction) is the log hazard ratio; progression-free survival is
Weibull, S(t) = exp(-SCALE_6M (t / 6)^SHAPE exp(eta + centre)). The interaction says that burden blunts the benefit
of a high PD-L1. Every term is analytic, so that ceilings need no image. Weights, see docs/cohort.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

from cohort.landmarks import REFERENCE_HEIGHT_M
from cohort.population import draw_patient
from cohort.sites import SITES

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from clinical.record import ClinicalRecord
    from cohort.population import Patient

DEFAULT_SIGNAL: Final = 0.85
SHAPE: Final = 0.95
SCALE_6M: Final = 0.52  # cumulative hazard at 6 months of a patient with eta = 0

IMAGE_WEIGHTS: Final = {"tmtv": 0.18, "dmax": 0.22, "necrosis": 0.34, "marrow": 0.30, "liver_metastases": 0.12}
CLINICAL_WEIGHTS: Final = {
    "ecog_1": 0.10,
    "ecog_2": 0.35,
    "pdl1_1_49": -0.12,
    "pdl1_50": -0.40,
    "nlr": 0.13,
    "ldh_above_uln": 0.18,
    "albumin": -0.08,
    "steroids": 0.24,
    "line_2": 0.18,
    "never_smoker": 0.18,
}
INTERACTION_WEIGHT: Final = 0.12  # standardised log TMTV x (PD-L1 >= 50 %)


@dataclass(frozen=True)
class ImageFeatures:
    """What the images of a patient hold, exactly. Brain lesions are left out: FDG hardly shows them."""

    tmtv_ml: float  # active volume
    tlg: float
    dmax_mm: float  # between lesion centres
    necrosis: float  # necrotic share of the volume of all lesions
    marrow_to_liver: float
    liver_metastases: bool
    lesions: int


@dataclass(frozen=True)
class Risk:
    """The truth about a patient; `eta` holds no centre effect, the probabilities do."""

    eta: float
    image: float
    clinical: float
    interaction: float
    pfs_6m: float
    pfs_12m: float


@dataclass(frozen=True)
class FollowUp:
    """What happened, months from the first dose. `death` is None while alive at `last_news`."""

    progression: float | None
    death: float | None
    last_news: float


def image_features(patient: Patient, *, without: Collection[int] = ()) -> ImageFeatures:
    """Features of the drawn lesions; `without` names lesions (their number in `patient.lesions`) to leave out."""
    lesions = [lesion for i, lesion in enumerate(patient.lesions) if lesion.kind != "brain" and i not in without]
    anatomy = patient.anatomy
    volume = np.array([lesion.ml for lesion in lesions])
    active = np.array([lesion.active_ml for lesion in lesions])
    centres = np.array([lesion.centre for lesion in lesions]).reshape(-1, 3)
    distances = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
    scale = anatomy.height_m / REFERENCE_HEIGHT_M
    return ImageFeatures(
        tmtv_ml=float(active.sum()),
        tlg=float(active @ np.array([lesion.suv for lesion in lesions])) if lesions else 0.0,
        dmax_mm=float(distances.max(initial=0.0)) * scale,
        necrosis=float(1 - active.sum() / volume.sum()) if lesions else 0.0,
        marrow_to_liver=anatomy.marrow / anatomy.liver,
        liver_metastases=any(lesion.kind == "liver" for lesion in lesions),
        lesions=len(lesions),
    )


def standardise(features: ImageFeatures) -> dict[str, float]:
    """Image terms, roughly centred and scaled over the population."""
    return {
        "tmtv": (math.log(features.tmtv_ml + 3) - 4.10) / 1.05,
        "dmax": (features.dmax_mm - 260) / 130,
        "necrosis": (features.necrosis - 0.17) / 0.15,
        "marrow": (math.log(features.marrow_to_liver) - math.log(0.72)) / 0.21,
        "liver_metastases": features.liver_metastases - 0.2,
    }


def clinical_terms(record: ClinicalRecord) -> dict[str, float]:
    """Clinical terms of a complete record."""
    ecog, tps, line = _known(record.ecog_ps), _known(record.pdl1_tps), _known(record.line)
    return {
        "ecog_1": float(ecog == 1),
        "ecog_2": float(ecog >= 2),
        "pdl1_1_49": float(1 <= tps < 50),
        "pdl1_50": float(tps >= 50),
        "nlr": (math.log(_known(record.neutrophils) / _known(record.lymphocytes)) - math.log(4)) / 0.53,
        "ldh_above_uln": float(_known(record.ldh) > _known(record.ldh_uln)),
        "albumin": (_known(record.albumin) - 38) / 3.6,
        "steroids": float(bool(record.steroids)),
        "line_2": float(line >= 2),
        "never_smoker": float(record.smoking == "never"),
    }


def _known(value: float | None) -> float:
    if value is None:
        raise ValueError("the risk is defined for complete records only")
    return value


def risk(patient: Patient, *, signal: float = DEFAULT_SIGNAL, without: Collection[int] = ()) -> Risk:
    """The patient's true risk; `without` leaves lesions out (the counterfactual), the record stays as it is."""
    features = standardise(image_features(patient, without=without))
    terms = clinical_terms(patient.record)
    image = signal * sum(weight * features[name] for name, weight in IMAGE_WEIGHTS.items())
    clinical = signal * sum(weight * terms[name] for name, weight in CLINICAL_WEIGHTS.items())
    interaction = signal * INTERACTION_WEIGHT * features["tmtv"] * terms["pdl1_50"]
    eta = image + clinical + interaction
    hazard = eta + patient.site.mix.log_hazard
    return Risk(eta, image, clinical, interaction, survival(6, hazard), survival(12, hazard))


def survival(months: float, log_hazard: float) -> float:
    """P(PFS >= months)."""
    return math.exp(-SCALE_6M * (months / 6) ** SHAPE * math.exp(log_hazard))


def follow_up(patient: Patient, *, signal: float = DEFAULT_SIGNAL) -> FollowUp:
    """Draw what happens: PFS, whether it ends by death, survival after progression, censoring."""
    rng = np.random.default_rng(patient.outcome_seed)
    truth = risk(patient, signal=signal)
    hazard = math.exp(truth.eta + patient.site.mix.log_hazard)
    pfs = 6 * (rng.exponential() / (SCALE_6M * hazard)) ** (1 / SHAPE)
    dies_first = rng.random() < 0.18
    after = 14 * math.exp(-0.5 * truth.eta) * rng.exponential()
    last_news = float(min(rng.uniform(10, 48), rng.exponential(160)))
    death = pfs if dies_first else pfs + after
    return FollowUp(
        progression=float(pfs) if pfs <= last_news and not dies_first else None,
        death=float(death) if death <= last_news else None,
        last_news=last_news,
    )


@dataclass(frozen=True)
class Ceilings:
    """Best expected AUC at 12 months that any model can reach with these inputs (no missing value, no noise)."""

    patients: int
    signal: float
    everything: float
    image_only: float
    clinical_only: float


@cache
def ceilings(*, patients: int = 4000, seed: int = 0, signal: float = DEFAULT_SIGNAL) -> Ceilings:
    """Ceilings over `patients` latent draws, distributed over the centres as the cohort is.

    `everything` ranks by eta. The other two rank by the least-squares projection of eta on the image features or on
    the clinical record (with its metastasis flags), so that what one says about the other is used.
    """
    drawn = draw_population(patients, seed=seed)
    risks = [risk(patient, signal=signal) for patient in drawn]
    eta = np.array([r.eta for r in risks])
    truth = np.array([r.pfs_12m for r in risks])
    image = np.array([_image_row(patient) for patient in drawn])
    record = np.array([_record_row(patient.record) for patient in drawn])
    return Ceilings(
        patients=patients,
        signal=signal,
        everything=expected_auc(truth, -eta),
        image_only=expected_auc(truth, -_project(eta, image)),
        clinical_only=expected_auc(truth, -_project(eta, record)),
    )


def draw_population(patients: int, *, seed: int) -> list[Patient]:
    """Patients of all centres in their proportions."""
    total = sum(site.cases for site in SITES)
    counts = np.diff(np.round(np.cumsum([0, *(site.cases for site in SITES)]) * patients / total)).astype(int)
    return [draw_patient(site, n, seed=seed) for site, count in zip(SITES, counts, strict=True) for n in range(count)]


def expected_auc(probability: NDArray[np.float64], score: NDArray[np.float64]) -> float:
    """AUC of `score` over the labels that `probability` may draw, expected: free of label noise.

    Sum over pairs p_i (1 - p_j) [s_i > s_j] divided by the sum of p_i (1 - p_j), i != j; ties count half.
    """
    order = np.argsort(score, kind="stable")
    p, q = probability[order], 1 - probability[order]
    _, start, count = np.unique(score[order], return_index=True, return_counts=True)
    below = np.concatenate([[0.0], np.cumsum(q)])
    first = np.repeat(below[start], count)
    last = np.repeat(below[start + count], count)
    won = p @ (first + last) / 2 - p @ q / 2  # a patient is not compared with itself
    return float(won / (p.sum() * q.sum() - p @ q))


def _image_row(patient: Patient) -> Sequence[float]:
    features = image_features(patient)
    terms = standardise(features)
    return [1.0, *terms.values(), terms["tmtv"] ** 2, math.log(features.tlg + 3), features.lesions]


def _record_row(record: ClinicalRecord) -> Sequence[float]:
    terms = clinical_terms(record)
    flags = [record.brain_metastases, record.liver_metastases, record.bone_metastases, record.adrenal_metastases]
    log_ldh = math.log(_known(record.ldh) / _known(record.ldh_uln))
    return [1.0, *terms.values(), *map(float, map(bool, flags)), _known(record.metastatic_organs), log_ldh]


def _project(target: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
    solution = np.linalg.lstsq(columns, target, rcond=None)[0]
    return np.asarray(columns @ solution, np.float64)
