"""Images of one series that cannot be one volume, told apart into the stacks that can.

Scanners and archives put a localizer and the axial images, two acquisitions, two reconstructions, or the PET with and
without attenuation correction under one SeriesInstanceUID. They are told apart where their headers leave no doubt;
a series of which images are missing, or a dynamic one, must not be cut into pieces that each look whole.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

from fedpet.core.errors import SliceGeometryError
from fedpet.imaging.dicom.geometry import FEWEST_SLICES, PHASE_KEYWORDS, SliceGeometry
from fedpet.imaging.dicom.headers.attributes import numbers, text, texts
from fedpet.imaging.dicom.series import Series

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from pydicom.dataset import Dataset

    from fedpet.imaging.dicom.files import DicomInstance

_SERIES = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "SOPClassUID")
_SAME_SPACING = 0.02  # relative
_MOST_STACKS = 32  # more values are those of single images, not of stacks


def split_into_stacks(instances: Iterable[DicomInstance]) -> tuple[Series, ...]:
    """Series, by patient, study, series, modality and stack, numbered in a fixed order."""
    groups: dict[tuple[str, ...], list[DicomInstance]] = defaultdict(list)
    for instance in instances:
        groups[tuple(text(instance.header, key) for key in _SERIES)].append(instance)
    found = []
    for key in sorted(groups):
        stacks = _stacks(Series(tuple(groups[key])))
        found += [replace(stack, stack=(place, len(stacks))) for place, stack in enumerate(stacks, start=1)]
    return tuple(replace(series, id=place) for place, series in enumerate(found, start=1))


def _stacks(series: Series) -> list[Series]:
    """The stacks of one series; the series itself where it is one, or where what it holds is not known."""
    one_volume = isinstance(series.geometry, SliceGeometry) and not series.geometry.copies
    if series.modality not in ("PT", "CT") or (one_volume and len(_by(series.instances, _kind)) == 1):
        return [series]
    for key, proven in _KEYS:
        parts = _by(series.instances, key)
        if 1 < len(parts) <= _MOST_STACKS:
            stacks = [stack for part in parts for stack in _stacks(part)]
            if _stand_alone(stacks, proven):
                return stacks
    return [series]


def _by(instances: Iterable[DicomInstance], key: Callable[[Dataset], Hashable]) -> list[Series]:
    parts: dict[Hashable, list[DicomInstance]] = defaultdict(list)
    for instance in instances:
        parts[key(instance.header)].append(instance)
    return [Series(tuple(part)) for part in parts.values()]


def _stand_alone(stacks: Sequence[Series], proven: Callable[[Series, Series], bool]) -> bool:
    """Whether each stack is a volume of its own, or a localizer or the like that belongs to none."""
    whole = [stack for stack in stacks if isinstance(stack.geometry, SliceGeometry)]
    rest = [stack for stack in stacks if isinstance(stack.geometry, SliceGeometryError)]
    aside = all(_aside(stack, whole) for stack in rest)
    return bool(whole) and aside and all(proven(one, other) for one, other in combinations(whole, 2))


def _aside(stack: Series, whole: Sequence[Series]) -> bool:
    """A few images, or ones never used, of another orientation or image type than the volumes: a localizer, a capture.

    A few like those of a volume may be its lost end; so may a few of a PET that only name another type.
    """
    few = len(stack.instances) < FEWEST_SLICES or stack.unfit is not None
    turned = all(_orientation(stack.first) != _orientation(one.first) for one in whole)
    other_type = stack.modality == "CT" and all(stack.image_type != one.image_type for one in whole)
    return few and (turned or other_type)


def _kind(header: Dataset) -> Hashable:
    """What images of one volume never differ in."""
    localizer = "LOCALIZER" in texts(header, "ImageType")
    return localizer, "ATTN" in texts(header, "CorrectedImage"), text(header, "Units"), texts(header, "SeriesType")


def _plane(header: Dataset) -> Hashable:
    spacing = tuple(round(value, 2) for value in numbers(header, "PixelSpacing"))
    return _orientation(header), spacing, numbers(header, "Rows"), numbers(header, "Columns")


def _orientation(header: Dataset) -> tuple[float, ...]:
    return tuple(round(value, 2) + 0.0 for value in numbers(header, "ImageOrientationPatient"))


def _always(_one: Series, _other: Series) -> bool:
    return True


def _kinds(one: Series, other: Series) -> bool:
    """Whether two PETs of different kinds lie at the same places: halves of one PET follow one another."""
    return one.modality == "CT" or _overlap(one, other)


def _reconstructions(one: Series, other: Series) -> bool:
    """Whether two volumes can only be two reconstructions, or two acquisitions that differ in slice spacing.

    Halves of a series with a gap have one spacing and follow one another. Phases of a gated or dynamic PET lie at the
    same places and differ in a time.
    """
    at_once = one.modality == "CT" or _times(one) == _times(other)
    return _spaced_differently(one, other) or (_overlap(one, other) and at_once)


def _acquisitions(one: Series, other: Series) -> bool:
    """The same of volumes that only differ in AcquisitionNumber, as the frames of a dynamic PET may."""
    return _spaced_differently(one, other) or (one.modality == "CT" and _reconstructions(one, other))


def _spaced_differently(one: Series, other: Series) -> bool:
    return abs(_spacing(one) - _spacing(other)) > _SAME_SPACING * max(_spacing(one), _spacing(other))


def _overlap(one: Series, other: Series) -> bool:
    (low, high), (other_low, other_high) = _extent(one), _extent(other)
    return min(high, other_high) - max(low, other_low) > max(_spacing(one), _spacing(other))


def _extent(volume: Series) -> tuple[float, float]:
    return volume.geometry.head_foot_mm if isinstance(volume.geometry, SliceGeometry) else (0.0, 0.0)


def _spacing(volume: Series) -> float:
    return volume.geometry.spacing[2] if isinstance(volume.geometry, SliceGeometry) else 0.0


def _times(series: Series) -> set[tuple[str, ...]]:
    return {tuple(text(header, keyword) for keyword in PHASE_KEYWORDS) for header in series.headers}


# What images are told apart by, and what must hold of any two of the volumes found in that way.
_KEYS: tuple[tuple[Callable[[Dataset], Hashable], Callable[[Series, Series], bool]], ...] = (
    (lambda header: text(header, "StackID"), _always),
    (_kind, _kinds),
    (_plane, _always),
    (lambda header: texts(header, "ImageType"), _reconstructions),
    (lambda header: texts(header, "ConvolutionKernel"), _reconstructions),
    (lambda header: text(header, "AcquisitionNumber"), _acquisitions),
)
