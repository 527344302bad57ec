"""Lesion tables and outcomes of simulated patients without rendering them: what benchmarks of risk models share.

A table holds the drawn lesions with the errors of a measurement: volumes by 10 %, uptake by 8 %, necrosis by 0.04 of
the lesion, ratios of organs by 5 %. Brain lesions, which FDG hardly shows, are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from fedpet.imaging.lesions.lesion_table import LesionTable, TableLesion
from training.simulation.patients.reference_body import REFERENCE_HEIGHT_M

if TYPE_CHECKING:
    from training.simulation.patients.metastases import LesionKind
    from training.simulation.patients.population import Patient

_REGIONS: Final[dict[LesionKind, str]] = {
    "primary": "lung_right", "node": "mediastinum", "lung": "lung_left", "liver": "liver", "bone": "bone",
    "adrenal": "adrenal_left",
}  # fmt: skip
_VOLUME, _UPTAKE, _NECROSIS, _RATIO = 0.10, 0.08, 0.04, 0.05


def drawn_table(patient: Patient) -> LesionTable:
    """The lesion table of a patient, as if it had been measured; the numbers are those of `Body.lesions`."""
    rng = np.random.default_rng([patient.acquisition.seed, 17])
    scale = patient.anatomy.height_m / REFERENCE_HEIGHT_M
    rows = []
    for number, lesion in enumerate(patient.lesions, start=1):
        if lesion.kind == "brain":
            continue
        volume = lesion.active_ml * float(np.exp(_VOLUME * rng.normal()))
        suv = lesion.suv * float(np.exp(_UPTAKE * rng.normal()))
        share = float(np.clip(lesion.necrosis + _NECROSIS * rng.normal(), 0.0, 0.9))
        x, y, z = (scale * part for part in lesion.centre)
        rows.append(
            TableLesion(
                id=number,
                region=_REGIONS[lesion.kind],
                mtv_ml=volume,
                tlg=volume * suv,
                suv_max=1.5 * suv,
                suv_peak=1.3 * suv,
                centroid_mm=(x, y, z),
                necrotic_ml=share * lesion.ml,
                whole_ml=lesion.ml,
            )
        )
    ratios = [
        organ / patient.anatomy.liver * float(np.exp(_RATIO * rng.normal()))
        for organ in (patient.anatomy.marrow, patient.anatomy.spleen)
    ]
    return LesionTable(tuple(rows), ratios[0], ratios[1], organs="learned")
