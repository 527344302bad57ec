"""Lesions given by a reader: NIfTI, DICOM SEG or RT Structure Set; volumes as NIfTI files."""

from __future__ import annotations

import shutil
import struct
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
import SimpleITK

from fedpet.errors import UnreadableStudy
from fedpet.messages import Message
from fedpet.progress import silent
from imaging.delineation import connected_components
from imaging.drawings import outside_the_pet
from imaging.header import text
from imaging.intake import IntakeLimits, taken_in
from imaging.resampling import Grid, resample
from imaging.segmentation import read_segmentation
from imaging.structures import read_structures
from imaging.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydicom.dataset import Dataset

    from imaging.study import Study
    from imaging.volume import Unit

sitk: Any = SimpleITK  # its methods are not typed
_HIGHEST_LABEL = 65_535
_WHOLE = 1e-3  # how far a label stored as a real number may be from a whole one
_NO_LIMITS_GIVEN = IntakeLimits()
_DICOM_READERS = {"SEG": read_segmentation, "RTSTRUCT": read_structures}
_NIFTI_STARTS = (b"\x5c\x01\0\0", b"\0\0\x01\x5c", b"\x1c\x02\0\0", b"\0\0\x02\x1c", b"\x1f\x8b")  # sizes; gzip
# What pydicom raises on damaged objects and on encodings it has no decoder for.
_DAMAGED = (
    RuntimeError, ValueError, KeyError, AttributeError, TypeError, EOFError, NotImplementedError, IndexError,
    MemoryError, struct.error,
)  # fmt: skip


def read_nifti(path: Path, unit: Unit) -> Volume:
    """A 3D NIfTI image, whatever its name; SimpleITK turns NIfTI's RAS into LPS.

    Raises:
        UnreadableStudy: not a 3D NIfTI image.
    """
    try:
        with _named_as_nifti(path) as named:
            image = sitk.ReadImage(str(named))
    except RuntimeError as error:
        raise _unreadable() from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise _unreadable()
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return Volume(sitk.GetArrayFromImage(image), affine, unit)


def read_mask(
    path: Path,
    pet: Volume,
    *,
    study: Study | None = None,
    rois: Sequence[str] | None = None,
    limits: IntakeLimits = _NO_LIMITS_GIVEN,
) -> Volume:
    """The lesions that a reader drew, on the PET grid: uint16 labels.

    The content tells what a file is, not its name. Labels of a NIfTI image and segment numbers are kept, contoured
    regions are numbered in their order; where there is only one, it is split into its connected components, largest
    first. What was drawn on another grid is brought onto the PET's (nearest voxel).

    Args:
        path: a NIfTI image, a DICOM SEG or RT Structure Set, or a folder or zip archive that holds one such object
            among other DICOM files.
        pet: the grid wanted.
        study: the examination of the PET, to refuse what was drawn on another one; without it, overlap has to tell.
        rois: names of the segments or regions to take; `read_segmentation` and `read_structures` say what is taken by
            default. A NIfTI image has no names.
        limits: files and bytes taken in at most.

    Raises:
        UnreadableStudy: no mask, several, a damaged one, or nothing drawn in it (an empty NIfTI image is accepted).
        SeriesNotFound: a name that the mask does not hold.
        GeometryRefused: drawn on another examination, or no voxel in common with the PET.
    """
    if _is_image(path):
        labels = _read_labels(path, pet)
    else:
        dataset = _dicom_mask(path, limits)
        try:
            labels = _DICOM_READERS[text(dataset, "Modality")](dataset, pet, study=study, rois=rois)
        except _DAMAGED as error:
            raise _damaged() from error
    values = np.unique(labels.array)
    return connected_components(labels) if len(values[values > 0]) == 1 else labels


def write_nifti(volume: Volume, path: Path) -> None:
    """Write `.nii` or `.nii.gz`; the same volume gives the same bytes.

    Raises:
        ValueError: the axes of the grid are not at right angles, which NIfTI through ITK cannot hold.
    """
    axes = volume.affine[:3, :3] / np.array(volume.spacing)
    if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-4):
        raise ValueError("a sheared grid cannot be written: resample first")
    array = volume.array.astype(np.uint8) if volume.array.dtype == np.bool_ else volume.array
    image = sitk.GetImageFromArray(array)
    image.SetOrigin(volume.affine[:3, 3].tolist())
    image.SetSpacing(volume.spacing)
    image.SetDirection(axes.ravel().tolist())
    sitk.WriteImage(image, str(path), useCompression=path.name.endswith(".gz"))


def _read_labels(path: Path, pet: Volume) -> Volume:
    drawn = read_nifti(path, "label")
    lowest, highest = float(drawn.array.min()), float(drawn.array.max())
    if not 0 <= lowest <= highest <= _HIGHEST_LABEL:
        raise _unreadable()
    whole = drawn.like(np.rint(drawn.array).astype(np.uint16), "label")
    if np.abs(whole.array - drawn.array).max() > _WHOLE:
        raise _unreadable()
    labels = resample(whole, Grid.of(pet), interpolation="nearest", outside=0)
    if whole.array.any() and not labels.array.any():
        raise outside_the_pet()
    return labels


def _is_image(path: Path) -> bool:
    """Whether a file is neither DICOM nor an archive, and so left to SimpleITK."""
    if path.is_dir():
        return False
    head = _head(path)
    return head[128:132] != b"DICM" and not head.startswith((b"PK", b"\x02\0", b"\x08\0", b"\0\x08"))


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(132)


@contextmanager
def _named_as_nifti(path: Path) -> Iterator[Path]:
    """The file under a name that ITK knows NIfTI by: a copy, where it bears none."""
    head = _head(path)
    if path.name.endswith((".nii", ".nii.gz")) or not head.startswith(_NIFTI_STARTS):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="fedpet-") as scratch:
        named = Path(scratch, "mask.nii.gz" if head.startswith(b"\x1f\x8b") else "mask.nii")
        shutil.copyfile(path, named)
        yield named


def _dicom_mask(path: Path, limits: IntakeLimits) -> Dataset:
    """The one SEG or RT Structure Set among DICOM files."""
    with taken_in(path, limits, silent) as pile:
        files = list({one.file: None for one in pile.instances if text(one.header, "Modality") in _DICOM_READERS})
        if len(files) != 1:
            raise UnreadableStudy(
                found=Message("{n} DICOM SEG or RT Structure Sets among the files.", n=len(files)),
                needed=Message("One mask: a NIfTI image, a DICOM SEG or an RT Structure Set."),
                advice=Message("Give the file of the mask itself."),
            )
        try:
            return pydicom.dcmread(files[0], force=True)
        except _DAMAGED as error:
            raise _damaged() from error


def _unreadable() -> UnreadableStudy:
    return UnreadableStudy(
        found=Message("The mask is not a readable 3D NIfTI image."),
        needed=Message("One NIfTI file (.nii or .nii.gz) with whole numbers, 0 outside the lesions."),
        advice=Message("Export the mask as NIfTI, on the grid of the PET or of the CT."),
    )


def _damaged() -> UnreadableStudy:
    return UnreadableStudy(
        found=Message("The DICOM SEG or RT Structure Set is damaged, incomplete or of an unknown encoding."),
        needed=Message("A complete object, with the position of every frame or contour."),
        advice=Message("Export the mask again, as DICOM SEG, RT Structure Set or NIfTI."),
    )
