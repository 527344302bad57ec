"""Heights at which parts of the body begin and end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from imaging.coarse import COARSE_MM, voxels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imaging.scene import Scene

_PELVIS_CM2 = 8.0  # mean section of the iliac wings
_WIDE_AIRWAY_MM = 32.0  # wider than a trachea
_USUAL_CARINA = 0.62  # of the height of the lungs


@dataclass(frozen=True)
class Landmarks:
    """Axial slices on the grid of `anatomy_of(ct)`; None where not scanned or not found.

    Attributes:
        skull_base: lowest slice of the brain.
        apex: highest slice of the lungs.
        carina: where the trachea divides.
        diaphragm: median base of the lungs.
        symphysis: lower edge of the pubic symphysis, or the end of the scan where that lies above it.
    """

    skull_base: float | None
    apex: float | None
    carina: float | None
    diaphragm: float | None
    symphysis: float | None

    @property
    def sacrum(self) -> float | None:
        """Upper end of the sacrum: a third of the way from the symphysis to the diaphragm, or 14 cm up."""
        if self.symphysis is None:
            return None
        return self.symphysis + (voxels(140) if self.diaphragm is None else 0.35 * (self.diaphragm - self.symphysis))

    @property
    def first_lumbar(self) -> float | None:
        """Upper end of the lumbar spine: a quarter of the way from the diaphragm to the symphysis."""
        if self.diaphragm is None:
            return None if self.symphysis is None else self.symphysis + voxels(300)
        return self.diaphragm - (voxels(90) if self.symphysis is None else 0.23 * (self.diaphragm - self.symphysis))


def find_landmarks(scene: Scene) -> Landmarks:
    """All heights that can be told."""
    brain = np.flatnonzero(scene.brain.any(axis=(1, 2)))
    lung_cm2 = (scene.lungs > 0).sum(axis=(1, 2)) * COARSE_MM**2 / 100
    lungs = np.flatnonzero(lung_cm2 >= 4)
    apex = diaphragm = carina = None
    if scene.floor is not None and len(lungs):
        apex, diaphragm = float(lungs[-1]), float(np.median(scene.floor[(scene.lungs > 0).any(axis=0)]))
        carina = _carina(scene, diaphragm, apex)
    return Landmarks(
        skull_base=float(brain[0]) if len(brain) else None,
        apex=apex,
        carina=carina,
        diaphragm=diaphragm,
        symphysis=_symphysis(scene, _highest_pelvis(diaphragm, brain)),
    )


def _carina(scene: Scene, diaphragm: float, apex: float) -> float:
    """Highest slice where the central airways are wider than a trachea; at its usual height where none is."""
    left = scene.left()
    air = (scene.hu < -700) & scene.body & (scene.lungs == 0) & (np.abs(left) < 40) & (scene.behind() > -90)
    across = air.any(axis=1) * left[:, 0, :]
    width = across.max(axis=1) - across.min(axis=1)
    low, high = (int(diaphragm + share * (apex - diaphragm)) for share in (0.4, 0.8))
    wide = low + np.flatnonzero((width[low:high] >= _WIDE_AIRWAY_MM) & (width[low - 1 : high - 1] >= _WIDE_AIRWAY_MM))
    return float(wide[-1]) if len(wide) else diaphragm + _USUAL_CARINA * (apex - diaphragm)


def _highest_pelvis(diaphragm: float | None, brain: NDArray[np.intp]) -> float:
    """Slice below which the sacrum must end: 15 cm below the diaphragm, 45 cm below the brain."""
    bounds = [] if diaphragm is None else [diaphragm - voxels(150)]
    return min([*bounds, *([float(brain[0]) - voxels(450)] if len(brain) else [])], default=np.inf)


def _symphysis(scene: Scene, highest: float) -> float | None:
    """Lowest slice with bone in the middle, in front of and below the sacrum, if there are iliac wings above."""
    spine = np.flatnonzero(scene.has_spine)
    if not len(spine) or spine[0] > highest:
        return None
    end = int(spine[0])
    aside = np.abs(scene.left())
    wings = scene.bone & (aside > 50) & (aside < 170)
    if wings[end : end + voxels(100)].sum(axis=(1, 2)).mean() * COARSE_MM**2 / 100 < _PELVIS_CM2:
        return None
    low = max(end - voxels(140), 0)
    middle = (scene.bone & (aside < 14) & (scene.behind() < -15))[low : end + voxels(40)].sum(axis=(1, 2)) >= 3
    return float(low + np.flatnonzero(middle)[0]) if middle.any() else float(max(end - voxels(60), 0))
