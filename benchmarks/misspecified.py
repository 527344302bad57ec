"""The exact fit of the lesion table where the world is not as the model supposes.

    python -m benchmarks.misspecified RESULT [SEEDS] [PATIENTS]

Drawn patients of the eight centres (nothing is rendered; tables with the errors of a measurement, records with their
missing values) are fitted by federated Newton, pooled, and with each centre left out; all are judged on other patients
by their true probabilities of PFS >= 12 months:

- `as supposed`: the simulator's default, signal 0.85; `signal 0.6`;
- `visits`: a progression is seen at the next visit, every 6 to 12 weeks by patient (interval censoring);
- `informative missingness`: laboratory values and PD-L1 are missing more often in the inflamed;
- `no necrosis, no marrow`: neither has an effect;
- `waning effects`: beyond 6 months every effect is half as large (no proportional hazards).

AUC is the one expected over the outcomes, within centres. The slope is that of the true logit on the predicted one,
centre by centre, of the fit itself, before recalibration. RESULT gets a line of JSON for each cohort; a run that was
stopped goes on there.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit, logit

from benchmarks.drawn_tables import drawn_table
from inference.encoding import encode
from inference.input_contract import table_contract
from training.simulation.cohort import distribute
from training.simulation.patients.achievable_performance import expected_auc
from training.simulation.patients.centres import SITES
from training.simulation.patients.population import draw_patient
from training.simulation.patients.risk import (
    IMAGE_WEIGHTS,
    SCALE_6M,
    SHAPE,
    image_features,
    risk,
    standardise,
)
from training.task.method import Aggregation
from training.task.newton import CentreTable
from training.task.newton_fit import NewtonFit, NewtonPlan, answer, folds_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from training.simulation.patients.population import Patient

    Floats = NDArray[np.float64]
    Row = dict[str, object]

CONTRACT = table_contract()
EDGES, INPUTS = CONTRACT.month_edges, len(CONTRACT.inputs)
ROUNDS, TESTED = 8, 250  # patients of each centre who are predicted
WORLDS = (
    "as supposed", "signal 0.6", "visits", "informative missingness", "no necrosis, no marrow", "waning effects",
)  # fmt: skip
_OFTEN_MISSING = ("ldh", "albumin", "crp", "pdl1_tps", "neutrophils")
_WEEK = 7 / 30.4375  # months


@dataclass(frozen=True, eq=False)
class Drawn:
    """Patients of one centre: inputs (n, q), time and event as the table has them, true P(PFS >= 12 months) (n,)."""

    inputs: Floats
    months: Floats
    event: NDArray[np.bool_]
    truth: Floats

    def table(self) -> CentreTable:
        """For the fit."""
        cases = [
            SimpleNamespace(clinical=row, months=months, event=event)
            for row, months, event in zip(self.inputs, self.months, self.event, strict=True)
        ]
        return CentreTable.of(cases, EDGES, [True] * self.inputs.shape[1])


def draw(site: int, count: int, world: str, seed: int) -> Drawn:
    """Patients of a centre in one of the `WORLDS`."""
    rng = np.random.default_rng([seed, site, 5])
    rows = [_draw_one(draw_patient(SITES[site], number, seed=seed), world, rng) for number in range(count)]
    inputs, months, event, truth = (np.array(column) for column in zip(*rows, strict=True))
    return Drawn(inputs.astype(float), months, event, truth)


def _draw_one(patient: Patient, world: str, rng: np.random.Generator) -> tuple[Floats, float, bool, float]:
    eta = risk(patient, signal=0.6 if world == "signal 0.6" else 0.85).eta
    if world == "no necrosis, no marrow":
        terms = standardise(image_features(patient))
        eta -= 0.85 * sum(IMAGE_WEIGHTS[name] * terms[name] for name in ("necrosis", "marrow"))
    late = 0.5 if world == "waning effects" else 1.0
    centre = patient.site.mix.log_hazard
    early, later = (SCALE_6M * np.exp(centre + part * eta) for part in (1.0, late))
    months = _time(rng.exponential(), early, later)
    dies, last_news = rng.random() < 0.18, float(min(rng.uniform(10, 48), rng.exponential(160)))
    if world == "visits" and not dies:
        every = rng.uniform(6, 12) * _WEEK
        months = every * np.ceil(months / every)
    record = patient.observed
    if world == "informative missingness":
        share = expit(-1.2 + 1.5 * patient.latents.inflammation)
        gone = {name: None for name in _OFTEN_MISSING if rng.random() < share}
        record = replace(patient.record, **gone)
    inputs = encode(record, CONTRACT, drawn_table(patient)).values
    survives = float(np.exp(-early - later * (2.0**SHAPE - 1.0)))
    return inputs, float(min(months, last_news)), bool(months <= last_news), survives


def _time(hazard: float, early: float, later: float) -> float:
    """Months at which the cumulative hazard is reached: early (t / 6)^SHAPE to 6 months, then with the later factor."""
    if hazard <= early:
        return float(6 * (hazard / early) ** (1 / SHAPE))
    return float(6 * (1 + (hazard - early) / later) ** (1 / SHAPE))


def fit(centres: Mapping[str, Drawn], *, pooled: bool = False) -> Floats:
    """(q + K,) coefficients of the federated fit, with a centre's own intercepts; pooled: of one table without."""
    aggregation = Aggregation(method="newton", **({"centre_ridge": 0.0} if pooled else {}))
    inputs = next(iter(centres.values())).inputs.shape[1]
    state = NewtonFit(NewtonPlan.of(aggregation, inputs, EDGES, ROUNDS))
    tables = [(one.table(), _folds(name, len(one.months))) for name, one in centres.items()]
    if pooled:
        parts = [table for table, _ in tables]
        joined = CentreTable(
            *(np.concatenate([getattr(p, n) for p in parts]) for n in ("inputs", "exposure", "events"))
        )
        tables = [(joined, np.concatenate([folds for _, folds in tables]))]
    for index in range(ROUNDS + 1):
        sums = [answer(state.plan, index, table, folds, state.coefficients, state.trials) for table, folds in tables]
        state.advance(index, {name: sum(one[name] for one in sums) for name in sums[0]})
    return state.coefficients


def _folds(site: str, count: int) -> NDArray[np.int64]:
    return folds_of([f"{site}{number}" for number in range(count)], site, 5, 5)


def free(coefficients: Floats, inputs: Floats) -> Floats:
    """(n,) predicted P(PFS >= 12 months) at a centre without an intercept of its own."""
    hazards = expit((inputs @ coefficients[:INPUTS])[:, None] + coefficients[INPUTS:])
    return np.prod(1 - hazards[:, : EDGES.index(12.0)], axis=1)


def slope(predicted: Floats, truth: Floats) -> float:
    """Slope of the logistic regression of the true probability on the logit of the prediction."""
    design, weights = np.stack([np.ones_like(predicted), logit(predicted)], 1), np.zeros(2)
    for _ in range(25):
        p = expit(design @ weights)
        weights += np.linalg.solve((design * (p * (1 - p))[:, None]).T @ design, design.T @ (truth - p))
    return float(weights[1])


def judge(world: str, seed: int, patients: int) -> dict[str, object]:
    """Fit and judge one cohort."""
    counts = {site.code: count for site, count in distribute(patients, len(SITES))}
    train = {code: draw(at, count, world, seed) for at, (code, count) in enumerate(counts.items())}
    test = {code: draw(at, TESTED, world, seed + 10_000) for at, code in enumerate(counts)}
    found = {"federated": fit(train), "pooled": fit(train, pooled=True)}
    unseen = {code: fit({name: one for name, one in train.items() if name != code}) for code in counts}
    by_centre: dict[str, dict[str, float]] = {}
    for code, one in test.items():
        predicted = {name: free(coefficients, one.inputs) for name, coefficients in found.items()}
        predicted |= {"left out": free(unseen[code], one.inputs), "ceiling": one.truth}
        by_centre[code] = {f"auc {name}": expected_auc(one.truth, p) for name, p in predicted.items()}
        by_centre[code] |= {f"slope {name}": slope(predicted[name], one.truth) for name in ("federated", "left out")}
        by_centre[code]["shift left out"] = float(np.mean(one.truth - predicted["left out"]))
    share = np.array([counts[code] for code in by_centre], float)
    names = next(iter(by_centre.values()))
    mean = {name: float(np.average([one[name] for one in by_centre.values()], weights=share)) for name in names}
    return {"world": world, "seed": seed, "patients": patients, **mean, "by_centre": by_centre}


def summarise(rows: list[dict[str, object]]) -> None:
    """Print means over the seeds, with the lowest and the highest."""
    for world in WORLDS:
        chosen = [row for row in rows if row["world"] == world]
        if not chosen:
            continue
        auc = {n: np.array([row[f"auc {n}"] for row in chosen]) for n in ("federated", "pooled", "left out", "ceiling")}
        gaps = {
            "federated - pooled": auc["federated"] - auc["pooled"],
            "ceiling - federated": auc["ceiling"] - auc["federated"],
            "ceiling - left out": auc["ceiling"] - auc["left out"],
        }
        told = "; ".join(f"{name} {gap.mean():.4f} ({gap.min():.4f} to {gap.max():.4f})" for name, gap in gaps.items())
        slopes = {
            kind: np.array([[one[f"slope {kind}"] for one in row["by_centre"].values()] for row in chosen])
            for kind in ("federated", "left out")
        }
        ends = "; ".join(
            f"slope {k} {s.mean():.2f} (centres {s.min():.2f} to {s.max():.2f})" for k, s in slopes.items()
        )
        print(f"{world} ({len(chosen)} seeds): AUC {auc['federated'].mean():.4f}; {told}; {ends}")


def resume(
    worlds: Sequence[str], judge: Callable[[str, int, int], Row], summarise: Callable[[list[Row]], None]
) -> None:
    """Judge every world and seed that the file RESULT of the command line lacks, then print."""
    path, *further = sys.argv[1:]
    seeds, patients = (int(given) for given in (*further, *("5", "1150")[len(further) :]))
    result = Path(path)
    result.parent.mkdir(parents=True, exist_ok=True)
    result.touch()
    rows = [json.loads(line) for line in result.read_text(encoding="utf-8").splitlines()]
    done = {(row["world"], row["seed"]) for row in rows}
    for seed, world in product(range(1, seeds + 1), worlds):
        if (world, seed) not in done:
            rows.append(judge(world, seed, patients))
            with result.open("a", encoding="utf-8") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    summarise(rows)


if __name__ == "__main__":
    resume(WORLDS, judge, summarise)
