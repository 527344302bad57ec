"""In which region of the body a lesion lies, read automatically from the CT.

Rules on lungs, skeleton and organs found on a coarse grid, as detailed as a report needs: they help to find a lesion on
the images, are to be confirmed by the reader, and are never an input of the model. Each voxel of a lesion votes; the
voxels around it distinguish a lesion of the lung (mostly air around it) from one next to the lung.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np

from fedpet.core.messages import Message
from fedpet.imaging.anatomy.region_rules import bone_region, in_column, in_head, soft_tissue_region
from fedpet.imaging.resampling import sample_nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy
    from fedpet.imaging.anatomy.region_features import RegionFeatureExtractor
    from fedpet.imaging.volume import Volume

    Floats = NDArray[np.float64]

REGIONS: Final[Mapping[str, Message]] = MappingProxyType(
    {
        "brain": Message("brain"),
        "head_neck": Message("head or neck"),
        "neck": Message("neck"),
        "supraclavicular_right": Message("right supraclavicular region"),
        "supraclavicular_left": Message("left supraclavicular region"),
        "axilla_right": Message("right axilla"),
        "axilla_left": Message("left axilla"),
        "lung_right": Message("right lung"),
        "lung_right_upper": Message("right lung, upper third"),
        "lung_right_lower": Message("right lung, lower third"),
        "lung_left": Message("left lung"),
        "lung_left_upper": Message("left lung, upper third"),
        "lung_left_lower": Message("left lung, lower third"),
        "hilum_right": Message("right hilum"),
        "hilum_left": Message("left hilum"),
        "mediastinum": Message("mediastinum"),
        "heart": Message("heart or pericardium"),
        "chest_wall": Message("chest wall or pleura"),
        "liver": Message("liver region"),
        "spleen": Message("spleen"),
        "adrenal_right": Message("right adrenal region"),
        "adrenal_left": Message("left adrenal region"),
        "kidney_right": Message("right kidney"),
        "kidney_left": Message("left kidney"),
        "bowel": Message("stomach or bowel region"),
        "retroperitoneum": Message("retroperitoneum"),
        "abdomen": Message("abdomen"),
        "pelvis": Message("pelvis"),
        "abdomen_pelvis": Message("abdomen, pelvis or below"),
        "soft_tissue": Message("soft tissue of a limb or of the trunk's wall"),
        "bone": Message("bone"),
        "bone_skull": Message("skull or jaw"),
        "bone_spine_cervical": Message("cervical spine"),
        "bone_spine_thoracic": Message("thoracic spine"),
        "bone_spine_lumbar": Message("lumbar spine"),
        "bone_sternum": Message("sternum"),
        "bone_rib": Message("rib"),
        "bone_shoulder": Message("scapula or clavicle"),
        "bone_pelvis": Message("sacrum or pelvic bone"),
        "bone_femur": Message("femur"),
        "bone_humerus": Message("humerus or forearm"),
        "unknown": Message("region not determined"),
    }
)
_BONE_HU = 250.0
_BONE_SHARE, _BONE_SHARE_FILLED = 0.15, 0.5  # share of dense voxels; of voxels in bone or its marrow
_BONE_AROUND_SHARE = 0.22  # share of bone in the layer around a lesion that has replaced bone


def locate_lesions(labels: Volume, anatomy: PatientAnatomy | None) -> dict[int, str]:
    """Name the region of each lesion.

    Args:
        labels: lesion numbers, 0 is background; any grid.
        anatomy: of the patient; None without a CT.

    Returns:
        A key of `REGIONS` for every number in `labels`; "unknown" without a CT or without landmarks near the lesion.
    """
    index = np.argwhere(labels.array)
    numbers = labels.array[tuple(index.T)]
    ids = [int(number) for number in np.unique(numbers)]
    if anatomy is None or not ids:
        return dict.fromkeys(ids, "unknown")
    body, extractor = anatomy.body, anatomy.regions
    points = labels.to_mm(index.astype(float))
    voxels = np.rint(body.ct.to_index(points)).astype(int)
    inside = ((voxels >= 0) & (voxels < body.body.shape)).all(axis=1)
    hu = sample_nearest(anatomy.ct, points, outside=-1024.0)
    regions = dict.fromkeys(ids, "unknown")
    for number in ids:
        of_lesion = (numbers == number) & inside
        if of_lesion.any():
            regions[number] = _region_of(voxels[of_lesion], hu[of_lesion], extractor)
    return regions


def _region_of(voxels: NDArray[np.int_], hu: Floats, extractor: RegionFeatureExtractor) -> str:
    """Region of one lesion from its voxels of the coarse CT (n, 3) and their HU (n,)."""
    features = extractor.features_at(voxels)
    lung_around, bone_around = extractor.surroundings(voxels)
    solid = features.is_in("bone") | features.is_in("marrow") | in_column(features, extractor)
    dense = hu > _BONE_HU
    replaces_bone = bone_around >= _BONE_AROUND_SHARE and not in_head(features, extractor).any()
    in_bone = dense.mean() >= _BONE_SHARE or solid.mean() >= _BONE_SHARE_FILLED
    soft = "" if in_bone else _most_frequent(soft_tissue_region(features, extractor, air=lung_around))
    if in_bone or (replaces_bone and not soft.startswith("adrenal")):  # an adrenal gland lies beside the spine
        parts = bone_region(features, extractor)
        return _most_frequent(parts[solid | dense] if (solid | dense).any() else parts)
    return soft


def _most_frequent(votes: NDArray[np.str_]) -> str:
    """The key with the most votes."""
    keys, counts = np.unique(votes, return_counts=True)
    return str(keys[counts.argmax()])
