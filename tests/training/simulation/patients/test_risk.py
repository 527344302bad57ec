from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from training.simulation.patients.achievable_performance import draw_population
from training.simulation.patients.centres import SITES
from training.simulation.patients.population import draw_patient
from training.simulation.patients.risk import follow_up, image_features, risk


@pytest.fixture(scope="module")
def population():
    return draw_population(4000, seed=31)


@pytest.fixture(scope="module")
def patient():
    """A patient with several visible lesions and a high PD-L1."""
    drawn = (draw_patient(SITES[0], n, seed=2) for n in range(200))
    return next(p for p in drawn if len(p.lesions) >= 5 and p.record.pdl1_tps >= 50 and not p.record.brain_metastases)


def with_record(patient, **changes):
    return replace(patient, record=replace(patient.record, **changes))


def scaled(patient, factor):
    lesions = tuple(replace(one, axes=tuple(factor * a for a in one.axes)) for one in patient.lesions)
    return replace(patient, lesions=lesions)


def with_necrosis(patient, share):
    return replace(patient, lesions=tuple(replace(one, necrosis=share) for one in patient.lesions))


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (lambda p: with_record(p, ecog_ps=0), lambda p: with_record(p, ecog_ps=1)),
        (lambda p: with_record(p, ecog_ps=1), lambda p: with_record(p, ecog_ps=2)),
        (lambda p: with_record(p, pdl1_tps=20.0), lambda p: with_record(p, pdl1_tps=0.0)),
        (lambda p: with_record(p, pdl1_tps=80.0), lambda p: with_record(p, pdl1_tps=20.0)),
        (lambda p: with_record(p, neutrophils=4.0), lambda p: with_record(p, neutrophils=9.0)),
        (lambda p: with_record(p, ldh=100.0), lambda p: with_record(p, ldh=900.0)),
        (lambda p: with_record(p, albumin=42.0), lambda p: with_record(p, albumin=30.0)),
        (lambda p: with_record(p, steroids=False), lambda p: with_record(p, steroids=True)),
        (lambda p: with_record(p, line=1), lambda p: with_record(p, line=2)),
        (lambda p: p, lambda p: scaled(p, 1.4)),
        (
            lambda p: replace(p, anatomy=replace(p.anatomy, marrow=1.0)),
            lambda p: replace(p, anatomy=replace(p.anatomy, marrow=2.0)),
        ),
    ],
)
def test_risk_rises_with_each_documented_factor(patient, better, worse):
    assert risk(better(patient)).eta < risk(worse(patient)).eta
    assert risk(better(patient)).pfs_12m > risk(worse(patient)).pfs_12m


def test_necrosis_is_worse_at_the_same_active_volume(patient):
    necrotic = scaled(with_necrosis(patient, 0.5), (1 / 0.5) ** (1 / 3))
    solid = with_necrosis(patient, 0.0)
    assert image_features(necrotic).tmtv_ml == pytest.approx(image_features(solid).tmtv_ml)
    assert risk(necrotic).eta > risk(solid).eta


def test_features_against_their_definitions(patient):
    features = image_features(patient)
    active = [4 / 3 * math.pi * math.prod(one.axes) / 1000 * (1 - one.necrosis) for one in patient.lesions]
    assert features.tmtv_ml == pytest.approx(sum(active))
    assert features.tlg == pytest.approx(sum(a * one.suv for a, one in zip(active, patient.lesions, strict=True)))
    furthest = max(math.dist(a.centre, b.centre) for a in patient.lesions for b in patient.lesions)
    assert features.dmax_mm == pytest.approx(furthest * patient.anatomy.height_m / 1.70)
    assert image_features(patient, without={0}).lesions == features.lesions - 1
    assert image_features(patient, without=range(len(patient.lesions))).tmtv_ml == 0.0


def test_brain_lesions_are_not_counted(population):
    patient = next(p for p in population if p.record.brain_metastases)
    brain = {i for i, one in enumerate(patient.lesions) if one.kind == "brain"}
    assert image_features(patient) == image_features(patient, without=brain)


def test_survival_is_the_documented_weibull(patient):
    truth = risk(patient)
    hazard = math.exp(truth.eta + patient.site.mix.log_hazard)
    assert truth.pfs_6m == pytest.approx(math.exp(-0.52 * hazard))
    assert truth.pfs_12m == pytest.approx(math.exp(-0.52 * 2**0.95 * hazard))


def kaplan_meier_median(times, events):
    order = np.argsort(times)
    at_risk, survival = len(order), 1.0
    for i in order:
        survival *= 1 - events[i] / at_risk
        at_risk -= 1
        if survival <= 0.5:
            return times[i]
    return math.inf


def test_median_pfs_is_about_eight_months_and_os_about_twenty_two(population):
    events = [follow_up(patient) for patient in population]
    ends = [min((t for t in (e.progression, e.death) if t is not None), default=None) for e in events]
    months = [e.last_news if end is None else end for e, end in zip(events, ends, strict=True)]
    assert 7 < kaplan_meier_median(months, [end is not None for end in ends]) < 9
    deaths = [e.last_news if e.death is None else e.death for e in events]
    assert 18 < kaplan_meier_median(deaths, [e.death is not None for e in events]) < 26


def test_follow_up_is_possible_and_reproducible(population):
    for patient in population[:1000]:
        events = follow_up(patient)
        assert events == follow_up(patient)
        assert events.death is None or events.death <= events.last_news
        assert events.progression is None or events.progression <= (events.death or events.last_news)
