"""Pixels of a series, decoded slice by slice into one array allocated beforehand."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from fedpet.errors import GeometryRefused, UnreadableStudy
from fedpet.messages import Message
from imaging.header import number
from imaging.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from fedpet.progress import Progress
    from imaging.geometry import Geometry
    from imaging.intake import Instance

AIR_HU = -1024
_HIGHEST_HU = np.iinfo(np.int16).max
_UNDECODABLE = (
    InvalidDicomError, RuntimeError, ValueError, KeyError, AttributeError, TypeError, EOFError, NotImplementedError,
    MemoryError, struct.error,
)  # fmt: skip


def read_pet(
    instances: Sequence[Instance], geometry: Geometry, *, scales: Sequence[float], progress: Progress
) -> Volume:
    """The PET in SUVbw, float32.

    Args:
        instances: in slice order.
        geometry: of these instances.
        scales: SUVbw per stored unit of each slice (slope x factor).
        progress: told after every slice.
    """
    array = np.empty(geometry.shape, np.float32)
    for place, (instance, scale) in enumerate(zip(instances, scales, strict=True)):
        np.multiply(_stored(instance, geometry), np.float32(scale), out=array[place], casting="unsafe")
        progress((place + 1) / len(instances), Message("Reading the PET"))
    return Volume(array, geometry.affine, "g/ml")


def read_ct(instances: Sequence[Instance], geometry: Geometry, *, progress: Progress) -> Volume:
    """The CT in HU, at least -1024: int16 where all slopes and intercepts are whole numbers, else float32.

    Padding (Pixel Padding Value, PS3.3 C.7.5.1.1.2) becomes air.

    Raises:
        UnreadableStudy: a slice has no rescale slope or intercept, or its pixels cannot be decoded.
    """
    rescales = [_rescale(instance.header) for instance in instances]
    whole = all(value.is_integer() for rescale in rescales for value in rescale)
    array = np.empty(geometry.shape, np.int16 if whole else np.float32)
    wide = np.int32 if whole else np.float32
    for place, (instance, (slope, intercept)) in enumerate(zip(instances, rescales, strict=True)):
        stored = _stored(instance, geometry)
        hu = stored * wide(slope) + wide(intercept)
        padding = number(instance.header, "PixelPaddingValue")
        if padding is not None:
            hu[stored == padding] = AIR_HU
        np.clip(hu, AIR_HU, _HIGHEST_HU, out=array[place], casting="unsafe")
        progress((place + 1) / len(instances), Message("Reading the CT"))
    return Volume(array, geometry.affine, "HU")


def require_equal_copies(instances: Sequence[Instance], geometry: Geometry) -> None:
    """Compare the images found at one place.

    Raises:
        GeometryRefused: they differ, so that which one belongs to the series is not known.
    """
    for kept, dropped in geometry.copies:
        one, other = instances[kept], instances[dropped]
        rescaled = [
            (number(each.header, "RescaleSlope"), number(each.header, "RescaleIntercept")) for each in (one, other)
        ]
        if rescaled[0] != rescaled[1] or not np.array_equal(_stored(one, geometry), _stored(other, geometry)):
            raise GeometryRefused(
                found=Message("Two different images lie at the same place ({n} such places).", n=len(geometry.copies)),
                needed=Message("One image for each place in a series."),
                advice=Message("Export the series again, without images of other series."),
            )


def _rescale(header: Dataset) -> tuple[float, float]:
    slope, intercept = number(header, "RescaleSlope"), number(header, "RescaleIntercept")
    if slope is None or intercept is None:
        raise UnreadableStudy(
            found=Message("A CT slice has no rescale slope or intercept."),
            needed=Message("Rescale Slope and Rescale Intercept in every CT slice."),
            advice=Message("Export the original CT series."),
        )
    return slope, intercept


def _stored(instance: Instance, geometry: Geometry) -> NDArray[Any]:
    """Stored values of one slice, shape (rows, columns)."""
    try:
        dataset = pydicom.dcmread(instance.file, force=True)
        if "TransferSyntaxUID" not in dataset.file_meta:
            dataset.file_meta.TransferSyntaxUID = _bare_syntax(dataset)
        pixels = dataset.pixel_array
    except _UNDECODABLE as error:
        raise _undecodable() from error
    if pixels.shape != geometry.shape[1:]:
        raise _undecodable()
    return pixels


def _bare_syntax(dataset: Dataset) -> pydicom.uid.UID:
    """Transfer syntax of a data set without file meta information, as pydicom found it while reading."""
    implicit, little = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _undecodable() -> UnreadableStudy:
    return UnreadableStudy(
        found=Message("The pixels of a slice cannot be decoded: the file is damaged or its compression is unknown."),
        needed=Message("Complete DICOM images, uncompressed or in JPEG, JPEG-LS, JPEG 2000 or RLE."),
        advice=Message("Export the series again, uncompressed if possible."),
    )
