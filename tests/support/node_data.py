"""Small node data with a planted effect."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from inference.input_contract import InputContract, default_contract
from training.data import node_data
from training.data.node_data import TRUTH_COLUMN, NodeCase, PreparedCase

if TYPE_CHECKING:
    from pathlib import Path


def small_contract() -> InputContract:
    """The default contract on a grid of 16 x 16 x 16 voxels."""
    return replace(default_contract(), shape=(16, 16, 16))


def write_node(
    folder: Path, contract: InputContract, cases: int, seed: int, *, as_records: bool = False, first: int = 0
) -> Path:
    """A site of `cases` patients with one cubic lesion each; the hazard grows with its size and with the first term.

    The folder's name is the site's. On a grid of one voxel there is no lesion. Clinical inputs are normal, or, with
    `as_records`, such as a record encodes: what `fedpet train node register` accepts.
    """
    generator = np.random.default_rng(seed)
    node_data.clear_cases(folder)
    prepared, columns = [], {}
    for number in range(cases):
        case_id = f"{folder.name}{first + number:04d}"
        case, truth = _case(contract, generator)
        if as_records:
            case = replace(case, clinical=_encoded(contract, case.clinical))
        node_data.write_case(folder, case_id, case)
        prepared.append(PreparedCase(case_id, case.months, case.event, delineated=True, vendor=""))
        columns[case_id] = {TRUTH_COLUMN: f"{truth:.6f}"}
    node_data.write_node(folder, prepared, contract, columns)
    return folder


def _encoded(contract: InputContract, drawn: np.ndarray) -> np.ndarray:
    """Numbers as drawn, within what a record can hold; what it encodes as yes or no is one of the two."""
    encoded = (drawn > 0).astype(np.float32)
    for index, term in enumerate(contract.terms):
        number = term.kind in {"number", "log_ratio"}
        encoded[index] = np.clip(drawn[index], -2.5, 4.5) if number else (encoded[index] - term.mean) / term.sd
    return encoded


def _case(contract: InputContract, generator: np.random.Generator) -> tuple[NodeCase, float]:
    """A patient, and the true probability of PFS >= 12 months."""
    size = int(generator.integers(1, 5))
    corner = [int(generator.integers(1, max(n - size - 1, 2))) for n in contract.shape]
    lesion = tuple(slice(start, start + size) for start in corner)
    suv = generator.gamma(2.0, 0.3, contract.shape)
    suv[lesion] += 8.0
    concepts = np.zeros((len(contract.concepts), *contract.shape), np.uint8)
    concepts[0][lesion] = 255
    clinical = generator.normal(size=len(contract.inputs)).astype(np.float32)
    rate = 0.09 * np.exp(0.6 * (size - 2.5) + 0.6 * clinical[0])
    time, censoring = generator.exponential(1 / rate), generator.uniform(3, 30)
    case = NodeCase(
        image=np.stack([suv, generator.normal(40, 20, contract.shape)]).astype(np.float16),
        clinical=clinical,
        months=float(min(time, censoring)),
        event=bool(time <= censoring),
        concepts=concepts,
        supervised=np.arange(len(contract.concepts)) == 0,
    )
    return case, float(np.exp(-12 * rate))
