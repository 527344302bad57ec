"""Series of a pile of DICOM files: what each is, and whether its kind can be used at all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from fedpet.errors import GeometryRefused
from fedpet.messages import Message
from imaging.enhanced import CLASSES, IMAGES
from imaging.geometry import Geometry, geometry_of
from imaging.header import moment, number, text, texts
from imaging.study import SeriesFacts
from imaging.timing import acquisition_times

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from pydicom.dataset import Dataset

    from imaging.intake import Instance

_LOCALIZER = re.compile(r"(?<![a-z])(scout|topogram|localizer|surview|scanogram|rep[eé]rage)", re.IGNORECASE)
_PROJECTION = re.compile(r"(?<![a-z])(max|min|m)[ _-]?ip(?![a-z])", re.IGNORECASE)
_NOT_CORRECTED = re.compile(
    r"(?<![a-z])(nac|no[nt]?[ _-]?(ac|attn)|uncorrected|non[ _-]corrig\w*|sans[ _-](ca|corr\w* d.?att\w*))(?![a-z])",
    re.IGNORECASE,
)
_HOUNSFIELD = ("", "HU", "US")  # Rescale Type (PS3.3 C.11.1.1.2): US is "unspecified"
_SPELLED = {"PET": "PT"}  # Modality as some converters write it
_LARGEST_VOXELS = 2**30  # 4 GB as float32: no clinical series comes near
_LARGEST_SLICE = 2**24  # pixels; a few compressed bytes can claim any number
_LARGEST_MM = (1500.0, 1500.0, 3000.0)  # of (columns, rows, slices)
_SMALLEST_MM = 0.01  # of a voxel


@dataclass(frozen=True, eq=False)
class Series:
    """Images of one SeriesInstanceUID and modality, in the order they were found.

    Attributes:
        id: its number in the table of series, from 1, by which a person names it.
        stack: (place, count) where one SeriesInstanceUID held several stacks of images.
        joined: the series of which this one was put together.
    """

    instances: tuple[Instance, ...]
    id: int = 0
    stack: tuple[int, int] = (1, 1)
    joined: tuple[Series, ...] = ()

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
        """PT, CT, ...; told by the class of the object where Modality is empty."""
        told = text(self.first, "Modality").upper()
        return _SPELLED.get(told, told) or IMAGES.get(text(self.first, "SOPClassUID"), "")

    @cached_property
    def frames(self) -> frozenset[str]:
        """The FrameOfReferenceUIDs that its images name: one in a sound series, none where it is left out."""
        return frozenset(named for header in self.headers if (named := text(header, "FrameOfReferenceUID")))

    @property
    def description(self) -> str:
        """SeriesDescription: free text of the scanner."""
        return text(self.first, "SeriesDescription")

    @cached_property
    def image_type(self) -> frozenset[str]:
        """Values of ImageType and SeriesType of the first image, in capitals."""
        return frozenset(
            value.upper() for keyword in ("ImageType", "SeriesType") for value in texts(self.first, keyword)
        )

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
        if slices * rows * columns > _LARGEST_VOXELS or rows * columns > _LARGEST_SLICE:
            return GeometryRefused(
                found=Message("The series claims {n} slices of {r} x {c} pixels.", n=slices, r=rows, c=columns),
                needed=Message("A series of the size of a clinical examination."),
                advice=Message("Check the files; they may be damaged."),
            )
        size = [step * count for step, count in zip(geometry.spacing, (columns, rows, slices), strict=True)]
        too_large = any(mm > largest for mm, largest in zip(size, _LARGEST_MM, strict=True))
        if too_large or min(geometry.spacing) < _SMALLEST_MM:
            return GeometryRefused(
                found=Message("The series claims {x:.3g} x {y:.3g} x {z:.3g} mm.", x=size[0], y=size[1], z=size[2]),
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

    @cached_property
    def start(self) -> datetime | None:
        """Earliest acquisition, else the time of the series."""
        return min(filter(None, acquisition_times(self.headers)), default=moment(self.first, "Series"))

    @property
    def derived(self) -> bool:
        """A reformat or other derived image (ImageType value 1); de-identification may mark an original so."""
        return "DERIVED" in self.image_type


def series_facts(series: Series, reason: Message, *, chosen: bool) -> SeriesFacts:
    """What is reported of a series."""
    volume = None if isinstance(series.geometry, GeometryRefused) else series.geometry
    place, count = series.stack
    if count > 1:
        reason = Message("stack {place} of {count} in one series: {reason}", place=place, count=count, reason=reason)
    return SeriesFacts(
        modality=series.modality,
        description=series.description,
        instances=len(series.instances),
        shape=volume.shape if volume else None,
        spacing=volume.spacing if volume else None,
        chosen=chosen,
        reason=reason,
        id=series.id,
    )


def _undescribed(series: Series) -> bool:
    return text(series.first, "SOPClassUID") in CLASSES and series.instances[0].frame is None


def _other_class(series: Series) -> bool:
    return text(series.first, "SOPClassUID") != "" and text(series.first, "SOPClassUID") not in IMAGES


def _contradicting_class(series: Series) -> bool:
    return IMAGES.get(text(series.first, "SOPClassUID"), series.modality) != series.modality


def _dynamic(series: Series) -> bool:
    several = ("NumberOfTimeSlices", "NumberOfTimeSlots", "NumberOfRRIntervals")
    return any("GATED" in value or "DYNAMIC" in value for value in series.image_type) or any(
        (number(series.first, keyword) or 1) > 1 for keyword in several
    )


def _projection(series: Series) -> bool:
    kinds = {"MIP", "REPROJECTION", "PROJECTION IMAGE"}
    return bool(series.image_type & kinds) or bool(_PROJECTION.search(series.description))


_NEVER: tuple[tuple[Callable[[Series], bool], Message], ...] = (
    (lambda one: one.modality not in ("PT", "CT"), Message("not an image of the PET or of the CT")),
    (_undescribed, Message("enhanced multi-frame object whose frames are not described")),
    (_other_class, Message("secondary capture, report or other derived object")),
    (_contradicting_class, Message("its modality contradicts the class of the object")),
    (
        lambda one: number(one.first, "SamplesPerPixel") not in (None, 1),
        Message("colour image: a screenshot or a fusion"),
    ),
    (
        lambda one: text(one.first, "PhotometricInterpretation") not in ("", "MONOCHROME2"),
        Message("not a grey-scale image"),
    ),
    (lambda one: "SCREEN SAVE" in one.image_type, Message("screenshot")),
    (
        lambda one: "LOCALIZER" in one.image_type or bool(_LOCALIZER.search(one.description)),
        Message("localizer"),
    ),
    (_projection, Message("projection (MIP)")),
    (
        lambda one: one.modality == "PT" and "ATTN" not in texts(one.first, "CorrectedImage"),
        Message("PET without attenuation correction"),
    ),
    (
        lambda one: one.modality == "PT" and bool(_NOT_CORRECTED.search(one.description)),
        Message("its name says that it is not corrected for attenuation"),
    ),
    (lambda one: one.modality == "PT" and _dynamic(one), Message("gated or dynamic PET")),
    (
        lambda one: one.modality == "CT" and text(one.first, "RescaleType").upper() not in _HOUNSFIELD,
        Message("CT that is not in Hounsfield units"),
    ),
    (lambda one: len(one.frames) > 1, Message("its images name several frames of reference")),
)
