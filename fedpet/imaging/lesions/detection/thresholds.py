"""The SUV from which uptake is a candidate for a lesion, by method."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from fedpet.core.errors import ReferenceUptakeError
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fedpet.imaging.anatomy.reference_uptake import OrganReferences
    from fedpet.imaging.lesions.lesion import ThresholdMethod

FIXED_SUV: Final[Mapping[str, float]] = MappingProxyType(
    {**dict.fromkeys(("suv4", "suv41pct", "gradient", "adaptive"), 4.0), "suv25": 2.5}
)
_LIVER_TIMES = 1.5


@dataclass(frozen=True)
class Threshold:
    """A lower bound of SUV, with the identifier of the method that gave it, such as "percist_liver"."""

    method: str
    suv: float


def threshold_for(method: ThresholdMethod, references: OrganReferences | None) -> Threshold:
    """Threshold of a method.

    "percist" is 1.5 x mean + 2 SD of the liver, or 2 x mean + 2 SD of the blood pool where the liver is diseased or
    out of view (Wahl 2009); "liver" is 1.5 x mean of the liver. Both are relative to the patient's own healthy tissue:
    SUL is SUVbw times a constant, so that the same voxels exceed the threshold on either scale.

    Args:
        method: see `fedpet.imaging.lesions.delineation.delineate`.
        references: healthy organs of the PET; None without a CT. Used by "percist" and "liver" only.

    Raises:
        ReferenceUptakeError: "percist" without a liver or an aorta to compare with, "liver" without a liver.
    """
    if method in FIXED_SUV:
        return Threshold(method, FIXED_SUV[method])
    liver = None if references is None else references.liver
    if liver is not None and method == "liver":
        return Threshold("liver", _LIVER_TIMES * liver.suv_mean)
    if liver is not None:
        return Threshold("percist_liver", 1.5 * liver.suv_mean + 2.0 * liver.suv_sd)
    pool = None if references is None or method == "liver" else references.blood_pool
    if pool is not None:
        return Threshold("percist_blood_pool", 2.0 * pool.suv_mean + 2.0 * pool.suv_sd)
    raise ReferenceUptakeError(
        found=Message("Neither the liver nor the descending aorta can serve as a reference in this examination."),
        needed=Message("A CT with one of them, for a threshold relative to healthy tissue."),
        advice=Message("Choose a fixed threshold (SUV 4) or 41 % of each lesion's maximum."),
    )
