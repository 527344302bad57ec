"""Description of the hot foci of a PET: which organs their cores lie in, their size, shape, density and contrast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import ndimage

from fedpet.imaging.anatomy.morphology import bounding_box, dilate, erode, voxels
from fedpet.imaging.anatomy.regions import locate_lesions
from fedpet.imaging.lesions.detection.levels import surroundings
from fedpet.imaging.lesions.suv_peak import binary_sphere_kernel, sphere_means
from fedpet.imaging.resampling import Grid, resample, sample_nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy
    from fedpet.imaging.volume import Volume

    Floats = NDArray[np.float64]
    Mask = NDArray[np.bool_]
    Index = NDArray[np.intp]

# organs that a core can belong to or lie near, and up to which distance from them, mm
_NEIGHBOURS: Final[dict[str, tuple[tuple[str, ...], float]]] = {
    "brain": (("brain",), 12.0),
    "salivary_glands": (("salivary_glands",), 4.0),
    "heart": (("heart",), 4.0),
    "in_heart": (("heart",), 0.0),
    "beside_heart": (("heart",), 8.0),
    "aorta": (("aorta",), 16.0),
    "liver": (("liver",), 4.0),
    "spleen": (("spleen",), 4.0),
    "adrenal": (("adrenal_right", "adrenal_left"), 4.0),
    "kidney": (("kidney_right", "kidney_left"), 4.0),
    "in_kidney": (("kidney_right", "kidney_left"), 0.0),
    "beside_kidney": (("kidney_right", "kidney_left"), 20.0),
    "ureter": (("ureter_right", "ureter_left"), 8.0),
    "beside_ureter": (("ureter_right", "ureter_left"), 24.0),
    "bladder": (("bladder",), 12.0),
    "in_bladder": (("bladder",), 0.0),
    "bowel": (("bowel",), 0.0),
    "beside_bowel": (("bowel",), 8.0),
    "tonsils": (("tonsils",), 4.0),
    "thyroid": (("thyroid",), 4.0),
    "oesophagus": (("oesophagus",), 4.0),
    "testes": (("testes",), 8.0),
    "muscle": (("muscle",), 0.0),
    "bone": (("bone", "marrow"), 0.0),
    "lung": (("lung_right", "lung_left"), 8.0),
}
_CORE_SHARE = 0.7  # of the maximum of a focus
_BODY_SHARE = 0.41  # of the maximum: the part of a focus whose size and shape are measured
_COLDEST = 0.25  # SUV of surroundings, so that the contrast to air is no accident of noise
_FAT_HU = -190.0, -30.0
_MIRROR_MM, _END_MM = 12.0, 10.0  # half-width of the box searched on the other side; length of an end of the scan


@dataclass(frozen=True)
class Focus:
    """One hot focus. Its core are the voxels of at least 70 % of its maximum.

    Attributes:
        suv_max: of its voxels.
        suv_peak: highest mean over a sphere of 1 cm3 (`fedpet.imaging.lesions.suv_peak`).
        volume_ml: of its voxels of at least 41 % of its maximum, as section and length.
        section_cm2: largest area in one axial slice.
        length_mm: from its lowest to its highest slice.
        contrast: `suv_max` relative to the median around the focus, 1 cm beyond its radius.
        region: a key of `fedpet.imaging.anatomy.regions.REGIONS`.
        lateral_mm: distance of the hottest voxel from the midline.
        mirror_ratio: highest SUV within 12 mm of the hottest voxel mirrored about the midline, relative to `suv_max`.
        hu: median of the core.
        probability: median of a model's lesion map over the core; None without a map.
        shares: organ or tissue (keys of `_NEIGHBOURS`, "fat", "body", "end" of the scan) -> share of the core in or
            near it.
    """

    suv_max: float
    suv_peak: float
    volume_ml: float
    section_cm2: float
    length_mm: float
    contrast: float
    region: str
    lateral_mm: float
    mirror_ratio: float
    hu: float
    probability: float | None
    shares: Mapping[str, float]

    @property
    def slenderness(self) -> float:
        """Length along the body relative to the diameter of a disc of the largest section."""
        return self.length_mm / (20.0 * float(np.sqrt(self.section_cm2 / np.pi)))


@dataclass(frozen=True)
class OrganUptake:
    """SUV of an organ: median, robust standard deviation (median minus 15.87th percentile), 95th percentile."""

    median: float
    sd: float
    high: float

    @property
    def focal_threshold(self) -> float:
        """SUVpeak above which uptake is focal, as PERCIST requires of a lesion: 1.5 x median + 2 SD."""
        return 1.5 * self.median + 2.0 * self.sd


def organ_uptake(anatomy: PatientAnatomy, name: str) -> OrganUptake | None:
    """Uptake of an organ (a structure or group) away from its border; None where it was not recognised."""
    return _uptake_in(anatomy, anatomy.organs.mask(name))


def bone_uptake(anatomy: PatientAnatomy) -> OrganUptake | None:
    """Uptake of the vertebral marrow, of which metastases are the smaller part; None without vertebrae."""
    uptake = _uptake_in(anatomy, anatomy.marrow)
    if uptake is None:
        return None
    return OrganUptake(uptake.median, uptake.sd, min(uptake.high, uptake.median + 2.0 * uptake.sd))


def _uptake_in(anatomy: PatientAnatomy, mask: Mask) -> OrganUptake | None:
    box = bounding_box(mask, margin=1)
    inside = np.argwhere(erode(mask[box], 3)) + [side.start for side in box]
    if not len(inside):
        return None
    suv = sample_nearest(anatomy.pet, anatomy.organs.labels.to_mm(inside.astype(float)), outside=0.0)
    low, median, high = np.percentile(suv, (15.87, 50.0, 95.0))
    return OrganUptake(float(median), float(median - low), float(high))


def foci_in_contact(basins: NDArray[np.int32], foci: Sequence[int]) -> list[int]:
    """Other foci that share a face with one of `foci`; both counted from 0, as in the list of `find_foci`."""
    selected = np.isin(basins, np.array(foci) + 1)
    around = ndimage.binary_dilation(selected) & ~selected
    return [int(number) - 1 for number in np.unique(basins[around]) if number]


def find_foci(anatomy: PatientAnatomy, basins: NDArray[np.int32], lesion_map: Volume | None) -> list[Focus]:
    """Describe each focus.

    Args:
        anatomy: of the patient, with the PET.
        basins: foci by number from 1, shape of the PET; 0 is background.
        lesion_map: a model's probability of lesion, 0 to 1, any grid.

    Returns:
        Focus 1 first.
    """
    pet = anatomy.pet
    index = np.argwhere(basins)
    number = basins[tuple(index.T)]
    if not len(number):
        return []
    order = np.argsort(number, kind="stable")
    voxels_of_foci = np.split(index[order], np.cumsum(np.bincount(number)[1:])[:-1])
    suv = [pet.array[tuple(voxels_in.T)] for voxels_in in voxels_of_foci]
    cores, bodies = (
        [voxels_in[own >= share * own.max()] for voxels_in, own in zip(voxels_of_foci, suv, strict=True)]
        for share in (_CORE_SHARE, _BODY_SHARE)
    )
    focus_of = np.repeat(np.arange(len(cores)), [len(core) for core in cores])
    core_index = np.concatenate(cores)
    points = pet.to_mm(core_index.astype(float))
    hu = sample_nearest(anatomy.ct, points, outside=-1024.0)
    at_organ = {**_organs_at(anatomy, points), "fat": (hu > _FAT_HU[0]) & (hu < _FAT_HU[1])}
    shares = {name: np.bincount(focus_of, weights=mask) / np.bincount(focus_of) for name, mask in at_organ.items()}
    density = ndimage.median(hu, focus_of, np.arange(len(cores)))
    core_labels = np.zeros(basins.shape, basins.dtype)
    core_labels[tuple(core_index.T)] = focus_of + 1
    regions = locate_lesions(pet.like(core_labels, "label"), anatomy)
    probability = None if lesion_map is None else resample(lesion_map, Grid.of(pet), outside=0.0).array
    hottest = np.array([voxels_in[own.argmax()] for voxels_in, own in zip(voxels_of_foci, suv, strict=True)])
    lateral, mirror_ratio = _mirror_symmetry(anatomy, hottest)
    volume = np.array([len(body) for body in bodies]) * pet.voxel_ml
    contrast = pet.array[tuple(hottest.T)] / np.maximum(surroundings(pet, hottest, volume), _COLDEST)
    sphere = binary_sphere_kernel(pet.affine)
    return [
        Focus(
            suv_max=float(suv[i].max()),
            suv_peak=float(sphere_means(pet, core, sphere).max()),
            volume_ml=float(volume[i]),
            section_cm2=float(np.bincount(bodies[i][:, 0]).max()) * pet.voxel_ml / pet.spacing[2] * 10.0,
            length_mm=float(np.ptp(bodies[i][:, 0]) + 1) * pet.spacing[2],
            contrast=float(contrast[i]),
            region=regions[i + 1],
            lateral_mm=float(lateral[i]),
            mirror_ratio=float(mirror_ratio[i]),
            hu=float(density[i]),
            probability=None if probability is None else float(np.median(probability[tuple(core.T)])),
            shares={name: float(share[i]) for name, share in shares.items()},
        )
        for i, core in enumerate(cores)
    ]


def _organs_at(anatomy: PatientAnatomy, points: Floats) -> dict[str, Mask]:
    """Which points (n, 3) lie in or near each organ, in the body or within 4 mm of it, or at an end of the PET."""
    pet, organs, body = anatomy.pet, anatomy.organs, anatomy.body.body
    masks = {"body": dilate(body, 3)}
    for name, (regions, margin_mm) in _NEIGHBOURS.items():
        mask = np.logical_or.reduce([organs.mask(region) for region in regions])
        masks[name] = _dilated(mask, voxels(margin_mm)) if margin_mm else mask
    at_organ = {
        name: sample_nearest(organs.labels.like(mask, "label"), points, outside=0.0) > 0 for name, mask in masks.items()
    }
    slices = pet.to_index(points)[:, 0]
    at_organ["end"] = np.minimum(slices, pet.shape[0] - 1 - slices) * pet.spacing[2] < _END_MM
    return at_organ


def _dilated(mask: Mask, reach: int) -> Mask:
    """The mask and what lies within `reach` voxels along each axis, computed in its box."""
    box = bounding_box(mask, margin=reach)
    near = np.zeros_like(mask)
    near[box] = dilate(mask[box], 2 * reach + 1)
    return near


def _mirror_symmetry(anatomy: PatientAnatomy, peaks: Index) -> tuple[Floats, Floats]:
    """`Focus.lateral_mm` and `Focus.mirror_ratio` of the hottest voxels (n, 3) of foci; shape (n,) each."""
    pet, body = anatomy.pet, anatomy.body
    points = pet.to_mm(peaks.astype(float))
    slices = np.rint(body.ct.to_index(points)[:, 0]).astype(int)
    midline = body.midline[np.clip(slices, 0, len(body.midline) - 1)]
    lateral = points[:, 0] - (body.ct.affine[0, 3] + body.ct.affine[0, 0] * midline)
    points[:, 0] -= 2 * lateral
    reach = [int(_MIRROR_MM / step) for step in pet.spacing[::-1]]
    opposite = np.zeros(len(peaks))
    for i, voxel in enumerate(np.rint(pet.to_index(points)).astype(int)):
        box = tuple(slice(max(a - r, 0), max(a + r + 1, 0)) for a, r in zip(voxel, reach, strict=True))
        opposite[i] = pet.array[box].max(initial=0.0)
    return np.abs(lateral), opposite / pet.array[tuple(peaks.T)]
