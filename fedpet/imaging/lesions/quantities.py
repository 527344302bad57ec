"""Quantities of lesions: SUVmax, SUVpeak, MTV, TLG, TMTV, Dmax.

A volume is a number of voxels times the volume of a voxel, TLG the sum over lesions of MTV x SUVmean, Dmax the largest
distance between two lesion centroids. SUVpeak is the mean over a sphere of 1 cm3 (r = 6.2 mm), whether or not its
voxels belong to the lesion; for its definitions see `fedpet.imaging.lesions.suv_peak`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.distance import pdist

from fedpet.core.errors import ArgumentError
from fedpet.core.messages import Message
from fedpet.imaging.anatomy.finer_places import finer_place
from fedpet.imaging.anatomy.regions import locate_lesions
from fedpet.imaging.lesions.lesion import Lesion, Quantities
from fedpet.imaging.lesions.suv_peak import binary_sphere_kernel, fractional_sphere_kernel, sphere_means

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy
    from fedpet.imaging.lesions.suv_peak import Kernel
    from fedpet.imaging.volume import Volume


def quantify(pet: Volume, labels: Volume, *, method: str, anatomy: PatientAnatomy | None = None) -> Quantities:
    """Measure every lesion of a delineation.

    Args:
        pet: SUV of any normalisation.
        labels: 0 background, lesion numbers otherwise, on the PET grid.
        method: how the lesions were delineated; thresholds are not transferable between methods.
        anatomy: of the patient; without it each region is "unknown".

    Returns:
        Lesions in the order of their numbers, and their totals.

    Raises:
        ArgumentError: the labels are not on the PET grid.
    """
    if not labels.on_grid_of(pet):
        raise ArgumentError(
            found=Message(
                "The lesions are on another grid than the PET: {labels} and {pet} voxels{where}.",
                labels=" x ".join(map(str, labels.shape)),
                pet=" x ".join(map(str, pet.shape)),
                where=Message(", at other positions") if labels.shape == pet.shape else "",
            ),
            needed=Message("A label volume on the grid of the PET."),
            advice=Message("Read the mask with fedpet.imaging.lesions.masks.read_mask, which brings it onto the PET."),
        )
    index = np.argwhere(labels.array)
    numbers = labels.array[tuple(index.T)]
    order = np.argsort(numbers, kind="stable")
    ids, starts = np.unique(numbers[order], return_index=True)
    regions = locate_lesions(labels, anatomy)
    kernels = binary_sphere_kernel(pet.affine), fractional_sphere_kernel(pet.affine)
    lesions = tuple(
        placed(_lesion(int(number), pet, part, kernels, regions[int(number)]), anatomy)
        for number, part in zip(ids, np.split(index[order], starts)[1:], strict=True)
    )
    return Quantities(
        method=method,
        lesions=lesions,
        tmtv_ml=sum(lesion.mtv_ml for lesion in lesions),
        tlg=sum(lesion.tlg for lesion in lesions),
        suv_max=max((lesion.suv_max for lesion in lesions), default=0.0),
        suv_peak=max((lesion.suv_peak for lesion in lesions), default=0.0),
        dmax_mm=float(pdist([lesion.centroid_mm for lesion in lesions]).max()) if len(lesions) > 1 else 0.0,
    )


def placed(lesion: Lesion, anatomy: PatientAnatomy | None) -> Lesion:
    """The lesion with the vertebra or the station of its region and centroid."""
    finer = finer_place(lesion.region, lesion.centroid_mm, anatomy)
    return replace(lesion, vertebra=finer.vertebra, station=finer.station)


def _lesion(number: int, pet: Volume, index: NDArray[np.intp], kernels: tuple[Kernel, Kernel], region: str) -> Lesion:
    """Quantities of the voxels `index` (n, 3); `kernels` weight voxels by their centres and by their shares."""
    suv = pet.array[tuple(index.T)].astype(np.float64)
    x, y, z = pet.to_mm(index.mean(axis=0))
    volume = len(suv) * pet.voxel_ml
    suv_max, suv_mean = float(suv.max()), float(suv.mean())
    peaks, weighted_peaks = (sphere_means(pet, index, kernel) for kernel in kernels)
    return Lesion(
        id=number,
        region=region,
        centroid_mm=(float(x), float(y), float(z)),
        suv_max=suv_max,
        suv_mean=suv_mean,
        suv_median=float(np.median(suv)),
        suv_min=float(suv.min()),
        suv_peak=float(peaks.max()),
        suv_peak_local=float(peaks[np.argmax(suv)]),
        suv_peak_partial=float(weighted_peaks.max()),
        mtv_ml=volume,
        mtv_41pct_ml=float((suv >= 0.41 * suv_max).sum()) * pet.voxel_ml,
        mtv_suv4_ml=float((suv >= 4.0).sum()) * pet.voxel_ml,
        tlg=volume * suv_mean,
    )


def main_point(pet: Volume, labels: Volume, quantities: Quantities) -> tuple[float, float, float]:
    """Where to look first: the voxel of highest uptake of the largest lesion; of equal ones that nearest its centroid.

    Args:
        pet: as measured; its middle is taken where there is no lesion.
        labels: on the PET grid, as measured.
        quantities: of `labels`.

    Returns:
        LPS mm.
    """
    largest = quantities.largest
    if largest is None:
        return pet.centre
    index = np.argwhere(labels.array == largest.id)
    uptake = pet.array[tuple(index.T)]
    voxels = labels.to_mm(index[uptake == uptake.max()].astype(float))
    x, y, z = voxels[np.linalg.norm(voxels - largest.centroid_mm, axis=1).argmin()]
    return float(x), float(y), float(z)
