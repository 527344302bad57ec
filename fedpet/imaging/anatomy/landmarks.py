"""Levels (axial slices) at which parts of the body begin and end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fedpet.imaging.anatomy.morphology import GRID_MM, voxels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpet.imaging.anatomy.aligned_images import AlignedImages

_PELVIS_CM2 = 8.0  # minimum mean section of the iliac wings
_WIDE_AIRWAY_MM = 32.0  # more than the width of a trachea
_USUAL_CARINA_SHARE = 0.62  # of the height of the lungs above the diaphragm


@dataclass(frozen=True)
class Landmarks:
    """Slice indices on the grid of `BodySegmentation.ct`; None where not scanned or not found.

    Attributes:
        skull_base: lowest slice of the brain.
        apex: highest slice of the lungs.
        carina: where the trachea divides.
        diaphragm: median of the base of the lungs.
        symphysis: lower edge of the pubic symphysis; the end of the scan where that lies higher.
    """

    skull_base: float | None
    apex: float | None
    carina: float | None
    diaphragm: float | None
    symphysis: float | None

    @property
    def sacrum(self) -> float | None:
        """Upper end of the sacrum: 35 % of the way up from the symphysis to the diaphragm, or 14 cm above it."""
        if self.symphysis is None:
            return None
        return self.symphysis + (voxels(140) if self.diaphragm is None else 0.35 * (self.diaphragm - self.symphysis))

    @property
    def first_lumbar(self) -> float | None:
        """Upper end of the lumbar spine: 23 % of the way down from the diaphragm to the symphysis, or 9 cm below it."""
        if self.diaphragm is None:
            return None if self.symphysis is None else self.symphysis + voxels(300)
        return self.diaphragm - (voxels(90) if self.symphysis is None else 0.23 * (self.diaphragm - self.symphysis))


def find_landmarks(images: AlignedImages) -> Landmarks:
    """Find every landmark that was scanned and is recognised."""
    brain = np.flatnonzero(images.brain.any(axis=(1, 2)))
    lung_cm2 = (images.lungs > 0).sum(axis=(1, 2)) * GRID_MM**2 / 100
    lungs = np.flatnonzero(lung_cm2 >= 4)
    apex = diaphragm = carina = None
    if images.lung_base is not None and len(lungs):
        apex, diaphragm = float(lungs[-1]), float(np.median(images.lung_base[(images.lungs > 0).any(axis=0)]))
        carina = _carina(images, diaphragm, apex)
    return Landmarks(
        skull_base=float(brain[0]) if len(brain) else None,
        apex=apex,
        carina=carina,
        diaphragm=diaphragm,
        symphysis=_symphysis(images, _highest_pelvis(diaphragm, brain)),
    )


def _carina(images: AlignedImages, diaphragm: float, apex: float) -> float:
    """Highest slice where the central airways are wider than a trachea, else the usual level."""
    left_mm = images.left_mm()
    air = (
        (images.hu < -700) & images.body & (images.lungs == 0) & (np.abs(left_mm) < 40) & (images.posterior_mm() > -90)
    )
    across = air.any(axis=1) * left_mm[:, 0, :]
    width = across.max(axis=1) - across.min(axis=1)
    low, high = (int(diaphragm + share * (apex - diaphragm)) for share in (0.4, 0.8))
    wide = low + np.flatnonzero((width[low:high] >= _WIDE_AIRWAY_MM) & (width[low - 1 : high - 1] >= _WIDE_AIRWAY_MM))
    return float(wide[-1]) if len(wide) else diaphragm + _USUAL_CARINA_SHARE * (apex - diaphragm)


def _highest_pelvis(diaphragm: float | None, brain: NDArray[np.intp]) -> float:
    """Slice below which the sacrum must end: 15 cm below the diaphragm and 45 cm below the brain."""
    bounds = [] if diaphragm is None else [diaphragm - voxels(150)]
    return min([*bounds, *([float(brain[0]) - voxels(450)] if len(brain) else [])], default=np.inf)


def _symphysis(images: AlignedImages, highest: float) -> float | None:
    """Lowest slice with bone in the midline, anterior to and below the sacrum, where there are iliac wings beside it.

    The spine is lost at the promontory or further down in the sacrum: the wings lie above or below its end.
    """
    spine = np.flatnonzero(images.has_spine)
    if not len(spine) or spine[0] > highest:
        return None
    end = int(spine[0])
    lateral = np.abs(images.left_mm())
    wings = (images.bone & (lateral > 50) & (lateral < 170)).sum(axis=(1, 2)) * GRID_MM**2 / 100
    around = [wings[max(low, 0) : max(low, 0) + voxels(100)].mean() for low in (end, end - voxels(60))]
    if max(around) < _PELVIS_CM2:
        return None
    low = max(end - voxels(140 if around[0] >= _PELVIS_CM2 else 220), 0)
    middle = (images.bone & (lateral < 14) & (images.posterior_mm() < -15))[low : end + voxels(40)].sum(
        axis=(1, 2)
    ) >= 3
    return float(low + np.flatnonzero(middle)[0]) if middle.any() else float(max(end - voxels(60), 0))
