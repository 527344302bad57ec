"""Bone, brain and spine on the coarse CT of `fedpet.imaging.anatomy.body`.

Rules on Hounsfield units and shape: cortical bone is the densest tissue, the brain is the soft tissue without fat that
bone encloses in axial slices, and the vertebrae with their arches are the thickest bone in the middle of the back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from fedpet.imaging.anatomy.morphology import (
    GRID_MM,
    VOXEL_ML,
    binary_opening,
    components,
    dilate,
    erode,
    fill_holes,
    largest_component,
    voxels,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpet.imaging.anatomy.morphology import Mask

_BONE_HU, _CORTEX_HU = 150.0, 250.0
_SPONGY_HU = 105  # mean over 12 mm
_CONTRAST_HU, _CONTRAST_ML = (110.0, 700.0), 50.0
_UNIFORM = 1.35  # 90th percentile of the density of blood, relative to its median, at most
_SMALLEST_BONE_VOXELS, _CORTEX_SHARE = 8, 0.02
_MARROW_CM2 = 12.0  # largest hole in the axial section of a bone that is marrow, not a cavity of the body
_BRAIN_CM2 = 20.0, 320.0  # of an axial section
_BRAIN_ML = 60.0  # least of it that must have been scanned
_MAX_FAT_SHARE = 0.04
_WINDOW_MM, _LATERAL_MM = 36.0, 48.0  # of the window that follows the spine, of its distance from the midline
_MIN_FILLING = 0.35  # share of bone in that window
_MIN_LENGTH_MM = 80.0  # of a spine
_HALF_BODY_MM = 16.0  # half the depth of a vertebral body
_TRUNK_MM = 200.0  # least width of a body that can hold a spine: less is a limb or part of the trunk
_LAG, _JUMP = 5, (5.5, 2.5)  # over so many slices no spine moves by so many voxels (row, column)


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
    """Segment bone with its marrow: dense components with cortical bone, axial holes up to 12 cm2 filled.

    Cancellous bone around them is denser than soft tissue on average. With contrast medium in the blood the two cannot
    be distinguished, and only what is clearly denser than blood, within 8 mm of cortical bone, is accepted.

    Args:
        hu: shape (slices, rows, columns), voxels of 4 mm.
        body: same shape.
    """
    blood = _blood_hu(hu, body)
    cortex = (hu > max(_CORTEX_HU, blood + 100)) & body
    dense = (hu > max(_BONE_HU, blood + 30)) & body
    if blood:
        dense &= dilate(cortex, 5)
    labels, sizes = components(dense)
    share = np.bincount(labels[cortex], minlength=len(sizes)) / np.maximum(sizes, 1)
    bone = ((sizes >= _SMALLEST_BONE_VOXELS) & (share >= _CORTEX_SHARE))[labels]
    if not blood:
        bone |= dilate(bone, 7) & (ndimage.uniform_filter(hu, 3) > _SPONGY_HU)
    return fill_holes(bone, largest_cm2=_MARROW_CM2)


def _blood_hu(hu: NDArray[np.int16], body: Mask) -> float:
    """Density of blood with contrast medium, 0 without contrast medium.

    It is denser than tissue without contrast medium and thicker than bone (heart, liver). The sacrum can be as thick,
    but its density varies.
    """
    labels, sizes = components(binary_opening((hu > _CONTRAST_HU[0]) & (hu < _CONTRAST_HU[1]) & body, 9))
    blood = np.zeros(len(sizes), bool)
    for part, box in enumerate(ndimage.find_objects(labels), start=1):
        middle, high = np.percentile(hu[box][labels[box] == part], [50, 90])
        blood[part] = high <= _UNIFORM * middle
    thick = blood[labels]
    return float(np.percentile(hu[thick], 90)) if thick.sum() * VOXEL_ML >= _CONTRAST_ML else 0.0


def find_brain(hu: NDArray[np.int16], bone: Mask) -> Mask:
    """The cavity of the skull; empty where less than 60 ml of it was scanned."""
    ring = erode(dilate(bone, (1, 3, 3)), (1, 3, 3))
    cavity = fill_holes(ring) & ~ring
    labels, sizes = components(cavity, in_plane=True)
    area = sizes * GRID_MM**2 / 100
    smooth = ndimage.uniform_filter(hu, 3)
    fat = np.bincount(labels[(smooth < -30) & cavity], minlength=len(sizes))
    is_brain = (area >= _BRAIN_CM2[0]) & (area <= _BRAIN_CM2[1]) & (fat <= _MAX_FAT_SHARE * sizes)
    brain = largest_component(is_brain[labels])
    return brain if brain.sum() * VOXEL_ML >= _BRAIN_ML else np.zeros_like(brain)


def find_spine(bone: Mask, body: Mask, brain: Mask) -> Spine:
    """Follow the thickest bone near the midline in the posterior half of a trunk, smoothed over 10 cm."""
    slices, rows, columns = body.shape
    middle_row, middle_column = _median_position(body, axis=1), _median_position(body, axis=2)
    size = voxels(_WINDOW_MM)
    filling = ndimage.uniform_filter(bone.astype(np.float32), (3, size, size))
    bridgeable = np.abs(np.arange(columns) - middle_column[:, None]) <= voxels(_LATERAL_MM)
    posterior = np.arange(rows) >= middle_row[:, None] - 2
    filling *= bridgeable[:, None, :] & posterior[:, :, None]
    best = filling.reshape(slices, -1)
    row, column = np.unravel_index(best.argmax(axis=1), (rows, columns))
    found = best.max(axis=1) >= _MIN_FILLING
    if body.any(axis=1).sum(axis=1).max(initial=0) < voxels(_TRUNK_MM):
        found[:] = False
    if brain.any():
        found[np.flatnonzero(brain.any(axis=(1, 2)))[0] :] = False
    track = _smooth_track(np.stack([row, column], axis=1), found)
    return Spine(_anterior_edge(bone, track) + voxels(_HALF_BODY_MM), track[:, 1])


def _anterior_edge(bone: Mask, track: NDArray[np.float64]) -> NDArray[np.float64]:
    """Row of the anterior edge of the vertebral bodies: the first thick bone within 6 cm of a track (slices, 2).

    The lower quartile over 5 cm bridges the discs, where only the arch is bone.
    """
    anterior = np.full(len(track), np.nan)
    for level in np.flatnonzero(np.isfinite(track[:, 0])):
        row, column = track[level].astype(int)
        first = max(row - voxels(60), 0)
        band = bone[level, first : row + 1, max(column - 2, 0) : column + 3].sum(axis=1) >= 2
        thick = np.flatnonzero(band & np.append(band[1:], True))
        anterior[level] = first + (thick[0] if len(thick) else row - first)
    known = np.flatnonzero(np.isfinite(anterior))
    if len(known):
        anterior[known] = ndimage.percentile_filter(anterior[known], 25, 13, mode="nearest")
    return anterior


def _median_position(body: Mask, *, axis: int) -> NDArray[np.float64]:
    """Median position of the body along an axis in each slice, smoothed; in an empty slice, the middle."""
    profile = body.sum(axis=3 - axis).cumsum(axis=1)
    half = profile[:, -1:] / 2
    middle = np.where(half[:, 0] > 0, (profile >= half).argmax(axis=1), profile.shape[1] // 2)
    return np.asarray(ndimage.median_filter(middle.astype(float), 25, mode="nearest"))


def _smooth_track(track: NDArray[np.intp], found: Mask) -> NDArray[np.float64]:
    """Running median (slices, 2) of the longest stretch without a jump, gaps up to 8 cm bridged; NaN elsewhere."""
    smooth = np.full(track.shape, np.nan)
    if not found.any():
        return smooth
    slice_number = np.arange(len(track))
    for axis in range(2):
        bridged = np.interp(slice_number, slice_number[found], track[found, axis])
        smooth[:, axis] = ndimage.median_filter(bridged, 25, mode="nearest")
    bridgeable = ndimage.binary_closing(np.pad(found, 10), iterations=10)[10:-10]
    jump = (np.abs(smooth - np.roll(smooth, _LAG, axis=0)) > _JUMP).any(axis=1) & (slice_number >= _LAG)
    stretch = np.where(bridgeable, 1 + np.cumsum(jump | ~bridgeable), 0)
    lengths = np.bincount(stretch)[1:]
    if lengths.max() < voxels(_MIN_LENGTH_MM):
        smooth[:] = np.nan
    smooth[stretch != lengths.argmax() + 1] = np.nan
    return smooth
