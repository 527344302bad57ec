"""Shapes on the coarse grid of `imaging.anatomy`: cubic voxels of 4 mm, arrays `[slice, row, column]`.

Openings and closings use a cube: separable, so that a whole body costs milliseconds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]
Box = tuple[slice, slice, slice]
COARSE_MM = 4.0
VOXEL_ML = COARSE_MM**3 / 1000.0
_IN_PLANE = np.zeros((3, 3, 3), bool)
_IN_PLANE[1] = ndimage.generate_binary_structure(2, 1)


def voxels(mm: float) -> int:
    """A distance in whole voxels."""
    return round(mm / COARSE_MM)


def box_of(mask: Mask, *, margin: int = 0) -> Box:
    """The smallest box around a mask, widened within the array; of an empty mask, everything."""
    ranges = []
    for axis, length in enumerate(mask.shape):
        inside = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        ends = (max(inside[0] - margin, 0), min(inside[-1] + 1 + margin, length)) if len(inside) else (0, length)
        ranges.append(slice(*map(int, ends)))
    return ranges[0], ranges[1], ranges[2]


def components(mask: Mask, *, in_plane: bool = False) -> tuple[NDArray[np.signedinteger], NDArray[np.int_]]:
    """Face-connected components, of the volume or of each axial slice, and their sizes in voxels (0 for background)."""
    labels, count = ndimage.label(mask, structure=_IN_PLANE if in_plane else None)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    return labels, sizes


def largest(mask: Mask) -> Mask:
    """The largest component, or nothing."""
    labels, sizes = components(mask)
    return np.asarray((labels == sizes.argmax()) & mask)


def filled(mask: Mask, *, largest_cm2: float = np.inf) -> Mask:
    """The mask with what it encloses in axial slices, in parts of at most `largest_cm2`."""
    labels, sizes = components(~mask, in_plane=True)
    inner = sizes * COARSE_MM**2 / 100 <= largest_cm2
    for edge in (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]):
        inner[edge] = False
    inner[0] = True
    closed: Mask = inner[labels]
    return closed


def eroded(mask: Mask, width: int | tuple[int, int, int]) -> Mask:
    """Where a box of `width` voxels fits into the mask; what lies outside the array counts as the mask does there."""
    return np.asarray(ndimage.minimum_filter(mask.view(np.uint8), width).view(bool))


def dilated(mask: Mask, width: int | tuple[int, int, int]) -> Mask:
    """Where a box of `width` voxels meets the mask."""
    return np.asarray(ndimage.maximum_filter(mask.view(np.uint8), width).view(bool))


def opened(mask: Mask, width: int) -> Mask:
    """Only where a cube of `width` voxels fits: thinner bridges go."""
    inner = eroded(mask, width).view(np.uint8)
    return np.asarray(ndimage.maximum_filter(inner, width, origin=0 if width % 2 else -1).view(bool))


def closed(mask: Mask, width: int) -> Mask:
    """Gaps narrower than a cube of `width` voxels closed, then cavities of axial slices filled."""
    return filled(eroded(dilated(np.pad(mask, width), width), width))[width:-width, width:-width, width:-width]
