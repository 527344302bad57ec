"""PET, CT and body segmentation on one grid of 4 mm: what the rules for organs and landmarks read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from fedpet.imaging.anatomy.body import LEFT, RIGHT
from fedpet.imaging.anatomy.morphology import GRID_MM, bounding_box, voxels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpet.imaging.anatomy.body import BodySegmentation
    from fedpet.imaging.anatomy.morphology import Mask

_DOME_MM = 20.0  # height of the dome of a diaphragm above the median base of its lung
_SMOOTHING_VOXELS = 6.0, 24.0  # standard deviations, near and far


@dataclass(frozen=True, eq=False)
class AlignedImages:
    """Arrays `[slice, row, column]` on cubic voxels of 4 mm: all slices, rows and columns cropped to the body.

    Attributes:
        box: the crop, as slices of the grid of `BodySegmentation.ct`.
        hu: CT, HU.
        smooth_hu: mean HU over cubes of 12 mm.
        suv: PET, mean over cubes of 12 mm; 0 beyond the PET.
        body: inside the patient.
        bone: with its marrow.
        brain: cavity of the skull.
        lungs: 0 elsewhere, 1 right lung, 2 left lung.
        vertebral_row: shape (slices,), see `BodySegmentation.vertebral_row`.
        midline: shape (slices,), column; see `BodySegmentation.midline`.
        has_spine: shape (slices,), whether the spine was found there.
        lung_base: shape (rows, columns), slice of the base of the lungs, continued between and around them; None
            without lungs.
    """

    box: tuple[slice, slice, slice]
    hu: NDArray[np.int16]
    smooth_hu: NDArray[np.float32]
    suv: NDArray[np.float32]
    body: Mask
    bone: Mask
    brain: Mask
    lungs: NDArray[np.uint8]
    vertebral_row: NDArray[np.float64]
    midline: NDArray[np.float64]
    has_spine: Mask
    lung_base: NDArray[np.float64] | None

    def level(self) -> NDArray[np.int_]:
        """Slice index, shape (slices, 1, 1), to be broadcast."""
        return np.arange(self.hu.shape[0])[:, None, None]

    def posterior_mm(self) -> NDArray[np.float64]:
        """Distance behind the middle of the vertebral column, mm, shape (slices, rows, 1)."""
        return ((np.arange(self.hu.shape[1]) - self.vertebral_row[:, None]) * GRID_MM)[:, :, None]

    def left_mm(self) -> NDArray[np.float64]:
        """Distance to the patient's left of the midline, mm, shape (slices, 1, columns)."""
        return ((np.arange(self.hu.shape[2]) - self.midline[:, None]) * GRID_MM)[:, None, :]

    def above_lung_base_mm(self) -> NDArray[np.float64] | None:
        """Height above the base of the lungs, mm, shape (slices, rows, columns); None without lungs."""
        return None if self.lung_base is None else (self.level() - self.lung_base) * GRID_MM


def align_images(body: BodySegmentation, suv: NDArray[np.floating]) -> AlignedImages:
    """Crop CT, PET and segmentation to the columns and rows of the body.

    Args:
        body: of the CT.
        suv: the PET on the grid of `body.ct`, NaN where it does not reach.
    """
    box = (slice(None), *bounding_box(body.body)[1:])
    hu = np.ascontiguousarray(body.ct.array[box])
    lungs = body.lungs[box]
    return AlignedImages(
        box=box,
        hu=hu,
        smooth_hu=ndimage.uniform_filter(np.clip(hu, -300, 500).astype(np.float32), 3),
        suv=ndimage.uniform_filter(np.nan_to_num(suv[box].astype(np.float32)), 3),
        body=body.body[box],
        bone=body.bone[box],
        brain=body.brain[box],
        lungs=lungs,
        vertebral_row=body.vertebral_row[box[0]] - box[1].start,
        midline=body.midline[box[0]] - box[2].start,
        has_spine=np.isfinite(body.spine.row[box[0]]),
        lung_base=find_lung_base(lungs),
    )


def find_lung_base(lungs: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """Find the base of the lungs over the whole cross-section of the body.

    A column of lung whose lowest air lies well above the median base of its lung ends on the heart or the mediastinum,
    not on the diaphragm. There, and outside the lungs, the base is an average of those nearby, weighted by distance.

    Args:
        lungs: shape (slices, rows, columns), 1 right lung, 2 left lung.

    Returns:
        Slice index, shape (rows, columns); None without lungs.
    """
    known = np.zeros(lungs.shape[1:], bool)
    base = np.zeros(lungs.shape[1:])
    for side in (RIGHT, LEFT):
        lung = lungs == side
        projection = lung.any(axis=0)
        lowest = lung.argmax(axis=0)
        if projection.any():
            on_diaphragm = projection & (lowest <= np.median(lowest[projection]) + voxels(_DOME_MM))
            base[on_diaphragm] = lowest[on_diaphragm]
            known |= on_diaphragm
    if not known.any():
        return None
    near, far = (ndimage.gaussian_filter(np.stack([base, known.astype(float)]), (0, s, s)) for s in _SMOOTHING_VOXELS)
    mean, weight = near + 1e-3 * far
    return np.where(known, base, mean / np.maximum(weight, 1e-12))
