"""An examination to be compared with another of the same patient, from the stored result of its case."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedpet.imaging.response.comparison import Examination, LesionSummary
from fedpet.imaging.suv.normalization import lean_body_mass_if_known

if TYPE_CHECKING:
    from app.cases.stored_result import StoredPet, StoredReference, StoredResult
    from fedpet.imaging.response.comparison import Box


def read_examination(result: StoredResult, body: Box) -> Examination:
    """The examination of a case.

    Args:
        result: the answer to the case.
        body: smallest and largest LPS coordinates (x, y, z) of the body in the PET, mm.
    """
    quantities, pet = result.prediction.quantities, result.study.pet
    return Examination(
        date=result.study.date,
        method=quantities.method,
        scanner=pet.scanner,
        uptake_min=pet.uptake_min,
        tmtv_ml=quantities.tmtv_ml,
        tlg=quantities.tlg,
        suv_max=quantities.suv_max,
        suv_peak=quantities.suv_peak,
        lesions=tuple(
            LesionSummary(lesion.id, lesion.region, lesion.centroid_mm, lesion.suv_max, lesion.suv_peak, lesion.mtv_ml)
            for lesion in quantities.lesions
        ),
        sul_per_suv=_sul_per_suv(pet),
        liver=mean_and_sd(result.references.liver if result.references else None),
        blood_pool=mean_and_sd(result.references.blood_pool if result.references else None),
        landmarks=result.landmarks_mm,
        body=body,
    )


def _sul_per_suv(pet: StoredPet) -> float | None:
    mass = lean_body_mass_if_known(pet.weight_kg, pet.height_m, pet.sex)
    return mass / pet.weight_kg if mass is not None and pet.weight_kg else None


def mean_and_sd(reference: StoredReference | None) -> tuple[float, float] | None:
    """Mean and SD of a healthy organ, SUVbw; None where it could not be measured."""
    return None if reference is None else (reference.suv_mean, reference.suv_sd)
