"""Metrics against published values, scikit-survival's answers, definitions by brute force, and their own bootstrap."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from training.metrics import (
    Estimate,
    Sample,
    auc,
    brier,
    calibration_curve,
    delong,
    expected_auc,
    harrell,
    integrated_brier,
    net_benefit,
    recalibration,
    uno,
    untied_concordance,
)

# remission under 6-mercaptopurine, weeks (Freireich et al., Blood 1963), a textbook example of Kaplan-Meier
WEEKS = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
RELAPSE = [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]


def simulated(n=60, seed=11):
    generator = np.random.default_rng(seed)
    risk = generator.normal(size=n).round(3)
    time = generator.exponential(1 / (0.07 * np.exp(0.8 * risk))).round(4)
    censored = generator.uniform(2, 30, n).round(4)
    return np.minimum(time, censored), time <= censored, risk


def tied(n=40, seed=3):
    """Outcomes in whole months: events and censorings at the same times."""
    generator = np.random.default_rng(seed)
    months = generator.integers(1, 20, n).astype(float)
    return months, generator.random(n) < 0.6, generator.integers(0, 6, n).astype(float)


def of(months, event, draws=3, **more):
    return Sample.of(np.asarray(months, float), np.asarray(event, bool), draws=draws, **more)


def test_kaplan_meier_of_the_textbook():
    survival = of(WEEKS, RELAPSE).kaplan_meier(np.array([5.0, 6, 7, 10, 13, 16, 22, 23, 34]))[0]
    np.testing.assert_allclose(survival, [1, 0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448, 0.448], atol=5e-4)


def test_the_answers_of_scikit_survival():
    """Values that scikit-survival 0.28 gives for these patients."""
    months, event, risk = simulated()
    sample = of(months, event)
    at = np.arange(1.0, 19.0)
    survival = np.exp(-0.07 * np.exp(0.8 * risk)[:, None] * at)
    assert auc(sample, risk, 12.0)[0] == pytest.approx(0.6622071189, abs=1e-9)
    assert harrell(sample, risk)[0] == pytest.approx(0.6337529504, abs=1e-9)
    assert uno(sample, risk, 12.0)[0] == pytest.approx(0.6195538109, abs=1e-9)
    assert brier(sample, survival, at)[0, 11] == pytest.approx(0.2407321499, abs=1e-9)
    assert integrated_brier(sample, survival, at)[0] == pytest.approx(0.2009954795, abs=1e-9)


def followed_until(months, event, time):
    """P(not censored before `time`), by its definition; at one time events come before censorings."""
    left = 1.0
    for moment in sorted({m for m, e in zip(months, event, strict=True) if not e and m < time}):
        lost = sum(m == moment and not e for m, e in zip(months, event, strict=True))
        there = sum(m > moment or (m == moment and not e) for m, e in zip(months, event, strict=True))
        left *= 1 - lost / there
    return left


def test_auc_and_uno_by_brute_force_with_ties():
    months, event, risk = tied()
    won = total = c_won = c_total = 0.0
    for i in range(len(months)):
        if not event[i] or months[i] >= 12:
            continue
        weight = 1 / followed_until(months, event, months[i])
        for j in range(len(months)):
            better = 1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0
            if months[j] >= 12:
                won, total = won + weight * better, total + weight
            if months[i] < months[j] or (months[i] == months[j] and not event[j]):
                c_won, c_total = c_won + weight**2 * better, c_total + weight**2
    sample = of(months, event)
    assert auc(sample, risk, 12.0)[0] == pytest.approx(won / total)
    assert uno(sample, risk, 12.0)[0] == pytest.approx(c_won / c_total)


def test_brier_by_brute_force_with_ties():
    months, event, risk = tied()
    survival = 1 / (2 + risk)
    total = 0.0
    for m, e, s in zip(months, event, survival, strict=True):
        if m > 12:
            # events come before censorings at one time, so P(followed beyond 12) takes the censorings at 12 in
            total += (1 - s) ** 2 / followed_until(months, event, 12.0001)
        elif e:
            total += s**2 / followed_until(months, event, m)
    assert brier(of(months, event), survival[:, None], np.array([12.0]))[0, 0] == pytest.approx(total / len(months))


@pytest.mark.parametrize("metric", ["auc", "harrell", "uno", "brier", "slope", "benefit", "expected"])
def test_a_draw_is_the_metric_of_the_patients_drawn(metric):
    """Row d equals the value of the sample in which every patient is written as often as drawn."""
    months, event, risk = simulated()
    probability = 1 / (1 + np.exp(risk))

    def value(sample, risk, probability):
        return {
            "auc": lambda: auc(sample, risk, 12.0),
            "harrell": lambda: harrell(sample, risk),
            "uno": lambda: uno(sample, risk, 12.0),
            "brier": lambda: brier(sample, probability[:, None], np.array([10.0]))[:, 0],
            "slope": lambda: recalibration(sample, probability, 12.0).slope,
            "benefit": lambda: net_benefit(sample, probability, 12.0, np.array([0.4]))[:, 0],
            "expected": lambda: expected_auc(sample, risk, probability),
        }[metric]()

    sample = of(months, event, draws=2)
    drawn = np.repeat(np.arange(len(months)), sample.counts[2].astype(int))
    alone = value(of(months[drawn], event[drawn], draws=0), risk[drawn], probability[drawn])[0]
    tolerance = 1e-9 if metric not in {"expected", "harrell"} else 0.02  # copies are compared with each other there
    assert value(sample, risk, probability)[2] == pytest.approx(alone, abs=tolerance)
    assert value(sample, risk, probability)[2] != value(sample, risk, probability)[0]


def test_censoring_does_not_bias_the_auc():
    generator = np.random.default_rng(5)
    risk = generator.normal(size=4000)
    time = generator.exponential(1 / (0.06 * np.exp(risk)))
    whole = auc(of(time, np.ones(4000), draws=0), risk, 12.0)[0]
    censored = generator.exponential(15, 4000)
    assert auc(of(np.minimum(time, censored), time <= censored, draws=0), risk, 12.0)[0] == pytest.approx(
        whole, abs=0.015
    )


def test_expected_auc_is_the_mean_over_drawn_outcomes():
    generator = np.random.default_rng(6)
    truth, risk = generator.random(300), generator.normal(size=300)
    risk -= truth
    free = generator.random((400, 300)) < truth
    means = [auc(of(np.where(one, 13.0, 1.0), ~one, draws=0), risk, 12.0)[0] for one in free]
    assert expected_auc(of(truth, truth > 2, draws=0), risk, truth)[0] == pytest.approx(np.mean(means), abs=0.004)


def test_expected_auc_by_brute_force():
    generator = np.random.default_rng(0)
    risk, truth = generator.integers(0, 5, 12).astype(float), generator.random(12)
    total = good = 0.0
    for i, j in permutations(range(12), 2):
        weight = truth[i] * (1 - truth[j])
        total += weight
        good += weight * (1.0 if risk[i] < risk[j] else 0.5 if risk[i] == risk[j] else 0.0)
    assert expected_auc(of(truth, truth > 2), risk, truth)[0] == pytest.approx(good / total)


def test_expected_auc_with_certain_outcomes_is_the_auc():
    truth = np.array([1.0, 1.0, 0.0, 0.0])
    sample = of(truth, truth > 2)
    assert expected_auc(sample, np.array([0.1, 0.5, 0.4, 0.9]), truth)[0] == 0.75
    assert np.isnan(expected_auc(sample, np.arange(4.0), np.ones(4))).all()


def test_nothing_beats_the_ceiling():
    generator = np.random.default_rng(1)
    truth = generator.beta(1, 2, 200)
    sample = of(truth, truth > 2)
    ceiling = expected_auc(sample, -truth, truth)[0]
    assert expected_auc(sample, -truth + generator.normal(0, 0.1, 200), truth)[0] < ceiling
    assert expected_auc(sample, truth, truth)[0] == pytest.approx(1 - ceiling)


def test_more_patients_a_narrower_interval():
    generator = np.random.default_rng(2)
    truth = generator.beta(1, 2, 400)
    risk = -truth + generator.normal(0, 0.2, 400)
    few, many = (
        Estimate.of(expected_auc(of(truth[:n], truth[:n] > 2, draws=500), risk[:n], truth[:n])) for n in (50, 400)
    )
    assert many.lower < many.value < many.upper
    assert many.upper - many.lower < 0.6 * (few.upper - few.lower)


def test_concordance_by_hand():
    sample = of([2.0, 4.0, 4.0, 6.0], [1, 0, 1, 0])
    # patient 0 against 1, 2 and 3 (3 right); patient 2 against 1, censored at the same time (a tie), and 3 (wrong)
    assert harrell(sample, np.array([3.0, 1.0, 1.0, 2.0]))[0] == pytest.approx(3.5 / 5)


def test_recalibration_finds_what_was_done_to_the_probabilities():
    generator = np.random.default_rng(7)
    eta = generator.normal(0, 1.2, 6000)
    truth = 1 / (1 + np.exp(-eta))
    told = 1 / (1 + np.exp(-(2 * eta + 0.5)))  # twice as sure, and too optimistic
    free = generator.random(6000) < truth
    sample = of(np.where(free, 13.0, 5.0), ~free, draws=20)
    seen, known = recalibration(sample, told, 12.0), recalibration(sample, told, 12.0, truth)
    assert seen.slope[0] == pytest.approx(0.5, abs=0.04)
    assert seen.intercept[0] == pytest.approx(-0.25, abs=0.08)
    assert known.slope[0] == pytest.approx(0.5, abs=1e-3)
    assert known.intercept[0] == pytest.approx(-0.25, abs=1e-3)
    assert seen.shift[0] < -0.2


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    covered = 0
    for seed in range(60):
        generator = np.random.default_rng(seed)
        eta = generator.normal(0, 1.2, 400)
        free = generator.random(400) < 1 / (1 + np.exp(-eta))
        sample = of(np.where(free, 13.0, 5.0), ~free, draws=100, seed=seed)
        interval = Estimate.of(recalibration(sample, 1 / (1 + np.exp(-2 * eta)), 12.0).slope)
        covered += interval.lower < 0.5 < interval.upper
    assert 52 <= covered <= 60


def test_the_calibration_curve_lies_on_the_diagonal_of_true_probabilities():
    generator = np.random.default_rng(8)
    truth = generator.uniform(0.1, 0.9, 5000)
    time = generator.exponential(-12 / np.log(truth))
    censored = generator.uniform(3, 40, 5000)
    groups = calibration_curve(of(np.minimum(time, censored), time <= censored, draws=0), truth, 12.0, groups=5)
    assert len(groups) == 5
    for predicted, observed in groups:
        assert observed[0] == pytest.approx(predicted, abs=0.04)


def test_net_benefit_is_the_textbook_formula_without_censoring():
    generator = np.random.default_rng(9)
    free = generator.random(200) < 0.4
    probability = np.clip(0.4 * free + generator.random(200) * 0.6, 0, 1)
    sample = of(np.where(free, 12.0, 4.0), ~free, draws=0)
    thresholds = np.array([0.3, 0.5, 0.7])
    expected = []
    for threshold in thresholds:
        acted = 1 - probability >= threshold
        true, false = (acted & ~free).sum(), (acted & free).sum()
        expected.append(true / 200 - false / 200 * threshold / (1 - threshold))
    np.testing.assert_allclose(net_benefit(sample, probability, 12.0, thresholds)[0], expected, atol=1e-12)
    everyone = net_benefit(sample, np.zeros(200), 12.0, thresholds)[0]
    np.testing.assert_allclose(everyone, (~free).mean() - free.mean() * thresholds / (1 - thresholds))
    assert net_benefit(sample, np.ones(200), 12.0, thresholds)[0].tolist() == [0, 0, 0]


def test_groups_are_ranked_among_themselves():
    """The metric of two groups whose risks have another origin is that of one group written twice."""
    months, event, risk = simulated()
    twice = of(np.tile(months, 2), np.tile(event, 2), draws=2, strata=["a"] * 60 + ["b"] * 60, grouped=True)
    shifted = np.concatenate([risk, risk + 100])
    once, truth = of(months, event), 1 / (1 + np.exp(risk))
    assert auc(twice, shifted, 12.0)[0] == pytest.approx(auc(once, risk, 12.0)[0])
    assert harrell(twice, shifted)[0] == pytest.approx(harrell(once, risk)[0])
    assert uno(twice, shifted, 12.0)[0] == pytest.approx(uno(once, risk, 12.0)[0])
    assert expected_auc(twice, shifted, np.tile(truth, 2))[0] == pytest.approx(expected_auc(once, risk, truth)[0])
    assert auc(replace(twice, group=None), shifted, 12.0)[0] != pytest.approx(auc(once, risk, 12.0)[0])


def test_strata_keep_their_size_and_a_part_keeps_its_draws():
    months, event, _ = simulated()
    strata = ["a"] * 20 + ["b"] * 40
    sample = of(months, event, draws=50, strata=strata)
    first = np.array([name == "a" for name in strata])
    assert set(sample.part(first).counts.sum(1)) == {20}
    assert sample.part(first).months.tolist() == months[:20].tolist()


def test_without_a_pair_there_is_no_value():
    sample = of([1.0, 2.0, 3.0], [1, 1, 1], draws=5)
    assert np.isnan(auc(sample, np.arange(3.0), 12.0)).all()
    assert np.isnan(Estimate.of(auc(sample, np.arange(3.0), 12.0)).lower)


def test_delong_by_hand():
    """AUC 2/3 and 1: components (1/2, 1/2, 1) and (1, 1/3) of the first, all 1 of the second; variance 1/36 + 1/9."""
    failed = np.array([True, True, True, False, False])
    first, second = np.array([3.0, 2, 5, 1, 4]), np.array([3.0, 3, 4, 2, 2])
    found = delong(failed, first, second)
    assert (found.patients, found.difference) == (5, pytest.approx(-1 / 3))
    assert found.error == pytest.approx(np.sqrt(1 / 36 + 1 / 9))
    assert found.p == pytest.approx(0.3711, abs=1e-4)  # z = -0.8944
    assert delong(failed, first, np.exp(first)).p == 1.0
    assert delong(failed[1:4], first[1:4], second[1:4]) is None  # one survivor


def test_delong_holds_its_level_and_agrees_with_the_bootstrap():
    generator = np.random.default_rng(5)
    known, rejected, errors = generator.normal(size=(400, 120)), 0, []
    for signal in known:
        failed = signal + generator.normal(size=120) > 0
        found = delong(failed, signal + generator.normal(size=120), signal + generator.normal(size=120))
        rejected += found.p < 0.05
        errors.append(found.difference / found.error)
    assert 0.025 < rejected / 400 < 0.08
    assert 0.9 < np.std(errors) < 1.1
    months, risk = np.where(failed, 1.0, 20.0), (signal, signal + generator.normal(size=120))
    sample = Sample.of(months, failed, draws=2000)
    drawn = auc(sample, risk[0], 12.0) - auc(sample, risk[1], 12.0)
    found = delong(failed, *risk)
    assert found.difference == pytest.approx(drawn[0])
    assert found.error == pytest.approx(drawn[1:].std(), rel=0.15)


def test_concordance_where_untied_by_hand():
    months, event = np.array([1.0, 2, 3, 4, 5]), np.array([True, True, False, True, True])
    share, patients = untied_concordance(months, event, np.array([1.0, 1, 0, 0, 0]))
    assert share == 1.0  # six comparable pairs of the first two with the last three
    assert patients == pytest.approx(12**2 / (3**2 * 2 + 2**2 * 3) / 4)
    share, _ = untied_concordance(months, event, np.array([1.0, 0, 0, 0, 1]))
    assert share == pytest.approx(3 / 5)  # for: 1 before 2, 3 and 4; against: 2 and 4 before 5
    assert np.isnan(untied_concordance(months, event, np.ones(5))[0])
