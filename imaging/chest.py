"""Heart and descending aorta: rules on place and density."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from imaging.coarse import COARSE_MM, VOXEL_ML, largest, opened, voxels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imaging.coarse import Mask
    from imaging.scene import Scene


_SOFT_HU = -20.0
_HEART_ML = 80.0
_HEART_WIDTH = 9  # voxels; great vessels are thinner
_AORTA_ROWS, _AORTA_COLUMNS = (-14, 3), (-3, 14)  # window around the middle of the vertebral body, voxels
_AORTA_PLACE = -5.0, 4.0  # row and column of its usual place from there
_WIDEST_MM = 12.0  # radius beyond which more width is no better


def find_heart(scene: Scene, free: Mask) -> Mask:
    """The thick soft tissue between the lungs, from the diaphragm to 13 cm above it."""
    above = scene.above_floor()
    if above is None:
        return np.zeros_like(free)
    lungs = ndimage.maximum_filter1d(scene.lungs > 0, voxels(60), axis=1)
    between = np.logical_or.accumulate(lungs, axis=2) & np.logical_or.accumulate(lungs[:, :, ::-1], axis=2)[:, :, ::-1]
    place = free & between & (above > -15) & (above < 130) & (scene.behind() < -20) & (scene.smooth > _SOFT_HU)
    heart = largest(opened(place, _HEART_WIDTH))
    return heart if heart.sum() * VOXEL_ML >= _HEART_ML else np.zeros_like(heart)


def find_aorta(scene: Scene, free: Mask) -> Mask:
    """The round soft tissue that runs in front and left of the spine, followed from the arch to the pelvis."""
    mask = np.zeros_like(free)
    levels = _aortic_levels(scene)
    if len(levels) < voxels(60):
        return mask
    soft = free & (scene.smooth > _SOFT_HU) & (scene.hu > -60) & ~scene.bone
    width = _inner_distance(scene, soft, levels)
    for level, (row, column) in zip(levels, _best_path(width), strict=True):
        top = round(scene.spine_row[level]) + _AORTA_ROWS[0] + row
        side = round(scene.spine_column[level]) + _AORTA_COLUMNS[0] + column
        rows, columns = np.arange(mask.shape[1])[:, None] - top, np.arange(mask.shape[2]) - side
        radius = 2.5 if width[level - levels[0], row, column] < _WIDEST_MM else 3.2
        mask[level] = (rows**2 + columns**2 <= radius**2) & soft[level]
    return mask


def _aortic_levels(scene: Scene) -> NDArray[np.intp]:
    """Slices from 25 cm below the diaphragm to 3/5 of the lungs' height, where the spine is known."""
    inside = scene.has_spine.copy()
    if scene.floor is None:
        return np.flatnonzero(np.zeros_like(inside))
    base = float(np.median(scene.floor[(scene.lungs > 0).any(axis=0)]))
    top = np.flatnonzero((scene.lungs > 0).any(axis=(1, 2)))[-1]
    every = np.arange(len(inside))
    inside &= (every > base - voxels(250)) & (every < base + 0.6 * (top - base))
    return np.flatnonzero(inside)


def _inner_distance(scene: Scene, soft: Mask, levels: NDArray[np.intp]) -> NDArray[np.float64]:
    """Millimetres to what is not soft, within the axial slice, in a window that follows the spine; at most 12."""
    rows, columns = (np.arange(*window) for window in (_AORTA_ROWS, _AORTA_COLUMNS))
    found = np.zeros((len(levels), len(rows), len(columns)))
    for index, level in enumerate(levels):
        row = np.clip(round(scene.spine_row[level]) + rows, 0, soft.shape[1] - 1)
        column = np.clip(round(scene.spine_column[level]) + columns, 0, soft.shape[2] - 1)
        found[index] = ndimage.distance_transform_edt(soft[level][np.ix_(row, column)]) * COARSE_MM
    return np.minimum(found, _WIDEST_MM)


def _best_path(width: NDArray[np.float64]) -> list[tuple[int, int]]:
    """The widest way from the lowest to the highest slice that moves by at most one voxel a slice (Viterbi)."""
    rows, columns = (np.arange(n) for n in width.shape[1:])
    away = np.hypot(rows[:, None] + _AORTA_ROWS[0] - _AORTA_PLACE[0], columns + _AORTA_COLUMNS[0] - _AORTA_PLACE[1])
    gain = width - 0.15 * away**2
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
