"""Uptake of healthy organs, with which lesions are compared.

Liver and blood pool as PERCIST 1.0 defines them (Wahl 2009, J Nucl Med 50 Suppl 1:122S; Joo Hyun O 2016, Radiology
280:576): a sphere of 3 cm in the right lobe, and a cylinder of 1 cm by 2 cm in the descending thoracic aorta for a
diseased liver. Spleen and vertebral marrow relative to the liver are exploratory: spleen-to-liver (Wong 2020, Cancer
Imaging 20:36) and marrow-to-liver ratio (Nakamoto 2021, J Nucl Med 62:1380), both of SUVmean here; Seban 2020 (Eur J
Nucl Med Mol Imaging 47:2301) used SUVmax, whose cut-offs do not carry over.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import ndimage

from fedpet.core.errors import ArgumentError
from fedpet.core.messages import Message
from fedpet.imaging.anatomy.morphology import VOXEL_ML, bounding_box, erode, voxels
from fedpet.imaging.resampling import Grid, resample

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from fedpet.imaging.anatomy.body import BodySegmentation
    from fedpet.imaging.anatomy.morphology import Mask
    from fedpet.imaging.anatomy.organ_segmentation import OrganSegmentation
    from fedpet.imaging.volume import Point, Volume


ReferenceOrgan = Literal["liver", "blood_pool", "spleen", "marrow"]
_SPHERES = {"liver": (15.0, "sphere_3cm_right_lobe"), "spleen": (10.0, "sphere_2cm")}
PLACED_BY_READER = "sphere_3cm_by_reader"
_OUTSIDE_SHARE = 0.05  # of a placed sphere beyond the segmented liver, from which it is said
_SEEN_SHARE = 0.5  # of a placed sphere that the PET has to cover
_CYLINDER_RADIUS_MM, _CYLINDER_HALF_MM = 5.0, 10.0
_TYPICAL = 0.10  # relative difference from the median of the organ, or of all cylinders, within which a mean is typical
_DISEASED_SHARE, _HOT = 0.15, 1.5  # of a diseased liver: share of voxels above so many times the reference
_MAX_VARIATION = 0.35  # coefficient of variation in the sphere
_NORMAL_LIVER = 0.7, 6.0  # SUVmean
_MARROW_ML = 4.0  # least volume
_MARROW_MM = -160.0, 80.0  # above the diaphragm: from the lower thoracic to the lumbar spine


@dataclass(frozen=True)
class ReferenceUptake:
    """Uptake of a healthy organ.

    Attributes:
        name: the organ.
        method: stable identifier of where and how it was measured, such as "sphere_3cm_right_lobe".
        suv_mean: in the unit of the PET.
        suv_sd: standard deviation of the voxels.
        volume_ml: of the voxels measured.
        centroid_mm: of the voxels measured, LPS.
    """

    name: ReferenceOrgan
    method: str
    suv_mean: float
    suv_sd: float
    volume_ml: float
    centroid_mm: tuple[float, float, float]


@dataclass(frozen=True)
class OrganReferences:
    """Uptake of the healthy organs of a study.

    Attributes:
        liver: None where it is not healthy or was not found.
        blood_pool: of the descending thoracic aorta.
        spleen: exploratory.
        marrow: of the vertebral bodies, exploratory.
        reasons: why an organ is None, by its name.
        liver_remarks: of a sphere that a reader placed: that they did, and what speaks against its place.
    """

    liver: ReferenceUptake | None
    blood_pool: ReferenceUptake | None
    spleen: ReferenceUptake | None
    marrow: ReferenceUptake | None
    reasons: Mapping[ReferenceOrgan, Message]
    liver_remarks: tuple[Message, ...] = ()

    @property
    def marrow_to_liver(self) -> float | None:
        """Ratio of SUVmean, vertebral marrow to liver; exploratory."""
        return self.marrow.suv_mean / self.liver.suv_mean if self.marrow and self.liver else None

    @property
    def spleen_to_liver(self) -> float | None:
        """Ratio of SUVmean, spleen to liver; exploratory."""
        return self.spleen.suv_mean / self.liver.suv_mean if self.spleen and self.liver else None


def measure_reference_uptake(
    pet: Volume, body: BodySegmentation, organs: OrganSegmentation, marrow: Mask
) -> OrganReferences:
    """Measure healthy organs on the voxels of the PET, at sites chosen with the CT and away from lesions.

    Args:
        pet: SUV (bw, lean or bsa), any grid.
        body: of the CT.
        organs: of the same CT.
        marrow: vertebral bodies, shape of the organs.
    """
    suv = _on_organ_grid(pet, organs)
    liver = _liver_sphere(pet, suv, body, organs)
    measured: dict[ReferenceOrgan, ReferenceUptake | Message] = {
        "liver": liver if isinstance(liver, Message) else _reason_abnormal(liver, suv[organs.mask("liver")]) or liver,
        "blood_pool": _measure_blood_pool(pet, body, organs),
        "spleen": _measure_sphere(pet, suv, organs, organs.mask("spleen"), "spleen"),
        "marrow": _measure_marrow(pet, body, organs, marrow),
    }
    available = {name: one for name, one in measured.items() if isinstance(one, ReferenceUptake)}
    return OrganReferences(
        liver=available.get("liver"),
        blood_pool=available.get("blood_pool"),
        spleen=available.get("spleen"),
        marrow=available.get("marrow"),
        reasons={name: one for name, one in measured.items() if isinstance(one, Message)},
    )


def liver_sphere(pet: Volume, body: BodySegmentation, organs: OrganSegmentation) -> ReferenceUptake | Message:
    """Measure the sphere of 3 cm in the right lobe of the liver, whether the liver is healthy or not.

    Args:
        pet: SUV, any grid.
        body: of the CT.
        organs: of the same CT.

    Returns:
        The uptake, or why no sphere could be placed.
    """
    return _liver_sphere(pet, _on_organ_grid(pet, organs), body, organs)


def place_liver_sphere(
    found: OrganReferences, pet: Volume, organs: OrganSegmentation, centre_mm: tuple[float, float, float]
) -> OrganReferences:
    """The references with the sphere of 3 cm where a reader placed it, and what speaks against its place.

    Args:
        found: as measured without a reader.
        pet: SUV, any grid.
        organs: on any grid.
        centre_mm: of the sphere, LPS.

    Raises:
        ArgumentError: less than half of the sphere lies in the PET.
    """
    centre, radius = np.array(centre_mm), _SPHERES["liver"][0]
    inside = _voxels_around(pet, centre, radius_mm=radius, half_mm=None)
    if len(inside) * pet.voxel_ml < _SEEN_SHARE * 4 / 3 * np.pi * (radius / 10) ** 3:
        raise ArgumentError(
            found=Message("The sphere of the liver lies outside of the PET."),
            needed=Message("A sphere of {mm:.0f} mm in the images.", mm=2 * radius),
            advice=Message("Place it in healthy liver."),
        )
    placed = _reference_from(pet, inside, "liver", PLACED_BY_READER)
    liver = organs.mask("liver")
    covered = liver[tuple(_voxels_around(organs.labels, centre, radius_mm=radius, half_mm=None).T)]
    outside = 1.0 - float(covered.mean()) if covered.size else 1.0
    remarks = [_who_placed(found)]
    if outside > _OUTSIDE_SHARE:
        words = Message(
            "{share:.0f} % of the sphere lies outside of the liver as it was segmented.", share=100 * outside
        )
        remarks.append(words)
    elif abnormal := _reason_abnormal(placed, _on_organ_grid(pet, organs)[liver]):
        remarks.append(abnormal)
    return replace(
        found,
        liver=placed,
        reasons={name: reason for name, reason in found.reasons.items() if name != "liver"},
        liver_remarks=tuple(remarks),
    )


def _who_placed(found: OrganReferences) -> Message:
    if found.liver is None:
        return Message("Placed by the reader; without one: {reason}", reason=found.reasons["liver"])
    values = {"mean": found.liver.suv_mean, "sd": found.liver.suv_sd}
    return Message(
        "Placed by the reader; the program's own sphere, of which the checks speak: {mean:.1f} ± {sd:.1f}.", **values
    )


def remark_on_lesions(references: OrganReferences, pet: Volume, lesions: Volume) -> OrganReferences:
    """The references, with a remark where a sphere that a reader placed covers a lesion.

    Args:
        references: as measured on `pet`.
        pet: SUV, any grid.
        lesions: their numbers on the grid of the PET, 0 is background.
    """
    liver = references.liver
    if liver is None or liver.method != PLACED_BY_READER:
        return references
    voxels_in = _voxels_around(pet, np.array(liver.centroid_mm), radius_mm=_SPHERES["liver"][0], half_mm=None)
    ml = np.count_nonzero(lesions.array[tuple(voxels_in.T)]) * pet.voxel_ml
    if not ml:
        return references
    remark = Message("The sphere covers {ml:.1f} ml of lesions, which are no healthy tissue.", ml=ml)
    return replace(references, liver_remarks=(*references.liver_remarks, remark))


def _liver_sphere(
    pet: Volume, suv: NDArray[np.float32], body: BodySegmentation, organs: OrganSegmentation
) -> ReferenceUptake | Message:
    liver = organs.mask("liver")
    right = np.arange(liver.shape[2]) < body.midline[:, None] - voxels(25)
    return _measure_sphere(pet, suv, organs, liver & right[:, None, :], "liver")


def _on_organ_grid(pet: Volume, organs: OrganSegmentation) -> NDArray[np.float32]:
    """The PET on the grid of the organs, 0 outside."""
    return resample(pet, Grid.of(organs.labels), outside=0.0).array.astype(np.float32)


def _reason_abnormal(reference: ReferenceUptake, liver: NDArray[np.float32]) -> Message | None:
    """Why a liver is not normal, None where it is; `liver` holds the SUV of its voxels."""
    low, high = _NORMAL_LIVER
    hot = float(np.mean(liver > _HOT * reference.suv_mean + 2 * reference.suv_sd))
    if hot > _DISEASED_SHARE:
        return Message(
            "{share:.0f} % of the liver is hotter than normal liver tissue: the blood pool is to be used.",
            share=100 * hot,
        )
    if not low <= reference.suv_mean <= high or reference.suv_sd > _MAX_VARIATION * reference.suv_mean:
        return Message(
            "Liver SUV {mean:.1f} ± {sd:.1f} is not that of a normal liver: the blood pool is to be used.",
            mean=reference.suv_mean,
            sd=reference.suv_sd,
        )
    return None


def _measure_sphere(
    pet: Volume, suv: NDArray[np.float32], organs: OrganSegmentation, organ: Mask, name: Literal["liver", "spleen"]
) -> ReferenceUptake | Message:
    """Measure the most uniform sphere among those near the median of the organ, else the sphere nearest to it."""
    radius, method = _SPHERES[name]
    width = 2 * voxels(radius) + 1
    box = bounding_box(organ)
    inside = erode(np.pad(organ[box], 1), width)[1:-1, 1:-1, 1:-1]
    values = suv[box].astype(float)
    inside &= ndimage.minimum_filter(values, width) > 0  # reached by the PET
    if not inside.any():
        return Message("No place for a sphere of {mm:.0f} mm was found.", mm=2 * radius)
    mean = ndimage.uniform_filter(values, width)
    spread = ndimage.uniform_filter(values**2, width) - mean**2
    median = np.median(values[erode(organ[box], 3)])
    offset = np.where(inside, np.abs(mean - median), np.inf)
    spread[offset > max(_TYPICAL * median, offset.min())] = np.inf
    best = np.array(np.unravel_index(spread.argmin(), spread.shape)) + [part.start for part in box]
    centre = organs.labels.to_mm(best.astype(float))
    return _measure_around(pet, centre, name, method, radius_mm=radius, half_mm=None)


def _measure_around(
    pet: Volume, centre: Point, name: ReferenceOrgan, method: str, *, radius_mm: float, half_mm: float | None
) -> ReferenceUptake:
    """Mean and SD over the voxels whose centres lie in a sphere, or in a cylinder along the head-foot axis."""
    return _reference_from(pet, _voxels_around(pet, centre, radius_mm=radius_mm, half_mm=half_mm), name, method)


def _voxels_around(pet: Volume, centre: Point, *, radius_mm: float, half_mm: float | None) -> NDArray[np.intp]:
    """(n, 3) indices of the voxels whose centres lie in a sphere, or in a cylinder along the head-foot axis."""
    reach = np.ceil(np.hypot(radius_mm, half_mm or radius_mm) / np.array(pet.spacing)[::-1]).astype(int) + 1
    middle = np.rint(pet.to_index(centre)).astype(int)
    ranges = [np.arange(max(m - r, 0), min(m + r + 1, n)) for m, r, n in zip(middle, reach, pet.shape, strict=True)]
    index = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
    offset = pet.to_mm(index.astype(float)) - centre
    if half_mm is None:
        inside = np.linalg.norm(offset, axis=1) <= radius_mm
    else:
        inside = (np.hypot(offset[:, 0], offset[:, 1]) <= radius_mm) & (np.abs(offset[:, 2]) <= half_mm)
    return np.asarray(index[inside])


def _reference_from(pet: Volume, index: NDArray[np.intp], name: ReferenceOrgan, method: str) -> ReferenceUptake:
    values = pet.array[tuple(index.T)].astype(float)
    x, y, z = pet.to_mm(index.mean(axis=0))
    return ReferenceUptake(
        name=name,
        method=method,
        suv_mean=float(values.mean()),
        suv_sd=float(values.std()),
        volume_ml=len(values) * pet.voxel_ml,
        centroid_mm=(float(x), float(y), float(z)),
    )


def _measure_blood_pool(pet: Volume, body: BodySegmentation, organs: OrganSegmentation) -> ReferenceUptake | Message:
    """Measure the most uniform 2 cm of the aorta above the diaphragm."""
    lungs = body.lung_slices
    aorta = organs.mask("aorta")
    levels = np.flatnonzero(aorta.any(axis=(1, 2)))
    if lungs is not None:
        levels = levels[levels >= lungs[0] + voxels(10)]
    if lungs is None or len(levels) < voxels(20):
        return Message("The descending thoracic aorta was not found.")
    centres = np.array([[level, *(axis.mean() for axis in np.nonzero(aorta[level]))] for level in levels])
    candidates = [
        _measure_around(pet, centre, "blood_pool", "cylinder_1x2cm_descending_aorta", radius_mm=_CYLINDER_RADIUS_MM,
                  half_mm=_CYLINDER_HALF_MM)
        for centre in organs.labels.to_mm(centres[voxels(10) : len(centres) - voxels(10) : 2])
        if _covers_cylinder(pet, centre)
    ]  # fmt: skip
    if not candidates:
        return Message("The descending thoracic aorta was not found.")
    median = float(np.median([one.suv_mean for one in candidates]))
    typical = [one for one in candidates if abs(one.suv_mean - median) <= _TYPICAL * median]
    return min(typical or candidates, key=lambda one: one.suv_sd)


def _covers_cylinder(pet: Volume, centre: Point) -> bool:
    """Whether both ends of a cylinder lie within the PET."""
    ends = pet.to_index(centre + np.array([[0.0, 0.0, -_CYLINDER_HALF_MM], [0.0, 0.0, _CYLINDER_HALF_MM]]))
    return bool(((ends >= 0) & (ends <= np.array(pet.shape) - 1)).all())


def _measure_marrow(
    pet: Volume, body: BodySegmentation, organs: OrganSegmentation, marrow: Mask
) -> ReferenceUptake | Message:
    """Measure the vertebral bodies of the lower thoracic and lumbar spine without their border and without lesions."""
    index = marrow_voxels(pet, body, organs, marrow)
    if not len(index):
        return Message("Less than {ml:.0f} ml of vertebral bodies was found.", ml=_MARROW_ML)
    return _reference_from(pet, index, "marrow", "vertebral_bodies_trimmed")


def marrow_voxels(pet: Volume, body: BodySegmentation, organs: OrganSegmentation, marrow: Mask) -> NDArray[np.intp]:
    """(n, 3) indices of the PET on which the marrow is measured; none where there are too few."""
    none = np.empty((0, 3), np.intp)
    lungs = body.lung_slices
    core = erode(marrow, (3, 5, 5))
    if lungs is not None:
        low, high = (lungs[0] + voxels(mm) for mm in _MARROW_MM)
        core[: max(low, 0)] = False
        core[max(high, 0) :] = False
    if core.sum() * VOXEL_ML < _MARROW_ML:
        return none
    points = organs.labels.to_mm(np.argwhere(core).astype(float))
    index = np.rint(pet.to_index(points)).astype(int)
    index = np.unique(index[((index >= 0) & (index < pet.shape)).all(axis=1)], axis=0)
    if not len(index):
        return none
    values = pet.array[tuple(index.T)]
    return np.asarray(index[values <= _HOT * np.median(values)])


def measured_voxels(pet: Volume, reference: ReferenceUptake) -> NDArray[np.intp]:
    """(n, 3) indices of the PET in the sphere or cylinder around the centre of what was measured, the marrow aside."""
    sphere = _SPHERES.get(reference.name)
    radius, half = (_CYLINDER_RADIUS_MM, _CYLINDER_HALF_MM) if sphere is None else (sphere[0], None)
    return _voxels_around(pet, np.array(reference.centroid_mm), radius_mm=radius, half_mm=half)
