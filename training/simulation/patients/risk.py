"""The documented truth: how risk follows from a patient, and how much of it can be known.

eta = signal x (image terms + clinical terms + one interaction) is the log hazard ratio, with stranding around the
lesions where that is planted (`training.simulation.patients.population.with_stranding`); progression-free survival is
Weibull, S(t) = exp(-SCALE_6M (t / 6)^SHAPE exp(eta + centre)). The interaction says that burden blunts the benefit of a
high PD-L1. Every term is analytic, so that `training.simulation.patients.achievable_performance` needs no image.
Weights, see docs/cohort.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from training.simulation.patients.reference_body import REFERENCE_HEIGHT_M

if TYPE_CHECKING:
    from collections.abc import Collection

    from fedpet.clinical.record import ClinicalRecord
    from training.simulation.patients.population import Patient

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
STRANDING_WEIGHT: Final = 0.70  # where it is planted: hazard ratio 1.8 for one standard deviation at signal 0.85


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
    stranding: float
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
    ecog, tps, line = require_value(record.ecog_ps), require_value(record.pdl1_tps), require_value(record.line)
    return {
        "ecog_1": float(ecog == 1),
        "ecog_2": float(ecog >= 2),
        "pdl1_1_49": float(1 <= tps < 50),
        "pdl1_50": float(tps >= 50),
        "nlr": (math.log(require_value(record.neutrophils) / require_value(record.lymphocytes)) - math.log(4)) / 0.53,
        "ldh_above_uln": float(require_value(record.ldh) > require_value(record.ldh_uln)),
        "albumin": (require_value(record.albumin) - 38) / 3.6,
        "steroids": float(bool(record.steroids)),
        "line_2": float(line >= 2),
        "never_smoker": float(record.smoking == "never"),
    }


def require_value(value: float | None) -> float:
    """A value of a complete record; ValueError where it is missing."""
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
    stranding = signal * STRANDING_WEIGHT * (patient.stranding or 0.0)
    eta = image + clinical + interaction + stranding
    hazard = eta + patient.site.mix.log_hazard
    return Risk(eta, image, clinical, interaction, stranding, survival(6, hazard), survival(12, hazard))


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
