"""Organ segmentations in files: DICOM SEG, NIfTI with names for its labels, a folder of one NIfTI mask a class.

Names are those of fedpet (`fedpet.imaging.anatomy.structures`) or of TotalSegmentator; a DICOM SEG is read by the
labels of its segments, else by their SNOMED CT codes. What has no name here is left out and listed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from fedpet.core.errors import SliceGeometryError, UnreadableStudyError
from fedpet.core.messages import Message
from fedpet.imaging.anatomy.morphology import GRID_MM
from fedpet.imaging.anatomy.organ_segmentation import OrganSegmentation, OrganSource
from fedpet.imaging.anatomy.structures import STRUCTURES, structure_coded, structure_named
from fedpet.imaging.dicom.files import InputLimits
from fedpet.imaging.dicom.headers.attributes import text
from fedpet.imaging.lesions.dicom_seg import read_segmentation
from fedpet.imaging.lesions.masks import dicom_mask
from fedpet.imaging.nifti import grid_box, is_nifti, read_label_names, read_nifti
from fedpet.imaging.resampling import Grid, resample
from fedpet.imaging.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from fedpet.imaging.study import PetCtStudy

_NO_LIMITS_GIVEN: Final = InputLimits()
_SUFFIXES: Final = (".nii.gz", ".nii")
_BACKGROUND: Final = "background"
_TOTALSEGMENTATOR: Final = "TotalSegmentator"
# Classes of TotalSegmentator whose names no other program shares: enough to tell its files from others.
_ITS_NAMES: Final = frozenset(("vertebrae_L5", "autochthon_left", "iliopsoas_left", "urinary_bladder"))


@dataclass(frozen=True, eq=False)
class OrganFile:
    """What was read.

    Attributes:
        segmentation: on cubic voxels of 4 mm around the CT.
        left_out: names in the file that stand for no structure here.
    """

    segmentation: OrganSegmentation
    left_out: tuple[str, ...]


def read_organs(
    path: Path,
    ct: Volume,
    *,
    names: Path | None = None,
    study: PetCtStudy | None = None,
    limits: InputLimits = _NO_LIMITS_GIVEN,
) -> OrganFile:
    """Read the organs of a patient.

    Args:
        path: a DICOM SEG (a file, or among the files of a folder or zip archive), a NIfTI label image, or a folder of
            NIfTI masks named by class (`liver.nii.gz`), as TotalSegmentator writes it.
        ct: of the same patient; gives the grid.
        names: JSON with the names of the labels of a NIfTI image: {"5": "liver"}, {"liver": 5}, or one with "labels" as
            nnU-Net's dataset.json. Without it, the label table in the header of the image is taken, then a file of the
            same name that ends in .json.
        study: the examination, to refuse a DICOM SEG that was drawn on another one.
        limits: files and bytes taken in at most.

    Raises:
        UnreadableStudyError: no segmentation, no names, or no name that stands for a structure.
        SliceGeometryError: no labelled voxel within the CT.
    """
    grid = Grid.around(ct, spacing_mm=GRID_MM)
    if path.is_dir() and (masks := _class_files(path)):
        read = _read_folder(masks, grid)
    elif path.is_file() and _starts_like_nifti(path):
        read = _read_image(path, _names_for(path, names), grid)
    else:
        read = _read_seg(dicom_mask(path, limits), Volume(np.zeros(grid.shape, np.uint8), grid.affine, "label"), study)
    if not read.segmentation.labels.array.any():
        raise _beside(ct)
    return read


def _class_files(folder: Path) -> dict[str, Path]:
    """Class name -> file, of the NIfTI files of a folder."""
    return {
        file.name.removesuffix(suffix): file
        for suffix in _SUFFIXES
        for file in sorted(folder.glob(f"*{suffix}"))
        if file.name.endswith(suffix)
    }


def _starts_like_nifti(file: Path) -> bool:
    with file.open("rb") as stream:
        return is_nifti(stream.read(132))


def _read_folder(files: Mapping[str, Path], grid: Grid) -> OrganFile:
    """One binary mask a class; of two that overlap the earlier structure keeps the voxel."""
    labels = np.zeros(grid.shape, np.uint8)
    for name in sorted(files, key=lambda one: _number(one) or 0):
        number = _number(name)
        if number:
            mask = resample(read_nifti(files[name], "label"), grid, interpolation="nearest", outside=0).array > 0
            labels[mask & (labels == 0)] = number
    return _organ_file(Volume(labels, grid.affine, "label"), {name: structure_named(name) for name in files})


def _read_image(file: Path, names: Mapping[int, str], grid: Grid) -> OrganFile:
    """A label image."""
    drawn = read_nifti(file, "label")
    values = np.clip(np.rint(drawn.array), 0, 65535).astype(np.uint16)
    table: NDArray[np.uint8] = np.zeros(65536, np.uint8)
    for label, name in names.items():
        table[label] = _number(name) or 0
    labels = resample(drawn.like(table[values], "label"), grid, interpolation="nearest", outside=0)
    return _organ_file(labels, {name: structure_named(name) for name in names.values()})


def _read_seg(dataset: Dataset, grid: Volume, study: PetCtStudy | None) -> OrganFile:
    """The segments of a DICOM SEG."""
    structures = {text(item, "SegmentLabel"): _structure_of(item) for item in dataset.get("SegmentSequence", ())}
    wanted = [label for label, name in structures.items() if name]
    if not wanted:
        raise _no_structure(structures)
    numbers = {item.SegmentNumber: _structure_of(item) for item in dataset.SegmentSequence}
    drawn = read_segmentation(dataset, grid, study=study, rois=wanted)
    labels = np.zeros(grid.array.size, np.uint8)
    for region in sorted(drawn.regions, key=lambda one: -len(one.voxels)):  # of two that overlap, the smaller is whole
        name = numbers[region.label]
        labels[region.voxels] = STRUCTURES[name].number if name else 0
    read = _organ_file(grid.like(labels.reshape(grid.shape), "label"), structures)
    title = text(dataset.SegmentSequence[0], "SegmentAlgorithmName")
    if _TOTALSEGMENTATOR.lower() in title.lower():
        return OrganFile(_from_totalsegmentator(read.segmentation), read.left_out)
    return read


def _structure_of(item: Dataset) -> str | None:
    """The structure of a segment, by its label where that is a name of ours, else by its code."""
    named = structure_named(text(item, "SegmentLabel"))
    kind = (item.get("SegmentedPropertyTypeCodeSequence") or [None])[0]
    if named or kind is None:
        return named
    modifier = (kind.get("SegmentedPropertyTypeModifierCodeSequence") or [None])[0]
    modifier = modifier or (item.get("SegmentedPropertyTypeModifierCodeSequence") or [None])[0]
    return structure_coded(text(kind, "CodeValue"), None if modifier is None else text(modifier, "CodeValue"))


def _organ_file(labels: Volume, structures: Mapping[str, str | None]) -> OrganFile:
    """What was read, from the names in the file and the structures that they stand for."""
    known = frozenset(name for name in structures.values() if name)
    if not known:
        raise _no_structure(structures)
    segmentation = OrganSegmentation(labels, OrganSource.GIVEN, known=known)
    if _ITS_NAMES & set(structures):
        segmentation = _from_totalsegmentator(segmentation)
    left_out = (name for name, one in structures.items() if one is None and name != _BACKGROUND)
    return OrganFile(segmentation, tuple(left_out))


def _from_totalsegmentator(one: OrganSegmentation) -> OrganSegmentation:
    return OrganSegmentation(one.labels, OrganSource.TOTALSEGMENTATOR, "files", one.known)


def _names_for(file: Path, names: Path | None) -> dict[int, str]:
    """Names of the labels of an image.

    Raises:
        UnreadableStudyError: there are none, or they cannot be read.
    """
    stem = next((file.name.removesuffix(suffix) for suffix in _SUFFIXES if file.name.endswith(suffix)), file.stem)
    beside = file.with_name(f"{stem}.json")
    chosen = names or (beside if beside.is_file() else None)
    table = read_label_names(file) if names is None else {}
    if not table and chosen is not None:
        table = _names_in(chosen)
    if not table:
        raise UnreadableStudyError(
            found=Message("The labels of the organ image have no names."),
            needed=Message("A label table in its header, or a JSON file such as {example}.", example='{"5": "liver"}'),
            advice=Message("Give the names with --organ-names, or export the organs with their label table."),
        )
    return table


def _names_in(file: Path) -> dict[int, str]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        table = content.get("labels", content)
        pairs = [(key, value) if str(key).isdigit() else (value, key) for key, value in table.items()]
        found = {int(label): str(name) for label, name in pairs}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UnreadableStudyError(
            found=Message("The names of the labels cannot be read."),
            needed=Message("A JSON file with one name for each label, such as {example}.", example='{"5": "liver"}'),
            advice=Message("Correct the file, or leave it out where the image holds its label table."),
        ) from error
    return {label: name for label, name in found.items() if 0 < label < 65536}


def _number(name: str) -> int | None:
    structure = structure_named(name)
    return STRUCTURES[structure].number if structure else None


def _no_structure(names: Mapping[str, str | None]) -> UnreadableStudyError:
    return UnreadableStudyError(
        found=Message("None of the {n} names of the organ segmentation is known.", n=len(names)),
        needed=Message("Names of fedpet or of TotalSegmentator, or SNOMED CT codes of a DICOM SEG."),
        advice=Message("Look the names up in docs/organs.md and name the labels accordingly."),
    )


def _beside(ct: Volume) -> SliceGeometryError:
    return SliceGeometryError(
        found=Message("No organ of the segmentation lies within the CT."),
        needed=Message("Organs of the same examination. CT: {ct}.", ct=grid_box(ct.affine, ct.shape)),
        advice=Message("Give the organs that were segmented on this CT."),
    )
