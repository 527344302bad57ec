"""The ground truth of a synthetic patient, written beside the images: label volumes, lesions, risk.

Layout of a centre: `truth/<patient_id>/{lesions,necrosis,organs}.nii.gz` and `lesions.json`; one `truth/truth.json`.
Varied bodies add `structures.nii.gz`, with the numbers of its names in `structures.json`.
Label volumes lie on the grid the body was rendered on, in the scanner's coordinates.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from fedpet.imaging.nifti import write_nifti
from fedpet.imaging.volume import Volume
from training.data.node_data import write_json
from training.simulation.acquisition.dicom_series import scanner_affine
from training.simulation.patients.risk import image_features, risk
from training.simulation.phantom.rendering import LIVER_LABEL, MARROW_LABEL
from training.simulation.phantom.varied.structures import STRUCTURES

if TYPE_CHECKING:
    from pathlib import Path

    from training.simulation.patients.population import Patient
    from training.simulation.phantom.rendering import Body


def write_masks(patient: Patient, body: Body, folder: Path) -> list[dict[str, Any]]:
    """Write the label volumes and `lesions.json`; return the rendered lesions."""
    folder.mkdir(parents=True, exist_ok=True)
    affine = scanner_affine(body.lattice.affine)
    volumes = {"lesions": body.lesions, "necrosis": body.necrosis.astype(np.uint8), "organs": body.organs}
    if body.structures is not None:
        volumes["structures"] = body.structures
        write_json(dict(STRUCTURES), folder / "structures.json")
    for name, array in volumes.items():
        write_nifti(Volume(array, affine, "label"), folder / f"{name}.nii.gz")
    lesions = _rendered_lesions(patient, body)
    write_json({"lesions": lesions, "organs": {"liver": LIVER_LABEL, "marrow": MARROW_LABEL}}, folder / "lesions.json")
    return lesions


def _rendered_lesions(patient: Patient, body: Body) -> list[dict[str, Any]]:
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
