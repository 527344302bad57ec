"""Whether a DICOM mask was drawn on the examination it is given with: patient, study, frame of reference, images."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Final

from fedpet.core.errors import SeriesNotFoundError, SliceGeometryError
from fedpet.core.messages import Message
from fedpet.imaging.dicom.headers.attributes import text
from fedpet.imaging.dicom.headers.patient_module import PatientModule
from fedpet.imaging.lesions.mask_audit import join_sentences
from fedpet.imaging.study import CheckStatus, QualityCheck

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydicom.dataset import Dataset

    from fedpet.imaging.study import PetCtStudy

CHECK: Final = "mask_origin"
_REFERENCE: Final = "ReferencedSOPInstanceUID"


def require_same_examination(dataset: Dataset, frames: set[str], study: PetCtStudy | None) -> None:
    """Refuse an object of another patient, and one drawn in another frame of reference.

    An object in another frame of reference that refers to images of the study is taken. Where the study or the object
    names no frame of reference, only the overlap of the voxels can tell.

    Raises:
        SeriesNotFoundError: it states another patient than the images do.
        SliceGeometryError: drawn on another examination.
    """
    if study is None:
        return
    _require_same_patient(dataset, study)
    if study.frame_of_reference and not frames <= {study.frame_of_reference} and not refers_to(dataset, _images(study)):
        raise SliceGeometryError(
            found=Message("The mask was drawn on another examination: its frame of reference is not that of the PET."),
            needed=Message("A mask drawn on this PET, or on a CT in its frame of reference."),
            advice=Message("Check the patient and the date, then export the mask of this examination."),
        )


def origin_checks(dataset: Dataset, study: PetCtStudy | None) -> list[QualityCheck]:
    """The check "mask_origin": a warning where a mask names only other examinations, or no patient to be compared.

    Args:
        dataset: the mask, taken by `require_same_examination`.
        study: the examination it is given with.
    """
    if study is None:
        return []
    doubts = []
    if study.identity is not None and not PatientModule.from_header(dataset).comparable_with(study.identity):
        doubts.append(
            Message("Of mask and images one alone is de-identified: whether they are of one patient was not compared.")
        )
    named = {text(dataset, "StudyInstanceUID"), *_references(dataset)} - {""}
    if study.study_uid and named and not named & {study.study_uid, *_images(study)}:
        doubts.append(
            Message("The mask names another study, and none of the images of this one: check the date it was drawn on.")
        )
    return [QualityCheck(CHECK, CheckStatus.WARN, join_sentences(doubts))] if doubts else []


def refers_to(dataset: Dataset, uids: Sequence[str]) -> bool:
    """Whether an object refers to one of these images."""
    return not _references(dataset).isdisjoint(uids)


def _references(dataset: Dataset) -> set[str]:
    """Of images, and of studies in an RT Structure Set."""
    return {str(element.value) for element in dataset.iterall() if element.keyword == _REFERENCE}


def _images(study: PetCtStudy) -> list[str]:
    return [uid for uids in study.source_uids.values() for uid in uids]


def _require_same_patient(dataset: Dataset, study: PetCtStudy) -> None:
    if study.identity is None:
        return
    if differing := PatientModule.from_header(dataset).contradictions(study.identity):
        raise SeriesNotFoundError(
            found=Message(
                "The mask states another patient than the images: {what}.",
                what=reduce(lambda first, rest: Message("{first}, {rest}", first=first, rest=rest), differing),
            ),
            needed=Message("A mask of the patient of the images."),
            advice=Message("Check whose mask it is, then export it again with the identity that the images state."),
        )
