"""What is computed from a loaded study: its anatomy and all its quality checks, each once and when first needed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from fedpet.core.profile import Stage, stage
from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy
from fedpet.imaging.anatomy.reference_uptake import place_liver_sphere, remark_on_lesions
from fedpet.imaging.lesions.delineation import delineate
from fedpet.imaging.lesions.detection.thresholds import FIXED_SUV
from fedpet.imaging.quality.checks import image_checks
from fedpet.imaging.quality.mask_fit import assess_mask_fit
from fedpet.imaging.segmenters.organ_network import shipped_organs
from fedpet.imaging.study import CheckStatus

if TYPE_CHECKING:
    from fedpet.imaging.anatomy.organ_segmentation import OrganSegmenter
    from fedpet.imaging.anatomy.reference_uptake import OrganReferences
    from fedpet.imaging.lesions.delineation import Delineation
    from fedpet.imaging.lesions.lesion import ThresholdMethod
    from fedpet.imaging.lesions.masks import ReaderMask
    from fedpet.imaging.quality.centre_uptake import CentreUptake
    from fedpet.imaging.quality.mask_fit import MaskFit
    from fedpet.imaging.study import PetCtStudy, QualityCheck
    from fedpet.imaging.volume import Volume


@dataclass(frozen=True, eq=False)
class StudyAnalysis:
    """A study with what is computed from its images.

    Each part is computed when it is first read, and once for each object: reading only the images costs nothing, and
    functions that need a part take the analysis instead of the study.

    Attributes:
        study: the study.
        mask: lesions that a reader drew on the study (`fedpet.imaging.lesions.masks.read_mask`); its checks are among
            those of the study.
        segmenter: finds the organs: the network that is shipped, or a segmentation that exists; None for rules alone.
        usual: uptake of healthy tissue at the centre, with which that of the study is compared; None for the published.
        liver_at: where a reader placed the sphere of the liver, LPS mm; None for where it is found.
    """

    study: PetCtStudy
    mask: ReaderMask | None = None
    segmenter: OrganSegmenter | None = field(default_factory=shipped_organs)
    usual: CentreUptake | None = None
    liver_at: tuple[float, float, float] | None = None

    @classmethod
    def of(cls, study: PetCtStudy | StudyAnalysis) -> StudyAnalysis:
        """The analysis of a study; an analysis as it is, with all that it has computed."""
        return study if isinstance(study, StudyAnalysis) else cls(study)

    @cached_property
    def anatomy(self) -> PatientAnatomy | None:
        """Body, organs and landmarks; None where the study holds no CT."""
        return None if self.study.ct is None else PatientAnatomy(self.study.pet, self.study.ct, self.segmenter)

    @cached_property
    @stage(Stage.CHECKS)
    def checks(self) -> tuple[QualityCheck, ...]:
        """All quality checks: the SUV, what the images show, what else the headers show."""
        headers = self.study.header_checks
        return (*headers[:1], *self._image_checks, *headers[1:], *self.mask_checks)

    @cached_property
    def _image_checks(self) -> list[QualityCheck]:
        study = self.study
        return image_checks(
            study.pet,
            self.anatomy,
            ct_frame_assumed=study.ct_frame_assumed,
            ct_problem=study.ct_problem,
            weight_kg=study.pet_facts.weight_kg,
            height_m=study.pet_facts.height_m,
            uptake_min=study.pet_facts.uptake_min,
            usual=None if self.usual is None else self.usual.of(study.pet_facts),
        )

    @stage(Stage.LESIONS)
    def delineation(self, method: ThresholdMethod) -> Delineation:
        """All hot components by a method, before a reader switches any; found once for each method.

        Raises:
            ReferenceUptakeError: no healthy organ for the threshold of "percist" or "liver".
        """
        if method not in self._delineations:
            found = delineate(self.study.pet, self.anatomy, method=method, references=self.references)
            self._delineations[method] = found
        return self._delineations[method]

    @cached_property
    def _delineations(self) -> dict[ThresholdMethod, Delineation]:
        return {}

    @cached_property
    def images_digest(self) -> str:
        """SHA-256 over the voxels and positions of PET and CT and the pseudonym, hexadecimal."""
        digest = hashlib.sha256(self.study.pseudonym.encode())
        for volume in (self.study.pet, self.study.ct):
            if volume is not None:
                digest.update(repr((volume.array.shape, str(volume.array.dtype), volume.unit)).encode())
                digest.update(volume.affine.tobytes())
                digest.update(np.ascontiguousarray(volume.array).data)
        return digest.hexdigest()

    @cached_property
    def mask_fit(self) -> MaskFit | None:
        """How well the reader's mask lies on uptake; None without a lesion in it, or without SUV."""
        measured = self.mask is not None and self.study.pet.unit != "stored"
        return assess_mask_fit(self.mask.labels, self.study.pet) if self.mask and measured else None

    def with_check(self, check: QualityCheck) -> StudyAnalysis:
        """The same analysis with one more check, in place of one of its name; what was computed is shared."""
        others = (one for one in self.study.header_checks if one.name != check.name)
        changed = replace(self, study=replace(self.study, header_checks=(*others, check)))
        vars(changed)["anatomy"] = self.anatomy
        vars(changed)["_delineations"] = self._delineations
        if "_image_checks" in vars(self):
            vars(changed)["_image_checks"] = self._image_checks
        return changed

    def with_liver(self, centre_mm: tuple[float, float, float] | None) -> StudyAnalysis:
        """The same analysis with the sphere of the liver elsewhere; what does not follow from it is shared.

        Args:
            centre_mm: where a reader placed it, LPS; None for where it is found.
        """
        if centre_mm == self.liver_at:
            return self
        changed = replace(self, liver_at=centre_mm)
        names = ("anatomy", "checks", "images_digest", "mask_fit")
        vars(changed).update({name: vars(self)[name] for name in names if name in vars(self)})
        vars(changed)["_delineations"] = {
            method: found for method, found in self._delineations.items() if method in FIXED_SUV
        }
        return changed

    @property
    def failed_checks(self) -> tuple[QualityCheck, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.level is CheckStatus.FAIL)

    @cached_property
    def references(self) -> OrganReferences | None:
        """Uptake of healthy organs, with the liver where a reader placed its sphere; None where the study holds no CT.

        Raises:
            ArgumentError: the sphere was placed outside of the PET.
        """
        if self.anatomy is None or self.liver_at is None:
            return None if self.anatomy is None else self.anatomy.references
        return place_liver_sphere(self.anatomy.references, self.study.pet, self.anatomy.organs, self.liver_at)

    def references_beside(self, lesions: Volume) -> OrganReferences | None:
        """The references, which say where the sphere that a reader placed covers a lesion.

        Args:
            lesions: their numbers on the grid of the PET, 0 is background.
        """
        return None if self.references is None else remark_on_lesions(self.references, self.study.pet, lesions)

    @property
    def mask_checks(self) -> tuple[QualityCheck, ...]:
        """Whether the reader's mask was read whole, where it lies, whether it fits; none without a mask."""
        if self.mask is None:
            return ()
        return (*self.mask.checks, *(() if self.mask_fit is None else (self.mask_fit.check(),)))
