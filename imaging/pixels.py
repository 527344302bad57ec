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
_WHOLE = 2**14  # whole slopes and intercepts below leave 16-bit values within 32 bits
_HIGHEST_HU = np.iinfo(np.int16).max
_NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
_PIXEL_DATA = b"\xe0\x7f\x10\x00"  # (7FE0,0010), little endian
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
    whole = all(value.is_integer() and abs(value) < _WHOLE for rescale in rescales for value in rescale)
    array = np.empty(geometry.shape, np.int16 if whole else np.float32)
    for place, (instance, rescale) in enumerate(zip(instances, rescales, strict=True)):
        stored = _stored(instance, geometry)
        _to_hu(stored, *rescale, out=array[place])
        padding = number(instance.header, "PixelPaddingValue")
        if padding is not None:
            array[place][stored == padding] = AIR_HU
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


def _to_hu(stored: NDArray[Any], slope: float, intercept: float, *, out: NDArray[Any]) -> None:
    """HU of one slice, at least -1024, into `out`; the usual int16 with slope 1 needs no wider copy."""
    lowest = AIR_HU - intercept
    if out.dtype == stored.dtype == np.int16 and slope == 1 and intercept <= 0 and lowest <= _HIGHEST_HU:
        np.maximum(stored, np.int16(lowest), out=out)
        out += np.int16(intercept)
        return
    wide = np.int32 if out.dtype == np.int16 else np.float32
    np.clip(stored * wide(slope) + wide(intercept), AIR_HU, _HIGHEST_HU, out=out, casting="unsafe")


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
    native = _native(instance, geometry)
    if native is not None:
        return native
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


def _native(instance: Instance, geometry: Geometry) -> NDArray[Any] | None:
    """Uncompressed little-endian 16-bit values straight from the file, or None where pydicom must decode them."""
    header = instance.header
    syntax = header.file_meta.get("TransferSyntaxUID")
    stored_bits, high_bit = number(header, "BitsStored"), number(header, "HighBit")
    if syntax not in _NATIVE or number(header, "BitsAllocated") != 16 or stored_bits is None:
        return None
    if not 1 <= stored_bits <= 16 or high_bit != stored_bits - 1:
        return None
    rows, columns = geometry.shape[1:]
    with instance.file.open("rb") as stream:
        stream.seek(instance.pixels_at)
        element = stream.read(8 if syntax == ImplicitVRLittleEndian else 12)
        length = int.from_bytes(element[-4:], "little")
        if element[:4] != _PIXEL_DATA or length != 2 * rows * columns:
            return None
        values = stream.read(length)
    if len(values) < length:
        raise _undecodable()
    kind = "<i2" if number(header, "PixelRepresentation") == 1 else "<u2"
    pixels: NDArray[Any] = np.frombuffer(values, kind).reshape(rows, columns)
    unused = 16 - int(stored_bits)  # high bits that may hold anything
    return (pixels << unused) >> unused if unused else pixels


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
