"""Bone, brain cavity and spine on the coarse CT of `imaging.anatomy`.

Rules on Hounsfield units and shape: cortical bone is the densest tissue, the brain is the soft tissue without fat that
bone encloses in axial slices, and the vertebrae with their arches are the thickest bone in the middle of the back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from imaging.coarse import COARSE_MM, VOXEL_ML, components, dilated, eroded, filled, largest, opened, voxels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imaging.coarse import Mask

_BONE_HU, _CORTEX_HU = 150.0, 250.0
_SPONGY_HU = 105  # mean over 12 mm
_CONTRAST_HU, _CONTRAST_ML = (110.0, 700.0), 50.0
_ALIKE = 1.35  # highest tenth of the density of blood, as a multiple of its median
_SMALLEST_BONE_VOXELS, _CORTEX_SHARE = 8, 0.02
_MARROW_CM2 = 12.0  # largest hole in the axial section of a bone that is marrow and no cavity of the body
_BRAIN_CM2 = 20.0, 320.0
_BRAIN_ML = 60.0
_MOST_FAT = 0.04
_TRACE_MM, _SIDEWAYS_MM = 36.0, 48.0
_FILLING = 0.35
_SHORTEST_MM = 80.0
_HALF_BODY_MM = 16.0  # of a vertebral body, front to back
_TRUNK_MM = 200.0  # of a body across that can have a spine: less is a limb, or a part of the trunk
_LAG, _JUMP = 5, (5.5, 2.5)  # voxels in (row, column) over so many slices that no spine moves


@dataclass(frozen=True, eq=False)
class Spine:
    """Centre of the vertebral column in each axial slice; NaN where none was found.

    Attributes:
        row: shape (slices,), of the middle of the vertebral bodies.
        column: shape (slices,).
    """

    row: NDArray[np.float64]
    column: NDArray[np.float64]


def find_bones(hu: NDArray[np.int16], body: Mask) -> Mask:
    """Bone with its marrow: dense parts that hold cortical bone, axial holes up to 12 cm2 filled.

    Spongy bone around them is denser than soft tissue on average. With contrast medium in the blood that cannot be
    told, and only what is clearly denser than blood, within 8 mm of cortical bone, is taken.
    """
    blood = _contrast_hu(hu, body)
    cortex = (hu > max(_CORTEX_HU, blood + 100)) & body
    dense = (hu > max(_BONE_HU, blood + 30)) & body
    if blood:
        dense &= dilated(cortex, 5)
    labels, sizes = components(dense)
    share = np.bincount(labels[cortex], minlength=len(sizes)) / np.maximum(sizes, 1)
    bone = ((sizes >= _SMALLEST_BONE_VOXELS) & (share >= _CORTEX_SHARE))[labels]
    if not blood:
        bone |= dilated(bone, 7) & (ndimage.uniform_filter(hu, 3) > _SPONGY_HU)
    return filled(bone, largest_cm2=_MARROW_CM2)


def _contrast_hu(hu: NDArray[np.int16], body: Mask) -> float:
    """Density of what is denser than tissue without contrast medium and thicker than bone (heart, liver); 0 without.

    The sacrum can be as thick, but is not of one density.
    """
    labels, sizes = components(opened((hu > _CONTRAST_HU[0]) & (hu < _CONTRAST_HU[1]) & body, 9))
    blood = np.zeros(len(sizes), bool)
    for part, box in enumerate(ndimage.find_objects(labels), start=1):
        middle, high = np.percentile(hu[box][labels[box] == part], [50, 90])
        blood[part] = high <= _ALIKE * middle
    thick = blood[labels]
    return float(np.percentile(hu[thick], 90)) if thick.sum() * VOXEL_ML >= _CONTRAST_ML else 0.0


def find_brain(hu: NDArray[np.int16], bone: Mask) -> Mask:
    """The cavity of the skull, or nothing where less than 60 ml of it was scanned."""
    ring = eroded(dilated(bone, (1, 3, 3)), (1, 3, 3))
    cavity = filled(ring) & ~ring
    labels, sizes = components(cavity, in_plane=True)
    area = sizes * COARSE_MM**2 / 100
    smooth = ndimage.uniform_filter(hu, 3)
    fat = np.bincount(labels[(smooth < -30) & cavity], minlength=len(sizes))
    kept = (area >= _BRAIN_CM2[0]) & (area <= _BRAIN_CM2[1]) & (fat <= _MOST_FAT * sizes)
    brain = largest(kept[labels])
    return brain if brain.sum() * VOXEL_ML >= _BRAIN_ML else np.zeros_like(brain)


def find_spine(bone: Mask, body: Mask, brain: Mask) -> Spine:
    """Follow the thickest bone near the middle of the back half of a trunk, slice by slice, smoothed over 10 cm."""
    slices, rows, columns = body.shape
    middle_row, middle_column = _middle(body, axis=1), _middle(body, axis=2)
    size = voxels(_TRACE_MM)
    filling = ndimage.uniform_filter(bone.astype(np.float32), (3, size, size))
    near = np.abs(np.arange(columns) - middle_column[:, None]) <= voxels(_SIDEWAYS_MM)
    behind = np.arange(rows) >= middle_row[:, None] - 2
    filling *= near[:, None, :] & behind[:, :, None]
    best = filling.reshape(slices, -1)
    row, column = np.unravel_index(best.argmax(axis=1), (rows, columns))
    found = best.max(axis=1) >= _FILLING
    if body.any(axis=1).sum(axis=1).max(initial=0) < voxels(_TRUNK_MM):
        found[:] = False
    if brain.any():
        found[np.flatnonzero(brain.any(axis=(1, 2)))[0] :] = False
    track = _smoothed(np.stack([row, column], axis=1), found)
    return Spine(_front(bone, track) + voxels(_HALF_BODY_MM), track[:, 1])


def _front(bone: Mask, track: NDArray[np.float64]) -> NDArray[np.float64]:
    """Row of the front of the vertebral bodies: the first thick bone within 6 cm of a track (slices, 2).

    The lower quartile over 5 cm bridges the discs, behind which lies only the arch.
    """
    front = np.full(len(track), np.nan)
    for level in np.flatnonzero(np.isfinite(track[:, 0])):
        row, column = track[level].astype(int)
        first = max(row - voxels(60), 0)
        band = bone[level, first : row + 1, max(column - 2, 0) : column + 3].sum(axis=1) >= 2
        thick = np.flatnonzero(band & np.append(band[1:], True))
        front[level] = first + (thick[0] if len(thick) else row - first)
    known = np.flatnonzero(np.isfinite(front))
    if len(known):
        front[known] = ndimage.percentile_filter(front[known], 25, 13, mode="nearest")
    return front


def _middle(body: Mask, *, axis: int) -> NDArray[np.float64]:
    """Median position of the body along an axis, in each slice, smoothed; of an empty slice, the middle."""
    profile = body.sum(axis=3 - axis).cumsum(axis=1)
    half = profile[:, -1:] / 2
    middle = np.where(half[:, 0] > 0, (profile >= half).argmax(axis=1), profile.shape[1] // 2)
    return np.asarray(ndimage.median_filter(middle.astype(float), 25, mode="nearest"))


def _smoothed(track: NDArray[np.intp], found: Mask) -> NDArray[np.float64]:
    """A running median (slices, 2) of the longest stretch without a jump, gaps up to 8 cm bridged; NaN elsewhere."""
    smooth = np.full(track.shape, np.nan)
    if not found.any():
        return smooth
    every = np.arange(len(track))
    for axis in range(2):
        bridged = np.interp(every, every[found], track[found, axis])
        smooth[:, axis] = ndimage.median_filter(bridged, 25, mode="nearest")
    near = ndimage.binary_closing(np.pad(found, 10), iterations=10)[10:-10]
    jump = (np.abs(smooth - np.roll(smooth, _LAG, axis=0)) > _JUMP).any(axis=1) & (every >= _LAG)
    stretch = np.where(near, 1 + np.cumsum(jump | ~near), 0)
    lengths = np.bincount(stretch)[1:]
    if lengths.max() < voxels(_SHORTEST_MM):
        smooth[:] = np.nan
    smooth[stretch != lengths.argmax() + 1] = np.nan
    return smooth
