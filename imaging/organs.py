"""Organs of a whole-body FDG PET/CT, by rules on the coarse grid of `imaging.anatomy`.

What a reader needs to tell physiological uptake from lesions and to say where a lesion lies. Anatomical rules only
(lungs, skeleton, diaphragm, density, uptake), no machine learning; an organ outside the scan or not recognised is
absent from the result, never guessed. Not a segmentation to measure volumes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import numpy as np

from imaging.abdomen import (
    find_bladder,
    find_bowel,
    find_kidney,
    find_liver,
    find_spleen,
    find_ureter,
    liver_seeds,
)
from imaging.anatomy import LEFT, RIGHT, anatomy_of
from imaging.chest import find_aorta, find_heart
from imaging.coarse import voxels
from imaging.head import find_salivary_glands, find_vertebrae
from imaging.landmarks import Landmarks, find_landmarks
from imaging.scene import scene_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from imaging.coarse import Mask
    from imaging.scene import Scene
    from imaging.volume import Volume

ORGANS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "brain": 1,
        "salivary_glands": 2,
        "heart": 3,
        "aorta": 4,
        "liver": 5,
        "spleen": 6,
        "kidney_right": 7,
        "kidney_left": 8,
        "ureter_right": 9,
        "ureter_left": 10,
        "bladder": 11,
        "bowel": 12,
        "bone": 13,
        "marrow": 14,
        "lung_right": 15,
        "lung_left": 16,
    }
)
_LEAST_ABDOMEN_MM = 70.0  # scanned under the diaphragm; with less the dome of the liver would pass for other organs


@dataclass(frozen=True, eq=False)
class Organs:
    """Organs of a study.

    Attributes:
        labels: uint8 values of `ORGANS` on the grid of `anatomy_of(ct)`, 0 elsewhere.
        landmarks: heights of parts of the body.
    """

    labels: Volume
    landmarks: Landmarks

    def mask(self, name: str) -> Mask:
        """Where an organ lies, shape of `labels`; empty where it was not recognised."""
        return np.asarray(self.labels.array == ORGANS[name])


_known: WeakKeyDictionary[Volume, tuple[Volume, Organs]] = WeakKeyDictionary()


def organs_of(ct: Volume, pet: Volume) -> Organs:
    """Organs of a CT in HU and a PET in SUV; found once for each pair in memory."""
    known = _known.get(ct)
    if known is None or known[0] is not pet:
        known = pet, _find(ct, pet)
        _known[ct] = known
    return known[1]


def _find(ct: Volume, pet: Volume) -> Organs:
    anatomy = anatomy_of(ct)
    scene = scene_of(anatomy, pet)
    landmarks = find_landmarks(scene)
    labels = np.zeros(anatomy.ct.shape, np.uint8)
    labels[scene.box] = _paint(scene, landmarks)
    return Organs(anatomy.ct.like(labels, "label"), landmarks)


def _paint(scene: Scene, landmarks: Landmarks) -> NDArray[np.uint8]:
    """Organs one after the other, the surest first; none takes what another has."""
    labels = np.zeros(scene.hu.shape, np.uint8)

    def paint(name: str, mask: Mask) -> None:
        labels[mask & (labels == 0)] = ORGANS[name]

    def free() -> Mask:
        return np.asarray(scene.body & (labels == 0))

    paint("lung_right", scene.lungs == RIGHT)
    paint("lung_left", scene.lungs == LEFT)
    paint("brain", scene.brain)
    paint("marrow", find_vertebrae(scene))
    paint("bone", scene.bone)
    seeds = liver_seeds(scene, free())
    liver_suv = float(np.percentile(scene.suv[seeds], 25)) if seeds.any() else 2.0
    paint("aorta", find_aorta(scene, free()))
    paint("heart", find_heart(scene, free()))
    liver = find_liver(scene, seeds, free())
    paint("liver", liver)
    paint("spleen", find_spleen(scene, free()))
    shallow = landmarks.diaphragm is not None and landmarks.diaphragm < voxels(_LEAST_ABDOMEN_MM)
    kidneys = {
        side: find_kidney(scene, free() & (not shallow), side=side, liver_suv=liver_suv, lowest=landmarks.sacrum)
        for side in (RIGHT, LEFT)
    }
    paint("kidney_right", kidneys[RIGHT])
    paint("kidney_left", kidneys[LEFT])
    bladder = find_bladder(scene, free(), bottom=landmarks.symphysis)
    paint("bladder", bladder)
    paint("ureter_right", find_ureter(scene, kidneys[RIGHT], bladder, side=RIGHT))
    paint("ureter_left", find_ureter(scene, kidneys[LEFT], bladder, side=LEFT))
    if liver.any() or not shallow:
        paint("bowel", find_bowel(scene, free(), bottom=landmarks.symphysis))
    paint("salivary_glands", find_salivary_glands(scene, free()))
    return labels
