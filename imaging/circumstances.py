"""Checks of circumstances that can falsify a PET/CT although every image is there.

Arms beside the trunk, contrast medium on the CT, tracer left at the injection site, active brown fat, a large effusion.
Each is judged only where what it needs was scanned; each warns, none fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fedpet.messages import Message
from imaging.anatomy import LEFT, RIGHT, anatomy_of
from imaging.coarse import COARSE_MM, VOXEL_ML, components, dilated, eroded, voxels
from imaging.organs import organs_of
from imaging.scene import scene_of
from imaging.study import Level, QualityCheck

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imaging.coarse import Mask
    from imaging.landmarks import Landmarks
    from imaging.organs import Organs
    from imaging.scene import Scene
    from imaging.volume import Volume


_ARM_MM = 35.0  # beyond the ribs
_ARM_CM2 = 1.0  # of bone
_CONTRAST_HU = 130.0  # of the aorta; blood without contrast medium has 30 to 60
_EXTRAVASATION_SUV, _EXTRAVASATION_ML = 8.0, 0.5
_BROWN_SUV, _BROWN_ML, _BROWN_SHARE = 2.5, 2.0, 0.5
_FAT_HU = -150.0, -30.0
_FLUID_HU = -15.0, 30.0
_EFFUSION_ML = 150.0


def circumstance_checks(pet: Volume, ct: Volume) -> list[QualityCheck]:
    """What can be judged of "arms", "contrast_ct", "effusion" and, with SUV, "extravasation" and "brown_fat"."""
    scene, organs = scene_of(anatomy_of(ct), pet), organs_of(ct, pet)
    found = [_contrast(organs, scene)]
    if scene.floor is not None:
        found += [_arms(scene, organs.landmarks), _effusion(scene, organs)]
        if pet.unit == "g/ml":
            found += [_extravasation(scene, organs.landmarks), _brown_fat(scene, organs.landmarks)]
    return [check for check in found if check is not None]


def _contrast(organs: Organs, scene: Scene) -> QualityCheck | None:
    """Density in the middle of the thoracic aorta; in the abdomen its place is less sure."""
    inside = eroded(organs.mask("aorta")[scene.box], (1, 3, 3))
    inside[: int(organs.landmarks.diaphragm or 0)] = False
    if inside.sum() < voxels(100):
        return None
    hu = float(np.median(scene.hu[inside]))
    if hu > _CONTRAST_HU:
        reason = Message(
            "The CT has contrast medium (aorta {hu:.0f} HU): SUV can be too high by some percent where it is dense.",
            hu=hu,
        )
        return QualityCheck("contrast_ct", Level.WARN, reason)
    return QualityCheck(
        "contrast_ct", Level.PASS, Message("The CT is without contrast medium (aorta {hu:.0f} HU).", hu=hu)
    )


def _arms(scene: Scene, landmarks: Landmarks) -> QualityCheck | None:
    """Bone beside the ribs over most of the 15 cm under the diaphragm."""
    if landmarks.diaphragm is None:
        return None
    levels = slice(max(int(landmarks.diaphragm) - voxels(150), 0), int(landmarks.diaphragm))
    beyond = np.abs(scene.left()) > _half_chest(scene) + _ARM_MM
    area = (scene.bone & beyond)[levels].sum(axis=(1, 2)) * COARSE_MM**2 / 100
    if len(area) < voxels(60):
        return None
    if np.mean(area >= _ARM_CM2) >= 0.5:
        reason = Message("The arms lie beside the trunk: streaks on the CT and movement can falsify SUV there.")
        return QualityCheck("arms", Level.WARN, reason)
    return QualityCheck("arms", Level.PASS, Message("The arms do not lie beside the trunk."))


def _half_chest(scene: Scene) -> float:
    """Largest distance of the lungs from the middle, mm."""
    return float((np.abs(scene.left()) * (scene.lungs > 0).any(axis=1, keepdims=True)).max())


def _effusion(scene: Scene, organs: Organs) -> QualityCheck:
    """Fluid in the back of one side of the chest where the other side has lung."""
    free = (organs.labels.array[scene.box] == 0) & scene.body & (scene.behind() > -60)
    fluid = free & (scene.smooth > _FLUID_HU[0]) & (scene.smooth < _FLUID_HU[1])
    most, worst = 0.0, RIGHT
    for side in (RIGHT, LEFT):
        other = _mirrored(scene.lungs == (LEFT if side == RIGHT else RIGHT), scene.spine_column)
        volume = float((fluid & other & (scene.lungs == 0)).sum() * VOXEL_ML)
        if volume > most:
            most, worst = volume, side
    if most >= _EFFUSION_ML:
        name = Message("right lung") if worst == RIGHT else Message("left lung")
        reason = Message("About {ml:.0f} ml of fluid take the place of lung ({side}).", ml=most, side=name)
        return QualityCheck("effusion", Level.WARN, reason)
    return QualityCheck("effusion", Level.PASS, Message("No large one-sided effusion was seen."))


def _mirrored(mask: Mask, middle: NDArray[np.float64]) -> Mask:
    """A mask mirrored about the patient's middle, slice by slice."""
    columns = np.rint(2 * middle[:, None] - np.arange(mask.shape[2])).astype(int)
    inside = (columns >= 0) & (columns < mask.shape[2])
    taken = np.take_along_axis(mask, np.clip(columns, 0, mask.shape[2] - 1)[:, None, :], axis=2)
    return np.asarray(taken & inside[:, None, :])


def _extravasation(scene: Scene, landmarks: Landmarks) -> QualityCheck | None:
    """The hottest place in parts of axial sections that lie apart from the trunk and the head."""
    labels, sizes = components(scene.body, in_plane=True)
    central = np.zeros(len(sizes), bool)
    central[np.unique(labels[np.broadcast_to(np.abs(scene.left()) < 60, labels.shape)])] = True
    arms = ~central[labels] & (scene.level() > (landmarks.symphysis or 0))
    if arms.sum() * VOXEL_ML < 100:
        return None
    hot, volumes = components(arms & (scene.suv > _EXTRAVASATION_SUV))
    if volumes.max() * VOXEL_ML >= _EXTRAVASATION_ML:
        reason = Message(
            "Very high uptake in an arm (SUV {suv:.0f}): if the tracer was injected there, SUV is too low elsewhere.",
            suv=float(scene.suv[hot == volumes.argmax()].max()),
        )
        return QualityCheck("extravasation", Level.WARN, reason)
    return QualityCheck(
        "extravasation", Level.PASS, Message("No very high uptake in the parts of the arms that were scanned.")
    )


def _brown_fat(scene: Scene, landmarks: Landmarks) -> QualityCheck | None:
    """Uptake above both lungs that lies mostly in fat."""
    if landmarks.apex is None:
        return None
    level, aside = scene.level(), np.abs(scene.left())
    place = (level > landmarks.apex - voxels(30)) & (level < landmarks.apex + voxels(70)) & (aside > 20) & (aside < 120)
    place = place & eroded(scene.body, 5) & ~dilated(scene.lungs > 0, 5) & ~scene.bone & ~scene.brain
    hot = place & (scene.suv > _BROWN_SUV)
    fat = hot & (scene.smooth > _FAT_HU[0]) & (scene.smooth < _FAT_HU[1])
    sides = [np.broadcast_to(scene.left() * sign > 0, hot.shape) for sign in (-1, 1)]
    volumes = [float((fat & side).sum() * VOXEL_ML) for side in sides]
    mostly = all(fat[side].sum() >= _BROWN_SHARE * max(int(hot[side].sum()), 1) for side in sides)
    if min(volumes) >= _BROWN_ML and mostly:
        reason = Message(
            "Uptake in fat above both lungs ({right:.0f} ml right, {left:.0f} ml left): brown fat, not nodes.",
            right=volumes[0],
            left=volumes[1],
        )
        return QualityCheck("brown_fat", Level.WARN, reason)
    return QualityCheck("brown_fat", Level.PASS, Message("No uptake of brown fat was seen above the lungs."))
