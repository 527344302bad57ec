"""What a nuclear physician reads from lesions: SUVmax, SUVpeak, MTV, TLG, TMTV, Dmax.

Volumes are voxel counts, TLG is the sum over lesions of MTV x SUVmean, Dmax the largest distance between two lesion
centroids. SUVpeak is IBSI's global intensity peak (0F91): the highest mean over the voxels whose centres lie in a
sphere of 1 cm3 centred on any voxel of the lesion, whether or not they belong to it. Weighting border voxels by
their share of the sphere instead lowers it by 2 to 7 % on 5 mm voxels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.distance import pdist

from imaging.lesions import Lesion, Quantities
from imaging.regions import lesion_regions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imaging.volume import Affine, Volume

_PEAK_RADIUS_MM = (3000.0 / (4.0 * np.pi)) ** (1 / 3)  # 6.2035 mm: a sphere of 1 cm3


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
    index, numbers = index[order], numbers[order]
    suv = pet.array[tuple(index.T)].astype(np.float64)
    peak = _sphere_means(pet, index)
    regions = lesion_regions(labels, ct)
    ids, starts = np.unique(numbers, return_index=True)
    lesions = tuple(
        _lesion(int(number), pet, index[part], suv[part], float(peak[part].max()), regions[int(number)])
        for number, part in zip(ids, _parts(starts, len(numbers)), strict=True)
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


def _parts(starts: NDArray[np.intp], total: int) -> list[slice]:
    return [slice(int(a), int(b)) for a, b in zip(starts, [*starts, total][1:], strict=True)]


def _lesion(
    number: int, pet: Volume, index: NDArray[np.intp], suv: NDArray[np.float64], peak: float, region: str
) -> Lesion:
    x, y, z = pet.to_mm(index.mean(axis=0))
    volume = len(suv) * pet.voxel_ml
    mean = float(suv.mean())
    return Lesion(
        id=number,
        region=region,
        centroid_mm=(float(x), float(y), float(z)),
        suv_max=float(suv.max()),
        suv_mean=mean,
        suv_median=float(np.median(suv)),
        suv_min=float(suv.min()),
        suv_peak=peak,
        mtv_ml=volume,
        tlg=volume * mean,
    )


def _sphere_means(pet: Volume, index: NDArray[np.intp]) -> NDArray[np.float64]:
    """Mean SUV over the 1 cm3 sphere around each voxel of `index` (n, 3); outside the image its border continues."""
    offsets = _sphere(pet.affine)
    last = np.array(pet.shape) - 1
    total = np.zeros(len(index))
    for offset in offsets:
        total += pet.array[tuple(np.clip(index + offset, 0, last).T)]
    return total / len(offsets)


def _sphere(affine: Affine) -> NDArray[np.intp]:
    """Offsets (n, 3) in (slice, row, column) of the voxels whose centres lie in a centred sphere of 1 cm3."""
    axes = affine[:3, :3][:, ::-1]  # mm per step of (slice, row, column)
    reach = np.floor(_PEAK_RADIUS_MM * np.linalg.norm(np.linalg.inv(axes), axis=1)).astype(int)
    offsets = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in reach], indexing="ij"), -1).reshape(-1, 3)
    inside: NDArray[np.intp] = offsets[np.linalg.norm(offsets @ axes.T, axis=1) <= _PEAK_RADIUS_MM]
    return inside
