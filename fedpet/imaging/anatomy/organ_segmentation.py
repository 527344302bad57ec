"""Organs of a patient as one label volume, whatever found them.

Sources, the best first: a segmentation given from elsewhere, TotalSegmentator, a learned network, rules. The first
three are read or computed by an `OrganSegmenter`; rules (`fedpet.imaging.anatomy.rules.organs`) are the last resort,
and fill in what the source does not know (TotalSegmentator's main task has no ureters and no salivary glands).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from fedpet.core.messages import Message
from fedpet.imaging.anatomy.structures import GROUPS, STRUCTURES
from fedpet.imaging.resampling import resample

if TYPE_CHECKING:
    from fedpet.imaging.anatomy.morphology import Mask
    from fedpet.imaging.resampling import Grid
    from fedpet.imaging.volume import Volume


class OrganSource(Enum):
    """What found the organs."""

    GIVEN = "given"
    TOTALSEGMENTATOR = "totalsegmentator"
    LEARNED = "learned"
    RULES = "rules"

    @property
    def sentence(self) -> Message:
        """For a reader."""
        return _SENTENCES[self]

    @property
    def label(self) -> Message:
        """In a few words, for a sentence."""
        return _LABELS[self]


_SENTENCES = {
    OrganSource.GIVEN: Message("Organs from the segmentation that was given."),
    OrganSource.TOTALSEGMENTATOR: Message("Organs from TotalSegmentator."),
    OrganSource.LEARNED: Message(
        "Organs from the network of fedpet, which was trained on simulated bodies, checked and completed by rules."
    ),
    OrganSource.RULES: Message(
        "Organs by rules on position, density and uptake, the last resort: less certain than a segmentation."
    ),
}


_LABELS = {
    OrganSource.GIVEN: Message("a given segmentation"),
    OrganSource.TOTALSEGMENTATOR: Message("TotalSegmentator"),
    OrganSource.LEARNED: Message("the network of fedpet"),
    OrganSource.RULES: Message("rules"),
}


@dataclass(frozen=True, eq=False)
class OrganSegmentation:
    """Organs as labels.

    Attributes:
        labels: uint8, numbers of `fedpet.imaging.anatomy.structures.STRUCTURES`, 0 elsewhere; any grid.
        source: what found them.
        detail: version or kind of the source, such as "total v2"; "" where there is nothing to say.
        known: names of the structures that the source can find; what it does not know may be filled in by rules.
        filled_in: names of the structures that rules filled in.
    """

    labels: Volume
    source: OrganSource
    detail: str = ""
    known: frozenset[str] = frozenset(STRUCTURES)
    filled_in: frozenset[str] = frozenset()

    def mask(self, name: str) -> Mask:
        """Mask of a structure or group (`STRUCTURES`, `GROUPS`), shape of `labels`; empty where it was not found.

        The name of a group that is also that of a structure means the group: "kidney_right" includes its pelvis.
        """
        numbers = [STRUCTURES[one].number for one in GROUPS.get(name, (name,))]
        if len(numbers) == 1:
            return np.asarray(self.labels.array == numbers[0])
        chosen = np.zeros(256, bool)
        chosen[numbers] = True
        return np.asarray(chosen[self.labels.array])

    @cached_property
    def present(self) -> frozenset[str]:
        """Names of the structures with at least one voxel."""
        counts = np.bincount(self.labels.array.ravel(), minlength=256)
        return frozenset(name for name, one in STRUCTURES.items() if counts[one.number])

    @property
    def segmented(self) -> frozenset[str]:
        """Structures and groups of which what is not labelled is surely something else.

        None by rules, nor by a network trained on simulated bodies.
        """
        if self.source in (OrganSource.RULES, OrganSource.LEARNED):
            return frozenset()
        return self.known | {group for group, names in GROUPS.items() if self.known & set(names)}

    def volume_ml(self, name: str) -> float:
        """Volume of a structure or group, ml."""
        return float(self.mask(name).sum()) * self.labels.voxel_ml

    def on(self, grid: Grid) -> OrganSegmentation:
        """The same on another grid (nearest voxel)."""
        return replace(self, labels=resample(self.labels, grid, interpolation="nearest", outside=0))

    def completed_by(self, other: OrganSegmentation) -> OrganSegmentation:
        """The same, with the structures that this source does not know from another one on the same grid.

        A group counts as known where any of its structures is: a source that knows "heart" needs no heart of rules.

        Args:
            other: on the same grid; takes no voxel that is labelled here, but for the aorta out of great vessels.
        """
        known = set(self.known)
        for names in GROUPS.values():
            if known & set(names):
                known |= set(names)
        missing = [name for name in other.present if name not in known]
        labels = self.labels.array.copy()
        numbers = np.array([STRUCTURES[name].number for name in missing], np.uint8)
        fill = (labels == 0) & np.isin(other.labels.array, numbers)
        labels[fill] = other.labels.array[fill]
        if "aorta" in missing:
            labels[other.mask("aorta") & self.mask("great_vessels")] = STRUCTURES["aorta"].number
        return replace(self, labels=self.labels.like(labels, "label"), filled_in=frozenset(missing))


class OrganSegmenter(Protocol):
    """What segments organs: the contract between the analysis of a study and a network or an external program."""

    @property
    def source(self) -> OrganSource:
        """What its results name."""
        ...

    def segment(self, ct: Volume, pet: Volume) -> OrganSegmentation:
        """Segment the organs of one patient.

        Args:
            ct: HU (int16 or float32), any grid, `[slice, row, column]`, LPS.
            pet: SUVbw, g/ml, any grid, the same frame of reference; beyond the CT where its field of view is larger.

        Returns:
            uint8 labels of `STRUCTURES` on any one grid that covers the CT (the grid of the network, say 4 mm); the
            caller brings them onto its own, nearest voxel. `known` holds every structure that the segmenter was
            trained to find, whether or not this patient shows it. Lesions are no organ: a voxel of a tumour keeps the
            label of the organ it lies in.
        """
        ...


@dataclass(frozen=True, eq=False)
class GivenOrgans:
    """A segmentation that exists already, as a segmenter."""

    segmentation: OrganSegmentation

    @property
    def source(self) -> OrganSource:
        """Of the segmentation."""
        return self.segmentation.source

    def segment(self, ct: Volume, pet: Volume) -> OrganSegmentation:  # noqa: ARG002  nothing is computed from the images
        """The segmentation, as it was given."""
        return self.segmentation
