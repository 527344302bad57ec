"""From a centre's DICOM and table to node data, by the preprocessing of `inference`.

For real hospitals and for the synthetic cohort alike: DICOM_DIR holds one folder a patient, see
`training.data.eligibility` for who belongs to which row. Node data, in OUT: see `training.data.node_data`. Nothing that
is written there contains an identifier other than the pseudonym; what does lies in a private folder
(`training.data.preparation_files`). A run that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from fedpet.clinical.reading import read_table
from fedpet.clinical.scores import lacking_inputs, published_scores
from fedpet.core.errors import StudyError
from fedpet.core.messages import Message
from fedpet.core.progress import no_progress, sub_progress
from fedpet.core.pseudonyms import pseudonym
from fedpet.imaging.analysis import StudyAnalysis
from fedpet.imaging.anatomy.organ_segmentation import OrganSource
from fedpet.imaging.dicom.files import DAMAGED
from fedpet.imaging.lesions.masks import read_mask
from fedpet.imaging.loading import load_study
from fedpet.imaging.nifti import read_nifti
from fedpet.imaging.resampling import Grid, resample
from fedpet.imaging.segmenters.organ_network import shipped_organs
from inference.encoding import encode
from inference.lesion_crops import crops_of
from inference.measured_lesions import measure_lesions
from inference.preprocessing import blank_image, model_grid, model_image, to_model_grid
from training.data.concept_masks import concept_masks
from training.data.eligibility import ExcludedPatient, Pairing, disagreement, pair_studies_with_records
from training.data.node_data import (
    TRUTH_COLUMN,
    NodeCase,
    PreparationReport,
    PreparedCase,
    keep_cases,
    write_case,
    write_node,
)
from training.data.output_places import alone_in, require_node_place
from training.data.preparation_files import Journal, PrivateFiles, pairing_digest
from training.data.process_pool import Lost, surviving_map
from training.data.study_folders import read_study_folders

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from numpy.typing import NDArray

    from fedpet.core.progress import Progress
    from fedpet.imaging.anatomy.organ_segmentation import OrganSegmenter
    from fedpet.imaging.lesions.lesion_table import LesionTable
    from fedpet.imaging.quality.centre_uptake import CentreUptake
    from fedpet.imaging.study import PetCtStudy
    from fedpet.imaging.volume import Volume
    from inference.input_contract import InputContract
    from training.data.process_pool import Workers


def prepare_node_data(
    dicom_dir: Path,
    table: Path,
    out: Path,
    *,
    contract: InputContract,
    pseudonym_key: bytes,
    masks: Path | None = None,
    private: PrivateFiles | None = None,
    workers: Workers = 1,
    progress: Progress = no_progress,
) -> PreparationReport:
    """Prepare a centre's node data. Cases of an earlier run in `out` are kept where nothing changed, else removed.

    Args:
        dicom_dir: one folder a patient.
        table: CSV or xlsx of the centre, see `fedpet.clinical.reading.read_table`.
        out: folder of the node; its name is the node's.
        contract: preprocessing and encoding.
        pseudonym_key: secret of the centre.
        masks: one folder a patient, named as in `dicom_dir`, laid out as `training.simulation.acquisition.ground_truth`
            says; a patient without one is prepared without masks. A `truth.json` beside them adds the true
            probabilities and tumour volumes of simulated patients.
        private: where headers are remembered, the key of the pseudonyms is written and the work done is noted; None
            for nothing of it, and every case is prepared anew. It also has the usual uptake of the centre.
        workers: processes, or a cluster.
        progress: reports each patient.

    Raises:
        OutputError: `out` cannot be the folder of node data, or another command prepares it now
            (`training.data.output_places`).
        RecordError: the table cannot be read.
    """
    require_node_place(out, dicom_dir)
    with alone_in(out):
        rows = read_table(table)
        studies = read_study_folders(
            dicom_dir,
            pseudonym_key,
            memory=None if private is None else private.headers,
            workers=workers,
            progress=sub_progress(progress, 0.0, 0.2),
        )
        pairing = pair_studies_with_records(studies, rows, pseudonym_key)
        usual = None if private is None else private.usual
        made_with = contract.fingerprint if usual is None else f"{contract.fingerprint}/{usual.digest}"
        journal = Journal(None if private is None else private.journal(out), made_with)
        digests = [pairing_digest(pair, masks) for pair in pairing.pairs]
        done = journal.read(digests, out)
        keep_cases(out, [result.case_id for result in done.values() if isinstance(result, PreparedCase)])
        prepare = partial(_prepare_case, contract=contract, key=pseudonym_key, masks=masks, node=out, usual=usual)
        pending = [(pair, digest) for pair, digest in zip(pairing.pairs, digests, strict=True) if digest not in done]
        work = surviving_map(prepare, [pair for pair, _ in pending], workers=workers)
        for number, (result, (pair, digest)) in enumerate(zip(work, pending, strict=True), start=1):
            done[digest] = _lost(pair, pseudonym_key, result.why) if isinstance(result, Lost) else result
            journal.add(digest, done[digest])
            message = Message("Preparing patients ({done} of {n})", done=number, n=len(pending))
            progress(0.2 + 0.8 * number / len(pending), message)
        results = [*pairing.left_out, *(done[digest] for digest in digests)]
        if private is not None:
            private.write_key(out, pairing, [done[digest] for digest in digests], pseudonym_key)
        truth = _truth(masks / "truth.json") if masks else {}
        return write_node(out, results, contract, truth_by_case(truth, pseudonym_key))


def _prepare_case(
    pairing: Pairing,
    *,
    contract: InputContract,
    key: bytes,
    masks: Path | None,
    node: Path,
    usual: CentreUptake | None,
) -> PreparedCase | ExcludedPatient:
    """Load, preprocess, encode and write one case; a study that cannot be used is no reason to stop."""
    case_id = pseudonym(pairing.patient_id, key)
    delineation = masks / pairing.folder.name if masks else None
    try:
        study = load_study(pairing.folder, pseudonym_key=key)
        found = delineation if delineation is not None and delineation.is_dir() else None
        return prepare_study(study, pairing, case_id, contract=contract, delineation=found, node=node, usual=usual)
    except StudyError as refusal:
        return ExcludedPatient(case_id, "study_refused", (refusal.found, refusal.needed, refusal.advice))
    except (*DAMAGED, OSError, ArithmeticError, RuntimeError) as error:
        return _lost(pairing, key, type(error).__name__)


def _lost(pairing: Pairing, key: bytes, why: str) -> ExcludedPatient:
    """A study that stopped the program, where no check had foreseen it."""
    reasons = (
        Message("The study could not be converted ({why}).", why=why),
        Message("Run the command again; if it stays so, keep the study and tell the developers this word."),
    )
    return ExcludedPatient(pseudonym(pairing.patient_id, key), "study_failed", reasons)


def prepare_study(
    study: PetCtStudy,
    pairing: Pairing,
    case_id: str,
    *,
    contract: InputContract,
    delineation: Path | None,
    node: Path,
    drawn_by_reader: bool = True,
    usual: CentreUptake | None = None,
) -> PreparedCase | ExcludedPatient:
    """Preprocess, encode and write one case, unless its record is another's or a quality check failed (its mask's too).

    The lesion table is measured as a prediction measures it: on the reader's mask, without one on the delineation by
    rules and no model's map.

    Args:
        study: the images.
        pairing: the record and the outcome.
        case_id: pseudonym, the name of the case.
        contract: preprocessing and encoding.
        delineation: the patient's masks, see `training.simulation.acquisition.ground_truth`.
        node: folder of the node.
        usual: uptake of healthy tissue at the centre; None for the published one.
        drawn_by_reader: False for the true masks of a simulated patient, which supervise a network but which no table
            is measured on.

    Raises:
        UnreadableStudyError: a mask is missing or not NIfTI.
    """
    contradicted = disagreement(pairing, study.patient, case_id)
    if contradicted is not None:
        return contradicted
    mask = None if delineation is None else read_mask(delineation / "lesions.nii.gz", study.pet, study=study)
    analysis = StudyAnalysis(study, mask, _segmenter(contract), usual)
    if analysis.failed_checks:
        return ExcludedPatient(case_id, "failed_check", tuple(check.reason for check in analysis.failed_checks))
    found = None
    if contract.quantities:
        drawn = _active(mask.labels, delineation) if mask and delineation and drawn_by_reader else None
        found = measure_lesions(analysis, lesions=drawn, method=contract.delineation or "suv4")
    crops = None if found is None else crops_of(study, found.labels, contract)
    image = model_image(study, contract) if crops is None or found is None else crops.bag(found.table)
    concepts, supervised = _concepts(delineation, study, contract)
    table = None if found is None else found.table
    case = node_case(pairing, contract, image=image, concepts=concepts, supervised=supervised, table=table)
    write_case(node, case_id, case)
    volume = None if found is None else found.quantities.tmtv_ml
    return PreparedCase(
        case_id,
        pairing.outcome.months,
        pairing.outcome.event,
        delineated=delineation is not None,
        vendor=study.pet_facts.manufacturer,
        quantities={} if found is None else found.table.values(),
        from_mask=found is not None and found.component_labels is None,
        scores=published_scores(pairing.record, volume),
        lacking=lacking_inputs(pairing.record, volume),
        **overall_survival(pairing),
    )


def overall_survival(pairing: Pairing) -> dict[str, Any]:
    """Overall survival of a row as `PreparedCase` has it; nothing where the dates do not give it."""
    known = None if pairing.row is None else pairing.row.survival
    return {} if known is None else {"os_months": known.months, "os_event": known.event}


def _segmenter(contract: InputContract) -> OrganSegmenter | None:
    """What finds the organs for the lesion table of a contract; one that does not say so is from before the network."""
    return None if contract.quantities and contract.organs in ("", OrganSource.RULES.value) else shipped_organs()


def _active(lesions: Volume, delineation: Path) -> Volume:
    """The lesions of a patient's masks without their necrosis, as a reader outlines uptake."""
    necrosis = resample(
        read_nifti(delineation / "necrosis.nii.gz", "label"), Grid.of(lesions), interpolation="nearest", outside=0
    )
    return lesions.like(np.where(necrosis.array > 0, 0, lesions.array), "label")


def node_case(
    pairing: Pairing,
    contract: InputContract,
    *,
    image: NDArray[np.float32],
    concepts: NDArray[np.uint8],
    supervised: NDArray[np.bool_],
    table: LesionTable | None = None,
) -> NodeCase:
    """The arrays of a patient, with record and lesion table encoded; see `NodeCase` for their shapes and units."""
    return NodeCase(
        image=image.astype(np.float16),
        clinical=encode(pairing.record, contract, table).values,
        months=pairing.outcome.months,
        event=pairing.outcome.event,
        concepts=concepts,
        supervised=supervised,
    )


def case_without_images(pairing: Pairing, contract: InputContract) -> NodeCase:
    """A patient of a study of clinical data: a blank image, no delineation.

    Args:
        pairing: the record and the outcome.
        contract: preprocessing and encoding, on a grid of one voxel.
    """
    return node_case(
        pairing,
        contract,
        image=blank_image(contract),
        concepts=np.zeros((len(contract.concepts), *contract.shape), np.uint8),
        supervised=np.zeros(len(contract.concepts), bool),
    )


def _concepts(
    folder: Path | None, study: PetCtStudy, contract: InputContract
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """255 x the fraction of each voxel that belongs to a concept, and which concepts were delineated."""
    concepts = np.zeros((len(contract.concepts), *contract.shape), np.uint8)
    supervised = np.zeros(len(contract.concepts), bool)
    if folder is not None and contract.reads_images:
        masks, grid = concept_masks(folder), model_grid(study, contract)
        for i, name in enumerate(contract.concepts):
            if name in masks:
                concepts[i] = np.round(255 * to_model_grid(masks[name], grid))
                supervised[i] = True
    return concepts, supervised


def _truth(path: Path) -> dict[str, Any]:
    """What `training.simulation.acquisition.ground_truth.patient_truth` gave, by patient; empty for real patients."""
    if not path.is_file():
        return {}
    patients: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["patients"]
    return patients


def truth_by_case(patients: Mapping[str, Any], key: bytes) -> dict[str, dict[str, float]]:
    """The columns of cases.csv that only simulated patients have, by pseudonym.

    Args:
        patients: what `ground_truth.patient_truth` gave, by patient.
        key: secret of the pseudonyms.
    """
    return {
        pseudonym(name, key): {TRUTH_COLUMN: truth["risk"]["pfs_12m"], "tmtv_ml": truth["features"]["tmtv_ml"]}
        for name, truth in patients.items()
    }
