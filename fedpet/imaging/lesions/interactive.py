"""Lesions that a reader outlines: a point and a threshold, strokes of a sphere, and lesions that are one.

What a reader does is kept as these few numbers and not as a mask, so that it can be read, undone, and computed again on
the same images with the same result.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import ndimage

from fedpet.core.errors import ArgumentError
from fedpet.core.messages import Message
from fedpet.imaging.anatomy.regions import REGIONS, locate_lesions
from fedpet.imaging.lesions.delineation import HotComponent
from fedpet.imaging.lesions.detection.watershed import watershed_basins
from fedpet.imaging.lesions.quantities import placed
from fedpet.imaging.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy
    from fedpet.imaging.lesions.delineation import Delineation
    from fedpet.imaging.lesions.lesion import Quantities

ERASED: Final = 0  # in the place of a number: what a stroke covers is of no lesion
LOWEST_SHARE: Final = 0.3  # of the maximum: down to it a focus can be grown
_SUV4, _FAINT = (
    4.0,
    2.0,
)  # as the delineation: from twice SUV 4 a focus is outlined at SUV 4
_SHELL_MM = (20.0, 35.0)  # around the hottest voxel: the uptake there is the background
_BACKGROUND = 0.7  # of the maximum: hotter voxels of the shell are no background
_SMOOTHING_MM = 2.5
_REACH_MM = 20.0  # from the point to the maximum above it
_BOXES_MM = (50.0, 110.0, np.inf)  # half sides, the next where a focus reaches the border of one
_NEIGHBOURHOOD = np.ones((3, 3, 3), bool)
_DRAWN = Message("Outlined by the reader.")
_CHANGED = Message("Outline changed by the reader.")

Box = tuple[slice, slice, slice]  # of slices, rows, columns


@dataclass(frozen=True)
class GrownFocus:
    """A focus that a reader outlined.

    Attributes:
        id: its number among the components of the study, above those of the delineation.
        point_mm: where the reader pointed, LPS.
        threshold: SUVbw, g/ml, of its outline.
    """

    id: int
    point_mm: tuple[float, float, float]
    threshold: float


@dataclass(frozen=True)
class BrushStroke:
    """A sphere that a reader drew along a line.

    Attributes:
        id: the lesion that takes the voxels whose centres the sphere covers; `ERASED` where components that count lose
            them.
        points_mm: of its centre, LPS, joined by straight lines.
        radius_mm: of the sphere.
        at_least: SUVbw, g/ml; colder voxels are not taken. Without effect where voxels are lost.
    """

    id: int
    points_mm: tuple[tuple[float, float, float], ...]
    radius_mm: float
    at_least: float = 0.0


@dataclass(frozen=True)
class MergedLesions:
    """Two lesions that are one to a reader.

    Attributes:
        id: of the one that takes the voxels of both.
        other: the number that goes.
    """

    id: int
    other: int


Step = GrownFocus | BrushStroke | MergedLesions


@dataclass(frozen=True)
class LesionEdits:
    """What a reader changed of the lesions, beside switching components.

    Attributes:
        steps: in the order in which they were taken; a later one takes voxels from those before.
        regions: keys of `fedpet.imaging.anatomy.regions.REGIONS` that a reader gave, by number of the lesion.
        first: lowest number of a lesion that a reader drew; those below it are of the delineation. 0 without steps.
    """

    steps: tuple[Step, ...] = ()
    regions: Mapping[int, str] = field(default_factory=dict)
    first: int = 0

    def __bool__(self) -> bool:
        return bool(self.steps or self.regions)

    @property
    def numbers(self) -> frozenset[int]:
        """The numbers of the lesions that its steps name."""
        return frozenset(one.id for one in self.steps) - {ERASED}

    def without(self, number: int) -> LesionEdits:
        """The edits without a lesion that a reader drew, and without those that were merged into it."""
        gone = {number}
        for one in self.steps:
            if isinstance(one, MergedLesions) and one.id in gone:
                gone.add(one.other)
        steps = tuple(one for one in self.steps if one.id not in gone)
        regions = {key: value for key, value in self.regions.items() if key not in gone}
        return LesionEdits(steps, regions, self.first)


@dataclass(frozen=True, eq=False)
class Focus:
    """The voxels under a point.

    Attributes:
        box: slices, rows and columns of the PET.
        inside: bool, shape of the box.
        hottest_mm: its hottest voxel, LPS.
        suv_max: SUVbw, g/ml.
        threshold: SUVbw of its outline.
        lowest, highest: between which the threshold can be.
        volume_ml: number of voxels times their volume.
    """

    box: Box
    inside: NDArray[np.bool_]
    hottest_mm: tuple[float, float, float]
    suv_max: float
    threshold: float
    lowest: float
    highest: float
    volume_ml: float


def grow_focus(pet: Volume, point_mm: tuple[float, float, float], threshold: float | None = None) -> Focus:
    """Grow the focus under a point.

    From the point uptake is followed upwards to the next maximum (of the smoothed PET, within 20 mm). The focus is the
    connected part above the threshold in the watershed basin of that maximum, so that it does not run into a hotter
    neighbour.

    Args:
        pet: SUVbw, g/ml.
        point_mm: LPS.
        threshold: SUVbw; it is brought between 30 % and 95 % of the maximum. None for SUV 4 where the maximum is at
            least 8, else halfway between the maximum and the background, 20 to 35 mm around it.

    Returns:
        The focus; at least its hottest voxel.

    Raises:
        ArgumentError: the point is outside of the PET, or there is no uptake.
    """
    index = np.rint(pet.to_index(np.array(point_mm))).astype(int)
    if (index < 0).any() or (index >= pet.shape).any():
        raise ArgumentError(
            found=Message("The point lies outside of the PET."),
            needed=Message("A point in the images."),
            advice=Message("Point at the uptake that is to be outlined."),
        )
    for half_mm in _BOXES_MM:
        box = _box(pet, index, half_mm)
        focus, cut = _grow(pet, box, index, threshold)
        if not cut:
            break
    return focus


def apply_edits(
    found: Delineation, pet: Volume, edits: LesionEdits, anatomy: PatientAnatomy | None = None
) -> Delineation:
    """The components of a study with what a reader outlined.

    A component whose hottest voxel lies in a new focus is replaced by it; another one loses the voxels that a focus or
    a stroke takes. Numbers stay.

    Args:
        found: by the program, with the components that the reader switched.
        pet: SUVbw, g/ml, that was delineated.
        edits: of the reader.
        anatomy: of the same PET; None without a CT.

    Raises:
        ArgumentError: two components of one number, or a point outside of the PET.
    """
    if not edits.steps:
        return found
    known = frozenset(one.id for one in found.components)
    foci = [one.id for one in edits.steps if isinstance(one, GrownFocus)]
    if len(known) + len(foci) > len(known.union(foci)):
        raise ArgumentError(
            found=Message("Two foci have the same number."),
            needed=Message("A number of its own for each focus that is outlined."),
            advice=Message("Number new foci above those of the delineation."),
        )
    labels, touched, outlined = found.labels.array.copy(), set[int](), set[int]()
    counted = frozenset(one.id for one in found.components if one.included) | edits.numbers
    for one in edits.steps:
        if isinstance(one, GrownFocus):
            touched |= _paint(labels, pet, grow_focus(pet, one.point_mm, one.threshold), one.id)
        else:
            changed = _stroke(labels, pet, one, counted) if isinstance(one, BrushStroke) else _merge(labels, one)
            touched |= changed
            outlined |= {one.id} if one.id else changed
    kept = [_outlined(one) if one.id in outlined else one for one in found.components]
    components = [_measured(one, labels, pet) if one.id in touched else one for one in kept]
    drawn = sorted(edits.numbers - known)
    regions = locate_lesions(pet.like(np.where(np.isin(labels, drawn), labels, 0), "label"), anatomy)
    components += [_measured(_component(number, regions.get(number, "unknown")), labels, pet) for number in drawn]
    left = tuple(one for one in components if one is not None)
    return replace(found, labels=found.labels.like(labels, "label"), components=left)


def rename_regions(quantities: Quantities, regions: Mapping[int, str], anatomy: PatientAnatomy | None) -> Quantities:
    """The quantities with the regions that a reader gave, and the vertebra or station that follows from each.

    Raises:
        ArgumentError: no such region.
    """
    unknown = sorted(set(regions.values()) - REGIONS.keys())
    if unknown:
        raise ArgumentError(
            found=Message("There is no region “{name}”.", name=unknown[0]),
            needed=Message("One of: {names}.", names=", ".join(REGIONS)),
            advice=Message("Choose a region of the list."),
        )
    lesions = tuple(
        placed(replace(one, region=regions[one.id]), anatomy) if one.id in regions else one
        for one in quantities.lesions
    )
    return replace(quantities, lesions=lesions)


def _box(pet: Volume, index: NDArray[np.intp], half_mm: float) -> Box:
    sides = []
    for centre, size, step in zip(index, pet.shape, pet.spacing[::-1], strict=True):
        half = size if np.isinf(half_mm) else int(half_mm / step) + 1
        sides.append(slice(max(int(centre) - half, 0), min(int(centre) + half + 1, size)))
    return sides[0], sides[1], sides[2]


def _grow(pet: Volume, box: Box, index: NDArray[np.intp], threshold: float | None) -> tuple[Focus, bool]:
    """The focus in a box, and whether the box cuts it."""
    suv = pet.array[box]
    place = _summit(pet, suv, index - [side.start for side in box])
    lowest = LOWEST_SHARE * float(suv[place])
    if not lowest > 0.0:
        raise ArgumentError(
            found=Message("There is no uptake at this point."),
            needed=Message("A point on the uptake of a lesion."),
            advice=Message("Point at the uptake that is to be outlined."),
        )
    affine = pet.affine.copy()
    affine[:3, 3] = pet.to_mm(np.array([side.start for side in box], float))
    basins = watershed_basins(Volume(suv, affine, pet.unit), suv >= lowest)
    basin = basins == basins[place]
    top = np.unravel_index(int(np.where(basin, suv, -np.inf).argmax()), suv.shape)
    highest = float(suv[top])
    wanted = _usual_threshold(pet, suv, top, highest) if threshold is None else threshold
    level = float(np.clip(wanted, LOWEST_SHARE * highest, 0.95 * highest))
    parts = ndimage.label(basin & (suv >= level), structure=_NEIGHBOURHOOD)[0]
    inside = parts == parts[top]
    x, y, z = pet.to_mm(np.array(top, float) + [side.start for side in box])
    focus = Focus(
        box=box,
        inside=inside,
        hottest_mm=(float(x), float(y), float(z)),
        suv_max=highest,
        threshold=level,
        lowest=LOWEST_SHARE * highest,
        highest=0.95 * highest,
        volume_ml=float(inside.sum()) * pet.voxel_ml,
    )
    return focus, _is_cut(inside, box, pet.shape)


def _usual_threshold(pet: Volume, suv: NDArray[np.floating], top: tuple[np.intp, ...], highest: float) -> float:
    """SUV 4 for a hot focus; for a faint one halfway to the background."""
    if highest >= _FAINT * _SUV4:
        return _SUV4
    away = [(np.arange(size) - at) * step for size, at, step in zip(suv.shape, top, pet.spacing[::-1], strict=True)]
    apart = np.sqrt(away[0][:, None, None] ** 2 + away[1][None, :, None] ** 2 + away[2][None, None, :] ** 2)
    shell = suv[(apart >= _SHELL_MM[0]) & (apart <= _SHELL_MM[1])]
    calm = shell[shell < _BACKGROUND * highest]
    return (highest + (float(np.median(calm)) if calm.size else 0.0)) / 2


def _summit(pet: Volume, suv: NDArray[np.floating], start: NDArray[np.intp]) -> tuple[int, int, int]:
    """The maximum above a voxel of a box, followed upwards on the smoothed uptake."""
    steps = np.array(pet.spacing[::-1])
    smooth = ndimage.gaussian_filter(suv.astype(np.float32), _SMOOTHING_MM / steps)
    place = start.copy()
    while np.linalg.norm((place - start) * steps) <= _REACH_MM:
        low = np.maximum(place - 1, 0)
        around = smooth[tuple(slice(a, b + 2) for a, b in zip(low, place, strict=True))]
        best = low + np.array(np.unravel_index(int(around.argmax()), around.shape))
        if smooth[tuple(best)] <= smooth[tuple(place)]:
            break
        place = best
    return int(place[0]), int(place[1]), int(place[2])


def _is_cut(inside: NDArray[np.bool_], box: Box, shape: tuple[int, int, int]) -> bool:
    """Whether voxels lie at a side of the box that is not one of the image."""
    for axis, (side, size) in enumerate(zip(box, shape, strict=True)):
        ends = ((0, side.start > 0), (-1, side.stop < size))
        if any(inner and inside.take(end, axis=axis).any() for end, inner in ends):
            return True
    return False


def _paint(labels: NDArray[np.uint16], pet: Volume, focus: Focus, number: int) -> set[int]:
    """Write a focus into the labels; returns the numbers of those that it takes voxels from."""
    part = labels[focus.box]
    taken = {int(one) for one in np.unique(part[focus.inside]) if one}
    for other in taken:
        voxels = np.argwhere(labels == other)
        hottest = voxels[pet.array[tuple(voxels.T)].argmax()]
        local = hottest - [side.start for side in focus.box]
        if ((local >= 0) & (local < focus.inside.shape)).all() and focus.inside[tuple(local)]:
            labels[tuple(voxels.T)] = 0  # outlined anew
    part[focus.inside] = number
    return taken


def _stroke(labels: NDArray[np.uint16], pet: Volume, stroke: BrushStroke, counted: frozenset[int]) -> set[int]:
    """Draw a stroke into the labels; returns the numbers of the components that change."""
    box, covered = _covered(pet, stroke)
    part = labels[box]
    if stroke.id == ERASED:
        covered &= np.isin(part, list(counted))
    else:
        covered &= pet.array[box] >= stroke.at_least
    changed = {int(one) for one in np.unique(part[covered])} | {stroke.id}
    part[covered] = stroke.id
    return changed - {0}


def _covered(pet: Volume, stroke: BrushStroke) -> tuple[Box, NDArray[np.bool_]]:
    """The voxels whose centres lie in a stroke, within a box around it; of one smaller than a voxel, the nearest."""
    centres = pet.to_index(np.array(stroke.points_mm, float))  # slice, row, column
    steps = np.array(pet.spacing[::-1])
    if (np.rint(centres) < 0).any() or (np.rint(centres) >= pet.shape).any():
        raise ArgumentError(
            found=Message("The point lies outside of the PET."),
            needed=Message("A point in the images."),
            advice=Message("Draw on the images."),
        )
    reach = stroke.radius_mm / steps
    low = np.maximum(np.floor(centres.min(axis=0) - reach), 0).astype(int)
    high = np.minimum(np.ceil(centres.max(axis=0) + reach) + 1, pet.shape).astype(int)
    box = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
    grid = np.stack(np.meshgrid(*map(np.arange, low, high), indexing="ij"), axis=-1)
    radius = max(stroke.radius_mm, float(np.linalg.norm(steps)) / 2)
    inside: NDArray[np.bool_] = np.zeros(grid.shape[:-1], bool)
    for start, end in zip(centres, [*centres[1:], centres[-1]], strict=True):
        along, away = (end - start) * steps, (grid - start) * steps
        length = float(along @ along)
        part = np.clip(away @ along / length, 0.0, 1.0) if length else np.zeros(away.shape[:-1])
        inside |= np.linalg.norm(away - part[..., None] * along, axis=-1) <= radius
    return box, inside


def _merge(labels: NDArray[np.uint16], merged: MergedLesions) -> set[int]:
    """Give the voxels of one component to another; returns the numbers of those that change."""
    labels[labels == merged.other] = merged.id
    return {merged.id, merged.other}


def _outlined(one: HotComponent) -> HotComponent:
    """A component whose outline the reader changed: it needs no confirmation."""
    return replace(one, reason=_CHANGED, switched=one.switched or one.included, to_confirm=False)


def _component(number: int, region: str) -> HotComponent:
    return HotComponent(number, True, region, _DRAWN, True, 0.0, 0.0, (0.0, 0.0, 0.0))  # noqa: FBT003  included, switched


def _measured(one: HotComponent, labels: NDArray[np.uint16], pet: Volume) -> HotComponent | None:
    """A component measured on its voxels as they are now; None where none is left."""
    voxels = np.argwhere(labels == one.id)
    if not len(voxels):
        return None
    x, y, z = pet.to_mm(voxels.mean(axis=0))
    return replace(
        one,
        suv_max=float(pet.array[tuple(voxels.T)].max()),
        volume_ml=len(voxels) * pet.voxel_ml,
        centroid_mm=(float(x), float(y), float(z)),
    )
