from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from fedpet.clinical.variables import VARIABLES
from training.simulation.patients.achievable_performance import draw_population
from training.simulation.patients.centres import SITES
from training.simulation.patients.population import draw_patient


@pytest.fixture(scope="module")
def population():
    return draw_population(6000, seed=20)


def share(population, holds):
    return np.mean([holds(patient.record) for patient in population])


# The documented marginals (French cohort of 845 patients), with room for the draw and for the centres' case mix.
@pytest.mark.parametrize(
    ("documented", "holds"),
    [
        (0.678, lambda r: r.sex == "M"),
        (0.781, lambda r: r.ecog_ps <= 1),
        (0.066, lambda r: r.smoking == "never"),
        (0.696, lambda r: r.histology != "squamous"),
        (0.489, lambda r: r.pdl1_tps >= 75),
        (0.208, lambda r: r.brain_metastases),
        (0.109, lambda r: r.steroids),
        (0.168, lambda r: r.antibiotics),
    ],
)
def test_marginals_are_the_documented_ones(population, documented, holds):
    assert share(population, holds) == pytest.approx(documented, abs=0.025)


def test_age_quartiles(population):
    quartiles = np.percentile([patient.record.age for patient in population], [25, 50, 75])
    assert quartiles == pytest.approx([59, 65, 72], abs=1.0)


def test_first_line_needs_pdl1_of_50(population):
    assert all(p.record.pdl1_tps >= 50 for p in population if p.record.line == 1)


def test_pack_years_are_zero_for_never_smokers_only(population):
    assert all((p.record.pack_years == 0) == (p.record.smoking == "never") for p in population)


def test_metastasis_flags_follow_the_lesions(population):
    for patient in population:
        kinds = {lesion.kind for lesion in patient.lesions}
        record = patient.record
        assert record.liver_metastases == ("liver" in kinds)
        assert record.bone_metastases == ("bone" in kinds)
        assert record.adrenal_metastases == ("adrenal" in kinds)
        assert record.brain_metastases == ("brain" in kinds)
        assert record.metastatic_organs >= 1
        assert patient.lesions[0].kind == "primary"


def test_blood_counts_add_up(population):
    for patient in population:
        record = patient.record
        assert record.neutrophils + record.lymphocytes <= record.leucocytes + 0.02


def test_inflammation_shows_in_the_blood(population):
    inflammation = [patient.latents.inflammation for patient in population]
    for of, sign in (
        (lambda r: np.log(r.neutrophils / r.lymphocytes), 1),
        (lambda r: np.log(r.crp), 1),
        (lambda r: r.albumin, -1),
        (lambda r: r.haemoglobin, -1),
    ):
        assert sign * np.corrcoef(inflammation, [of(p.record) for p in population])[0, 1] > 0.25


def test_no_value_would_be_refused_by_the_clinical_record(population):
    bounds = {name: variable.reject for name, variable in VARIABLES.items() if variable.reject is not None}
    for patient in population:
        for name, (low, high) in bounds.items():
            value = getattr(patient.record, name)
            assert value is None or low <= value <= high, name


NOT_DRAWN = {"stage", "t_category", "n_category", "m_category", "prior_surgery", "prior_radiotherapy"}


def test_records_are_complete_and_tables_are_not(population):
    for patient in population[:500]:
        assert {f.name for f in fields(patient.record) if getattr(patient.record, f.name) is None} <= NOT_DRAWN
    last = [patient for patient in population if patient.site.code == "S7"]
    first = [patient for patient in population if patient.site.code == "S1"]
    missing = [np.mean([p.observed.ldh is None for p in group]) for group in (first, last)]
    assert missing[0] == pytest.approx(SITES[0].missing["ldh"], abs=0.03)
    assert missing[1] == pytest.approx(SITES[6].missing["ldh"], abs=0.1)


def test_what_is_observed_is_true(population):
    for patient in population[:500]:
        for f in fields(patient.record):
            assert getattr(patient.observed, f.name) in (None, getattr(patient.record, f.name))


def test_a_patient_depends_on_seed_site_and_number_only():
    again = [draw_patient(SITES[3], 5, seed=9) for _ in range(2)]
    assert again[0] == again[1]
    assert draw_patient(SITES[3], 6, seed=9) != again[0]
    assert draw_patient(SITES[2], 5, seed=9).lesions != again[0].lesions
    assert draw_patient(SITES[3], 5, seed=10).lesions != again[0].lesions


def test_the_centres_differ():
    assert len({site.model for site in SITES}) == 8
    assert len({site.pet.noise for site in SITES}) == 8
    assert {site.pet.units for site in SITES} == {"BQML", "GML"}
    assert {site.pet.decay for site in SITES} == {"START", "ADMIN"}
    assert [site.cases for site in SITES] == [310, 240, 180, 140, 110, 80, 55, 35]
