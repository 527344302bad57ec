"""SUV from which uptake is a candidate, by method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fedpet.errors import ReferenceNotFound
from fedpet.messages import Message
from imaging.references import organ_references

if TYPE_CHECKING:
    from imaging.volume import Volume

Method = Literal["suv4", "suv41pct", "percist"]
FIXED_SUV = 4.0


@dataclass(frozen=True)
class Threshold:
    """A lower bound of SUV, and the name of the method that gave it."""

    method: str
    suv: float


def threshold_of(pet: Volume, ct: Volume | None, method: Method) -> Threshold:
    """The bound of a method.

    "percist" is 1.5 x mean + 2 SD of the liver, or 2 x mean + 2 SD of the blood pool where the liver is diseased or
    out of view (Wahl 2009). PERCIST speaks of SUL; within one patient SUL is SUVbw times a constant, so that the same
    voxels pass on either scale.

    Raises:
        ReferenceNotFound: "percist" without a liver or an aorta to compare with.
    """
    if method != "percist":
        return Threshold(method, FIXED_SUV)
    references = organ_references(pet, ct) if ct is not None else None
    if references is not None and references.liver is not None:
        return Threshold("percist_liver", 1.5 * references.liver.suv_mean + 2.0 * references.liver.suv_sd)
    if references is not None and references.blood_pool is not None:
        return Threshold(
            "percist_blood_pool", 2.0 * references.blood_pool.suv_mean + 2.0 * references.blood_pool.suv_sd
        )
    raise ReferenceNotFound(
        found=Message("Neither the liver nor the descending aorta can serve as a reference in this examination."),
        needed=Message("A CT with one of them, for a threshold relative to healthy tissue."),
        advice=Message("Choose a fixed threshold (SUV 4) or 41 % of each lesion's maximum."),
    )
