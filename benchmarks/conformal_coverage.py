"""Coverage of the conformal sets by outcome and by centre: with one limit for all, and with limits of their own.

    python -m benchmarks.conformal_coverage [FEDERATIONS]

Federations of 391 validation patients at the eight simulated centres are drawn again and again; a score ranks their
patients as the demonstration model does (expected AUC about 0.76). Each federation sends the tables that travel, and is
calibrated from them; its sets are judged on 16,000 other patients, 2,000 a centre, by the true probabilities of their
outcomes. Nothing is rendered. "Unknown": each centre in turn is left out, and answered with the tables of the others.

The second table says how far single federations and single hold-outs scatter: by centre and outcome the mean over the
federations, the share of federations whose true coverage lies below `GOAL`, and how often a hold-out of as many
patients as the demonstration model's would show less than `GOAL` although nothing else is wrong.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.special import logit
from scipy.stats import binom

from inference.calibration import ENDPOINT_MONTHS, SEGMENT_ENDS, SetLimits, in_conformal_set
from inference.input_contract import table_contract
from training.bundle.calibration import INTERVAL_LEVEL, at_endpoints, calibrate
from training.bundle.conformal import CentreTable
from training.metrics import Sample, expected_auc
from training.simulation.cohort import distribute
from training.simulation.patients.centres import SITES
from training.simulation.patients.population import draw_patient
from training.simulation.patients.risk import SCALE_6M, SHAPE, risk
from training.task.losses import interval_targets
from training.task.risk_table import OutcomeTable, RiskTable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from inference.calibration import RiskCalibration

    Floats = NDArray[np.float64]
    Metrics = Mapping[str, float]

EDGES = table_contract().month_edges
PATIENTS = 391
TESTED = 2000  # patients of each centre
GOAL = 0.78  # of the coverage in each outcome and each centre, at a level of 0.80
HELD_OUT = {"S1": 44, "S2": 36, "S3": 27, "S4": 22, "S5": 16, "S6": 14, "S7": 8, "S8": 8}  # of the demonstration model
NOISE = 0.40  # standard deviation that is added to the true log hazard
RNG = np.random.default_rng(11)


@dataclass(frozen=True, eq=False)
class Patients:
    """Patients of one centre: raw scores and log hazards (n,)."""

    score: Floats
    hazard: Floats

    def free(self, months: float) -> Floats:
        """True P(free of progression)."""
        return np.exp(-SCALE_6M * (months / 6) ** SHAPE * np.exp(self.hazard))

    def part(self, at: NDArray[np.intp]) -> Patients:
        """Some of them."""
        return Patients(self.score[at], self.hazard[at])


def drawn(count: int) -> dict[str, Patients]:
    """`count` patients of each centre."""
    found = {}
    for site in SITES:
        eta = np.array([risk(draw_patient(site, number, seed=77)).eta for number in range(count)])
        found[site.code] = Patients(eta + RNG.normal(0, NOISE, count), eta + site.mix.log_hazard)
    every = np.concatenate([one.score for one in found.values()])
    truth = np.concatenate([one.hazard for one in found.values()])
    slope, level = np.polyfit(every, truth, 1)
    return {site: Patients(slope * one.score + level, one.hazard) for site, one in found.items()}


def baseline_of(patients: Mapping[str, Patients]) -> Floats:
    """Hazard logits (K,) of a score of 0."""
    score = np.concatenate([one.score for one in patients.values()])
    alive = [np.concatenate([one.free(month) for one in patients.values()]) for month in EDGES]
    return np.array(
        [np.average(logit(1 - after / before) - score, weights=before) for before, after in pairwise(alive)]
    )


def tables(patients: Patients) -> Metrics:
    """What the centre sends: its patients with drawn outcomes and censoring."""
    n = len(patients.score)
    months = 6 * (RNG.exponential(size=n) / (SCALE_6M * np.exp(patients.hazard))) ** (1 / SHAPE)
    followed = np.minimum(RNG.uniform(10, 48, n), RNG.exponential(160, n))
    time, event = np.minimum(months, followed), months <= followed
    exposure, events = interval_targets(torch.from_numpy(time), torch.from_numpy(event), EDGES)
    risk_table = RiskTable.of(patients.score, exposure.numpy(), events.numpy())
    return {**risk_table.to_metrics(), **OutcomeTable.of(patients.score, time, event).to_metrics(), "n": float(n)}


def one_limit(nodes: Mapping[str, Metrics], fitted: RiskCalibration, baseline: Floats) -> dict[str, SetLimits]:
    """One limit for both outcomes and all centres, at least 0.5, as bundles of version 0.2 had it."""
    free = at_endpoints(fitted, baseline, EDGES)
    parts = [CentreTable(OutcomeTable.from_metrics(one), free) for one in nodes.values()]
    found = {}
    for name, months in ENDPOINT_MONTHS.items():
        cells = [part.nonconformity(SEGMENT_ENDS.index(months)) for part in parts]
        value, mass = (np.concatenate([cell[i].ravel() for cell in cells]) for i in range(2))
        order = np.argsort(value)
        enough = mass[order].cumsum() >= INTERVAL_LEVEL * (mass.sum() + 1)
        limit = max(0.5, float(value[order][enough.argmax()]))
        found[name] = SetLimits(limit, limit)
    return found


def covered(
    patients: Patients, calibration: RiskCalibration, limits: SetLimits, baseline: Floats, month: float
) -> Floats:
    """Expected numbers: free, free and covered, progressing, progressing and covered, indeterminate, all."""
    predicted = calibration.free(baseline + patients.score[:, None], patients.score, EDGES)[:, EDGES.index(month)]
    with_free, with_progression = in_conformal_set(predicted, limits)
    p = patients.free(month)
    return np.array(
        [p.sum(), p[with_free].sum(), (1 - p).sum(), (1 - p)[with_progression].sum(),
         (with_free & with_progression).sum(), len(p)], float,
    )  # fmt: skip


def main() -> None:
    """Draw, calibrate, judge; print coverage by outcome and by centre, the mean over the federations."""
    federations = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    patients = drawn(TESTED)
    baseline = baseline_of(patients)
    score, hazard = (np.concatenate(one) for one in zip(*((p.score, p.hazard) for p in patients.values()), strict=True))
    everybody = Patients(score, hazard)
    sample = Sample.of(np.full(len(score), 12.0), np.zeros(len(score), bool), draws=0)
    print(f"expected AUC at 12 months {expected_auc(sample, score, everybody.free(12))[0]:.3f}")
    shares = {site.code: count for site, count in distribute(PATIENTS, len(SITES))}
    found: dict[tuple[str, str, str], list[Floats]] = defaultdict(list)
    for _ in range(federations):
        nodes = {site: tables(one.part(RNG.integers(0, TESTED, shares[site]))) for site, one in patients.items()}
        told = calibrate(nodes, baseline, EDGES)
        before = one_limit(nodes, told, baseline)
        for site, one in patients.items():
            alone = calibrate({name: sent for name, sent in nodes.items() if name != site}, baseline, EDGES)
            for kind, calibration, limits in (
                ("one limit", told, before),
                ("known", told.at(site), told.at(site).thresholds),
                ("unknown", alone, alone.thresholds),
            ):
                for name, months in ENDPOINT_MONTHS.items():
                    found[name, kind, site].append(covered(one, calibration, limits[name], baseline, months))
    _show({key: np.sum(each, axis=0) for key, each in found.items()}, shares)
    _show_scatter({key: np.stack(each) for key, each in found.items() if key[1] != "one limit"})


def _show(found: Mapping[tuple[str, str, str], Floats], shares: Mapping[str, int]) -> None:
    print(f"{'endpoint':17}{'limits':11}{'free':>7}{'progr.':>8}{'all':>7}{'indet.':>8}   by centre, worst")
    for name in ENDPOINT_MONTHS:
        for kind in ("one limit", "known", "unknown"):
            by_site = {site: found[name, kind, site] for site in shares}
            total = sum((shares[site] * one for site, one in by_site.items()), np.zeros(6))
            centres = [(one[1] + one[3]) / (one[0] + one[2]) for one in by_site.values()]
            print(
                f"{name:17}{kind:11}{total[1] / total[0]:7.3f}{total[3] / total[2]:8.3f}"
                f"{(total[1] + total[3]) / total[5]:7.3f}{total[4] / total[5]:8.3f}   "
                f"{' '.join(f'{value:.2f}' for value in centres)}  {min(centres):.3f}"
            )


def _show_scatter(found: Mapping[tuple[str, str, str], Floats]) -> None:
    """By centre and outcome: mean true coverage, share of federations below the goal, share of hold-outs below it."""
    print(
        f"\n{'endpoint':17}{'limits':9}{'centre':8}" + "".join(f"{who:>24}" for who in ("all", "free", "progressing"))
    )
    print(" " * 34 + "    mean  <goal  held out" * 3)
    below: dict[tuple[str, str], list[float]] = defaultdict(list)
    for (name, kind, site), each in found.items():
        free, held_free, failed, held_failed = each[:, :4].T
        n, part = HELD_OUT[site], float((free / (free + failed)).mean())
        cells = []
        for held, of, count in (
            (held_free + held_failed, free + failed, n),
            (held_free, free, round(n * part)),
            (held_failed, failed, n - round(n * part)),
        ):
            true = held / of
            few = binom.cdf(np.ceil(GOAL * count) - 1, count, true).mean() if count else float("nan")
            cells.append(f"{true.mean():9.3f}{(true < GOAL).mean():7.1%}{few:10.1%}")
            below[kind, name].append(float(few))
        print(f"{name:17}{kind:9}{site:8}{''.join(cells)}")
    for kind in ("known", "unknown"):
        cells_below = sum(sum(few[::3]) for (of, _), few in below.items() if of == kind)
        print(
            f"{kind}: {cells_below:.1f} of {3 * len(HELD_OUT)} centres by endpoint are expected below in one hold-out"
        )


if __name__ == "__main__":
    main()
