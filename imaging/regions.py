"""In which part of the body a lesion lies, read automatically from the CT.

Rules on lungs, skeleton and organs found on a coarse grid, at the level that a report needs: a help to find a lesion on
the images, to be confirmed by the reader, and never an input of the model. Each voxel of a lesion votes; the voxels
around it tell a lesion of the lung (mostly air around) from one beside it.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np

from fedpet.messages import Message
from imaging.anatomy import anatomy_of
from imaging.atlas import Atlas
from imaging.organs import organs_of
from imaging.places import bone_part, in_column, in_head, soft_part

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from imaging.volume import Volume

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
_BONE_SHARE, _BONE_SHARE_FILLED = 0.15, 0.5  # of dense voxels; of voxels in bone or its marrow
_BONE_AROUND = 0.22  # of the layer around a lesion that took the place of bone


def lesion_regions(labels: Volume, ct: Volume | None, pet: Volume) -> dict[int, str]:
    """Region (a key of `REGIONS`) of every lesion number in `labels`; "unknown" without a CT or landmarks."""
    index = np.argwhere(labels.array)
    numbers = labels.array[tuple(index.T)]
    ids = [int(number) for number in np.unique(numbers)]
    if ct is None or not ids:
        return dict.fromkeys(ids, "unknown")
    atlas = Atlas(anatomy_of(ct), organs_of(ct, pet))
    points = labels.to_mm(index.astype(float))
    places = np.rint(atlas.anatomy.ct.to_index(points)).astype(int)
    within = ((places >= 0) & (places < atlas.anatomy.body.shape)).all(axis=1)
    hu = _nearest(ct, points)
    return {number: _region(places[one], hu[one], atlas) if (one := (numbers == number) & within).any() else "unknown"
            for number in ids}  # fmt: skip


def _region(places: NDArray[np.int_], hu: Floats, atlas: Atlas) -> str:
    """Region of one lesion from its voxels' places (n, 3) in the coarse CT and their HU (n,)."""
    spots = atlas.spots(places)
    air, bone = atlas.around(places)
    solid = spots.within("bone") | spots.within("marrow") | in_column(spots, atlas)
    dense = hu > _BONE_HU
    replaced = bone >= _BONE_AROUND and not in_head(spots, atlas).any()
    if dense.mean() >= _BONE_SHARE or solid.mean() >= _BONE_SHARE_FILLED or replaced:
        parts = bone_part(spots, atlas)
        return _most(parts[solid | dense] if (solid | dense).any() else parts)
    return _most(soft_part(spots, atlas, air=air))


def _most(votes: NDArray[np.str_]) -> str:
    """The most frequent key."""
    keys, counts = np.unique(votes, return_counts=True)
    return str(keys[counts.argmax()])


def _nearest(ct: Volume, points: Floats) -> Floats:
    """HU of the nearest voxel of each point (n, 3); outside the CT, air."""
    voxels = np.rint(ct.to_index(points)).astype(int)
    inside = ((voxels >= 0) & (voxels < ct.shape)).all(axis=1)
    hu = np.full(len(points), -1024.0)
    hu[inside] = ct.array[tuple(voxels[inside].T)]
    return hu
