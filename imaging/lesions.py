"""Lesions and the quantities a nuclear physician reads from them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Lesion:
    """One lesion, measured on the PET grid. `id` is its value in the label volume.

    Attributes:
        region: stable identifier such as "lung_right", "unknown".
        centroid_mm: LPS.
        suv_peak: highest mean over a 1 cm3 sphere centred on any voxel of the lesion (IBSI 0F91), voxels counted by
            their centres.
        suv_peak_local: the same mean around the hottest voxel (IBSI VJGA).
        suv_peak_partial: as `suv_peak`, each voxel weighted by its share of the sphere.
        tlg: MTV x SUVmean, g.
        mtv_41pct_ml, mtv_suv4_ml: the part of the lesion of at least 41 % of its SUVmax, or of SUV 4.
    """

    id: int
    region: str
    centroid_mm: tuple[float, float, float]
    suv_max: float
    suv_mean: float
    suv_median: float
    suv_min: float
    suv_peak: float
    suv_peak_local: float
    suv_peak_partial: float
    mtv_ml: float
    mtv_41pct_ml: float
    mtv_suv4_ml: float
    tlg: float


@dataclass(frozen=True)
class Quantities:
    """All lesions of one delineation. `method` names how the lesions were delineated."""

    method: str
    lesions: tuple[Lesion, ...]
    tmtv_ml: float
    tlg: float
    suv_max: float
    suv_peak: float
    dmax_mm: float  # largest distance between two lesion centroids; 0 for fewer than two
