"""Whether chest, abdomen and pelvis were scanned: a tumour beyond the end of the scan is not in the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fedpet.core.messages import Message
from fedpet.imaging.anatomy.morphology import GRID_MM
from fedpet.imaging.study import CheckStatus, QualityCheck

if TYPE_CHECKING:
    from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy

CHECK = "scanned_region"
_ABOVE_MM = 25.0  # of the PET above the lungs: the base of the neck
_BELOW_MM_PER_M = 205.0  # under the diaphragm, for a metre of height: to the groin
_USUAL_HEIGHT_M = 1.68
_HEAD_MM = 90.0  # of the PET above the base of the brain: nearly all of it
_THIGH_MM = 50.0  # under the groin


@dataclass(frozen=True)
class ScannedRegion:
    """How far the PET reaches beyond the lungs.

    Attributes:
        above_mm: above the highest lung seen on the CT; negative where it ends below.
        below_mm: under the diaphragm.
        needed_below_mm: under the diaphragm, to hold the pelvis.
        brain_mm: above the lowest slice of the brain; None where no brain is seen.
    """

    above_mm: float
    below_mm: float
    needed_below_mm: float
    brain_mm: float | None = None

    @property
    def extent(self) -> Message:
        """From where to where the PET reaches, of one that holds chest, abdomen and pelvis."""
        head = self.brain_mm is not None and self.brain_mm >= _HEAD_MM
        thighs = self.below_mm >= self.needed_below_mm + _THIGH_MM
        extents = {
            (True, True): Message("from the head to the thighs"),
            (True, False): Message("from the head to the groin"),
            (False, True): Message("from the neck to the thighs"),
            (False, False): Message("from the neck to the groin"),
        }
        return extents[head, thighs]

    def check(self) -> QualityCheck:
        """The check of that name."""
        top, bottom = self.above_mm < _ABOVE_MM, self.below_mm < self.needed_below_mm
        if not top and not bottom:
            found = Message("Chest, abdomen and pelvis were scanned, {extent}.", extent=self.extent)
            return QualityCheck(CHECK, CheckStatus.PASS, found)
        if top and bottom:
            seen = Message("The PET ends below the neck and above the groin")
        elif top:
            seen = Message("The PET ends below the neck")
        else:
            seen = Message("The PET ends above the groin")
        reason = Message(
            "{seen} ({above:.0f} mm above the lungs, {below:.0f} mm under the diaphragm; {top:.0f} and {bottom:.0f} mm "
            "needed): it may not hold the whole tumour. Quantities are those of what was scanned; use an examination "
            "from the neck to the thighs.",
            seen=seen,
            above=self.above_mm,
            below=self.below_mm,
            top=_ABOVE_MM,
            bottom=self.needed_below_mm,
        )
        return QualityCheck(CHECK, CheckStatus.FAIL, reason)


def measure_scanned_region(anatomy: PatientAnatomy, height_m: float | None) -> ScannedRegion | None:
    """Measure how far the PET reaches; None without lungs (see "chest_covered").

    Args:
        anatomy: of the patient.
        height_m: as the headers state it; None takes a usual one.
    """
    landmarks = anatomy.landmarks
    reached = np.flatnonzero(np.isfinite(anatomy.suv).any(axis=(1, 2)))
    if landmarks.diaphragm is None or landmarks.apex is None or not len(reached):
        return None
    height = height_m if height_m and 1.2 < height_m < 2.2 else _USUAL_HEIGHT_M
    return ScannedRegion(
        above_mm=(float(reached[-1]) - landmarks.apex) * GRID_MM,
        below_mm=(landmarks.diaphragm - float(reached[0])) * GRID_MM,
        needed_below_mm=_BELOW_MM_PER_M * height,
        brain_mm=None if landmarks.skull_base is None else (float(reached[-1]) - landmarks.skull_base) * GRID_MM,
    )
