"""A lesion that merges with a hot organ, cut at the border of the organ.

Where a tumour touches hot myocardium, urine or cortex and is about as hot, no saddle of uptake lies between them: only
the organ's own outline tells where it ends. A lesion is cut where the organ is hot enough to be outlined with it,
where most of the lesion lies outside, and where it is no hotter than the organ; what lies within becomes a focus of the
organ. A hotter one is told by its uptake, and may lie where the outline of the organ is wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from fedpet.core.messages import Message
from fedpet.imaging.anatomy.morphology import bounding_box, erode
from fedpet.imaging.lesions.detection.uptake_classification import physiological
from fedpet.imaging.resampling import sample_nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy
    from fedpet.imaging.lesions.detection.uptake_classification import UptakeClassification

    Basins = NDArray[np.int32]
    Mask = NDArray[np.bool_]

_ORGANS: Final = {
    "heart": "heart", "bladder": "bladder", "kidney_right": "kidney", "kidney_left": "kidney", "brain": "brain",
}  # fmt: skip
_LEAST_ML, _MOST = 0.5, 0.5  # of a lesion within an organ: least volume, largest share
_NO_HOTTER = 1.4  # ratio of the lesion's maximum to the high uptake of the organ


def cut_at_organs(
    anatomy: PatientAnatomy, basins: Basins, classifications: Sequence[UptakeClassification], threshold: float
) -> tuple[Basins, list[UptakeClassification]]:
    """Cut the lesions at the borders of hot organs.

    Args:
        anatomy: of the patient, with the PET.
        basins: foci by number from 1, 0 is background, shape of the PET.
        classifications: of the foci, focus 1 first.
        threshold: SUV that outlines.

    Returns:
        The foci and their classifications; parts that were cut off follow, as uptake of their organ.
    """
    pet, found = anatomy.pet, list(classifications)
    index = np.argwhere((basins > 0) & (pet.array >= threshold))
    number = basins[tuple(index.T)]
    counted = np.array([False, *(one.lesion for one in found)])[number]
    index, number = index[counted], number[counted]
    points, size = pet.to_mm(index.astype(float)), np.bincount(number, minlength=len(found) + 1)
    hottest = np.zeros(len(size))
    np.maximum.at(hottest, number, pet.array[tuple(index.T)])
    cut = basins
    lesions = np.isin(basins, np.unique(number))
    for organ, site in _ORGANS.items():
        mask = anatomy.organs.mask(organ)
        if not len(index) or not mask.any():
            continue
        high = _high_uptake(anatomy, mask, lesions)
        if high < threshold:
            continue
        within = sample_nearest(anatomy.organs.labels.like(mask, "label"), points, outside=0.0) > 0
        inside = np.bincount(number[within], minlength=len(size))
        reaches = (inside * pet.voxel_ml >= _LEAST_ML) & (inside < _MOST * size)
        for basin in np.flatnonzero(reaches & (hottest <= _NO_HOTTER * high)):
            cut = cut.copy() if cut is basins else cut
            found.append(physiological(site, Message("cut at its border from a lesion that touches it.")))
            cut[tuple(index[within & (number == basin)].T)] = len(found)
    return cut, found


def _high_uptake(anatomy: PatientAnatomy, mask: Mask, lesions: Mask) -> float:
    """95th percentile of SUV in an organ outside of the lesions; 0 where nothing of it is left."""
    box = bounding_box(mask, margin=1)
    inside = np.argwhere(erode(mask[box], 3)) + [side.start for side in box]
    points = anatomy.organs.labels.to_mm(inside.astype(float))
    suv = sample_nearest(anatomy.pet, points, outside=0.0)
    suv = suv[sample_nearest(anatomy.pet.like(lesions, "label"), points, outside=0.0) == 0]
    return float(np.percentile(suv, 95.0)) if len(suv) else 0.0
