"""Synthetic patients directly as node data: the same bytes as through DICOM and `training.data.prepare`.

Each patient's record goes through the row of the centre's table, each image through the stored values and headers of
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

from fedpet.clinical.reading import read_table
from fedpet.clinical.scores import lacking_inputs, published_scores
from fedpet.core.messages import Message
from fedpet.core.progress import no_progress
from fedpet.core.pseudonyms import pseudonym
from fedpet.imaging.dicom.geometry import slice_geometry
from fedpet.imaging.quality.checks import header_checks
from fedpet.imaging.study import PetCtStudy
from fedpet.imaging.suv.calibration import calibrate_suv
from fedpet.imaging.volume import Volume
from inference.input_contract import NO_IMAGES, default_contract
from training.data.eligibility import ExcludedPatient, pair_row
from training.data.node_data import PreparedCase, clear_cases, write_case, write_node
from training.data.prepare import case_without_images, overall_survival, prepare_study, truth_by_case
from training.data.process_pool import ordered_map
from training.simulation.acquisition.dicom_series import ct_series, pet_series
from training.simulation.acquisition.ground_truth import patient_truth, write_masks
from training.simulation.cohort import (
    cases_of,
    claim_place,
    cohort_facts,
    distribute,
    scan,
    table_row,
    write_summary,
    write_table,
)
from training.simulation.patients.centres import SITES
from training.simulation.patients.risk import DEFAULT_SIGNAL

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from fedpet.core.progress import Progress
    from fedpet.imaging.dicom.geometry import SliceGeometry
    from inference.input_contract import InputContract
    from training.data.eligibility import Pairing
    from training.data.process_pool import Workers
    from training.simulation.acquisition.dicom_series import UnwrittenSeries
    from training.simulation.acquisition.dicom_writer import Encoding
    from training.simulation.cohort import AnatomyKind, RenderingQuality, SimulatedCase
    from training.simulation.patients.population import Patient


@dataclass(frozen=True)
class Preparation:
    """How cases are prepared: preprocessing and encoding, and the secret of the pseudonyms."""

    contract: InputContract
    pseudonym_key: bytes


@dataclass(frozen=True)
class _Task:
    case: SimulatedCase
    row: Pairing | ExcludedPatient


def contract_at(spacing_mm: float) -> InputContract:
    """The default contract on a grid of another spacing and the same extent; 0: for data without images."""
    default = default_contract()
    if spacing_mm == 0:
        return replace(default, shape=NO_IMAGES)
    slices, rows, columns = (round(n * default.spacing_mm / spacing_mm) for n in default.shape)
    return replace(default, shape=(slices, rows, columns), spacing_mm=spacing_mm)


def simulate_nodes(  # noqa: PLR0913  the options of the command, each with a name
    *,
    patients: int,
    sites: int = len(SITES),
    seed: int,
    out: Path,
    preparation: Preparation,
    fidelity: RenderingQuality = "standard",
    signal: float = DEFAULT_SIGNAL,
    anatomy: AnatomyKind = "schematic",
    stranding: bool = False,
    workers: Workers = 1,
    progress: Progress = no_progress,
) -> None:
    """Write OUT/<site>/{node.json,cases.csv,cases/,report.json}, OUT/contract.json and OUT/cohort.json.

    The node folders are, byte for byte, what `training.simulation.cohort.simulate_cohort` and then
    `training.data.prepare.prepare_node_data` with the masks would write; for a contract that reads no images, without
    the masks: the lesion table is measured on the delineation of the rendered images by rules, as a prediction does.

    Args:
        patients: in all, distributed as `simulate_cohort` does.
        sites: how many of the centres, the largest first.
        seed: of everything.
        out: folder to write; cases of an earlier run in the folders of the centres are removed.
        preparation: for a contract that reads neither images nor the lesion table nothing is rendered and no image is
            checked: the image is zero and no concept is supervised.
        fidelity: of the rendering, see `simulate_cohort`.
        signal: strength of the true risk, see `training.simulation.patients.risk`.
        anatomy: of the bodies, see `simulate_cohort`.
        stranding: see `simulate_cohort`.
        workers: processes, or a cluster.
        progress: reports each patient.

    Raises:
        SettingsError: fewer patients than centres, or a number of centres that does not exist.
        OutputError: the folder holds something else than the same cohort.
    """
    counts = distribute(patients, sites)
    contract, key = preparation.contract, preparation.pseudonym_key
    facts = cohort_facts(
        counts,
        seed=seed,
        signal=signal,
        stranding=stranding,
        fidelity=fidelity,
        anatomy=anatomy,
        spacing_mm=contract.spacing_mm if contract.reads_images else 0,
        contract_fingerprint=contract.fingerprint,
    )
    claim_place(out, facts)
    cases = cases_of(counts, seed=seed, signal=signal, fidelity=fidelity, anatomy=anatomy, stranding=stranding)
    for site, _ in counts:
        clear_cases(out / site.code)
    tasks = _with_rows(cases, key)
    simulate = partial(_simulate_case, out=out, preparation=preparation)
    results: dict[str, list[PreparedCase | ExcludedPatient]] = {site.code: [] for site, _ in counts}
    for done, (task, result) in enumerate(
        zip(tasks, ordered_map(simulate, tasks, workers=workers), strict=True), start=1
    ):
        results[task.case.site.code].append(result)
        progress(done / len(tasks), Message("Simulating patients ({done} of {n})", done=done, n=len(tasks)))
    truth = truth_by_case(dict(map(_truth, cases)), key)
    for code, of_centre in results.items():
        write_node(out / code, of_centre, contract, truth)
    contract.write(out / "contract.json")
    write_summary(out, facts)


def _with_rows(cases: list[SimulatedCase], key: bytes) -> list[_Task]:
    """Each patient with their row of the centre's table, as `fedpet.clinical.reading` reads it, if it is usable."""
    tasks = []
    for _, of_centre in groupby(cases, lambda case: case.site.code):
        there = [(case, case.patient()) for case in of_centre]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clinical.csv"
            write_table([table_row(patient, signal=case.signal) for case, patient in there], path)
            rows = {row.patient_id: row for row in read_table(path)}
        tasks += [_Task(case, pair_row(Path(patient.id), rows[patient.id], key=key)) for case, patient in there]
    return tasks


def _simulate_case(task: _Task, *, out: Path, preparation: Preparation) -> PreparedCase | ExcludedPatient:
    if isinstance(task.row, ExcludedPatient):
        return task.row
    node, contract = out / task.case.site.code, preparation.contract
    case_id = pseudonym(task.row.patient_id, preparation.pseudonym_key)
    if not (contract.reads_images or contract.quantities):
        return _without_images(task.case, task.row, case_id, node, contract)
    one = scan(task.case)
    study = unwritten_study(one.patient, one.pet, one.ct, encoding=one.encoding, seed=task.case.seed, pseudonym=case_id)
    prepare = partial(prepare_study, study, task.row, case_id, contract=contract, node=node)
    if not contract.reads_images:
        return prepare(delineation=None)
    with tempfile.TemporaryDirectory() as folder:
        write_masks(one.patient, one.body, Path(folder))
        return prepare(delineation=Path(folder), drawn_by_reader=False)


def _without_images(
    case: SimulatedCase, row: Pairing, case_id: str, node: Path, contract: InputContract
) -> PreparedCase:
    write_case(node, case_id, case_without_images(row, contract))
    return PreparedCase(
        case_id,
        row.outcome.months,
        row.outcome.event,
        delineated=False,
        vendor=case.site.vendor,
        scores=published_scores(row.record),
        lacking=lacking_inputs(row.record),
        **overall_survival(row),
    )


def unwritten_study(
    patient: Patient, pet: Volume, ct: Volume, *, encoding: Encoding, seed: int, pseudonym: str
) -> PetCtStudy:
    """What `load_study` would make of the files, with the checks that concern one PET and one CT.

    Args:
        patient: as the headers describe them.
        pet: SUVbw, g/ml, LPS axes.
        ct: HU, int16, LPS axes.
        encoding: of the pixels.
        seed: of the cohort.
        pseudonym: of the study.
    """
    pet_headers, pet_geometry, stored = _stacked(pet_series(patient, pet, seed=seed, encoding=encoding))
    ct_headers, ct_geometry, ct_stored = _stacked(ct_series(patient, ct, seed=seed))
    calibration = calibrate_suv(pet_headers)
    suv = stored * np.array(calibration.scales, np.float32)[:, None, None]
    hu = (ct_stored.astype(np.int32) + int(ct_headers[0].RescaleIntercept)).astype(np.int16)
    loaded, density = Volume(suv, pet_geometry.affine, "g/ml"), Volume(hu, ct_geometry.affine, "HU")
    checks = header_checks(calibration.facts, pet=pet_geometry, stated_slices=len(pet_headers))
    return PetCtStudy(
        pseudonym, loaded, density, calibration.facts, series=(), header_checks=(*calibration.checks(), *checks)
    )


def _stacked(series: UnwrittenSeries) -> tuple[list[Dataset], SliceGeometry, NDArray[np.uint16]]:
    """Headers, geometry and stored values, in slice order."""
    headers, planes = [], []
    for tags, pixels in series.slices:
        header = Dataset()
        header.update(series.common)
        for keyword, value in tags.items():
            setattr(header, keyword, value)
        headers.append(header)
        planes.append(pixels)
    geometry = slice_geometry(headers)
    return [headers[i] for i in geometry.order], geometry, np.stack([planes[i] for i in geometry.order])


def _truth(case: SimulatedCase) -> tuple[str, dict[str, Any]]:
    patient = case.patient()
    return patient.id, patient_truth(patient, [], signal=case.signal)
