"""Two examinations of one patient, from their `result.json`: what they measured, and which lesions are the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from scipy.optimize import linear_sum_assignment

from fedpet.errors import SuvNotComputable
from imaging.anatomy import anatomy_of
from imaging.normalization import lean_body_mass_kg, needed_weight_and_height
from imaging.organs import organs_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from imaging.study import Study

Box = tuple[tuple[float, float, float], tuple[float, float, float]]
Kind = Literal["persisting", "part", "new", "gone", "unseen"]

REACH_MM = 30.0  # how far apart, once aligned, two lesions may lie and be the same
_OTHER_REGION_MM = 15.0  # added to the distance where their regions differ


@dataclass(frozen=True)
class Site:
    """A lesion: its number, its region (`imaging.regions.REGIONS`), its centroid (LPS mm) and its measures."""

    id: int
    region: str
    point: tuple[float, float, float]
    suv_max: float
    suv_peak: float
    mtv_ml: float

    @property
    def radius_mm(self) -> float:
        """Of the sphere of the same volume."""
        return float(np.cbrt(3000.0 * self.mtv_ml / (4.0 * np.pi)))


@dataclass(frozen=True)
class Examination:
    """What one date brings to the comparison.

    Attributes:
        sul_per_suv: SUL for one SUVbw (lean body mass of Janmahasatian); None where weight, height or sex are missing.
        liver: mean and SD of the liver, SUVbw; None where it cannot be a reference.
        blood_pool: as `liver`, of the descending aorta.
        landmarks: points of the spine at heights that both dates may show, LPS mm.
        body: smallest and largest LPS coordinates of the body in the PET, mm.
    """

    date: str
    method: str
    scanner: str
    uptake_min: float | None
    tmtv_ml: float
    tlg: float
    suv_max: float
    suv_peak: float
    sites: tuple[Site, ...]
    sul_per_suv: float | None
    liver: tuple[float, float] | None
    blood_pool: tuple[float, float] | None
    landmarks: Mapping[str, tuple[float, float, float]]
    body: Box

    @classmethod
    def read(cls, result: Mapping[str, Any], body: Sequence[Sequence[float]]) -> Self:
        """From the result of a case, and the box of its viewer: low and high (x, y, z)."""
        quantities, pet = result["prediction"]["quantities"], result["study"]["pet"]
        names = ("id", "region", "suv_max", "suv_peak", "mtv_ml")
        return cls(
            date=result["study"]["date"],
            method=quantities["method"],
            scanner=f"{pet['manufacturer']} {pet['model']}".strip(),
            uptake_min=pet["uptake_min"],
            **{name: quantities[name] for name in ("tmtv_ml", "tlg", "suv_max", "suv_peak")},
            sites=tuple(
                Site(point=_point(one["centroid_mm"]), **{name: one[name] for name in names})
                for one in quantities["lesions"]
            ),
            sul_per_suv=_sul_per_suv(pet),
            liver=_reference(result, "liver"),
            blood_pool=_reference(result, "blood_pool"),
            landmarks={name: _point(point) for name, point in (result.get("landmarks_mm") or {}).items()},
            body=(_point(body[0]), _point(body[1])),
        )

    @property
    def measurable_from(self) -> float | None:
        """Peak SUVbw from which a lesion is measurable: 1.5 x liver + 2 SD, or 2 x blood pool + 2 SD; None unknown."""
        if self.liver is not None:
            return 1.5 * self.liver[0] + 2.0 * self.liver[1]
        return None if self.blood_pool is None else 2.0 * self.blood_pool[0] + 2.0 * self.blood_pool[1]


def _point(written: Sequence[float]) -> tuple[float, float, float]:
    x, y, z = written
    return float(x), float(y), float(z)


def _sul_per_suv(pet: Mapping[str, Any]) -> float | None:
    try:
        weight, height = needed_weight_and_height(pet["weight_kg"], pet["height_m"])
        return lean_body_mass_kg(weight, height, pet["sex"]) / weight
    except SuvNotComputable:
        return None


def _reference(result: Mapping[str, Any], organ: str) -> tuple[float, float] | None:
    found = (result.get("references") or {}).get(organ)
    return None if found is None else (found["suv_mean"], found["suv_sd"])


def landmarks_mm(study: Study) -> dict[str, list[float]]:
    """Points of the spine at the apex of the lungs, the carina, the diaphragm and the symphysis, LPS mm, where seen."""
    if study.ct is None:
        return {}
    anatomy, levels = anatomy_of(study.ct), organs_of(study.ct, study.pet).landmarks
    heights = {name: getattr(levels, name) for name in ("apex", "carina", "diaphragm", "symphysis")}
    points = {}
    for name, height in heights.items():
        if height is not None:
            level = min(max(round(height), 0), len(anatomy.middle) - 1)
            index = np.array([height, anatomy.back[level], anatomy.middle[level]])
            points[name] = [round(float(x), 2) for x in anatomy.ct.to_mm(index)]
    return points


@dataclass(frozen=True)
class Alignment:
    """`shift` (x, y, z mm) takes a point of the later date to the earlier one; `by` says what it rests on."""

    shift: tuple[float, float, float]
    by: Literal["landmarks", "bounds"]


def aligned(before: Examination, after: Examination) -> Alignment:
    """A shift, from the landmarks seen at both dates, else from the bounds of the body: its middle and its top."""
    shared = sorted(before.landmarks.keys() & after.landmarks.keys())
    if shared:
        there, here = (np.array([one.landmarks[name] for name in shared]) for one in (before, after))
        x, y, z = (there - here).mean(axis=0)
        return Alignment((float(x), float(y), float(z)), "landmarks")
    (low, high), (low_after, high_after) = before.body, after.body
    x, y = ((low[axis] + high[axis] - low_after[axis] - high_after[axis]) / 2 for axis in (0, 1))
    return Alignment((x, y, high[2] - high_after[2]), "bounds")


@dataclass(frozen=True)
class Match:
    """One line of the comparison: a lesion at one date or at both.

    Attributes:
        kind: "persisting", "new", "gone"; "part" where a lesion lies beside one that already has its match, as after a
            split or a merger; "unseen" where the other date did not show its place.
    """

    kind: Kind
    before: Site | None
    after: Site | None


def matched(before: Examination, after: Examination, alignment: Alignment) -> tuple[Match, ...]:
    """Pair the lesions of two dates by region and place, the nearest first; what is left is new, gone or neither."""
    there = np.array([site.point for site in before.sites]).reshape(-1, 3)
    here = np.array([site.point for site in after.sites]).reshape(-1, 3) + alignment.shift
    distance = np.linalg.norm(there[:, None] - here[None], axis=2)
    reach = np.array(
        [[max(REACH_MM, one.radius_mm, other.radius_mm) for other in after.sites] for one in before.sites]
    ).reshape(distance.shape)
    foreign = np.array([[_foreign(one, other) for other in after.sites] for one in before.sites], float)
    near = distance + _OTHER_REGION_MM * foreign.reshape(distance.shape) <= reach
    cost = np.where(near, distance + _OTHER_REGION_MM * foreign.reshape(distance.shape), 1e6)
    pairs = [(int(i), int(j)) for i, j in zip(*linear_sum_assignment(cost), strict=True) if near[i, j]]
    kept = [Match("persisting", before.sites[i], after.sites[j]) for i, j in pairs]
    left_before = sorted(set(range(len(before.sites))) - {i for i, _ in pairs})
    left_after = sorted(set(range(len(after.sites))) - {j for _, j in pairs})
    for i in left_before:
        seen = _within(there[i] - alignment.shift, after.body)
        kind: Kind = "part" if near[i].any() else "gone" if seen else "unseen"
        kept.append(Match(kind, before.sites[i], None))
    for j in left_after:
        kind = "part" if near[:, j].any() else "new" if _within(here[j], before.body) else "unseen"
        kept.append(Match(kind, None, after.sites[j]))
    return tuple(kept)


def _foreign(one: Site, other: Site) -> bool:
    return one.region != other.region and "unknown" not in {one.region, other.region}


def _within(point: NDArray[np.float64], body: Box) -> bool:
    """Along the axis of the body: arms beside it are cut off at every date."""
    return body[0][2] <= float(point[2]) <= body[1][2]
