"""Whether the slices of a PET are in one scale: a slope, a decay correction or a bed that differs shows as a step.

From one slice to the next the body hardly changes. Where the same voxels of the body all become hotter or colder by one
factor, the slices were scaled differently, although each may be plausible alone.
"""

from __future__ import annotations

from math import exp, log
from typing import TYPE_CHECKING, Final

import numpy as np

from fedpet.core.messages import Message
from fedpet.imaging.study import CheckStatus, QualityCheck

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpet.imaging.volume import Volume

CHECK: Final = "slice_levels"
_GOOD, _FAIL = log(1.3), log(1.4)  # of the step between two slices
_END_MM: Final = 10.0  # at each end of the scan, where real images fade
_MOST_ACROSS: Final = 100  # voxels along a side of a slice that are looked at
_OF_BODY: Final = 0.4  # of the 90th percentile of a slice, from which a voxel belongs to the body
_SHARED: Final = 0.7  # of the larger of two sections of the body, for two slices to be compared
_NO_WIDER: Final = (
    2.0  # than usual in this scan: the quartiles of a step; at the end of an organ voxels change unequally
)
_ROUNDING: Final = 0.02
_LEAST_SHARE: Final = 0.02  # of a slice, likewise


def slice_level_check(pet: Volume) -> QualityCheck:
    """Whether the uptake of the whole body steps from one slice to the next.

    Args:
        pet: in any unit.
    """
    ends = int(-(-_END_MM // pet.spacing[2]))
    steps = _steps(pet.array)
    steps[:ends] = steps[max(len(steps) - ends, 0) :] = 0.0
    place = int(np.abs(steps).argmax()) if len(steps) else 0
    step = float(abs(steps[place])) if len(steps) else 0.0
    if step <= _GOOD:
        return QualityCheck(CHECK, CheckStatus.PASS, Message("All slices of the PET are in one scale."))
    reason = Message(
        "From slice {k} to slice {next} of the PET, counted from the first, the whole body changes {times:.1f}-fold:"
        " the slices are not in one scale. Compare rescale slope, acquisition time and frame duration of the slices,"
        " and export the series again.",
        k=place + 1,
        next=place + 2,
        times=exp(step),
    )
    return QualityCheck(CHECK, CheckStatus.FAIL if step > _FAIL else CheckStatus.WARN, reason)


def _steps(array: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n - 1,) median logarithm of the ratio of each slice to the one before, in the body; 0 where that is not told."""
    thin = max(1, -(-max(array.shape[1:]) // _MOST_ACROSS))
    slices = array[:, ::thin, ::thin].reshape(len(array), -1)
    bodies = slices > np.maximum(_OF_BODY * np.percentile(slices, 90, axis=1, keepdims=True), 0)
    steps, spreads = np.zeros(len(slices) - 1), np.full(len(slices) - 1, np.nan)
    for k in range(len(steps)):
        shared = bodies[k] & bodies[k + 1]
        larger = max(bodies[k].sum(), bodies[k + 1].sum())
        if shared.sum() >= _SHARED * larger and larger >= _LEAST_SHARE * shared.size:
            low, steps[k], high = np.percentile(np.log(slices[k + 1][shared] / slices[k][shared]), (25, 50, 75))
            spreads[k] = high - low
    usual = 0.0 if np.isnan(spreads).all() else float(np.nanmedian(spreads))
    return np.where(spreads <= _NO_WIDER * usual + _ROUNDING, steps, 0.0)
