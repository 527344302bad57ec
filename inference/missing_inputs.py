"""What the missing variables of a patient leave open of the score.

A missing term is encoded as the reference patient (`inference.encoding`), so the score is the one expected over the
patients that the contract describes. How far it may be from the score with the value known is the variance of the
missing terms under their weights: w' C w, with the variances of the contract (a term that is scaled by its standard
deviation has 1; a yes or no with the share p has p (1 - p)). Two terms of one variable vary together: passing PD-L1
50 % means passing 1 % too. What different variables add to the score is taken to correlate by `CORRELATION`: markers of
a severe disease come together.
"""

from __future__ import annotations

from itertools import combinations, groupby
from typing import TYPE_CHECKING, Final

import numpy as np

from inference.encoding import missing_terms
from inference.input_contract import LESION_PREFIX
from inference.preprocessing import blank_image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fedpet.clinical.record import ClinicalRecord
    from fedpet.imaging.lesions.lesion_table import LesionTable
    from inference.engine import Engine
    from inference.input_contract import ClinicalTerm, InputContract


CORRELATION: Final = 0.2  # 0.1 to 0.4 between ECOG, NLR, LDH and albumin of simulated patients


def input_weights(engine: Engine, contract: InputContract) -> NDArray[np.float64]:
    """What each input adds to the raw score for a value of 1, as the graph that answers computes it.

    Returns:
        (len(contract.inputs),); the score of every network of fedpet is linear in them.
    """
    ones = np.ones(len(contract.inputs), np.float32)
    return engine.run(blank_image(contract), ones).contributions[: len(ones)]


def unknown_variance(
    record: ClinicalRecord, contract: InputContract, engine: Engine, table: LesionTable | None = None
) -> float:
    """Variance of the raw score by the terms that are missing; 0 where none is.

    Args:
        record: of the patient.
        contract: of the model.
        engine: open on it.
        table: of the patient, where the contract has quantities.
    """
    if not any(missing_terms(record, contract, table)):
        return 0.0
    return variance_of_missing(input_weights(engine, contract), record, contract, table)


def variance_of_missing(
    by_input: NDArray[np.float64], record: ClinicalRecord, contract: InputContract, table: LesionTable | None
) -> float:
    """Variance of a score that is linear in the inputs, by the terms that are missing.

    Args:
        by_input: (len(contract.inputs),) weights.
        record: of the patient.
        contract: of the model.
        table: of the patient, where the contract has quantities.
    """
    clinical, quantities = missing_terms(record, contract, table)
    weights = dict(zip(contract.inputs, by_input.tolist(), strict=True))
    spread = [abs(weights[f"{LESION_PREFIX}{term.name}"]) for term in quantities]
    for _, group in groupby(sorted(clinical, key=_variables), key=_variables):
        terms = tuple(group)
        own = np.array([weights[term.name] for term in terms])
        spread.append(float(own @ covariance(terms) @ own) ** 0.5)
    return float((1 - CORRELATION) * np.square(spread).sum() + CORRELATION * np.sum(spread) ** 2)


def covariance(terms: Sequence[ClinicalTerm]) -> NDArray[np.float64]:
    """Covariance (n, n) of encoded terms of one variable over the patients that the contract describes."""
    found = np.diag([_variance(term) for term in terms]) if terms else np.zeros((0, 0))
    for (i, one), (j, other) in combinations(enumerate(terms), 2):
        found[i, j] = found[j, i] = _together(one, other)
    return found


def _variables(term: ClinicalTerm) -> tuple[str, ...]:
    return term.variables


def _variance(term: ClinicalTerm) -> float:
    if term.kind in {"number", "log_ratio"}:
        return 1.0
    return term.mean * (1.0 - term.mean) / term.sd**2


def _together(one: ClinicalTerm, other: ClinicalTerm) -> float:
    """Covariance of two encoded terms of one variable; 0 where their kinds differ."""
    if one.kind != other.kind:
        return 0.0
    both = {"at_least": min(one.mean, other.mean), "equals": 0.0}.get(one.kind)
    return 0.0 if both is None else (both - one.mean * other.mean) / (one.sd * other.sd)
