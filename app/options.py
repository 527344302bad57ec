"""What a reader may choose for a case: series, corrections, delineation and the components that count as lesions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from imaging.corrections import Correction, parse_correction

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imaging.thresholds import Method


@dataclass(frozen=True)
class CaseOptions:
    """A reader's choices; the defaults are fedpet's own.

    Attributes:
        corrections: of what the PET's headers say.
        pet_series, ct_series: number of the series in the list of those found; None lets fedpet choose.
        method: how hot components are found.
        include, exclude: components switched by the reader.
        mask: lesions drawn by a reader (NIfTI, DICOM SEG or RTSTRUCT), used instead of a delineation.
        rois: names of the segments or contours of `mask` to use; () for those that are lesions.
        model: digest of the bundle that is to answer; "" for that of the answer there is, or the one in force.
    """

    corrections: tuple[Correction, ...] = ()
    pet_series: int | None = None
    ct_series: int | None = None
    method: Method = "suv4"
    include: tuple[int, ...] = ()
    exclude: tuple[int, ...] = ()
    mask: Path | None = None
    rois: tuple[str, ...] = ()
    model: str = ""

    def to_json(self) -> dict[str, Any]:
        """As kept in the database."""
        return {
            "corrections": [
                {
                    "name": one.name,
                    "value": one.value if isinstance(one.value, float | int) else one.value.isoformat(),
                    "reason": one.reason,
                    "by": one.by,
                }
                for one in self.corrections
            ],
            "pet_series": self.pet_series,
            "ct_series": self.ct_series,
            "method": self.method,
            "include": list(self.include),
            "exclude": list(self.exclude),
            "mask": self.mask and str(self.mask),
            "rois": list(self.rois),
            "model": self.model,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read `to_json`; what is missing keeps its default.

        Raises:
            CorrectionRefused: a correction is not valid.
        """
        corrections = tuple(
            parse_correction(one["name"], str(one["value"]), reason=one["reason"], by=one["by"])
            for one in data.get("corrections", ())
        )
        return cls(
            corrections=corrections,
            pet_series=data.get("pet_series"),
            ct_series=data.get("ct_series"),
            method=data.get("method", "suv4"),
            include=tuple(data.get("include", ())),
            exclude=tuple(data.get("exclude", ())),
            mask=Path(data["mask"]) if data.get("mask") else None,
            rois=tuple(data.get("rois", ())),
            model=data.get("model", ""),
        )
