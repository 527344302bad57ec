"""What was read of a reader's mask and what was not: counts that travel with the result, and the check on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING, Final, Literal, Self

from fedpet.core.messages import Message
from fedpet.imaging.study import CheckStatus, QualityCheck

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MaskFormat = Literal["NIFTI", "SEG", "RTSTRUCT"]
_DROPPED: Final = {  # why a contour was not used
    "OPEN_PLANAR": Message("open planar contours"),
    "OPEN_NONPLANAR": Message("open non-planar contours"),
    "POINT": Message("points"),
    "UNDER_3_POINTS": Message("closed contours of fewer than three points"),
    "NO_AREA": Message("closed contours without an area"),
    "UNKNOWN": Message("contours of an unknown geometric type"),
}
_FAR, _FAR_ML = 0.25, 0.5  # share and ml by which the volume on the PET may differ from what was drawn
_SHOWN = 5  # names in a sentence


@dataclass(frozen=True)
class RegionAudit:
    """One region of a mask as it was drawn, and what of it lies on the PET.

    Attributes:
        name: of the ROI or segment, the patient's identity blotted out; the number of a NIfTI label.
        planes: planes (NIfTI: slices of the mask) in which something is drawn.
        drawn_ml: volume as drawn.
        ml: volume on the grid of the PET, where each voxel belongs to one region.
        contours: closed contours used.
        holes: those of them that take away.
        duplicates: contours that repeat another one; they count once.
        overlapping: contours that overlap another one in part; they are taken together.
        thin_rims: holes that leave less than 1 mm of the contour around them.
        exclusive: the contours are CLOSEDPLANAR_XOR.
        dropped: contours that are not used.
        dropped_kinds: their number by reason: a Contour Geometric Type, "UNDER_3_POINTS", "NO_AREA", "UNKNOWN".
        miscounted: contours that announce another number of points than they hold.
        self_crossing: planes of contours that cross themselves, for example "z 112.0 mm".
        empty_planes: planes without a drawing between two with one.
        gaps: those of them whose neighbours are drawn one above the other, so that one lesion may be cut in two.
    """

    name: str
    planes: int
    drawn_ml: float
    ml: float = 0.0
    contours: int = 0
    holes: int = 0
    duplicates: int = 0
    overlapping: int = 0
    thin_rims: int = 0
    exclusive: bool = False
    dropped: int = 0
    dropped_kinds: Mapping[str, int] = field(default_factory=dict)
    miscounted: int = 0
    self_crossing: tuple[str, ...] = ()
    empty_planes: int = 0
    gaps: int = 0


@dataclass(frozen=True)
class MaskAudit:
    """A mask as it was read; the numbers are sums over its regions.

    Attributes:
        sampled: how the drawing came onto the grid of the PET.
        left_out: regions not taken for lesions; they can be chosen by name.
        overlap_ml: drawn in two regions or more, counted for the smallest.
    """

    format: MaskFormat
    sampled: Message
    regions: tuple[RegionAudit, ...]
    planes: int
    contours: int
    holes: int
    duplicates: int
    overlapping: int
    dropped: int
    empty_planes: int
    drawn_ml: float
    ml: float
    left_out: tuple[str, ...] = ()
    overlap_ml: float = 0.0

    @classmethod
    def of(
        cls,
        kind: MaskFormat,
        sampled: Message,
        regions: Sequence[RegionAudit],
        *,
        left_out: Sequence[str] = (),
        overlap_ml: float = 0.0,
    ) -> Self:
        """The audit of regions, with their sums."""
        return cls(
            format=kind,
            sampled=sampled,
            regions=tuple(regions),
            planes=sum(one.planes for one in regions),
            contours=sum(one.contours for one in regions),
            holes=sum(one.holes for one in regions),
            duplicates=sum(one.duplicates for one in regions),
            overlapping=sum(one.overlapping for one in regions),
            dropped=sum(one.dropped for one in regions),
            empty_planes=sum(one.empty_planes for one in regions),
            drawn_ml=round(sum(one.drawn_ml for one in regions), 3),
            ml=round(sum(one.ml for one in regions), 3),
            left_out=tuple(left_out),
            overlap_ml=round(overlap_ml, 3),
        )

    def check(self) -> QualityCheck:
        """The check "mask_read": a warning where something of the mask is doubtful or was not used."""
        doubts = [
            Message("{what}: {regions}.", what=what, regions=regions)
            for what, count in (*_DOUBTS, *_not_used(self.regions))
            if (regions := _named(self.regions, count))
        ]
        doubts += [*self._crossings(), *self._volume_doubts()]
        if doubts:
            return QualityCheck("mask_read", CheckStatus.WARN, join_sentences(doubts))
        read = Message(
            "Regions: {n}; planes drawn: {planes}; {ml:.1f} ml. {sampled}",
            n=len(self.regions),
            planes=self.planes,
            ml=self.ml,
            sampled=self.sampled,
        )
        return QualityCheck("mask_read", CheckStatus.PASS, join_sentences([read, *self._remarks()]))

    def _crossings(self) -> list[Message]:
        crossed = [f"{one.name} ({_listed(one.self_crossing)})" for one in self.regions if one.self_crossing]
        return [Message("Contours that cross themselves: {regions}.", regions=_listed(crossed))] if crossed else []

    def _volume_doubts(self) -> list[Message]:
        doubts = [] if self.drawn_ml else [Message("Nothing is drawn in the mask, and nothing is measured.")]
        if lost := [one for one in self.regions if not one.ml]:
            doubts.append(
                Message(
                    "Not on the PET, and not measured: {regions} ({ml:.2f} ml drawn).",
                    regions=_listed([one.name for one in lost]),
                    ml=sum(one.drawn_ml for one in lost),
                )
            )
        if self.overlap_ml:
            doubts.append(
                Message("{ml:.1f} ml are drawn in two regions and count for the smaller one.", ml=self.overlap_ml)
            )
        elif abs(self.drawn_ml - self.ml) > max(_FAR * self.drawn_ml, _FAR_ML):
            doubts.append(
                Message("{drawn:.1f} ml are drawn, {ml:.1f} ml lie on the PET.", drawn=self.drawn_ml, ml=self.ml)
            )
        return doubts

    def _remarks(self) -> list[Message]:
        remarks = []
        if self.holes:
            remarks.append(Message("Holes: {n}.", n=self.holes))
        if self.empty_planes:
            remarks.append(Message("Empty planes between drawn ones, left empty: {n}.", n=self.empty_planes))
        if self.left_out:
            remarks.append(Message("Not taken for lesions: {regions}.", regions=_listed(self.left_out)))
        return remarks


def dropped_kinds(counts: Mapping[str, int]) -> Message:
    """Contours that cannot be used, for a sentence: "open planar contours (3), points (1)"."""
    return reduce(
        lambda first, rest: Message("{first}, {rest}", first=first, rest=rest),
        [Message("{kind} ({n})", n=count, kind=_DROPPED[kind]) for kind, count in sorted(counts.items())],
    )


def join_sentences(sentences: Sequence[Message]) -> Message:
    """Sentences one after the other, as one message."""
    return reduce(lambda first, rest: Message("{first} {rest}", first=first, rest=rest), sentences)


_DOUBTS: Final[tuple[tuple[Message, Callable[[RegionAudit], int]], ...]] = (
    (Message("Contours drawn twice, counted once"), lambda one: one.duplicates),
    (
        Message("Contours that overlap in part, taken together"),
        lambda one: 0 if one.exclusive else one.overlapping,
    ),
    (Message("Holes that leave a rim thinner than 1 mm"), lambda one: one.thin_rims),
    (Message("Contours that announce another number of points than they hold"), lambda one: one.miscounted),
    (Message("Planes without a contour between two with one, left empty"), lambda one: one.gaps),
)


def _not_used(regions: Sequence[RegionAudit]) -> list[tuple[Message, Callable[[RegionAudit], int]]]:
    """What was dropped, kind by kind."""

    def count(kind: str) -> Callable[[RegionAudit], int]:
        return lambda one: one.dropped_kinds.get(kind, 0)

    kinds = sorted({kind for one in regions for kind in one.dropped_kinds})
    return [(Message("Not used, {kind}", kind=_DROPPED[kind]), count(kind)) for kind in kinds]


def _named(regions: Sequence[RegionAudit], count: Callable[[RegionAudit], int]) -> str:
    """The regions with a count, for example "GTV1 (3), GTV2 (1)"; "" where none has."""
    return _listed([f"{one.name} ({number})" for one in regions if (number := count(one))])


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
