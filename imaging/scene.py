"""What the rules of `imaging.organs` look at: PET and CT on one coarse grid, with the landmarks found so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from imaging.anatomy import LEFT, RIGHT
from imaging.coarse import COARSE_MM, box_of, voxels
from imaging.resampling import Grid, resample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imaging.anatomy import Anatomy
    from imaging.coarse import Mask
    from imaging.volume import Volume

_DOME_MM = 20.0  # of a diaphragm above the median base of its lung
_FLOOR_SMOOTHING = 6.0, 24.0  # voxels


@dataclass(frozen=True, eq=False)
class Scene:
    """Arrays `[slice, row, column]` on cubic voxels of 4 mm, all slices, rows and columns cut to the body.

    Attributes:
        box: where this lies in the grid of the anatomy.
        hu: CT, HU.
        smooth: mean HU over 12 mm cubes.
        suv: PET, mean over 12 mm cubes; 0 where it did not reach.
        body: the patient.
        bone: with marrow.
        brain: cavity of the skull.
        lungs: 1 right, 2 left.
        spine_row, spine_column: shape (slices,), see `Anatomy.back` and `Anatomy.middle`.
        has_spine: shape (slices,), where the spine was found.
        floor: shape (rows, columns), slice of the lungs' base, continued between and around them; None without lungs.
    """

    box: tuple[slice, slice, slice]
    hu: NDArray[np.int16]
    smooth: NDArray[np.float32]
    suv: NDArray[np.float32]
    body: Mask
    bone: Mask
    brain: Mask
    lungs: NDArray[np.uint8]
    spine_row: NDArray[np.float64]
    spine_column: NDArray[np.float64]
    has_spine: Mask
    floor: NDArray[np.float64] | None

    def level(self) -> NDArray[np.int_]:
        """Slice index, shape (slices, 1, 1)."""
        return np.arange(self.hu.shape[0])[:, None, None]

    def behind(self) -> NDArray[np.float64]:
        """Millimetres towards the back from the middle of the spine, shape (slices, rows, 1)."""
        return ((np.arange(self.hu.shape[1]) - self.spine_row[:, None]) * COARSE_MM)[:, :, None]

    def left(self) -> NDArray[np.float64]:
        """Millimetres to the patient's left from the spine, shape (slices, 1, columns)."""
        return ((np.arange(self.hu.shape[2]) - self.spine_column[:, None]) * COARSE_MM)[:, None, :]

    def above_floor(self) -> NDArray[np.float64] | None:
        """Millimetres above the base of the lungs, shape (slices, rows, columns); None without lungs."""
        return None if self.floor is None else (self.level() - self.floor) * COARSE_MM


def scene_of(anatomy: Anatomy, pet: Volume) -> Scene:
    """Everything at hand, cut to the body."""
    box = (slice(None), *box_of(anatomy.body)[1:])
    hu = np.ascontiguousarray(anatomy.ct.array[box])
    lungs = anatomy.lungs[box]
    suv = resample(pet, Grid.of(anatomy.ct), outside=0.0).array[box]
    return Scene(
        box=box,
        hu=hu,
        smooth=ndimage.uniform_filter(np.clip(hu, -300, 500).astype(np.float32), 3),
        suv=ndimage.uniform_filter(suv.astype(np.float32), 3),
        body=anatomy.body[box],
        bone=anatomy.bone[box],
        brain=anatomy.brain[box],
        lungs=lungs,
        spine_row=anatomy.back[box[0]] - box[1].start,
        spine_column=anatomy.middle[box[0]] - box[2].start,
        has_spine=np.isfinite(anatomy.spine.row[box[0]]),
        floor=lung_floor(lungs),
    )


def lung_floor(lungs: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """Base of the lungs over the whole section of the body.

    Columns of a lung whose lowest air lies well above that lung's usual base end on the heart or the mediastinum, not
    on the diaphragm: there and outside the lungs, bases nearby are averaged with weights that fade with distance.
    """
    known = np.zeros(lungs.shape[1:], bool)
    base = np.zeros(lungs.shape[1:])
    for side in (RIGHT, LEFT):
        lung = lungs == side
        shadow = lung.any(axis=0)
        lowest = lung.argmax(axis=0)
        if shadow.any():
            on_diaphragm = shadow & (lowest <= np.median(lowest[shadow]) + voxels(_DOME_MM))
            base[on_diaphragm] = lowest[on_diaphragm]
            known |= on_diaphragm
    if not known.any():
        return None
    near, far = (ndimage.gaussian_filter(np.stack([base, known.astype(float)]), (0, s, s)) for s in _FLOOR_SMOOTHING)
    mean, weight = near + 1e-3 * far
    return np.where(known, base, mean / np.maximum(weight, 1e-12))
