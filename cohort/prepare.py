"""A centre's raw DICOM and table become node data, through the one preprocessing path of `inference`.

Written for real hospitals and for the synthetic cohort alike: DICOM_DIR holds one folder a patient, named by the
table's `patient_id` (or by anything, if `PatientID` in the files is that identifier). Node data, in OUT:
node.json, cases.csv, cases/<pseudonym>.npz, and report.json, which says who was left out and why. Nothing written holds
an identifier other than the pseudonym.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from cohort.eligibility import LeftOut, Pairing, pair
from cohort.parallel import ordered_map
from cohort.truth import concept_masks, write_json
from fedpet import __version__
from fedpet.errors import StudyRefused
from fedpet.messages import Message
from fedpet.progress import silent
from imaging.loading import load_study, pseudonym
from inference.encoding import encode
from inference.preprocessing import model_grid, model_image, to_model_grid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from numpy.typing import NDArray

    from fedpet.progress import Progress
    from imaging.resampling import Grid
    from imaging.study import Study
    from inference.contract import Contract

FORMAT: Final = "fedpet-node-1"
TRUTH_COLUMNS: Final = ("true_pfs_12m", "tmtv_ml")  # of simulated patients only


@dataclass(frozen=True)
class PreparationReport:
    """What became of a centre's patients.

    Attributes:
        site: name of the node.
        cases: pseudonyms of the prepared cases, sorted.
        delineated: how many of them have masks.
        left_out: everybody else.
    """

    site: str
    cases: tuple[str, ...]
    delineated: int
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True)
class Prepared:
    """One case that was written, without its arrays."""

    case_id: str
    months: float
    event: bool
    delineated: bool
    vendor: str  # maker of the scanner, as the PET's headers have it


def prepare_node_data(
    dicom_dir: Path,
    table: Path,
    out: Path,
    *,
    contract: Contract,
    pseudonym_key: bytes,
    masks: Path | None = None,
    workers: int = 1,
    progress: Progress = silent,
) -> PreparationReport:
    """Prepare a centre's node data; cases of an earlier run in `out` are removed.

    Args:
        dicom_dir: one folder a patient.
        table: CSV of the centre, see `clinical.reading.read_table`.
        out: folder of the node; its name is the node's.
        contract: preprocessing and encoding.
        pseudonym_key: secret of the centre.
        masks: one folder a patient, named as in `dicom_dir`, laid out as `cohort.truth` says; a patient without one
            is prepared without masks. A `truth.json` beside them adds the true probabilities and tumour volumes of
            simulated patients.
        workers: processes.
        progress: told after each patient.

    Raises:
        RecordRefused: the table cannot be read.
    """
    pairing = pair(dicom_dir, table, pseudonym_key)
    clear_cases(out)
    prepare = partial(_prepare_case, contract=contract, key=pseudonym_key, masks=masks, node=out)
    results: list[Prepared | LeftOut] = list(pairing.left_out)
    for done, result in enumerate(ordered_map(prepare, pairing.pairs, workers=workers), start=1):
        results.append(result)
        progress(
            done / len(pairing.pairs), Message("Preparing patients ({done} of {n})", done=done, n=len(pairing.pairs))
        )
    truth = _truth(masks / "truth.json") if masks else {}
    return write_node(out, results, contract, truth_by_case(truth, pseudonym_key))


def clear_cases(node: Path) -> None:
    """Make the folder of a node, without the cases of an earlier run."""
    (node / "cases").mkdir(parents=True, exist_ok=True)
    for stale in (node / "cases").glob("*.npz"):
        stale.unlink()


def _prepare_case(
    pairing: Pairing, *, contract: Contract, key: bytes, masks: Path | None, node: Path
) -> Prepared | LeftOut:
    """Load, preprocess, encode and write one case."""
    case_id = pseudonym(pairing.patient_id, key)
    delineation = masks / pairing.folder.name if masks else None
    try:
        study = load_study(pairing.folder, pseudonym_key=key)
        found = delineation if delineation is not None and delineation.is_dir() else None
        return prepare_study(study, pairing, case_id, contract=contract, delineation=found, node=node)
    except StudyRefused as refusal:
        return LeftOut(case_id, "study_refused", (refusal.found, refusal.needed, refusal.advice))


def prepare_study(
    study: Study, pairing: Pairing, case_id: str, *, contract: Contract, delineation: Path | None, node: Path
) -> Prepared | LeftOut:
    """Preprocess, encode and write one case, unless a quality check failed.

    Args:
        study: the images.
        pairing: the record and the outcome.
        case_id: pseudonym, the name of the case.
        contract: preprocessing and encoding.
        delineation: the patient's masks, see `cohort.truth`.
        node: folder of the node.

    Raises:
        UnreadableStudy: a mask is missing or not NIfTI.
    """
    failed = study.failed()
    if failed:
        return LeftOut(case_id, "failed_check", tuple(check.reason for check in failed))
    image = model_image(study, contract)
    concepts, supervised = _concepts(delineation, model_grid(study, contract), contract)
    write_case(node, case_id, pairing, contract, image=image, concepts=concepts, supervised=supervised)
    outcome = pairing.outcome
    return Prepared(case_id, outcome.months, outcome.event, delineation is not None, study.pet_facts.manufacturer)


def write_case(
    node: Path,
    case_id: str,
    pairing: Pairing,
    contract: Contract,
    *,
    image: NDArray[np.float32],
    concepts: NDArray[np.uint8],
    supervised: NDArray[np.bool_],
) -> None:
    """Write cases/<case_id>.npz; the arrays are those of `training.node_data.NodeCase`."""
    np.savez_compressed(
        node / "cases" / f"{case_id}.npz",
        image=image.astype(np.float16),
        clinical=encode(pairing.record, contract).values,
        months=np.float32(pairing.outcome.months),
        event=np.bool_(pairing.outcome.event),
        concepts=concepts,
        supervised=supervised,
    )


def _concepts(folder: Path | None, grid: Grid, contract: Contract) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """255 x the fraction of each voxel that belongs to a concept, and which concepts were delineated."""
    concepts = np.zeros((len(contract.concepts), *contract.shape), np.uint8)
    supervised = np.zeros(len(contract.concepts), bool)
    if folder is not None:
        masks = concept_masks(folder)
        for i, name in enumerate(contract.concepts):
            if name in masks:
                concepts[i] = np.round(255 * to_model_grid(masks[name], grid))
                supervised[i] = True
    return concepts, supervised


def _truth(path: Path) -> dict[str, Any]:
    """What `cohort.truth.patient_truth` gave, by patient; empty for real patients."""
    if not path.is_file():
        return {}
    patients: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["patients"]
    return patients


def truth_by_case(patients: Mapping[str, Any], key: bytes) -> dict[str, tuple[float, ...]]:
    """`TRUTH_COLUMNS` of simulated patients by pseudonym, from `cohort.truth.patient_truth` by patient."""
    return {
        pseudonym(name, key): (told["risk"]["pfs_12m"], told["features"]["tmtv_ml"]) for name, told in patients.items()
    }


def write_node(
    out: Path, results: Sequence[Prepared | LeftOut], contract: Contract, truth: Mapping[str, tuple[float, ...]]
) -> PreparationReport:
    """Write node.json, cases.csv and report.json beside the cases.

    Args:
        out: folder of the node; its name is the node's.
        results: of all its patients.
        contract: that prepared them.
        truth: see `truth_by_case`; empty for real patients.
    """
    prepared = sorted((one for one in results if isinstance(one, Prepared)), key=lambda case: case.case_id)
    left_out = sorted((one for one in results if isinstance(one, LeftOut)), key=lambda one: one.pseudonym)
    delineated = sum(case.delineated for case in prepared)
    report = PreparationReport(
        out.resolve().name, tuple(case.case_id for case in prepared), delineated, tuple(left_out)
    )
    common = {"format": FORMAT, "site": report.site, "software": __version__}
    node = {
        **common,
        "contract_fingerprint": contract.fingerprint,
        "cases": len(report.cases),
        "events": sum(case.event for case in prepared),
        "delineated": delineated,
        "synthetic": bool(truth),
    }
    write_json(node, out / "node.json")
    with (out / "cases.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        known = TRUTH_COLUMNS if truth else ()
        writer.writerow(["case_id", "months", "event", "vendor", *known])
        for case in prepared:
            told = truth.get(case.case_id, ("",) * len(known))
            writer.writerow([case.case_id, f"{case.months:.4f}", int(case.event), case.vendor, *told])
    summary = {**common, "prepared": len(report.cases), "left_out": [one.to_json() for one in report.left_out]}
    write_json(summary, out / "report.json")
    return report
