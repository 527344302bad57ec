"""Checks for pitfalls that can bias a PET/CT although every image is there.

Arms beside the trunk, contrast medium on the CT, extravasation at the injection site, active brown fat, a large
effusion. Each is checked only where the necessary part of the body was scanned; each warns, and an extravasation of a
measurable part of the dose fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from fedpet.core.messages import Message
from fedpet.imaging.anatomy.body import LEFT, RIGHT
from fedpet.imaging.anatomy.morphology import GRID_MM, VOXEL_ML, components, dilate, erode, voxels
from fedpet.imaging.study import CheckStatus, QualityCheck

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpet.imaging.anatomy.aligned_images import AlignedImages
    from fedpet.imaging.anatomy.landmarks import Landmarks
    from fedpet.imaging.anatomy.morphology import Mask
    from fedpet.imaging.anatomy.organ_segmentation import OrganSegmentation
    from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy


_ARM_MM = 35.0  # distance from the ribs
_ARM_CM2 = 1.0  # area of bone in an axial slice
_CONTRAST_HU = 130.0  # density of the aorta; blood without contrast medium has 30 to 60
_EXTRAVASATION_SUV, _EXTRAVASATION_ML = 8.0, 0.5
_EXTRAVASATION_SHARE, _SPILL_SUV = 0.03, 15.0  # of the injected activity, in foci hotter than that
_BESIDE_HEAD_MM, _BESIDE_RIBS_MM = 70.0, 20.0  # from the midline above the lungs; beyond the lungs elsewhere
_BROWN_SUV, _BROWN_ML, _FAT_SHARE = 2.5, 2.0, 0.5
_FAT_HU = -150.0, -30.0
_FLUID_HU = -15.0, 30.0
_EFFUSION_ML = 150.0


def pitfall_checks(anatomy: PatientAnatomy, weight_kg: float | None = None) -> list[QualityCheck]:
    """Check for every pitfall that can be judged.

    Args:
        anatomy: of the patient; a PET without SUV (unit "stored") leaves out the checks of uptake.
        weight_kg: as used for the SUV; None where missing.

    Returns:
        Those of "contrast_ct", "arms", "effusion", "extravasation" and "brown_fat" that can be judged.
    """
    images, organs, landmarks = anatomy.images, anatomy.organs, anatomy.landmarks
    checks = [_contrast(organs, images, landmarks)]
    if images.lung_base is not None:
        checks += [_arms(images, landmarks), _effusion(images, organs)]
        if anatomy.pet.unit == "g/ml":
            checks += [extravasation_check(anatomy, weight_kg), _brown_fat(images, landmarks)]
    return [check for check in checks if check is not None]


def _contrast(organs: OrganSegmentation, images: AlignedImages, landmarks: Landmarks) -> QualityCheck | None:
    """Density in the middle of the thoracic aorta; in the abdomen its position is less certain."""
    inside = erode(organs.mask("aorta")[images.box], (1, 3, 3))
    inside[: int(landmarks.diaphragm or 0)] = False
    if inside.sum() < voxels(100):
        return None
    hu = float(np.median(images.hu[inside]))
    if hu > _CONTRAST_HU:
        reason = Message(
            "The CT has contrast medium (aorta {hu:.0f} HU): SUV can be a few percent too high where it is dense.",
            hu=hu,
        )
        return QualityCheck("contrast_ct", CheckStatus.WARN, reason)
    return QualityCheck(
        "contrast_ct", CheckStatus.PASS, Message("The CT is without contrast medium (aorta {hu:.0f} HU).", hu=hu)
    )


def _arms(images: AlignedImages, landmarks: Landmarks) -> QualityCheck | None:
    """Bone beside the ribs over most of the 15 cm below the diaphragm."""
    if landmarks.diaphragm is None:
        return None
    levels = slice(max(int(landmarks.diaphragm) - voxels(150), 0), int(landmarks.diaphragm))
    beside_ribs = np.abs(images.left_mm()) > _half_chest_mm(images) + _ARM_MM
    area = (images.bone & beside_ribs)[levels].sum(axis=(1, 2)) * GRID_MM**2 / 100
    if len(area) < voxels(60):
        return None
    if np.mean(area >= _ARM_CM2) >= 0.5:
        reason = Message("The arms lie beside the trunk: streaks on the CT and motion can distort SUV there.")
        return QualityCheck("arms", CheckStatus.WARN, reason)
    return QualityCheck("arms", CheckStatus.PASS, Message("The arms do not lie beside the trunk."))


def _half_chest_mm(images: AlignedImages) -> float:
    """Largest distance of the lungs from the midline, mm."""
    return float((np.abs(images.left_mm()) * (images.lungs > 0).any(axis=1, keepdims=True)).max())


def _effusion(images: AlignedImages, organs: OrganSegmentation) -> QualityCheck:
    """Fluid in the posterior chest of one side where the other side has lung."""
    unassigned = (organs.labels.array[images.box] == 0) & images.body & (images.posterior_mm() > -60)
    fluid = unassigned & (images.smooth_hu > _FLUID_HU[0]) & (images.smooth_hu < _FLUID_HU[1])
    largest, side_of_largest = 0.0, RIGHT
    for side in (RIGHT, LEFT):
        mirrored_lung = _mirrored(images.lungs == (LEFT if side == RIGHT else RIGHT), images.midline)
        volume = float((fluid & mirrored_lung & (images.lungs == 0)).sum() * VOXEL_ML)
        if volume > largest:
            largest, side_of_largest = volume, side
    if largest >= _EFFUSION_ML:
        name = Message("right lung") if side_of_largest == RIGHT else Message("left lung")
        reason = Message("About {ml:.0f} ml of fluid take the place of lung ({side}).", ml=largest, side=name)
        return QualityCheck("effusion", CheckStatus.WARN, reason)
    return QualityCheck("effusion", CheckStatus.PASS, Message("No large one-sided effusion was seen."))


def _mirrored(mask: Mask, midline: NDArray[np.float64]) -> Mask:
    """A mask mirrored about the midline, slice by slice."""
    columns = np.rint(2 * midline[:, None] - np.arange(mask.shape[2])).astype(int)
    inside = (columns >= 0) & (columns < mask.shape[2])
    mirrored = np.take_along_axis(mask, np.clip(columns, 0, mask.shape[2] - 1)[:, None, :], axis=2)
    return np.asarray(mirrored & inside[:, None, :])


def extravasation_check(anatomy: PatientAnatomy, weight_kg: float | None) -> QualityCheck | None:
    """Look for activity that stayed in an arm; None where no arm was scanned.

    Args:
        anatomy: of the patient.
        weight_kg: as used for the SUV, of which the share of the dose follows; None where missing.
    """
    images = anatomy.images
    share, suv = (0.0, 0.0) if not weight_kg else _share_in_arms(anatomy, weight_kg)
    if share >= _EXTRAVASATION_SHARE:
        reason = Message(
            "About {percent:.0f} % of the injected activity lies in an arm (SUV up to {suv:.0f}): it was injected "
            "beside the vein. Every other SUV is too low by at least as much; repeat the examination.",
            percent=100 * share,
            suv=suv,
        )
        return QualityCheck("extravasation", CheckStatus.FAIL, reason)
    labels, sizes = components(images.body, in_plane=True)
    central_part = np.zeros(len(sizes), bool)
    central_part[np.unique(labels[np.broadcast_to(np.abs(images.left_mm()) < 60, labels.shape)])] = True
    arms = ~central_part[labels] & (images.level() > (anatomy.landmarks.symphysis or 0))
    if arms.sum() * VOXEL_ML < 100:
        return None
    hot, volumes = components(arms & (images.suv > _EXTRAVASATION_SUV))
    if volumes.max() * VOXEL_ML >= _EXTRAVASATION_ML:
        reason = Message(
            "Very high uptake in an arm (SUV {suv:.0f}): if the tracer was injected there, SUV is too low elsewhere.",
            suv=float(images.suv[hot == volumes.argmax()].max()),
        )
        return QualityCheck("extravasation", CheckStatus.WARN, reason)
    return QualityCheck(
        "extravasation", CheckStatus.PASS, Message("No very high uptake in the parts of the arms that were scanned.")
    )


def _share_in_arms(anatomy: PatientAnatomy, weight_kg: float) -> tuple[float, float]:
    """Share of the injected activity in the largest very hot focus beside neck, head and ribs; and its highest SUV.

    SUVbw times ml over the body weight in grams is a share of the activity that was injected, decay corrected. Foci
    are looked for on the whole PET: the CT may not show the arms.
    """
    images, suv = anatomy.images, np.nan_to_num(anatomy.suv)
    labels, sizes = components(suv > _SPILL_SUV)
    if not sizes.any():
        return 0.0, 0.0
    number = np.arange(1, len(sizes))
    activity = ndimage.sum(suv, labels, number) * VOXEL_ML / (weight_kg * 1000)
    apex = anatomy.landmarks.apex
    midline, chest = anatomy.body.midline, _half_chest_mm(images)
    for part in number[np.argsort(-activity)]:
        level, _, column = np.nonzero(labels == part)
        lateral = float(np.median(np.abs(column - midline[level]))) * GRID_MM
        above = apex is not None and float(np.median(level)) > apex
        if lateral > (_BESIDE_HEAD_MM if above else chest + _BESIDE_RIBS_MM):
            return float(activity[part - 1]), float(suv[labels == part].max())
    return 0.0, 0.0


def _brown_fat(images: AlignedImages, landmarks: Landmarks) -> QualityCheck | None:
    """Uptake above both lungs, mostly in fat."""
    if landmarks.apex is None:
        return None
    level, lateral = images.level(), np.abs(images.left_mm())
    region = (
        (level > landmarks.apex - voxels(30)) & (level < landmarks.apex + voxels(70)) & (lateral > 20) & (lateral < 120)
    )
    region = region & erode(images.body, 5) & ~dilate(images.lungs > 0, 5) & ~images.bone & ~images.brain
    hot = region & (images.suv > _BROWN_SUV)
    fat = hot & (images.smooth_hu > _FAT_HU[0]) & (images.smooth_hu < _FAT_HU[1])
    sides = [np.broadcast_to(images.left_mm() * sign > 0, hot.shape) for sign in (-1, 1)]
    volumes = [float((fat & side).sum() * VOXEL_ML) for side in sides]
    mostly_fat = all(fat[side].sum() >= _FAT_SHARE * max(int(hot[side].sum()), 1) for side in sides)
    if min(volumes) >= _BROWN_ML and mostly_fat:
        reason = Message(
            "Uptake in fat above both lungs ({right:.0f} ml right, {left:.0f} ml left): brown fat, not nodes.",
            right=volumes[0],
            left=volumes[1],
        )
        return QualityCheck("brown_fat", CheckStatus.WARN, reason)
    return QualityCheck("brown_fat", CheckStatus.PASS, Message("No uptake of brown fat was seen above the lungs."))
