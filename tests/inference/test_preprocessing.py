from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from fedpet.core.errors import SeriesNotFoundError
from fedpet.imaging.study import PetCtStudy, PetFacts
from fedpet.imaging.volume import Volume
from inference.input_contract import default_contract
from inference.preprocessing import model_grid, model_image, to_model_grid

CONTRACT = default_contract()
FACTS = PetFacts(
    units="BQML", decay_correction="START", suv_factor_min=1.0, suv_factor_max=1.0, reference_time_source="series_time",
    reference_time=None, injection_time=None, uptake_min=60.0, dose_bq=3e8, half_life_s=6586.2, weight_kg=70.0,
    height_m=1.7, sex="M", radiopharmaceutical="FDG", corrected_image=("ATTN", "DECY"), manufacturer="", model="",
)  # fmt: skip


def volume(array, spacing, origin, unit):
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return Volume(array, affine, unit)


def sphere(shape, spacing, origin, centre, radius):
    grid = volume(np.zeros(shape, np.float32), spacing, origin, "g/ml")
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    return np.linalg.norm(grid.to_mm(index) - centre, axis=-1) < radius


@cache
def study(pet_spacing=(4.0, 4.0, 3.0), ct_spacing=(2.0, 2.0, 3.0)):
    centre = np.array([31.0, -20.0, -300.0])
    pet_shape, pet_origin = (200, 100, 120), (-238.0, -198.0, -597.0)
    ct_shape, ct_origin = (200, 190, 230), (-229.0, -189.0, -597.0)
    hot = 10.0 * sphere(pet_shape, pet_spacing, pet_origin, centre, 30.0)
    dense = np.where(sphere(ct_shape, ct_spacing, ct_origin, centre, 30.0), 40, -1000)
    return PetCtStudy(
        pseudonym="P-0",
        pet=volume(hot.astype(np.float32), pet_spacing, pet_origin, "g/ml"),
        ct=volume(dense.astype(np.int16), ct_spacing, ct_origin, "HU"),
        pet_facts=FACTS,
        series=(),
        header_checks=(),
    ), centre


def test_grid_has_lps_axes_and_its_top_at_the_top_of_the_pet():
    loaded, _ = study()
    grid = model_grid(loaded, CONTRACT)
    assert grid.shape == CONTRACT.shape
    assert np.array_equal(grid.affine[:3, :3], np.diag([8.0, 8.0, 8.0]))
    top_of_grid = grid.affine[2, 3] + (CONTRACT.shape[0] - 0.5) * 8.0
    top_of_pet = loaded.pet.affine[2, 3] + (loaded.pet.shape[0] - 0.5) * 3.0
    assert top_of_grid == pytest.approx(top_of_pet)


def test_activity_and_place_are_kept_in_both_images():
    loaded, centre = study()
    image = model_image(loaded, CONTRACT)
    assert image.shape == (2, *CONTRACT.shape)
    grid = model_grid(loaded, CONTRACT)
    total = image[0].sum() * 0.512
    assert total == pytest.approx(float(loaded.pet.array.sum()) * loaded.pet.voxel_ml, rel=0.01)
    for channel in (image[0], image[1] + 1000.0):
        index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), -1)
        place = volume(channel, (8.0,) * 3, grid.affine[:3, 3], "1").to_mm(index)
        found = (place * channel[..., None]).sum((0, 1, 2)) / channel.sum()
        assert np.abs(found - centre).max() < 0.5


def test_values_are_clipped_and_outside_is_air_without_activity():
    loaded, _ = study()
    hot = replace(loaded, pet=loaded.pet.like(loaded.pet.array * 100, "g/ml"))
    image = model_image(hot, CONTRACT)
    assert image[0].max() == 30.0
    assert image[0, 0].max() == 0.0
    assert image[1, 0].max() == -1000.0


def test_finer_voxels_do_not_change_the_image():
    coarse, _ = study()
    pet = coarse.pet
    fine_affine = pet.affine.copy()
    fine_affine[:3, :3] /= 2
    fine_affine[:3, 3] -= pet.affine[:3, :3].sum(axis=1) / 4
    repeated = pet.array.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    fine = replace(coarse, pet=Volume(repeated, fine_affine, "g/ml"))
    difference = np.abs(model_image(fine, CONTRACT)[0] - model_image(coarse, CONTRACT)[0])
    assert difference.max() < 1.5  # at the rim of the sphere of SUV 10
    assert difference.mean() < 2e-3


def test_mask_becomes_a_fraction_that_keeps_its_volume():
    loaded, _ = study()
    mask = loaded.pet.like((loaded.pet.array > 0).astype(np.uint8), "label")
    fraction = to_model_grid(mask, model_grid(loaded, CONTRACT))
    assert fraction.min() >= 0.0
    assert fraction.max() <= 1.0
    assert fraction.sum() * 0.512 == pytest.approx(float(mask.array.sum()) * mask.voxel_ml, rel=0.01)


def test_without_ct_there_is_no_model_image():
    loaded, _ = study()
    with pytest.raises(SeriesNotFoundError, match="no CT"):
        model_image(replace(loaded, ct=None), CONTRACT)
