"""Which hot foci of an FDG PET are physiological: rules on where they lie, their shape and their uptake.

The rules speak of the core of a focus, its voxels of at least 70 % of its maximum: the rim of a hot organ lies outside
the organ on the CT, by the resolution of the PET, breathing and the filling of the bladder. They are anatomy, not
fitted to images; a reader decides, and a model's lesion map can only speak for what a doubtful rule would leave out.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np

from fedpet.messages import Message
from imaging.hot import foci_of, touching, uptake_of
from imaging.pet_only import brain_and_bladder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from imaging.hot import Focus, Uptake
    from imaging.volume import Volume

PLACES: Final[Mapping[str, Message]] = MappingProxyType(
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
        "brown_fat": Message("brown fat"),
        "outside": Message("outside the body"),
        "end": Message("end of the scan"),
    }
)
_SURE: Final = ("brain", "bladder", "kidney", "outside", "end")  # no map overrules these
_HEAD: Final = ("brain", "head_neck", "bone_skull")
_BROWN_FAT: Final = frozenset(  # neck to diaphragm, along the spine and around the kidneys
    {
        "head_neck", "neck", "supraclavicular_right", "supraclavicular_left", "axilla_right", "axilla_left",
        "mediastinum", "hilum_right", "hilum_left", "heart", "chest_wall", "bone_rib", "bone_shoulder",
        "bone_spine_cervical", "bone_spine_thoracic", "retroperitoneum", "adrenal_right", "adrenal_left",
        "kidney_right", "kidney_left", "soft_tissue", "unknown",
    }
)  # fmt: skip
_MAP_SURE = 0.9  # probability (median of the core) from which a model's map overrules another rule
_MOST = 0.5  # share of a core that makes it belong somewhere
_STANDS_OUT = 2.0  # ratio to an organ's own high uptake (95th percentile)
_SOFT_HU = 20.0, 100.0  # between urine or fat and excreted contrast agent
_URETER_CM2 = 3.0
_SLENDER = 3.0
_RECTUM_MM = 30.0  # from the patient's middle
_NOISE_ML = 2.0
_PAIRED = 0.5  # of the other side's uptake


@dataclass(frozen=True)
class Verdict:
    """What a focus is taken for: a lesion in a part of the body, or the physiological uptake of a place."""

    lesion: bool
    place: str  # a key of `imaging.regions.REGIONS` for a lesion, else of `PLACES`
    reason: Message


def judge(
    pet: Volume, ct: Volume | None, basins: NDArray[np.int32], *, lesion_map: Volume | None = None
) -> list[Verdict]:
    """A verdict for each of the foci 1 to n of `basins` (on the PET grid).

    Args:
        pet: SUVbw, g/ml.
        ct: HU, any grid; None leaves the brain and the bladder to be recognised, and the map is not used.
        basins: foci cut between maxima, see `imaging.basins`.
        lesion_map: a model's probability of lesion, 0 to 1, any grid.
    """
    if ct is None:
        return _without_ct(pet, basins)
    uptakes = {name: uptake_of(pet, ct, name) for name in ("liver", "spleen", "bowel", "heart")}
    foci = foci_of(pet, ct, basins, lesion_map)
    verdicts = [_verdict(focus, uptakes) for focus in foci]
    brain = [i for i, verdict in enumerate(verdicts) if verdict.place == "brain" and not verdict.lesion]
    for i in touching(basins, brain):
        if verdicts[i].lesion and foci[i].part in _HEAD and foci[i].suv_max <= max(foci[j].suv_max for j in brain):
            verdicts[i] = _physiological("brain", Message("it touches the brain and is no hotter."))
    return verdicts


def _without_ct(pet: Volume, basins: NDArray[np.int32]) -> list[Verdict]:
    unknown = Verdict(
        lesion=True,
        place="unknown",
        reason=Message("Without a CT, physiological uptake is recognised in the brain and the bladder only."),
    )
    verdicts = [unknown] * int(basins.max(initial=0))
    for place, mask in zip(("brain", "bladder"), brain_and_bladder(pet, basins > 0), strict=True):
        for number in np.unique(basins[mask]):
            verdicts[number - 1] = _physiological(place, Message("by its size and place in the PET, without a CT."))
    return verdicts


def _physiological(place: str, why: Message) -> Verdict:
    reason = Message("Physiological uptake ({place}): {why}", place=PLACES[place], why=why)
    return Verdict(lesion=False, place=place, reason=reason)


def _verdict(focus: Focus, uptakes: Mapping[str, Uptake | None]) -> Verdict:
    recognised = _organ(focus) or _abdomen(focus, uptakes["bowel"]) or _beside(focus, uptakes)
    if recognised is None:
        return Verdict(lesion=True, place=focus.part, reason=Message("No physiological uptake was recognised here."))
    place, why = recognised
    doubt = _doubt(focus, place, uptakes.get(place))
    if doubt is not None:
        return Verdict(lesion=True, place=focus.part, reason=doubt)
    return _physiological(place, why)


def _organ(focus: Focus) -> tuple[str, Message] | None:
    """The first organ or artefact whose rule applies."""
    near, bone = focus.shares, focus.shares["bone"] >= _MOST
    inside = Message("its core lies in this organ or at its border.")
    adrenal = focus.part.startswith("adrenal")
    fluid = not _SOFT_HU[0] < focus.hu < _SOFT_HU[1]
    rules = (
        (near["end"] >= _MOST and focus.volume_ml < _NOISE_ML, "end", Message("small, in the outermost slices.")),
        (near["body"] < _MOST, "outside", Message("outside the patient's outline on the CT.")),
        (near["brain"] >= _MOST, "brain", inside),
        (near["bladder"] >= _MOST and not bone, "bladder", inside),
        (near["kidney"] >= _MOST and not bone and not adrenal, "kidney", inside),
        (
            near["beside_kidney"] >= _MOST and not bone and fluid,
            "kidney",
            Message("beside it, without the density of soft tissue ({hu:.0f} HU).", hu=focus.hu),
        ),
        (
            near["ureter"] >= _MOST and not bone and focus.section_cm2 <= _URETER_CM2,
            "ureter",
            Message("narrow, on the course of the ureter."),
        ),
        (
            near["beside_ureter"] >= _MOST and not bone and focus.slenderness >= _SLENDER,
            "ureter",
            Message("long and narrow, beside the course of the ureter."),
        ),
        (near["heart"] >= _MOST, "heart", inside),
        (near["liver"] >= _MOST, "liver", inside),
        (near["spleen"] >= _MOST, "spleen", inside),
        (
            near["salivary_glands"] >= _MOST and focus.mirrored >= _PAIRED,
            "salivary_glands",
            Message("its core lies there, and the other side is hot too."),
        ),
        (near["bowel"] >= _MOST and not bone, "bowel", inside),
    )
    return next(((place, why) for applies, place, why in rules if applies), None)


def _abdomen(focus: Focus, bowel: Uptake | None) -> tuple[str, Message] | None:
    """Bowel by exclusion, and brown fat where there is any."""
    if focus.part == "abdomen":
        return "bowel", Message("in the abdominal cavity and in no other organ.")
    if focus.part == "pelvis" and focus.aside_mm <= _RECTUM_MM and bowel is not None:
        return "bowel", Message("in the middle of the pelvis, where the rectum lies.")
    if focus.part in _BROWN_FAT and focus.shares["fat"] >= _MOST and focus.shares["lung"] < _MOST:
        return "brown_fat", Message("its core has the density of fat ({hu:.0f} HU).", hu=focus.hu)
    return None


def _beside(focus: Focus, uptakes: Mapping[str, Uptake | None]) -> tuple[str, Message] | None:
    """An organ that a focus adjoins without standing out from it."""
    for organ in ("heart", "bowel"):
        own = uptakes[organ]
        near = focus.shares[f"beside_{organ}"] >= _MOST and focus.shares["bone"] < _MOST
        if own is not None and near and focus.suv_max <= _STANDS_OUT * own.high:
            return organ, Message("beside it and no hotter than it.")
    return None


def _doubt(focus: Focus, place: str, own: Uptake | None) -> Message | None:
    """Why a focus in an organ is a lesion nevertheless."""
    if place in ("liver", "spleen") and own is not None and focus.suv_peak > own.focal:
        return Message("Focal uptake ({place}): SUVpeak above {bound:.1f}, 1.5 x median + 2 SD of the organ.",
                       place=PLACES[place], bound=own.focal)  # fmt: skip
    beside_aorta = focus.shares["aorta"] >= _MOST
    if place == "bowel" and beside_aorta and own is not None and focus.suv_max > _STANDS_OUT * own.high:
        return Message("Beside the aorta and hotter than the bowel.")
    if place not in _SURE and focus.probability is not None and focus.probability >= _MAP_SURE:
        return Message("The model's map shows a lesion here, where physiological uptake is usual ({place}).",
                       place=PLACES[place])  # fmt: skip
    return None
