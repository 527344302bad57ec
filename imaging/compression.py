"""Whether images were compressed with loss (DICOM PS3.3 C.7.6.1.1.5): their values are then not the scanner's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
)

from fedpet.messages import Message
from imaging.header import text
from imaging.study import Level, QualityCheck

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imaging.intake import Instance

_LOSSY = frozenset((JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless))
_EITHER = frozenset((JPEG2000, HTJ2K))  # with or without loss: Lossy Image Compression "00" says without


def lossy(instance: Instance) -> bool:
    """Whether an image lost information, or may have lost it and does not deny it."""
    told = text(instance.header, "LossyImageCompression")
    return told == "01" or instance.syntax in _LOSSY or (instance.syntax in _EITHER and told != "00")


def compression_check(pet: Sequence[Instance], ct: Sequence[Instance]) -> QualityCheck:
    """A warning where the PET or the CT in use was compressed with loss, now or earlier."""
    spoilt = any(map(lossy, pet)), any(map(lossy, ct))
    if not any(spoilt):
        return QualityCheck("compression", Level.PASS, Message("The images were never compressed with loss."))
    series = Message("PET and CT") if all(spoilt) else Message("PET") if spoilt[0] else Message("CT")
    reason = Message("Compressed with loss ({series}): the values are not exactly those of the scanner.", series=series)
    return QualityCheck("compression", Level.WARN, reason)
