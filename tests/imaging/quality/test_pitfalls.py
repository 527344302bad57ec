"""Each check of circumstances on synthetic patients as drawn, and with CT or PET altered."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy
from fedpet.imaging.quality.checks import image_checks
from fedpet.imaging.quality.pitfalls import pitfall_checks
from fedpet.imaging.study import CheckStatus
from fedpet.imaging.volume import Volume
from training.simulation.phantom.canvas import Canvas
from training.simulation.phantom.tissues import Tissue

NAMES = {"contrast_ct", "arms", "effusion", "extravasation", "brown_fat"}


@pytest.fixture(scope="module")
def case(scanned):
    return scanned["slim"]


@pytest.fixture(scope="module")
def place(case):
    """Reference coordinates of the body."""
    return Canvas(case.patient.anatomy, case.body.lattice)


def judged(pet, ct):
    return {check.name: check for check in pitfall_checks(PatientAnatomy(pet, ct))}


def with_hu(case, mask, hu):
    return case.ct.like(np.where(mask, hu, case.ct.array).astype(np.int16), "HU")


def with_suv(case, mask, suv):
    return case.pet.like(np.where(mask, suv, case.pet.array).astype(np.float32), "g/ml")


def test_an_ordinary_patient_passes_every_check(scanned):
    for name in ("slim", "heavy"):
        checks = judged(scanned[name].pet, scanned[name].ct)
        assert {key: one.level for key, one in checks.items()} == dict.fromkeys(NAMES, CheckStatus.PASS)


def test_they_are_among_the_checks_of_the_images(case):
    assert {one.name for one in image_checks(case.pet, case.anatomy)} >= NAMES
    assert not {one.name for one in image_checks(case.pet, None)} & NAMES


def test_arms_beside_the_trunk_contrast_and_effusion_are_noticed(scanned):
    checks = judged(scanned["opacified"].pet, scanned["opacified"].ct)
    levels = {name: one.level for name, one in checks.items()}
    warned = {name for name, level in levels.items() if level is CheckStatus.WARN}
    assert warned == {"arms", "contrast_ct", "effusion"}
    assert CheckStatus.FAIL not in levels.values()


def test_arms_are_not_judged_where_the_trunk_was_not_scanned(scanned):
    opacified = scanned["opacified"]
    above = opacified.ct.affine.copy()
    above[:3, 3] = opacified.ct.to_mm(np.array([100.0, 0.0, 0.0]))
    pet, ct = (Volume(volume.array[100:150], above, volume.unit) for volume in (opacified.pet, opacified.ct))
    checks = judged(pet, ct)
    assert "arms" not in checks
    assert "effusion" in checks


@pytest.mark.parametrize(
    ("hu", "level"), [(45, CheckStatus.PASS), (100, CheckStatus.PASS), (160, CheckStatus.WARN), (220, CheckStatus.WARN)]
)
def test_contrast_is_the_density_of_the_aorta(case, hu, level):
    check = judged(case.pet, with_hu(case, case.body.tissues == Tissue.BLOOD, hu))["contrast_ct"]
    assert check.level is level
    told = float(str(check.reason).split("aorta ")[1].split()[0])
    assert told == pytest.approx(hu, abs=12)


def test_an_arterial_phase_is_contrast(case):
    """Blood denser than spongy bone: the aorta is lost in part, the warning stays."""
    for hu in (300, 350):
        check = judged(case.pet, with_hu(case, case.body.tissues == Tissue.BLOOD, hu))["contrast_ct"]
        assert check.level is CheckStatus.WARN


@pytest.mark.parametrize("side", ["right", "left"])
def test_an_effusion_is_noticed_on_its_side(case, place, side):
    """The back of one lung full of water."""
    sign = -1 if side == "right" else 1
    lung = np.isin(case.body.tissues, [Tissue.LUNG, Tissue.VESSEL]) & (sign * place.x > 0) & (place.y > 25)
    check = judged(case.pet, with_hu(case, lung, 8))["effusion"]
    assert check.level is CheckStatus.WARN
    assert f"{side} lung" in str(check.reason)
    told = float(str(check.reason).split("About ")[1].split()[0])
    true = lung.sum() * np.prod(case.body.lattice.spacing) / 1000
    assert 0.4 * true < told < 1.3 * true


def test_a_little_fluid_passes(case, place):
    lung = np.isin(case.body.tissues, [Tissue.LUNG, Tissue.VESSEL])
    pool = lung & (place.x > 0) & (place.y > 60) & (place.z < 620)
    assert judged(case.pet, with_hu(case, pool, 8))["effusion"].level is CheckStatus.PASS


def arm(place, *, x=-140.0, z=815.0, radius=14.0):
    """A ball in the right upper arm, raised beside the head."""
    return (place.x - x) ** 2 + place.y**2 + (place.z - z) ** 2 < radius**2


def test_tracer_left_in_an_arm_is_noticed(case, place):
    spot = arm(place) & (case.body.tissues != Tissue.AIR)
    assert spot.any()
    check = judged(with_suv(case, spot, 40.0), case.ct)["extravasation"]
    assert check.level is CheckStatus.WARN
    assert "SUV 4" in str(check.reason) or "SUV 3" in str(check.reason)


def test_as_hot_a_place_in_the_trunk_is_no_extravasation(case, place):
    trunk = (np.abs(place.x - 40) < 12) & (np.abs(place.y) < 12) & (np.abs(place.z - 620) < 15)
    assert judged(with_suv(case, trunk, 40.0), case.ct)["extravasation"].level is CheckStatus.PASS


def test_warm_skin_or_a_speck_in_an_arm_passes(case, place):
    spot = arm(place)
    assert judged(with_suv(case, spot, 5.0), case.ct)["extravasation"].level is CheckStatus.PASS


@pytest.fixture(scope="module")
def fatty(case, place):
    """The patient with fat instead of muscle beside the neck: CT and where."""
    inside = ndimage.binary_erosion(np.isin(case.body.tissues, [Tissue.MUSCLE, Tissue.FAT]), iterations=3)
    area = inside & (np.abs(place.x) > 30) & (np.abs(place.x) < 75) & (place.z > 780) & (place.z < 830)
    return with_hu(case, area, -95), area


def test_uptake_in_fat_above_both_lungs_is_brown_fat(case, fatty):
    ct, area = fatty
    check = judged(with_suv(case, ndimage.binary_erosion(area), 7.0), ct)["brown_fat"]
    assert check.level is CheckStatus.WARN
    assert "brown fat, not nodes" in str(check.reason)


def test_uptake_in_fat_of_one_side_passes(case, place, fatty):
    ct, area = fatty
    hot = ndimage.binary_erosion(area) & (place.x > 0)
    assert judged(with_suv(case, hot, 7.0), ct)["brown_fat"].level is CheckStatus.PASS


def test_the_same_uptake_in_soft_tissue_passes(case, fatty):
    """Nodes on both sides."""
    hot = ndimage.binary_erosion(fatty[1])
    assert judged(with_suv(case, hot, 7.0), case.ct)["brown_fat"].level is CheckStatus.PASS


def test_without_suv_uptake_is_not_judged(case):
    checks = judged(case.pet.like(case.pet.array, "stored"), case.ct)
    assert set(checks) == {"contrast_ct", "arms", "effusion"}


def test_without_lungs_only_the_aorta_could_tell(case):
    """Pelvis and thighs: nothing is judged, nothing guessed."""
    pet, ct = (Volume(volume.array[:50], volume.affine, volume.unit) for volume in (case.pet, case.ct))
    assert judged(pet, ct) == {}
