"""A reader's choices for a case: series, corrections, delineation and the components that count as lesions."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from fedpet.imaging.dicom.files import InputLimits
from fedpet.imaging.lesions.interactive import BrushStroke, GrownFocus, LesionEdits, MergedLesions
from fedpet.imaging.suv.overrides import ManualOverride, parse_override
from inference.record_concordance import RecordConfirmation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fedpet.core.settings import Settings
    from fedpet.imaging.lesions.interactive import Step
    from fedpet.imaging.lesions.lesion import ThresholdMethod


@dataclass(frozen=True)
class CaseOptions:
    """A reader's choices; the defaults are those of fedpet.

    Attributes:
        corrections: of values in the PET's headers.
        pet_series, ct_series: number of the series in the list of those found; None lets fedpet choose.
        method: how hot components are found.
        include, exclude: components switched by the reader.
        edits: lesions that the reader outlined, merged or renamed.
        liver: centre of the sphere of the liver where the reader placed it, LPS mm; None for where it is found.
        mask: lesions drawn by a reader (NIfTI, DICOM SEG or RTSTRUCT), used instead of a delineation.
        rois: names of the segments or contours of `mask` to use; () for those that are lesions.
        organs: segmentation of the organs (DICOM SEG, NIfTI or a folder of masks), used instead of the network.
        organ_names: names of the labels of a NIfTI image of organs.
        segmenter: what finds the organs; None for the network that is shipped.
        confirmation: of a record that contradicts the images.
        model: digest of the bundle that is to answer; "" for that of the answer there is, or the one in force.
        explain_method: of `explain.methods.METHODS`; "" for that of the setting.
    """

    corrections: tuple[ManualOverride, ...] = ()
    pet_series: int | None = None
    ct_series: int | None = None
    method: ThresholdMethod = "suv4"
    include: tuple[int, ...] = ()
    exclude: tuple[int, ...] = ()
    edits: LesionEdits = field(default_factory=LesionEdits)
    liver: tuple[float, float, float] | None = None
    mask: Path | None = None
    rois: tuple[str, ...] = ()
    organs: Path | None = None
    organ_names: Path | None = None
    segmenter: Literal["learned", "totalsegmentator", "rules"] | None = None
    confirmation: RecordConfirmation | None = None
    model: str = ""
    explain_method: str = ""

    def to_json(self) -> dict[str, Any]:
        """The choices as JSON-compatible data, for the database."""
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
            "edits": {
                "steps": [{"do": _KIND_OF[type(one)], **asdict(one)} for one in self.edits.steps],
                "regions": {str(number): region for number, region in self.edits.regions.items()},
                "first": self.edits.first,
            },
            "liver": self.liver and list(self.liver),
            "mask": self.mask and str(self.mask),
            "rois": list(self.rois),
            "organs": self.organs and str(self.organs),
            "organ_names": self.organ_names and str(self.organ_names),
            "segmenter": self.segmenter,
            "confirmation": None if self.confirmation is None else asdict(self.confirmation),
            "model": self.model,
            "explain_method": self.explain_method,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read the data of `to_json`; missing choices keep their defaults.

        Raises:
            OverrideError: a correction is not valid.
        """
        corrections = tuple(
            parse_override(one["name"], str(one["value"]), reason=one["reason"], by=one["by"])
            for one in data.get("corrections", ())
        )
        return cls(
            corrections=corrections,
            pet_series=data.get("pet_series"),
            ct_series=data.get("ct_series"),
            method=data.get("method", "suv4"),
            include=tuple(data.get("include", ())),
            exclude=tuple(data.get("exclude", ())),
            edits=_edits(data.get("edits") or {}),
            liver=tuple(data["liver"]) if data.get("liver") else None,
            mask=Path(data["mask"]) if data.get("mask") else None,
            rois=tuple(data.get("rois", ())),
            organs=Path(data["organs"]) if data.get("organs") else None,
            organ_names=Path(data["organ_names"]) if data.get("organ_names") else None,
            segmenter=data.get("segmenter"),
            confirmation=RecordConfirmation(**data["confirmation"]) if data.get("confirmation") else None,
            model=data.get("model", ""),
            explain_method=data.get("explain_method", ""),
        )


_KINDS: Mapping[str, type[Step]] = {"grow": GrownFocus, "brush": BrushStroke, "merge": MergedLesions}
_KIND_OF = {kind: name for name, kind in _KINDS.items()}


def _edits(data: Mapping[str, Any]) -> LesionEdits:
    # cases that were read when a lesion could only be grown
    grown = [{"do": _KIND_OF[GrownFocus], **one} for one in data.get("grown", ())]
    steps = tuple(_step(one) for one in data.get("steps", grown))
    regions = {int(number): region for number, region in data.get("regions", {}).items()}
    return LesionEdits(steps, regions, data.get("first", min((one["id"] for one in grown), default=0)))


def _step(data: Mapping[str, Any]) -> Step:
    values = {name: value for name, value in data.items() if name != "do"}
    if "point_mm" in values:
        values["point_mm"] = tuple(values["point_mm"])
    if "points_mm" in values:
        values["points_mm"] = tuple(tuple(one) for one in values["points_mm"])
    return _KINDS[data["do"]](**values)


def input_limits(settings: Settings) -> InputLimits:
    """How many files and bytes a study may have."""
    return InputLimits(max_files=settings.max_files, max_bytes=settings.max_upload_mb * 2**20)
