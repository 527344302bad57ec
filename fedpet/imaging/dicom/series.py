"""The series among DICOM files: what each is, and whether its kind can be used at all."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from fedpet.core.errors import SliceGeometryError
from fedpet.core.messages import Message
from fedpet.imaging.dicom.enhanced import CLASSES, IMAGES
from fedpet.imaging.dicom.geometry import SliceGeometry, slice_geometry
from fedpet.imaging.dicom.headers.attributes import number, text, texts
from fedpet.imaging.dicom.headers.scanner_clock import acquisition_times, moment
from fedpet.imaging.dicom.pixel_data import holds_one_frame
from fedpet.imaging.study import SeriesFacts

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from pydicom.dataset import Dataset

    from fedpet.imaging.dicom.files import DicomInstance
    from fedpet.imaging.dicom.headers.patient_module import PatientModule

_LOCALIZER = re.compile(r"(?<![a-z])(scout|topogram|localizer|surview|scanogram|rep[eé]rage)", re.IGNORECASE)
_PROJECTION = re.compile(r"(?<![a-z])(max|min|m)[ _-]?ip(?![a-z])", re.IGNORECASE)
_NOT_CORRECTED = re.compile(
    r"(?<![a-z])(nac|no[nt]?[ _-]?(ac|attn)|uncorrected|non[ _-]corrig\w*|sans[ _-](ca|corr\w* d.?att\w*))(?![a-z])",
    re.IGNORECASE,
)
_HOUNSFIELD = {"HU", "US"}  # Rescale Type (PS3.3 C.11.1.1.2): US is "unspecified"
_SPELLED = {"PET": "PT"}  # Modality as some converters write it
_LARGEST_VOXELS = 2**30  # 4 GB as float32: no clinical series comes near
_LARGEST_SLICE = 2**24  # pixels; a few compressed bytes can claim any number
_LARGEST_MM = (1500.0, 1500.0, 3000.0)  # of (columns, rows, slices)
_SMALLEST_MM = 0.01  # of a voxel
_PHASE_COUNTS = ("NumberOfTimeSlices", "NumberOfTimeSlots", "NumberOfRRIntervals")


@dataclass(frozen=True, eq=False)
class Series:
    """Images of one SeriesInstanceUID and modality, in the order they were found.

    Attributes:
        id: its number in the table of series, from 1, by which a person names it.
        stack: (place, count) where one SeriesInstanceUID held several stacks of images.
        joined: the series of which this one was put together.
    """

    instances: tuple[DicomInstance, ...]
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

    @cached_property
    def patients(self) -> Counter[PatientModule]:
        """Whom its images name, and how many each."""
        return Counter(instance.patient for instance in self.instances)

    @property
    def modality(self) -> str:
        """PT, CT, ...; that of the class of the object where Modality is empty."""
        stated = text(self.first, "Modality").upper()
        return _SPELLED.get(stated, stated) or IMAGES.get(text(self.first, "SOPClassUID"), "")

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
        """Values of ImageType and SeriesType of any of its images, in capitals."""
        return frozenset(value.upper() for value in self.values("ImageType") | self.values("SeriesType"))

    def values(self, keyword: str) -> frozenset[str]:
        """All values that any of its images has of an attribute."""
        return frozenset(value for header in self.headers for value in texts(header, keyword))

    @cached_property
    def unfit(self) -> Message | None:
        """Why its kind can never be used, or None."""
        return next((reason for applies, reason in _NEVER if applies(self)), None)

    @cached_property
    def geometry(self) -> SliceGeometry | SliceGeometryError:
        """The volume its slices form, or why they form none."""
        try:
            geometry = slice_geometry(self.headers)
        except SliceGeometryError as refusal:
            return refusal
        slices, rows, columns = geometry.shape
        if slices * rows * columns > _LARGEST_VOXELS or rows * columns > _LARGEST_SLICE:
            return SliceGeometryError(
                found=Message("The series claims {n} slices of {r} x {c} pixels.", n=slices, r=rows, c=columns),
                needed=Message("A series of the size of a clinical examination."),
                advice=Message("Check the files; they may be damaged."),
            )
        size = [step * count for step, count in zip(geometry.spacing, (columns, rows, slices), strict=True)]
        too_large = any(mm > largest for mm, largest in zip(size, _LARGEST_MM, strict=True))
        if too_large or min(geometry.spacing) < _SMALLEST_MM:
            return SliceGeometryError(
                found=Message("The series claims {x:.3g} x {y:.3g} x {z:.3g} mm.", x=size[0], y=size[1], z=size[2]),
                needed=Message("A series of the size of a clinical examination."),
                advice=Message("Check the files; they may be damaged."),
            )
        return geometry

    def ordered(self) -> tuple[DicomInstance, ...]:
        """Instances in the order of the volume's slices.

        Raises:
            SliceGeometryError: they form no volume.
        """
        if isinstance(self.geometry, SliceGeometryError):
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
    volume = None if isinstance(series.geometry, SliceGeometryError) else series.geometry
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


def phase_counts(series: Series) -> dict[str, int]:
    """The counts of time slices, time slots and RR intervals above 1 that the headers state.

    They do not make a series dynamic or gated: scanners and exporters write them in static series too, also to count
    the beds. What makes one is its type, or images that share a place and differ in time.
    """
    stated = {keyword: [number(header, keyword) or 0 for header in series.headers] for keyword in _PHASE_COUNTS}
    return {keyword: int(max(counts)) for keyword, counts in stated.items() if max(counts) > 1}


def _undescribed(series: Series) -> bool:
    return any(text(one.header, "SOPClassUID") in CLASSES and one.frame is None for one in series.instances)


def _other_class(series: Series) -> bool:
    return not series.values("SOPClassUID") <= IMAGES.keys()


def _contradicting_class(series: Series) -> bool:
    return any(IMAGES.get(one, series.modality) != series.modality for one in series.values("SOPClassUID"))


def _multi_frame(series: Series) -> bool:
    """Several frames in an object of a class that has none (PS3.3 A.21, A.3): only enhanced objects describe them.

    A Number of Frames beside the pixels of one frame is only a wrong count.
    """
    counted = (one for one in series.instances if one.frame is None and (number(one.header, "NumberOfFrames") or 1) > 1)
    return not all(map(holds_one_frame, counted))


def _dynamic(series: Series) -> bool:
    return any("GATED" in value or "DYNAMIC" in value for value in series.image_type)


def _projection(series: Series) -> bool:
    kinds = {"MIP", "REPROJECTION", "PROJECTION IMAGE"}
    return bool(series.image_type & kinds) or bool(_PROJECTION.search(series.description))


_NEVER: tuple[tuple[Callable[[Series], bool], Message], ...] = (
    (lambda one: one.modality not in ("PT", "CT"), Message("not an image of the PET or of the CT")),
    (_undescribed, Message("enhanced multi-frame object whose frames are not described")),
    (_other_class, Message("secondary capture, report or other derived object")),
    (_contradicting_class, Message("its modality contradicts the class of the object")),
    (
        _multi_frame,
        Message(
            "multi-frame object of a single-frame class (Number of Frames above 1), whose frames are not described"
        ),
    ),
    (
        lambda one: not one.values("SamplesPerPixel") <= {"1"},
        Message("colour image: a screenshot or a fusion"),
    ),
    (
        lambda one: not one.values("PhotometricInterpretation") <= {"MONOCHROME1", "MONOCHROME2"},
        Message("not a grey-scale image"),
    ),
    (lambda one: "SCREEN SAVE" in one.image_type, Message("screenshot")),
    (
        lambda one: (
            all("LOCALIZER" in texts(each, "ImageType") for each in one.headers)
            or bool(_LOCALIZER.search(one.description))
        ),
        Message("localizer"),
    ),
    (_projection, Message("projection (MIP)")),
    (
        lambda one: one.modality == "PT" and any("ATTN" not in texts(each, "CorrectedImage") for each in one.headers),
        Message("PET without attenuation correction"),
    ),
    (
        lambda one: one.modality == "PT" and bool(_NOT_CORRECTED.search(one.description)),
        Message("its name says that it is not corrected for attenuation"),
    ),
    (lambda one: one.modality == "PT" and _dynamic(one), Message("gated or dynamic PET")),
    (
        lambda one: one.modality == "CT" and not {kind.upper() for kind in one.values("RescaleType")} <= _HOUNSFIELD,
        Message("CT that is not in Hounsfield units"),
    ),
    (lambda one: len(one.frames) > 1, Message("its images name several frames of reference")),
)
