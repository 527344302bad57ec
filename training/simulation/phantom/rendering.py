"""A patient's ideal images, before any scanner: uptake, density, and the truth behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training.simulation.phantom.canvas import Lattice, noise_field
from training.simulation.phantom.lesions import paint_lesion
from training.simulation.phantom.organs import DOME_MM, paint_patient
from training.simulation.phantom.tissues import Tissue, table, tissue_appearance
from training.simulation.phantom.varied.appearance import vary_appearance
from training.simulation.phantom.varied.body import paint_varied
from training.simulation.phantom.varied.canvas import VariedCanvas
from training.simulation.phantom.varied.traits import draw_traits, with_whole_lungs

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from training.simulation.patients.population import Patient
    from training.simulation.patients.reference_body import Mm
    from training.simulation.phantom.canvas import Field, Mask

_TEXTURE_MM = 4.0
LIVER_LABEL, MARROW_LABEL = 1, 2


@dataclass(frozen=True, eq=False)
class Body:
    """Ideal images on one lattice; arrays are [slice, row, column].

    Attributes:
        suv: uptake at the time of the scan, g/ml.
        hu: density, HU.
        tissues: `Tissue` labels, without the lesions.
        lesions: number of the lesion (1 is the first of `Patient.lesions`), 0 elsewhere.
        necrosis: necrotic voxels of the lesions.
        dome_mm: height of the right dome of the diaphragm, LPS z.
    """

    lattice: Lattice
    suv: Field
    hu: Field
    tissues: NDArray[np.uint8]
    structures: NDArray[np.uint8] | None
    lesions: NDArray[np.uint8]
    necrosis: Mask
    dome_mm: float

    @property
    def organs(self) -> NDArray[np.uint8]:
        """1 liver, 2 bone marrow, without lesions."""
        labels = np.zeros(self.tissues.shape, np.uint8)
        labels[self.tissues == Tissue.LIVER] = LIVER_LABEL
        labels[self.tissues == Tissue.MARROW] = MARROW_LABEL
        labels[self.lesions > 0] = 0
        return labels


def render(patient: Patient, spacing: Mm, *, without: Collection[int] = ()) -> Body:
    """Anatomy with lesions on a lattice of `spacing` (column, row, slice) mm.

    `without` leaves lesions out (their number in `patient.lesions`): the same body, a counterfactual.
    """
    anatomy, acquisition = patient.anatomy, patient.acquisition
    lattice = Lattice.around(anatomy, spacing)
    canvas = _varied(patient, lattice) if anatomy.varied else paint_patient(anatomy, lattice)
    look = tissue_appearance(anatomy, contrast=acquisition.contrast)
    drift = (acquisition.uptake_min - 60) / 15
    rng = np.random.default_rng([anatomy.texture_seed, 1])
    texture = noise_field(rng, lattice.shape, [_TEXTURE_MM / 2 / step for step in spacing[::-1]])
    labels = canvas.labels
    suv = (table(look, "suv") * (1 + drift * table(look, "drift")))[labels]
    suv *= 1 + np.maximum(table(look, "mottle")[labels] * texture, -0.8)
    hu = table(look, "hu")[labels] + table(look, "grain")[labels] * texture
    lung = labels == Tissue.LUNG
    hu[lung] += 0.45 * canvas.y[lung]  # gravity: denser at the back
    if isinstance(canvas, VariedCanvas):
        vary_appearance(canvas, suv, hu)
    body = Body(
        lattice=lattice,
        suv=suv,
        hu=hu,
        tissues=labels,
        structures=canvas.structures if isinstance(canvas, VariedCanvas) else None,
        lesions=np.zeros(lattice.shape, np.uint8),
        necrosis=np.zeros(lattice.shape, bool),
        dome_mm=float(canvas.to_patient((-70, -10, DOME_MM))[0, 2]),
    )
    for number, lesion in enumerate(patient.lesions, start=1):
        if number - 1 not in without:
            paint_lesion(
                canvas, body, lesion, number, contrast=acquisition.contrast, drift=drift, stranding=patient.stranding
            )
    return body


def _varied(patient: Patient, lattice: Lattice) -> VariedCanvas:
    """A varied body; a lung that holds lesions was not operated on."""
    traits = draw_traits(patient.anatomy)
    sides = {1 if lesion.centre[0] > 0 else -1 for lesion in patient.lesions if lesion.kind in {"primary", "lung"}}
    return paint_varied(patient.anatomy, lattice, with_whole_lungs(traits) if traits.side in sides else traits)
