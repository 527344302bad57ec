"""Small node data in the format that `cohort.prepare` writes, with a planted effect, for the tests of training."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from inference.contract import Contract, default_contract

if TYPE_CHECKING:
    from pathlib import Path


def small_contract() -> Contract:
    """The default contract on a grid of 16 x 16 x 16 voxels."""
    return replace(default_contract(), shape=(16, 16, 16))


def write_node(folder: Path, contract: Contract, site: str, cases: int, seed: int) -> Path:
    """A site of `cases` patients with one cubic lesion each; the hazard grows with its size and with the first term."""
    generator = np.random.default_rng(seed)
    (folder / "cases").mkdir(parents=True)
    header = {"format": "test", "contract_fingerprint": contract.fingerprint, "site": site, "cases": cases}
    (folder / "node.json").write_text(json.dumps(header))
    rows = [_write_case(folder, contract, f"{site}{number:04d}", generator) for number in range(cases)]
    with (folder / "cases.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("case_id", "months", "event", "true_pfs_12m"), *rows])
    return folder


def _write_case(folder, contract, case_id, generator):
    size = int(generator.integers(1, 5))
    corner = [int(generator.integers(1, n - size - 1)) for n in contract.shape]
    lesion = tuple(slice(start, start + size) for start in corner)
    suv = generator.gamma(2.0, 0.3, contract.shape)
    suv[lesion] += 8.0
    concepts = np.zeros((len(contract.concepts), *contract.shape), np.uint8)
    concepts[0][lesion] = 255
    clinical = generator.normal(size=len(contract.inputs)).astype(np.float32)
    rate = 0.09 * np.exp(0.6 * (size - 2.5) + 0.6 * clinical[0])
    time, censoring = generator.exponential(1 / rate), generator.uniform(3, 30)
    months, event = min(time, censoring), time <= censoring
    np.savez(
        folder / "cases" / f"{case_id}.npz",
        image=np.stack([suv, generator.normal(40, 20, contract.shape)]).astype(np.float16),
        clinical=clinical,
        months=np.float32(months),
        event=np.bool_(event),
        concepts=concepts,
        supervised=np.arange(len(contract.concepts)) == 0,
    )
    return case_id, f"{months:.4f}", int(event), f"{np.exp(-12 * rate):.6f}"
