"""Each check of wrong scans: passes on a synthetic patient as scanned, fails on the planted fault."""

from __future__ import annotations

from dataclasses import replace
from math import log

import numpy as np
import pytest

from fedpet.imaging.anatomy.patient_anatomy import PatientAnatomy
from fedpet.imaging.quality.body_position import Sides, Upright, measure_sides, measure_upright
from fedpet.imaging.quality.ct_fit import CtFit, measure_ct_fit
from fedpet.imaging.quality.pitfalls import extravasation_check
from fedpet.imaging.quality.scanned_region import ScannedRegion, measure_scanned_region
from fedpet.imaging.quality.uptake_ranges import UptakeRanges, measure_uptake_ranges
from fedpet.imaging.study import CheckStatus
from fedpet.imaging.volume import Volume
from training.simulation.patients.centres import SITES
from training.simulation.patients.population import draw_patient
from training.simulation.wrong_scans import WRONG_SCANS, scan_plain, scan_with

USUAL = UptakeRanges(
    liver=2.3, blood_pool=1.6, spleen=2.0, marrow=1.5, muscle=0.7, heart=3.0, lung=0.43, fat=0.29, body=0.83
)


@pytest.fixture(scope="module")
def plain():
    """A patient of another seed than the rules were written on."""
    return scan_plain(draw_patient(SITES[3], 2, seed=31))


@pytest.fixture(scope="module")
def good(plain):
    return PatientAnatomy(plain.pet, plain.ct)


def with_fault(name, plain, good):
    """The anatomy with a fault; the body of the good one where the CT is the same."""
    scans = scan_with(WRONG_SCANS[name], plain.patient, plain=plain)
    anatomy = PatientAnatomy(scans.pet, scans.ct)
    if np.array_equal(scans.ct.array, plain.ct.array):
        body = good.body
        affine = body.ct.affine.copy()
        affine[:3, 3] += scans.ct.affine[:3, 3] - plain.ct.affine[:3, 3]
        vars(anatomy)["body"] = replace(body, ct=Volume(body.ct.array, affine, "HU"))
    return scans, anatomy


def test_a_good_scan_passes(plain, good):
    assert measure_ct_fit(good).check().level is CheckStatus.PASS
    assert measure_sides(good).check().level is CheckStatus.PASS
    assert measure_upright(good.images).check().level is CheckStatus.PASS
    region = measure_scanned_region(good, plain.patient.anatomy.height_m)
    assert region.check().level is CheckStatus.PASS
    assert str(region.check().reason) == "Chest, abdomen and pelvis were scanned, from the head to the thighs."
    for brain in (None, 30.0):
        assert str(replace(region, brain_mm=brain).extent) == "from the neck to the thighs"
    assert str(replace(region, below_mm=region.needed_below_mm).extent) == "from the head to the groin"
    assert extravasation_check(good, plain.patient.anatomy.weight_kg).level is CheckStatus.PASS
    checks = measure_uptake_ranges(good).checks()
    assert [check.name for check in checks] == ["fasting", "marrow_stimulation", "suv_scale"]
    assert {check.level for check in checks} == {CheckStatus.PASS}


@pytest.mark.parametrize(("name", "where"), [("mirrored", "on PET and CT"), ("pet-mirrored", "on the PET alone")])
def test_exchanged_sides(plain, good, name, where):
    told = measure_sides(with_fault(name, plain, good)[1]).check()
    assert told.level is CheckStatus.FAIL
    assert where in str(told.reason)


@pytest.mark.parametrize(("name", "words"), [("face-down", "face down"), ("upside-down", "upside down")])
def test_turned_bodies(plain, good, name, words):
    told = measure_upright(with_fault(name, plain, good)[1].images).check()
    assert told.level is CheckStatus.FAIL
    assert words in str(told.reason)


@pytest.mark.parametrize(("name", "mm"), [("ct-3-cm-away", 30), ("ct-8-cm-away", 80)])
def test_a_displaced_ct_is_found_and_measured(plain, good, name, mm):
    fit = measure_ct_fit(with_fault(name, plain, good)[1])
    assert fit.status is CheckStatus.FAIL
    assert fit.distance_mm == pytest.approx(mm, abs=4)


def test_the_ct_of_another_patient(plain, good):
    assert measure_ct_fit(with_fault("ct-of-another", plain, good)[1]).status is CheckStatus.FAIL


def test_a_wrong_suv_changes_nothing_about_the_position(plain, good):
    scaled = PatientAnatomy(plain.pet.like(plain.pet.array * np.float32(50), "g/ml"), plain.ct)
    vars(scaled)["body"] = good.body
    assert measure_ct_fit(scaled).shift_mm == pytest.approx(measure_ct_fit(good).shift_mm, abs=0.1)
    assert measure_sides(scaled).pet == pytest.approx(measure_sides(good).pet, abs=0.01)


def test_a_part_without_structure_has_no_shift():
    """A cylinder fits itself wherever it is moved along its axis."""
    grid = np.mgrid[0:120, 0:60, 0:60]
    body = (grid[1] - 30) ** 2 + (grid[2] - 30) ** 2 < 400
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    pet = Volume(np.where(body, 1.0, 0.0).astype(np.float32), affine, "g/ml")
    ct = Volume(np.where(body, 40, -1000).astype(np.int16), affine, "HU")
    assert measure_ct_fit(PatientAnatomy(pet, ct)).status is CheckStatus.PASS


@pytest.mark.parametrize(
    ("name", "words"), [("ends-below-neck", "below the neck"), ("ends-above-groin", "above the groin")]
)
def test_a_scan_that_lacks_a_part(plain, good, name, words):
    scans, anatomy = with_fault(name, plain, good)
    told = measure_scanned_region(anatomy, scans.patient.anatomy.height_m).check()
    assert told.level is CheckStatus.FAIL
    assert words in str(told.reason)


@pytest.mark.parametrize(("name", "check"), [("not-fasted", "fasting"), ("marrow-stimulated", "marrow_stimulation")])
def test_uptake_that_is_not_at_rest(plain, good, name, check):
    levels = {one.name: one.level for one in measure_uptake_ranges(with_fault(name, plain, good)[1]).checks()}
    assert levels[check] is CheckStatus.FAIL


def test_what_was_injected_beside_the_vein(plain, good):
    scans, anatomy = with_fault("extravasation", plain, good)
    told = extravasation_check(anatomy, scans.patient.anatomy.weight_kg)
    assert told.level is CheckStatus.FAIL
    assert "% of the injected activity" in str(told.reason)


@pytest.mark.parametrize(
    ("factor", "level"),
    [(1.0, "pass"), (1.1, "pass"), (0.9, "pass"), (1.43, "fail"), (0.65, "fail"), (0.37, "fail"), (1000.0, "fail")],
)
def test_the_scale_of_all_tissues_together(factor, level):
    scaled = USUAL.scaled(factor)
    told = {check.name: check.level.value for check in scaled.checks()}
    assert told == {"fasting": "pass", "marrow_stimulation": "pass", "suv_scale": level}
    assert scaled.log_scale == pytest.approx(USUAL.log_scale + log(factor))


def test_a_deviating_tissue_alone_is_no_wrong_scale():
    told = {check.name: check.level.value for check in replace(USUAL, blood_pool=2.3).checks()}
    assert told["suv_scale"] == "pass"


def test_what_was_not_measured_is_not_judged():
    assert UptakeRanges().checks() == []
    assert UptakeRanges(muscle=4.0, fat=0.4, body=0.9).checks() == []  # of a leg
    assert [check.name for check in UptakeRanges(liver=2.3, body=0.8).checks()] == ["suv_scale"]


def test_signs_that_contradict_each_other_warn():
    aside = {"liver": 1.0, "heart": -1.0}
    assert Sides(aside, {"liver": 1.0}).check().level is CheckStatus.WARN
    assert Sides({"liver": 1.0}, {}).check().level is CheckStatus.PASS


@pytest.mark.parametrize(
    ("change", "level"),
    [
        ({}, "pass"),
        ({"behind_mm": -40.0}, "fail"),
        ({"brain_above": False}, "fail"),
        ({"above_cm2": 700.0}, "warn"),
        ({"above_cm2": 900.0}, "fail"),
        ({"behind_mm": None, "brain_above": None, "above_cm2": None}, "pass"),
    ],
)
def test_signs_of_the_position(change, level):
    upright = replace(Upright(behind_mm=45.0, above_cm2=120.0, below_cm2=600.0, brain_above=True), **change)
    assert upright.check().level.value == level


@pytest.mark.parametrize(
    ("fit", "level"),
    [
        (CtFit((2.0, 1.0, 4.0), 0.9, 5.0), "pass"),
        (CtFit((0.0, 0.0, 15.0), 0.9, 5.0), "warn"),
        (CtFit((0.0, 0.0, 25.0), 0.9, 5.0), "fail"),
        (CtFit((0.0, 0.0, 0.0), 0.9, 25.0), "fail"),
        (CtFit((0.0, 0.0, 0.0), 0.7, 0.0), "fail"),
        (CtFit((0.0, 0.0, 0.0), 0.85, 4.0), "pass"),
        (CtFit((0.0, 0.0, 0.0), 0.85, 12.0), "fail"),
    ],
)
def test_levels_of_the_fit(fit, level):
    assert fit.check().level.value == level


def test_both_ends_are_named():
    told = ScannedRegion(above_mm=0.0, below_mm=100.0, needed_below_mm=350.0).check()
    assert "below the neck and above the groin" in str(told.reason)
