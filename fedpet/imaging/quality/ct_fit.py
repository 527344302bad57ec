"""Does the CT belong to this PET, at this place? Body and lungs of both, laid over each other.

On voxels of 8 mm the CT is turned into what a PET of that body would roughly show (soft tissue, fat, lung, air), and
the shift is looked for that makes both agree best (normalised cross-correlation): of the whole scan, and of slabs of
13 cm, because another patient's organs lie at other heights. How well both agree where they lie, outline included,
tells the CT of another patient of the same height. The PET is taken relative to its own soft tissue, so that a wrong
SUV changes nothing here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft, ndimage

from fedpet.core.messages import Message
from fedpet.imaging.anatomy.morphology import GRID_MM, dilate
from fedpet.imaging.quality.uptake_ranges import soft_tissue_uptake
from fedpet.imaging.study import CheckStatus, QualityCheck

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy

    Image = NDArray[np.float32]

CHECK = "ct_fits"
_POOL = 2  # voxels of the body's grid along each axis
_STEP_MM = _POOL * GRID_MM
_REACH, _SLAB_REACH = 12, 8  # largest shift looked for, steps
_SLAB, _SHORTEST = 16, 8  # steps
_SOFT, _FAT, _LUNG = 1.0, 0.45, 0.4  # expected, relative to soft tissue, after the square root
_FAT_HU, _SOFT_HU = -200.0, -30.0
_HOTTEST = 2.0  # relative to soft tissue; what is hotter says nothing about the body
_GOOD_MM, _FAIL_MM = 12.0, 18.0
_SLAB_MM, _USUAL_AGREEMENT, _LOST_AGREEMENT = 20.0, 0.90, 0.08  # a slab so far away, or so much less agreement: 1
_GOOD_STRAIN, _FAIL_STRAIN = 0.90, 1.05
_GAIN = 0.005  # in correlation, below which a shift says nothing: a part without structure fits everywhere
_OUTLINE = 5  # steps across: air around the body that counts


@dataclass(frozen=True)
class CtFit:
    """How PET and CT lie over each other.

    Attributes:
        shift_mm: (left, back, head) that the PET lies away from the CT, mm.
        agreement: correlation of what is seen and expected within the body and 16 mm around it, as they lie.
        slab_mm: the second largest shift of a slab of 13 cm, mm; one slab may differ, where arms or diaphragm moved.
    """

    shift_mm: tuple[float, float, float]
    agreement: float
    slab_mm: float

    @property
    def distance_mm(self) -> float:
        """Length of the shift."""
        return float(np.linalg.norm(self.shift_mm))

    @property
    def strain(self) -> float:
        """What slabs and agreement say together: another patient's CT shows a little of both."""
        return self.slab_mm / _SLAB_MM + max(0.0, _USUAL_AGREEMENT - self.agreement) / _LOST_AGREEMENT

    @property
    def status(self) -> CheckStatus:
        """Pass, warn or fail."""
        worst = max(
            _excess(self.distance_mm, _GOOD_MM, _FAIL_MM),
            _excess(self.strain, _GOOD_STRAIN, _FAIL_STRAIN),
        )
        return (CheckStatus.PASS, CheckStatus.WARN, CheckStatus.FAIL)[worst]

    def check(self) -> QualityCheck:
        """The check of that name."""
        values = {"mm": self.distance_mm, "slab": self.slab_mm, "percent": 100 * self.agreement}
        if self.status is CheckStatus.PASS:
            reason = Message(
                "Body and lungs of PET and CT lie over each other (shift {mm:.0f} mm, agreement {percent:.0f} %).",
                **values,
            )
        else:
            reason = Message(
                "Body and lungs of PET and CT fit best after a shift of {mm:.0f} mm, parts of them {slab:.0f} mm "
                "(agreement {percent:.0f} %; at most {most:.0f} mm expected): the patient moved, or this is the CT of "
                "another examination or patient. Check the CT series.",
                **values,
                most=_GOOD_MM,
            )
        return QualityCheck(CHECK, self.status, reason)


def measure_ct_fit(anatomy: PatientAnatomy) -> CtFit | None:
    """Lay PET and CT over each other; None where fewer than 20 cm of both were scanned, or nothing is taken up."""
    reached = np.flatnonzero(np.isfinite(anatomy.suv).any(axis=(1, 2)))
    pet = _seen_by_pet(anatomy)
    if not len(reached) or pet is None:
        return None
    low, high = -(-int(reached[0]) // _POOL), (int(reached[-1]) + 1) // _POOL
    ct = _pooled(_expected(anatomy))
    reach = min(_REACH, (high - low - _SHORTEST) // 2)
    if reach < 2:
        return None
    shift = _best_shift(ct, pet, (low, high), (low + reach, high - reach), reach)
    slabs = [
        _best_shift(ct, pet, (low, high), (first, first + _SLAB), _SLAB_REACH)
        for first in range(low + _SLAB_REACH, high - _SLAB_REACH - _SLAB + 1, _SLAB)
    ]
    distances = sorted(float(np.linalg.norm(one)) * _STEP_MM for one in slabs)
    z, y, x = (float(step) * _STEP_MM for step in shift)
    return CtFit((x, y, z), _agreement(ct[low:high], pet[low:high]), distances[-2] if len(distances) > 1 else 0.0)


def _expected(anatomy: PatientAnatomy) -> Image:
    """What a PET of the body on the CT would roughly show, relative to soft tissue."""
    hu = anatomy.body.ct.array
    tissue = np.where(hu > _SOFT_HU, _SOFT, np.where(hu > _FAT_HU, _FAT, _LUNG))
    return np.where(anatomy.body.body, tissue, 0.0).astype(np.float32)


def _seen_by_pet(anatomy: PatientAnatomy) -> Image | None:
    """The PET relative to its soft tissue, as a square root, pooled; None where nothing is taken up."""
    suv = ndimage.uniform_filter(np.nan_to_num(anatomy.suv).astype(np.float32), 3)
    usual = soft_tissue_uptake(anatomy.images)
    return _pooled(np.sqrt(np.clip(suv / usual, 0, _HOTTEST))) if usual > 0 else None


def _pooled(image: Image) -> Image:
    slices, rows, columns = (size // _POOL for size in image.shape)
    cut = image[: slices * _POOL, : rows * _POOL, : columns * _POOL]
    means = cut.reshape(slices, _POOL, rows, _POOL, columns, _POOL).mean(axis=(1, 3, 5))
    return np.asarray(means, np.float32)


def _best_shift(
    ct: Image, pet: Image, scanned: tuple[int, int], slab: tuple[int, int], reach: int
) -> NDArray[np.float64]:
    """Shift (slice, row, column) of the PET against a slab of the CT with the highest correlation; 0 without a gain.

    Args:
        ct: expected.
        pet: seen, same grid.
        scanned: first and last slice that the PET reaches; the slab shifted by `reach` stays within.
        slab: of the CT.
        reach: largest shift, steps.
    """
    first, last = max(slab[0] - reach, scanned[0]), min(slab[1] + reach, scanned[1])
    template, seen = np.zeros_like(ct[first:last]), pet[first:last]
    template[slab[0] - first : slab[1] - first] = ct[slab[0] : slab[1]]
    size = [fft.next_fast_len(length + reach, real=True) for length in seen.shape]
    product = fft.rfftn(seen, size) * np.conj(fft.rfftn(template, size))
    steps = np.arange(-reach, reach + 1)
    overlap = fft.irfftn(product, size)[np.ix_(steps, steps, steps)]
    energy = np.concatenate([[0.0], np.cumsum((seen.astype(float) ** 2).sum(axis=(1, 2)))])
    ends = np.clip(np.array(slab)[:, None] - first + steps, 0, len(energy) - 1)
    norm = np.sqrt(np.maximum(energy[ends[1]] - energy[ends[0]], 1e-9) * (template.astype(float) ** 2).sum() + 1e-9)
    correlation = overlap / norm[:, None, None]
    best = np.unravel_index(correlation.argmax(), correlation.shape)
    if correlation[best] - correlation[reach, reach, reach] < _GAIN:
        return np.zeros(3)
    return np.array([_vertex(correlation, best, axis) for axis in range(3)]) - reach


def _agreement(ct: Image, pet: Image) -> float:
    """Correlation within the body on the CT and a margin; 0 where one of them shows nothing."""
    near = dilate(ct > 0.5 * _LUNG, _OUTLINE)
    if not near.any() or ct[near].std() == 0 or pet[near].std() == 0:
        return 0.0
    return float(np.corrcoef(ct[near], pet[near])[0, 1])


def _vertex(correlation: NDArray[np.float64], best: tuple[np.intp, ...], axis: int) -> float:
    """Position of the maximum along an axis, between the voxels: of the parabola through three of them."""
    at = int(best[axis])
    if not 0 < at < correlation.shape[axis] - 1:
        return float(at)
    index = list(map(int, best))
    before, here, after = (correlation[(*index[:axis], at + d, *index[axis + 1 :])] for d in (-1, 0, 1))
    curvature = before - 2 * here + after
    return at + (0.5 * float((before - after) / curvature) if curvature < 0 else 0.0)


def _excess(value: float, good: float, fail: float) -> int:
    """0 up to `good`, 1 up to `fail`, else 2."""
    return int(value > good) + int(value > fail)
