"""Heart and descending aorta: rules on location and density."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from fedpet.imaging.anatomy.morphology import GRID_MM, VOXEL_ML, binary_opening, largest_component, voxels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpet.imaging.anatomy.aligned_images import AlignedImages
    from fedpet.imaging.anatomy.morphology import Mask


_SOFT_HU = -20.0
_HEART_ML = 80.0
_HEART_WIDTH = 9  # voxels; the great vessels are thinner
_AORTA_ROWS, _AORTA_COLUMNS = (-14, 3), (-3, 14)  # window around the middle of the vertebral body, voxels
_AORTA_USUAL = -5.0, 4.0  # its usual row and column in that window
_WIDEST_MM = 12.0  # radius beyond which a wider vessel is no better candidate


def find_heart(images: AlignedImages, unassigned: Mask) -> Mask:
    """Thick soft tissue between the lungs, from the diaphragm to 13 cm above it."""
    height = images.above_lung_base_mm()
    if height is None:
        return np.zeros_like(unassigned)
    lungs = ndimage.maximum_filter1d(images.lungs > 0, voxels(60), axis=1)
    between = np.logical_or.accumulate(lungs, axis=2) & np.logical_or.accumulate(lungs[:, :, ::-1], axis=2)[:, :, ::-1]
    region = (
        unassigned
        & between
        & (height > -15)
        & (height < 130)
        & (images.posterior_mm() < -20)
        & (images.smooth_hu > _SOFT_HU)
    )
    heart = largest_component(binary_opening(region, _HEART_WIDTH))
    return heart if heart.sum() * VOXEL_ML >= _HEART_ML else np.zeros_like(heart)


def find_aorta(images: AlignedImages, unassigned: Mask) -> Mask:
    """Round soft tissue in front and to the left of the spine, followed from the arch to the pelvis."""
    mask = np.zeros_like(unassigned)
    levels = _aortic_levels(images)
    if len(levels) < voxels(60):
        return mask
    soft = unassigned & (images.smooth_hu > _SOFT_HU) & (images.hu > -60) & ~images.bone
    width = _distance_to_edge(images, soft, levels)
    for level, (row, column) in zip(levels, _best_path(width), strict=True):
        top = round(images.vertebral_row[level]) + _AORTA_ROWS[0] + row
        side = round(images.midline[level]) + _AORTA_COLUMNS[0] + column
        rows, columns = np.arange(mask.shape[1])[:, None] - top, np.arange(mask.shape[2]) - side
        radius = 2.5 if width[level - levels[0], row, column] < _WIDEST_MM else 3.2
        mask[level] = (rows**2 + columns**2 <= radius**2) & soft[level]
    return mask


def _aortic_levels(images: AlignedImages) -> NDArray[np.intp]:
    """Slices from 25 cm below the diaphragm to 60 % of the height of the lungs where the spine is known."""
    inside = images.has_spine.copy()
    if images.lung_base is None:
        return np.flatnonzero(np.zeros_like(inside))
    base = float(np.median(images.lung_base[(images.lungs > 0).any(axis=0)]))
    top = np.flatnonzero((images.lungs > 0).any(axis=(1, 2)))[-1]
    slice_number = np.arange(len(inside))
    inside &= (slice_number > base - voxels(250)) & (slice_number < base + 0.6 * (top - base))
    return np.flatnonzero(inside)


def _distance_to_edge(images: AlignedImages, soft: Mask, levels: NDArray[np.intp]) -> NDArray[np.float64]:
    """Distance to the edge of the soft tissue in each axial slice, mm, at most 12; in a window along the spine."""
    rows, columns = (np.arange(*window) for window in (_AORTA_ROWS, _AORTA_COLUMNS))
    distance = np.zeros((len(levels), len(rows), len(columns)))
    for index, level in enumerate(levels):
        row = np.clip(round(images.vertebral_row[level]) + rows, 0, soft.shape[1] - 1)
        column = np.clip(round(images.midline[level]) + columns, 0, soft.shape[2] - 1)
        distance[index] = ndimage.distance_transform_edt(soft[level][np.ix_(row, column)]) * GRID_MM
    return np.minimum(distance, _WIDEST_MM)


def _best_path(width: NDArray[np.float64]) -> list[tuple[int, int]]:
    """The widest path from the lowest to the highest slice that moves by at most one voxel per slice (Viterbi)."""
    rows, columns = (np.arange(n) for n in width.shape[1:])
    offset = np.hypot(rows[:, None] + _AORTA_ROWS[0] - _AORTA_USUAL[0], columns + _AORTA_COLUMNS[0] - _AORTA_USUAL[1])
    gain = width - 0.15 * offset**2
    total = gain.copy()
    for level in range(1, len(total)):
        total[level] += ndimage.maximum_filter(total[level - 1], 3, mode="nearest")
    row, column = np.unravel_index(total[-1].argmax(), total.shape[1:])
    path = [(int(row), int(column))]
    for level in range(len(total) - 2, -1, -1):
        up, left = max(path[-1][0] - 1, 0), max(path[-1][1] - 1, 0)
        near = total[level, up : path[-1][0] + 2, left : path[-1][1] + 2]
        row, column = np.unravel_index(near.argmax(), near.shape)
        path.append((up + int(row), left + int(column)))
    return path[::-1]
