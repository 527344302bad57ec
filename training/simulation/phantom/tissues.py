"""What tissues look like: FDG uptake and X-ray density of each label, for one patient."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.simulation.patients.population import PatientAnatomy


class Tissue(IntEnum):
    """Values of the label canvas."""

    AIR = 0
    FAT = 1
    MUSCLE = 2
    BONE = 3  # cortical
    MARROW = 4
    LUNG = 5
    LIVER = 6
    SPLEEN = 7
    BLOOD = 8
    MYOCARDIUM = 9
    MEDIASTINUM = 10
    AIRWAY = 11
    CORTEX = 12  # of the brain
    WHITE_MATTER = 13
    FLUID = 14  # cerebrospinal, bile, effusion
    KIDNEY = 15
    URINE = 16
    GUT_LOW = 17
    GUT = 18
    GUT_HIGH = 19
    GAS = 20
    GLAND = 21  # thyroid, salivary, pancreas, prostate, uterus
    TONSIL = 22
    CORD = 23
    DISC = 24
    COUCH = 25
    VESSEL = 26  # of the lung
    SKULL = 27
    TENDON = 28  # fasciae, gut wall, cartilage
    FATTY_MARROW = 29
    OEDEMA = 30
    STOMACH = 31
    METAL = 32
    SILICONE = 33
    BROWN_FAT = 34
    THYMUS = 35
    FIBROSIS = 36  # of an irradiated lung
    ADRENAL = 37
    GONAD = 38
    CONTRAST_GUT = 39  # bowel filled with oral contrast medium
    RIGHT_HEART = 40  # wall of the right ventricle and the atria
    EYE_MUSCLE = 41


@dataclass(frozen=True)
class TissueAppearance:
    """Uptake (SUV at 60 min) and density (HU) with the relative and absolute amplitude of their texture.

    `drift` is the change of uptake per 15 min of uptake time.
    """

    suv: float
    hu: float
    mottle: float = 0.08
    grain: float = 4.0
    drift: float = 0.0


def tissue_appearance(anatomy: PatientAnatomy, *, contrast: bool) -> dict[Tissue, TissueAppearance]:
    """Every tissue of this patient."""
    a, t = anatomy, Tissue
    blood_hu, organ_hu = (165.0, 50.0) if contrast else (42.0, 0.0)
    return {
        t.AIR: TissueAppearance(0.0, -1000, 0, 0),
        t.FAT: TissueAppearance(0.28, -102, 0.10, 5),
        t.MUSCLE: TissueAppearance(a.muscle, 52, 0.10, 5),
        t.BONE: TissueAppearance(0.55 * a.marrow, 480, 0.08, 60),
        t.MARROW: TissueAppearance(a.marrow, 190, 0.07, 28),
        t.FATTY_MARROW: TissueAppearance(0.45, 60, 0.10, 30),
        t.LUNG: TissueAppearance(0.42, -850, 0.12, 22),
        t.VESSEL: TissueAppearance(0.95, -120, 0.10, 120),
        t.LIVER: TissueAppearance(a.liver, 58 + organ_hu, 0.06, 4, -0.025),
        t.SPLEEN: TissueAppearance(a.spleen, 52 + 1.2 * organ_hu, 0.05, 4, -0.02),
        t.BLOOD: TissueAppearance(a.blood, blood_hu, 0.05, 3, -0.04),
        t.MYOCARDIUM: TissueAppearance(a.myocardium, 50 + organ_hu, 0.14, 4, 0.02),
        t.MEDIASTINUM: TissueAppearance(0.75, -45, 0.12, 14),
        t.AIRWAY: TissueAppearance(0.25, -985, 0, 4),
        t.CORTEX: TissueAppearance(a.brain, 37, 0.10, 3, 0.03),
        t.WHITE_MATTER: TissueAppearance(0.36 * a.brain, 29, 0.06, 3, 0.03),
        t.FLUID: TissueAppearance(0.8, 8, 0.05, 3),
        t.KIDNEY: TissueAppearance(2.9, 34 + 2.2 * organ_hu, 0.12, 4, -0.03),
        t.URINE: TissueAppearance(a.urine, 8, 0.08, 3, 0.05),
        t.GUT_LOW: TissueAppearance(0.55 * a.bowel, 28, 0.22, 16),
        t.GUT: TissueAppearance(a.bowel, 30, 0.25, 16),
        t.GUT_HIGH: TissueAppearance(1.6 * a.bowel, 30, 0.25, 16),
        t.GAS: TissueAppearance(0.3, -880, 0, 20),
        t.GLAND: TissueAppearance(1.7, 45 + 0.6 * organ_hu, 0.08, 5),
        t.TONSIL: TissueAppearance(3.2, 45, 0.12, 4),
        t.CORD: TissueAppearance(1.6, 28, 0.05, 3),
        t.DISC: TissueAppearance(0.8, 85, 0.06, 6),
        t.COUCH: TissueAppearance(0.0, -350, 0, 8),
        t.SKULL: TissueAppearance(0.6, 820, 0.08, 110),
        t.TENDON: TissueAppearance(0.6, 35, 0.08, 6),
        t.OEDEMA: TissueAppearance(0.25 * a.brain, 22, 0.06, 3),
        t.STOMACH: TissueAppearance(1.9, 30, 0.18, 14),
        t.METAL: TissueAppearance(0.1, 3000, 0, 0),
        t.SILICONE: TissueAppearance(0.1, 90, 0, 8),
        t.BROWN_FAT: TissueAppearance(6.0, -75, 0.2, 6),
        t.THYMUS: TissueAppearance(1.6, 10 + 0.5 * organ_hu, 0.1, 12),
        t.FIBROSIS: TissueAppearance(1.5, -250, 0.2, 130),
        t.ADRENAL: TissueAppearance(1.6, 25 + 0.8 * organ_hu, 0.08, 5),
        t.GONAD: TissueAppearance(2.0, 35, 0.1, 5),
        t.CONTRAST_GUT: TissueAppearance(a.bowel, 260, 0.2, 50),
        t.RIGHT_HEART: TissueAppearance(0.55 * a.myocardium + 0.45 * a.blood, 50 + organ_hu, 0.14, 4, 0.02),
        t.EYE_MUSCLE: TissueAppearance(2.5, 45, 0.1, 4),
    }


def table(looks: dict[Tissue, TissueAppearance], column: str) -> NDArray[np.float32]:
    """One column of the looks, indexed by label."""
    values = np.zeros(len(Tissue), np.float32)
    for tissue, look in looks.items():
        values[tissue] = getattr(look, column)
    return values
