"""Which hot regions of an FDG PET are physiological: rules on where they lie, their shape and their uptake.

The rules speak of the core of a region, its voxels of at least 70 % of its maximum: the rim of a hot organ lies outside
the organ on the CT, by the resolution of the PET, breathing and the filling of the bladder. They are anatomy, not
fitted to images; a reader decides, and a model's lesion map can only speak for what a doubtful rule would leave out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedpet.messages import Message
from imaging.hot import regions_of, uptake_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from imaging.hot import Region, Uptake
    from imaging.volume import Volume

PLACES: dict[str, Message] = {
    "brain": Message("brain"),
    "bladder": Message("bladder"),
    "kidney": Message("kidney"),
    "ureter": Message("ureter"),
    "heart": Message("heart"),
    "liver": Message("liver"),
    "spleen": Message("spleen"),
    "salivary_glands": Message("salivary glands"),
    "bowel": Message("stomach or bowel"),
    "brown_fat": Message("brown fat"),
    "outside": Message("outside the body"),
    "end": Message("end of the scan"),
}
_DOUBTFUL = {"ureter", "heart", "liver", "spleen", "salivary_glands", "bowel", "brown_fat"}
_MAP_SURE = 0.5  # probability from which a model's map overrules a doubtful rule
_MOST = 0.5  # share of a core that makes it belong somewhere
_SOFT_HU = 20.0, 100.0  # between urine or fat and excreted contrast agent
_URETER_CM2 = 3.0
_NOISE_ML = 2.0
_PAIRED = 0.5  # of the other side's uptake
_STANDS_OUT = 1.5  # ratio to the bowel's own high uptake


@dataclass(frozen=True)
class Verdict:
    """What a region is taken for: `place` is a key of `PLACES`, or "" for a lesion."""

    place: str
    reason: Message


_LESION = Verdict("", Message("No physiological uptake was recognised here."))


def judge(pet: Volume, ct: Volume, basins: NDArray[np.int32], *, lesion_map: Volume | None = None) -> list[Verdict]:
    """A verdict for each of the regions 1 to n of `basins` (on the PET grid).

    Args:
        pet: SUVbw, g/ml.
        ct: HU, any grid.
        basins: regions cut between maxima, see `imaging.basins`.
        lesion_map: a model's probability of lesion, 0 to 1, any grid.
    """
    uptakes = {name: uptake_of(pet, ct, name) for name in ("liver", "spleen", "bowel", "heart")}
    return [_verdict(region, uptakes) for region in regions_of(pet, ct, basins, lesion_map)]


def _verdict(region: Region, uptakes: dict[str, Uptake | None]) -> Verdict:
    place = _place(region) or _beside(region, uptakes)
    if place in ("liver", "spleen"):
        own = uptakes[place]
        if own is not None and region.suv_max > own.focal:
            return Verdict(
                "",
                Message(
                    "Focal uptake ({place}): SUVmax above {bound:.1f}, 1.5 x median + 2 SD of this organ.",
                    place=PLACES[place],
                    bound=own.focal,
                ),
            )
    if place == "bowel" and _is_node(region, uptakes["bowel"]):
        return Verdict("", Message("Beside the aorta, hotter than the bowel."))
    if place in _DOUBTFUL and region.probability is not None and region.probability >= _MAP_SURE:
        return Verdict(
            "",
            Message(
                "The model's map shows a lesion here, although the place speaks for physiological uptake ({place}).",
                place=PLACES[place],
            ),
        )
    if place:
        return Verdict(
            place,
            Message(
                "Physiological uptake ({place}): {share:.0f} % of the core lies there.",
                place=PLACES[place],
                share=100 * region.shares.get(place, 1.0),
            ),
        )
    return _LESION


def _is_node(region: Region, bowel: Uptake | None) -> bool:
    return bowel is not None and region.shares["aorta"] >= _MOST and region.suv_max > _STANDS_OUT * bowel.high


def _place(region: Region) -> str:
    """Where the first rule that applies puts a region."""
    share = region.shares
    in_bone = share["bone"] >= _MOST
    rules = (
        ("end", share["end"] >= _MOST and region.volume_ml < _NOISE_ML),
        ("outside", share["body"] < _MOST),
        ("brain", share["brain"] >= _MOST),
        ("bladder", share["bladder"] >= _MOST and not in_bone),
        ("kidney", share["kidney"] >= _MOST and not in_bone),
        ("kidney", share["beside_kidney"] >= _MOST and not in_bone and not _SOFT_HU[0] < region.hu < _SOFT_HU[1]),
        ("ureter", share["ureter"] >= _MOST and not in_bone and region.section_cm2 <= _URETER_CM2),
        ("heart", share["heart"] >= _MOST),
        ("liver", share["liver"] >= _MOST),
        ("spleen", share["spleen"] >= _MOST),
        ("salivary_glands", share["salivary_glands"] >= _MOST and region.mirrored >= _PAIRED),
        ("bowel", share["bowel"] >= _MOST and share["beside_bone"] < _MOST),
        ("brown_fat", share["fat"] >= _MOST and share["lung"] < _MOST and share["bowel"] == 0),
    )
    return next((place for place, applies in rules if applies), "")


def _beside(region: Region, uptakes: dict[str, Uptake | None]) -> str:
    """An organ that a region adjoins without being hotter than it."""
    for organ in ("heart", "bowel"):
        own = uptakes[organ]
        if own is not None and region.shares[f"beside_{organ}"] >= _MOST and region.suv_max <= 1.25 * own.high:
            return organ
    return ""
