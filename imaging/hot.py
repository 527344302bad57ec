"""Facts about hot foci of a PET: which organs their cores lie in, their size, shape and density."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import ndimage

from imaging.anatomy import anatomy_of
from imaging.coarse import dilated, eroded, voxels
from imaging.organs import organs_of
from imaging.peak import sphere_means, whole_voxels
from imaging.regions import lesion_regions
from imaging.resampling import Grid, resample

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from imaging.volume import Volume

    Floats = NDArray[np.float64]
    Mask = NDArray[np.bool_]
    Index = NDArray[np.intp]

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
    "beside_ureter": (("ureter_right", "ureter_left"), 24.0),
    "bladder": (("bladder",), 12.0),
    "bowel": (("bowel",), 0.0),
    "beside_bowel": (("bowel",), 8.0),
    "bone": (("bone", "marrow"), 0.0),
    "lung": (("lung_right", "lung_left"), 8.0),
}
_CORE = 0.7  # of a focus's maximum
_FAT_HU = -190.0, -30.0
_MIRROR_MM, _END_MM = 12.0, 10.0


@dataclass(frozen=True)
class Focus:
    """One hot focus.

    Attributes:
        suv_peak: highest mean over a sphere of 1 cm3 (`imaging.peak`).
        section_cm2: largest area in one axial slice.
        length_mm: from its lowest to its highest slice.
        part: part of the body, a key of `imaging.regions.REGIONS`.
        aside_mm: distance of the hottest voxel from the patient's middle.
        mirrored: highest SUV within 12 mm of the place mirrored about the middle, as a share of `suv_max`.
        hu: median of the core.
        probability: median of a model's lesion map over the core; None without a map.
        shares: organ or tissue (those above, "fat", "body", "end" of the scan) -> share of the core in or near it.
    """

    suv_max: float
    suv_peak: float
    volume_ml: float
    section_cm2: float
    length_mm: float
    part: str
    aside_mm: float
    mirrored: float
    hu: float
    probability: float | None
    shares: Mapping[str, float]

    @property
    def slenderness(self) -> float:
        """Length along the body over the diameter of a disc of the largest section."""
        return self.length_mm / (20.0 * float(np.sqrt(self.section_cm2 / np.pi)))


@dataclass(frozen=True)
class Uptake:
    """SUV of a healthy organ: median, robust standard deviation, 95th percentile."""

    median: float
    sd: float
    high: float

    @property
    def focal(self) -> float:
        """SUVpeak above which uptake stands out from its organ, as PERCIST asks of a lesion: 1.5 x mean + 2 SD."""
        return 1.5 * self.median + 2.0 * self.sd


def uptake_of(pet: Volume, ct: Volume, name: str) -> Uptake | None:
    """Uptake of an organ away from its border; None where it was not recognised."""
    organs = organs_of(ct, pet)
    inside = np.argwhere(eroded(organs.mask(name), 3))
    if not len(inside):
        return None
    suv = _nearest(pet, organs.labels.to_mm(inside.astype(float)), outside=0.0)
    low, median, high = np.percentile(suv, (15.87, 50.0, 95.0))
    return Uptake(float(median), float(median - low), float(high))


def touching(basins: NDArray[np.int32], foci: Sequence[int]) -> list[int]:
    """Which other foci share a face with some of `foci`; both counted from 0, as lists of foci are."""
    chosen = np.isin(basins, np.array(foci) + 1)
    around = ndimage.binary_dilation(chosen) & ~chosen
    return [int(number) - 1 for number in np.unique(basins[around]) if number]


def foci_of(pet: Volume, ct: Volume, basins: NDArray[np.int32], lesion_map: Volume | None) -> list[Focus]:
    """Facts of the foci 1 to n of `basins` (on the PET grid)."""
    index = np.argwhere(basins)
    number = basins[tuple(index.T)]
    if not len(number):
        return []
    order = np.argsort(number, kind="stable")
    members = np.split(index[order], np.cumsum(np.bincount(number)[1:])[:-1])
    cores = [own[(suv := pet.array[tuple(own.T)]) >= _CORE * suv.max()] for own in members]
    owner = np.repeat(np.arange(len(cores)), [len(core) for core in cores])
    points = pet.to_mm(np.concatenate(cores).astype(float))
    hu = _nearest(ct, points, outside=-1024.0)
    hits = {**_hits(pet, ct, points), "fat": (hu > _FAT_HU[0]) & (hu < _FAT_HU[1])}
    shares = {name: np.bincount(owner, weights=hit) / np.bincount(owner) for name, hit in hits.items()}
    density = ndimage.median(hu, owner, np.arange(len(cores)))
    parts = lesion_regions(pet.like(basins, "label"), ct, pet)
    probability = None if lesion_map is None else resample(lesion_map, Grid.of(pet), outside=0.0).array
    mirrored = _mirrored(pet, ct, np.array([own[pet.array[tuple(own.T)].argmax()] for own in members]))
    sphere = whole_voxels(pet.affine)
    return [
        Focus(
            suv_max=float(pet.array[tuple(own.T)].max()),
            suv_peak=float(sphere_means(pet, own, sphere).max()),
            volume_ml=len(own) * pet.voxel_ml,
            section_cm2=float(np.bincount(own[:, 0]).max()) * pet.voxel_ml / pet.spacing[2] * 10.0,
            length_mm=float(np.ptp(own[:, 0]) + 1) * pet.spacing[2],
            part=parts[i + 1],
            aside_mm=float(mirrored[i, 0]),
            mirrored=float(mirrored[i, 1]),
            hu=float(density[i]),
            probability=None if probability is None else float(np.median(probability[tuple(cores[i].T)])),
            shares={name: float(share[i]) for name, share in shares.items()},
        )
        for i, own in enumerate(members)
    ]


def _hits(pet: Volume, ct: Volume, points: Floats) -> dict[str, Mask]:
    """Which points (n, 3) lie in or near each organ, in the body (or within 4 mm), and at an end of the PET."""
    organs, body = organs_of(ct, pet), anatomy_of(ct).body
    masks = {"body": dilated(body, 3)}
    for name, (parts, margin_mm) in _NEAR.items():
        mask = np.logical_or.reduce([organs.mask(part) for part in parts])
        masks[name] = dilated(mask, 2 * voxels(margin_mm) + 1) if margin_mm else mask
    hits = {name: _nearest(organs.labels.like(mask, "label"), points, outside=0.0) > 0 for name, mask in masks.items()}
    slices = pet.to_index(points)[:, 0]
    hits["end"] = np.minimum(slices, pet.shape[0] - 1 - slices) * pet.spacing[2] < _END_MM
    return hits


def _nearest(volume: Volume, points: Floats, *, outside: float) -> Floats:
    """Value of the nearest voxel of each point (n, 3)."""
    place = np.rint(volume.to_index(points)).astype(int)
    inside = ((place >= 0) & (place < volume.shape)).all(axis=1)
    values = np.full(len(points), outside, float)
    values[inside] = volume.array[tuple(place[inside].T)]
    return values


def _mirrored(pet: Volume, ct: Volume, peaks: Index) -> Floats:
    """Of each peak (n, 3; voxels of the PET): mm from the patient's middle, and `Focus.mirrored`; shape (n, 2)."""
    anatomy = anatomy_of(ct)
    points = pet.to_mm(peaks.astype(float))
    slices = np.rint(anatomy.ct.to_index(points)[:, 0]).astype(int)
    middle = anatomy.middle[np.clip(slices, 0, len(anatomy.middle) - 1)]
    aside = points[:, 0] - (anatomy.ct.affine[0, 3] + anatomy.ct.affine[0, 0] * middle)
    points[:, 0] -= 2 * aside
    reach = [int(_MIRROR_MM / step) for step in pet.spacing[::-1]]
    found = np.zeros(len(peaks))
    for i, at in enumerate(np.rint(pet.to_index(points)).astype(int)):
        box = tuple(slice(max(a - r, 0), max(a + r + 1, 0)) for a, r in zip(at, reach, strict=True))
        found[i] = pet.array[box].max(initial=0.0)
    return np.stack([np.abs(aside), found / pet.array[tuple(peaks.T)]], axis=1)
