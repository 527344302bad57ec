"""Series of a pile of DICOM files: what each is, and whether its kind can be used at all."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from pydicom.uid import UID, CTImageStorage, PositronEmissionTomographyImageStorage

from fedpet.errors import GeometryRefused
from fedpet.messages import Message
from imaging.geometry import Geometry, geometry_of
from imaging.header import moment, number, text, texts
from imaging.study import SeriesFacts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from pydicom.dataset import Dataset

    from imaging.intake import Instance

_LOCALIZER = re.compile(r"\b(scout|topogram|localizer|surview)\b", re.IGNORECASE)
_PROJECTION = re.compile(r"\bMIP\b", re.IGNORECASE)
_LARGEST_VOXELS = 2**31  # 8 GB as float32: no clinical series comes near


@dataclass(frozen=True, eq=False)
class Series:
    """Instances of one SeriesInstanceUID, frame of reference and modality, in the order they were found."""

    instances: tuple[Instance, ...]

    @property
    def first(self) -> Dataset:
        """Header of the first instance found."""
        return self.instances[0].header

    @property
    def headers(self) -> tuple[Dataset, ...]:
        """All headers."""
        return tuple(instance.header for instance in self.instances)

    @property
    def modality(self) -> str:
        """Modality as written: PT, CT, ..."""
        return text(self.first, "Modality")

    @property
    def frame(self) -> str:
        """FrameOfReferenceUID, "" where absent."""
        return text(self.first, "FrameOfReferenceUID")

    @property
    def description(self) -> str:
        """SeriesDescription: free text of the scanner."""
        return text(self.first, "SeriesDescription")

    @cached_property
    def unfit(self) -> Message | None:
        """Why its kind can never be used, or None."""
        return next((reason for applies, reason in _NEVER if applies(self)), None)

    @cached_property
    def geometry(self) -> Geometry | GeometryRefused:
        """The volume its slices form, or why they form none."""
        try:
            geometry = geometry_of(self.headers)
        except GeometryRefused as refusal:
            return refusal
        slices, rows, columns = geometry.shape
        if slices * rows * columns > _LARGEST_VOXELS:
            return GeometryRefused(
                found=Message("The series claims {n} slices of {r} x {c} pixels.", n=slices, r=rows, c=columns),
                needed=Message("A series of the size of a clinical examination."),
                advice=Message("Check the files; they may be damaged."),
            )
        return geometry

    def ordered(self) -> tuple[Instance, ...]:
        """Instances in the order of the volume's slices.

        Raises:
            GeometryRefused: they form no volume.
        """
        if isinstance(self.geometry, GeometryRefused):
            raise self.geometry
        return tuple(self.instances[index] for index in self.geometry.order)

    def start(self) -> datetime | None:
        """Earliest acquisition, else the time of the series."""
        times = [time for header in self.headers if (time := moment(header, "Acquisition"))]
        return min(times, default=moment(self.first, "Series"))

    @property
    def derived(self) -> bool:
        """A reformat or other derived image (ImageType value 1); de-identification may mark an original so."""
        return "DERIVED" in _image_type(self)

    @property
    def contrast(self) -> bool:
        """Whether a contrast agent is named."""
        return text(self.first, "ContrastBolusAgent").upper() not in ("", "NONE", "NO")


def grouped(instances: Iterable[Instance]) -> tuple[Series, ...]:
    """Series, by patient, study, series, frame of reference and modality, in a fixed order."""
    groups: dict[tuple[str, ...], list[Instance]] = defaultdict(list)
    keys = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality", "SOPClassUID")
    for instance in instances:
        groups[tuple(text(instance.header, key) for key in keys)].append(instance)
    return tuple(Series(tuple(groups[key])) for key in sorted(groups))


def series_facts(series: Series, reason: Message, *, chosen: bool) -> SeriesFacts:
    """What is reported of a series."""
    volume = None if isinstance(series.geometry, GeometryRefused) else series.geometry
    return SeriesFacts(
        modality=series.modality,
        description=series.description,
        instances=len(series.instances),
        shape=volume.shape if volume else None,
        spacing=volume.spacing if volume else None,
        chosen=chosen,
        reason=reason,
    )


def _sop_class(series: Series) -> str:
    return text(series.first, "SOPClassUID")


def _image_type(series: Series) -> set[str]:
    return {value.upper() for value in (*texts(series.first, "ImageType"), *texts(series.first, "SeriesType"))}


def _foreign_class(series: Series) -> bool:
    usual = {"PT": PositronEmissionTomographyImageStorage, "CT": CTImageStorage}
    return _sop_class(series) not in ("", usual.get(series.modality))


def _dynamic(series: Series) -> bool:
    return bool(_image_type(series) & {"DYNAMIC", "GATED"}) or (number(series.first, "NumberOfTimeSlices") or 1) > 1


_NEVER: tuple[tuple[Callable[[Series], bool], Message], ...] = (
    (lambda one: one.modality not in ("PT", "CT"), Message("not an image of the PET or of the CT")),
    (lambda one: "Enhanced" in UID(_sop_class(one)).name, Message("enhanced multi-frame objects are not read yet")),
    (_foreign_class, Message("secondary capture, report or other derived object")),
    (lambda one: number(one.first, "SamplesPerPixel") != 1, Message("colour image: a screenshot or a fusion")),
    (lambda one: text(one.first, "PhotometricInterpretation") != "MONOCHROME2", Message("not a grey-scale image")),
    (lambda one: "SCREEN SAVE" in _image_type(one), Message("screenshot")),
    (
        lambda one: "LOCALIZER" in _image_type(one) or bool(_LOCALIZER.search(one.description)),
        Message("localizer"),
    ),
    (
        lambda one: (
            bool(_image_type(one) & {"MIP", "REPROJECTION", "PROJECTION IMAGE"})
            or bool(_PROJECTION.search(one.description))
        ),
        Message("projection (MIP)"),
    ),
    (
        lambda one: one.modality == "PT" and "ATTN" not in texts(one.first, "CorrectedImage"),
        Message("PET without attenuation correction"),
    ),
    (lambda one: one.modality == "PT" and _dynamic(one), Message("gated or dynamic PET")),
)
