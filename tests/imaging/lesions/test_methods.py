"""Every way to outline a lesion, on blurred and noisy spheres of known volume as in the NEMA NU 2 body phantom."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy
from fedpet.imaging.anatomy.reference_uptake import OrganReferences, ReferenceUptake
from fedpet.imaging.lesions.delineation import delineate
from fedpet.imaging.volume import Volume

DIAMETERS_MM = (17.0, 22.0, 28.0, 37.0)  # of the four larger spheres of the phantom
FINE, STEP, FWHM = 2.0, 4.0, 7.0
BACKGROUND, UPTAKE = 1.0, 8.0
SHAPE = (30, 30, 100)  # voxels of 4 mm
FIRST_MM = 52.0


def true_ml(diameter):
    return np.pi / 6 * diameter**3 / 1000


@pytest.fixture(scope="module")
def spheres():
    """PET and CT of a block of water with four hot spheres in a row; noise of 5 %."""
    z, y, x = (np.arange(2 * n) * FINE for n in SHAPE)
    suv = np.full((len(z), len(y), len(x)), BACKGROUND)
    for number, diameter in enumerate(DIAMETERS_MM):
        away = (z[:, None, None] - 60) ** 2 + (y[:, None] - 60) ** 2 + (x - FIRST_MM - 98 * number) ** 2
        suv[away <= (diameter / 2) ** 2] = UPTAKE
    suv = ndimage.gaussian_filter(suv, FWHM / 2.3548 / FINE)
    suv = suv.reshape(SHAPE[0], 2, SHAPE[1], 2, SHAPE[2], 2).mean(axis=(1, 3, 5))
    suv *= np.random.default_rng(4).normal(1, 0.05, suv.shape)
    affine = np.diag([STEP, STEP, STEP, 1.0])
    affine[:3, 3] = FINE / 2
    hu = np.full(SHAPE, -1000, np.int16)
    hu[:, 2:-2, 2:-2] = 0
    return Volume(suv.astype(np.float32), affine, "g/ml"), Volume(hu, affine, "HU")


@pytest.fixture
def anatomy(spheres):
    """With a liver to compare with, which a block of water has not."""
    made = PatientAnatomy(*spheres)
    liver = ReferenceUptake("liver", "sphere_3cm_right_lobe", 2.0, 0.2, 14.0, (0.0, 0.0, 0.0))
    vars(made)["references"] = OrganReferences(liver, None, None, None, {})
    return made


def measured(anatomy, method):
    """Volume and outline of each sphere, from the smallest to the largest."""
    found = delineate(anatomy.pet, anatomy, method=method)
    assert len(found.components) == len(DIAMETERS_MM)
    assert all(one.included for one in found.components)
    return [(one.volume_ml, one.outline) for one in sorted(found.components, key=lambda one: one.centroid_mm[0])]


def expected_ml(diameter, level):
    """Volume at or above a level of a sphere blurred by a Gaussian, by its radial profile in closed form."""
    from scipy.special import erf

    sigma, radius = FWHM / 2.3548, diameter / 2
    r = np.linspace(0.01, radius + 15, 4000)
    inside = (erf((radius - r) / (sigma * 2**0.5)) + erf((radius + r) / (sigma * 2**0.5))) / 2
    edge = (
        sigma
        / (r * (2 * np.pi) ** 0.5)
        * (np.exp(-((r - radius) ** 2) / (2 * sigma**2)) - np.exp(-((r + radius) ** 2) / (2 * sigma**2)))
    )
    profile = BACKGROUND + (UPTAKE - BACKGROUND) * (inside - edge)
    return true_ml(2 * r[profile >= level].max())


@pytest.mark.parametrize(("method", "level"), [("suv4", 4.0), ("suv25", 2.5), ("percist", 3.4), ("liver", 3.0)])
def test_a_threshold_has_the_volume_computed_by_hand(anatomy, method, level):
    """But the smallest sphere, whose maximum is less than twice SUV 4, is outlined by its gradient."""
    for diameter, (volume, outline) in zip(DIAMETERS_MM, measured(anatomy, method), strict=True):
        assert (outline == "gradient") == (method == "suv4" and diameter == DIAMETERS_MM[0])
        expected = true_ml(diameter) if outline == "gradient" else expected_ml(diameter, level)
        assert volume == pytest.approx(expected, rel=0.16), diameter


def test_41_percent_of_the_maximum_has_the_volume_computed_by_hand(anatomy):
    found = delineate(anatomy.pet, anatomy, method="suv41pct")
    for diameter, one in zip(DIAMETERS_MM, sorted(found.components, key=lambda one: one.centroid_mm[0]), strict=True):
        assert one.outline == "41pct"
        assert one.volume_ml == pytest.approx(expected_ml(diameter, 0.41 * one.suv_max), rel=0.12), diameter


@pytest.mark.parametrize(("method", "within"), [("gradient", 0.2), ("adaptive", 0.12)])
def test_the_edge_that_is_looked_for_is_the_true_edge(anatomy, method, within):
    for diameter, (volume, outline) in zip(DIAMETERS_MM, measured(anatomy, method), strict=True):
        assert outline == method
        assert volume == pytest.approx(true_ml(diameter), rel=within), diameter


def test_a_hot_sphere_keeps_its_volume_by_the_adaptive_threshold_and_grows_by_a_fixed_one(anatomy):
    """SUV 24: SUV 4 lies where blur has carried a sixth of the uptake."""
    hot = replace(anatomy, pet=anatomy.pet.like(3 * anatomy.pet.array, "g/ml"))
    vars(hot)["references"] = anatomy.references
    largest = {method: measured(hot, method)[-1][0] for method in ("suv4", "adaptive")}
    assert largest["adaptive"] == pytest.approx(true_ml(37.0), rel=0.12)
    assert largest["suv4"] > 1.25 * true_ml(37.0)


def test_each_method_names_itself_and_its_threshold(anatomy):
    names = {
        "adaptive": ("adaptive", 4.0),
        "suv4": ("suv4", 4.0),
        "suv25": ("suv25", 2.5),
        "liver": ("liver", 3.0),
        "gradient": ("gradient", 4.0),
    }
    for method, expected in names.items():
        found = delineate(anatomy.pet, anatomy, method=method)
        assert (found.method, found.threshold) == expected
    assert delineate(anatomy.pet, anatomy, method="percist").method == "percist_liver"


def test_a_faint_lesion_is_found_below_the_threshold_and_keeps_its_volume(spheres):
    """SUV 3.5 at the most is in no list of SUV 4; 4.5 would be cut to its peak."""
    pet, ct = spheres
    for top in (3.5, 4.5):
        faint = pet.like(((pet.array - 1) * (top - 0.6) / 7.4 + 0.6).clip(0).astype(np.float32), "g/ml")
        found = delineate(faint, PatientAnatomy(faint, ct))
        largest = max(found.components, key=lambda one: one.volume_ml)
        assert largest.outline == "gradient"
        assert largest.volume_ml == pytest.approx(true_ml(37.0), rel=0.25)


def test_a_cold_core_is_measured_and_not_counted(spheres):
    pet, ct = spheres
    z, y, x = np.indices(SHAPE)
    centre = np.argwhere(pet.array == pet.array[..., 75:].max())[0]
    away = np.sqrt(((np.stack([z, y, x]) - centre[:, None, None, None]) ** 2).sum(0)) * STEP
    hollow = pet.like(np.where(away < 9, 1.0, np.where(away < 22, 8.0, pet.array)).astype(np.float32), "g/ml")
    found = delineate(hollow, PatientAnatomy(hollow, ct))
    largest = max(found.components, key=lambda one: one.volume_ml)
    assert largest.cold_core_ml == pytest.approx(true_ml(18.0), rel=0.35)
    assert largest.volume_ml == pytest.approx(true_ml(44.0) - true_ml(18.0), rel=0.15)
