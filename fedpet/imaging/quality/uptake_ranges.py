"""Uptake of healthy tissue against its usual range: the scale of the SUV, fasting, stimulated marrow and spleen.

A wrong scale (units, dose, weight, SUL in the place of SUVbw) moves all tissues together, so that their mean deviation
shows far less than the range of one of them does. What a fault does to one tissue is seen relative to others, on which
the scale has no bearing. Usual values and spreads are those of synthetic patients, see docs/imaging.md, unless a centre
has measured its own (`fedpet.imaging.quality.centre_uptake`). Before they are compared, values are brought to one
uptake time: blood pool, liver and spleen fall while other tissue hardly changes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp, log
from typing import TYPE_CHECKING, Final

import numpy as np

from fedpet.core.messages import Message
from fedpet.imaging.anatomy.morphology import GRID_MM, dilate, erode
from fedpet.imaging.study import CheckStatus, QualityCheck

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from fedpet.imaging.anatomy.aligned_images import AlignedImages
    from fedpet.imaging.anatomy.morphology import Mask
    from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy
    from fedpet.imaging.quality.centre_uptake import ScannerUptake

SCALE, FASTING, MARROW = "suv_scale", "fasting", "marrow_stimulation"
REFERENCE_MIN: Final = 65.0  # after injection, to which the usual values belong
_PER_MINUTE: Final[Mapping[str, float]] = {  # change of the logarithm of the SUV
    "blood_pool": -0.003,  # clear in 557 patients (Malladi et al. 2013, doi:10.1111/1754-9485.12015)
    "liver": -0.001,  # within 5 % from 50 to 110 min (Laffon et al. 2011, doi:10.2967/jnmt.111.090027)
    "spleen": -0.001,
}
_CORRECTED_MIN: Final = (30.0, 180.0)  # uptake times that the check of that name lets pass
USUAL: Final[Mapping[str, tuple[float, float]]] = {  # SUVmean, SD of its logarithm
    "liver": (2.30, 0.15),
    "blood_pool": (1.62, 0.15),
    "muscle": (0.72, 0.17),
    "body": (0.83, 0.10),
    "lung": (0.43, 0.25),  # wider than in synthetic patients, whose lungs and fat hardly differ
    "fat": (0.29, 0.25),
    "spleen": (2.00, 0.20),
    "marrow": (1.50, 0.25),
}
_OF_SCALE: Final = ("liver", "blood_pool", "muscle", "body", "lung", "fat")
_SURE: Final = frozenset({"liver", "blood_pool"})  # one of them must be known: a part of the body has no usual mean
_LEAST_TISSUES = 2
_WHOLE_BODY_MM = 600.0  # seen on PET and CT, for its mean to be usual
GOOD_SCALE, FAIL_SCALE = 0.18, 0.21  # logarithm of the factor on all SUV
_MUSCLE_SHARE = 0.375  # of the geometric mean of liver and blood pool
_GOOD_FASTING, _FAIL_FASTING, _FAIL_WITH_HEART = 0.56, 0.66, 0.62  # the same share
_HOT_HEART = 2.5  # uptake of the heart relative to the liver
_MARROW_SHARE, _SPLEEN_SHARE, _MARROW_WEIGHT = 0.65, 0.87, 0.58  # usual, relative to the liver; as in `USUAL`
_GOOD_MARROW, _FAIL_MARROW = 0.45, 0.56
_FAIL_MARROW_ALONE = 0.75
_MUSCLE_HU, _FAT_HU, _SOFT_HU = (15.0, 90.0), (-140.0, -70.0), 0.0
_HOTTEST_SUV = 5.0
_FEWEST = 100  # voxels
_SDS: Final = 1.96  # of the range that is shown


@dataclass(frozen=True)
class UptakeRanges:
    """Uptake of healthy tissues, SUV; None where it was not measured.

    Attributes:
        liver: sphere in the right lobe, healthy or not.
        blood_pool: descending thoracic aorta.
        spleen: sphere.
        marrow: vertebral bodies.
        muscle: median beside and behind the spine.
        heart: 90th percentile of the heart.
        lung: median of the aerated lungs.
        fat: median under the skin.
        body: mean of the body seen on PET and CT, no voxel counted with more than 5 times the usual soft tissue.
    """

    liver: float | None = None
    blood_pool: float | None = None
    spleen: float | None = None
    marrow: float | None = None
    muscle: float | None = None
    heart: float | None = None
    lung: float | None = None
    fat: float | None = None
    body: float | None = None

    def scaled(self, factor: float) -> UptakeRanges:
        """The same body with every SUV `factor` times higher."""
        return replace(self, **{name: value * factor for name, value in vars(self).items() if value is not None})

    def compared(self, usual: ScannerUptake | None = None, uptake_min: float | None = None) -> UptakeRanges:
        """Every value as it would be at `REFERENCE_MIN`; with `usual`, on a scanner that measures what is published.

        Args:
            usual: of the centre's scanner.
            uptake_min: minutes from injection to the scan; None where not known, which leaves the values as they are.
        """
        low, high = _CORRECTED_MIN
        late = 0.0 if uptake_min is None else min(max(uptake_min, low), high) - REFERENCE_MIN
        moved = {}
        for name, value in vars(self).items():
            deviation = usual.tissues[name].deviation if usual is not None and name in usual.tissues else 0.0
            moved[name] = value and value * exp(-deviation - late * _PER_MINUTE.get(name, 0.0))
        return UptakeRanges(**moved)

    @property
    def log_scale(self) -> float | None:
        """Logarithm of the factor by which all tissues together differ from the usual.

        None without liver and blood pool, or with one tissue alone.
        """
        known = {name: getattr(self, name) for name in _OF_SCALE if (getattr(self, name) or 0) > 0}
        if len(known) < _LEAST_TISSUES or not known.keys() & _SURE:
            return None
        weights = {name: 1 / USUAL[name][1] ** 2 for name in known}
        deviations = (weights[name] * log(value / USUAL[name][0]) for name, value in known.items())
        return sum(deviations) / sum(weights.values())

    @property
    def muscle_share(self) -> float | None:
        """Muscle relative to the geometric mean of liver and blood pool, or to one of them."""
        others = [log(one / USUAL[name][0]) for name in ("liver", "blood_pool") if (one := getattr(self, name))]
        if not others or not self.muscle:
            return None
        return _MUSCLE_SHARE * exp(log(self.muscle / USUAL["muscle"][0]) - sum(others) / len(others))

    @property
    def stimulation(self) -> float | None:
        """Excess of marrow and spleen over the liver, logarithm: 0 as usual."""
        if not self.liver or not self.marrow:
            return None
        marrow = log(self.marrow / self.liver / _MARROW_SHARE)
        if not self.spleen:
            return marrow * _FAIL_MARROW / _FAIL_MARROW_ALONE
        return _MARROW_WEIGHT * marrow + log(self.spleen / self.liver / _SPLEEN_SHARE)

    def checks(self, usual: ScannerUptake | None = None, uptake_min: float | None = None) -> list[QualityCheck]:
        """Those of "fasting", "marrow_stimulation" and "suv_scale" that can be judged; arguments as for `compared`."""
        judged = self.compared(usual, uptake_min)
        one = UptakeRanges(**dict.fromkeys(vars(self), 1.0)).compared(usual, uptake_min)
        tissues = _listed(self, usual, {name: 1.0 / value for name, value in vars(one).items()})
        found = (self._fasting_check(judged), self._marrow_check(judged), _scale_check(judged, usual, tissues))
        return [one for one in found if one is not None]

    def _fasting_check(self, judged: UptakeRanges) -> QualityCheck | None:
        if judged.muscle_share is None or self.muscle is None:
            return None
        hot_heart = bool(self.heart and self.liver and self.heart > _HOT_HEART * self.liver)
        level = _level(judged.muscle_share, _GOOD_FASTING, _FAIL_WITH_HEART if hot_heart else _FAIL_FASTING)
        values = {"muscle": self.muscle, "share": 100 * judged.muscle_share, "usual": 100 * _MUSCLE_SHARE}
        if level is CheckStatus.PASS:
            text = Message("Muscle takes up as little as in a fasting patient (SUV {muscle:.1f}).", **values)
        else:
            text = Message(
                "Muscle takes up SUV {muscle:.1f}, {share:.0f} % of liver and blood pool ({usual:.0f} % expected): not "
                "fasted, insulin, or exercise before the scan. Uptake of tumours is too low; repeat the scan fasting.",
                **values,
            )
        return QualityCheck(FASTING, level, text)

    def _marrow_check(self, judged: UptakeRanges) -> QualityCheck | None:
        if judged.stimulation is None or not self.marrow or not self.liver:
            return None
        level = _level(judged.stimulation, _GOOD_MARROW, _FAIL_MARROW)
        values = {"marrow": self.marrow / self.liver, "spleen": (self.spleen or 0.0) / self.liver}
        if level is CheckStatus.PASS:
            text = Message("Marrow and spleen are not stimulated (marrow {marrow:.1f} times the liver).", **values)
        else:
            text = Message(
                "Marrow takes up {marrow:.1f} times and the spleen {spleen:.1f} times as much as the liver (0.7 and 0.9"
                " expected): growth factor, anaemia or infection. Ask for a treatment with G-CSF; the risk read from "
                "marrow and spleen would be wrong.",
                **values,
            )
        return QualityCheck(MARROW, level, text)


def _scale_check(judged: UptakeRanges, usual: ScannerUptake | None, tissues: Message) -> QualityCheck | None:
    if judged.log_scale is None:
        return None
    good, fail = (GOOD_SCALE, FAIL_SCALE) if usual is None else usual.scale_limits
    level = _level(abs(judged.log_scale), good, fail)
    values = {"times": exp(judged.log_scale), "tissues": tissues, "whose": _whose(usual)}
    if level is CheckStatus.PASS:
        return QualityCheck(
            SCALE,
            level,
            Message(
                "Healthy tissues together take up {times:.2f} times {whose} ({tissues}); an error of less than "
                "about a third would not be seen.",
                **values,
            ),
        )
    reason = Message(
        "All healthy tissues together take up {times:.2f} times {whose} ({tissues}): the SUV may be wrong. Check "
        "dose, weight, times and units, and that the PET is not SUL.",
        **values,
    )
    return QualityCheck(SCALE, level, reason)


def measure_uptake_ranges(anatomy: PatientAnatomy) -> UptakeRanges:
    """Measure the uptake of healthy tissues on a PET in SUV."""
    images, references = anatomy.images, anatomy.references
    organs = (anatomy.organs.labels.array > 0) & ~anatomy.organs.mask("muscle")
    sphere = anatomy.liver_sphere
    reached = np.isfinite(anatomy.suv[images.box]) & images.body
    heart = anatomy.organs.mask("heart")[images.box]
    return UptakeRanges(
        liver=None if isinstance(sphere, Message) else sphere.suv_mean,
        blood_pool=references.blood_pool.suv_mean if references.blood_pool else None,
        spleen=references.spleen.suv_mean if references.spleen else None,
        marrow=references.marrow.suv_mean if references.marrow else None,
        muscle=_median(images.suv, _muscle(images, organs[images.box])),
        heart=float(np.percentile(images.suv[heart], 90)) if heart.sum() >= _FEWEST else None,
        lung=_median(images.suv, erode(images.lungs > 0, 7) & reached),
        fat=_median(images.suv, _fat(images) & reached),
        body=_body_mean(images, reached),
    )


def soft_tissue_uptake(images: AlignedImages) -> float:
    """Median uptake of all soft tissue, in the unit of the PET; 0 where the PET reaches none."""
    soft = images.body & (images.smooth_hu > _SOFT_HU) & ~images.bone & (images.suv > 0)
    return float(np.median(images.suv[soft])) if soft.any() else 0.0


def _muscle(images: AlignedImages, organs: Mask) -> Mask:
    """Muscle behind the spine and beside it, away from bone and organs."""
    low, high = _MUSCLE_HU
    muscle = (images.smooth_hu > low) & (images.smooth_hu < high) & images.body & ~organs & ~dilate(images.bone, 3)
    behind = (images.posterior_mm() > 15) & (np.abs(images.left_mm()) < 130)
    height = images.above_lung_base_mm()
    if height is not None:
        behind = behind & (height > -400) & (height < 150)
    return np.asarray(erode(muscle & erode(images.body, 3), 3) & behind)


def _fat(images: AlignedImages) -> Mask:
    """Fat of the trunk, away from other tissue."""
    low, high = _FAT_HU
    fat = erode((images.smooth_hu > low) & (images.smooth_hu < high) & images.body, 3)
    height = images.above_lung_base_mm()
    trunk = np.abs(images.left_mm()) < 200
    return np.asarray(fat & trunk if height is None else fat & trunk & (height > -400) & (height < 100))


def _body_mean(images: AlignedImages, reached: Mask) -> float | None:
    """Mean uptake of the body, the hottest voxels counted as 5 times soft tissue: tumours and urine say little.

    None where less than the trunk was scanned.
    """
    usual = soft_tissue_uptake(images)
    if not usual or reached.any(axis=(1, 2)).sum() * GRID_MM < _WHOLE_BODY_MM:
        return None
    return float(np.minimum(images.suv[reached], _HOTTEST_SUV * usual).mean())


def _median(suv: NDArray[np.float32], mask: Mask) -> float | None:
    return float(np.median(suv[mask])) if mask.sum() >= _FEWEST else None


def _whose(usual: ScannerUptake | None) -> Message:
    """What the uptake is compared with."""
    if usual is None:
        return Message("the usual")
    return Message("what is usual on this scanner ({n} studies of the centre)", n=usual.studies)


def _listed(ranges: UptakeRanges, usual: ScannerUptake | None, factor: Mapping[str, float]) -> Message:
    """Uptake of three tissues, each with the range of 95 % of patients; `factor` leads from the usual values to it."""
    return Message(
        "SUV of liver {liver}, blood pool {blood}, muscle {muscle}",
        liver=_number(ranges.liver, "liver", usual, factor),
        blood=_number(ranges.blood_pool, "blood_pool", usual, factor),
        muscle=_number(ranges.muscle, "muscle", usual, factor),
    )


def _number(suv: float | None, tissue: str, usual: ScannerUptake | None, factor: Mapping[str, float]) -> Message | str:
    if suv is None:
        return "–"
    mean, spread = USUAL[tissue]
    if usual is not None and tissue in usual.tissues:
        spread = usual.tissues[tissue].spread
    low, high = (mean * factor[tissue] * exp(sign * _SDS * spread) for sign in (-1, 1))
    return Message("{suv:.2f} ({low:.1f} to {high:.1f})", suv=suv, low=low, high=high)


def _level(value: float, good: float, fail: float) -> CheckStatus:
    return CheckStatus.PASS if value <= good else CheckStatus.WARN if value <= fail else CheckStatus.FAIL
