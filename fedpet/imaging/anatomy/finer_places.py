"""Where in the spine or the mediastinum a lesion lies: the vertebral level, and a proposal of a lymph node station.

Both are estimates. The level is interpolated between the ends of the lumbar, thoracic and cervical spine, each vertebra
with its usual share of the length: one with transitional vertebrae, or a scan that shows a part of the spine only, can
be one or two levels off. The station follows the map of the IASLC (Rusch 2009, J Thorac Oncol 4:568) by carina, arch of
the aorta, midline and spine; vessels and bronchi that divide stations are not seen, so that it is a proposal.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np

from fedpet.core.messages import Message
from fedpet.imaging.anatomy.morphology import GRID_MM
from fedpet.imaging.anatomy.regions import REGIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from fedpet.imaging.anatomy.landmarks import Landmarks
    from fedpet.imaging.anatomy.organ_segmentation import OrganSegmentation
    from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy

# SNOMED CT, from the first cervical to the fifth lumbar vertebra (DICOM PS3.16, CID 7304 and its parts).
VERTEBRAE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "C1": "14806007", "C2": "39976000", "C3": "113205007", "C4": "5329002", "C5": "36978003", "C6": "36054005",
        "C7": "87391001", "T1": "64864005", "T2": "53733008", "T3": "1626008", "T4": "73071006", "T5": "56401006",
        "T6": "45296009", "T7": "62487009", "T8": "11068009", "T9": "82687006", "T10": "7610001", "T11": "12989004",
        "T12": "23215003", "L1": "66794005", "L2": "14293000", "L3": "36470004", "L4": "11994002", "L5": "49668003",
    }
)  # fmt: skip
# SNOMED CT of their lymph nodes (CID 7600), without the side, which the name ends with.
STATIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "1R": "127926002", "1L": "127926002", "2R": "127927006", "2L": "127927006", "3a": "127930004",
        "3p": "127930004", "4R": "127932007", "4L": "127932007", "5": "127938006", "6": "127939003", "7": "28330007",
        "8": "127940001", "10R": "53074004", "10L": "53074004", "11R": "127919002", "11L": "127919002",
    }
)  # fmt: skip
_SPINE: Final = tuple(f"bone_spine_{part}" for part in ("cervical", "thoracic", "lumbar"))
_CHEST: Final = ("mediastinum", "hilum_right", "hilum_left")
# Usual heights of the vertebrae with the disc below, mm, from the lowest up; only their ratios count.
_HEIGHTS: Final = {
    "lumbar": (36.0, 37.0, 37.0, 36.0, 35.0),
    "thoracic": (31.0, 30.0, 29.0, 28.0, 27.0, 26.0, 24.5, 23.5, 22.5, 21.5, 20.5, 19.0),
    "cervical": (18.0, 17.5, 17.0, 16.5, 16.5, 20.0, 18.0),
}
_ENDS: Final = 2.0, 98.0  # percentiles of the slices of a part of the spine
_LEAST: Final = 40  # voxels of a part of the spine that was segmented
_ARCH_MM: Final = 38.0  # of the top of the aortic arch above the carina, where the aorta was not found
_TRACHEA_MM: Final = 8.0  # left border of the trachea, left of the midline: it divides right and left
_BEHIND_MM, _BEFORE_MM = -24.0, -88.0  # relative to the middle of the vertebral bodies: behind the trachea, prevascular
_AORTIC_MM, _ASCENDING_MM = 27.0, -78.0  # left of the midline: beyond the arch; in front of it
_SUBCARINAL_MM, _MAIN_BRONCHI_MM, _LOBAR_MM = 42.0, 26.0, 52.0  # below the carina; from the midline


@dataclass(frozen=True)
class FinerPlace:
    """Estimated place of a lesion.

    Attributes:
        vertebra: a key of `VERTEBRAE` for a lesion of the spine; None elsewhere.
        station: one of `STATIONS` for a lesion of mediastinum or hilum, a proposal; None elsewhere.
    """

    vertebra: str | None = None
    station: str | None = None


@dataclass(frozen=True)
class Levels:
    """Where parts of spine and mediastinum end, slices of the grid of the body; None where it is not known.

    Attributes:
        spine: lower and upper end of "lumbar", "thoracic" and "cervical".
        arch: top of the aortic arch; None without a carina.
    """

    spine: Mapping[str, tuple[float | None, float | None]]
    arch: float | None


def place_in_words(region: str, vertebra: str | None, station: str | None) -> Message:
    """The region with the estimated level or the proposed station.

    Args:
        region: a key of `fedpet.imaging.anatomy.regions.REGIONS`.
        vertebra: as of `FinerPlace`.
        station: as of `FinerPlace`.
    """
    if vertebra is not None:
        return Message("{region}, about {vertebra}", region=REGIONS[region], vertebra=vertebra)
    if station is not None:
        return Message("{region}, proposed station {station}", region=REGIONS[region], station=station)
    return REGIONS[region]


def finer_place(region: str, point_mm: tuple[float, float, float], anatomy: PatientAnatomy | None) -> FinerPlace:
    """Estimate the vertebral level or the station of a lesion.

    Args:
        region: of the lesion, a key of `fedpet.imaging.anatomy.regions.REGIONS`.
        point_mm: its centroid, LPS.
        anatomy: of the patient; None without a CT.
    """
    if anatomy is None or region not in (*_SPINE, *_CHEST):
        return FinerPlace()
    voxel = np.rint(anatomy.body.ct.to_index(np.array([point_mm], float))[0]).astype(int)
    if ((voxel < 0) | (voxel >= anatomy.body.body.shape)).any():
        return FinerPlace()
    if region in _SPINE:
        return FinerPlace(vertebra=_vertebra(anatomy, region, float(voxel[0])))
    return FinerPlace(station=_station(anatomy, region, voxel))


def _vertebra(anatomy: PatientAnatomy, region: str, level: float) -> str | None:
    """The vertebra at a slice; None where an end of its part of the spine is not known."""
    part = region.removeprefix("bone_spine_")
    low, high = anatomy.levels.spine[part]
    if low is None or high is None or high <= low:
        return None
    heights = np.array(_HEIGHTS[part])
    tops = np.cumsum(heights) / heights.sum()
    from_below = min(int(np.searchsorted(tops, (level - low) / (high - low))), len(heights) - 1)
    return f"{part[0].upper()}{len(heights) - max(from_below, 0)}"


def find_levels(organs: OrganSegmentation, landmarks: Landmarks) -> Levels:
    """Find the ends of the parts of the spine, between parts that were segmented, else by landmarks, and the arch."""
    lumbar, thoracic, cervical = (_ends(organs, f"spine_{part}") for part in ("lumbar", "thoracic", "cervical"))
    sacrum = landmarks.sacrum if lumbar is None else lumbar[0]
    first_lumbar = _between(lumbar, thoracic, landmarks.first_lumbar)
    neck = _between(thoracic, cervical, landmarks.apex)
    skull = landmarks.skull_base if cervical is None else cervical[1]
    spine = {"lumbar": (sacrum, first_lumbar), "thoracic": (first_lumbar, neck), "cervical": (neck, skull)}
    return Levels(spine, None if landmarks.carina is None else _arch(organs, landmarks.carina))


def _ends(organs: OrganSegmentation, name: str) -> tuple[float, float] | None:
    """Lowest and highest slice of a structure; None where it was not found."""
    levels = np.nonzero(organs.mask(name))[0]
    if len(levels) < _LEAST:
        return None
    low, high = np.percentile(levels, _ENDS)
    return float(low), float(high)


def _between(
    lower: tuple[float, float] | None, upper: tuple[float, float] | None, otherwise: float | None
) -> float | None:
    """Where one part of the spine ends and the next begins."""
    if lower is not None and upper is not None:
        return (lower[1] + upper[0]) / 2
    return otherwise


def _station(anatomy: PatientAnatomy, region: str, voxel: NDArray[np.int_]) -> str | None:
    """The station at a voxel of the grid of the body; None without a carina. The first rule that holds wins."""
    landmarks, body, arch = anatomy.landmarks, anatomy.body, anatomy.levels.arch
    if landmarks.carina is None or landmarks.apex is None or arch is None:
        return None
    level, row, column = (int(one) for one in voxel)
    left = float(column - body.midline[level]) * GRID_MM
    behind = float(row - body.vertebral_row[level]) * GRID_MM
    above = (level - landmarks.carina) * GRID_MM
    beneath_arch = level < arch
    side, lung = "R" if left < _TRACHEA_MM else "L", "R" if left < 0 else "L"
    hilum = {"hilum_right": "R", "hilum_left": "L"}.get(region)
    beside_arch = left > _AORTIC_MM and beneath_arch
    rules = (
        (hilum is not None, f"{11 if abs(left) > _LOBAR_MM else 10}{hilum}"),
        (level > landmarks.apex, f"1{side}"),
        (above < 0 and abs(left) > _MAIN_BRONCHI_MM, f"10{lung}"),
        (above < 0, "7" if above > -_SUBCARINAL_MM else "8"),
        (behind > _BEHIND_MM, "3p"),
        (beside_arch, "6" if behind < _ASCENDING_MM else "5"),
        (behind < _BEFORE_MM, "3a"),
        (True, f"{4 if beneath_arch else 2}{side}"),
    )
    return next(name for holds, name in rules if holds)


def _arch(organs: OrganSegmentation, carina: float) -> float:
    """Slice of the top of the aortic arch."""
    levels = np.nonzero(organs.mask("aorta"))[0]
    usual = carina + _ARCH_MM / GRID_MM
    if len(levels) < _LEAST:
        return usual
    top = float(np.percentile(levels, _ENDS[1]))
    return top if abs(top - usual) * GRID_MM < _ARCH_MM / 2 else usual
