"""Node data of several centres on one machine, for the evaluation only: a federation never does this."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from inference.input_contract import BIOMARKERS, LESION_PREFIX, ClinicalTerm
from inference.network import IMAGELESS, EvidenceNetwork
from training.data.node_data import OS_EVENT, OS_MONTHS, TRUTH_COLUMN, Patients, read_node, read_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from inference.input_contract import InputContract
    from training.data.node_data import NodeCase, NodeData

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

TMTV = "tmtv_ml"  # optional column of cases.csv; else the volume is that of the lesion table or the delineations
_TMTV_TERM = ClinicalTerm("tmtv", "number", ("tmtv",), mean=4.1, sd=1.05)  # ln(ml + 3)
_VOLUME_CONCEPT = "lesion"
# quantities as the network's biomarkers define them, and the concepts that each is measured on
_MEASURED_ON = dict(
    zip(
        BIOMARKERS,
        (
            {"lesion"},
            {"lesion"},
            {"lesion"},
            {"lesion", "necrosis"},
            {"liver_lesion"},
            {"liver", "marrow"},
        ),
        strict=True,
    )
)


@dataclass(frozen=True, eq=False)
class PooledCohort:
    """All patients of all centres, n in all.

    Attributes:
        sites: names of the centres.
        site: (n,) each patient's centre.
        truth: (n,) true P(PFS >= 12 months); nan for real patients.
        columns: (n,) numbers by name of a further column of cases.csv; nan where empty.
        words: such columns that hold other than numbers.
        vendor: (n,) maker of the scanner; "" where unknown.
    """

    contract: InputContract
    sites: tuple[str, ...]
    site: NDArray[np.str_]
    case_ids: tuple[str, ...]
    cases: tuple[NodeCase, ...]
    truth: Floats
    columns: Mapping[str, Floats]
    words: frozenset[str]
    vendor: NDArray[np.str_]
    synthetic: bool

    @cached_property
    def months(self) -> Floats:
        """(n,) time of the event or of censoring."""
        return np.array([case.months for case in self.cases])

    @cached_property
    def event(self) -> Flags:
        """(n,) whether the event was seen."""
        return np.array([case.event for case in self.cases])

    @cached_property
    def clinical(self) -> Floats:
        """(n, inputs) encoded records."""
        return np.array([case.clinical for case in self.cases], float)

    @property
    def has_images(self) -> bool:
        """False where the node data was written for a grid of one voxel."""
        return self.contract.shape != (1, 1, 1)

    def patients(self, name: str, member: Flags) -> Patients:
        """Some of the patients as one centre.

        Args:
            name: of the centre.
            member: (n,) which patients.
        """
        chosen = np.flatnonzero(member)
        return Patients(name, tuple(self.case_ids[i] for i in chosen), tuple(self.cases[i] for i in chosen))

    def by_site(self, member: Flags) -> dict[str, Patients]:
        """Some of the patients, centre by centre; centres without any are left out."""
        parts = {name: member & (self.site == name) for name in self.sites}
        return {name: self.patients(name, part) for name, part in parts.items() if part.any()}

    def with_outcomes(self, order: NDArray[np.int64]) -> PooledCohort:
        """The cohort in which patient i has the outcome of patient `order[i]`, without true probabilities."""
        changed = tuple(
            replace(case, months=self.cases[j].months, event=self.cases[j].event)
            for case, j in zip(self.cases, order, strict=True)
        )
        return replace(self, cases=changed, truth=np.full(len(changed), np.nan))

    def with_overall_survival(self) -> PooledCohort | None:
        """The cohort in which death is the event, without true probabilities; None unless it is known for everybody."""
        months, event = (self.columns.get(name, np.array([np.nan])) for name in (OS_MONTHS, OS_EVENT))
        if not (np.isfinite(months).all() and np.isfinite(event).all()):
            return None
        changed = tuple(
            replace(case, months=float(time), event=bool(died))
            for case, time, died in zip(self.cases, months, event, strict=True)
        )
        columns = {**self.columns, "months": months}
        return replace(self, cases=changed, columns=columns, truth=np.full(len(changed), np.nan))

    def tmtv(self) -> Floats | None:
        """(n,) ml, from the column, the lesion table or the delineations; None unless it is known for everybody."""
        column = next((name for name in (TMTV, f"{LESION_PREFIX}{TMTV}") if name in self.columns), None)
        if column is not None:
            volume = self.columns[column]
            return volume if np.isfinite(volume).all() else None
        at = self.contract.concepts.index(_VOLUME_CONCEPT) if _VOLUME_CONCEPT in self.contract.concepts else None
        if at is None or not self.has_images or not all(case.supervised[at] for case in self.cases):
            return None
        voxel_ml = self.contract.spacing_mm**3 / 1000
        return np.array([case.concepts[at].sum(dtype=float) / 255 * voxel_ml for case in self.cases])

    @cached_property
    def quantities(self) -> dict[str, Floats]:
        """(n,) quantities by name, measured on image and delineations as the evidence network's biomarkers are.

        Logarithms of volumes, uptake and ratio; spread in mm; all scaled to about unit spread. Those whose concepts
        were delineated in everybody; none without images or where the lesions were not.
        """
        concepts = self.contract.concepts
        drawn = np.all([case.supervised for case in self.cases], axis=0)
        known = {name for name, given in zip(concepts, drawn, strict=True) if given}
        if not self.has_images or _VOLUME_CONCEPT not in known:
            return {}
        network = EvidenceNetwork(self.contract, width=1)
        with torch.no_grad():
            values = np.concatenate(
                [
                    network.biomarkers(
                        torch.from_numpy(case.image[:1].astype(np.float32)),
                        torch.from_numpy(case.concepts[None].astype(np.float32)) / 255,
                    ).numpy()
                    for case in self.cases
                ]
            ).astype(float)
        return {name: values[:, at] for at, name in enumerate(BIOMARKERS) if _MEASURED_ON[name] <= known}

    def read_by(self, network: str) -> PooledCohort:
        """The cohort for a network: with images of one voxel for one that reads none, which saves time."""
        if network not in IMAGELESS or not self.has_images:
            return self
        count = len(self.contract.concepts)
        changed = tuple(
            replace(
                case,
                image=np.zeros((2, 1, 1, 1), np.float16),
                concepts=np.zeros((count, 1, 1, 1), np.uint8),
                supervised=np.zeros(count, np.bool_),
            )
            for case in self.cases
        )
        return replace(self, cases=changed)

    def with_tmtv(self, volume: Floats) -> PooledCohort:
        """The cohort with ln(TMTV + 3) as one more clinical term."""
        return self.with_terms({_TMTV_TERM: np.log(volume + 3.0)})

    def with_quantities(self, quantities: Mapping[str, Floats]) -> PooledCohort:
        """The cohort with quantities, each of about unit spread, as further clinical terms."""
        return self.with_terms({ClinicalTerm(name, "number", (name,)): one for name, one in quantities.items()})

    def with_terms(self, columns: Mapping[ClinicalTerm, Floats]) -> PooledCohort:
        """The cohort with further clinical terms, (n,) each, in the term's unit."""
        at = len(self.contract.terms)
        values = np.stack([(column - term.mean) / term.sd for term, column in columns.items()], 1)
        changed = tuple(
            replace(case, clinical=np.insert(case.clinical, at, row).astype(np.float32))
            for case, row in zip(self.cases, values, strict=True)
        )
        contract = replace(self.contract, terms=(*self.contract.terms, *columns))
        return replace(self, contract=contract, cases=changed)


def pool_node_data(
    folders: Sequence[Path], contract: InputContract, vendors: Mapping[str, str] | None = None
) -> PooledCohort:
    """Read the centres' node data.

    Args:
        folders: node data, one a centre.
        contract: of all of them.
        vendors: maker of the scanner by centre, for patients whose row of cases.csv has none.

    Raises:
        NodeDataError: a folder was not prepared by this contract.
    """
    nodes = [read_node(folder, contract) for folder in folders]
    rows = [row for node in nodes for row in _rows(node, vendors or {})]
    names = dict.fromkeys(name for row in rows for name in row if name != "vendor")
    numbers = {name: _numbers([row.get(name, "") for row in rows]) for name in names}
    return PooledCohort(
        contract=contract,
        sites=tuple(node.site for node in nodes),
        site=np.array([node.site for node in nodes for _ in node.case_ids]),
        case_ids=tuple(case_id for node in nodes for case_id in node.case_ids),
        cases=tuple(case for node in nodes for case in node.cases),
        truth=np.array([node.truth.get(case_id, np.nan) for node in nodes for case_id in node.case_ids]),
        columns={name: column for name, column in numbers.items() if column is not None},
        words=frozenset(name for name, column in numbers.items() if column is None),
        vendor=np.array([row["vendor"] for row in rows]),
        synthetic=any(node.synthetic for node in nodes),
    )


def _rows(node: NodeData, vendors: Mapping[str, str]) -> list[dict[str, str]]:
    """The further columns of a centre's cases.csv, in the order of its patients; "vendor" is always among them."""
    known = {"case_id", "event", TRUTH_COLUMN}
    return [
        {name: value for name, value in row.items() if name not in known}
        | {"vendor": row.get("vendor") or vendors.get(node.site, "")}
        for row in read_rows(node.folder)
    ]


def _numbers(cells: Sequence[str]) -> Floats | None:
    try:
        return np.array([float(cell) if cell else np.nan for cell in cells])
    except ValueError:
        return None
