"""Federated statistics of the clinical inputs: mean, spread and missing share over all sites' training patients.

They travel as the parameters of a network that predicts nothing, in one round of the same federation: each site sends
its own means, and their average weighted by patients is that of all patients. So secure aggregation protects them: the
figures of a single site are not visible.
"""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from inference.network import NetworkOutput
from training.task.carried import CarriedValues

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from torch import Tensor

    from inference.input_contract import InputContract
    from training.data.node_data import CentrePatients

STATISTICS = "statistics"  # name of the run and of its network
_RARE = 0.02  # a term known in a smaller share has no mean: rounding would decide it
_SQUARE_SCALE = 8.0  # keeps mean squares within the range of secure aggregation


class Carrier(nn.Module):
    """Two vectors over the clinical inputs: means, and mean squares divided by `_SQUARE_SCALE`."""

    def __init__(self, contract: InputContract) -> None:
        super().__init__()
        self.intervals = len(contract.month_edges) - 1
        size = CarriedValues(self.intervals).size
        self.carried = nn.Parameter(torch.zeros(size), requires_grad=False)  # first: see `training.task.carried`
        self.mean = nn.Parameter(torch.zeros(len(contract.inputs)))
        self.square = nn.Parameter(torch.zeros(len(contract.inputs)))

    def forward(self, image: Tensor, clinical: Tensor) -> NetworkOutput:
        """The same output for every patient, with a gradient of 0."""
        score = 0.0 * (clinical * (self.mean + self.square)).sum(1)
        none = image.new_zeros((image.shape[0], 0))
        return NetworkOutput(score[:, None].expand(-1, self.intervals), score, none, image[:, :0], clinical * 0.0)


def site_statistics(node: CentrePatients, training: Collection[int]) -> dict[str, Tensor]:
    """The carrier's parameters of one site: means (n,) and scaled mean squares (n,) of the encoded clinical inputs.

    Args:
        node: the site's patients.
        training: indices of the training patients.
    """
    values = np.stack([node.cases[index].clinical for index in sorted(training)]).astype(np.float64)
    return {
        "mean": torch.from_numpy(values.mean(0)).float(),
        "square": torch.from_numpy((values**2).mean(0) / _SQUARE_SCALE).float(),
    }


def describe_statistics(parameters: Mapping[str, Tensor], contract: InputContract) -> list[dict[str, Any]]:
    """Mean and standard deviation in the term's own unit over patients whose value is known, and the missing share.

    A missing value is encoded as 0: without a flag its share is not known (None) and the figures include those zeros.

    Args:
        parameters: of the `Carrier`, averaged over all sites.
        contract: of the node data.

    Returns:
        One row for each term of the contract, as plain data.
    """
    found = dict(
        zip(
            contract.inputs,
            zip(parameters["mean"].tolist(), (parameters["square"] * _SQUARE_SCALE).tolist(), strict=True),
            strict=True,
        )
    )
    rows = []
    for term in contract.terms:
        mean, square = found[term.name]
        missing = min(max(found[f"missing:{term.name}"][0], 0.0), 1.0) if term.flag else None
        known = 1.0 - (missing or 0.0)
        centre, spread = mean / max(known, _RARE), square / max(known, _RARE)
        enough = known >= _RARE
        rows.append(
            {
                "term": term.name,
                "mean": round(term.mean + term.sd * centre, 4) if enough else None,
                "sd": round(term.sd * sqrt(max(spread - centre**2, 0.0)), 4) if enough else None,
                "missing": None if missing is None else round(missing, 4),
                "contract_mean": term.mean,
                "contract_sd": term.sd,
            }
        )
    return rows


def contract_with_statistics(contract: InputContract, rows: Sequence[Mapping[str, Any]]) -> InputContract:
    """The contract with the means of all sites, and their spreads for terms that are numbers; 0 and 1 terms keep 1.

    Args:
        contract: of the node data that was described.
        rows: of `describe_statistics`; a term without figures stays as it is.
    """
    known = {row["term"]: row for row in rows if row["mean"] is not None}
    terms = []
    for term in contract.terms:
        row = known.get(term.name)
        if row is None:
            terms.append(term)
        elif term.kind in {"number", "log_ratio"} and row["sd"]:
            terms.append(replace(term, mean=row["mean"], sd=row["sd"]))
        else:
            terms.append(replace(term, mean=row["mean"]))
    return replace(contract, terms=tuple(terms))
