"""Organs of a whole-body FDG PET/CT, by rules on the coarse grid of `fedpet.imaging.anatomy.body`.

Enough to distinguish physiological uptake from lesions and to say where a lesion lies. Anatomical rules only (lungs,
skeleton, diaphragm, density, uptake), no machine learning; an organ outside the scan or not recognised is absent from
the result, never guessed. Not a segmentation to measure volumes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fedpet.imaging.anatomy.body import LEFT, RIGHT
from fedpet.imaging.anatomy.morphology import voxels
from fedpet.imaging.anatomy.organ_segmentation import OrganSegmentation, OrganSource
from fedpet.imaging.anatomy.rules.abdomen import (
    find_bladder,
    find_bowel,
    find_kidney,
    find_kidney_in_liver,
    find_liver,
    find_spleen,
    find_ureter,
    liver_seeds,
)
from fedpet.imaging.anatomy.rules.chest import find_aorta, find_heart
from fedpet.imaging.anatomy.rules.head_and_spine import find_salivary_glands, find_vertebrae
from fedpet.imaging.anatomy.structures import STRUCTURES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpet.imaging.anatomy.aligned_images import AlignedImages
    from fedpet.imaging.anatomy.body import BodySegmentation
    from fedpet.imaging.anatomy.landmarks import Landmarks
    from fedpet.imaging.anatomy.morphology import Mask

KNOWN = frozenset(
    {
        "brain", "salivary_glands", "heart", "aorta", "liver", "spleen", "kidney_right", "kidney_left", "ureter_right",
        "ureter_left", "bladder", "bowel", "bone", "marrow", "lung_right", "lung_left",
    }
)  # fmt: skip
_MIN_ABDOMEN_MM = (
    70.0  # scanned below the diaphragm; with less the dome of the liver would be mistaken for other organs
)


def segment_by_rules(body: BodySegmentation, images: AlignedImages, landmarks: Landmarks) -> OrganSegmentation:
    """Segment organs.

    Args:
        body: of the CT.
        images: of the same CT, with the PET in SUV.
        landmarks: of the same images.

    Returns:
        On the grid of `BodySegmentation.ct`.
    """
    labels = np.zeros(body.ct.shape, np.uint8)
    labels[images.box] = _label_organs(images, landmarks)
    return OrganSegmentation(body.ct.like(labels, "label"), OrganSource.RULES, known=KNOWN)


def _label_organs(images: AlignedImages, landmarks: Landmarks) -> NDArray[np.uint8]:
    """Assign voxels to one organ after the other, the most reliable first; no organ takes a voxel of another."""
    labels = np.zeros(images.hu.shape, np.uint8)

    def assign(name: str, mask: Mask) -> None:
        labels[mask & (labels == 0)] = STRUCTURES[name].number

    def unassigned() -> Mask:
        return np.asarray(images.body & (labels == 0))

    assign("lung_right", images.lungs == RIGHT)
    assign("lung_left", images.lungs == LEFT)
    assign("brain", images.brain)
    assign("marrow", find_vertebrae(images))
    assign("bone", images.bone)
    seeds = liver_seeds(images, unassigned())
    liver_suv = float(np.percentile(images.suv[seeds], 25)) if seeds.any() else 2.0
    assign("aorta", find_aorta(images, unassigned()))
    assign("heart", find_heart(images, unassigned()))
    liver = find_liver(images, seeds, unassigned())
    assign("liver", liver)
    assign("spleen", find_spleen(images, unassigned()))
    shallow = landmarks.diaphragm is not None and landmarks.diaphragm < voxels(_MIN_ABDOMEN_MM)
    kidneys = {
        side: find_kidney(images, unassigned() & (not shallow), side=side, liver_suv=liver_suv, lowest=landmarks.sacrum)
        for side in (RIGHT, LEFT)
    }
    if not kidneys[RIGHT].any() and kidneys[LEFT].any():
        kidneys[RIGHT] = find_kidney_in_liver(images, liver, kidneys[LEFT], liver_suv)
        labels[kidneys[RIGHT]] = 0
    assign("kidney_right", kidneys[RIGHT])
    assign("kidney_left", kidneys[LEFT])
    bladder = find_bladder(images, unassigned(), bottom=landmarks.symphysis)
    assign("bladder", bladder)
    assign("ureter_right", find_ureter(images, kidneys[RIGHT], bladder, side=RIGHT))
    assign("ureter_left", find_ureter(images, kidneys[LEFT], bladder, side=LEFT))
    if liver.any() or not shallow:
        assign("bowel", find_bowel(images, unassigned(), bottom=landmarks.symphysis))
    assign("salivary_glands", find_salivary_glands(images, unassigned()))
    return labels
