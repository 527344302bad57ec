"""How often a site with wrong labels is named by the model of the other sites, and how often an honest one.

    fedpet cohort simulate --node-data --spacing 0 --patients 4000 --seed 11 --out NODES
    python -m benchmarks.flipped_labels NODES [FEDERATIONS]

Sites of a federation draw their patients from the centres of NODES, which differ as the simulated centres do. One of
them is honest, or has its follow-up reversed (the earliest is the last), its events exchanged with the censored, both
(labels flipped: who progressed early is free for long, and the reverse), or outcomes of other patients of its own. The
fit takes one step before the sites are compared, as in a training (`training.task.agreement`). For every cell: share of
federations in which that site is named, share in which another one is, mean of the statistic (named above `LIMIT`).
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from inference.input_contract import InputContract
from inference.network import used_inputs
from training.data.node_data import read_node
from training.task.agreement import LIMIT, SiteDerivatives, disagreement
from training.task.method import Aggregation
from training.task.newton import CentreTable, Prior, newton_step, variances
from training.task.newton_fit import MINIMUM_ROUNDS, NewtonPlan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CENTRE_RIDGE = 35.0
LABELS = ("honest", "flipped", "reversed", "exchanged", "shuffled")
SIZES = ((30, 60), (45, 60), (60, 60), (90, 60), (180, 60), (60, 180))  # of the site, of each other site


class Federations:
    """Draws federations from node data."""

    def __init__(self, nodes: Path) -> None:
        self.contract = InputContract.read(nodes / "contract.json")
        folders = sorted(path.parent for path in nodes.glob("*/node.json"))
        self.centres = [[_plain(case) for case in read_node(folder, self.contract).cases] for folder in folders]
        self.used = used_inputs("clinical", self.contract)
        aggregation = Aggregation(method="newton")
        self.plan = NewtonPlan.of(aggregation, len(self.used), self.contract.month_edges, MINIMUM_ROUNDS)

    def statistics(self, rng: np.random.Generator, sizes: Sequence[int], labels: str) -> dict[str, float]:
        """By number of the site; the first one has the labels."""
        able = [cases for cases in self.centres if len(cases) >= max(sizes)]
        places = rng.permutation(len(able))[: len(sizes)]
        drawn = [rng.choice(len(able[p]), size, replace=False) for p, size in zip(places, sizes, strict=True)]
        sites = [[able[p][i] for i in chosen] for p, chosen in zip(places, drawn, strict=True)]
        sites[0] = relabelled(sites[0], labels, rng)
        tables = [CentreTable.of(cases, self.contract.month_edges, self.used) for cases in sites]
        inputs = np.concatenate([table.inputs for table in tables])
        ridge = self.plan.ridges[len(self.plan.ridges) // 2]
        prior = Prior.of(ridge, variances(inputs.mean(0), (inputs**2).mean(0)), self.plan.baseline)
        coefficients = np.array([*np.zeros(len(self.used)), *self.plan.baseline])
        for _ in range(self.plan.compared):
            found = _derivatives(tables, coefficients)
            gradient, hessian = (sum(getattr(one, name) for one in found.values()) for name in ("gradient", "hessian"))
            coefficients = coefficients + newton_step(gradient, hessian, coefficients, prior)
        return disagreement(_derivatives(tables, coefficients), coefficients, prior, self.contract.month_edges)


def _plain(case: object) -> SimpleNamespace:
    return SimpleNamespace(clinical=case.clinical, months=case.months, event=case.event)


def _derivatives(tables: Sequence[CentreTable], coefficients: NDArray[np.float64]) -> dict[str, SiteDerivatives]:
    there = [table.at(coefficients, CENTRE_RIDGE) for table in tables]
    return {str(number): SiteDerivatives(one.gradient(), one.hessian()) for number, one in enumerate(there)}


def relabelled(cases: Sequence[SimpleNamespace], labels: str, rng: np.random.Generator) -> list[SimpleNamespace]:
    """The cases with the follow-up that a faulty site gives them."""
    months, event = np.array([case.months for case in cases]), np.array([case.event for case in cases])
    if labels in {"flipped", "reversed"}:
        months = months.min() + months.max() - months
    if labels in {"flipped", "exchanged"}:
        event = ~event
    if labels == "shuffled":
        order = rng.permutation(len(cases))
        months, event = months[order], event[order]
    return [
        SimpleNamespace(clinical=case.clinical, months=float(m), event=bool(e))
        for case, m, e in zip(cases, months, event, strict=True)
    ]


def main(nodes: Path, federations: int) -> None:
    """Print a row for each number of sites and patients."""
    drawn = Federations(nodes)
    print(f"named above {LIMIT:.1f}; {federations} federations a cell")
    for sites in (4, 6):
        for own, other in SIZES:
            row = []
            for labels in LABELS:
                rng = np.random.default_rng([sites, own, other, LABELS.index(labels)])
                values = [drawn.statistics(rng, [own, *(other,) * (sites - 1)], labels) for _ in range(federations)]
                worst = [max(one, key=one.__getitem__) for one in values]
                named = [name == "0" and one[name] > LIMIT for name, one in zip(worst, values, strict=True)]
                wrong = [name != "0" and one[name] > LIMIT for name, one in zip(worst, values, strict=True)]
                mean = np.mean([one["0"] for one in values])
                row.append(f"{labels} {np.mean(named):.2f} {np.mean(wrong):.3f} ({mean:.1f})")
            print(f"{sites} sites, {own} beside {other}: {'; '.join(row)}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 100)
