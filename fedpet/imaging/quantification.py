"""The quantities of a study from one call: lesions found or given, in SUV of any normalisation, with healthy organs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import NoneType
from typing import TYPE_CHECKING, get_args

from fedpet.core.arguments import require_choice, require_type
from fedpet.imaging.analysis import StudyAnalysis
from fedpet.imaging.lesions.delineation import delineate, restrict_to_roi
from fedpet.imaging.lesions.lesion import GIVEN_MASK, ThresholdMethod
from fedpet.imaging.lesions.lesion_table import build_table
from fedpet.imaging.lesions.quantities import quantify
from fedpet.imaging.study import PetCtStudy
from fedpet.imaging.suv.normalization import Normalization, normalize_suv
from fedpet.imaging.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Collection

    from fedpet.imaging.anatomy.reference_uptake import OrganReferences
    from fedpet.imaging.lesions.delineation import Delineation
    from fedpet.imaging.lesions.lesion import Quantities
    from fedpet.imaging.lesions.lesion_table import LesionTable


@dataclass(frozen=True, eq=False)
class StudyQuantities:
    """What was measured in a study.

    Attributes:
        pet: the image that was measured; its unit is that of every SUV here.
        labels: the lesions by their numbers, on the PET grid.
        quantities: of the lesions.
        delineation: every hot component with the decision on it; None where the lesions were given.
        references: uptake of healthy organs; None without a CT.
    """

    pet: Volume
    labels: Volume
    quantities: Quantities
    delineation: Delineation | None
    references: OrganReferences | None

    def __repr__(self) -> str:
        return f"StudyQuantities({self.quantities!r}, {self.pet.unit})"

    def _repr_html_(self) -> str:
        """The table of the lesions."""
        return self.quantities._repr_html_()


def quantify_study(
    study: PetCtStudy | StudyAnalysis,
    *,
    normalization: Normalization = "bw",
    lesions: Volume | None = None,
    method: ThresholdMethod | None = None,
    include: Collection[int] = (),
    exclude: Collection[int] = (),
) -> StudyQuantities:
    """Measure the lesions of a study: those given, or the hot components that are not physiological uptake.

    Lesions and organs are found on SUVbw, whatever normalisation they are measured in.

    Args:
        study: PET in SUVbw (g/ml), with its CT or without; or its analysis, so that what it has computed is used again.
        normalization: "bw", "lbm" (SUL) or "bsa".
        lesions: label volume on the PET grid, 0 is background; None finds the lesions.
        method: how lesions are found, "suv4" by default (`fedpet.imaging.lesions.delineation.delineate`); where lesions
            are given, how they are restricted to their hot voxels, by default not at all.
        include: ids of hot components that a reader counts as lesions; without effect where lesions are given.
        exclude: ids of hot components that a reader does not count as lesions; without effect where lesions are given.

    Raises:
        ArgumentError: an unknown method or normalisation, no study, or lesions on another grid than the PET.
        SuvError: the PET holds no SUV, or weight, height or sex are missing for another normalisation.
        UnknownComponentError: an id that the delineation does not have, or that is both included and excluded.
        ReferenceUptakeError: no healthy organ for the threshold of "percist".
    """
    require_type("study", study, PetCtStudy, StudyAnalysis)
    require_type("lesions", lesions, Volume, NoneType)
    require_choice("normalization", normalization, get_args(Normalization))
    if method is not None:
        require_choice("method", method, get_args(ThresholdMethod))
    analysis = StudyAnalysis.of(study)
    suvbw, anatomy = analysis.study.pet, analysis.anatomy
    pet = normalize_suv(analysis.study, normalization)
    delineation = None
    if lesions is None:
        delineation = delineate(suvbw, anatomy, method=method or "suv4", include=include, exclude=exclude)
        labels, name = delineation.lesions, delineation.method
    elif method is None:
        labels, name = lesions, GIVEN_MASK
    else:
        labels, name = restrict_to_roi(lesions, suvbw, anatomy, method), f"{GIVEN_MASK}_{method}"
    return StudyQuantities(
        pet=pet,
        labels=labels,
        quantities=quantify(pet, labels, method=name, anatomy=anatomy),
        delineation=delineation,
        references=None if anatomy is None else anatomy.measure_references(pet),
    )


def measure_table(analysis: StudyAnalysis, labels: Volume, *, quantities: Quantities | None = None) -> LesionTable:
    """Measure the lesion table of a study.

    Args:
        analysis: of the study; its PET in SUVbw, g/ml.
        labels: lesion numbers on the PET grid, 0 is background.
        quantities: of the same labels on SUVbw, where they were measured already.

    Raises:
        ArgumentError: the labels are not on the PET grid.
    """
    pet = analysis.study.pet
    measured = quantities or quantify(pet, labels, method=GIVEN_MASK, anatomy=analysis.anatomy)
    table = build_table(pet, analysis.study.ct, labels, measured, analysis.references)
    return table if analysis.anatomy is None else replace(table, organs=analysis.anatomy.organs.source.value)
