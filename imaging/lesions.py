"""Lesions and the quantities a nuclear physician reads from them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Lesion:
    """One connected lesion, measured on the PET grid. `id` is its value in the label volume."""

    id: int
    region: str  # stable identifier such as "lung_right", "unknown"
    centroid_mm: tuple[float, float, float]  # LPS
    suv_max: float
    suv_mean: float
    suv_median: float
    suv_min: float
    suv_peak: float
    mtv_ml: float
    tlg: float  # g: MTV x SUVmean


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
