"""Node data: what one centre keeps for training, as `cohort.prepare` writes it, read without pickle.

A folder with `node.json` (site, contract fingerprint), `cases.csv` (case_id, months, event and, for simulated patients
only, `true_pfs_12m`) and `cases/<case_id>.npz`. Arrays are `[slice, row, column]` on the contract's grid.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import sha256
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from fedpet.errors import NodeDataRefused
from fedpet.messages import Message

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from inference.contract import Contract

TRUTH_COLUMN = "true_pfs_12m"
VALIDATION_FRACTION = 0.2
_ADVICE = Message("Prepare the node's data again with “fedpet cohort prepare” of this version.")


@dataclass(frozen=True, eq=False)
class NodeCase:
    """One patient, pseudonymised.

    Attributes:
        image: float16 (2, slices, rows, columns), SUVbw in g/ml and HU, clipped as the contract says.
        clinical: float32 (n,), the encoded record.
        months: progression-free survival from the first dose, or the time of censoring.
        event: progression or death was seen at `months`.
        concepts: uint8 (C, slices, rows, columns), 255 x the fraction of the voxel that belongs to the concept.
        supervised: bool (C,), whether the concept was delineated for this patient.
    """

    image: NDArray[np.float16]
    clinical: NDArray[np.float32]
    months: float
    event: bool
    concepts: NDArray[np.uint8]
    supervised: NDArray[np.bool_]

    def require_finite(self) -> None:
        """Refuse values that would turn every parameter into nan.

        Raises:
            NodeDataRefused: image, clinical terms or months are not finite.
        """
        if not (np.isfinite(self.image).all() and np.isfinite(self.clinical).all() and np.isfinite(self.months)):
            raise NodeDataRefused(
                found=Message("A case file of a node holds values that are not numbers."),
                needed=Message("Finite voxels, clinical terms and months."),
                advice=_ADVICE,
            )


@dataclass(frozen=True)
class NodeData:
    """The checked folder of one centre; cases are read when asked for and then kept in memory.

    Attributes:
        case_ids: pseudonyms, sorted.
        truth: true probability of PFS >= 12 months by pseudonym; empty for real patients.
        synthetic: the patients are simulated.
    """

    folder: Path
    site: str
    case_ids: tuple[str, ...]
    truth: Mapping[str, float]
    synthetic: bool

    @property
    def events(self) -> int:
        """Patients whose progression or death was seen, by cases.csv."""
        return sum(int(row["event"]) for row in read_rows(self.folder))

    def case(self, case_id: str) -> NodeCase:
        """The patient's arrays."""
        return _load_case(self.folder / "cases" / f"{case_id}.npz")

    @cached_property
    def cases(self) -> tuple[NodeCase, ...]:
        """All patients, in the order of `case_ids`."""
        return tuple(self.case(case_id) for case_id in self.case_ids)


def read_rows(folder: Path) -> list[dict[str, str]]:
    """The rows of cases.csv, in the order of `NodeData.case_ids`."""
    with (folder / "cases.csv").open(encoding="utf-8", newline="") as file:
        return sorted(csv.DictReader(file), key=lambda row: row["case_id"])


def read_node(folder: Path, contract: Contract) -> NodeData:
    """Read and check a centre's folder.

    Raises:
        NodeDataRefused: a file is missing or unreadable, a case is absent, or another contract prepared the data.
    """
    try:
        header = json.loads((folder / "node.json").read_text(encoding="utf-8"))
        site, fingerprint = str(header["site"]), header["contract_fingerprint"]
        rows = read_rows(folder)
        truth = {row["case_id"]: float(row[TRUTH_COLUMN]) for row in rows if row.get(TRUTH_COLUMN)}
    except (OSError, ValueError, KeyError) as error:
        raise NodeDataRefused(
            found=Message("The folder of a node holds no readable node.json and cases.csv."),
            needed=Message("Node data has both."),
            advice=_ADVICE,
        ) from error
    if fingerprint != contract.fingerprint:
        raise NodeDataRefused(
            found=Message("The data of node “{site}” was prepared by another input contract.", site=site),
            needed=Message("Its fingerprint must be {start}…", start=contract.fingerprint[:12]),
            advice=_ADVICE,
        )
    case_ids = tuple(row["case_id"] for row in rows)
    absent = sum(not (folder / "cases" / f"{case_id}.npz").is_file() for case_id in case_ids)
    if absent or not case_ids:
        raise NodeDataRefused(
            found=Message(
                "Node “{site}” lists {listed} cases; {absent} have no file.",
                site=site,
                listed=len(case_ids),
                absent=absent,
            ),
            needed=Message("At least one case, and a file for each."),
            advice=_ADVICE,
        )
    return NodeData(folder, site, case_ids, truth, bool(truth) or header.get("synthetic") is True)


def split(case_ids: tuple[str, ...], fraction: float = VALIDATION_FRACTION) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Indices of the training and of the validation cases.

    The `fraction` of cases whose pseudonyms have the smallest SHA-256 validates: a function of the pseudonyms alone,
    so a restart never moves a patient from training to validation. At least one case is on each side.

    Raises:
        NodeDataRefused: fewer than two cases.
    """
    if len(case_ids) < 2:
        raise NodeDataRefused(
            found=Message("A node holds {count} case.", count=len(case_ids)),
            needed=Message("One case to train on and one to validate on."),
            advice=Message("Leave this node out, or give it more patients."),
        )
    order = sorted(range(len(case_ids)), key=lambda index: sha256(case_ids[index].encode()).digest())
    count = min(max(1, round(fraction * len(case_ids))), len(case_ids) - 1)
    return tuple(sorted(order[count:])), tuple(sorted(order[:count]))


@cache
def _load_case(path: Path) -> NodeCase:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return NodeCase(
                image=arrays["image"].astype(np.float16, copy=False),
                clinical=arrays["clinical"].astype(np.float32, copy=False),
                months=float(arrays["months"]),
                event=bool(arrays["event"]),
                concepts=arrays["concepts"].astype(np.uint8, copy=False),
                supervised=arrays["supervised"].astype(np.bool_, copy=False),
            )
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise NodeDataRefused(
            found=Message("A case file of a node cannot be read."),
            needed=Message("It holds image, clinical, months, event, concepts and supervised."),
            advice=_ADVICE,
        ) from error
