"""The size that a compressed image states of itself, read before it is decoded.

A decoder takes the memory that the codestream asks for: a JPEG 2000 of a few kilobytes can ask for gigabytes, and the
decoders of JPEG-LS end the process where they do not get it.
"""

from __future__ import annotations

from typing import Final

_J2K_START: Final = b"\xff\x4f\xff\x51"  # SOC and SIZ (ISO 15444-1 A.4.1, A.5.1)
_JPEG_START: Final = b"\xff\xd8"  # SOI (ISO 10918-1 B.1.1.3)
_SOF: Final = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})  # frame headers; F7 of JPEG-LS (ISO 14495-1)
_LSE: Final = 0xF8  # of JPEG-LS: may hold another, larger size
_OVERSIZE: Final = 4  # kind of such a segment
_MOST_TILES: Final = 65_535  # ISO 15444-1 A.4.2


def require_size(frame: bytes, rows: int, columns: int) -> None:
    """Require that a JPEG, JPEG-LS or JPEG 2000 codestream has the size of the header; others are left alone.

    Args:
        frame: the codestream.
        rows: of the header.
        columns: of the header.

    Raises:
        ValueError: it has another size, more than one component, or does not state them.
    """
    if frame[:2] == _JPEG_START:
        stated = _jpeg(frame)
    elif (start := frame.find(_J2K_START, 0, 1024)) >= 0:  # a JP2 container may stand around it
        stated = _jpeg_2000(frame[start:])
    else:
        return
    if stated != (rows, columns, 1):
        raise ValueError("a codestream of another size than the header's")


def _jpeg_2000(stream: bytes) -> tuple[int, int, int]:
    """Rows, columns and components of the SIZ marker segment."""
    segment = stream[4:42]
    if len(segment) < 38:
        raise ValueError("a codestream that ends in its header")
    numbers = [int.from_bytes(segment[at : at + 4], "big") for at in range(4, 36, 4)]
    right, bottom, left, top, tile_width, tile_height, tiles_left, tiles_top = numbers
    if not tile_width or not tile_height or right < left or bottom < top:
        raise ValueError("an impossible size")
    tiles = -((tiles_left - right) // tile_width) * -((tiles_top - bottom) // tile_height)
    if tiles > _MOST_TILES:
        raise ValueError("more tiles than a codestream may have")
    return bottom - top, right - left, int.from_bytes(segment[36:38], "big")


def _jpeg(stream: bytes) -> tuple[int, int, int]:
    """Rows, columns and components of the frame header."""
    at = 2
    while at + 10 <= len(stream) and stream[at] == 0xFF:
        marker, length = stream[at + 1], int.from_bytes(stream[at + 2 : at + 4], "big")
        if marker == 0xFF:
            at += 1
            continue
        if marker in _SOF:
            rows, columns = (int.from_bytes(stream[start : start + 2], "big") for start in (at + 5, at + 7))
            return rows, columns, stream[at + 9]
        if marker == _LSE and stream[at + 4] == _OVERSIZE:
            break
        at += 2 + length
    raise ValueError("a codestream that does not state its size")
