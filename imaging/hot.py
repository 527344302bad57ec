"""Facts about hot regions of a PET: which organs their cores lie in, their size, shape and density."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import ndimage

from imaging.anatomy import anatomy_of
from imaging.coarse import dilated, eroded, voxels
from imaging.organs import organs_of
from imaging.resampling import Grid, resample

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from imaging.organs import Organs
    from imaging.volume import Volume

    Floats = NDArray[np.float64]
    Mask = NDArray[np.bool_]

# what a core is compared with, and how far from it a core still counts as its, mm
_NEAR: Final[dict[str, tuple[tuple[str, ...], float]]] = {
    "brain": (("brain",), 12.0),
    "salivary_glands": (("salivary_glands",), 4.0),
    "heart": (("heart",), 4.0),
    "beside_heart": (("heart",), 8.0),
    "aorta": (("aorta",), 16.0),
    "liver": (("liver",), 4.0),
    "spleen": (("spleen",), 4.0),
    "kidney": (("kidney_right", "kidney_left"), 4.0),
    "beside_kidney": (("kidney_right", "kidney_left"), 20.0),
    "ureter": (("ureter_right", "ureter_left"), 8.0),
    "bladder": (("bladder",), 12.0),
    "bowel": (("bowel",), 0.0),
    "beside_bowel": (("bowel",), 8.0),
    "bone": (("bone", "marrow"), 0.0),
    "beside_bone": (("bone", "marrow"), 4.0),
    "lung": (("lung_right", "lung_left"), 8.0),
}
_CORE = 0.7  # of a region's maximum
_FAT_HU = -190.0, -30.0
_MIRROR_MM = 12.0
_END_MM = 10.0


@dataclass(frozen=True)
class Region:
    """One hot region.

    Attributes:
        shares: organ or tissue (those above, "fat", "body", "end" of the scan) -> share of the core in or near it.
        section_cm2: largest area in one axial slice.
        mirrored: highest SUV at the place mirrored about the spine, as a share of `suv_max`; 0 without a spine there.
        hu: median of the core.
        probability: highest value of a model's lesion map in the region; None without a map.
    """

    suv_max: float
    volume_ml: float
    section_cm2: float
    mirrored: float
    hu: float
    probability: float | None
    shares: Mapping[str, float]


@dataclass(frozen=True)
class Uptake:
    """SUV of a healthy organ: median, robust standard deviation, 95th percentile."""

    median: float
    sd: float
    high: float

    @property
    def focal(self) -> float:
        """SUV above which uptake stands out from its organ, as PERCIST asks of a lesion: 1.5 x mean + 2 SD."""
        return 1.5 * self.median + 2.0 * self.sd


def regions_of(pet: Volume, ct: Volume, basins: NDArray[np.int32], lesion_map: Volume | None) -> list[Region]:
    """Facts of the regions 1 to n of `basins` (on the PET grid)."""
    index = np.argwhere(basins)
    number = basins[tuple(index.T)]
    count = int(number.max(initial=0))
    suv = pet.array[tuple(index.T)]
    every = np.arange(1, count + 1)
    highest = np.asarray(ndimage.maximum(suv, number, every))
    core = suv >= _CORE * highest[number - 1]
    points = pet.to_mm(index[core].astype(float))
    hu = _sampled(ct, points, outside=-1024.0)
    tissues = {**_organ_hits(organs_of(ct, pet), points), "body": _in_body(ct, points)}
    tissues["fat"] = (hu > _FAT_HU[0]) & (hu < _FAT_HU[1])
    from_end = np.minimum(index[core, 0], pet.shape[0] - 1 - index[core, 0])
    tissues["end"] = from_end * pet.spacing[2] < _END_MM
    median = np.asarray(ndimage.median(hu, number[core], every))
    shares = {name: _shares(hits, number[core], count) for name, hits in tissues.items()}
    volume = np.bincount(number, minlength=count + 1)[1:] * pet.voxel_ml
    section = _largest_sections(index[:, 0], number, count) * pet.voxel_ml / pet.spacing[2] * 10.0
    peaks = np.array(ndimage.maximum_position(pet.array, basins, every), float).reshape(-1, 3)
    mirrored = _mirrored(pet, ct, peaks)
    sure = None if lesion_map is None else _map_maxima(pet, basins, lesion_map, every)
    return [
        Region(
            suv_max=float(highest[i]),
            volume_ml=float(volume[i]),
            section_cm2=float(section[i]),
            mirrored=float(mirrored[i] / highest[i]),
            hu=float(median[i]),
            probability=None if sure is None else float(sure[i]),
            shares={name: float(share[i]) for name, share in shares.items()},
        )
        for i in range(count)
    ]


def uptake_of(pet: Volume, ct: Volume, name: str) -> Uptake | None:
    """Uptake of an organ away from its border; None where it was not recognised."""
    organs = organs_of(ct, pet)
    inside = np.argwhere(eroded(organs.mask(name), 3))
    if not len(inside):
        return None
    suv = _sampled(pet, organs.labels.to_mm(inside.astype(float)), outside=0.0)
    low, median, high = np.percentile(suv, (15.87, 50.0, 95.0))
    return Uptake(float(median), float(median - low), float(high))


def _shares(hits: Mask, number: NDArray[np.int32], count: int) -> Floats:
    total = np.bincount(number, minlength=count + 1)[1:]
    return np.asarray(np.bincount(number, weights=hits, minlength=count + 1)[1:] / np.maximum(total, 1))


def _organ_hits(organs: Organs, points: Floats) -> dict[str, Mask]:
    """Which points (n, 3) lie in or near each organ."""
    hits = {}
    for name, (parts, margin_mm) in _NEAR.items():
        mask = np.logical_or.reduce([organs.mask(part) for part in parts])
        wide = dilated(mask, 2 * voxels(margin_mm) + 1) if margin_mm else mask
        hits[name] = _sampled(organs.labels.like(wide, "label"), points, outside=0).astype(bool)
    return hits


def _in_body(ct: Volume, points: Floats) -> Mask:
    """Which points (n, 3) lie in the body, or within 4 mm of it."""
    anatomy = anatomy_of(ct)
    return _sampled(anatomy.ct.like(dilated(anatomy.body, 3), "label"), points, outside=0).astype(bool)


def _sampled(volume: Volume, points: Floats, *, outside: float) -> Floats:
    """Value of the nearest voxel of each point (n, 3)."""
    place = np.rint(volume.to_index(points)).astype(int)
    inside = ((place >= 0) & (place < volume.shape)).all(axis=1)
    values = np.full(len(points), outside, float)
    values[inside] = volume.array[tuple(place[inside].T)]
    return values


def _largest_sections(slices: NDArray[np.intp], number: NDArray[np.int32], count: int) -> Floats:
    """Voxels of each region in its fullest slice."""
    pair, sizes = np.unique(np.stack([number, slices]), axis=1, return_counts=True)
    largest = np.zeros(count + 1)
    np.maximum.at(largest, pair[0], sizes)
    return largest[1:]


def _mirrored(pet: Volume, ct: Volume, peaks: Floats) -> Floats:
    """Highest SUV within 12 mm of each peak (n, 3; voxels of the PET) mirrored about the spine; 0 without a spine."""
    anatomy = anatomy_of(ct)
    points = pet.to_mm(peaks)
    place = np.rint(anatomy.ct.to_index(points)).astype(int)
    column = anatomy.spine.column[np.clip(place[:, 0], 0, len(anatomy.spine.column) - 1)]
    known = np.isfinite(column)
    found = np.zeros(len(peaks))
    middle = anatomy.ct.affine[0, 3] + anatomy.ct.affine[0, 0] * column
    points[:, 0] = 2 * middle - points[:, 0]
    reach = [int(_MIRROR_MM / step) for step in pet.spacing[::-1]]
    for i in np.flatnonzero(known):
        at = np.rint(pet.to_index(points[i])).astype(int)
        box = tuple(slice(max(a - r, 0), max(a + r + 1, 0)) for a, r in zip(at, reach, strict=True))
        found[i] = pet.array[box].max(initial=0.0)
    return found


def _map_maxima(pet: Volume, basins: NDArray[np.int32], lesion_map: Volume, every: NDArray[np.int_]) -> Floats:
    probability = resample(lesion_map, Grid.of(pet), outside=0.0).array
    return np.asarray(ndimage.maximum(probability, basins, every), float)
