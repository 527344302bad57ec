"""Pixels of a series, decoded slice by slice into one array allocated beforehand."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

import numpy as np
from pydicom.encaps import get_frame
from pydicom.errors import InvalidDicomError
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import RLELossless

from fedpet.core.errors import SliceGeometryError, UnreadableStudyError
from fedpet.core.messages import Message
from fedpet.imaging.dicom.codestream import require_size
from fedpet.imaging.dicom.headers.attributes import number
from fedpet.imaging.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Sequence
    from io import FileIO
    from typing import Any, Literal

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from fedpet.core.progress import Progress
    from fedpet.imaging.dicom.files import DicomInstance
    from fedpet.imaging.dicom.geometry import SliceGeometry

AIR_HU = -1024
_WHOLE = 2**14  # whole slopes and intercepts below leave 16-bit values within 32 bits
_HIGHEST_HU = np.iinfo(np.int16).max
_UNDECODABLE = (  # what pydicom and the decoders raise, and a file that is gone
    InvalidDicomError, RuntimeError, ValueError, LookupError, AttributeError, TypeError, EOFError, NotImplementedError,
    OverflowError, MemoryError, AssertionError, struct.error, OSError,
)  # fmt: skip


def read_pet(
    instances: Sequence[DicomInstance], geometry: SliceGeometry, *, scales: Sequence[float], progress: Progress
) -> Volume:
    """The PET in SUVbw, float32.

    Args:
        instances: in slice order.
        geometry: of these instances.
        scales: SUVbw per stored unit of each slice (slope x factor).
        progress: told after every slice.

    Raises:
        UnreadableStudyError: pixels cannot be decoded, or lie in other bits than the header says.
    """
    array, room = np.empty(geometry.shape, np.float32), bytearray()
    for place, (instance, scale) in enumerate(zip(instances, scales, strict=True)):
        stored = _stored(instance, geometry, room, every_bit=True)
        np.multiply(stored, np.float32(scale), out=array[place], casting="unsafe")
        progress((place + 1) / len(instances), Message("Reading the PET"))
    return Volume(array, geometry.affine, "g/ml")


def read_ct(instances: Sequence[DicomInstance], geometry: SliceGeometry, *, progress: Progress) -> Volume:
    """The CT in HU, at least -1024: int16 where all slopes and intercepts are whole numbers, else float32.

    Padding (Pixel Padding Value, PS3.3 C.7.5.1.1.2) becomes air.

    Raises:
        UnreadableStudyError: a slice has no rescale slope or intercept, or its pixels cannot be decoded.
    """
    rescales = [_rescale(instance.header) for instance in instances]
    whole = all(value.is_integer() and abs(value) < _WHOLE for rescale in rescales for value in rescale)
    array, room = np.empty(geometry.shape, np.int16 if whole else np.float32), bytearray()
    for place, (instance, rescale) in enumerate(zip(instances, rescales, strict=True)):
        stored = _stored(instance, geometry, room)
        _to_hu(stored, *rescale, out=array[place])
        padding = number(instance.header, "PixelPaddingValue")
        if padding is not None:
            array[place][stored == padding] = AIR_HU
        progress((place + 1) / len(instances), Message("Reading the CT"))
    return Volume(array, geometry.affine, "HU")


def require_equal_copies(instances: Sequence[DicomInstance], geometry: SliceGeometry) -> None:
    """Compare the images found at one place.

    Raises:
        SliceGeometryError: they differ, so that which one belongs to the series is not known.
    """
    for kept, dropped in geometry.copies:
        one, other = instances[kept], instances[dropped]
        rescaled = [
            (number(each.header, "RescaleSlope"), number(each.header, "RescaleIntercept")) for each in (one, other)
        ]
        if rescaled[0] != rescaled[1] or not np.array_equal(_stored(one, geometry), _stored(other, geometry)):
            raise SliceGeometryError(
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
        raise UnreadableStudyError(
            found=Message("A CT slice has no rescale slope or intercept."),
            needed=Message("Rescale Slope and Rescale Intercept in every CT slice."),
            advice=Message("Export the original CT series."),
        )
    return slope, intercept


def _stored(
    instance: DicomInstance, geometry: SliceGeometry, room: bytearray | None = None, *, every_bit: bool = False
) -> NDArray[Any]:
    """Stored values of one slice, shape (rows, columns); they may lie in `room`, until it is used again.

    `every_bit` refuses pixels, uncompressed or RLE, with anything in the bits that the header says are not in use.
    """
    try:
        with instance.file.open("rb", buffering=0) as stream:
            length = _pixels_length(stream, instance)
            if instance.syntax.is_encapsulated:
                pixels = _decoded(stream, instance)
            else:
                pixels = _native(stream, instance, geometry, length, room if room is not None else bytearray())
            if not instance.syntax.is_encapsulated or instance.syntax == RLELossless:  # others know their bits
                pixels = _in_use(pixels, instance.header, every_bit=every_bit)
    except BaseException as error:
        if isinstance(error, _UNDECODABLE) or type(error).__name__ == "PanicException":  # of the RLE decoder, in Rust
            raise _undecodable() from error
        raise
    if pixels.shape != geometry.shape[1:]:
        raise _undecodable()
    return pixels


def _pixels_length(stream: FileIO, instance: DicomInstance) -> int:
    """Length of the Pixel Data element; `stream` stands at its value afterwards."""
    stream.seek(instance.pixels_at)
    element = stream.read(8 if instance.syntax.is_implicit_VR else 12)
    order: Literal["little", "big"] = "little" if instance.syntax.is_little_endian else "big"
    group, number_in_group = (int.from_bytes(element[at : at + 2], order) for at in (0, 2))
    if (group, number_in_group) != (0x7FE0, 0x0010):
        raise ValueError("no integer pixels")
    return int.from_bytes(element[-4:], order)


def _native(
    stream: FileIO, instance: DicomInstance, geometry: SliceGeometry, length: int, room: bytearray
) -> NDArray[Any]:
    """Uncompressed values, all bits of them."""
    header = instance.header
    bits, _, high = _bits(header)
    size = geometry.shape[1] * geometry.shape[2] * bits // 8
    frame = instance.frame or 0
    if length < (frame + 1) * size:
        raise ValueError("fewer pixels than rows x columns")
    if frame:
        stream.seek(frame * size, os.SEEK_CUR)
    if len(room) != size:
        room[:] = bytes(size)
    if stream.readinto(room) != size:
        raise EOFError
    if instance.frame is None:
        _require_padding(stream, length - size, size, row=size // geometry.shape[1])
    kind = ("<" if instance.syntax.is_little_endian else ">") + "ui"[number(header, "PixelRepresentation") == 1]
    pixels: NDArray[Any] = np.frombuffer(room, f"{kind}{bits // 8}").reshape(geometry.shape[1:])
    if number(header, "PixelRepresentation") is None and (pixels >> high & 1).any():
        raise UnreadableStudyError(
            found=Message("Pixel Representation is missing, and pixels use the bit of the sign."),
            needed=Message("Pixel Representation 0 (unsigned) or 1 (signed) in every image."),
            advice=Message("Export the series again: without it, negative values cannot be told from large ones."),
        )
    return pixels


def _bits(header: Dataset) -> tuple[int, int, int]:
    """Bits allocated, bits stored and high bit.

    Raises:
        ValueError: missing, or none that fit each other.
    """
    bits, stored = _whole(header, "BitsAllocated"), _whole(header, "BitsStored")
    high = int(number(header, "HighBit") or stored - 1)
    if bits not in (8, 16, 32) or not stored - 1 <= high < bits:
        raise ValueError("unusual bits")
    return bits, stored, high


def _in_use(pixels: NDArray[Any], header: Dataset, *, every_bit: bool) -> NDArray[Any]:
    """The values without the bits that are not in use: overlays of old CT live there (PS3.5 8.1.1).

    Raises:
        UnreadableStudyError: `every_bit`, and those bits hold more than zeros or the sign.
    """
    bits, stored, high = _bits(header)
    if stored == bits:
        return pixels
    values: NDArray[Any] = (pixels << (bits - 1 - high)) >> (bits - stored)
    if every_bit and uses_other_bits(pixels, stored=stored, high=high):
        raise UnreadableStudyError(
            found=Message(
                "Pixels of the PET use bits outside those of the header (Bits Stored {stored}, High Bit {high}).",
                stored=stored,
                high=high,
            ),
            needed=Message("Bits Stored and High Bit that fit the pixels, or zeros in the other bits."),
            advice=Message("Export the PET again: by these headers its values would be wrong."),
        )
    return values


def uses_other_bits(pixels: NDArray[Any], *, stored: int, high: int) -> bool:
    """Whether pixels hold more outside the `stored` bits that end at the bit `high` than zeros or, signed, their sign.

    Zeros in the place of a sign count: whether the value is negative or too large for these bits cannot be told.
    """
    bits = 8 * pixels.dtype.itemsize
    alone = ((pixels << (bits - 1 - high)) >> (bits - stored)) << (high + 1 - stored)
    return not bool((pixels == alone).all())


def _require_padding(stream: FileIO, excess: int, size: int, *, row: int) -> None:
    """Whether what follows the pixels of a single frame is padding, by PS3.5 8.1.1 one byte at most, in files more.

    Args:
        stream: stands behind the pixels.
        excess: bytes that belong to the element and follow.
        size: bytes of the frame.
        row: bytes of a row; less cannot be pixels that the header does not count.

    Raises:
        ValueError: it may be rows or frames that the header does not count.
    """
    if excess < row:
        return
    if excess >= size or len(set(stream.read(excess))) != 1:
        raise ValueError("more pixels than rows x columns")


def holds_one_frame(instance: DicomInstance) -> bool:
    """Whether the uncompressed pixels of a file are those of one frame; false where that cannot be told."""
    if instance.syntax.is_encapsulated:
        return False
    try:
        with instance.file.open("rb", buffering=0) as stream:
            length = _pixels_length(stream, instance)
        rows, columns, bits = (_whole(instance.header, name) for name in ("Rows", "Columns", "BitsAllocated"))
    except (ValueError, OSError):
        return False
    return length < 2 * (rows * columns * bits // 8)


def _decoded(stream: FileIO, instance: DicomInstance) -> NDArray[Any]:
    """Compressed values, of a multi-frame file only the one frame."""
    header = instance.header
    options: dict[str, Any] = {
        "rows": _whole(header, "Rows"),
        "columns": _whole(header, "Columns"),
        "samples_per_pixel": 1,
        "photometric_interpretation": "MONOCHROME2",
        "bits_allocated": _whole(header, "BitsAllocated"),
        "bits_stored": _whole(header, "BitsStored"),
        "pixel_representation": _whole(header, "PixelRepresentation"),
        "pixel_keyword": "PixelData",
        "correct_unused_bits": False,
        "number_of_frames": 1 if instance.frame is None else _whole(header, "NumberOfFrames"),
    }
    offsets = header.get("ExtendedOffsetTable"), header.get("ExtendedOffsetTableLengths")
    if all(offsets):
        options["extended_offsets"] = offsets
    start, index, count = stream.tell(), instance.frame or 0, options["number_of_frames"]
    known = options.get("extended_offsets")
    frame = get_frame(stream, index, extended_offsets=known, number_of_frames=count)
    require_size(frame, options["rows"], options["columns"])
    stream.seek(start)
    pixels: NDArray[Any] = get_decoder(instance.syntax).as_array(stream, index=index, **options)[0]
    return pixels


def _whole(header: Dataset, keyword: str) -> int:
    value = number(header, keyword)
    if value is None:
        raise ValueError("an attribute of the pixels is missing")
    return int(value)


def _undecodable() -> UnreadableStudyError:
    return UnreadableStudyError(
        found=Message("The pixels of a slice cannot be decoded: the file is damaged or its compression is unknown."),
        needed=Message("Complete DICOM images, uncompressed or in JPEG, JPEG-LS, JPEG 2000 or RLE."),
        advice=Message("Export the series again, uncompressed if possible."),
    )
