"""Fast, reproducible writing of DICOM instances that share most of their header."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jpeg_ls  # type: ignore[import-untyped]  # published without types
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element, write_file_meta_info
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from pydicom.tag import BaseTag


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How pixels are stored: `levels` is the largest stored PET value."""

    compressed: bool
    levels: int = 32767


class InstanceWriter:
    """Writes instances that differ in a few tags only: the common elements are encoded once."""

    def __init__(self, common: Dataset, *, compressed: bool) -> None:
        self._compressed = compressed
        self._common = _encoded(common)
        self._bits_stored = common.BitsStored
        self._meta = FileMetaDataset()
        self._meta.MediaStorageSOPClassUID = common.SOPClassUID
        self._meta.TransferSyntaxUID = JPEGLSLossless if compressed else ExplicitVRLittleEndian

    def write(self, path: Path, tags: Mapping[str, Any], pixels: NDArray[np.uint16]) -> None:
        """One instance: the common header, its own `tags` and its pixels."""
        self._meta.MediaStorageSOPInstanceUID = tags["SOPInstanceUID"]
        meta = DicomBytesIO()
        write_file_meta_info(meta, self._meta)
        elements = self._common | _encoded(dataset({**tags, **self._pixels(pixels)}))
        body = b"".join(elements[tag] for tag in sorted(elements))
        path.write_bytes(b"\0" * 128 + b"DICM" + meta.getvalue() + body)

    def _pixels(self, pixels: NDArray[np.uint16]) -> dict[str, DataElement]:
        if not self._compressed:
            return {"PixelData": DataElement("PixelData", "OW", pixels.astype("<u2").tobytes())}
        rows, columns = pixels.shape
        frame = jpeg_ls.encode_pixel_data(
            pixels.astype("<u2").tobytes(),
            rows=rows,
            columns=columns,
            samples_per_pixel=1,
            bits_stored=self._bits_stored,
        )
        return {"PixelData": DataElement("PixelData", "OB", encapsulate([bytes(frame)]), is_undefined_length=True)}


def _encoded(header: Dataset) -> dict[BaseTag, bytes]:
    """Each element in Explicit VR Little Endian, by tag."""
    encoded = {}
    for element in header:
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, False
        write_data_element(buffer, element)
        encoded[element.tag] = buffer.getvalue()
    return encoded


def dataset(tags: Mapping[str, Any]) -> Dataset:
    """A dataset of keywords with values, or with whole elements."""
    filled = Dataset()
    for keyword, value in tags.items():
        if isinstance(value, DataElement):
            filled.add(value)
        else:
            setattr(filled, keyword, value)
    return filled


def code(value: str, meaning: str) -> Dataset:
    """An item of a code sequence, SNOMED CT (PS3.3 table 8.8-1)."""
    return dataset({"CodeValue": value, "CodingSchemeDesignator": "SCT", "CodeMeaning": meaning})
