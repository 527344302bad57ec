"""Optional terms of an exactly fitted model, chosen by federated cross-validation: TMTV bent, TMTV by PD-L1.

A restricted cubic spline of TMTV (linear beyond the outer knots) and the product of TMTV and PD-L1 >= 50 % are computed
from the inputs of the contract, so that a node needs nothing new for them. Every list of terms is fitted by the same
federated Newton rounds; of their held-out losses, which are sums over the centres, the smallest decides, if it is below
that of the list without optional terms by enough for each term that it adds.

Reference: Harrell, Regression Modeling Strategies, 2015, section 2.4.5 (knots and basis).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from inference.input_contract import LESION_PREFIX, ClinicalTerm
from training.evaluation.in_process_newton import fit_newton

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from inference.input_contract import InputContract
    from training.evaluation.cohort import PooledCohort
    from training.evaluation.in_process_fedavg import Fitted
    from training.task.task import TrainingTask

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

SPLINE, INTERACTION = "spline", "tmtv_by_pdl1"
LISTS: Final = ((), (SPLINE,), (INTERACTION,), (SPLINE, INTERACTION))
VOLUME, PDL1 = f"{LESION_PREFIX}tmtv_ml", "pdl1_50"
KNOTS: Final = (-1.645, -0.385, 0.385, 1.645)  # of the scaled TMTV: 5, 35, 65 and 95 % of a standard normal
GAIN: Final = 2.0  # of the log likelihood of all patients held out, for each term that is added


@dataclass(frozen=True, eq=False)
class Choice:
    """Terms that cross-validation chose.

    Attributes:
        terms: of `LISTS`.
        held_out: loss of a patient by the fit without its fold, by list of terms.
        cohort: with the terms chosen.
        fitted: the fit.
    """

    terms: tuple[str, ...]
    held_out: Mapping[str, float]
    cohort: PooledCohort
    fitted: Fitted


def applies(contract: InputContract) -> bool:
    """Whether the contract has the inputs that the terms are made of."""
    return {VOLUME, PDL1} <= set(contract.inputs)


def restricted_cubic(x: Floats) -> Floats:
    """(n, 2) the terms of a restricted cubic spline with `KNOTS` beside x itself."""
    *first, before, last = KNOTS
    scale = (last - KNOTS[0]) ** 2

    def cubed(knot: float) -> Floats:
        return np.asarray(np.maximum(x - knot, 0.0) ** 3)

    bent = [
        cubed(knot) - cubed(before) * (last - knot) / (last - before) + cubed(last) * (before - knot) / (last - before)
        for knot in first
    ]
    return np.stack(bent, 1) / scale


def with_optional_terms(cohort: PooledCohort, terms: tuple[str, ...]) -> PooledCohort:
    """The cohort with some of the optional terms as further inputs."""
    inputs = cohort.contract.inputs
    volume, pdl1 = (cohort.clinical[:, inputs.index(name)] for name in (VOLUME, PDL1))
    columns: dict[ClinicalTerm, Floats] = {}
    if SPLINE in terms:
        for number, column in enumerate(restricted_cubic(volume).T, start=1):
            columns[_term(f"tmtv_spline_{number}")] = column
    if INTERACTION in terms:
        columns[_term(INTERACTION)] = volume * pdl1
    return cohort.with_terms(columns) if columns else cohort


def _term(name: str) -> ClinicalTerm:
    return ClinicalTerm(name, "number", (name,))


def choose(cohort: PooledCohort, member: Flags, task: Callable[[InputContract], TrainingTask]) -> Choice:
    """Fit every list of terms to some patients of all centres, and keep the one that cross-validation wants.

    Args:
        cohort: with the inputs that `applies` asks for.
        member: (n,) the patients who are fitted.
        task: the exact fit for a contract.
    """
    tried = {}
    for terms in LISTS:
        reads = with_optional_terms(cohort, terms)
        fitted, fit = fit_newton(task(reads.contract), list(reads.by_site(member).values()))
        tried[terms] = (min(fit.state.held_out.values()), reads, fitted)
    patients, plain = int(member.sum()), len(cohort.contract.inputs)
    gained = {
        terms: (tried[()][0] - loss) * patients - GAIN * (len(reads.contract.inputs) - plain)
        for terms, (loss, reads, _) in tried.items()
    }
    best = max(gained, key=lambda terms: gained[terms])
    held_out = {"+".join(terms) or "none": loss for terms, (loss, _, _) in tried.items()}
    return Choice(best, held_out, *tried[best][1:])
