"""The hot components of a PET, and which of them are lesions.

Foci are looked for from a lower SUV than the one that outlines them, so that a faint lesion is in the list. A threshold
finds physiological uptake too (brain, heart, kidneys, bladder). The result therefore holds every hot
component, included or not, with the reason; a reader can overrule each decision, and every quantity derived from a
delineation names its method.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from scipy import ndimage

from fedpet.core.errors import UnknownComponentError
from fedpet.core.messages import Message
from fedpet.imaging.lesions.detection.isocontour import isocontour
from fedpet.imaging.lesions.detection.lesion_score import PHYSIOLOGICAL
from fedpet.imaging.lesions.detection.levels import MAXIMUM_SHARE
from fedpet.imaging.lesions.detection.organ_borders import cut_at_organs
from fedpet.imaging.lesions.detection.seeds import candidate_voxels
from fedpet.imaging.lesions.detection.thresholds import FIXED_SUV, threshold_for
from fedpet.imaging.lesions.detection.uptake_classification import UNCLEAR, UptakeClassification, classify_uptake
from fedpet.imaging.lesions.detection.watershed import watershed_basins

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy
    from fedpet.imaging.anatomy.reference_uptake import OrganReferences
    from fedpet.imaging.lesions.detection.levels import Level
    from fedpet.imaging.lesions.lesion import ThresholdMethod
    from fedpet.imaging.volume import Volume

SMALLEST_ML = 0.15  # smaller components are left out
Outline = Literal["threshold", "41pct", "gradient", "adaptive"]
_OWN_LEVEL: Final[Mapping[str, Level]] = {"suv41pct": "41pct", "gradient": "gradient", "adaptive": "adaptive"}
_FAINT = 2.0  # times the threshold: a lesion below is outlined at its steepest gradient
_MAX_LABELS = np.iinfo(np.uint16).max
_NEIGHBOURHOOD = np.ones((3, 3, 3), bool)


@dataclass(frozen=True)
class HotComponent:
    """One hot component.

    Attributes:
        id: its value in the label volume of the delineation, 1 for the largest.
        included: whether it counts as a lesion.
        place: region of a lesion (a key of `fedpet.imaging.anatomy.regions.REGIONS`), else the site of physiological
            uptake (of `fedpet.imaging.lesions.detection.uptake_classification.PHYSIOLOGICAL_SITES`).
        reason: why it is included or not.
        switched: True where a reader decided.
        suv_max: SUVbw, g/ml.
        volume_ml: number of voxels times their volume.
        centroid_mm: LPS.
        score: probability of a lesion, 0 to 1, by `fedpet.imaging.lesions.detection.lesion_score`; None without a CT.
        evidence: what was measured of it, in words.
        outline: "threshold", "41pct" (of its own maximum), "gradient" or "adaptive": how it is outlined. A lesion whose
            maximum is below twice the threshold is outlined by its gradient: the threshold would leave only its peak.
        to_confirm: whether a reader has to say what it is, since the score and the decision are far apart.
        cold_core_ml: what it encloses that is colder than its outline, such as necrosis; not part of `volume_ml`.
    """

    id: int
    included: bool
    place: str
    reason: Message
    switched: bool
    suv_max: float
    volume_ml: float
    centroid_mm: tuple[float, float, float]
    score: float | None = None
    evidence: tuple[Message, ...] = ()
    outline: Outline = "threshold"
    cold_core_ml: float = 0.0
    to_confirm: bool = False

    @property
    def excluded(self) -> bool:
        """Whether the reader, not the rules, does not count it as a lesion."""
        return self.switched and not self.included


@dataclass(frozen=True, eq=False)
class Delineation:
    """All hot components of a PET.

    Attributes:
        method: "suv4", "suv41pct", "suv25", "percist_liver", "percist_blood_pool", "liver", "gradient" or
            "adaptive", with "_model_map" where a model's lesion map contributed to the decisions.
        threshold: SUV that outlines, or from which physiological uptake is listed.
        labels: uint16 on the PET grid, the id of every component; 0 is background.
        components: in the order of their ids.
    """

    method: str
    threshold: float
    labels: Volume
    components: tuple[HotComponent, ...]

    @property
    def lesions(self) -> Volume:
        """Label volume of the included components, by their ids."""
        keep: NDArray[np.uint16] = np.zeros(max((one.id for one in self.components), default=0) + 1, np.uint16)
        for component in self.components:
            keep[component.id] = component.id if component.included else 0
        return self.labels.like(keep[self.labels.array], "label")


def delineate(
    pet: Volume,
    anatomy: PatientAnatomy | None,
    *,
    method: ThresholdMethod = "suv4",
    lesion_map: Volume | None = None,
    include: Collection[int] = (),
    exclude: Collection[int] = (),
    references: OrganReferences | None = None,
) -> Delineation:
    """Find the hot components of a PET and decide which are lesions.

    Args:
        pet: SUVbw, g/ml.
        anatomy: of the same PET and its CT; None without a CT: then only brain and bladder are recognised.
        method: how lesions are outlined. "suv4", "suv25": SUV >= 4 or 2.5; "percist": a threshold from the liver or the
            blood pool; "liver": 1.5 x mean of the liver; "suv41pct": 41 % of each lesion's own maximum; "gradient":
            where its uptake falls most steeply; "adaptive": between its uptake and its background, by its size.
        lesion_map: a model's probability of lesion, 0 to 1, any grid.
        include: ids of components that a reader counts as lesions, whatever the rules say.
        exclude: ids of components that a reader does not count as lesions.
        references: healthy organs for the threshold of "percist" and "liver", as where a reader placed the sphere of
            the liver; None for those of the anatomy. Which foci are looked at does not follow from them.

    Returns:
        Every component of at least 0.15 ml.

    Raises:
        UnknownComponentError: an id that the result does not have, or that is both included and excluded.
        ReferenceUptakeError: "percist" or "liver" without healthy tissue to compare with.
    """
    threshold = threshold_for(method, references or _references(anatomy))
    basins = watershed_basins(pet, candidate_voxels(pet, anatomy, threshold.suv))
    classifications = classify_uptake(pet, anatomy, basins, lesion_map=lesion_map)
    if anatomy is not None:
        basins, classifications = cut_at_organs(anatomy, basins, classifications, threshold.suv)
    outlines = _outlines(pet, basins, classifications, threshold.suv, method)
    labels = _merge_basins(pet, np.where(pet.array >= threshold.suv, basins, 0), classifications)
    if any(one != "threshold" for one in outlines):
        faint = np.array([one.place == UNCLEAR for one in classifications])
        labels = _outline_lesions(pet, basins, outlines, labels, faint)
    components = _describe_components(pet, labels, basins, classifications, outlines)
    name = threshold.method if lesion_map is None else f"{threshold.method}_model_map"
    return switch_components(Delineation(name, threshold.suv, labels, components), include, exclude)


def _references(anatomy: PatientAnatomy | None) -> OrganReferences | None:
    return None if anatomy is None else anatomy.references


def switch_components(found: Delineation, include: Collection[int], exclude: Collection[int]) -> Delineation:
    """A delineation with the decisions of a reader.

    Args:
        found: with the decisions of the rules.
        include: ids of components that the reader counts as lesions.
        exclude: ids of components that the reader does not.

    Raises:
        UnknownComponentError: an id that the delineation does not have, or that is both included and excluded.
    """
    return replace(found, components=_apply_decisions(found.components, include, exclude))


def _outlines(
    pet: Volume,
    basins: NDArray[np.int32],
    classifications: Sequence[UptakeClassification],
    threshold: float,
    method: ThresholdMethod,
) -> list[Outline]:
    """How each basin is outlined: physiological uptake by the threshold, unless a reader may have to judge it."""
    if not classifications:
        return []
    maxima, hot = np.zeros(len(classifications) + 1), basins > 0
    np.maximum.at(maxima, basins[hot], pet.array[hot])
    own: Outline = _OWN_LEVEL.get(method, "threshold")
    outlines: list[Outline] = []
    for one, maximum in zip(classifications, maxima[1:], strict=True):
        doubtful = one.score is not None and one.score > PHYSIOLOGICAL
        faint = one.score is not None and maximum < _FAINT * threshold
        chosen: Outline = own if one.lesion else "threshold"
        outlines.append("gradient" if chosen == "threshold" and faint and (one.lesion or doubtful) else chosen)
    return outlines


def restrict_to_roi(labels: Volume, pet: Volume, anatomy: PatientAnatomy | None, method: ThresholdMethod) -> Volume:
    """Restrict roughly outlined lesions to their hot voxels.

    Those are the voxels above the threshold of the method, of at least 41 % of the maximum of their lesion, or within
    the edge that the method finds.

    Args:
        labels: on the PET grid, 0 is background.
        pet: SUVbw, g/ml.
        anatomy: of the same PET and its CT; used by "percist" and "liver" only.
        method: see `delineate`.

    Returns:
        Labels of the same type and grid.

    Raises:
        ReferenceUptakeError: "percist" or "liver" without healthy tissue to compare with.
    """
    if method in ("gradient", "adaptive"):
        numbers = labels.array.astype(np.int32)
        lesions = np.ones(int(numbers.max(initial=0)), bool)
        inside = isocontour(pet, numbers, lesions, level=_OWN_LEVEL[method]) == numbers
        return labels.like(np.where(inside, labels.array, 0), "label")
    index: NDArray[np.intp] = np.arange(int(labels.array.max(initial=0)) + 1)
    if method == "suv41pct":
        bounds = MAXIMUM_SHARE * np.atleast_1d(ndimage.maximum(pet.array, labels.array, index))
    else:
        bounds = np.full(len(index), threshold_for(method, None if method in FIXED_SUV else _references(anatomy)).suv)
    return labels.like(np.where(pet.array >= bounds[labels.array], labels.array, 0).astype(labels.array.dtype), "label")


def _merge_basins(pet: Volume, basins: NDArray[np.int32], classifications: Sequence[UptakeClassification]) -> Volume:
    """Merge touching basins of the same classification into one component; drop those that are too small."""
    sites = ["" if classification.lesion else classification.place for classification in classifications]
    distinct_sites = sorted(set(sites))
    site_of = np.array([0, *(1 + distinct_sites.index(one) for one in sites)])[basins]
    parts = np.zeros(basins.shape, np.int32)
    for number in range(1, len(distinct_sites) + 1):
        connected = ndimage.label(site_of == number, structure=_NEIGHBOURHOOD)[0]
        parts[connected > 0] = connected[connected > 0] + parts.max()
    return relabel(pet.like(parts, "label"), minimum_ml=SMALLEST_ML)


def _outline_lesions(
    pet: Volume, basins: NDArray[np.int32], outlines: Sequence[Outline], labels: Volume, faint: NDArray[np.bool_]
) -> Volume:
    """Outline some lesions at a fraction of their own maximum; voxels of other components stay with them.

    Specks of a faint lesion that stand out of it by noise (`faint`) are no bar to its contour.
    """
    kind = np.array(["", *outlines])
    own = kind != "threshold"
    own[0] = False
    others = np.where(own[basins], 0, labels.array).astype(np.int32)
    contours = np.zeros_like(basins)
    for level in _OWN_LEVEL.values():
        chosen = kind[1:] == level
        if chosen.any():
            found = isocontour(pet, basins, chosen, level=level, faint=faint)
            contours[found > 0] = found[found > 0]
    free = (others == 0) | np.append(False, faint)[basins]
    parts = np.where(free & (contours > 0), contours + others.max(), others)
    return relabel(pet.like(parts, "label"), minimum_ml=SMALLEST_ML)


def _describe_components(
    pet: Volume,
    labels: Volume,
    basins: NDArray[np.int32],
    classifications: Sequence[UptakeClassification],
    outlines: Sequence[Outline],
) -> tuple[HotComponent, ...]:
    """Describe each label; its classification is that of the basin with which it shares most voxels.

    One that extends over unclear specks is not unclear.
    """
    weight = np.array([0.0, *(1e-6 if one.place == UNCLEAR else 1.0 for one in classifications)])
    described = []
    for number, box in enumerate(ndimage.find_objects(labels.array), start=1):
        inside = labels.array[box] == number
        shared = np.bincount(basins[box][inside], minlength=len(weight)) * weight
        basin = int(shared.argmax()) - 1
        classification = classifications[basin]
        centre = np.argwhere(inside).mean(axis=0) + [side.start for side in box]
        x, y, z = labels.to_mm(centre)
        described.append(
            HotComponent(
                id=number,
                included=classification.lesion,
                place=classification.place,
                reason=classification.reason,
                switched=False,
                suv_max=float(pet.array[box][inside].max()),
                volume_ml=float(inside.sum()) * pet.voxel_ml,
                centroid_mm=(float(x), float(y), float(z)),
                score=classification.score,
                evidence=classification.evidence,
                outline=outlines[basin],
                cold_core_ml=_enclosed(inside) * pet.voxel_ml if classification.lesion else 0.0,
                to_confirm=classification.to_confirm,
            )
        )
    return tuple(described)


def _enclosed(inside: NDArray[np.bool_]) -> int:
    """Voxels that a lesion encloses in space, or in the axial plane where its ends are open."""
    padded = np.pad(inside, 1)
    filled = ndimage.binary_fill_holes(padded)
    for number, plane in enumerate(filled):
        filled[number] |= ndimage.binary_fill_holes(plane)
    return int((filled & ~padded).sum())


def _apply_decisions(
    components: tuple[HotComponent, ...], include: Collection[int], exclude: Collection[int]
) -> tuple[HotComponent, ...]:
    """The components with the decisions of a reader."""
    ids = {component.id for component in components}
    invalid = ({*include, *exclude} - ids) | ({*include} & {*exclude})
    if invalid:
        raise UnknownComponentError(
            found=Message(
                "Unknown component, or both included and excluded: {ids}.",
                ids=", ".join(str(number) for number in sorted(invalid)),
            ),
            needed=Message(
                "Each number one of the {n} components of this delineation, either included or excluded.",
                n=len(components),
            ),
            advice=Message("Numbers belong to one study and one method: look them up in the list of components."),
        )
    included, excluded = Message("Included by the reader."), Message("Excluded by the reader.")
    decisions = {**dict.fromkeys(include, included), **dict.fromkeys(exclude, excluded)}
    return tuple(
        replace(one, included=one.id in include, switched=True, to_confirm=False, reason=decisions[one.id])
        if one.id in decisions
        else one
        for one in components
    )


def threshold_components(pet: Volume, *, threshold: float = 4.0, minimum_ml: float = 0.5) -> Volume:
    """The 26-connected components of SUV >= `threshold` of at least `minimum_ml`.

    Returns:
        uint16 labels on the PET grid, 1 for the largest component; 0 is background.
    """
    return connected_components(pet.like(pet.array >= threshold, "label"), minimum_ml=minimum_ml)


def connected_components(mask: Volume, *, minimum_ml: float = 0.0) -> Volume:
    """The 26-connected components of a mask, numbered by decreasing volume.

    Args:
        mask: any type; non-zero is inside.
        minimum_ml: smaller components are left out.

    Returns:
        uint16 labels on the same grid; 0 is background.
    """
    return relabel(
        mask.like(ndimage.label(mask.array != 0, structure=_NEIGHBOURHOOD)[0], "label"), minimum_ml=minimum_ml
    )


def relabel(labels: Volume, *, minimum_ml: float = 0.0) -> Volume:
    """Renumber labels by decreasing volume, as uint16; those smaller than `minimum_ml` become background."""
    sizes = np.bincount(labels.array.ravel())
    sizes[0] = 0
    order = np.argsort(-sizes, kind="stable")[:_MAX_LABELS]
    kept = order[(sizes[order] > 0) & (sizes[order] * labels.voxel_ml >= minimum_ml)]
    number: NDArray[np.uint16] = np.zeros(len(sizes), np.uint16)
    number[kept] = np.arange(1, len(kept) + 1)
    return labels.like(number[labels.array], "label")
