"""PET/CT with drawn lesions: the autoPET collection in both its forms, or a hospital's own delineations.

`FDG-PET-CT-Lesions` (Gatidis 2022, Sci Data 9:601; The Cancer Imaging Archive, restricted licence: see its page) is
distributed as DICOM, one folder a study with the series PET, CT and SEG below it, and converted to NIfTI
(`SUV.nii.gz`, `CTres.nii.gz` on the PET's grid or `CT.nii.gz`, `SEG.nii.gz`; `PET.nii.gz` in Bq/ml is not needed).
Folders are `PETCT_<patient>/<study>`. A hospital's own studies are laid out alike: a folder with the DICOM of PET and
CT and one DICOM SEG, RT Structure Set or `*.nii.gz` with the lesions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fedpet.core.errors import StudyError, UnreadableStudyError
from fedpet.core.messages import Message
from fedpet.core.pseudonyms import pseudonym
from fedpet.imaging.lesions.masks import read_mask
from fedpet.imaging.loading import load_study
from fedpet.imaging.nifti import read_nifti
from fedpet.imaging.resampling import Grid, resample

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from fedpet.imaging.volume import Volume

_SUV, _CTS, _SEG = "SUV.nii.gz", ("CTres.nii.gz", "CT.nii.gz"), "SEG.nii.gz"


@dataclass(frozen=True, eq=False)
class AnnotatedScan:
    """One scan with its lesions.

    Attributes:
        case: pseudonym of the patient and the study: nothing of their names.
        pet: SUVbw, g/ml.
        ct: HU, any grid.
        lesions: uint8 on the PET grid, 1 within a lesion; empty for a scan without one.
    """

    case: str
    pet: Volume
    ct: Volume
    lesions: Volume


def find_studies(root: Path) -> list[Path]:
    """Folders that hold one study each, in order: of a NIfTI form, else the lowest folder above DICOM series.

    Raises:
        UnreadableStudyError: there is none.
    """
    converted = sorted({file.parent for file in root.rglob(_SUV)})
    if converted:
        return converted
    files = [file for file in root.rglob("*") if file.is_file() and not file.name.startswith(".")]
    folders = {file.parent for file in files}
    above = {parent for folder in folders for parent in folder.parents} - {root}
    masked = above & {file.parent for file in files if file.name.endswith((".nii", ".nii.gz"))}
    studies = sorted({_study_folder(folder, root, masked) for folder in folders})
    if not studies:
        raise UnreadableStudyError(
            found=Message("The folder holds no study."),
            needed=Message("One folder a study: SUV, CTres and SEG as NIfTI, or DICOM of PET, CT and lesions."),
            advice=Message("Give the folder above the studies; see docs/segmenters.md."),
        )
    return studies


def _study_folder(folder: Path, root: Path, masked: AbstractSet[Path]) -> Path:
    """The folder of a study, from one of its files' folders.

    The one with the mask where that lies above the images, else that of patient and study, two below the root.
    """
    for one in (folder, *folder.parents):
        if one in masked:
            return one
    parts = folder.relative_to(root).parts
    return root.joinpath(*parts[:2]) if len(parts) > 2 else root.joinpath(*parts[: max(len(parts) - 1, 1)])


def read_scan(folder: Path, root: Path, pseudonym_key: bytes) -> AnnotatedScan:
    """Read one study.

    Args:
        folder: one of `find_studies`.
        root: of the collection.
        pseudonym_key: secret of the centre.

    Raises:
        StudyError: what cannot be used: no CT, no SUV, no or several masks, a mask of another study.
    """
    case = pseudonym(folder.relative_to(root).as_posix(), pseudonym_key)
    if (folder / _SUV).is_file():
        return _converted(folder, case)
    study = load_study(folder, pseudonym_key=pseudonym_key, require="suv")
    if study.ct is None:
        raise _no_ct()
    drawn = sorted(folder.rglob("*.nii.gz")) + sorted(folder.rglob("*.nii"))
    if len(drawn) > 1:
        raise UnreadableStudyError(
            found=Message("{n} NIfTI images beside the DICOM files.", n=len(drawn)),
            needed=Message("One mask of the lesions."),
            advice=Message("Leave only the mask of the lesions beside the DICOM files."),
        )
    mask = read_mask(drawn[0] if drawn else folder, study.pet, study=study)
    return AnnotatedScan(case, study.pet, study.ct, _binary(mask.labels))


def _converted(folder: Path, case: str) -> AnnotatedScan:
    pet = read_nifti(folder / _SUV, "g/ml")
    pet = pet.like(pet.array.astype(np.float32), "g/ml")
    ct = next((read_nifti(folder / name, "HU") for name in _CTS if (folder / name).is_file()), None)
    if ct is None:
        raise _no_ct()
    if not (folder / _SEG).is_file():
        raise UnreadableStudyError(
            found=Message("The study holds no SEG.nii.gz."),
            needed=Message("The lesions, empty where there is none."),
            advice=Message("Take the study from the collection again."),
        )
    drawn = resample(read_nifti(folder / _SEG, "label"), Grid.of(pet), interpolation="nearest", outside=0)
    return AnnotatedScan(case, pet, ct.like(np.rint(ct.array).astype(np.int16), "HU"), _binary(drawn))


def _binary(labels: Volume) -> Volume:
    return labels.like((labels.array > 0).astype(np.uint8), "label")


def _no_ct() -> StudyError:
    return UnreadableStudyError(
        found=Message("The study holds no CT."),
        needed=Message("PET and CT of one examination."),
        advice=Message("Add the CT (CTres.nii.gz or DICOM)."),
    )


def read_prediction(folder: Path, scan_folder: Path, root: Path, pet: Volume) -> Volume:
    """The lesions that another program found in a study, on the PET grid.

    Args:
        folder: of the masks: `<patient>/<study>.nii.gz`, or `<patient>_<study>.nii.gz` as nnU-Net names cases.
        scan_folder: of the study.
        root: of the collection.
        pet: the grid.

    Raises:
        UnreadableStudyError: there is no mask of this study.
        SliceGeometryError: a mask of another place.
    """
    parts = scan_folder.relative_to(root).parts
    names = [folder.joinpath(*parts).with_name(f"{parts[-1]}{suffix}") for suffix in (".nii.gz", ".nii")]
    names += [folder / f"{'_'.join(parts)}{suffix}" for suffix in (".nii.gz", ".nii")]
    found = next((file for file in names if file.is_file()), None)
    if found is None:
        raise UnreadableStudyError(
            found=Message("There is no mask of one of the studies."),
            needed=Message("One file a study, PATIENT/STUDY.nii.gz or PATIENT_STUDY.nii.gz, empty without lesions."),
            advice=Message("Name the masks as the studies' folders; see docs/segmenters.md."),
        )
    return _binary(read_mask(found, pet).labels)
