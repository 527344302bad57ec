"""Uptake of healthy organs, to which lesions are compared.

Liver and blood pool as PERCIST 1.0 defines them (Wahl 2009, J Nucl Med 50 Suppl 1:122S; Joo Hyun O 2016, Radiology
280:576): a sphere of 3 cm in the right lobe, and a cylinder of 1 cm by 2 cm in the descending thoracic aorta for a
diseased liver. Spleen and vertebral marrow relative to the liver are exploratory: spleen-to-liver (Wong 2020, Cancer
Imaging 20:36) and marrow-to-liver ratio (Nakamoto 2021, J Nucl Med 62:1380), both of SUVmean here; Seban 2020 (Eur J
Nucl Med Mol Imaging 47:2301) used SUVmax, whose cut-offs do not carry over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import ndimage

from fedpet.messages import Message
from imaging.anatomy import anatomy_of
from imaging.coarse import VOXEL_ML, box_of, eroded, voxels
from imaging.organs import organs_of
from imaging.resampling import Grid, resample

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from imaging.coarse import Mask
    from imaging.organs import Organs
    from imaging.volume import Point, Volume


Name = Literal["liver", "blood_pool", "spleen", "marrow"]
_SPHERES = {"liver": (15.0, "sphere_3cm_right_lobe"), "spleen": (10.0, "sphere_2cm")}
_CYLINDER_RADIUS_MM, _CYLINDER_HALF_MM = 5.0, 10.0
_USUAL = 0.10  # how far the mean of a sphere may lie from the median of the organ, or of all the cylinders
_DISEASED_SHARE, _HOT = 0.15, 1.5  # share of the liver above so many times the reference: diseased
_MOST_VARIATION = 0.35  # coefficient of variation in the sphere
_NORMAL_LIVER = 0.7, 6.0  # SUVmean
_MARROW_ML = 4.0
_MARROW_MM = -160.0, 80.0  # above the diaphragm: from the lower thoracic to the lumbar spine


@dataclass(frozen=True)
class Reference:
    """Uptake of a healthy organ.

    Attributes:
        name: the organ.
        method: where and how it was measured.
        suv_mean: in the unit of the PET.
        suv_sd: of the voxels.
        volume_ml: of the voxels taken.
        centroid_mm: LPS.
    """

    name: Name
    method: str
    suv_mean: float
    suv_sd: float
    volume_ml: float
    centroid_mm: tuple[float, float, float]


@dataclass(frozen=True)
class OrganReferences:
    """References of a study; `reasons` says of each one that is None why. The ratios are exploratory."""

    liver: Reference | None
    blood_pool: Reference | None
    spleen: Reference | None
    marrow: Reference | None
    reasons: Mapping[Name, Message]

    @property
    def marrow_to_liver(self) -> float | None:
        """SUVmean of the vertebral marrow over that of the liver."""
        return self.marrow.suv_mean / self.liver.suv_mean if self.marrow and self.liver else None

    @property
    def spleen_to_liver(self) -> float | None:
        """SUVmean of the spleen over that of the liver."""
        return self.spleen.suv_mean / self.liver.suv_mean if self.spleen and self.liver else None


def organ_references(pet: Volume, ct: Volume) -> OrganReferences:
    """Measure the references of a PET on its own voxels, at places chosen with the CT and away from lesions.

    Args:
        pet: SUV (bw, lean or bsa).
        ct: HU, any grid.
    """
    organs = organs_of(ct, pet)
    liver = liver_sphere(pet, ct)
    found: dict[Name, Reference | Message] = {
        "liver": liver
        if isinstance(liver, Message)
        else _disease(liver, _on_grid(pet, organs)[organs.mask("liver")]) or liver,
        "blood_pool": _blood_pool(pet, ct, organs),
        "spleen": _sphere(pet, organs, organs.mask("spleen"), "spleen"),
        "marrow": _marrow(pet, ct, organs),
    }
    measured = {name: one for name, one in found.items() if isinstance(one, Reference)}
    return OrganReferences(
        liver=measured.get("liver"),
        blood_pool=measured.get("blood_pool"),
        spleen=measured.get("spleen"),
        marrow=measured.get("marrow"),
        reasons={name: one for name, one in found.items() if isinstance(one, Message)},
    )


def liver_sphere(pet: Volume, ct: Volume) -> Reference | Message:
    """The sphere in the right lobe, healthy or not; why there is none."""
    organs = organs_of(ct, pet)
    liver = organs.mask("liver")
    right = np.arange(liver.shape[2]) < anatomy_of(ct).middle[:, None] - voxels(25)
    return _sphere(pet, organs, liver & right[:, None, :], "liver")


def _on_grid(pet: Volume, organs: Organs) -> NDArray[np.float32]:
    return resample(pet, Grid.of(organs.labels), outside=0.0).array.astype(np.float32)


def _disease(reference: Reference, liver: NDArray[np.float32]) -> Message | None:
    """Why a liver is not normal: `liver` holds the SUV of its voxels."""
    low, high = _NORMAL_LIVER
    hot = float(np.mean(liver > _HOT * reference.suv_mean + 2 * reference.suv_sd))
    if hot > _DISEASED_SHARE:
        return Message(
            "{share:.0f} % of the liver is hotter than normal liver tissue: the blood pool is to be used.",
            share=100 * hot,
        )
    if not low <= reference.suv_mean <= high or reference.suv_sd > _MOST_VARIATION * reference.suv_mean:
        return Message(
            "Liver SUV {mean:.1f} ± {sd:.1f} is not that of a normal liver: the blood pool is to be used.",
            mean=reference.suv_mean,
            sd=reference.suv_sd,
        )
    return None


def _sphere(pet: Volume, organs: Organs, organ: Mask, name: Literal["liver", "spleen"]) -> Reference | Message:
    """The sphere within an organ whose SUV varies least, among those near the median of the organ, else the nearest."""
    radius, method = _SPHERES[name]
    width = 2 * voxels(radius) + 1
    box = box_of(organ)
    inside = eroded(np.pad(organ[box], 1), width)[1:-1, 1:-1, 1:-1]
    values = _on_grid(pet, organs)[box].astype(float)
    inside &= ndimage.minimum_filter(values, width) > 0  # reached by the PET
    if not inside.any():
        return Message("No place for a sphere of {mm:.0f} mm was found.", mm=2 * radius)
    mean = ndimage.uniform_filter(values, width)
    spread = ndimage.uniform_filter(values**2, width) - mean**2
    usual = np.median(values[eroded(organ[box], 3)])
    away = np.where(inside, np.abs(mean - usual), np.inf)
    spread[away > max(_USUAL * usual, away.min())] = np.inf
    best = np.array(np.unravel_index(spread.argmin(), spread.shape)) + [part.start for part in box]
    centre = organs.labels.to_mm(best.astype(float))
    return _measured(pet, centre, name, method, radius_mm=radius, half_mm=None)


def _measured(
    pet: Volume, centre: Point, name: Name, method: str, *, radius_mm: float, half_mm: float | None
) -> Reference:
    """Mean and SD over the voxels whose centres lie in a sphere, or in a cylinder along the head-foot axis."""
    reach = np.ceil(np.hypot(radius_mm, half_mm or radius_mm) / np.array(pet.spacing)[::-1]).astype(int) + 1
    middle = np.rint(pet.to_index(centre)).astype(int)
    ranges = [np.arange(max(m - r, 0), min(m + r + 1, n)) for m, r, n in zip(middle, reach, pet.shape, strict=True)]
    index = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
    away = pet.to_mm(index.astype(float)) - centre
    if half_mm is None:
        inside = np.linalg.norm(away, axis=1) <= radius_mm
    else:
        inside = (np.hypot(away[:, 0], away[:, 1]) <= radius_mm) & (np.abs(away[:, 2]) <= half_mm)
    return _reference(pet, index[inside], name, method)


def _reference(pet: Volume, index: NDArray[np.intp], name: Name, method: str) -> Reference:
    values = pet.array[tuple(index.T)].astype(float)
    x, y, z = pet.to_mm(index.mean(axis=0))
    return Reference(
        name=name,
        method=method,
        suv_mean=float(values.mean()),
        suv_sd=float(values.std()),
        volume_ml=len(values) * pet.voxel_ml,
        centroid_mm=(float(x), float(y), float(z)),
    )


def _blood_pool(pet: Volume, ct: Volume, organs: Organs) -> Reference | Message:
    """The 2 cm of the aorta above the diaphragm whose SUV varies least."""
    lungs = anatomy_of(ct).lung_slices
    aorta = organs.mask("aorta")
    levels = np.flatnonzero(aorta.any(axis=(1, 2)))
    if lungs is not None:
        levels = levels[levels >= lungs[0] + voxels(10)]
    if lungs is None or len(levels) < voxels(20):
        return Message("The descending thoracic aorta was not found.")
    centres = np.array([[level, *(axis.mean() for axis in np.nonzero(aorta[level]))] for level in levels])
    candidates = [
        _measured(pet, centre, "blood_pool", "cylinder_1x2cm_descending_aorta", radius_mm=_CYLINDER_RADIUS_MM,
                  half_mm=_CYLINDER_HALF_MM)
        for centre in organs.labels.to_mm(centres[voxels(10) : len(centres) - voxels(10) : 2])
        if _reached(pet, centre)
    ]  # fmt: skip
    if not candidates:
        return Message("The descending thoracic aorta was not found.")
    usual = float(np.median([one.suv_mean for one in candidates]))
    near = [one for one in candidates if abs(one.suv_mean - usual) <= _USUAL * usual]
    return min(near or candidates, key=lambda one: one.suv_sd)


def _reached(pet: Volume, centre: Point) -> bool:
    """Whether both ends of a cylinder lie in the PET."""
    ends = pet.to_index(centre + np.array([[0.0, 0.0, -_CYLINDER_HALF_MM], [0.0, 0.0, _CYLINDER_HALF_MM]]))
    return bool(((ends >= 0) & (ends <= np.array(pet.shape) - 1)).all())


def _marrow(pet: Volume, ct: Volume, organs: Organs) -> Reference | Message:
    """Vertebral bodies of the lower thoracic and lumbar spine, their border trimmed, without what is hot."""
    lungs = anatomy_of(ct).lung_slices
    core = eroded(organs.mask("marrow"), (3, 5, 5))
    if lungs is not None:
        low, high = (lungs[0] + voxels(mm) for mm in _MARROW_MM)
        core[: max(low, 0)] = False
        core[max(high, 0) :] = False
    if core.sum() * VOXEL_ML < _MARROW_ML:
        return Message("Less than {ml:.0f} ml of vertebral bodies was found.", ml=_MARROW_ML)
    points = organs.labels.to_mm(np.argwhere(core).astype(float))
    index = np.rint(pet.to_index(points)).astype(int)
    index = np.unique(index[((index >= 0) & (index < pet.shape)).all(axis=1)], axis=0)
    if not len(index):
        return Message("Less than {ml:.0f} ml of vertebral bodies was found.", ml=_MARROW_ML)
    values = pet.array[tuple(index.T)]
    return _reference(pet, index[values <= _HOT * np.median(values)], "marrow", "vertebral_bodies_trimmed")
