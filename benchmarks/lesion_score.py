"""Fit the score of `fedpet.imaging.lesions.detection.lesion_score` and print its coefficients and calibration.

    python -m benchmarks.lesion_score [--patients N] [--seed S]

Foci of synthetic patients (organs by rules, threshold SUV 4); a focus is a lesion where at least 30 % of its core lies
in a lesion that is no brain metastasis. Ridge towards the prior below; calibration is that of five folds over patients.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize

from benchmarks.anatomy import Case
from fedpet.imaging.lesions.detection.lesion_score import score_features
from fedpet.imaging.lesions.detection.seeds import candidate_voxels
from fedpet.imaging.lesions.detection.uptake_classification import judge_foci
from fedpet.imaging.lesions.detection.watershed import watershed_basins

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SPACING = (4.0, 4.0, 6.0)
_THRESHOLD, _CORE, _IN_LESION = 4.0, 0.7, 0.3
_PRIOR = {"certain": -6, "organ": -3, "diffuse": -3, "bowel": -3, "ureter": -3, "lesion": 1, "focal": 1}
_FOLDS = 5
_BINS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.01)


def foci_of(case: Case) -> list[tuple[dict[str, float], bool]]:
    """Features of every focus of a patient, and whether it is a lesion."""
    pet, anatomy = case.pet, case.anatomy
    basins = watershed_basins(pet, candidate_voxels(pet, anatomy, _THRESHOLD))
    brain = [n for n, one in enumerate(case.patient.lesions, start=1) if one.kind == "brain"]
    lesion = (case.body.lesions > 0) & ~np.isin(case.body.lesions, brain)
    rows = []
    for number, (focus, verdict) in enumerate(judge_foci(anatomy, basins), start=1):
        core = (basins == number) & (pet.array >= _CORE * focus.suv_max)
        features = score_features(focus, verdict.site, verdict.relative)
        rows.append((features, bool(lesion[core].mean() >= _IN_LESION)))
    return rows


def fit(features: Floats, lesion: Floats, prior: Floats) -> Floats:
    """Coefficients of a logistic model with a ridge of 1 towards a prior."""

    def loss(weights: Floats) -> tuple[float, Floats]:
        logit = features @ weights
        value = np.logaddexp(0, logit).sum() - lesion @ logit + ((weights - prior) ** 2).sum() / 2
        return float(value), features.T @ (1 / (1 + np.exp(-logit)) - lesion) + weights - prior

    return np.asarray(minimize(loss, prior, jac=True, method="L-BFGS-B").x)


def main() -> None:
    """Draw the patients, fit and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=40)
    parser.add_argument("--seed", type=int, default=2031)
    options = parser.parse_args()
    rows = [
        (patient, *row)
        for patient in range(options.patients)
        for row in foci_of(Case.draw(patient, seed=options.seed, spacing=SPACING))
    ]
    names = sorted({name for _, features, _ in rows for name in features})
    table = np.array([[features.get(name, 0.0) for name in names] for _, features, _ in rows])
    lesion = np.array([one for _, _, one in rows], float)
    prior = np.array([_PRIOR.get(name, 0.0) for name in names], float)
    print({name: round(float(one), 2) for name, one in zip(names, fit(table, lesion, prior), strict=True)})
    fold = np.array([patient % _FOLDS for patient, _, _ in rows])
    held_out = np.zeros(len(rows))
    for number in range(_FOLDS):
        weights = fit(table[fold != number], lesion[fold != number], prior)
        held_out[fold == number] = 1 / (1 + np.exp(-table[fold == number] @ weights))
    print(f"{len(rows)} foci, {int(lesion.sum())} of lesions; Brier score {np.mean((held_out - lesion) ** 2):.3f}")
    for low, high in pairwise(_BINS):
        inside = (held_out >= low) & (held_out < high)
        print(f"  score {low:.2f} to {min(high, 1):.2f}: {int(inside.sum())} foci, {lesion[inside].mean():.1%} lesions")


if __name__ == "__main__":
    main()
