"""Morphology on the coarse grid of `fedpet.imaging.anatomy.body`: cubic voxels of 4 mm, `[slice, row, column]`.

Structuring elements are boxes: the filters are separable, so that a whole body takes milliseconds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]
Box = tuple[slice, slice, slice]
GRID_MM = 4.0
VOXEL_ML = GRID_MM**3 / 1000.0
_IN_PLANE = np.zeros((3, 3, 3), bool)
_IN_PLANE[1] = ndimage.generate_binary_structure(2, 1)


def voxels(mm: float) -> int:
    """A distance in mm as a whole number of voxels."""
    return round(mm / GRID_MM)


def bounding_box(mask: Mask, *, margin: int = 0) -> Box:
    """The smallest box around a mask, widened by `margin` voxels within the array; of an empty mask, the array."""
    ranges = []
    for axis, length in enumerate(mask.shape):
        inside = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        ends = (max(inside[0] - margin, 0), min(inside[-1] + 1 + margin, length)) if len(inside) else (0, length)
        ranges.append(slice(*map(int, ends)))
    return ranges[0], ranges[1], ranges[2]


def components(mask: Mask, *, in_plane: bool = False) -> tuple[NDArray[np.signedinteger], NDArray[np.int_]]:
    """Label face-connected components, of the volume or of each axial slice.

    Returns:
        Component number of each voxel, 0 for background; and the size of each component in voxels, 0 for background.
    """
    labels, count = ndimage.label(mask, structure=_IN_PLANE if in_plane else None)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    return labels, sizes


def largest_component(mask: Mask) -> Mask:
    """The largest face-connected component; empty for an empty mask."""
    labels, sizes = components(mask)
    return np.asarray((labels == sizes.argmax()) & mask)


def fill_holes(mask: Mask, *, largest_cm2: float = np.inf) -> Mask:
    """The mask with the holes of its axial slices filled, where a hole has at most `largest_cm2`."""
    labels, sizes = components(~mask, in_plane=True)
    inner = sizes * GRID_MM**2 / 100 <= largest_cm2
    for edge in (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]):
        inner[edge] = False
    inner[0] = True
    closed: Mask = inner[labels]
    return closed


def erode(mask: Mask, width: int | tuple[int, int, int]) -> Mask:
    """Where a box of `width` voxels fits into the mask; beyond the array its border continues."""
    return np.asarray(ndimage.minimum_filter(mask.view(np.uint8), width).view(bool))


def dilate(mask: Mask, width: int | tuple[int, int, int]) -> Mask:
    """Where a box of `width` voxels touches the mask."""
    return np.asarray(ndimage.maximum_filter(mask.view(np.uint8), width).view(bool))


def binary_opening(mask: Mask, width: int) -> Mask:
    """The parts of the mask into which a cube of `width` voxels fits: thinner bridges are removed."""
    inner = erode(mask, width).view(np.uint8)
    return np.asarray(ndimage.maximum_filter(inner, width, origin=0 if width % 2 else -1).view(bool))


def binary_closing(mask: Mask, width: int) -> Mask:
    """Close gaps narrower than a cube of `width` voxels, then fill the holes of axial slices."""
    return fill_holes(erode(dilate(np.pad(mask, width), width), width))[width:-width, width:-width, width:-width]
