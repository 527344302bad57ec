"""Where things lie in the reference body: a person of 1.70 m, LPS millimetres.

x is to the patient's left, y to the back, z to the head; z = 0 is mid-thigh, the vertex lies at `VERTEX_MM`, the
origin of x and y is the middle of the trunk. Drawing anatomy and placing lesions use the same tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

Mm = tuple[float, float, float]  # x, y, z

REFERENCE_HEIGHT_M: Final = 1.70
VERTEX_MM: Final = 1040.0


@dataclass(frozen=True)
class Vertebra:
    """One vertebral body: centre, half-width and height, mm."""

    name: str
    centre: Mm
    half_width: float
    height: float


def _spine() -> tuple[Vertebra, ...]:
    """L5 to C1; z and y follow the lumbar lordosis, thoracic kyphosis and cervical lordosis."""
    names = [f"L{i}" for i in range(5, 0, -1)] + [f"T{i}" for i in range(12, 0, -1)]
    names += [f"C{i}" for i in range(7, 0, -1)]
    z = [345, 379, 413, 447, 481, 513, 540, 566, 591, 615, 638, 661, 683, 705, 727, 748, 768]
    z += [786, 803, 819, 835, 851, 867, 881]
    y = [44, 38, 35, 35, 38, 43, 48, 53, 57, 60, 61, 61, 59, 56, 52, 47, 41, 35, 30, 26, 23, 20, 18, 17]
    width = [26, 26, 25, 24, 23, 21.5, 20.5, 20, 19, 18.5, 18, 17.5, 17, 16.5, 16.5, 16, 16]
    width += [14, 13, 12, 12, 12, 12, 13]
    gap = [b - a for a, b in zip(z, [*z[1:], 895], strict=True)]
    rows = zip(names, y, z, width, gap, strict=True)
    return tuple(Vertebra(name, (0.0, float(b), float(c)), float(w), float(g)) for name, b, c, w, g in rows)


SPINE: Final = _spine()

NODE_STATIONS: Final[dict[str, Mm]] = {
    "2R": (-17, -4, 748),
    "4R": (-20, -4, 708),
    "4L": (20, 2, 702),
    "5": (32, -16, 700),
    "7": (0, 18, 674),
    "10R": (-42, 4, 676),
    "10L": (44, 6, 680),
    "supraclavicular_R": (-46, -8, 786),
    "supraclavicular_L": (46, -8, 786),
    "coeliac": (8, 4, 498),
    "para_aortic": (20, 12, 430),
}
DISTANT_STATIONS: Final = frozenset({"coeliac", "para_aortic"})

BONE_SITES: Final[dict[str, Mm]] = {
    vertebra.name: vertebra.centre for vertebra in SPINE if vertebra.name[0] in "LT" and vertebra.name != "T1"
} | {
    "iliac_R": (-86, 46, 322),
    "iliac_L": (86, 46, 322),
    "sacrum": (0, 66, 300),
    "femur_R": (-92, 6, 214),
    "femur_L": (92, 6, 214),
    "sternum": (0, -93, 660),
    "rib_R": (-132, 12, 610),
    "rib_L": (132, 12, 600),
    "humerus_R": (-150, 12, 742),
    "humerus_L": (150, 12, 742),
}
ADRENALS: Final[dict[str, Mm]] = {"adrenal_R": (-36, 30, 508), "adrenal_L": (38, 30, 506)}

LUNG_CENTRE: Final[Mm] = (82, -2, 668)  # of the left lung; the right one is mirrored
LUNG_REACH: Final[Mm] = (36, 56, 78)  # lesions lie within this ellipsoid
LIVER_CENTRE: Final[Mm] = (-66, -8, 512)
LIVER_REACH: Final[Mm] = (38, 44, 34)
BRAIN_CENTRE: Final[Mm] = (0, 0, 950)
BRAIN_REACH: Final[Mm] = (46, 64, 44)
