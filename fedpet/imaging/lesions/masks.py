"""Lesions given by a reader: NIfTI, DICOM SEG or RT Structure Set."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pydicom

from fedpet.core.errors import SliceGeometryError, UnreadableStudyError
from fedpet.core.messages import Message
from fedpet.core.progress import no_progress
from fedpet.imaging.dicom.files import InputLimits, open_dicom_files
from fedpet.imaging.dicom.headers.attributes import text
from fedpet.imaging.dicom.headers.unvalidated import values_as_written
from fedpet.imaging.lesions.delineation import connected_components
from fedpet.imaging.lesions.dicom_seg import read_segmentation
from fedpet.imaging.lesions.mask_audit import MaskAudit, RegionAudit, join_sentences
from fedpet.imaging.lesions.mask_origin import origin_checks
from fedpet.imaging.lesions.planar_regions import labelled, outside_the_pet
from fedpet.imaging.lesions.rtstruct import read_structures
from fedpet.imaging.nifti import NiftiImage, grid_box, is_nifti, read_nifti_image
from fedpet.imaging.resampling import Grid, resample
from fedpet.imaging.study import CheckStatus, QualityCheck

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from fedpet.imaging.lesions.planar_regions import DrawnMask
    from fedpet.imaging.study import PetCtStudy
    from fedpet.imaging.volume import Volume

_HIGHEST_LABEL = 65_535
_WHOLE = 1e-3  # how far a label stored as a real number may be from a whole one
_AT_ORIGIN_MM = 1e-3
_NO_LIMITS_GIVEN = InputLimits()
_DICOM_READERS = {"SEG": read_segmentation, "RTSTRUCT": read_structures}
# What pydicom raises on damaged objects and on encodings it has no decoder for.
_DAMAGED = (
    RuntimeError, ValueError, KeyError, AttributeError, TypeError, EOFError, NotImplementedError, IndexError,
    MemoryError, struct.error,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class ReaderMask:
    """Lesions that a reader drew.

    Attributes:
        labels: uint16 on the PET grid; 0 is background.
        audit: what was read and what was not.
        checks: "mask_read", whether all of it was read; "mask_position" and "mask_origin", where its place or its
            examination is doubtful.
    """

    labels: Volume
    audit: MaskAudit
    checks: tuple[QualityCheck, ...]


@values_as_written()
def read_mask(
    path: Path,
    pet: Volume,
    *,
    study: PetCtStudy | None = None,
    rois: Sequence[str] | None = None,
    limits: InputLimits = _NO_LIMITS_GIVEN,
) -> ReaderMask:
    """The lesions that a reader drew, on the PET grid.

    The content tells what a file is, not its name. Labels of a NIfTI image and segment numbers are kept, contoured
    regions are numbered in their order; where there is only one, it is split into its connected components, largest
    first. What was drawn on another grid is brought onto the PET's (nearest voxel).

    Args:
        path: a NIfTI image, a DICOM SEG or RT Structure Set, or a folder or zip archive that holds one such object
            among other DICOM files.
        pet: the grid wanted.
        study: the examination of the PET, to refuse what was drawn on another one or another patient; without it,
            overlap has to tell.
        rois: names of the segments or regions to take; `read_segmentation` and `read_structures` say what is taken by
            default. A NIfTI image has no names.
        limits: files and bytes taken in at most.

    Raises:
        UnreadableStudyError: no mask, several, a damaged one, or nothing drawn in it (an empty NIfTI image is
            accepted).
        SeriesNotFoundError: a name that the mask does not hold, or a mask of another patient.
        SliceGeometryError: drawn on another examination, without a position, or no voxel in common with the PET.
    """
    if _is_image(path):
        mask = _read_labels(path, pet, None if study is None else study.ct)
    else:
        dataset = dicom_mask(path, limits)
        try:
            mask = _on_pet(_DICOM_READERS[text(dataset, "Modality")](dataset, pet, study=study, rois=rois), pet)
        except _DAMAGED as error:
            raise _damaged() from error
        mask = replace(mask, checks=(*mask.checks, *origin_checks(dataset, study)))
    values = np.unique(mask.labels.array)
    return replace(mask, labels=connected_components(mask.labels)) if len(values[values > 0]) == 1 else mask


def _on_pet(mask: DrawnMask, pet: Volume) -> ReaderMask:
    """The regions of a DICOM mask as labels, and what became of each.

    Raises:
        SliceGeometryError: no voxel is inside any of them.
    """
    drawn = np.cumsum([region.audit.planes > 0 for region in mask.regions])
    numbers = [region.label or int(place) for region, place in zip(mask.regions, drawn, strict=True)]
    labels = labelled([(number, region.voxels) for number, region in zip(numbers, mask.regions, strict=True)], pet)
    counts = np.bincount(labels.array.ravel(), minlength=max(numbers) + 1)
    audit = MaskAudit.of(
        mask.format,
        Message("Voxels of the PET whose centre is inside."),
        [
            replace(region.audit, ml=float(counts[number]) * pet.voxel_ml if len(region.voxels) else 0.0)
            for number, region in zip(numbers, mask.regions, strict=True)
        ],
        left_out=mask.left_out,
        overlap_ml=(sum(len(region.voxels) for region in mask.regions) - int(counts[1:].sum())) * pet.voxel_ml,
    )
    return ReaderMask(labels, audit, (audit.check(),))


def _read_labels(path: Path, pet: Volume, ct: Volume | None) -> ReaderMask:
    image = read_nifti_image(path, "label")
    drawn = _whole_numbers(image.volume)
    _require_place(drawn, pet, ct)
    labels = resample(drawn, Grid.of(pet), interpolation="nearest", outside=0)
    if drawn.array.any() and not labels.array.any():
        raise outside_the_pet()
    audit = _label_audit(drawn, labels)
    return ReaderMask(labels, audit, (audit.check(), *_position_checks(image, pet)))


def _whole_numbers(drawn: Volume) -> Volume:
    """Labels as uint16.

    Raises:
        UnreadableStudyError: other values than whole numbers.
    """
    lowest, highest = float(drawn.array.min()), float(drawn.array.max())
    if not 0 <= lowest <= highest <= _HIGHEST_LABEL:
        raise _no_labels(lowest, highest)
    whole = drawn.like(np.rint(drawn.array).astype(np.uint16), "label")
    if np.abs(whole.array - drawn.array).max() > _WHOLE:
        raise _no_labels(lowest, highest)
    return whole


def _require_place(drawn: Volume, pet: Volume, ct: Volume | None) -> None:
    """Refuse a mask whose first voxel or centre lies at the origin, where no image of the study has a corner or centre.

    Programs that lose the geometry write such headers.

    Raises:
        SliceGeometryError: the position is not that of a patient's image.
    """
    images = [one for one in (pet, ct) if one is not None]
    for points in (_corners, _centre):
        if _at_origin(points(drawn)) and not any(_at_origin(points(one)) for one in images):
            raise SliceGeometryError(
                found=Message(
                    "The header of the mask is that of an image without a position. {places}",
                    places=_both_places(drawn, pet),
                ),
                needed=Message("A header with the position in the patient."),
                advice=Message("Export the mask again with the geometry of the image it was drawn on."),
            )


def _corners(volume: Volume) -> NDArray[np.float64]:
    """(8, 3), LPS mm: centres of the outermost voxels."""
    ends = np.meshgrid(*[(0.0, size - 1.0) for size in volume.shape], indexing="ij")
    return volume.to_mm(np.reshape(ends, (3, -1)).T)


def _centre(volume: Volume) -> NDArray[np.float64]:
    return np.asarray(_corners(volume).mean(axis=0, keepdims=True))


def _at_origin(points: NDArray[np.float64]) -> bool:
    return bool((np.linalg.norm(points, axis=1) <= _AT_ORIGIN_MM).any())


def _position_checks(image: NiftiImage, pet: Volume) -> list[QualityCheck]:
    """What is doubtful about the position: a template's space, or the matrix of the PET in another place."""
    doubts = []
    if image.template:
        doubts.append(
            Message("The header of the mask says that its coordinates are those of a template, not of the patient.")
        )
    drawn = image.volume
    apart = max(float(np.abs(one - other).max()) for one, other in zip(drawn.bounds, pet.bounds, strict=True))
    if sorted(drawn.shape) == sorted(pet.shape) and apart > min(pet.spacing) / 2:
        doubts.append(
            Message(
                "The mask has as many voxels as the PET, in another place. {places}", places=_both_places(drawn, pet)
            )
        )
    return [QualityCheck("mask_position", CheckStatus.WARN, join_sentences(doubts))] if doubts else []


def _both_places(drawn: Volume, pet: Volume) -> Message:
    return Message(
        "Mask: {mask}; PET: {pet}.",
        mask=grid_box(drawn.affine, drawn.shape),
        pet=grid_box(pet.affine, pet.shape),
    )


def _label_audit(drawn: Volume, labels: Volume) -> MaskAudit:
    """Each label before and after it was brought onto the PET."""
    length = int(drawn.array.max(initial=0)) + 1
    before, after = (np.bincount(one.array.ravel(), minlength=length) for one in (drawn, labels))
    sampled = Message("The mask lies on the grid of the PET.")
    if drawn.shape != labels.shape or not np.allclose(drawn.affine, labels.affine, atol=_AT_ORIGIN_MM):
        sampled = Message(
            "Brought from voxels of {x:.2f} x {y:.2f} x {z:.2f} mm onto the grid of the PET, nearest voxel.",
            **dict(zip("xyz", drawn.spacing, strict=True)),
        )
    return MaskAudit.of(
        "NIFTI",
        sampled,
        [
            RegionAudit(
                name=str(label),
                planes=int((drawn.array == label).any(axis=(1, 2)).sum()),
                drawn_ml=float(before[label]) * drawn.voxel_ml,
                ml=float(after[label]) * labels.voxel_ml,
            )
            for label in np.flatnonzero(before[1:]) + 1
        ],
    )


def _is_image(path: Path) -> bool:
    """Whether a file is neither DICOM nor an archive, and so has to be NIfTI.

    Raises:
        UnreadableStudyError: none of them.
    """
    if path.is_dir():
        return False
    try:
        with path.open("rb") as stream:
            head = stream.read(132)
    except OSError as error:
        raise _unreadable() from error
    if head[128:132] == b"DICM" or head.startswith((b"PK", b"\x02\0", b"\x08\0", b"\0\x08")):
        return False
    if not is_nifti(head):
        raise _unreadable()
    return True


def dicom_mask(path: Path, limits: InputLimits) -> Dataset:
    """The one SEG or RT Structure Set among DICOM files (a file, a folder or a zip archive).

    Raises:
        UnreadableStudyError: none or several of them, or a damaged one.
    """
    with open_dicom_files(path, limits, no_progress) as file_set:
        files = list({one.file: None for one in file_set.instances if text(one.header, "Modality") in _DICOM_READERS})
        if len(files) != 1:
            raise UnreadableStudyError(
                found=Message("{n} DICOM SEG or RT Structure Sets among the files.", n=len(files)),
                needed=Message("One mask: a NIfTI image, a DICOM SEG or an RT Structure Set."),
                advice=Message("Give the file of the mask itself."),
            )
        try:
            return pydicom.dcmread(files[0], force=True)
        except _DAMAGED as error:
            raise _damaged() from error


def _unreadable() -> UnreadableStudyError:
    return UnreadableStudyError(
        found=Message("The mask is not a readable 3D NIfTI image, nor DICOM."),
        needed=Message("One mask: a NIfTI image, a DICOM SEG or an RT Structure Set."),
        advice=Message("Give the file of the mask itself."),
    )


def _no_labels(lowest: float, highest: float) -> UnreadableStudyError:
    return UnreadableStudyError(
        found=Message("The values of the mask are no labels: {low:g} to {high:g}.", low=lowest, high=highest),
        needed=Message("Whole numbers from 0 (outside the lesions) to 65535."),
        advice=Message("Export the mask as labels, not as an image or as probabilities."),
    )


def _damaged() -> UnreadableStudyError:
    return UnreadableStudyError(
        found=Message("The DICOM SEG or RT Structure Set is damaged, incomplete or of an unknown encoding."),
        needed=Message("A complete object, with the position of every frame or contour."),
        advice=Message("Export the mask again, as DICOM SEG, RT Structure Set or NIfTI."),
    )
