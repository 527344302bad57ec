"""What tissues look like: FDG uptake and X-ray density of each label, for one patient."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cohort.population import Anatomy


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


@dataclass(frozen=True)
class Look:
    """Uptake (SUV at 60 min) and density (HU) with the relative and absolute amplitude of their texture.

    `drift` is the change of uptake per 15 min of uptake time.
    """

    suv: float
    hu: float
    mottle: float = 0.08
    grain: float = 4.0
    drift: float = 0.0


def looks(anatomy: Anatomy, *, contrast: bool) -> dict[Tissue, Look]:
    """Every tissue of this patient."""
    a, t = anatomy, Tissue
    blood_hu, organ_hu = (165.0, 50.0) if contrast else (42.0, 0.0)
    return {
        t.AIR: Look(0.0, -1000, 0, 0),
        t.FAT: Look(0.28, -102, 0.10, 5),
        t.MUSCLE: Look(a.muscle, 52, 0.10, 5),
        t.BONE: Look(0.55 * a.marrow, 480, 0.08, 60),
        t.MARROW: Look(a.marrow, 190, 0.07, 28),
        t.FATTY_MARROW: Look(0.45, 60, 0.10, 30),
        t.LUNG: Look(0.42, -850, 0.12, 22),
        t.VESSEL: Look(0.95, -120, 0.10, 120),
        t.LIVER: Look(a.liver, 58 + organ_hu, 0.06, 4, -0.025),
        t.SPLEEN: Look(a.spleen, 52 + 1.2 * organ_hu, 0.05, 4, -0.02),
        t.BLOOD: Look(a.blood, blood_hu, 0.05, 3, -0.04),
        t.MYOCARDIUM: Look(a.myocardium, 50 + organ_hu, 0.14, 4, 0.02),
        t.MEDIASTINUM: Look(0.75, -45, 0.12, 14),
        t.AIRWAY: Look(0.25, -985, 0, 4),
        t.CORTEX: Look(a.brain, 37, 0.10, 3, 0.03),
        t.WHITE_MATTER: Look(0.36 * a.brain, 29, 0.06, 3, 0.03),
        t.FLUID: Look(0.8, 8, 0.05, 3),
        t.KIDNEY: Look(2.9, 34 + 2.2 * organ_hu, 0.12, 4, -0.03),
        t.URINE: Look(a.urine, 8, 0.08, 3, 0.05),
        t.GUT_LOW: Look(0.55 * a.bowel, 28, 0.22, 16),
        t.GUT: Look(a.bowel, 30, 0.25, 16),
        t.GUT_HIGH: Look(1.6 * a.bowel, 30, 0.25, 16),
        t.GAS: Look(0.3, -880, 0, 20),
        t.GLAND: Look(1.7, 45 + 0.6 * organ_hu, 0.08, 5),
        t.TONSIL: Look(3.2, 45, 0.12, 4),
        t.CORD: Look(1.6, 28, 0.05, 3),
        t.DISC: Look(0.8, 85, 0.06, 6),
        t.COUCH: Look(0.0, -350, 0, 8),
        t.SKULL: Look(0.6, 820, 0.08, 110),
        t.TENDON: Look(0.6, 35, 0.08, 6),
        t.OEDEMA: Look(0.25 * a.brain, 22, 0.06, 3),
        t.STOMACH: Look(1.9, 30, 0.18, 14),
    }


def table(looks: dict[Tissue, Look], column: str) -> NDArray[np.float32]:
    """One column of the looks, indexed by label."""
    values = np.zeros(len(Tissue), np.float32)
    for tissue, look in looks.items():
        values[tissue] = getattr(look, column)
    return values
