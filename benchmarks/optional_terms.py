"""How often federated cross-validation takes an optional term that has an effect, and one that has none.

    python -m benchmarks.optional_terms [PATIENTS] [REPEATS]

Synthetic tables of five centres with 43 inputs of the contract of the lesion table, of which age, TMTV and PD-L1 have a
linear effect. Planted in turn: nothing; a bend of the effect of TMTV, 0.6 (|x| - 0.8) on the log hazard, x being TMTV
in standard deviations; an interaction, 0.6 x p, p being PD-L1 >= 50 % about its mean.
"""

from __future__ import annotations

import argparse

import numpy as np

from inference.input_contract import table_contract
from training.data.node_data import NodeCase
from training.evaluation.cohort import PooledCohort
from training.evaluation.optional_terms import PDL1, VOLUME, choose
from training.task.method import UNPROTECTED_METHOD, Aggregation
from training.task.task import TrainingTask

CONTRACT = table_contract()
SITES = tuple(f"S{number}" for number in range(1, 6))
PLANTED = {"nothing": (0.0, 0.0), "bend": (0.6, 0.0), "interaction": (0.0, 0.6)}


def cohort(patients: int, bend: float, interaction: float, seed: int) -> PooledCohort:
    """Patients whose hazard has these effects."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(patients, len(CONTRACT.inputs))).astype(np.float32)
    volume, pdl1 = inputs[:, CONTRACT.inputs.index(VOLUME)], np.where(rng.random(patients) < 0.4, 0.6, -0.4)
    inputs[:, CONTRACT.inputs.index(PDL1)] = pdl1
    score = 0.3 * inputs[:, 0] + 0.4 * volume - 0.3 * pdl1
    score = score + bend * (np.abs(volume) - 0.8) + interaction * volume * pdl1
    time, follow_up = rng.exponential(1 / (0.09 * np.exp(score))), rng.uniform(3, 30, patients)
    image = np.zeros((2, 1, 1, 1), np.float16)
    concepts = np.zeros((len(CONTRACT.concepts), 1, 1, 1), np.uint8)
    cases = tuple(
        NodeCase(image, row, float(min(event, end)), bool(event <= end), concepts, np.zeros(len(concepts), bool))
        for row, event, end in zip(inputs, time, follow_up, strict=True)
    )
    names, blank = tuple(map(str, range(patients))), np.full(patients, np.nan)
    site = np.array([SITES[number % len(SITES)] for number in range(patients)])
    return PooledCohort(CONTRACT, SITES, site, names, cases, blank, {}, frozenset(), site, synthetic=True)


def exact_fit(contract: object) -> TrainingTask:
    """Eight rounds of Newton's method in clear."""
    method = UNPROTECTED_METHOD.model_copy(update={"aggregation": Aggregation(method="newton")})
    return TrainingTask(contract=contract, network="table", rounds=8, batch_size=64, method=method)


def main() -> None:
    """Print what was chosen, and what cross-validation gained by each list of terms."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patients", type=int, nargs="?", default=600)
    parser.add_argument("repeats", type=int, nargs="?", default=20)
    given = parser.parse_args()
    for name, effects in PLANTED.items():
        chosen: dict[str, int] = {}
        gains = []
        for seed in range(given.repeats):
            found = choose(cohort(given.patients, *effects, seed), np.ones(given.patients, bool), exact_fit)
            label = "+".join(found.terms) or "none"
            chosen[label] = chosen.get(label, 0) + 1
            gains.append([(found.held_out["none"] - loss) * given.patients for loss in found.held_out.values()])
        mean = ", ".join(f"{gain:+.1f}" for gain in np.mean(gains, 0)[1:])
        print(f"planted {name}: chosen {chosen}; mean gain of log likelihood by {list(found.held_out)[1:]}: {mean}")


if __name__ == "__main__":
    main()
