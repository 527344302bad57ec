"""Salivary glands and vertebral bodies: rules on place and density."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from imaging.coarse import COARSE_MM

if TYPE_CHECKING:
    from imaging.coarse import Mask
    from imaging.scene import Scene


_VERTEBRA_HU = 90.0  # mean over 12 mm


def find_salivary_glands(scene: Scene, free: Mask) -> Mask:
    """Soft tissue at the place of the parotid and submandibular glands, measured from the base of the brain."""
    if not scene.brain.any():
        return np.zeros_like(free)
    levels, rows, columns = np.nonzero(scene.brain)
    up = (scene.level() - levels.min()) * COARSE_MM
    back = ((np.arange(free.shape[1]) - rows.mean()) * COARSE_MM)[None, :, None]
    aside = np.abs((np.arange(free.shape[2]) - columns.mean()) * COARSE_MM)[None, None, :]
    parotid = (up > -70) & (up < 5) & (aside > 38) & (aside < 75) & (back > -45) & (back < 25)
    submandibular = (up > -95) & (up < -25) & (aside > 12) & (aside < 45) & (back > -75) & (back < -10)
    glands: Mask = free & (parotid | submandibular)
    return glands & (scene.smooth > -40) & (scene.smooth < 150)


def find_vertebrae(scene: Scene) -> Mask:
    """Vertebral bodies: dense tissue in a cylinder of 4 cm around the middle of the spine."""
    inside = (scene.left() / 22) ** 2 + (scene.behind() / 18) ** 2 < 1
    return np.asarray(inside & (scene.bone | (scene.smooth > _VERTEBRA_HU)) & scene.has_spine[:, None, None])
