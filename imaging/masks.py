"""Masks and volumes as NIfTI files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK

from fedpet.errors import GeometryRefused, UnreadableStudy
from fedpet.messages import Message
from imaging.delineation import connected_components
from imaging.resampling import Grid, resample
from imaging.volume import Volume

if TYPE_CHECKING:
    from pathlib import Path

    from imaging.volume import Unit

sitk: Any = SimpleITK  # its methods are not typed
_HIGHEST_LABEL = 65_535
_WHOLE = 1e-3  # how far a label stored as a real number may be from a whole one


def read_nifti(path: Path, unit: Unit) -> Volume:
    """A 3D NIfTI image; SimpleITK turns NIfTI's RAS into LPS.

    Raises:
        UnreadableStudy: not a 3D NIfTI image.
    """
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise _unreadable() from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise _unreadable()
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return Volume(sitk.GetArrayFromImage(image), affine, unit)


def read_mask(path: Path, pet: Volume) -> Volume:
    """A lesion mask on the PET grid: uint16 labels.

    Labels are kept; a mask with one non-zero value is split into its connected components, largest first. A mask drawn
    on another grid is brought onto the PET's (nearest voxel).

    Raises:
        UnreadableStudy: not a 3D NIfTI image.
        GeometryRefused: the mask and the PET do not share a single voxel.
    """
    drawn = read_nifti(path, "label")
    lowest, highest = float(drawn.array.min()), float(drawn.array.max())
    if not 0 <= lowest <= highest <= _HIGHEST_LABEL:
        raise _unreadable()
    whole = drawn.like(np.rint(drawn.array).astype(np.uint16), "label")
    if np.abs(whole.array - drawn.array).max() > _WHOLE:
        raise _unreadable()
    labels = resample(whole, Grid.of(pet), interpolation="nearest", outside=0)
    if whole.array.any() and not labels.array.any():
        raise GeometryRefused(
            found=Message("No voxel of the mask lies within the PET."),
            needed=Message("The mask must be drawn on this examination."),
            advice=Message("Export the mask again from the same PET or CT series."),
        )
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


def _unreadable() -> UnreadableStudy:
    return UnreadableStudy(
        found=Message("The mask is not a readable 3D NIfTI image."),
        needed=Message("One NIfTI file (.nii or .nii.gz) with whole numbers, 0 outside the lesions."),
        advice=Message("Export the mask as NIfTI, on the grid of the PET or of the CT."),
    )
