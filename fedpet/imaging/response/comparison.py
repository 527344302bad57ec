"""Comparison of two examinations of one patient: their alignment, and which lesions are the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.optimize import linear_sum_assignment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy

    _Placed = tuple[Mapping[str, tuple[float, float, float]], "Box"]

Box = tuple[tuple[float, float, float], tuple[float, float, float]]
LesionChange = Literal["persisting", "part", "new", "gone", "unseen"]

MAX_DISTANCE_MM = 30.0  # largest distance, once aligned, between centroids of the same lesion; more for larger lesions
_OTHER_REGION_MM = 15.0  # added to the distance of lesions in different regions


@dataclass(frozen=True)
class LesionSummary:
    """A lesion of one examination.

    Attributes:
        id: its number.
        region: a key of `fedpet.imaging.anatomy.regions.REGIONS`.
        centroid_mm: LPS.
        suv_max: SUVbw, g/ml.
        suv_peak: SUVbw, g/ml.
        mtv_ml: metabolic tumour volume.
    """

    id: int
    region: str
    centroid_mm: tuple[float, float, float]
    suv_max: float
    suv_peak: float
    mtv_ml: float

    @property
    def radius_mm(self) -> float:
        """Radius of a sphere of the same volume."""
        return float(np.cbrt(3000.0 * self.mtv_ml / (4.0 * np.pi)))


@dataclass(frozen=True)
class Examination:
    """What is compared of one examination.

    Attributes:
        date: of the examination, YYYY-MM-DD.
        method: identifier of the delineation method.
        scanner: manufacturer and model.
        uptake_min: uptake time, minutes; None where missing.
        tmtv_ml: total metabolic tumour volume.
        tlg: total lesion glycolysis, g.
        suv_max: of the hottest lesion, SUVbw, g/ml.
        suv_peak: of the hottest lesion, SUVbw, g/ml.
        lesions: as delineated.
        sul_per_suv: SUL for one SUVbw (lean body mass of Janmahasatian); None where weight, height or sex are missing.
        liver: mean and SD of the liver, SUVbw; None where it cannot be a reference.
        blood_pool: as `liver`, of the descending aorta.
        landmarks: points of the spine by the name of their level, LPS mm (`landmarks_mm`).
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
    lesions: tuple[LesionSummary, ...]
    sul_per_suv: float | None
    liver: tuple[float, float] | None
    blood_pool: tuple[float, float] | None
    landmarks: Mapping[str, tuple[float, float, float]]
    body: Box

    @property
    def measurable_from(self) -> float | None:
        """SUVpeak from which a lesion is measurable (`measurable_from`)."""
        return measurable_from(self.liver, self.blood_pool)


def measurable_from(liver: tuple[float, float] | None, blood_pool: tuple[float, float] | None) -> float | None:
    """SUVpeak from which PERCIST 1.0 takes a lesion as measurable: 1.5 x liver + 2 SD, else 2 x blood pool + 2 SD.

    Args:
        liver: mean and SD, SUVbw; None where it cannot be a reference.
        blood_pool: as `liver`, of the descending aorta.

    Returns:
        SUVbw; None where neither is known.
    """
    if liver is not None:
        return 1.5 * liver[0] + 2.0 * liver[1]
    return None if blood_pool is None else 2.0 * blood_pool[0] + 2.0 * blood_pool[1]


def landmarks_mm(anatomy: PatientAnatomy | None) -> dict[str, list[float]]:
    """Find points of the spine by which two examinations can be aligned.

    Args:
        anatomy: of the patient; None without a CT.

    Returns:
        LPS mm of the spine at the levels "apex" (of the lungs), "carina", "diaphragm" and "symphysis", of those that
        were scanned; nothing without a CT.
    """
    if anatomy is None:
        return {}
    body, levels = anatomy.body, anatomy.landmarks
    heights = {name: getattr(levels, name) for name in ("apex", "carina", "diaphragm", "symphysis")}
    points = {}
    for name, height in heights.items():
        if height is not None:
            level = min(max(round(height), 0), len(body.midline) - 1)
            index = np.array([height, body.vertebral_row[level], body.midline[level]])
            points[name] = [round(float(x), 2) for x in body.ct.to_mm(index)]
    return points


@dataclass(frozen=True)
class Alignment:
    """How the later examination is aligned to the earlier one.

    Attributes:
        shift: (x, y, z), mm, added to a point of the later examination.
        by: what it was computed from.
    """

    shift: tuple[float, float, float]
    by: Literal["landmarks", "bounds"]


def align(before: Examination, after: Examination) -> Alignment:
    """Align two examinations (`align_bodies`)."""
    return align_bodies((before.landmarks, before.body), (after.landmarks, after.body))


def align_bodies(before: _Placed, after: _Placed) -> Alignment:
    """Align by the landmarks of both examinations, else by the bounds of the body: its middle and its top.

    Args:
        before: of the earlier examination, points of the spine by name and bounds of the body, LPS mm.
        after: of the later one.
    """
    shared = sorted(before[0].keys() & after[0].keys())
    if shared:
        points_before, points_after = (
            np.array([landmarks[name] for name in shared]) for landmarks, _ in (before, after)
        )
        x, y, z = (points_before - points_after).mean(axis=0)
        return Alignment((float(x), float(y), float(z)), "landmarks")
    (low, high), (low_after, high_after) = before[1], after[1]
    x, y = ((low[axis] + high[axis] - low_after[axis] - high_after[axis]) / 2 for axis in (0, 1))
    return Alignment((x, y, high[2] - high_after[2]), "bounds")


@dataclass(frozen=True)
class LesionMatch:
    """One line of the comparison: a lesion of one examination or of both.

    Attributes:
        kind: "persisting", "new" or "gone"; "part" where a lesion lies beside one that has its match already, as after
            a split or a merger; "unseen" where the other examination did not cover its position.
        before: None where there is no such lesion in the earlier examination.
        after: None where there is none in the later one.
    """

    kind: LesionChange
    before: LesionSummary | None
    after: LesionSummary | None

    @property
    def suv_peak_change(self) -> float | None:
        """Change of SUVpeak relative to the earlier examination; None where the lesion is not in both."""
        if self.before is None or self.after is None:
            return None
        return relative_change(self.before.suv_peak, self.after.suv_peak)


def relative_change(before: float, after: float) -> float | None:
    """Change relative to the earlier value; None where that is 0."""
    return (after - before) / before if before else None


def match_lesions(before: Examination, after: Examination, alignment: Alignment) -> tuple[LesionMatch, ...]:
    """Pair the lesions of two examinations by region and position so that the sum of the distances is smallest.

    Args:
        before: earlier examination.
        after: later examination.
        alignment: of both.

    Returns:
        The pairs, then the unmatched lesions of the earlier examination, then those of the later one.
    """
    points_before = np.array([lesion.centroid_mm for lesion in before.lesions]).reshape(-1, 3)
    points_after = np.array([lesion.centroid_mm for lesion in after.lesions]).reshape(-1, 3) + alignment.shift
    distance = np.linalg.norm(points_before[:, None] - points_after[None], axis=2)
    allowed = np.array(
        [[max(MAX_DISTANCE_MM, one.radius_mm, other.radius_mm) for other in after.lesions] for one in before.lesions]
    ).reshape(distance.shape)
    other_region = np.array([[_regions_differ(one, other) for other in after.lesions] for one in before.lesions], float)
    close = distance + _OTHER_REGION_MM * other_region.reshape(distance.shape) <= allowed
    cost = np.where(close, distance + _OTHER_REGION_MM * other_region.reshape(distance.shape), 1e6)
    pairs = [(int(i), int(j)) for i, j in zip(*linear_sum_assignment(cost), strict=True) if close[i, j]]
    matches = [LesionMatch("persisting", before.lesions[i], after.lesions[j]) for i, j in pairs]
    unmatched_before = sorted(set(range(len(before.lesions))) - {i for i, _ in pairs})
    unmatched_after = sorted(set(range(len(after.lesions))) - {j for _, j in pairs})
    for i in unmatched_before:
        shown = _covers(points_before[i] - alignment.shift, after.body)
        kind: LesionChange = "part" if close[i].any() else "gone" if shown else "unseen"
        matches.append(LesionMatch(kind, before.lesions[i], None))
    for j in unmatched_after:
        kind = "part" if close[:, j].any() else "new" if _covers(points_after[j], before.body) else "unseen"
        matches.append(LesionMatch(kind, None, after.lesions[j]))
    return tuple(matches)


def _regions_differ(one: LesionSummary, other: LesionSummary) -> bool:
    return one.region != other.region and "unknown" not in {one.region, other.region}


def _covers(point: NDArray[np.float64], body: Box) -> bool:
    """Whether a point lies within the body along its axis; arms beside it are cut off in every examination."""
    return body[0][2] <= float(point[2]) <= body[1][2]
