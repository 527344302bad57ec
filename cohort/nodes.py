"""Synthetic patients straight to node data: the bytes that DICOM and `cohort.prepare` would give, without any file.

Each patient's record goes through his row of the centre's table, each image through the stored values and headers of
the DICOM that is not written, and the study through the same checks, preprocessing and encoding.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydicom.dataset import Dataset

from clinical.reading import read_table
from cohort.dicom import ct_series, pet_series
from cohort.eligibility import LeftOut, pair_row
from cohort.parallel import ordered_map
from cohort.population import draw_patient
from cohort.prepare import Prepared, clear_cases, prepare_study, truth_by_case, write_case, write_node
from cohort.risk import DEFAULT_SIGNAL
from cohort.simulate import cases_of, distribute, scan, table_row, write_summary, write_table
from cohort.sites import SITES
from cohort.truth import patient_truth, write_masks
from fedpet.messages import Message
from fedpet.progress import silent
from imaging.checks import header_checks, image_checks
from imaging.geometry import geometry_of
from imaging.loading import pseudonym
from imaging.study import Study
from imaging.suv import calibrate
from imaging.volume import Volume
from inference.contract import default_contract

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from cohort.dicom import UnwrittenSeries
    from cohort.eligibility import Pairing
    from cohort.simulate import Case, Fidelity, Scan
    from fedpet.progress import Progress
    from imaging.geometry import Geometry
    from inference.contract import Contract


_NO_IMAGES = (1, 1, 1)  # grid of node data without images


@dataclass(frozen=True)
class Preparation:
    """How cases are prepared: preprocessing and encoding, and the secret of the pseudonyms."""

    contract: Contract
    pseudonym_key: bytes


@dataclass(frozen=True)
class _Task:
    case: Case
    row: Pairing | LeftOut


def contract_at(spacing_mm: float) -> Contract:
    """The default contract on a grid of another spacing and the same extent; 0: one voxel, for data without images."""
    default = default_contract()
    if spacing_mm == 0:
        return replace(default, shape=_NO_IMAGES)
    slices, rows, columns = (round(n * default.spacing_mm / spacing_mm) for n in default.shape)
    return replace(default, shape=(slices, rows, columns), spacing_mm=spacing_mm)


def simulate_nodes(
    *,
    patients: int,
    sites: int = len(SITES),
    seed: int,
    out: Path,
    preparation: Preparation,
    fidelity: Fidelity = "standard",
    signal: float = DEFAULT_SIGNAL,
    workers: int = 1,
    progress: Progress = silent,
) -> None:
    """Write OUT/<site>/{node.json,cases.csv,cases/,report.json} and OUT/cohort.json.

    The node folders are, byte for byte, what `cohort.simulate.simulate_cohort` and then
    `cohort.prepare.prepare_node_data` with the masks would write.

    Args:
        patients: in all, distributed as `simulate_cohort` does.
        sites: how many of the centres, the largest first.
        seed: of everything.
        out: folder to write; cases of an earlier run in the folders of the centres are removed.
        preparation: on a grid of one voxel nothing is rendered and no image is checked: the image is zero and no
            concept is supervised.
        fidelity: of the rendering, see `simulate_cohort`.
        signal: strength of the true risk, see `cohort.risk`.
        workers: processes.
        progress: told after each patient.

    Raises:
        SettingsError: fewer patients than centres, or a number of centres that does not exist.
    """
    counts = distribute(patients, sites)
    cases = cases_of(counts, seed=seed, signal=signal, fidelity=fidelity)
    for site, _ in counts:
        clear_cases(out / site.code)
    contract, key = preparation.contract, preparation.pseudonym_key
    tasks = _with_rows(cases, key)
    simulate = partial(_simulate_case, out=out, preparation=preparation)
    results: dict[str, list[Prepared | LeftOut]] = {site.code: [] for site, _ in counts}
    for done, (task, result) in enumerate(
        zip(tasks, ordered_map(simulate, tasks, workers=workers), strict=True), start=1
    ):
        results[task.case.site.code].append(result)
        progress(done / len(tasks), Message("Simulating patients ({done} of {n})", done=done, n=len(tasks)))
    truth = truth_by_case(dict(map(_truth, cases)), key)
    for code, of_site in results.items():
        write_node(out / code, of_site, contract, truth)
    write_summary(
        out,
        counts,
        seed=seed,
        signal=signal,
        fidelity=fidelity,
        spacing_mm=0 if contract.shape == _NO_IMAGES else contract.spacing_mm,
        contract_fingerprint=contract.fingerprint,
    )


def _with_rows(cases: list[Case], key: bytes) -> list[_Task]:
    """Each patient with his row of the centre's table, as `clinical.reading` reads it, and what it is good for."""
    tasks = []
    for _, of_site in groupby(cases, lambda case: case.site.code):
        there = [(case, draw_patient(case.site, case.number, seed=case.seed)) for case in of_site]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clinical.csv"
            write_table([table_row(patient, signal=case.signal) for case, patient in there], path)
            rows = {row.patient_id: row for row in read_table(path)}
        tasks += [
            _Task(case, pair_row(Path(patient.id), patient.id, rows[patient.id], key=key)) for case, patient in there
        ]
    return tasks


def _simulate_case(task: _Task, *, out: Path, preparation: Preparation) -> Prepared | LeftOut:
    if isinstance(task.row, LeftOut):
        return task.row
    node, contract = out / task.case.site.code, preparation.contract
    case_id = pseudonym(task.row.patient_id, preparation.pseudonym_key)
    if contract.shape == _NO_IMAGES:
        return _without_images(task.case, task.row, case_id, node, contract)
    one = scan(task.case)
    with tempfile.TemporaryDirectory() as folder:
        write_masks(one.patient, one.body, Path(folder))
        study = _unwritten_study(one, task.case.seed, case_id)
        return prepare_study(study, task.row, case_id, contract=contract, delineation=Path(folder), node=node)


def _without_images(case: Case, row: Pairing, case_id: str, node: Path, contract: Contract) -> Prepared:
    concepts = len(contract.concepts)
    write_case(
        node,
        case_id,
        row,
        contract,
        image=np.zeros((2, *contract.shape), np.float32),
        concepts=np.zeros((concepts, *contract.shape), np.uint8),
        supervised=np.zeros(concepts, bool),
    )
    return Prepared(case_id, row.outcome.months, row.outcome.event, delineated=False, vendor=case.site.vendor)


def _unwritten_study(one: Scan, seed: int, case_id: str) -> Study:
    """What `imaging.loading.load_study` would make of the files, with the checks that speak of one PET and one CT."""
    pet_headers, pet_geometry, stored = _stacked(pet_series(one.patient, one.pet, seed=seed, encoding=one.encoding))
    ct_headers, ct_geometry, ct_stored = _stacked(ct_series(one.patient, one.ct, seed=seed))
    calibration = calibrate(pet_headers)
    suv = stored * np.array(calibration.scales, np.float32)[:, None, None]
    hu = (ct_stored.astype(np.int32) + int(ct_headers[0].RescaleIntercept)).astype(np.int16)
    pet, ct = Volume(suv, pet_geometry.affine, "g/ml"), Volume(hu, ct_geometry.affine, "HU")
    told = header_checks(
        calibration.facts, disagreement=calibration.disagreement, pet=pet_geometry, told_slices=len(pet_headers)
    )
    checks = (calibration.check(), *image_checks(pet, ct, weight_kg=calibration.facts.weight_kg), *told)
    return Study(case_id, pet, ct, calibration.facts, series=(), checks=checks)


def _stacked(series: UnwrittenSeries) -> tuple[list[Dataset], Geometry, NDArray[np.uint16]]:
    """Headers, geometry and stored values, in slice order."""
    headers, planes = [], []
    for tags, pixels in series.slices:
        header = Dataset()
        header.update(series.common)
        for keyword, value in tags.items():
            setattr(header, keyword, value)
        headers.append(header)
        planes.append(pixels)
    geometry = geometry_of(headers)
    return [headers[i] for i in geometry.order], geometry, np.stack([planes[i] for i in geometry.order])


def _truth(case: Case) -> tuple[str, dict[str, Any]]:
    patient = draw_patient(case.site, case.number, seed=case.seed)
    return patient.id, patient_truth(patient, [], signal=case.signal)
