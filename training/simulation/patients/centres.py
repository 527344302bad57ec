"""The eight synthetic centres: different scanners, protocols, laboratories, case mix and missing data.

They are deliberately not identically distributed. `cases` is their share of a cohort of 1,150 patients; names, vendors
and models only say which dialect of DICOM and which order of image quality a centre imitates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Vendor = Literal["SIEMENS", "GE MEDICAL SYSTEMS", "Philips Medical Systems"]
SIEMENS: Vendor = "SIEMENS"
GE: Vendor = "GE MEDICAL SYSTEMS"
PHILIPS: Vendor = "Philips Medical Systems"


@dataclass(frozen=True, kw_only=True)
class PetProtocol:
    """How a centre acquires and writes its PET."""

    voxel_mm: tuple[float, float, float]  # column, row, slice
    psf_mm: float  # FWHM of the reconstructed image
    noise: float  # relative to the reference scanner (1)
    mbq_per_kg: float
    uptake_min: float  # mean of the centre
    bed_s: float  # duration of one bed position
    calibration: float  # systematic factor on SUV
    units: Literal["BQML", "GML"]
    decay: Literal["START", "ADMIN"]


@dataclass(frozen=True, kw_only=True)
class CtProtocol:
    """How a centre acquires its CT."""

    kernel: str
    sharpness_mm: float  # in-plane FWHM of the kernel
    noise_hu: float
    contrast_share: float  # probability of an iodine injection


@dataclass(frozen=True, kw_only=True)
class CaseMix:
    """How a centre's patients differ from the population: shifts of the latent variables and of the hazard."""

    burden: float = 0.0  # SD of the burden latent
    ecog: float = 0.0  # SD of the performance latent
    log_hazard: float = 0.0  # not explained by any variable
    second_line: float = 0.3  # probability of line 2
    arms_up: float = 0.9  # probability


@dataclass(frozen=True, kw_only=True)
class SimulatedCentre:
    """One centre."""

    code: str
    name: str
    cases: int
    vendor: Vendor
    model: str
    pet: PetProtocol
    ct: CtProtocol
    mix: CaseMix
    ldh_uln: float  # U/L, upper limit of the centre's laboratory
    missing: Mapping[str, float]  # probability of a missing value, by variable of the clinical record


def _missing(pdl1: float, ldh: float, albumin: float, counts: float, other: float) -> dict[str, float]:
    """Probabilities of a missing value; `counts` is the whole differential blood count."""
    shared = dict.fromkeys(("pack_years", "crp", "haemoglobin", "platelets", "glycaemia_mmol_l"), other)
    flags = dict.fromkeys(("antibiotics", "steroids", "smoking"), other / 4)
    return {"pdl1_tps": pdl1, "ldh": ldh, "albumin": albumin, "neutrophils": counts} | shared | flags


SITES: tuple[SimulatedCentre, ...] = (
    SimulatedCentre(
        code="S1",
        name="Centre Azur",
        cases=310,
        vendor=SIEMENS,
        model="Biograph Vision 600",
        ldh_uln=250.0,
        pet=PetProtocol(
            voxel_mm=(3.3, 3.3, 3.0),
            psf_mm=4.5,
            noise=0.8,
            mbq_per_kg=3.0,
            uptake_min=60,
            bed_s=120,
            calibration=1.0,
            units="BQML",
            decay="START",
        ),
        ct=CtProtocol(kernel="Br40", sharpness_mm=1.5, noise_hu=10, contrast_share=0.10),
        mix=CaseMix(second_line=0.30, arms_up=0.95),
        missing=_missing(0.06, 0.08, 0.15, 0.05, 0.05),
    ),
    SimulatedCentre(
        code="S2",
        name="Centre Boreal",
        cases=240,
        vendor=GE,
        model="Discovery MI",
        ldh_uln=245.0,
        pet=PetProtocol(
            voxel_mm=(2.73, 2.73, 2.79),
            psf_mm=5.0,
            noise=0.9,
            mbq_per_kg=3.5,
            uptake_min=60,
            bed_s=120,
            calibration=1.02,
            units="BQML",
            decay="START",
        ),
        ct=CtProtocol(kernel="STANDARD", sharpness_mm=1.6, noise_hu=11, contrast_share=0.15),
        mix=CaseMix(burden=-0.10, ecog=-0.10, log_hazard=-0.10, second_line=0.35, arms_up=0.95),
        missing=_missing(0.08, 0.10, 0.20, 0.05, 0.08),
    ),
    SimulatedCentre(
        code="S3",
        name="Centre Cedre",
        cases=180,
        vendor=PHILIPS,
        model="Vereos PET/CT",
        ldh_uln=225.0,
        pet=PetProtocol(
            voxel_mm=(4.0, 4.0, 4.0),
            psf_mm=5.5,
            noise=1.0,
            mbq_per_kg=3.0,
            uptake_min=65,
            bed_s=150,
            calibration=0.97,
            units="GML",
            decay="START",
        ),
        ct=CtProtocol(kernel="B", sharpness_mm=1.8, noise_hu=12, contrast_share=0.05),
        mix=CaseMix(burden=0.10, ecog=0.05, log_hazard=0.05, second_line=0.30, arms_up=0.90),
        missing=_missing(0.12, 0.30, 0.25, 0.08, 0.10),
    ),
    SimulatedCentre(
        code="S4",
        name="Centre Dune",
        cases=140,
        vendor=SIEMENS,
        model="Biograph mCT 40",
        ldh_uln=250.0,
        pet=PetProtocol(
            voxel_mm=(4.07, 4.07, 3.0),
            psf_mm=5.5,
            noise=1.1,
            mbq_per_kg=3.5,
            uptake_min=75,
            bed_s=150,
            calibration=1.04,
            units="BQML",
            decay="START",
        ),
        ct=CtProtocol(kernel="B30f", sharpness_mm=1.8, noise_hu=12, contrast_share=0.0),
        mix=CaseMix(burden=0.20, ecog=0.10, log_hazard=0.10, second_line=0.45, arms_up=0.90),
        missing=_missing(0.15, 0.15, 0.30, 0.05, 0.12),
    ),
    SimulatedCentre(
        code="S5",
        name="Centre Estuaire",
        cases=110,
        vendor=GE,
        model="Discovery 690",
        ldh_uln=480.0,
        pet=PetProtocol(
            voxel_mm=(3.65, 3.65, 3.27),
            psf_mm=6.0,
            noise=1.2,
            mbq_per_kg=3.7,
            uptake_min=60,
            bed_s=150,
            calibration=0.96,
            units="BQML",
            decay="ADMIN",
        ),
        ct=CtProtocol(kernel="STANDARD", sharpness_mm=2.0, noise_hu=13, contrast_share=0.30),
        mix=CaseMix(burden=0.30, ecog=0.30, log_hazard=0.20, second_line=0.25, arms_up=0.85),
        missing=_missing(0.20, 0.20, 0.40, 0.10, 0.15),
    ),
    SimulatedCentre(
        code="S6",
        name="Centre Falaise",
        cases=80,
        vendor=SIEMENS,
        model="Biograph 6 TruePoint",
        ldh_uln=248.0,
        pet=PetProtocol(
            voxel_mm=(4.07, 4.07, 5.0),
            psf_mm=6.8,
            noise=1.5,
            mbq_per_kg=4.0,
            uptake_min=60,
            bed_s=180,
            calibration=1.05,
            units="BQML",
            decay="START",
        ),
        ct=CtProtocol(kernel="B31s", sharpness_mm=2.2, noise_hu=14, contrast_share=0.0),
        mix=CaseMix(log_hazard=-0.15, second_line=0.55, arms_up=0.80),
        missing=_missing(0.30, 0.10, 0.20, 0.10, 0.15),
    ),
    SimulatedCentre(
        code="S7",
        name="Centre Garrigue",
        cases=55,
        vendor=PHILIPS,
        model="GEMINI TF TOF 16",
        ldh_uln=240.0,
        pet=PetProtocol(
            voxel_mm=(4.0, 4.0, 4.0),
            psf_mm=7.0,
            noise=1.6,
            mbq_per_kg=4.0,
            uptake_min=90,
            bed_s=120,
            calibration=0.92,
            units="GML",
            decay="START",
        ),
        ct=CtProtocol(kernel="B", sharpness_mm=2.2, noise_hu=15, contrast_share=0.0),
        mix=CaseMix(burden=-0.30, ecog=-0.20, second_line=0.50, arms_up=0.70),
        missing=_missing(0.45, 0.60, 0.50, 0.15, 0.30),
    ),
    SimulatedCentre(
        code="S8",
        name="Centre Havre",
        cases=35,
        vendor=GE,
        model="Discovery ST",
        ldh_uln=225.0,
        pet=PetProtocol(
            voxel_mm=(5.47, 5.47, 3.27),
            psf_mm=7.5,
            noise=1.9,
            mbq_per_kg=5.0,
            uptake_min=70,
            bed_s=180,
            calibration=1.08,
            units="BQML",
            decay="START",
        ),
        ct=CtProtocol(kernel="STANDARD", sharpness_mm=2.4, noise_hu=16, contrast_share=0.0),
        mix=CaseMix(burden=0.40, ecog=0.40, log_hazard=0.25, second_line=0.60, arms_up=0.60),
        missing=_missing(0.35, 0.40, 0.60, 0.20, 0.30),
    ),
)
