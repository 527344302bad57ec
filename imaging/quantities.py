"""What a nuclear physician reads from lesions: SUVmax, SUVpeak, MTV, TLG, TMTV, Dmax.

Volumes are voxel counts, TLG is the sum over lesions of MTV x SUVmean, Dmax the largest distance between two lesion
centroids. SUVpeak is the mean over a sphere of 1 cm3 (r = 6.2 mm), whether or not its voxels belong to the lesion:
`imaging.peak` says which of its definitions is which.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.distance import pdist

from imaging.lesions import Lesion, Quantities
from imaging.peak import shared_voxels, sphere_means, whole_voxels
from imaging.regions import lesion_regions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imaging.peak import Kernel
    from imaging.volume import Volume


def quantify(pet: Volume, labels: Volume, *, method: str, ct: Volume | None = None) -> Quantities:
    """Measure every lesion of a delineation.

    Args:
        pet: SUVbw, g/ml.
        labels: 0 background, lesion numbers otherwise, on the PET grid.
        method: how the lesions were delineated; thresholds are not transferable between methods.
        ct: HU, any grid; without it each region is "unknown".

    Raises:
        ValueError: the labels are not on the PET grid.
    """
    if labels.shape != pet.shape or not np.allclose(labels.affine, pet.affine, atol=1e-3):
        raise ValueError(f"labels {labels.shape} must lie on the grid of the PET {pet.shape}")
    index = np.argwhere(labels.array)
    numbers = labels.array[tuple(index.T)]
    order = np.argsort(numbers, kind="stable")
    ids, starts = np.unique(numbers[order], return_index=True)
    regions = lesion_regions(labels, ct, pet)
    kernels = whole_voxels(pet.affine), shared_voxels(pet.affine)
    lesions = tuple(
        _lesion(int(number), pet, part, kernels, regions[int(number)])
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


def _lesion(number: int, pet: Volume, index: NDArray[np.intp], kernels: tuple[Kernel, Kernel], region: str) -> Lesion:
    """Quantities of the voxels `index` (n, 3); `kernels` take whole voxels and their shares of the sphere."""
    suv = pet.array[tuple(index.T)].astype(np.float64)
    x, y, z = pet.to_mm(index.mean(axis=0))
    volume = len(suv) * pet.voxel_ml
    hottest, mean = float(suv.max()), float(suv.mean())
    peaks, shared = (sphere_means(pet, index, kernel) for kernel in kernels)
    return Lesion(
        id=number,
        region=region,
        centroid_mm=(float(x), float(y), float(z)),
        suv_max=hottest,
        suv_mean=mean,
        suv_median=float(np.median(suv)),
        suv_min=float(suv.min()),
        suv_peak=float(peaks.max()),
        suv_peak_local=float(peaks[np.argmax(suv)]),
        suv_peak_partial=float(shared.max()),
        mtv_ml=volume,
        mtv_41pct_ml=float((suv >= 0.41 * hottest).sum()) * pet.voxel_ml,
        mtv_suv4_ml=float((suv >= 4.0).sum()) * pet.voxel_ml,
        tlg=volume * mean,
    )
