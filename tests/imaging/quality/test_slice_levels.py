"""A slice, a run of slices or a bed in another scale is found; bodies that begin, end and hold hot organs are not."""

from __future__ import annotations

import numpy as np
import pytest

from fedpet.imaging.analysis import StudyAnalysis
from fedpet.imaging.loading import load_study
from fedpet.imaging.quality.slice_levels import slice_level_check
from fedpet.imaging.study import CheckStatus
from fedpet.imaging.volume import Volume

SHAPE = (80, 60, 60)


@pytest.fixture(scope="module")
def bodies():
    """Noisy bodies of SUV 1 that begin and end within the scan, with brain, liver and bladder, (z, y, x)."""
    z, y, x = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    drawn = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        first, last = rng.integers(0, 10), rng.integers(66, 80)
        wide = rng.uniform(16, 26) * (1 + 0.25 * np.sin(z / rng.uniform(6, 14)))
        inside = (((y - 30) / 0.7) ** 2 + (x - 30) ** 2 < wide**2) & (z >= first) & (z < last)
        suv = np.where(inside, 1.0, 0.02)
        for centre, radius, hot in (((8, 30, 30), 5, 40.0), ((40, 28, 22), 9, 2.4), ((last - 6, 30, 30), 8, 9.0)):
            suv[((np.array([z, y, x]).T - centre).T ** 2).sum(axis=0) < radius**2] = hot
        drawn.append((suv * rng.gamma(12, 1 / 12, SHAPE)).astype(np.float32))
    return drawn


def level(suv):
    return slice_level_check(Volume(suv, np.diag([4.0, 4.0, 4.0, 1.0]), "g/ml")).level


def scaled(suv, slices, factor):
    changed = suv.copy()
    changed[slices] *= factor
    return changed


def test_a_body_passes(bodies):
    assert [level(suv) for suv in bodies] == [CheckStatus.PASS] * len(bodies)
    assert level(np.zeros(SHAPE, np.float32)) is CheckStatus.PASS


@pytest.mark.parametrize("slices", [slice(30, 31), slice(45, 52), slice(0, 35), slice(50, 80)])
@pytest.mark.parametrize("factor", [10.0, 2.0, 1.6, 0.6, 0.1])
def test_slices_of_another_scale_fail(bodies, slices, factor):
    assert [level(scaled(suv, slices, factor)) for suv in bodies] == [CheckStatus.FAIL] * len(bodies)


def test_a_smaller_step_warns(bodies):
    assert [level(scaled(suv, slice(30, 50), 1.33)) for suv in bodies] == [CheckStatus.WARN] * len(bodies)


def test_the_slope_of_one_slice_is_noticed_in_the_headers_or_in_the_images(dicom, tmp_path, bodies):
    slices = dicom.pet(bodies[0])
    right = slices[30].RescaleSlope
    slices[30].RescaleSlope = float(right) * 3
    study = load_study(dicom.save(slices, tmp_path / "one"), pseudonym_key=b"k", require="suv")
    failed = {check.name: str(check.reason) for check in StudyAnalysis(study).failed_checks}
    assert "From slice 30 to slice 31 of the PET" in failed["slice_levels"]


@pytest.mark.reference_data
@pytest.mark.parametrize("name", ["STS_002", "STS_008", "STS_042"])
def test_real_scans_pass(reference_data, name):
    study = load_study(reference_data / "sts" / name / "PET", pseudonym_key=b"k", require="suv")
    assert slice_level_check(study.pet).level is CheckStatus.PASS
