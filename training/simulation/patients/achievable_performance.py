"""The best AUC and C-index that any model can reach on the synthetic cohort.

Both are expectations over the outcomes that the true risk may draw, and so free of their chance. No value is missing
and the images have no noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from training.simulation.patients.centres import SITES
from training.simulation.patients.population import draw_patient, with_stranding
from training.simulation.patients.risk import (
    DEFAULT_SIGNAL,
    clinical_terms,
    image_features,
    require_value,
    risk,
    standardise,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fedpet.clinical.record import ClinicalRecord
    from training.simulation.patients.population import Patient

    Floats = NDArray[np.float64]

_ROWS = 500  # patients compared with all others at a time


@dataclass(frozen=True)
class BestMetrics:
    """Values of one measure, 0 to 1, by what a model is given."""

    everything: float
    image_only: float
    clinical_only: float


@dataclass(frozen=True)
class AchievablePerformance:
    """The best that any model can reach over `patients` draws.

    Attributes:
        auc_12m: expected AUC of progression-free survival at 12 months.
        c_index: expected C-index over the whole course, without censoring.
    """

    patients: int
    signal: float
    auc_12m: BestMetrics
    c_index: BestMetrics


@cache
def achievable_performance(
    *, patients: int = 4000, seed: int = 0, signal: float = DEFAULT_SIGNAL, stranding: bool = False
) -> AchievablePerformance:
    """Ceilings over `patients` latent draws, distributed over the centres as the cohort is.

    `everything` ranks by eta. The other two rank by the least-squares projection of eta on the image features or on
    the clinical record (with its metastasis flags), so that what one says about the other is used.
    """
    drawn = draw_population(patients, seed=seed)
    if stranding:
        drawn = [with_stranding(patient, seed=seed) for patient in drawn]
    risks = [risk(patient, signal=signal) for patient in drawn]
    eta = np.array([r.eta for r in risks])
    hazard = eta + np.array([patient.site.mix.log_hazard for patient in drawn])
    alive = np.array([r.pfs_12m for r in risks])
    image = np.array([_image_row(patient) for patient in drawn])
    record = np.array([_record_row(patient.record) for patient in drawn])
    scores = (eta, _project(eta, image), _project(eta, record))
    return AchievablePerformance(
        patients=patients,
        signal=signal,
        auc_12m=BestMetrics(*(expected_auc(alive, -score) for score in scores)),
        c_index=BestMetrics(*(expected_c_index(hazard, score) for score in scores)),
    )


def draw_population(patients: int, *, seed: int) -> list[Patient]:
    """Patients of all centres in their proportions."""
    total = sum(site.cases for site in SITES)
    counts = np.diff(np.round(np.cumsum([0, *(site.cases for site in SITES)]) * patients / total)).astype(int)
    return [draw_patient(site, n, seed=seed) for site, count in zip(SITES, counts, strict=True) for n in range(count)]


def expected_auc(probability: Floats, score: Floats) -> float:
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


def expected_c_index(log_hazard: Floats, score: Floats) -> float:
    """C-index of `score` (more of it: earlier) over the times that proportional hazards may draw, uncensored.

    Of two patients the first fails before the second with probability h1 / (h1 + h2), whatever the hazard they share:
    the mean of it over all pairs, first the patient with the higher score; ties count half.
    """
    count = len(score)
    won = 0.0
    for start in range(0, count, _ROWS):
        rows = slice(start, start + _ROWS)
        first = 1 / (1 + np.exp(log_hazard[None] - log_hazard[rows, None]))
        won += float((first * (np.sign(score[rows, None] - score[None]) + 1) / 2).sum())
    return (won - count / 4) / (count * (count - 1) / 2)  # a patient is not compared with itself


def _image_row(patient: Patient) -> Sequence[float]:
    features = image_features(patient)
    terms = standardise(features)
    further = (math.log(features.tlg + 3), features.lesions, patient.stranding or 0.0)
    return [1.0, *terms.values(), terms["tmtv"] ** 2, *further]


def _record_row(record: ClinicalRecord) -> Sequence[float]:
    terms = clinical_terms(record)
    flags = [record.brain_metastases, record.liver_metastases, record.bone_metastases, record.adrenal_metastases]
    log_ldh = math.log(require_value(record.ldh) / require_value(record.ldh_uln))
    return [1.0, *terms.values(), *map(float, map(bool, flags)), require_value(record.metastatic_organs), log_ldh]


def _project(target: Floats, columns: Floats) -> Floats:
    solution = np.linalg.lstsq(columns, target, rcond=None)[0]
    return np.asarray(columns @ solution, np.float64)
