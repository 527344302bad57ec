"""What is known of a synthetic patient and kept beside the images: label volumes, lesions, risk.

Layout of a centre: `truth/<patient_id>/{lesions,necrosis,organs}.nii.gz` and `lesions.json`; one `truth/truth.json`.
Label volumes lie on the grid the body was rendered on, in the scanner's coordinates.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cohort.dicom import scanner_affine
from cohort.rendering import LIVER_LABEL, MARROW_LABEL
from cohort.risk import image_features, risk
from imaging.masks import read_nifti, write_nifti
from imaging.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cohort.population import Patient
    from cohort.rendering import Body

CONCEPTS: Final = ("lesion", "necrosis", "liver_lesion", "liver", "marrow")


def write_masks(patient: Patient, body: Body, folder: Path) -> list[dict[str, Any]]:
    """Write the label volumes and `lesions.json`; return what was rendered of each lesion."""
    folder.mkdir(parents=True, exist_ok=True)
    affine = scanner_affine(body.lattice.affine)
    volumes = {"lesions": body.lesions, "necrosis": body.necrosis.astype(np.uint8), "organs": body.organs}
    for name, array in volumes.items():
        write_nifti(Volume(array, affine, "label"), folder / f"{name}.nii.gz")
    lesions = _rendered(patient, body)
    write_json({"lesions": lesions, "organs": {"liver": LIVER_LABEL, "marrow": MARROW_LABEL}}, folder / "lesions.json")
    return lesions


def _rendered(patient: Patient, body: Body) -> list[dict[str, Any]]:
    voxel_ml = float(np.prod(body.lattice.spacing)) / 1000
    length = len(patient.lesions) + 1
    whole = np.bincount(body.lesions.ravel(), minlength=length)
    necrotic = np.bincount(body.lesions[body.necrosis], minlength=length)
    return [
        {
            "id": number,
            "kind": lesion.kind,
            "place": lesion.place,
            "volume_ml": round(float(whole[number]) * voxel_ml, 4),
            "necrosis_ml": round(float(necrotic[number]) * voxel_ml, 4),
            "suv": round(lesion.suv, 4),
        }
        for number, lesion in enumerate(patient.lesions, start=1)
    ]


def patient_truth(patient: Patient, lesions: list[dict[str, Any]], *, signal: float) -> dict[str, Any]:
    """The true risk and features of a patient, as JSON."""
    return {
        "risk": asdict(risk(patient, signal=signal)),
        "features": asdict(image_features(patient)),
        "latents": asdict(patient.latents),
        "lesions": lesions,
    }


def write_json(data: Mapping[str, object], path: Path) -> None:
    """Sorted keys, so that the same data gives the same bytes."""
    path.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def concept_masks(folder: Path) -> dict[str, Volume]:
    """Masks of the concepts of a patient from `folder` (layout above), each 0/1.

    Active lesions and their necrosis are apart; organs are without lesions. Brain metastases belong to no concept,
    since FDG hardly shows them beside the cortex.

    Raises:
        UnreadableStudy: a label volume is missing or not NIfTI.
    """
    labels = read_nifti(folder / "lesions.nii.gz", "label")
    necrosis = read_nifti(folder / "necrosis.nii.gz", "label").array > 0
    organs = read_nifti(folder / "organs.nii.gz", "label").array
    described = json.loads((folder / "lesions.json").read_text(encoding="utf-8"))
    kinds = {lesion["id"]: lesion["kind"] for lesion in described["lesions"]}
    shown = np.isin(labels.array, [number for number, kind in kinds.items() if kind != "brain"])
    hepatic = np.isin(labels.array, [number for number, kind in kinds.items() if kind == "liver"])
    free = labels.array == 0
    arrays = {
        "lesion": shown & ~necrosis,
        "necrosis": shown & necrosis,
        "liver_lesion": hepatic & ~necrosis,
        "liver": free & (organs == described["organs"]["liver"]),
        "marrow": free & (organs == described["organs"]["marrow"]),
    }
    return {name: labels.like(array.astype(np.uint8), "label") for name, array in arrays.items()}
