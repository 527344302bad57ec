"""Where the PET is hot, and which of it is taken for lesions.

A threshold finds physiology too (brain, heart, kidneys, bladder). Every hot component is therefore kept in the result,
included or not, with the reason; a person can switch each one, and each number that rests on it names the method.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from fedpet.errors import ComponentUnknown
from fedpet.messages import Message
from imaging.basins import basins_of
from imaging.isocontour import SHARES, outlined
from imaging.physiology import Verdict, judge
from imaging.thresholds import threshold_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from imaging.thresholds import Method
    from imaging.volume import Volume

SMALLEST_ML = 0.15
_MOST_LABELS = np.iinfo(np.uint16).max
_TOUCH = np.ones((3, 3, 3), bool)


@dataclass(frozen=True)
class Component:
    """One hot component. `id` is its value in the label volume of the delineation, 1 for the largest.

    Attributes:
        place: of a lesion its region (`imaging.regions.REGIONS`), else what it was taken for
            (`imaging.physiology.PLACES`).
        reason: why it is included or not.
        switched: a person decided.
        centroid_mm: LPS.
    """

    id: int
    included: bool
    place: str
    reason: Message
    switched: bool
    suv_max: float
    volume_ml: float
    centroid_mm: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Delineation:
    """All hot components of a PET.

    Attributes:
        method: "suv4", "suv41pct", "percist_liver" or "percist_blood_pool", with "_model_map" where a model's lesion
            map took part in the decisions.
        threshold: SUV from which uptake was a candidate.
        labels: uint16 on the PET grid, every component by its id; 0 is background.
        components: by id.
    """

    method: str
    threshold: float
    labels: Volume
    components: tuple[Component, ...]

    @property
    def lesions(self) -> Volume:
        """The included components only, by their ids."""
        keep: NDArray[np.uint16] = np.zeros(len(self.components) + 1, np.uint16)
        for component in self.components:
            keep[component.id] = component.id if component.included else 0
        return self.labels.like(keep[self.labels.array], "label")


def delineate(
    pet: Volume,
    ct: Volume | None,
    *,
    method: Method = "suv4",
    lesion_map: Volume | None = None,
    include: Collection[int] = (),
    exclude: Collection[int] = (),
) -> Delineation:
    """Find the hot components of a PET and decide which are lesions.

    Args:
        pet: SUVbw, g/ml.
        ct: HU, any grid; None leaves few rules to recognise physiological uptake.
        method: "suv4" takes SUV >= 4; "percist" a threshold from the liver or the blood pool; "suv41pct" outlines each
            lesion found at SUV >= 4 at 41 % of its own maximum.
        lesion_map: a model's probability of lesion, 0 to 1, any grid.
        include: ids of components that a person takes in, whatever the rules say.
        exclude: ids of components that a person takes out.

    Raises:
        ComponentUnknown: an id that the result does not have, or that is both included and excluded.
        ReferenceNotFound: "percist" without a liver or an aorta to compare with.
    """
    threshold = threshold_of(pet, ct, method)
    basins = basins_of(pet, pet.array >= threshold.suv)
    verdicts = judge(pet, ct, basins, lesion_map=lesion_map)
    labels = _merged(pet, basins, verdicts)
    if method == "suv41pct":
        labels = _outlined(pet, basins, verdicts, labels)
    components = _described(pet, labels, basins, verdicts)
    name = threshold.method if lesion_map is None else f"{threshold.method}_model_map"
    return Delineation(name, threshold.suv, labels, _switched(components, include, exclude))


def within(labels: Volume, pet: Volume, ct: Volume | None, method: Method) -> Volume:
    """What a method takes of each lesion in rough outlines: SUV from its threshold, or 41 % of that lesion's maximum.

    Args:
        labels: on the PET grid, 0 is background.
        pet: SUVbw, g/ml.
        ct: HU, any grid; used by "percist" only.
        method: see `delineate`.

    Raises:
        ReferenceNotFound: as `delineate`.
    """
    index: NDArray[np.intp] = np.arange(int(labels.array.max(initial=0)) + 1)
    if method == "suv41pct":
        bounds = SHARES[0] * np.atleast_1d(ndimage.maximum(pet.array, labels.array, index))
    else:
        bounds = np.full(len(index), threshold_of(pet, ct, method).suv)
    return labels.like(np.where(pet.array >= bounds[labels.array], labels.array, 0).astype(labels.array.dtype), "label")


def _merged(pet: Volume, basins: NDArray[np.int32], verdicts: Sequence[Verdict]) -> Volume:
    """Touching basins taken for the same thing become one component; what is too small goes."""
    kinds = ["" if verdict.lesion else verdict.place for verdict in verdicts]
    distinct = sorted(set(kinds))
    kind = np.array([0, *(1 + distinct.index(one) for one in kinds)])[basins]
    parts = np.zeros(basins.shape, np.int32)
    for number in range(1, len(distinct) + 1):
        cut = ndimage.label(kind == number, structure=_TOUCH)[0]
        parts[cut > 0] = cut[cut > 0] + parts.max()
    return numbered(pet.like(parts, "label"), minimum_ml=SMALLEST_ML)


def _outlined(pet: Volume, basins: NDArray[np.int32], verdicts: Sequence[Verdict], labels: Volume) -> Volume:
    """Lesions outlined at a share of their own maximum instead; an outline takes nothing from another component."""
    lesion = np.array([False, *(verdict.lesion for verdict in verdicts)])
    lesion[1:] &= np.isin(np.arange(1, len(lesion)), basins[labels.array > 0])
    physiology = np.where(lesion[basins], 0, labels.array).astype(np.int32)
    outlines = outlined(pet, basins, lesion[1:])
    parts = np.where((physiology == 0) & (outlines > 0), outlines + physiology.max(), physiology)
    return numbered(pet.like(parts, "label"), minimum_ml=SMALLEST_ML)


def _described(
    pet: Volume, labels: Volume, basins: NDArray[np.int32], verdicts: Sequence[Verdict]
) -> tuple[Component, ...]:
    """A component of each label; its verdict is that of the basin it shares most voxels with."""
    found = []
    for number, box in enumerate(ndimage.find_objects(labels.array), start=1):
        inside = labels.array[box] == number
        shared = np.bincount(basins[box][inside])
        shared[0] = 0
        verdict = verdicts[int(shared.argmax()) - 1]
        centre = np.argwhere(inside).mean(axis=0) + [side.start for side in box]
        x, y, z = labels.to_mm(centre)
        found.append(
            Component(
                id=number,
                included=verdict.lesion,
                place=verdict.place,
                reason=verdict.reason,
                switched=False,
                suv_max=float(pet.array[box][inside].max()),
                volume_ml=float(inside.sum()) * pet.voxel_ml,
                centroid_mm=(float(x), float(y), float(z)),
            )
        )
    return tuple(found)


def _switched(
    components: tuple[Component, ...], include: Collection[int], exclude: Collection[int]
) -> tuple[Component, ...]:
    """The components with a person's decisions."""
    known = {component.id for component in components}
    wrong = ({*include, *exclude} - known) | ({*include} & {*exclude})
    if wrong:
        raise ComponentUnknown(
            found=Message("Asked to switch: {ids}.", ids=", ".join(str(number) for number in sorted(wrong))),
            needed=Message(
                "Each number one of the {n} components of this delineation, either included or excluded.",
                n=len(components),
            ),
            advice=Message("Numbers belong to one study and one method: look them up in the list of components."),
        )
    taken_in, left_out = Message("Included by the reader."), Message("Excluded by the reader.")
    decided = {**dict.fromkeys(include, taken_in), **dict.fromkeys(exclude, left_out)}
    return tuple(
        replace(one, included=one.id in include, switched=True, reason=decided[one.id]) if one.id in decided else one
        for one in components
    )


def threshold_components(pet: Volume, *, threshold: float = 4.0, minimum_ml: float = 0.5) -> Volume:
    """Components of SUV >= `threshold` (26-connected) of at least `minimum_ml`.

    Returns:
        uint16 labels on the PET grid, 1 for the largest component; 0 is background.
    """
    return connected_components(pet.like(pet.array >= threshold, "label"), minimum_ml=minimum_ml)


def connected_components(mask: Volume, *, minimum_ml: float = 0.0) -> Volume:
    """The 26-connected components of a mask, numbered by decreasing volume.

    Args:
        mask: any type; non-zero is inside.
        minimum_ml: smaller components are left out.
    """
    return numbered(mask.like(ndimage.label(mask.array != 0, structure=_TOUCH)[0], "label"), minimum_ml=minimum_ml)


def numbered(labels: Volume, *, minimum_ml: float = 0.0) -> Volume:
    """Labels numbered anew by decreasing volume, as uint16; those under `minimum_ml` become background."""
    sizes = np.bincount(labels.array.ravel())
    sizes[0] = 0
    order = np.argsort(-sizes, kind="stable")[:_MOST_LABELS]
    kept = order[(sizes[order] > 0) & (sizes[order] * labels.voxel_ml >= minimum_ml)]
    number: NDArray[np.uint16] = np.zeros(len(sizes), np.uint16)
    number[kept] = np.arange(1, len(kept) + 1)
    return labels.like(number[labels.array], "label")
