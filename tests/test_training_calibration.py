"""The risk table loses no count, and recalibration finds known numbers again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit

from fedpet.errors import FederationError
from training.calibration import base_rates, calibrate, fit_recalibration, thirds
from training.losses import interval_targets
from training.metrics import Sample, harrell
from training.risk_table import BINS, RiskTable, pooled

EDGES = (0.0, 3.0, 6.0, 12.0, 24.0)
BASELINE = np.array([-1.2, -1.4, -0.8, -0.5])


def simulate(count, a, b, *, seed=0, censored=True):
    """Scores, months and events of patients whose hazards are logistic(BASELINE + a + b * score).

    Within an interval the hazard is constant, so that censoring within it is handled without bias.
    """
    generator = np.random.default_rng(seed)
    score = generator.normal(0, 1, count)
    hazard = expit(BASELINE + (a + b * score)[:, None])
    lived = np.log1p(-generator.random(hazard.shape)) / np.log1p(-hazard)  # time to the event, in interval widths
    first = np.where((lived < 1).any(1), (lived < 1).argmax(1), len(BASELINE))
    starts, widths = np.append(EDGES[:-1], EDGES[-1]), np.append(np.diff(EDGES), 0.0)
    within = np.take_along_axis(np.column_stack([lived, np.zeros(count)]), first[:, None], 1)[:, 0]
    months = starts[first] + widths[first] * within
    censoring = generator.uniform(1, 40, count) if censored else np.full(count, 99.0)
    return score, np.minimum(months, censoring), (months <= censoring) & (first < len(BASELINE))


def table_of(score, months, event):
    exposure, events = interval_targets(torch.from_numpy(months), torch.from_numpy(event), EDGES)
    return RiskTable.of(score, exposure.numpy(), events.numpy())


def test_table_counts_every_patient_once():
    score, months, event = simulate(300, 0.0, 1.0)
    table = table_of(score, months, event)
    assert table.patients.sum() == 300
    assert (table.patients * table.score).sum() == pytest.approx(score.sum())
    assert table.events.sum() == (event & (months < 24)).sum()
    assert np.all(table.events <= table.exposure + 1e-6)
    extremes = RiskTable.of([-99.0, 99.0], np.ones((2, 4)), np.zeros((2, 4)))
    assert extremes.patients[[0, BINS - 1]].tolist() == [1, 1]


def test_table_survives_the_metrics_of_fedbiomed():
    parts = [table_of(*simulate(count, 0.0, 1.0, seed=count)) for count in (40, 60)]
    metrics = [{"loss": 1.0, "n": 40.0, **parts[0].to_metrics()}, parts[1].to_metrics(), {"loss": 1.0}]
    total, expected = pooled(metrics, 4), parts[0] + parts[1]
    for name in ("patients", "score", "exposure", "events"):
        np.testing.assert_allclose(getattr(total, name), getattr(expected, name))


def test_concordance_of_the_table_is_near_that_of_the_patients():
    score, months, event = simulate(2000, 0.0, 1.0)
    exact = harrell(Sample.of(months, event, draws=0), score)[0]
    assert table_of(score, months, event).concordance() == pytest.approx(exact, abs=0.03)
    assert RiskTable.of([], np.zeros((0, 4)), np.zeros((0, 4))).concordance() is None


def test_known_recalibration_is_found_again():
    table = table_of(*simulate(40_000, -0.5, 0.6))
    a, b, covariance = fit_recalibration(table, BASELINE)
    assert (a, b) == (pytest.approx(-0.5, abs=0.03), pytest.approx(0.6, abs=0.03))
    assert np.sqrt(np.diag(covariance)).max() < 0.02


def test_covariance_is_the_spread_over_cohorts():
    fits = [fit_recalibration(table_of(*simulate(400, 0.2, 0.8, seed=seed)), BASELINE) for seed in range(60)]
    spread = np.std([(a, b) for a, b, _ in fits], axis=0)
    stated = np.sqrt(np.mean([np.diag(covariance) for *_, covariance in fits], axis=0))
    np.testing.assert_allclose(stated, spread, rtol=0.3)


def test_few_patients_stay_near_the_network():
    a, b, covariance = fit_recalibration(table_of(*simulate(6, 1.5, -1.0)), BASELINE)
    assert abs(a) < 0.75
    assert abs(b - 1) < 0.75
    assert np.sqrt(np.diag(covariance)).min() > 0.2


def test_base_rates_without_censoring_are_proportions():
    months = np.array([1.0, 4.0, 5.0, 7.0, 13.0, 25.0, 2.0, 30.0])
    rates = base_rates(table_of(np.zeros(8), months, np.ones(8, bool)), EDGES)
    assert rates == pytest.approx({"early_failure_3m": 2 / 8, "dcb_6m": 4 / 8, "pfs_12m": 3 / 8})


def test_thirds_cut_the_patients_in_three():
    score, months, event = simulate(3000, 0.0, 1.0)
    low, high = thirds(table_of(score, months, event))
    assert (score < low).mean() == pytest.approx(1 / 3, abs=0.03)
    assert (score >= high).mean() == pytest.approx(1 / 3, abs=0.03)


def test_no_table_is_refused():
    with pytest.raises(FederationError, match="enough validation patients"):
        calibrate(pooled([{"loss": 1.0}], 4), BASELINE, EDGES)
