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

    from numpy.typing import NDArray

    from fedpet.progress import Progress
    from imaging.resampling import Grid
    from inference.contract import Contract

FORMAT: Final = "fedpet-node-1"


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
class _Prepared:
    case_id: str
    months: float
    event: bool
    delineated: bool


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
            is prepared without masks. A `truth.json` beside them adds the true probabilities of simulated patients.
        workers: processes.
        progress: told after each patient.

    Raises:
        RecordRefused: the table cannot be read.
    """
    pairing = pair(dicom_dir, table, pseudonym_key)
    (out / "cases").mkdir(parents=True, exist_ok=True)
    for stale in (out / "cases").glob("*.npz"):
        stale.unlink()
    prepare = partial(_prepare_case, contract=contract, key=pseudonym_key, masks=masks, cases=out / "cases")
    prepared: list[_Prepared] = []
    left_out = list(pairing.left_out)
    for done, result in enumerate(ordered_map(prepare, pairing.pairs, workers=workers), start=1):
        if isinstance(result, LeftOut):
            left_out.append(result)
        else:
            prepared.append(result)
        progress(
            done / len(pairing.pairs), Message("Preparing patients ({done} of {n})", done=done, n=len(pairing.pairs))
        )
    prepared.sort(key=lambda case: case.case_id)
    report = PreparationReport(
        site=out.resolve().name,
        cases=tuple(case.case_id for case in prepared),
        delineated=sum(case.delineated for case in prepared),
        left_out=tuple(sorted(left_out, key=lambda one: one.pseudonym)),
    )
    _write_node(out, report, prepared, contract, _truth(masks, pseudonym_key))
    return report


def _prepare_case(
    pairing: Pairing, *, contract: Contract, key: bytes, masks: Path | None, cases: Path
) -> _Prepared | LeftOut:
    """Load, preprocess, encode and write one case."""
    case_id = pseudonym(pairing.patient_id, key)
    delineation = masks / pairing.folder.name if masks else None
    try:
        study = load_study(pairing.folder, pseudonym_key=key)
        failed = study.failed()
        if failed:
            return LeftOut(case_id, "failed_check", tuple(check.reason for check in failed))
        grid = model_grid(study, contract)
        image = model_image(study, contract)
        found = delineation is not None and delineation.is_dir()
        concepts, supervised = _concepts(delineation if found else None, grid, contract)
    except StudyRefused as refusal:
        return LeftOut(case_id, "study_refused", (refusal.found, refusal.needed, refusal.advice))
    np.savez_compressed(
        cases / f"{case_id}.npz",
        image=image.astype(np.float16),
        clinical=encode(pairing.record, contract).values,
        months=np.float32(pairing.outcome.months),
        event=np.bool_(pairing.outcome.event),
        concepts=concepts,
        supervised=supervised,
    )
    return _Prepared(case_id, pairing.outcome.months, pairing.outcome.event, found)


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


def _truth(masks: Path | None, key: bytes) -> dict[str, float]:
    """True P(PFS >= 12 months) of simulated patients by pseudonym; empty for real ones."""
    if masks is None or not (masks / "truth.json").is_file():
        return {}
    patients = json.loads((masks / "truth.json").read_text(encoding="utf-8"))["patients"]
    return {pseudonym(name, key): float(truth["risk"]["pfs_12m"]) for name, truth in patients.items()}


def _write_node(
    out: Path,
    report: PreparationReport,
    prepared: Sequence[_Prepared],
    contract: Contract,
    truth: Mapping[str, float],
) -> None:
    node = {
        "format": FORMAT,
        "site": report.site,
        "software": __version__,
        "contract_fingerprint": contract.fingerprint,
        "cases": len(report.cases),
        "events": sum(case.event for case in prepared),
        "delineated": report.delineated,
        "synthetic": bool(truth),
    }
    write_json(node, out / "node.json")
    columns = ["case_id", "months", "event", *(["true_pfs_12m"] if truth else [])]
    with (out / "cases.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        for case in prepared:
            row = {"case_id": case.case_id, "months": f"{case.months:.4f}", "event": int(case.event)}
            writer.writerow({**row, "true_pfs_12m": truth.get(case.case_id, "")})
    summary = {
        "format": FORMAT,
        "site": report.site,
        "software": __version__,
        "prepared": len(report.cases),
        "left_out": [one.to_json() for one in report.left_out],
    }
    write_json(summary, out / "report.json")
