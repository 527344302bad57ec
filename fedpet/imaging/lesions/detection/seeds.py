"""Where foci are looked for: from a lower SUV than the one that outlines them, and higher in tissue that is hotter.

1.5 x mean of the liver, but 2.5 at least and 3 at most. In an organ with uptake of its own, only what stands out from
it; in brain, heart and urinary tract nothing below the threshold. Whatever exceeds the threshold is a candidate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fedpet.imaging.anatomy.structures import GROUPS, STRUCTURES
from fedpet.imaging.lesions.detection.foci import bone_uptake, organ_uptake
from fedpet.imaging.resampling import Grid, resample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy
    from fedpet.imaging.volume import Volume

_LIVER_TIMES, _LOWEST, _HIGHEST = 1.5, 2.5, 3.0
MARROW_TIMES = 1.4  # of the high uptake of marrow, from which uptake in bone is looked at
_BOWEL_TIMES = 1.5
_SILENT = ("brain", "heart", "kidney_right", "kidney_left", "bladder", "ureters", "salivary_glands", "tonsils")


def candidate_voxels(pet: Volume, anatomy: PatientAnatomy | None, threshold: float) -> NDArray[np.bool_]:
    """Voxels that may belong to a focus.

    Args:
        pet: SUVbw, g/ml.
        anatomy: of the same PET and its CT; None without a CT: then only the threshold counts, since next to no
            physiological uptake is recognised there.
        threshold: SUV that outlines.

    Returns:
        Shape of the PET.
    """
    hot: NDArray[np.bool_] = pet.array >= threshold
    if anatomy is None:
        return hot
    seeds = resample(
        anatomy.organs.labels.like(_seed_of_label(anatomy)[anatomy.organs.labels.array], "g/ml"),
        Grid.of(pet),
        interpolation="nearest",
        outside=_HIGHEST,
    )
    return np.asarray(hot | (pet.array >= np.minimum(seeds.array, threshold)))


def _seed_of_label(anatomy: PatientAnatomy) -> NDArray[np.float32]:
    """SUV from which a focus is looked at, by label of the organs."""
    liver = anatomy.references.liver
    seed = _HIGHEST if liver is None else min(max(_LIVER_TIMES * liver.suv_mean, _LOWEST), _HIGHEST)
    seeds = np.full(256, seed, np.float32)

    def set_for(names: tuple[str, ...], suv: float) -> None:
        for name in names:
            for one in GROUPS.get(name, (name,)):
                seeds[STRUCTURES[one].number] = max(suv, seed)

    set_for(_SILENT, np.inf)
    for organ in ("liver", "spleen"):
        if (uptake := organ_uptake(anatomy, organ)) is not None:
            set_for((organ,), uptake.focal_threshold)
    if (uptake := organ_uptake(anatomy, "bowel")) is not None:
        set_for(("bowel",), _BOWEL_TIMES * uptake.high)
    if (uptake := bone_uptake(anatomy)) is not None:
        set_for(("bone", "marrow"), MARROW_TIMES * uptake.high)
    return seeds
