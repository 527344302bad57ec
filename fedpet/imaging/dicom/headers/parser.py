"""The header of a DICOM file: the wanted elements before the pixels (PS3.5 7.1), whatever else the file holds.

A study has thousands of files with hundreds of elements each, of which a few dozen are wanted. Here the others are
stepped over without making objects of them, nested sequences without recursion, so that time and memory are bounded by
the size of the header. What is unusual (no preamble, big endian, unknown or mixed representations) is left to pydicom,
which knows most of what real files do.
"""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from typing import TYPE_CHECKING

import pydicom
from pydicom.charset import convert_encodings
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet
    from typing import BinaryIO

    from pydicom.dataelem import DataElement

    _Elements = dict[BaseTag, DataElement | RawDataElement]

MAX_SEQUENCE_ITEMS = 100_000  # of sequences in one header; an enhanced object of 2000 frames has about 20,000
LARGEST_VALUE = 64 * 2**20  # bytes of one wanted element
ITEM_BYTES = b"\xfe\xff\x00\xe0"
_BLOCK = 16 * 2**10
_INFLATED_AT_ONCE = 2**20
_LARGEST_UNUSUAL = 32 * 2**20  # bytes of a header that is left to pydicom
_FIRST_GROUPS = 0x0010  # of a data set: identifying (0008), patient (0010)
_DEEPEST = 64  # levels of undefined length; real files have about 10
_UNDEFINED = 0xFFFFFFFF
_UNKNOWN = "??"
_LITTLE = True
_ITEM, _END_OF_ITEM, _END_OF_SEQUENCE = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_AFTER_META, _PIXELS = 0x00030000, 0x7FE00008  # Float, Double Float and integer Pixel Data: (7FE0,0008) to (7FE0,0010)
_MEDIA_CLASS, _SYNTAX = BaseTag(0x00020002), BaseTag(0x00020010)
_CHARACTER_SET = BaseTag(0x00080005)
_DEFLATED = DeflatedExplicitVRLittleEndian.encode()
_META = {int(_MEDIA_CLASS): _MEDIA_CLASS, int(_SYNTAX): _SYNTAX}
_SHORT_FORM = {vr.value.encode(): vr.value for vr in EXPLICIT_VR_LENGTH_16}
_LONG_FORM = {vr.value.encode(): vr.value for vr in EXPLICIT_VR_LENGTH_32}
_explicit_start = Struct("<HH2sH").unpack_from
_implicit_start = Struct("<HHL").unpack_from
_length = Struct("<L").unpack_from


@dataclass(frozen=True, eq=False)
class ParsedHeader:
    """What comes before the pixels of a DICOM file.

    Attributes:
        header: the wanted elements.
        syntax: transfer syntax, guessed where the file does not say.
        media_class: Media Storage SOP Class UID, "" where absent.
        pixels_at: where the element after the header starts: Pixel Data if there is one.
    """

    header: Dataset
    syntax: UID
    media_class: str
    pixels_at: int


class DeflatedError(Exception):
    """A data set in the deflated transfer syntax (PS3.5 A.5), from byte `start` of the file: see `inflate`."""

    def __init__(self, start: int) -> None:
        super().__init__(start)
        self.start = start


class _UnusualError(Exception):
    """Not one of the encodings read here."""


def parse_header(stream: BinaryIO, wanted: AbstractSet[BaseTag]) -> ParsedHeader:
    """The wanted elements of a DICOM file; SpecificCharacterSet should be among them.

    Raises:
        DeflatedError: to be inflated first.
        ValueError: more items, levels or bytes than a header has.
        EOFError, struct.error, or what pydicom raises: a damaged file.
    """
    try:
        return _usual_head(stream, wanted)
    except _UnusualError:
        return _pydicom_head(stream, wanted)


def inflate(stream: BinaryIO, start: int, target: BinaryIO, count: Callable[[int], None]) -> None:
    """Write a deflated DICOM file as an explicit little-endian one.

    Args:
        stream: the file.
        start: of its data set.
        target: where the inflated file is written.
        count: told how many bytes follow, before they are written.

    Raises:
        zlib.error: damaged.
    """
    plain = ExplicitVRLittleEndian.encode().ljust(len(_DEFLATED), b"\0")
    target.write(_bytes(stream, 0, start).replace(_DEFLATED, plain))
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    while not inflater.eof and (compressed := inflater.unconsumed_tail or stream.read(_BLOCK)):
        inflated = inflater.decompress(compressed, _INFLATED_AT_ONCE)
        count(len(inflated))
        target.write(inflated)


def _usual_head(stream: BinaryIO, wanted: AbstractSet[BaseTag]) -> ParsedHeader:
    start = 132 if _bytes(stream, 128, 4) == b"DICM" else 0  # some files have no preamble
    meta, start = _elements(stream, start, _META, implicit=False, until=_AFTER_META)  # PS3.10 7.1
    syntax = _uid(meta.get(_SYNTAX))
    if syntax == DeflatedExplicitVRLittleEndian:
        raise DeflatedError(start)
    first = _bytes(stream, start, 6)
    explicit = first[4:].isalpha() and first[4:].isupper()
    syntax = _actual_syntax(syntax, explicit=explicit, group=int.from_bytes(first[:2], "little"))
    implicit = _is_implicit(syntax)
    if implicit is None or implicit is explicit:
        raise _UnusualError
    known = {int(tag): tag for tag in wanted}  # an int is compared faster than a BaseTag
    elements, pixels_at = _elements(stream, start, known, implicit=implicit, until=_PIXELS)
    characters = elements.get(_CHARACTER_SET)
    header = Dataset(elements)
    encodings = _encodings(characters.value if characters else None)
    header.set_original_encoding(is_implicit_vr=implicit, is_little_endian=True, character_encoding=encodings)
    return ParsedHeader(header, syntax, _uid(meta.get(_MEDIA_CLASS)), pixels_at)


def _elements(
    stream: BinaryIO, start: int, wanted: Mapping[int, BaseTag], *, implicit: bool, until: int
) -> tuple[_Elements, int]:
    """The wanted elements of the outermost level from `start` to the first tag of at least `until`, and where that is.

    An undefined length opens a level, a delimiter closes it; what has a length is stepped over. Odd levels are
    sequences and hold items, even levels are items (or the data set) and hold elements.
    """
    step: Callable[[bytes, int], tuple[int, str | None, int, int]] = _implicit_step if implicit else _explicit_step
    elements: _Elements = {}
    base, at, level, data = start, 0, 0, _bytes(stream, start, _BLOCK)
    opened, opened_vr, opened_at = 0, None, 0
    while True:
        if len(data) - at < 12:
            base, at, data = base + at, 0, _bytes(stream, base + at, _BLOCK)
        if len(data) < 8:
            return elements, base
        tag, vr, length, value_at = step(data, at)
        if level == 0 and tag >= until:
            return elements, base + at
        if vr == _UNKNOWN or (tag in (_ITEM, _END_OF_SEQUENCE)) != level % 2:
            raise _UnusualError
        if level == 0 and tag in wanted and length != _UNDEFINED:
            inside = data[value_at : value_at + length]
            value = inside if len(inside) == length else _value(stream, base + value_at, length)
            elements[wanted[tag]] = RawDataElement(wanted[tag], vr, length, value, 0, implicit, _LITTLE)
        elif level == 0:
            opened, opened_vr, opened_at = tag, vr, base + value_at
        level = _level(level, tag, length)
        if level == 0 and tag == _END_OF_SEQUENCE and opened in wanted:
            value = _value(stream, opened_at, base + at - opened_at)
            elements[wanted[opened]] = RawDataElement(
                wanted[opened], opened_vr, len(value), value, 0, implicit, _LITTLE
            )
        at = value_at if length == _UNDEFINED else value_at + length


def _actual_syntax(syntax: UID, *, explicit: bool, group: int) -> UID:
    """The transfer syntax that an uncompressed data set is in, where the meta information names another one.

    Args:
        syntax: as the meta information has it.
        explicit: whether the first element shows a representation.
        group: of the first element, read as little endian; 0008 as a rule.
    """
    if not syntax.is_transfer_syntax or syntax.is_encapsulated or not 0 < group <= _FIRST_GROUPS:
        return syntax
    return ExplicitVRLittleEndian if explicit else ImplicitVRLittleEndian


def _level(level: int, tag: int, length: int) -> int:
    """The level after an element."""
    if tag in (_END_OF_ITEM, _END_OF_SEQUENCE):
        return level - 1
    if length != _UNDEFINED:
        return level
    if level == _DEEPEST:
        raise ValueError("nested too deeply")
    return level + 1


def _explicit_step(data: bytes, at: int) -> tuple[int, str | None, int, int]:
    """Tag, representation (`_UNKNOWN` where it is left to pydicom), length and where the value starts."""
    group, element, vr, length = _explicit_start(data, at)
    tag = group << 16 | element
    if vr in _SHORT_FORM:
        return tag, _SHORT_FORM[vr], length, at + 8
    if vr in _LONG_FORM:
        (length,) = _length(data, at + 8)
        implicit_inside = vr == b"UN" and length == _UNDEFINED  # PS3.5 6.2.2
        return tag, _UNKNOWN if implicit_inside else _LONG_FORM[vr], length, at + 12
    if group == 0xFFFE:
        return tag, None, _length(data, at + 4)[0], at + 8
    return tag, _UNKNOWN, 0, at


def _implicit_step(data: bytes, at: int) -> tuple[int, str | None, int, int]:
    group, element, length = _implicit_start(data, at)
    return group << 16 | element, None, length, at + 8


def _value(stream: BinaryIO, at: int, length: int) -> bytes:
    if length > LARGEST_VALUE:
        raise ValueError("an element larger than a header's")
    value = _bytes(stream, at, length)
    if len(value) < length:
        raise EOFError
    return value


def _bytes(stream: BinaryIO, at: int, count: int) -> bytes:
    stream.seek(at)
    return stream.read(count)


def _uid(element: DataElement | RawDataElement | None) -> UID:
    return UID((element.value or b"").decode("ascii", "replace").strip(" \0") if element else "")


@lru_cache(maxsize=64)
def _is_implicit(syntax: UID) -> bool | None:
    """Whether a little-endian transfer syntax has implicit representations; None where it is not one read here."""
    if syntax.is_private or not syntax.is_transfer_syntax or syntax.is_deflated or not syntax.is_little_endian:
        return None
    return syntax.is_implicit_VR


@lru_cache(maxsize=64)
def _encodings(character_set: bytes | None) -> list[str]:
    return convert_encodings((character_set or b"").decode("ascii", "replace").strip(" \0").split("\\"))


def _pydicom_head(stream: BinaryIO, wanted: AbstractSet[BaseTag]) -> ParsedHeader:
    content = _bytes(stream, 0, _LARGEST_UNUSUAL)
    if _DEFLATED in content[:_BLOCK] or content.count(ITEM_BYTES) > MAX_SEQUENCE_ITEMS:
        raise ValueError("more than pydicom may be given")
    window = io.BytesIO(content)
    header = pydicom.dcmread(window, stop_before_pixels=True, force=True, specific_tags=list(wanted))
    header.buffer = None  # else the content stays in memory with the header
    meta = header.file_meta
    syntax = meta.get("TransferSyntaxUID") or _guessed_syntax(header)
    return ParsedHeader(header, UID(str(syntax)), str(meta.get("MediaStorageSOPClassUID", "")), window.tell())


def _guessed_syntax(header: Dataset) -> UID:
    """Transfer syntax of a data set without file meta information, as pydicom found it while reading."""
    implicit, little = header.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian
