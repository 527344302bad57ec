"""A de-identified copy of a study from which SUV can still be computed.

DICOM PS3.15 Annex E, Basic Application Level Confidentiality Profile with the options Clean Graphics, Clean
Descriptors, Retain Longitudinal Temporal Information with Modified Dates, Retain Patient Characteristics and Retain
Safe Private. `fedpet.imaging.deidentification.profile` says what becomes of each attribute, docs/deidentification.md
what is not done. Pseudonyms, UIDs and the shift of the dates follow from the centre's key: one key always gives the
same copy.
"""

from __future__ import annotations

import io
import struct
import tempfile
from collections import Counter, defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedPETImageStorage,
    ExplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedPETImageStorage,
    PositronEmissionTomographyImageStorage,
    RTStructureSetStorage,
    SegmentationStorage,
)

from fedpet.core.errors import OutputError, SeriesNotFoundError
from fedpet.core.messages import Message
from fedpet.core.progress import no_progress, sub_progress
from fedpet.imaging.deidentification.redaction import deidentify_dataset
from fedpet.imaging.dicom.files import InputLimits, open_dicom_files
from fedpet.imaging.dicom.headers.attributes import number, text, texts
from fedpet.imaging.dicom.headers.patient_module import same_patient
from fedpet.imaging.dicom.headers.unvalidated import values_as_written
from fedpet.imaging.dicom.pixel_data import uses_other_bits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pydicom.dataset import Dataset

    from fedpet.core.progress import Progress
    from fedpet.imaging.deidentification.profile import Action
    from fedpet.imaging.dicom.files import DicomInstance
    from fedpet.imaging.dicom.headers.patient_module import PatientModule

_NO_LIMITS_GIVEN = InputLimits()
_LABEL_MAP = UID("1.2.840.10008.5.1.4.1.1.66.7")  # Label Map Segmentation Storage
_KEPT: Final = {
    PositronEmissionTomographyImageStorage: "PT",
    EnhancedPETImageStorage: "PT",
    LegacyConvertedEnhancedPETImageStorage: "PT",
    CTImageStorage: "CT",
    EnhancedCTImageStorage: "CT",
    LegacyConvertedEnhancedCTImageStorage: "CT",
    SegmentationStorage: "SEG",
    _LABEL_MAP: "SEG",
    RTStructureSetStorage: "RTSTRUCT",
}
_STORAGE = "1.2.840.10008.5.1.4.1.1."
_OTHER_KINDS: Final = {  # by the beginning of the SOP class
    "7": "secondary_capture",
    "11": "presentation_state",
    "88": "structured_report",
    "104": "encapsulated_document",
}
_DRAWN: Final = frozenset(("SCREEN SAVE", "MIP", "REPROJECTION", "PROJECTION IMAGE"))  # ImageType: text may be drawn in
# What pydicom raises on damaged files and on encodings it has no decoder for.
_DAMAGED = (
    RuntimeError, ValueError, KeyError, AttributeError, TypeError, EOFError, NotImplementedError, MemoryError,
    struct.error,
)  # fmt: skip


@dataclass(frozen=True)
class DeidentificationReport:
    """What was written and what was not; nothing in it identifies.

    Attributes:
        pseudonyms: of the patients, in the order found.
        series: modality and number of files of each series written, in the order of their folders.
        left_out: number of files by reason: "burned_in_annotation", "screenshot", "secondary_capture",
            "presentation_state", "structured_report", "encapsulated_document", "other_kind", "damaged",
            "bits_outside_header" (a PET whose values would change where the bits not in use are cleared).
        skipped: files that are not DICOM images.
        attributes: how often an attribute was changed, by action and keyword.
    """

    pseudonyms: tuple[str, ...]
    series: tuple[tuple[str, int], ...]
    left_out: Mapping[str, int]
    skipped: int
    attributes: Mapping[str, Mapping[str, int]]

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {
            "pseudonyms": list(self.pseudonyms),
            "written": sum(files for _, files in self.series),
            "series": [{"modality": modality, "files": files} for modality, files in self.series],
            "left_out": dict(self.left_out),
            "skipped": self.skipped,
            "attributes": {action: dict(counts) for action, counts in self.attributes.items()},
        }


@values_as_written()
def deidentify(
    source: Path,
    out: Path,
    *,
    key: bytes,
    limits: InputLimits = _NO_LIMITS_GIVEN,
    progress: Progress = no_progress,
) -> DeidentificationReport:
    """Write a de-identified copy: `out/<number of the series>-<modality>/<number>.dcm`.

    PET, CT, segmentations and structure sets are copied, uncompressed (Explicit VR Little Endian), everything else is
    left out. Nothing is left behind if it fails.

    Args:
        source: folder, zip archive or DICOM file.
        out: folder that is new or empty.
        key: secret of the centre, as for `load_study`.
        limits: files and bytes taken in at most.
        progress: told while files are read and written.

    Raises:
        OutputError: `out` is not empty or cannot be written.
        UnreadableStudyError: no DICOM, a damaged archive, limits exceeded.
        SeriesNotFoundError: no file that can be copied.
    """
    _require_empty(out)
    with open_dicom_files(source, limits, sub_progress(progress, 0.0, 0.3)) as file_set:
        files = list(dict.fromkeys(instance.file for instance in file_set.instances))
        copy = _Copy(key, limits.max_bytes, _patients(file_set.instances))
        try:
            with _staged(out.resolve()) as folder:
                for done, file in enumerate(files, start=1):
                    copy.add(file, folder)
                    progress(0.3 + 0.7 * done / len(files), Message("De-identifying"))
                return copy.report(file_set.skipped)
        except OSError as error:
            raise OutputError(
                found=Message("The copy could not be written ({why}).", why=type(error).__name__),
                needed=Message("A folder that this program may write, with room for the images uncompressed."),
                advice=Message("Check the rights and the free space, or give another folder."),
            ) from error


class _BitsOutsideHeaderError(Exception):
    """Pixels of a PET use bits that the header says are not in use."""


class _Copy:
    """The copy as it grows."""

    def __init__(self, key: bytes, most_bytes: int, patients: Mapping[str, PatientModule]) -> None:
        self._key = key
        self._patients = patients
        self._most_bytes = most_bytes
        self._series: dict[str, tuple[int, str]] = {}  # new UID -> number, modality
        self._files: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()
        self._done: Counter[tuple[Action, str]] = Counter()
        self._pseudonyms: dict[str, None] = {}

    def add(self, file: Path, folder: Path) -> None:
        """De-identify one file into the folder, or count why not."""
        done: Counter[tuple[Action, str]] = Counter()
        try:
            dataset = _read(file)
            if reason := _reason_to_leave_out(dataset):
                self._left_out[reason] += 1
                return
            _make_plain(dataset, self._most_bytes)
            patient = self._patients.get(text(dataset, "StudyInstanceUID"))
            name = deidentify_dataset(dataset, self._key, done, patient=patient)
            uid, modality, content = text(dataset, "SeriesInstanceUID"), _KEPT[dataset.SOPClassUID], _encoded(dataset)
        except _BitsOutsideHeaderError:
            self._left_out["bits_outside_header"] += 1
            return
        except _DAMAGED:
            self._left_out["damaged"] += 1
            return
        self._done += done
        self._pseudonyms[name] = None
        place, _ = self._series.setdefault(uid, (len(self._series) + 1, modality))
        self._files[uid] += 1
        target = folder / f"{place:02d}-{modality}" / f"{self._files[uid]:06d}.dcm"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(content)

    def report(self, skipped: int) -> DeidentificationReport:
        """What was done.

        Raises:
            SeriesNotFoundError: nothing was written.
        """
        if not self._series:
            raise SeriesNotFoundError(
                found=Message(
                    "None of {n} DICOM files can be copied ({why}).",
                    n=self._left_out.total(),
                    why=", ".join(f"{one.replace('_', ' ')}: {count}" for one, count in self._left_out.items()),
                ),
                needed=Message("PET or CT images without text burned into them."),
                advice=Message("Give the original series of the examination."),
            )
        attributes: dict[str, dict[str, int]] = defaultdict(dict)
        for (action, keyword), count in sorted(self._done.items()):
            attributes[action.value][keyword] = count
        return DeidentificationReport(
            pseudonyms=tuple(self._pseudonyms),
            series=tuple((modality, self._files[uid]) for uid, (_, modality) in self._series.items()),
            left_out=dict(self._left_out),
            skipped=skipped,
            attributes=attributes,
        )


def _patients(instances: Iterable[DicomInstance]) -> dict[str, PatientModule]:
    """Whom the objects of each examination name together: a segmentation may leave out what its images state.

    An examination that names several patients is not there: each of its objects then speaks for itself.
    """
    modules: dict[str, set[PatientModule]] = defaultdict(set)
    for instance in instances:
        modules[text(instance.header, "StudyInstanceUID")].add(instance.patient)
    return {uid: patient for uid, named in modules.items() if (patient := same_patient(named)) is not None}


def _read(file: Path) -> Dataset:
    """All of an object; class and instance UID as the file meta information has them, where they are missing."""
    dataset = pydicom.dcmread(file, force=True)
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        if not text(dataset, keyword):
            setattr(dataset, keyword, dataset.file_meta[f"MediaStorage{keyword}"].value)
    return dataset


def _reason_to_leave_out(dataset: Dataset) -> str:
    """Why an object is not copied, "" if it is."""
    kind = text(dataset, "SOPClassUID")
    if kind not in _KEPT:
        return _OTHER_KINDS.get(kind.removeprefix(_STORAGE).split(".")[0], "other_kind")
    if "YES" in texts(dataset, "BurnedInAnnotation"):
        return "burned_in_annotation"
    image = _KEPT[UID(kind)] in ("PT", "CT")
    colour = image and text(dataset, "PhotometricInterpretation") not in ("", "MONOCHROME1", "MONOCHROME2")
    return "screenshot" if colour or _DRAWN & set(texts(dataset, "ImageType")) else ""


def _make_plain(dataset: Dataset, most_bytes: int) -> None:
    """Pixels uncompressed and little endian: comments in compressed streams, padding and unused bits do not travel.

    Raises:
        ValueError: no, too few or too many pixels.
        _BitsOutsideHeaderError: a PET that the clearing of unused bits would change.
    """
    if "PixelData" not in dataset:
        if dataset.SOPClassUID != RTStructureSetStorage:
            raise ValueError("an image without pixels")
        return
    bits, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
    values = dataset.Rows * dataset.Columns * int(number(dataset, "NumberOfFrames") or 1)
    size = -(-values * bits // 8)
    if size > most_bytes:
        raise ValueError("more pixels than the limits allow")
    if dataset.file_meta.get("TransferSyntaxUID", ExplicitVRLittleEndian).is_encapsulated:
        dataset.decompress(as_rgb=False, generate_instance_uid=False, correct_unused_bits=False)
    pixels = np.frombuffer(dataset.PixelData, np.uint8)[:size]
    if len(pixels) < size:
        raise ValueError("fewer pixels than the header tells")
    if bits == 16:
        little = dataset.original_encoding[1]
        words = pixels.view("<u2" if little else ">u2").astype("<u2")
        unused = 16 - stored if dataset.HighBit == stored - 1 else 0  # they may hold an overlay
        signed = dataset.PixelRepresentation == 1
        words = words.view("<i2") if signed else words
        if unused and _KEPT[dataset.SOPClassUID] == "PT" and uses_other_bits(words, stored=stored, high=stored - 1):
            raise _BitsOutsideHeaderError
        pixels = (words << unused >> unused).view(np.uint8)
    dataset.PixelData = pixels.tobytes() + bytes(size % 2)


def _encoded(dataset: Dataset) -> bytes:
    """The file: empty preamble, file meta information of our own."""
    dataset.preamble = bytes(128)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def _require_empty(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(
            found=Message("The folder for the copy is not empty."),
            needed=Message("A new or an empty folder."),
            advice=Message("Give another folder; nothing is overwritten."),
        )


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place when all is well, and is deleted when it is not."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fedpet-", dir=out.parent) as scratch:
        folder = Path(scratch, "copy")
        folder.mkdir()
        yield folder
        if out.exists():
            out.rmdir()
        folder.rename(out)
