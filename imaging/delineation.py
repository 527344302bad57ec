"""Where the PET is hot: connected components above a fixed threshold.

A fixed threshold counts physiology too (brain, heart, kidneys, bladder): what it finds are candidates, and each number
that rests on it names the method.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imaging.volume import Volume

_MOST_LABELS = np.iinfo(np.uint16).max


def threshold_components(pet: Volume, *, threshold: float = 4.0, minimum_ml: float = 0.5) -> Volume:
    """Components of SUV >= `threshold` (26-connected) of at least `minimum_ml`.

    Returns:
        uint16 labels on the PET grid, 1 for the largest component; 0 is background.
    """
    return connected_components(pet.like(pet.array >= threshold, "label"), minimum_ml=minimum_ml)


def connected_components(mask: Volume, *, minimum_ml: float = 0.0) -> Volume:
    """The 26-connected components of a mask, numbered by decreasing volume.

    Args:
        mask: any type; non-zero is inside.
        minimum_ml: smaller components are left out.
    """
    raw, count = ndimage.label(mask.array != 0, structure=np.ones((3, 3, 3), bool))
    sizes = np.bincount(raw.ravel(), minlength=count + 1)
    sizes[0] = 0
    order = np.argsort(-sizes, kind="stable")[:_MOST_LABELS]
    kept = order[(sizes[order] > 0) & (sizes[order] * mask.voxel_ml >= minimum_ml)]
    number: NDArray[np.uint16] = np.zeros(count + 1, np.uint16)
    number[kept] = np.arange(1, len(kept) + 1)
    return mask.like(number[raw], "label")
