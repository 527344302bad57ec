"""The anatomy of one patient, found from a PET and its CT: one object that every later step is given."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, get_args

import numpy as np

from fedpet.core.profile import Stage, stage
from fedpet.imaging.anatomy.aligned_images import align_images
from fedpet.imaging.anatomy.body import LEFT, RIGHT, segment_body
from fedpet.imaging.anatomy.finer_places import Levels, find_levels
from fedpet.imaging.anatomy.landmarks import find_landmarks
from fedpet.imaging.anatomy.learned_and_rules import combine
from fedpet.imaging.anatomy.organ_segmentation import OrganSource
from fedpet.imaging.anatomy.reference_uptake import (
    ReferenceOrgan,
    liver_sphere,
    marrow_voxels,
    measure_reference_uptake,
    measured_voxels,
)
from fedpet.imaging.anatomy.region_features import RegionFeatureExtractor
from fedpet.imaging.anatomy.rules.head_and_spine import find_vertebrae
from fedpet.imaging.anatomy.rules.organs import segment_by_rules
from fedpet.imaging.resampling import Grid, resample

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from fedpet.core.messages import Message
    from fedpet.imaging.anatomy.aligned_images import AlignedImages
    from fedpet.imaging.anatomy.body import BodySegmentation
    from fedpet.imaging.anatomy.landmarks import Landmarks
    from fedpet.imaging.anatomy.morphology import Mask
    from fedpet.imaging.anatomy.organ_segmentation import OrganSegmentation, OrganSegmenter
    from fedpet.imaging.anatomy.reference_uptake import OrganReferences, ReferenceUptake
    from fedpet.imaging.volume import Volume

_LUNGS_ML: Final = 300.0  # of lung on a CT below which the learned network, which saw whole trunks, is not believed


@dataclass(frozen=True, eq=False)
class PatientAnatomy:
    """What a PET and its CT show of the body.

    Each part is computed when it is first read, and once for each object: pass the object on instead of making another
    from the same images.

    Attributes:
        pet: SUVbw, g/ml, any grid; "stored" where there is no SUV, and what is said of uptake then means nothing.
        ct: HU, any grid.
        segmenter: finds the organs; None for rules alone.
    """

    pet: Volume
    ct: Volume
    segmenter: OrganSegmenter | None = None

    @cached_property
    @stage(Stage.ANATOMY)
    def body(self) -> BodySegmentation:
        """Body, skeleton and lungs on cubic voxels of 4 mm: the grid of everything here."""
        return segment_body(self.ct)

    @cached_property
    @stage(Stage.ANATOMY)
    def suv(self) -> NDArray[np.floating]:
        """The PET on the grid of the body, shape (slices, rows, columns); NaN where it does not reach."""
        return resample(self.pet, Grid.of(self.body.ct), outside=np.nan).array

    @cached_property
    @stage(Stage.ANATOMY)
    def images(self) -> AlignedImages:
        """CT, PET and segmentation, cropped to the columns and rows of the body."""
        return align_images(self.body, self.suv)

    @cached_property
    @stage(Stage.ANATOMY)
    def landmarks(self) -> Landmarks:
        """Levels at which parts of the body begin or end."""
        return find_landmarks(self.images)

    @cached_property
    @stage(Stage.ANATOMY)
    def organs(self) -> OrganSegmentation:
        """Organs on the grid of the body; what the segmenter does not know is filled in by rules."""
        by_rules = segment_by_rules(self.body, self.images, self.landmarks)
        if self.segmenter is None:
            return by_rules
        learned = self.segmenter.source is OrganSource.LEARNED
        if learned and not self._is_scan_of_a_body():  # before a second is spent on what is not believed
            return by_rules
        found = self.segmenter.segment(self.ct, self.pet).on(Grid.of(self.body.ct))
        return combine(found, by_rules, self.images) if learned else found.completed_by(by_rules)

    def _is_scan_of_a_body(self) -> bool:
        """Whether the CT shows lungs, by which a network that knows organs by their place in a body finds its way."""
        return self.body.lung_ml(RIGHT) + self.body.lung_ml(LEFT) >= _LUNGS_ML

    @cached_property
    @stage(Stage.ANATOMY)
    def marrow(self) -> Mask:
        """Vertebral bodies, on the grid of the body."""
        mask = self.organs.mask("marrow") | self.organs.mask("vertebrae")
        bodies = np.zeros_like(mask)
        bodies[self.images.box] = find_vertebrae(self.images)
        return np.asarray(mask & bodies)

    @cached_property
    @stage(Stage.ANATOMY)
    def regions(self) -> RegionFeatureExtractor:
        """What names the region of a lesion."""
        return RegionFeatureExtractor(self.body, self.organs, self.landmarks)

    @cached_property
    @stage(Stage.ANATOMY)
    def levels(self) -> Levels:
        """Ends of the parts of the spine and of the aortic arch, for the finer place of a lesion."""
        return find_levels(self.organs, self.landmarks)

    @cached_property
    @stage(Stage.ANATOMY)
    def liver_sphere(self) -> ReferenceUptake | Message:
        """Uptake of the liver, healthy or not; or why it could not be measured."""
        return liver_sphere(self.pet, self.body, self.organs)

    @cached_property
    @stage(Stage.ANATOMY)
    def references(self) -> OrganReferences:
        """Uptake of the healthy organs that lesions are compared with."""
        return self.measure_references(self.pet)

    def measure_references(self, pet: Volume) -> OrganReferences:
        """Measure the healthy organs on another image, such as the same PET as SUL.

        Args:
            pet: SUV of any normalisation, any grid.
        """
        return measure_reference_uptake(pet, self.body, self.organs, self.marrow)

    def ratio_voxels(self) -> dict[str, NDArray[np.intp]]:
        """Where the PET was measured for each ratio of an organ to the liver: (n, 3) indices; none where it was not."""
        return {f"{one}_to_liver": index for one, index in self.reference_voxels.items() if one in ("marrow", "spleen")}

    @cached_property
    @stage(Stage.ANATOMY)
    def reference_voxels(self) -> Mapping[ReferenceOrgan, NDArray[np.intp]]:
        """Where on the PET each healthy organ was measured: (n, 3) indices; none for what was not."""
        found = {}
        for name in get_args(ReferenceOrgan):
            measured: ReferenceUptake | None = getattr(self.references, name)
            if measured is not None and name == "marrow":
                found[name] = marrow_voxels(self.pet, self.body, self.organs, self.marrow)
            elif measured is not None:
                found[name] = measured_voxels(self.pet, measured)
        return found
