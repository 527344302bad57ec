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

from fedpet.core.messages import Message
from fedpet.imaging.dicom.headers.attributes import text
from fedpet.imaging.study import CheckStatus, QualityCheck

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fedpet.imaging.dicom.files import DicomInstance

_LOSSY = frozenset((JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless))
_EITHER = frozenset((JPEG2000, HTJ2K))  # with or without loss: Lossy Image Compression (0028,2110) "00" states without


def is_lossy_image(instance: DicomInstance) -> bool:
    """Whether an image lost information to compression, or may have and does not state otherwise."""
    stated = text(instance.header, "LossyImageCompression")
    return stated == "01" or instance.syntax in _LOSSY or (instance.syntax in _EITHER and stated != "00")


def compression_check(pet: Sequence[DicomInstance], ct: Sequence[DicomInstance]) -> QualityCheck:
    """Check that the images were not compressed with loss, now or earlier.

    Args:
        pet: instances of the PET in use.
        ct: instances of the CT in use; empty without a CT.

    Returns:
        The check "compression": a warning where either was.
    """
    is_lossy = any(map(is_lossy_image, pet)), any(map(is_lossy_image, ct))
    if not any(is_lossy):
        return QualityCheck("compression", CheckStatus.PASS, Message("The images were never compressed with loss."))
    series = Message("PET and CT") if all(is_lossy) else Message("PET") if is_lossy[0] else Message("CT")
    reason = Message("Compressed with loss ({series}): the values are not exactly those of the scanner.", series=series)
    return QualityCheck("compression", CheckStatus.WARN, reason)
