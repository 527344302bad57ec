"""Which hot foci of an FDG PET are physiological: rules on their location, shape and uptake.

The rules look at the core of a focus, its voxels of at least 70 % of its maximum: because of the resolution of the PET,
breathing and the filling of the bladder, the rim of a hot organ lies outside the organ on the CT. They follow anatomy
and are not fitted to images. A reader decides; a model's lesion map can only keep what an uncertain rule would exclude.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np

from fedpet.core.messages import Message
from fedpet.imaging.anatomy.organ_segmentation import OrganSource
from fedpet.imaging.anatomy.pet_only import find_brain_and_bladder
from fedpet.imaging.lesions.detection.foci import bone_uptake, find_foci, foci_in_contact, organ_uptake
from fedpet.imaging.lesions.detection.lesion_score import (
    INCLUDED,
    LESION,
    PHYSIOLOGICAL,
    evidence,
    lesion_probability,
    score_features,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

    from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy
    from fedpet.imaging.lesions.detection.foci import Focus, OrganUptake
    from fedpet.imaging.volume import Volume

UNCLEAR: Final = "unclear"
PHYSIOLOGICAL_SITES: Final[Mapping[str, Message]] = MappingProxyType(
    {
        "brain": Message("brain"),
        "salivary_glands": Message("salivary glands"),
        "heart": Message("heart"),
        "liver": Message("liver"),
        "spleen": Message("spleen"),
        "kidney": Message("kidney"),
        "ureter": Message("ureter"),
        "bladder": Message("bladder"),
        "bowel": Message("stomach or bowel"),
        "tonsils": Message("tonsils"),
        "thyroid": Message("thyroid"),
        "oesophagus": Message("oesophagus"),
        "testes": Message("testes"),
        "muscle": Message("muscle"),
        "marrow": Message("bone marrow"),
        UNCLEAR: Message("unclear uptake"),
        "brown_fat": Message("brown fat"),
        "outside": Message("outside the body"),
        "end": Message("end of the scan"),
    }
)
_CERTAIN: Final = ("brain", "bladder", "kidney", "outside", "end")  # a lesion map does not overrule these
_HEAD_REGIONS: Final = ("brain", "head_neck", "bone_skull")
_BROWN_FAT_REGIONS: Final = frozenset(  # neck to diaphragm, along the spine and around the kidneys
    {
        "head_neck", "neck", "supraclavicular_right", "supraclavicular_left", "axilla_right", "axilla_left",
        "mediastinum", "hilum_right", "hilum_left", "heart", "chest_wall", "bone_rib", "bone_shoulder",
        "bone_spine_cervical", "bone_spine_thoracic", "retroperitoneum", "adrenal_right", "adrenal_left",
        "kidney_right", "kidney_left", "soft_tissue", "unknown",
    }
)  # fmt: skip
_LUNG_REGIONS: Final = frozenset(
    f"lung_{side}{part}" for side in ("right", "left") for part in ("", "_upper", "_lower")
)
_BELOW_DIAPHRAGM: Final = frozenset(
    {"abdomen", "pelvis", "retroperitoneum", "adrenal_right", "adrenal_left", "kidney_right", "kidney_left"}
)
_MAP_CERTAIN = 0.9  # probability (median of the core) from which a lesion map overrules another rule
_MAJORITY = 0.5  # share of a core in an organ from which a focus belongs to it
_NO_HOTTER = 1.3  # ratio to the high uptake of a heart, up to which a focus at its border is its own
_STANDS_OUT = 2.0  # ratio to the high uptake (95th percentile) of an organ
_SOFT_HU = 20.0, 100.0  # between urine or fat and excreted contrast medium
_MUSCLE_TIMES = 1.5  # of the high uptake of muscle, up to which uptake in muscle is that of exercise
_MARROW_TIMES = 1.5  # of the high uptake of vertebral marrow, up to which uptake in bone is that of marrow
_URETER_CM2 = 3.0  # largest section of a ureter
_SLENDER = 3.0  # length relative to the width
_COMPACT = 2.5  # length relative to the width, below which a focus is no tube
_LEAST_ML = 1.0  # volume from which the density and the shape of a focus say something
_NODE_ML, _NODE_HU, _NODE_SLENDER = 2.0, 25.0, 1.5  # of a node on the course of a ureter: least, least, largest
_BESIDE_BLADDER = 15.0, 20.0  # largest ml of a node beside the bladder; mm from the midline, where the urethra lies
_BESIDE_LUNG = 5.0  # ratio to the surroundings, from which a focus beside lung is no wall of a heart
_WHOLLY = 0.95  # share of a core in a heart, from which it is its wall all the same
_WITHIN = 0.75  # share of a core in a kidney, from which it is surely its own
_HOT_KIDNEY = 2.5  # ratio to the surroundings, from which a focus in a kidney is urine or a lesion
_BOWEL_BESIDE = 0.4  # share of a core beside bowel, from which liver and spleen are not certain
_RECTUM_MM = 30.0  # from the midline
_NOISE_ML = 2.0  # smaller foci at an end of the scan are noise
_DIFFUSE = 3.0  # ratio to the surroundings
_BROWN_SHARE, _BROWN_MIRROR, _BROWN_CONTRAST, _BROWN_MM = 0.75, 0.35, 14.0, 60.0  # of brown fat beside the lung
_SYMMETRIC = 0.5  # uptake on the other side relative to this one


@dataclass(frozen=True)
class UptakeClassification:
    """Whether a focus is a lesion or physiological uptake.

    Attributes:
        lesion: True for a lesion.
        place: a key of `fedpet.imaging.anatomy.regions.REGIONS` for a lesion, else of `PHYSIOLOGICAL_SITES`.
        reason: why.
        score: probability of a lesion, 0 to 1; None without a CT.
        evidence: what was measured, in words.
        doubtful: whether its place speaks for an organ and its looks for a lesion.
    """

    lesion: bool
    place: str
    reason: Message
    score: float | None = None
    evidence: tuple[Message, ...] = ()
    doubtful: bool = False

    @property
    def to_confirm(self) -> bool:
        """Whether a reader has to decide: a lesion that is not sure, or left out although it may be one."""
        by_score = self.score is not None and (self.score < LESION if self.lesion else self.score > PHYSIOLOGICAL)
        return by_score or self.doubtful


def classify_uptake(
    pet: Volume, anatomy: PatientAnatomy | None, basins: NDArray[np.int32], *, lesion_map: Volume | None = None
) -> list[UptakeClassification]:
    """Classify each focus of a PET.

    Args:
        pet: SUVbw, g/ml.
        anatomy: of the same PET and its CT; None without a CT: then only brain and bladder are recognised, and the map
            is not used.
        basins: foci by number from 1, 0 is background, shape of the PET; see
            `fedpet.imaging.lesions.detection.watershed`.
        lesion_map: a model's probability of lesion, 0 to 1, any grid.

    Returns:
        Focus 1 first.
    """
    if anatomy is None:
        return _without_ct(pet, basins)
    return [_weigh(focus, verdict) for focus, verdict in judge_foci(anatomy, basins, lesion_map)]


def judge_foci(
    anatomy: PatientAnatomy, basins: NDArray[np.int32], lesion_map: Volume | None = None
) -> list[tuple[Focus, Verdict]]:
    """Each focus and what the rules say of it, before the score; arguments as for `classify_uptake`."""
    uptakes = {name: organ_uptake(anatomy, name) for name in ("liver", "spleen", "bowel", "heart", "muscle")}
    uptakes["bone"] = bone_uptake(anatomy)
    foci = find_foci(anatomy, basins, lesion_map)
    known = anatomy.organs.segmented
    if anatomy.organs.source is OrganSource.LEARNED:  # of the others it may miss a part
        known |= {"heart"}
    verdicts = [_verdict(focus, uptakes, known) for focus in foci]
    brain = [i for i, one in enumerate(verdicts) if one.site == "brain"]
    for i in foci_in_contact(basins, brain):
        no_hotter = foci[i].suv_max <= max(foci[j].suv_max for j in brain)
        if verdicts[i].lesion and foci[i].region in _HEAD_REGIONS and no_hotter:
            verdicts[i] = Verdict("brain", Message("it touches the brain and is no hotter."))
    return list(zip(foci, verdicts, strict=True))


@dataclass(frozen=True)
class Verdict:
    """What the rules say of a focus.

    Attributes:
        site: a key of `VERDICT_GROUPS`.
        reason: why.
        relative: uptake relative to the bound of the organ that it belongs to; 1 without one.
        mapped: whether a model's map decided.
        doubtful: whether its place speaks for an organ and its looks for a lesion.
    """

    site: str
    reason: Message
    relative: float = 1.0
    mapped: bool = False
    doubtful: bool = False

    @property
    def lesion(self) -> bool:
        """Whether no physiological uptake was recognised."""
        return self.site in ("lesion", "focal")


def _weigh(focus: Focus, verdict: Verdict) -> UptakeClassification:
    """What rules call physiological is never counted; its score may list it for a reader."""
    score = lesion_probability(score_features(focus, verdict.site, verdict.relative))
    if verdict.mapped:
        score = max(score, LESION)
    words = evidence(focus)
    if verdict.lesion and score >= INCLUDED:
        return UptakeClassification(
            lesion=True,
            place=focus.region,
            reason=verdict.reason,
            score=score,
            evidence=words,
            doubtful=verdict.doubtful,
        )
    if verdict.lesion:
        reason = Message("No physiological uptake was recognised here, but it is faint or not shaped like a lesion.")
        return UptakeClassification(lesion=False, place=UNCLEAR, reason=reason, score=score, evidence=words)
    classified = physiological(verdict.site, verdict.reason)
    return replace(classified, score=score, evidence=words, doubtful=verdict.doubtful)


def _without_ct(pet: Volume, basins: NDArray[np.int32]) -> list[UptakeClassification]:
    unknown = UptakeClassification(
        lesion=True,
        place="unknown",
        reason=Message("Without a CT, physiological uptake is recognised in the brain and the bladder only."),
    )
    classifications = [unknown] * int(basins.max(initial=0))
    for place, mask in zip(("brain", "bladder"), find_brain_and_bladder(pet, basins > 0), strict=True):
        for number in np.unique(basins[mask]):
            reason = Message("by its size and place in the PET, without a CT.")
            classifications[number - 1] = physiological(place, reason)
    return classifications


def physiological(place: str, cause: Message) -> UptakeClassification:
    """Uptake of a site of `PHYSIOLOGICAL_SITES`, and why."""
    reason = Message("Physiological uptake ({place}): {why}", place=PHYSIOLOGICAL_SITES[place], why=cause)
    return UptakeClassification(lesion=False, place=place, reason=reason)


def _verdict(focus: Focus, uptakes: Mapping[str, OrganUptake | None], known: Collection[str]) -> Verdict:
    """What the rules say; `known` are the structures that were segmented, not guessed by rules."""
    physiological = (
        _match_organ(focus, uptakes["heart"] if "heart" in known else None)
        or _match_by_exclusion(focus, uptakes["bowel"], bowel_known="bowel" in known)
        or _match_neighbour(focus, uptakes)
    )
    if physiological is None:
        return Verdict(
            "lesion", Message("No physiological uptake was recognised here."), doubtful=_may_be_urine_or_bowel(focus)
        )
    place, cause = physiological
    uptake = None if place == "muscle" else uptakes.get("bone" if place == "marrow" else place)
    found = _reason_lesion(focus, place, uptake)
    if found is None:
        doubtful = _looks_like_lesion(focus, place, uptake)
        return Verdict(place, cause, _relative(focus, place, uptake), doubtful=doubtful)
    if _may_be_bowel(focus, place, uptakes["bowel"]):
        return Verdict("bowel", Message("beside it and no hotter than it."), doubtful=True)
    return found


def _relative(focus: Focus, place: str, uptake: OrganUptake | None) -> float:
    """Uptake of a focus relative to the bound from which it would stand out of its organ."""
    if uptake is None:
        return 1.0
    if place in ("liver", "spleen"):
        return focus.suv_peak / uptake.focal_threshold
    return focus.suv_max / max(uptake.high, 0.1)


def _match_organ(focus: Focus, known_heart: OrganUptake | None) -> tuple[str, Message] | None:
    """The first organ or artefact whose rule applies, and why; of a heart that was segmented, its uptake."""
    shares, bone = focus.shares, _in_bone(focus)
    inside = Message("its core lies in this organ or at its border.")
    in_adrenal = shares["adrenal"] >= _MAJORITY > shares["in_kidney"]
    adrenal = in_adrenal or focus.region.startswith("adrenal")
    in_heart = shares["heart"] >= _MAJORITY and not _is_mass_beside_lung(focus)
    if known_heart is not None and shares["in_heart"] < _MAJORITY:
        in_heart &= focus.suv_max <= _NO_HOTTER * known_heart.high
    symmetric = focus.mirror_ratio >= _SYMMETRIC
    fluid = _is_fluid(focus)
    rules = (
        (shares["end"] >= _MAJORITY and focus.volume_ml < _NOISE_ML, "end", Message("small, in the outermost slices.")),
        (shares["body"] < _MAJORITY, "outside", Message("outside the patient's outline on the CT.")),
        (shares["brain"] >= _MAJORITY, "brain", inside),
        (shares["bladder"] >= _MAJORITY and not bone and not _is_node_beside_bladder(focus), "bladder", inside),
        (
            shares["kidney"] >= _MAJORITY and not bone and not adrenal and not _is_mass_on_kidney(focus),
            "kidney",
            inside,
        ),
        (
            shares["beside_kidney"] >= _MAJORITY and not bone and not in_adrenal and fluid,
            "kidney",
            Message("beside it, without the density of soft tissue ({hu:.0f} HU).", hu=focus.hu),
        ),
        *_ureter_rules(focus),
        (in_heart, "heart", inside),
        (_is_brown_fat(focus), "brown_fat", _fat(focus)),
        *((shares[organ] >= _MAJORITY and symmetric, organ, inside) for organ in ("tonsils", "testes", "thyroid")),
        (shares["oesophagus"] >= _MAJORITY and focus.slenderness >= _SLENDER, "oesophagus", inside),
        (
            shares["muscle"] >= _MAJORITY
            and not bone
            and focus.mirror_ratio >= _SYMMETRIC
            and focus.contrast < _DIFFUSE,
            "muscle",
            Message("in muscle, on both sides and without a sharp edge."),
        ),
        (shares["liver"] >= _MAJORITY, "liver", inside),
        (shares["spleen"] >= _MAJORITY, "spleen", inside),
        (
            shares["salivary_glands"] >= _MAJORITY and symmetric,
            "salivary_glands",
            Message("its core lies there, and the other side is hot too."),
        ),
        (shares["bowel"] >= _MAJORITY and not bone, "bowel", inside),
    )
    return next(((place, cause) for applies, place, cause in rules if applies), None)


def _in_bone(focus: Focus) -> bool:
    return focus.shares["bone"] >= _MAJORITY


def _is_fluid(focus: Focus) -> bool:
    """Without the density of soft tissue: urine, fat, or excreted contrast medium."""
    return not _SOFT_HU[0] < focus.hu < _SOFT_HU[1]


def _is_mass_beside_lung(focus: Focus) -> bool:
    """Hot against the lung at its side: the wall of a heart has the rest of the heart around it."""
    within = focus.shares["in_heart"] >= _WHOLLY
    return focus.shares["lung"] >= _MAJORITY and focus.contrast >= _BESIDE_LUNG and not within


def _is_node_beside_bladder(focus: Focus) -> bool:
    """A compact focus of soft tissue outside of the bladder, not in the middle where the urethra lies."""
    largest, lateral = _BESIDE_BLADDER
    outside = focus.shares["in_bladder"] < _MAJORITY / 2 and focus.lateral_mm >= lateral
    return outside and focus.volume_ml <= largest and _is_solid(focus)


def _is_solid(focus: Focus) -> bool:
    """Compact and of soft tissue, neither a tube nor fluid."""
    return focus.volume_ml >= _LEAST_ML and focus.slenderness < _COMPACT and not _is_fluid(focus)


def _is_mass_on_kidney(focus: Focus) -> bool:
    """A hot, compact focus of soft tissue that reaches out of the kidney, away from where the ureter begins."""
    return focus.shares["in_kidney"] < _WITHIN and _is_hot_mass(focus)


def _is_hot_mass(focus: Focus) -> bool:
    """Solid, hot, and not near the renal pelvis, where the ureter begins."""
    return _is_solid(focus) and focus.contrast >= _HOT_KIDNEY and focus.shares["beside_ureter"] < _MAJORITY


def _ureter_rules(focus: Focus) -> tuple[tuple[bool, str, Message], ...]:
    """Narrow on the course of a ureter, or long or without the density of soft tissue beside it."""
    shares, bone = focus.shares, _in_bone(focus)
    node = focus.volume_ml >= _NODE_ML and focus.slenderness < _NODE_SLENDER and focus.hu > _NODE_HU
    narrow = focus.section_cm2 <= _URETER_CM2 and not bone
    beside = shares["beside_ureter"] >= _MAJORITY
    return (
        (
            shares["ureter"] >= _MAJORITY and narrow and not node,
            "ureter",
            Message("narrow, on the course of the ureter."),
        ),
        (
            not bone and focus.slenderness >= _SLENDER and (beside or (shares["beside_ureter"] > 0 and narrow)),
            "ureter",
            Message("long and narrow, beside the course of the ureter."),
        ),
        (
            beside and narrow and _is_fluid(focus),
            "ureter",
            Message("narrow, beside the course of the ureter, without the density of soft tissue ({hu:.0f} HU).",
                    hu=focus.hu),
        ),
    )  # fmt: skip


def _is_brown_fat(focus: Focus) -> bool:
    """Of the density of fat beside the lung, near the spine or the neck, and on the other side too."""
    return (
        focus.region in _BROWN_FAT_REGIONS | _LUNG_REGIONS
        and focus.shares["fat"] >= _BROWN_SHARE
        and focus.mirror_ratio >= _BROWN_MIRROR
        and focus.contrast < _BROWN_CONTRAST
        and focus.lateral_mm <= _BROWN_MM
    )


def _fat(focus: Focus) -> Message:
    return Message("its core has the density of fat ({hu:.0f} HU).", hu=focus.hu)


def _match_by_exclusion(focus: Focus, bowel: OrganUptake | None, *, bowel_known: bool) -> tuple[str, Message] | None:
    """Bowel by exclusion where it was not segmented, and brown fat, and why."""
    hotter = bowel is not None and focus.suv_max > _STANDS_OUT * bowel.high and focus.shares["bowel"] < _MAJORITY
    if focus.region == "abdomen" and not bowel_known and not hotter:
        return "bowel", Message("in the abdominal cavity and in no other organ.")
    if not bowel_known and focus.region == "pelvis" and focus.lateral_mm <= _RECTUM_MM and bowel is not None:
        return "bowel", Message("in the middle of the pelvis, where the rectum lies.")
    if focus.region in _BROWN_FAT_REGIONS and focus.shares["fat"] >= _MAJORITY and focus.shares["lung"] < _MAJORITY:
        return "brown_fat", _fat(focus)
    return None


def _match_neighbour(focus: Focus, uptakes: Mapping[str, OrganUptake | None]) -> tuple[str, Message] | None:
    """An organ in or next to which a focus lies without standing out from it, and why."""
    marrow = uptakes["bone"]
    if marrow is not None and _in_bone(focus) and focus.suv_max <= _MARROW_TIMES * marrow.high:
        return "marrow", Message("no hotter than bone marrow elsewhere ({high:.1f}).", high=marrow.high)
    muscle = uptakes["muscle"]
    in_muscle = focus.shares["muscle"] >= _MAJORITY and not _in_bone(focus)
    if muscle is not None and in_muscle and focus.suv_max <= _MUSCLE_TIMES * muscle.high:
        return "muscle", Message("no hotter than muscle elsewhere ({high:.1f}).", high=muscle.high)
    for organ in ("heart", "bowel"):
        uptake = uptakes[organ]
        adjacent = focus.shares[f"beside_{organ}"] >= _MAJORITY and not _in_bone(focus)
        adjacent &= organ != "heart" or not _is_mass_beside_lung(focus)
        if uptake is not None and adjacent and focus.suv_max <= _STANDS_OUT * uptake.high:
            return organ, Message("beside it and no hotter than it.")
    return None


def _looks_like_lesion(focus: Focus, place: str, uptake: OrganUptake | None) -> bool:
    """Whether a focus in kidney or bowel is compact, of soft tissue and hotter than the organ."""
    if place == "kidney":
        return _is_hot_mass(focus)
    return _is_solid(focus) and place == "bowel" and uptake is not None and focus.suv_max > _STANDS_OUT * uptake.high


def _may_be_urine_or_bowel(focus: Focus) -> bool:
    """Without the density of soft tissue where urine and the bowel are hot: none of them need have been recognised."""
    return focus.region in _BELOW_DIAPHRAGM and not _in_bone(focus) and _is_fluid(focus)


def _may_be_bowel(focus: Focus, place: str, bowel: OrganUptake | None) -> bool:
    """Whether a focus at the border of liver or spleen is as hot as the bowel that it touches."""
    beside = focus.shares["beside_bowel"] >= _BOWEL_BESIDE
    return place in ("liver", "spleen") and bowel is not None and beside and focus.suv_max <= bowel.high * _NO_HOTTER


def _reason_lesion(focus: Focus, place: str, uptake: OrganUptake | None) -> Verdict | None:
    """Why a focus in an organ is a lesion all the same; None where it is physiological."""
    if place in ("liver", "spleen") and uptake is not None and focus.suv_peak > uptake.focal_threshold:
        reason = Message("Focal uptake ({place}): SUVpeak above {bound:.1f}, 1.5 x median + 2 SD of the organ.",
                         place=PHYSIOLOGICAL_SITES[place], bound=uptake.focal_threshold)  # fmt: skip
        return Verdict("focal", reason)
    beside_aorta = focus.shares["aorta"] >= _MAJORITY
    if place == "bowel" and beside_aorta and uptake is not None and focus.suv_max > _STANDS_OUT * uptake.high:
        return Verdict("focal", Message("Beside the aorta and hotter than the bowel."))
    if place not in _CERTAIN and focus.probability is not None and focus.probability >= _MAP_CERTAIN:
        reason = Message("The model's map shows a lesion here, where physiological uptake is usual ({place}).",
                         place=PHYSIOLOGICAL_SITES[place])  # fmt: skip
        return Verdict("focal", reason, mapped=True)
    return None
