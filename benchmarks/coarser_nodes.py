"""Node data on a grid of twice the spacing, from node data on the default one: what docs/evaluation.md evaluates.

    python -m benchmarks.coarser_nodes NODES/train W/nodes16

Each new voxel is the mean of eight, in place of `fedpet cohort simulate --node-data --spacing 16` that renders anew.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from inference.input_contract import default_contract
from training.simulation.node_data import contract_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from inference.input_contract import InputContract


def halved(array: NDArray[np.floating]) -> NDArray[np.floating]:
    """(..., slices, rows, columns) -> the mean of 2 x 2 x 2 voxels."""
    *more, slices, rows, columns = array.shape
    blocks = array.reshape(*more, slices // 2, 2, rows // 2, 2, columns // 2, 2)
    means: NDArray[np.floating] = blocks.mean((-5, -3, -1))
    return means


def write_site(source: Path, out: Path, fine: InputContract, coarse: InputContract) -> int:
    """One centre; the number of its cases."""
    header = json.loads((source / "node.json").read_text(encoding="utf-8"))
    if header["contract_fingerprint"] != fine.fingerprint:
        raise SystemExit(f"{source.name} is not on the default grid")
    (out / "cases").mkdir(parents=True)
    shutil.copy(source / "cases.csv", out / "cases.csv")
    header["contract_fingerprint"] = coarse.fingerprint
    (out / "node.json").write_text(json.dumps(header, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    paths = sorted((source / "cases").glob("*.npz"))
    for path in paths:
        with np.load(path) as arrays:
            case = dict(arrays)
        case["image"] = halved(case["image"].astype(np.float32)).astype(np.float16)
        case["concepts"] = np.round(halved(case["concepts"].astype(np.float32))).astype(np.uint8)
        np.savez_compressed(out / "cases" / path.name, **case)
    return len(paths)


def main() -> None:
    """Write OUT/<site> for every site of IN, and OUT/contract.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    fine = default_contract()
    coarse = contract_at(2 * fine.spacing_mm)
    for folder in sorted(path.parent for path in given.source.glob("*/node.json")):
        print(folder.name, write_site(folder, given.out / folder.name, fine, coarse), flush=True)
    coarse.write(given.out / "contract.json")


if __name__ == "__main__":
    main()
