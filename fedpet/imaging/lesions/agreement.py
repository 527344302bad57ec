"""How well lesions that were found agree with those of a reference, as the autoPET challenge measures it.

Gatidis 2024 (Nat Mach Intell 6:1396) and the challenge's evaluation code: Dice of all voxels; false-positive volume,
that of the connected components found that share no voxel with the reference; false-negative volume, that of the
components of the reference that share none with what was found. Components are 18-connected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

_CONNECTED = ndimage.generate_binary_structure(3, 2)  # faces and edges: 18 neighbours


@dataclass(frozen=True)
class LesionAgreement:
    """Agreement in one patient.

    Attributes:
        dice: 0 to 1; NaN where the reference holds no lesion, as the challenge leaves it out there.
        false_positive_ml: volume of components found beside every lesion.
        false_negative_ml: volume of lesions of which nothing was found.
        found_ml: volume found.
        reference_ml: volume of the reference.
    """

    dice: float
    false_positive_ml: float
    false_negative_ml: float
    found_ml: float
    reference_ml: float


def lesion_agreement(found: NDArray[np.generic], reference: NDArray[np.generic], *, voxel_ml: float) -> LesionAgreement:
    """Compare lesions voxel by voxel and component by component.

    Args:
        found: non-zero within the lesions found.
        reference: non-zero within the lesions of the reference, same shape.
        voxel_ml: volume of a voxel.

    Raises:
        ValueError: the shapes differ.
    """
    if found.shape != reference.shape:
        raise ValueError(f"masks of different grids: {found.shape} and {reference.shape}")
    one, other = np.asarray(found != 0), np.asarray(reference != 0)
    both = float(one.sum() + other.sum())
    return LesionAgreement(
        dice=float(2 * (one & other).sum() / both) if other.any() else float("nan"),
        false_positive_ml=_missed(one, other) * voxel_ml,
        false_negative_ml=_missed(other, one) * voxel_ml,
        found_ml=float(one.sum()) * voxel_ml,
        reference_ml=float(other.sum()) * voxel_ml,
    )


def _missed(mask: Mask, other: Mask) -> float:
    """Voxels of the components of a mask that share none with the other."""
    parts, count = ndimage.label(mask, structure=_CONNECTED)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[np.unique(parts[other])] = 0
    return float(sizes[1:].sum())
