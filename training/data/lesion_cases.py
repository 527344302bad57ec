"""Scans with drawn lesions as data for the networks that find lesions, and how well lesions found in them agree.

A case is a compressed NumPy archive: `image` (2, slices, rows, columns), float16, SUVbw and HU on the model grid, and
`lesion`, uint8, 255 x the share of the voxel that is lesion. `dataset.json` says where they come from, on which grid
they lie, and what was left out and why. Nothing holds a name of the collection's patients.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fedpet.core.errors import StudyError
from fedpet.core.messages import Message
from fedpet.core.progress import no_progress
from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy
from fedpet.imaging.lesions.agreement import LesionAgreement, lesion_agreement
from fedpet.imaging.lesions.delineation import delineate
from fedpet.imaging.segmenters.organ_network import shipped_organs
from fedpet.imaging.study import PetCtStudy, PetFacts
from inference.preprocessing import model_grid, model_image, to_model_grid
from training.data.annotated_scans import find_studies, read_prediction, read_scan

if TYPE_CHECKING:
    from pathlib import Path

    from fedpet.core.progress import Progress
    from fedpet.imaging.lesions.lesion import ThresholdMethod
    from inference.input_contract import InputContract
    from training.data.annotated_scans import AnnotatedScan

Collection = Literal["autopet", "delineations"]
LICENCES: dict[Collection, str] = {
    "autopet": "FDG-PET-CT-Lesions (Gatidis 2022), by the terms of The Cancer Imaging Archive",
    "delineations": "the hospital's own",
}
UNKNOWN_FACTS = PetFacts(
    units="SUV", decay_correction="", suv_factor_min=1.0, suv_factor_max=1.0, reference_time_source="not needed",
    reference_time=None, injection_time=None, uptake_min=None, dose_bq=None, half_life_s=None, weight_kg=None,
    height_m=None, sex="", radiopharmaceutical="FDG", corrected_image=(), manufacturer="", model="",
)  # fmt: skip


@dataclass(frozen=True)
class LeftOut:
    """A study that cannot be used: its place in the order of the studies, from 1, and why."""

    number: int
    reason: str


@dataclass(frozen=True)
class ScanScore:
    """Agreement in one scan."""

    case: str
    agreement: LesionAgreement


@dataclass(frozen=True)
class LesionScores:
    """Agreement over a collection, as the autoPET challenge measures it.

    Attributes:
        scans: one by one.
        left_out: studies that could not be scored.
    """

    scans: tuple[ScanScore, ...]
    left_out: tuple[LeftOut, ...]

    def to_json(self) -> dict[str, Any]:
        """Means over the scans, and every scan; Dice over those with lesions."""
        agreements = [one.agreement for one in self.scans]
        dice = [one.dice for one in agreements if not np.isnan(one.dice)]
        return {
            "n": len(agreements),
            "with_lesions": len(dice),
            "dice": float(np.mean(dice)) if dice else None,
            "false_positive_ml": float(np.mean([one.false_positive_ml for one in agreements])) if agreements else None,
            "false_negative_ml": float(np.mean([one.false_negative_ml for one in agreements])) if agreements else None,
            "scans": [
                {"case": one.case, **{k: None if np.isnan(v) else v for k, v in asdict(one.agreement).items()}}
                for one in self.scans
            ],
            "left_out": [asdict(one) for one in self.left_out],
        }


def import_scans(
    collection: Collection,
    root: Path,
    out: Path,
    *,
    contract: InputContract,
    pseudonym_key: bytes,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Write the scans of a collection as cases for the networks.

    Args:
        collection: what it is, for the licence.
        root: of the collection, see `training.data.annotated_scans`.
        out: folder of the cases.
        contract: grid and windows of the image.
        pseudonym_key: secret of the centre.
        progress: reports each study.

    Returns:
        What `dataset.json` holds.

    Raises:
        UnreadableStudyError: there is no study.
    """
    studies = find_studies(root)
    out.mkdir(parents=True, exist_ok=True)
    written: list[dict[str, Any]] = []
    left_out: list[LeftOut] = []
    for number, folder in enumerate(studies, start=1):
        try:
            scan = read_scan(folder, root, pseudonym_key)
            written.append(_write(scan, out, contract))
        except StudyError as refusal:
            left_out.append(LeftOut(number, str(refusal)))
        progress(number / len(studies), Message("Reading scans ({done} of {n})", done=number, n=len(studies)))
    dataset = {
        "collection": collection,
        "licence": LICENCES[collection],
        "contract": contract.fingerprint,
        "spacing_mm": contract.spacing_mm,
        "cases": written,
        "left_out": [asdict(one) for one in left_out],
    }
    (out / "dataset.json").write_text(json.dumps(dataset, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return dataset


def _write(scan: AnnotatedScan, out: Path, contract: InputContract) -> dict[str, Any]:
    study = PetCtStudy(scan.case, scan.pet, scan.ct, UNKNOWN_FACTS, (), ())
    grid = model_grid(study, contract)
    lesion = np.round(255 * to_model_grid(scan.lesions, grid)).astype(np.uint8)
    image = model_image(study, contract).astype(np.float16)
    np.savez_compressed(out / f"{scan.case}.npz", image=image, lesion=lesion)
    return {"case": scan.case, "lesions_ml": float(scan.lesions.array.sum()) * scan.lesions.voxel_ml}


def score_scans(
    root: Path,
    *,
    pseudonym_key: bytes,
    method: ThresholdMethod = "suv4",
    predictions: Path | None = None,
    progress: Progress = no_progress,
) -> LesionScores:
    """Measure how well lesions agree with those drawn.

    Args:
        root: of the collection.
        pseudonym_key: secret of the centre.
        method: of fedpet's own delineation.
        predictions: folder of the masks of another program, used instead.
        progress: reports each study.

    Raises:
        UnreadableStudyError: there is no study.
    """
    studies = find_studies(root)
    scored: list[ScanScore] = []
    left_out: list[LeftOut] = []
    for number, folder in enumerate(studies, start=1):
        try:
            scan = read_scan(folder, root, pseudonym_key)
            if predictions is None:
                found = delineate(scan.pet, PatientAnatomy(scan.pet, scan.ct, shipped_organs()), method=method).lesions
            else:
                found = read_prediction(predictions, folder, root, scan.pet)
            agreement = lesion_agreement(found.array, scan.lesions.array, voxel_ml=scan.pet.voxel_ml)
            scored.append(ScanScore(scan.case, agreement))
        except StudyError as refusal:
            left_out.append(LeftOut(number, str(refusal)))
        progress(number / len(studies), Message("Reading scans ({done} of {n})", done=number, n=len(studies)))
    return LesionScores(tuple(scored), tuple(left_out))
