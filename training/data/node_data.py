"""Node data: the folder of one centre from which its node trains, written and read here and nowhere else.

A folder, named after the site, with

- `node.json`: format, site, fingerprint of the input contract, numbers of cases, events and delineated cases, how many
  patients lack which input of a published score, and where
  the contract has quantities the version of the rules that measured the lesion tables, with crops that of theirs;
- `cases.csv`: one row a case: pseudonym, months, event, maker of the scanner, and further columns: the quantities of
  the lesion table ("lesion:<name>", empty where not measurable) and whether a mask was measured; the published scores
  ("score:<name>", empty where an input is missing), which no model reads; overall survival; for simulated
  patients the true probability of PFS >= 12 months and the tumour volume;
- `cases/<pseudonym>.npz`: the arrays of a `NodeCase`, without pickles;
- `report.json`: who was left out and why.

Arrays are `[slice, row, column]` on the contract's grid. The reader refuses what the writer would not have written.
"""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Literal, Protocol
from zipfile import BadZipFile

import numpy as np

from fedpet import __version__
from fedpet.core.errors import NodeDataError
from fedpet.core.messages import Message
from inference.input_contract import LESION_PREFIX, crop_contract, default_contract, table_contract

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from inference.input_contract import InputContract
    from training.data.eligibility import ExcludedPatient

Endpoint = Literal["progression_free_survival", "overall_survival"]
FORMAT: Final = "fedpet-node-1"
TRUTH_COLUMN: Final = "true_pfs_12m"  # of cases.csv, for simulated patients only
OS_MONTHS: Final = "os_months"  # of cases.csv: overall survival, where it is known
OS_EVENT: Final = "os_event"  # of cases.csv: 1 where death was seen, else 0
SCORE_PREFIX: Final = "score:"  # of the columns of cases.csv with published scores (`fedpet.clinical.scores`)
FROM_MASK_COLUMN: Final = "lesions_from_mask"  # of cases.csv: 1 where a reader's mask was measured, 0 rules
VALIDATION_FRACTION: Final = 0.2  # of a centre's patients
_EVENT = {"0": False, "1": True}
_MONTHS_TOLERANCE = 0.01  # cases.csv has four decimals, the case file 32-bit floats
_ADVICE = Message("Prepare the node's data again with “fedpet cohort prepare” of this version.")


@dataclass(frozen=True, eq=False)
class NodeCase:
    """One patient, pseudonymised.

    Attributes:
        image: float16 (2, slices, rows, columns), SUVbw in g/ml and HU, clipped as the contract says; with crops
            (lesions, 3, size, size, size), see `inference.lesion_crops.LesionCrops.bag`.
        clinical: float32 (n,), the encoded record and lesion table, in the order of `InputContract.inputs`.
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
            NodeDataError: image, clinical terms or months are not finite.
        """
        if not (np.isfinite(self.image).all() and np.isfinite(self.clinical).all() and np.isfinite(self.months)):
            raise NodeDataError(
                found=Message("A case file of a node holds values that are not numbers."),
                needed=Message("Finite voxels, clinical terms and months."),
                advice=_ADVICE,
            )


class CentrePatients(Protocol):
    """The patients of one centre as training uses them, from a folder (`NodeData`) or in memory."""

    @property
    def site(self) -> str:
        """Name of the centre."""

    @property
    def case_ids(self) -> tuple[str, ...]:
        """Pseudonyms."""

    @property
    def cases(self) -> tuple[NodeCase, ...]:
        """The patients, in the order of `case_ids`."""


@dataclass(frozen=True, eq=False)
class Patients:
    """Patients in memory, of one centre or of several taken together: `CentrePatients`."""

    site: str
    case_ids: tuple[str, ...]
    cases: tuple[NodeCase, ...]


@dataclass(frozen=True)
class NodeData:
    """The checked folder of one centre. A case is read when it is first used and stays in memory with this object.

    Attributes:
        folder: of the node data.
        site: name of the centre.
        contract: input contract that prepared the data.
        outcomes: months and event by pseudonym, sorted by pseudonym.
        truth: true probability of PFS >= 12 months by pseudonym; empty for real patients.
        synthetic: the patients are simulated.
        deaths: overall survival in months, and whether death was seen, by pseudonym of those in whom it is known.
    """

    folder: Path
    site: str
    contract: InputContract
    outcomes: Mapping[str, tuple[float, bool]]
    truth: Mapping[str, float]
    synthetic: bool
    deaths: Mapping[str, tuple[float, bool]] = field(default_factory=dict)
    _loaded: dict[str, NodeCase] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def case_ids(self) -> tuple[str, ...]:
        """Pseudonyms, sorted."""
        return tuple(self.outcomes)

    def with_endpoint(self, endpoint: Endpoint) -> CentrePatients:
        """The patients with the outcome of an endpoint.

        Overall survival must be known in all of them: the sums of a part beside those of all would tell of the others.

        Raises:
            NodeDataError: it is not, or a case file is damaged.
        """
        if endpoint == "progression_free_survival":
            return self
        if len(self.deaths) < len(self.case_ids):
            raise NodeDataError(
                found=Message("A patient of node “{site}” without overall survival.", site=self.site),
                needed=Message("Day of death or of the last news in the clinical table, from which it is computed."),
                advice=Message("Prepare the node's data from a table with these, or train without overall survival."),
            )
        times = ((one, *self.deaths[one]) for one in self.case_ids)
        cases = (replace(self.case(one), months=months, event=event) for one, months, event in times)
        return Patients(self.site, self.case_ids, tuple(cases))

    @property
    def events(self) -> int:
        """Number of patients whose progression or death was seen."""
        return sum(event for _, event in self.outcomes.values())

    def case(self, case_id: str) -> NodeCase:
        """The patient's arrays.

        Raises:
            NodeDataError: the file is damaged, or contradicts the contract or cases.csv.
        """
        if case_id not in self._loaded:
            case = _read_case(self.folder / "cases" / f"{case_id}.npz")
            _require_shapes(case, self.contract)
            _require_outcome(case, self.outcomes[case_id])
            self._loaded[case_id] = case
        return self._loaded[case_id]

    @cached_property
    def cases(self) -> tuple[NodeCase, ...]:
        """All patients, in the order of `case_ids`.

        Raises:
            NodeDataError: see `case`.
        """
        return tuple(self.case(case_id) for case_id in self.case_ids)


@dataclass(frozen=True)
class PreparedCase:
    """One case that was written, without its arrays.

    Attributes:
        case_id: pseudonym.
        months: see `NodeCase`.
        event: see `NodeCase`.
        delineated: whether there are masks.
        vendor: maker of the scanner, as in the PET's headers.
        quantities: of the lesion table, before they were encoded; empty where the contract has none.
        from_mask: whether that table was measured on a reader's mask.
        scores: published ones by name, None where an input is missing.
        lacking: the inputs that are missing, by name of such a score.
        os_months: overall survival from the first dose, or the time of censoring; None where it is not known.
        os_event: death was seen at `os_months`.
    """

    case_id: str
    months: float
    event: bool
    delineated: bool
    vendor: str
    quantities: Mapping[str, float | None] = field(default_factory=dict)
    from_mask: bool = False
    scores: Mapping[str, float | None] = field(default_factory=dict)
    lacking: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    os_months: float | None = None
    os_event: bool = False

    def columns(self) -> dict[str, object]:
        """Columns of cases.csv: the lesion table, not encoded (it can be encoded anew), scores, overall survival."""
        given = {f"{LESION_PREFIX}{name}": value for name, value in self.quantities.items()}
        given |= {f"{SCORE_PREFIX}{name}": value for name, value in self.scores.items()}
        measured = {FROM_MASK_COLUMN: int(self.from_mask)} if self.quantities else {}
        alive = {} if self.os_months is None else {OS_MONTHS: f"{self.os_months:.4f}", OS_EVENT: int(self.os_event)}
        return {**measured, **{name: "" if value is None else f"{value:.6g}" for name, value in given.items()}, **alive}


@dataclass(frozen=True)
class PreparationReport:
    """What became of a centre's patients.

    Attributes:
        site: name of the centre.
        cases: pseudonyms of the prepared cases, sorted.
        delineated: how many of them have masks.
        left_out: everybody else.
    """

    site: str
    cases: tuple[str, ...]
    delineated: int
    left_out: tuple[ExcludedPatient, ...]


def clear_cases(folder: Path) -> None:
    """Make the folder of a node's data, without the cases of an earlier run."""
    keep_cases(folder, ())


def keep_cases(folder: Path, case_ids: Collection[str]) -> None:
    """Make the folder of a node's data, with these cases of an earlier run and no others."""
    (folder / "cases").mkdir(parents=True, exist_ok=True)
    for stale in (folder / "cases").iterdir():
        if stale.suffix != ".npz" or stale.stem not in case_ids:
            stale.unlink()


def write_case(folder: Path, case_id: str, case: NodeCase) -> None:
    """Write `cases/<case_id>.npz`, whole or not at all."""
    part = folder / "cases" / f"{case_id}.{os.getpid()}.part"  # two runs never write one file
    with part.open("wb") as file:
        np.savez_compressed(
            file,
            image=case.image,
            clinical=case.clinical,
            months=np.float32(case.months),
            event=np.bool_(case.event),
            concepts=case.concepts,
            supervised=case.supervised,
        )
    part.replace(folder / "cases" / f"{case_id}.npz")


def write_node(
    folder: Path,
    results: Sequence[PreparedCase | ExcludedPatient],
    contract: InputContract,
    columns: Mapping[str, Mapping[str, object]],
) -> PreparationReport:
    """Write node.json, cases.csv and report.json beside the cases.

    Args:
        folder: of the node data; its name is the site's.
        results: of all patients of the centre.
        contract: input contract that prepared the cases.
        columns: further columns of cases.csv, by pseudonym and name of the column; with `TRUTH_COLUMN` the patients
            are simulated.

    Returns:
        The content of report.json.
    """
    prepared = sorted((one for one in results if isinstance(one, PreparedCase)), key=lambda case: case.case_id)
    left_out = [one for one in results if not isinstance(one, PreparedCase)]
    report = PreparationReport(
        folder.resolve().name,
        tuple(case.case_id for case in prepared),
        sum(case.delineated for case in prepared),
        tuple(sorted(left_out, key=lambda one: one.pseudonym)),
    )
    cells = {case.case_id: {**columns.get(case.case_id, {}), **case.columns()} for case in prepared}
    names = tuple(dict.fromkeys(name for row in cells.values() for name in row))
    common = {"format": FORMAT, "site": report.site, "software": __version__}
    header = {
        **common,
        "contract_fingerprint": contract.fingerprint,
        "cases": len(report.cases),
        "events": sum(case.event for case in prepared),
        "delineated": report.delineated,
        "synthetic": TRUTH_COLUMN in names,
        **({"table_version": contract.table_version, "organs": contract.organs} if contract.quantities else {}),
        **({"crops_version": contract.crops.version} if contract.crops else {}),
        **({"scores_lack": _lacking(prepared)} if any(case.scores for case in prepared) else {}),
    }
    write_json(header, folder / "node.json")
    with (folder / "cases.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["case_id", "months", "event", "vendor", *names])
        for case in prepared:
            further = [cells[case.case_id].get(name, "") for name in names]
            writer.writerow([case.case_id, f"{case.months:.4f}", int(case.event), case.vendor, *further])
    summary = {**common, "prepared": len(report.cases), "left_out": [one.to_json() for one in report.left_out]}
    write_json(summary, folder / "report.json")
    return report


def _lacking(cases: Sequence[PreparedCase]) -> dict[str, dict[str, int]]:
    """By published score, how many patients lack which of its inputs."""
    counts: dict[str, Counter[str]] = {}
    for case in cases:
        for score, inputs in case.lacking.items():
            counts.setdefault(score, Counter()).update(inputs)
    return {score: dict(counted) for score, counted in counts.items()}


def require_cases(report: PreparationReport) -> None:
    """Refuse a preparation that nobody came out of.

    Raises:
        NodeDataError: no patient is usable.
    """
    if not report.cases:
        counts = Counter(one.code for one in report.left_out).most_common(3)
        raise NodeDataError(
            found=Message(
                "Nobody of {n} is usable; most often: {codes}.",
                n=len(report.left_out),
                codes=", ".join(f"{code} ({count})" for code, count in counts),
            ),
            needed=Message("At least one patient with images, a record and an outcome."),
            advice=Message("Read report.json, or the page of “fedpet cohort check”, which names the patients."),
        )


def write_json(data: Mapping[str, object], path: Path) -> None:
    """Write JSON with sorted keys, so that the same data gives the same bytes."""
    path.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_rows(folder: Path) -> list[dict[str, str]]:
    """The rows of cases.csv, sorted by pseudonym.

    Raises:
        OSError: the file cannot be read.
    """
    with (folder / "cases.csv").open(encoding="utf-8", newline="") as file:
        return sorted(csv.DictReader(file), key=lambda row: row["case_id"])


def read_node(folder: Path, contract: InputContract) -> NodeData:
    """Read and check the folder of a centre; the cases' own files are read when they are first used.

    Args:
        folder: of the node data.
        contract: input contract that must have prepared it.

    Raises:
        NodeDataError: a file is missing or unreadable, the format is another one, another contract prepared the data,
            or node.json, cases.csv and the case files contradict each other.
    """
    try:
        header = json.loads((folder / "node.json").read_text(encoding="utf-8"))
        site, found_format = str(header["site"]), str(header.get("format"))
        fingerprint, counted = header["contract_fingerprint"], (header.get("cases"), header.get("events"))
        rows = read_rows(folder)
        outcomes = {row["case_id"]: (float(row["months"]), _EVENT[row["event"]]) for row in rows}
        truth = {row["case_id"]: float(row[TRUTH_COLUMN]) for row in rows if row.get(TRUTH_COLUMN)}
        alive = [row for row in rows if row.get(OS_MONTHS)]
        deaths = {row["case_id"]: (float(row[OS_MONTHS]), _EVENT[row[OS_EVENT]]) for row in alive}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NodeDataError(
            found=Message("The folder of a node holds no readable node.json and cases.csv."),
            needed=Message("Node data has both."),
            advice=_ADVICE,
        ) from error
    _require_format(site, found_format)
    _require_table(site, str(header.get("table_version", "")), contract)
    _require_contract(site, fingerprint, contract)
    data = NodeData(folder, site, contract, outcomes, truth, bool(truth) or header.get("synthetic") is True, deaths)
    _require_counts(data, len(rows), counted)
    _require_files(data)
    return data


def built_in_contract(folder: Path) -> InputContract:
    """The contract of the lesion table, with or without crops, where it prepared the data, else the default one."""
    try:
        header = json.loads((folder / "node.json").read_text(encoding="utf-8"))
        prepared_by = header["contract_fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        return default_contract()  # `read_node` says what is wrong
    by_rules = replace(table_contract(), organs="")  # before the source of the organs was recorded
    known = (one for one in (table_contract(), by_rules, crop_contract()) if one.fingerprint == prepared_by)
    return next(known, default_contract())


def split(
    case_ids: tuple[str, ...], fraction: float = VALIDATION_FRACTION, seed: str = ""
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Indices of the training and of the validation cases.

    The `fraction` of cases whose pseudonyms, after the seed, have the smallest SHA-256 validates: a function of these
    alone, so a restart never moves a patient from training to validation. At least one case is on each side.

    Args:
        case_ids: pseudonyms of all cases.
        fraction: of the cases that validates, in (0, 1).
        seed: another one gives another split.

    Raises:
        NodeDataError: fewer than two cases.
    """
    if len(case_ids) < 2:
        raise NodeDataError(
            found=Message("A node holds {count} case.", count=len(case_ids)),
            needed=Message("One case to train on and one to validate on."),
            advice=Message("Leave this node out, or give it more patients."),
        )
    order = sorted(range(len(case_ids)), key=lambda index: sha256((seed + case_ids[index]).encode()).digest())
    count = min(max(1, round(fraction * len(case_ids))), len(case_ids) - 1)
    return tuple(sorted(order[count:])), tuple(sorted(order[:count]))


def require_patients(count: int, minimum: int) -> None:
    """Refuse a task with too few patients.

    Raises:
        NodeDataError: there are fewer than the minimum.
    """
    if count < minimum:
        raise NodeDataError(
            found=Message("A node has {count} patients for the task.", count=count),
            needed=Message("At least {count}.", count=minimum),
            advice=Message("Leave this node out, or give it more patients."),
        )


def _require_format(site: str, found: str) -> None:
    if found != FORMAT:
        raise NodeDataError(
            found=Message("The data of node “{site}” has the format “{found}”.", site=site, found=found[:40]),
            needed=Message("The format “{needed}”.", needed=FORMAT),
            advice=_ADVICE,
        )


def _require_table(site: str, found: str, contract: InputContract) -> None:
    """The rules that measured the lesion tables are those of the contract; none of either is right too."""
    if found != contract.table_version:
        raise NodeDataError(
            found=Message(
                "The lesion tables of node “{site}” were measured by the rules “{found}”.",
                site=site,
                found=found or "–",
            ),
            needed=Message("The rules “{needed}”.", needed=contract.table_version or "–"),
            advice=_ADVICE,
        )


def _require_contract(site: str, fingerprint: object, contract: InputContract) -> None:
    if fingerprint != contract.fingerprint:
        raise NodeDataError(
            found=Message("The data of node “{site}” was prepared by another input contract.", site=site),
            needed=Message("Its fingerprint must be {start}…", start=contract.fingerprint[:12]),
            advice=_ADVICE,
        )


def _require_counts(data: NodeData, rows: int, counted: tuple[object, object]) -> None:
    """The header's numbers of cases and events are those of cases.csv, which names every case once."""
    if counted != (rows, data.events) or len(data.case_ids) != rows:
        raise NodeDataError(
            found=Message(
                "node.json of node “{site}” counts {cases} cases with {events} events; cases.csv lists {listed} rows of"
                " {distinct} cases, {seen} with an event.",
                site=data.site,
                cases=str(counted[0]),
                events=str(counted[1]),
                listed=rows,
                distinct=len(data.case_ids),
                seen=data.events,
            ),
            needed=Message("The same numbers in both, and one row for each case."),
            advice=_ADVICE,
        )


def _require_files(data: NodeData) -> None:
    """There is a file for each case and a case for each file."""
    listed = set(data.case_ids)
    present = {path.stem for path in (data.folder / "cases").glob("*.npz")}
    if listed != present or not listed:
        raise NodeDataError(
            found=Message(
                "Node “{site}” lists {listed} cases; {absent} have no file, and {unlisted} files belong to none.",
                site=data.site,
                listed=len(listed),
                absent=len(listed - present),
                unlisted=len(present - listed),
            ),
            needed=Message("At least one case, and a file for each."),
            advice=_ADVICE,
        )


def _read_case(path: Path) -> NodeCase:
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
    except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
        raise NodeDataError(
            found=Message("A case file of a node cannot be read."),
            needed=Message("It holds image, clinical, months, event, concepts and supervised."),
            advice=_ADVICE,
        ) from error


def _require_shapes(case: NodeCase, contract: InputContract) -> None:
    concepts = len(contract.concepts)
    needed: dict[str, tuple[int, ...]] = {
        "image": contract.image_shape,
        "clinical": (len(contract.inputs),),
        "concepts": (concepts, *contract.shape),
        "supervised": (concepts,),
    }
    wrong = {name: getattr(case, name).shape for name, shape in needed.items() if getattr(case, name).shape != shape}
    if wrong:
        raise NodeDataError(
            found=Message("A case file of a node holds arrays of other shapes: {shapes}.", shapes=_shapes(wrong)),
            needed=Message("The input contract's: {shapes}.", shapes=_shapes({name: needed[name] for name in wrong})),
            advice=_ADVICE,
        )


def _shapes(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {' x '.join(map(str, shape))}" for name, shape in shapes.items())


def _require_outcome(case: NodeCase, listed: tuple[float, bool]) -> None:
    """The case file holds the outcome of cases.csv; nan is refused by `NodeCase.require_finite`."""
    months, event = listed
    if abs(case.months - months) > _MONTHS_TOLERANCE or case.event != event:
        raise NodeDataError(
            found=Message("A case file of a node and its row in cases.csv hold different outcomes."),
            needed=Message("The same months and event in both."),
            advice=_ADVICE,
        )
