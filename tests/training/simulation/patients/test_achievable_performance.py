from __future__ import annotations

import numpy as np
import pytest

from training.simulation.patients.achievable_performance import achievable_performance, expected_auc, expected_c_index


def test_expected_auc_against_all_pairs():
    rng = np.random.default_rng(4)
    p, score = rng.random(60), np.round(rng.normal(size=60), 1)  # with ties
    won = total = 0.0
    for i in range(60):
        for j in range(60):
            if i != j:
                total += p[i] * (1 - p[j])
                won += p[i] * (1 - p[j]) * (1.0 if score[i] > score[j] else 0.5 if score[i] == score[j] else 0.0)
    assert expected_auc(p, score) == pytest.approx(won / total)


def test_expected_c_index_is_the_mean_over_drawn_times():
    rng = np.random.default_rng(5)
    log_hazard, score = rng.normal(size=40), np.round(rng.normal(size=40), 1)  # with ties
    times = rng.exponential(np.exp(-log_hazard), size=(4000, 40))
    first, second = np.triu_indices(40, 1)
    earlier = np.sign(times[:, second] - times[:, first])
    won = (earlier * np.sign(score[first] - score[second]) + 1) / 2
    assert expected_c_index(log_hazard, score) == pytest.approx(won.mean(), abs=0.004)
    assert expected_c_index(log_hazard, np.zeros(40)) == pytest.approx(0.5)


@pytest.mark.parametrize(("measure", "low", "high"), [("auc_12m", 0.77, 0.82), ("c_index", 0.67, 0.72)])
def test_nothing_beats_everything(measure, low, high):
    best = getattr(achievable_performance(patients=3000, seed=1), measure)
    assert low < best.everything < high
    assert best.everything > best.image_only + 0.01
    assert best.everything > best.clinical_only + 0.02
    assert min(best.image_only, best.clinical_only) > low - 0.07


def test_ceilings_follow_the_signal():
    weak, strong = (achievable_performance(patients=1500, seed=1, signal=signal) for signal in (0.4, 0.85))
    none = achievable_performance(patients=1500, seed=1, signal=0.0)
    for measure in ("auc_12m", "c_index"):
        assert getattr(weak, measure).everything < getattr(strong, measure).everything
        assert getattr(none, measure).everything == pytest.approx(0.5, abs=0.04)
