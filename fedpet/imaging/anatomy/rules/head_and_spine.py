"""Salivary glands and vertebral bodies: rules on location and density."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fedpet.imaging.anatomy.morphology import GRID_MM

if TYPE_CHECKING:
    from fedpet.imaging.anatomy.aligned_images import AlignedImages
    from fedpet.imaging.anatomy.morphology import Mask


_VERTEBRA_HU = 90.0  # mean over 12 mm


def find_salivary_glands(images: AlignedImages, unassigned: Mask) -> Mask:
    """Soft tissue where parotid and submandibular glands lie, measured from the base of the brain."""
    if not images.brain.any():
        return np.zeros_like(unassigned)
    levels, rows, columns = np.nonzero(images.brain)
    height = (images.level() - levels.min()) * GRID_MM
    posterior = ((np.arange(unassigned.shape[1]) - rows.mean()) * GRID_MM)[None, :, None]
    lateral = np.abs((np.arange(unassigned.shape[2]) - columns.mean()) * GRID_MM)[None, None, :]
    parotid = (height > -70) & (height < 5) & (lateral > 38) & (lateral < 75) & (posterior > -45) & (posterior < 25)
    submandibular = (
        (height > -95) & (height < -25) & (lateral > 12) & (lateral < 45) & (posterior > -75) & (posterior < -10)
    )
    glands: Mask = unassigned & (parotid | submandibular)
    return glands & (images.smooth_hu > -40) & (images.smooth_hu < 150)


def find_vertebrae(images: AlignedImages) -> Mask:
    """Vertebral bodies: dense tissue in a cylinder of about 4 cm around the middle of the spine."""
    inside = (images.left_mm() / 22) ** 2 + (images.posterior_mm() / 18) ** 2 < 1
    return np.asarray(inside & (images.bone | (images.smooth_hu > _VERTEBRA_HU)) & images.has_spine[:, None, None])
