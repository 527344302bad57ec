"""The position checks on the anatomy of a real man (ICRP Publication 110), and on a part of a real examination."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy
from fedpet.imaging.loading import load_study
from fedpet.imaging.quality.body_position import measure_sides, measure_upright
from fedpet.imaging.quality.checks import image_checks
from fedpet.imaging.quality.ct_fit import measure_ct_fit
from fedpet.imaging.study import CheckStatus
from fedpet.imaging.volume import Volume
from tests.support import ROOT

DATA = Path(os.environ.get("FEDPET_REFERENCE_DATA", ROOT.parent / "shared" / "data"))

pytestmark = [pytest.mark.reference_data, pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is missing")]


@pytest.fixture(scope="module")
def man():
    """PET and CT arrays of the phantom as its README says, blurred, with noise; and their affine."""
    folder = DATA / "icrp110"
    with np.load(folder / "icrp110_AM.npz") as phantom:
        labels, spacing = phantom["labels"][:, ::2, ::2], phantom["spacing_mm"] * (1, 2, 2)
    hu, suv = np.full(256, -1000.0), np.zeros(256)
    with (folder / "icrp110_AM_organs.csv").open(encoding="utf-8", newline="") as table:
        for row in csv.DictReader(table):
            density = float(row["density_g_cm3"])
            dense = (density - 1) * (1000 if density < 1.06 else 900)
            hu[int(row["id"])] = -780 if "lung" in row["organ"].lower() else dense
            suv[int(row["id"])] = float(row["suv"] or 0)
    hu[0], suv[0] = -1000, 0
    rng = np.random.default_rng(0)
    pet = ndimage.gaussian_filter(suv[labels], [0.32, 0.6, 0.6])
    pet = np.maximum(pet + 0.07 * np.sqrt(pet + 0.02) * rng.normal(size=pet.shape), 0)
    ct = hu[labels] + rng.normal(0, 10, labels.shape)
    return pet.astype(np.float32), ct.astype(np.int16), np.diag([*spacing[::-1], 1.0])


def anatomy(man, pet=slice(None), ct=slice(None), *, z_mm=0.0):
    """The man with PET and CT indexed, and the CT moved towards the head."""
    affine = man[2].copy()
    affine[2, 3] += z_mm
    suv, hu = (np.ascontiguousarray(image[index]) for image, index in zip(man, (pet, ct), strict=False))
    return PatientAnatomy(Volume(suv, man[2], "g/ml"), Volume(hu, affine, "HU"))


def test_a_real_body_passes(man):
    found = anatomy(man)
    checks = image_checks(found.pet, found, weight_kg=73.0, height_m=1.76)
    assert {check.name for check in checks if check.level is not CheckStatus.PASS} == {"arms"}


MIRRORED = (slice(None), slice(None), slice(None, None, -1))
FACE_DOWN = (slice(None), slice(None, None, -1), slice(None, None, -1))


def test_a_real_body_mirrored_or_face_down_fails(man):
    assert measure_sides(anatomy(man, MIRRORED, MIRRORED)).check().level is CheckStatus.FAIL
    assert "on the PET alone" in str(measure_sides(anatomy(man, MIRRORED)).check().reason)
    assert measure_upright(anatomy(man, FACE_DOWN, FACE_DOWN).images).check().level is CheckStatus.FAIL


def test_the_ct_of_a_real_body_3_cm_away_fails(man):
    fit = measure_ct_fit(anatomy(man, z_mm=30.0))
    assert fit.status is CheckStatus.FAIL
    assert fit.shift_mm == pytest.approx((0, 0, -30), abs=2)


@pytest.mark.parametrize("name", ["STS_002", "STS_008", "STS_042"])
def test_a_part_of_a_real_scan_fails_for_what_it_lacks_alone(name):
    """16 cm around a sarcoma: no lungs, too short; nothing else can be told."""
    study = load_study(DATA / "sts" / name, pseudonym_key=b"k")
    assert study.ct is not None
    checks = image_checks(study.pet, PatientAnatomy(study.pet, study.ct), weight_kg=study.pet_facts.weight_kg)
    assert {check.name for check in checks if check.level is CheckStatus.FAIL} == {"chest_covered", "pet_extent"}
