"""How often the audit finds an outcome in disguise, and how often it takes an ordinary input for one.

    python -m benchmarks.telling_inputs

Simulated patients of the eight centres (no image), encoded by the default contract, in cohorts of 100, 300 and 1,150.
Ordinary: every input of the contract. Planted, one at a time in the place of one input: the number of cycles that were
given until progression, death or last news, one every 21 days, capped at 6, also with an error of one cycle in a third
of the patients or with a fifth of the values missing (encoded as their mean); whether treatment went on at 6 months;
the months themselves with noise of 30 %; and "a second line was given", which half of those who progress get. The last
is not found by its ranking: who gets it does not progress earlier than who does not.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fedpet.clinical.endpoints import DAYS_PER_MONTH
from inference.encoding import encode
from inference.input_contract import default_contract
from training.data.node_data import NodeCase
from training.evaluation.cohort import PooledCohort
from training.evaluation.leakage import telling_inputs
from training.simulation.patients.centres import SITES
from training.simulation.patients.population import draw_patient
from training.simulation.patients.risk import follow_up

CONTRACT = replace(default_contract(), shape=(1, 1, 1))
SIZES, REPEATS = (100, 300, 1150), {100: 40, 300: 20, 1150: 5}
IMAGE = np.zeros((2, 1, 1, 1), np.float16)
PLACE = CONTRACT.inputs.index("leucocytes")  # of the planted column


def cohort(size: int, seed: int) -> PooledCohort:
    """Patients spread over the centres as the protocol has them."""
    shares = np.array([site.cases for site in SITES])
    counts = np.floor(size * shares / shares.sum()).astype(int)
    counts[0] += size - counts.sum()
    cases = []
    for site, count in zip(SITES, counts, strict=True):
        for number in range(int(count)):
            patient = draw_patient(site, number, seed=seed)
            events = follow_up(patient)
            seen = [month for month in (events.progression, events.death) if month is not None]
            values = encode(patient.observed, CONTRACT).values
            months = min(seen) if seen else events.last_news
            cases.append(NodeCase(IMAGE, values, months, bool(seen), IMAGE.astype(np.uint8), np.zeros(2, bool)))
    names, blank, site = tuple(map(str, range(size))), np.full(size, np.nan), np.array(["S"] * size)
    return PooledCohort(CONTRACT, ("S",), site, names, tuple(cases), blank, {}, frozenset(), site, synthetic=True)


def planted(whole: PooledCohort, seed: int) -> dict[str, np.ndarray]:
    """(n,) columns that tell the outcome, by name."""
    rng, months = np.random.default_rng(seed), whole.months
    cycles = np.minimum(np.floor(months * DAYS_PER_MONTH / 21) + 1, 6)
    noisy = np.clip(cycles + rng.choice([-1, 0, 1], len(months), p=[1 / 6, 2 / 3, 1 / 6]), 1, 6)
    lost = rng.random(len(months)) < 0.2
    return {
        "cycles, at most 6": cycles,
        "the same, a third off by one": noisy,
        "the same, a fifth missing": np.where(lost, cycles.mean(), cycles),
        "still treated at 6 months": (months >= 6).astype(float),
        "months, noise of 30 %": months * np.exp(rng.normal(0, 0.3, len(months))),
        "a second line was given": ((rng.random(len(months)) < 0.5) & whole.event).astype(float),
    }


def main() -> None:
    """Print both rates by size of the cohort."""
    for size in SIZES:
        found: dict[str, int] = {}
        ordinary, highest = 0, 0.0
        for repeat in range(REPEATS[size]):
            whole = cohort(size, seed=1000 * size + repeat)
            clean = telling_inputs(whole)
            ordinary += len(clean["inputs"].split(", ")) if clean["inputs"] else 0
            highest = max(highest, clean["largest_where_untied"])
            for name, column in planted(whole, repeat).items():
                told = tuple(
                    replace(case, clinical=np.where(np.arange(len(case.clinical)) == PLACE, value, case.clinical))
                    for case, value in zip(whole.cases, (column - column.mean()) / column.std(), strict=True)
                )
                caught = "leucocytes" in telling_inputs(replace(whole, cases=told))["inputs"].split(", ")
                found[name] = found.get(name, 0) + caught
        columns = len(CONTRACT.inputs) * REPEATS[size]
        print(f"{size} patients: ordinary inputs {ordinary} of {columns}, highest lower bound {highest:.2f}")
        for name, count in found.items():
            print(f"   {name}: {count} of {REPEATS[size]}")


if __name__ == "__main__":
    main()
