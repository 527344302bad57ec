"""Which way round the body lies: head up, face up, liver on the right, whatever the headers say.

Liver, heart, stomach and aorta vote for a side on the CT, liver, heart and aorta again on the PET, so that a PET
mirrored alone is told from a mirrored examination. The spine must lie behind the middle of the body, the head above
the lungs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fedpet.core.messages import Message
from fedpet.imaging.anatomy.body import LEFT, RIGHT
from fedpet.imaging.anatomy.morphology import GRID_MM, binary_opening, erode, voxels
from fedpet.imaging.quality.uptake_ranges import soft_tissue_uptake
from fedpet.imaging.study import CheckStatus, QualityCheck

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from fedpet.imaging.anatomy.aligned_images import AlignedImages
    from fedpet.imaging.anatomy.morphology import Mask
    from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy

ORIENTATION, SIDES = "orientation", "sides"
_SOFT_HU, _THICK_HU, _GAS_HU, _VESSEL_HU = -20.0, 220.0, -300.0, -60.0
_HOTTEST = 5.0  # relative to soft tissue
# What each sign measures in a body that lies as stated; half of it counts as a whole vote.
_CT_USUAL: Mapping[str, float] = {"liver": 0.7, "heart": 18.0, "stomach": 1.0, "aorta": 0.6, "diaphragm": 12.0}
_PET_USUAL: Mapping[str, float] = {"liver": 0.4, "heart": 20.0, "aorta": 0.16}
_DOUBT, _FAIL = 0.25, -0.25  # mean vote
_BEHIND_MM = 15.0  # of the spine behind the middle of the abdomen; about 45 in a body face up
_NECK_MM = 100.0
_LUNG_CM2 = 4.0  # least section of lung
_SPINE_VOXELS = 15
_LARGER = 1.3  # section above the lungs relative to that below


@dataclass(frozen=True)
class Sides:
    """Votes for the side on which organs lie, 1 as in nearly everybody, -1 mirrored; by organ.

    Attributes:
        ct: liver, heart, stomach (gas), aorta, diaphragm (higher on the right).
        pet: liver, heart, aorta; empty where there is no uptake.
    """

    ct: Mapping[str, float]
    pet: Mapping[str, float]

    def check(self) -> QualityCheck:
        """The check "sides"."""
        ct, pet = _mean(self.ct), _mean(self.pet)
        if min(ct, pet) > _DOUBT:
            return QualityCheck(
                SIDES, CheckStatus.PASS, Message("Liver, heart, stomach and aorta lie on their usual sides.")
            )
        level = CheckStatus.FAIL if min(ct, pet) < _FAIL else CheckStatus.WARN
        if ct > _DOUBT:
            where = Message("on the PET alone")
        elif pet > _DOUBT:
            where = Message("on the CT alone")
        else:
            where = Message("on PET and CT")
        reason = Message(
            "Liver, heart, stomach or aorta do not lie on their usual sides {where} (CT {ct:.1f}, PET {pet:.1f}; 1 is "
            "as usual, -1 mirrored): left and right are exchanged, the patient lay face down, or the organs lie "
            "mirrored (situs inversus). Compare with the examination in the PACS.",
            where=where,
            ct=ct,
            pet=pet,
        )
        return QualityCheck(SIDES, level, reason)


def measure_sides(anatomy: PatientAnatomy) -> Sides | None:
    """Measure on which sides organs lie; None without lungs, which say where to look."""
    images = anatomy.images
    height = images.above_lung_base_mm()
    if height is None:
        return None
    where = _Where.of(images, height)
    usual = soft_tissue_uptake(images)
    pet = _votes(_pet_signs(images, where, usual), _PET_USUAL) if usual > 0 else {}
    return Sides(_votes(_ct_signs(images, where), _CT_USUAL), pet)


@dataclass(frozen=True, eq=False)
class _Where:
    """Where organs are looked for, on both sides alike; shape of the images.

    Attributes:
        left_mm: distance to the left of the midline.
        beside: beside the midline under the lungs: liver on one side, stomach and spleen on the other.
        upper: the part of `beside` within 8 cm of the lungs.
        heart: thick soft tissue between the lungs.
        spine: in front and beside the spine within the chest: the aorta on one side.
        soft: soft tissue.
    """

    left_mm: NDArray[np.float64]
    beside: Mask
    upper: Mask
    heart: Mask
    spine: Mask
    soft: Mask

    @staticmethod
    def of(images: AlignedImages, height: NDArray[np.float64]) -> _Where:
        left = np.broadcast_to(images.left_mm(), images.hu.shape)
        behind, lateral = images.posterior_mm(), np.abs(left)
        soft = images.body & (images.smooth_hu > _SOFT_HU) & ~images.bone
        beside = images.body & (height < -12) & (height > -110) & (lateral > 40) & (lateral < 125) & (behind < 40)
        chest = soft & (height > 0) & (height < 110) & (lateral < 110) & (behind < -15) & (images.lungs == 0)
        spine = (height > 20) & (height < 130) & (behind > -45) & (behind < 12) & (lateral > 10) & (lateral < 36)
        return _Where(left, beside, beside & (height > -80), binary_opening(chest, 5), spine, soft)


def _ct_signs(images: AlignedImages, where: _Where) -> dict[str, float]:
    """Signs of the side on the CT, positive in a body that lies as stated."""
    left = where.left_mm
    thick = erode(where.soft & (images.smooth_hu < _THICK_HU), 5) & where.beside
    gas = where.beside & (images.hu < _GAS_HU) & (images.lungs == 0) & erode(images.body, 7)
    vessel = where.spine & where.soft & (images.hu > _VESSEL_HU)
    signs = {
        "liver": _balance(thick, left < 0, at_least=100),
        "heart": float(left[where.heart].mean()) if where.heart.any() else 0.0,
        "stomach": _balance(gas, left > 0, at_least=30),
        "aorta": _balance(vessel, left > 0, at_least=30),
    }
    base, lungs = images.lung_base, [(images.lungs == side).any(axis=0) for side in (RIGHT, LEFT)]
    if base is not None and all(lung.any() for lung in lungs):
        signs["diaphragm"] = float(np.median(base[lungs[0]]) - np.median(base[lungs[1]])) * GRID_MM
    return signs


def _pet_signs(images: AlignedImages, where: _Where, usual: float) -> dict[str, float]:
    """Signs of the side on the PET, positive in a body that lies as stated; `usual` is the uptake of soft tissue."""
    left, uptake = where.left_mm, np.clip(images.suv / usual, 0, _HOTTEST)
    under = [uptake[where.upper & (left * sign > 0)] for sign in (-1, 1)]
    right, other = (float(np.median(one)) if len(one) else 0.0 for one in under)
    heart, vessel = uptake[where.heart], [float(uptake[where.spine & (left * sign > 0)].sum()) for sign in (1, -1)]
    return {
        "liver": _ratio(right, other),
        "heart": float((heart * left[where.heart]).sum()) / max(float(heart.sum()), 1e-6),
        "aorta": _ratio(vessel[0], vessel[1]),
    }


def _balance(mask: Mask, usual_side: Mask, *, at_least: int) -> float:
    """Difference of the voxels on the usual and on the other side over their sum, or over `at_least`."""
    usual, both = int((mask & usual_side).sum()), int(mask.sum())
    return (2 * usual - both) / max(both, at_least)


def _ratio(first: float, second: float) -> float:
    return (first - second) / (first + second) if first + second > 0 else 0.0


def _votes(signs: Mapping[str, float], usual: Mapping[str, float]) -> dict[str, float]:
    """A vote of -1 to 1 for each sign: half of what is usual counts as a whole vote."""
    return {name: float(np.clip(2 * value / usual[name], -1, 1)) for name, value in signs.items()}


def _mean(votes: Mapping[str, float]) -> float:
    """Mean vote; without any, as usual."""
    return float(np.mean(list(votes.values()))) if votes else 1.0


@dataclass(frozen=True)
class Upright:
    """Signs of head up and face up, each None where too little was scanned.

    Attributes:
        behind_mm: distance of the bones of the upper abdomen behind the middle of the body.
        above_cm2: section of the body 10 cm above the lungs.
        below_cm2: section 10 cm below them.
        brain_above: whether the brain lies above the lungs.
    """

    behind_mm: float | None
    above_cm2: float | None
    below_cm2: float | None
    brain_above: bool | None

    def check(self) -> QualityCheck:
        """The check "orientation"."""
        if self.brain_above is False:
            return _fail(Message("The head lies below the lungs: the scan is upside down. Correct the position."))
        if self.behind_mm is not None and self.behind_mm < _BEHIND_MM:
            return _fail(
                Message(
                    "The spine lies {mm:.0f} mm behind the middle of the body (about 45 mm expected): the patient lay "
                    "face down, or front and back are exchanged. Correct the position stated in the headers.",
                    mm=self.behind_mm,
                )
            )
        if self.above_cm2 is None or self.below_cm2 is None:
            return QualityCheck(
                ORIENTATION,
                CheckStatus.PASS,
                Message("Not enough of neck and abdomen to judge; nothing contradicts the stated orientation."),
            )
        level = CheckStatus.PASS if self.above_cm2 <= self.below_cm2 else CheckStatus.WARN
        level = CheckStatus.FAIL if self.above_cm2 > _LARGER * self.below_cm2 else level
        reason = Message(
            "Section of the body 10 cm above the lungs {above:.0f} cm², below {below:.0f} cm².",
            above=self.above_cm2,
            below=self.below_cm2,
        )
        return QualityCheck(ORIENTATION, level, reason)


def measure_upright(images: AlignedImages) -> Upright | None:
    """Look for the signs of head up and face up; None without lungs."""
    area = (images.lungs > 0).sum(axis=(1, 2)) * GRID_MM**2 / 100
    lungs = np.flatnonzero(area >= _LUNG_CM2)
    if not len(lungs):
        return None
    low, high = int(lungs[0]), int(lungs[-1])
    section = images.body.sum(axis=(1, 2)) * GRID_MM**2 / 100
    far = voxels(_NECK_MM)
    both = low - far >= 0 and high + far < len(section)
    brain = np.flatnonzero(images.brain.any(axis=(1, 2)))
    return Upright(
        behind_mm=_spine_behind_mm(images, low),
        above_cm2=float(section[high + far]) if both else None,
        below_cm2=float(section[low - far]) if both else None,
        brain_above=bool(brain.mean() > (low + high) / 2) if len(brain) else None,
    )


def _spine_behind_mm(images: AlignedImages, lungs_begin: int) -> float | None:
    """How far the bones lie behind the middle of the body in the 18 cm under the lungs; None with less than 5 cm."""
    levels = slice(max(lungs_begin - voxels(180), 0), lungs_begin)
    rows = np.arange(images.hu.shape[1])
    bone, body = (mask[levels].sum(axis=2) for mask in (images.bone, images.body))
    seen = bone.sum(axis=1) >= _SPINE_VOXELS
    if seen.sum() < voxels(50):
        return None
    middle = [(part[seen] * rows).sum(axis=1) / np.maximum(part[seen].sum(axis=1), 1) for part in (bone, body)]
    return float(np.median(middle[0] - middle[1])) * GRID_MM


def _fail(reason: Message) -> QualityCheck:
    return QualityCheck(ORIENTATION, CheckStatus.FAIL, reason)
