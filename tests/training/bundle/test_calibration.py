"""The tables lose no count, recalibration finds known numbers again, conformal sets hold what they promise."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import expit

from fedpet.core.errors import FederationError
from inference.calibration import ENDPOINT_MONTHS, SEGMENTS, SetLimits, design, in_conformal_set, survival_of
from training.bundle.calibration import base_rates, calibrate, coverage_by_site, fit_recalibration, risk_thirds
from training.bundle.conformal import coverage_by_centre
from training.metrics import Sample, harrell
from training.node.policy import OPEN_POLICY
from training.node.steps import ValidationMetrics
from training.task.carried import ALL_SITES
from training.task.losses import interval_targets
from training.task.risk_table import BINS, MINIMUM_CASES, OutcomeTable, RiskTable, pooled_outcomes, pooled_risk_table
from training.task.task import TrainingTask

EDGES = (0.0, 3.0, 6.0, 12.0, 24.0)
BASELINE = np.array([-1.2, -1.4, -0.8, -0.5])


def simulate(count, a, b, *shifts, seed=0, censored=True):
    """Scores, months and events of patients whose hazards are logistic(BASELINE + a + shift + b * score).

    Within an interval the hazard is constant, so that censoring within it is handled without bias.
    """
    generator = np.random.default_rng(seed)
    score = generator.normal(0, 1, count)
    hazard = expit(BASELINE + design(score, EDGES) @ np.array([a, b, *(shifts or (0.0,) * SEGMENTS)]))
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


def metrics_of(score, months, event):
    """What a node sends."""
    return table_of(score, months, event).to_metrics() | OutcomeTable.of(score, months, event).to_metrics()


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
    total, expected = pooled_risk_table(metrics, 4), parts[0] + parts[1]
    for name in ("patients", "score", "exposure", "events"):
        np.testing.assert_allclose(getattr(total, name), getattr(expected, name))


def test_concordance_of_the_table_is_near_that_of_the_patients():
    score, months, event = simulate(2000, 0.0, 1.0)
    exact = harrell(Sample.of(months, event, draws=0), score)[0]
    assert table_of(score, months, event).concordance() == pytest.approx(exact, abs=0.03)
    assert RiskTable.of([], np.zeros((0, 4)), np.zeros((0, 4))).concordance() is None


def test_planted_recalibration_is_found_again():
    planted = np.array([-0.5, 0.6, 0.4, -0.3, 0.2, 0.0])
    fitted, covariance = fit_recalibration(table_of(*simulate(40_000, *planted)), BASELINE, EDGES)
    assert fitted[1] == pytest.approx(0.6, abs=0.03)
    np.testing.assert_allclose(fitted[0] + fitted[2:], -0.5 + planted[2:], atol=0.05)  # only the sums show
    assert np.sqrt(covariance[1, 1]) < 0.02


def test_each_endpoint_is_calibrated_by_itself():
    planted = np.array([0.0, 1.0, 0.8, -0.8, 0.4, 0.0])
    told = calibrate({"": metrics_of(*simulate(4000, *planted))}, BASELINE, EDGES)
    raw = np.linspace(-2, 2, 9)
    truth = survival_of(BASELINE + design(raw, EDGES) @ planted)
    np.testing.assert_allclose(told.free(BASELINE + raw[:, None], raw, EDGES), truth, atol=0.04)
    one = replace(told, shifts=(0.0,) * SEGMENTS)  # what slope and intercept alone would do
    assert np.abs(one.free(BASELINE + raw[:, None], raw, EDGES) - truth).max() > 0.1


def test_covariance_is_the_spread_over_cohorts():
    tables = [table_of(*simulate(1500, 0.2, 0.8, seed=seed)) for seed in range(60)]  # the prior hardly counts
    fits = [fit_recalibration(table, BASELINE, EDGES) for table in tables]
    shown = np.concatenate([np.eye(SEGMENTS + 2)[1:2], np.eye(SEGMENTS + 2)[2:] + np.eye(SEGMENTS + 2)[0]])
    spread = np.std([shown @ fitted for fitted, _ in fits], axis=0)
    stated = np.sqrt(np.mean([np.diag(shown @ covariance @ shown.T) for _, covariance in fits], axis=0))
    np.testing.assert_allclose(stated, spread, rtol=0.35)


def test_few_patients_stay_near_the_network():
    fitted, covariance = fit_recalibration(table_of(*simulate(6, 1.5, -1.0)), BASELINE, EDGES)
    assert np.abs(fitted - [0, 1, 0, 0, 0, 0]).max() < 0.75
    assert np.abs(fitted[2:]).max() < 0.3
    assert np.sqrt(np.diag(covariance)).min() > 0.2


def test_base_rates_without_censoring_are_proportions():
    months = np.array([1.0, 4.0, 5.0, 7.0, 13.0, 25.0, 2.0, 30.0])
    rates = base_rates(table_of(np.zeros(8), months, np.ones(8, bool)), EDGES)
    assert rates == pytest.approx({"early_failure_3m": 2 / 8, "dcb_6m": 4 / 8, "pfs_12m": 3 / 8})


def test_thirds_cut_the_patients_in_three():
    score, months, event = simulate(3000, 0.0, 1.0)
    low, high = risk_thirds(table_of(score, months, event))
    assert (score < low).mean() == pytest.approx(1 / 3, abs=0.03)
    assert (score >= high).mean() == pytest.approx(1 / 3, abs=0.03)


def test_no_table_is_refused():
    with pytest.raises(FederationError, match=r"the nodes report 7 in all.*at least 5 validation"):
        calibrate({"a": {"loss": 1.0, "n": 7.0}}, BASELINE, EDGES)


def test_outcomes_are_counted_once_each_and_weighted_for_the_censored():
    months = [1.0, 2.0, 4.0, 5.9, 6.0, 12.0, 3.0, 0.5]
    event = [1, 0, 1, 0, 1, 0, 0, 1]
    table = OutcomeTable.of([-99.0, *np.linspace(-1, 1, 6), 99.0], months, event)
    assert (table.patients, table.free.sum(1).tolist(), table.failed.sum(1).tolist()) == (8.0, [5, 2, 1], [2, 1, 1])
    assert (table.failed[0, 0], table.failed[0, -1]) == (1, 1)
    free, failed = table.weights()
    for e in range(3):
        counted = free[e] * table.free[e].sum() + (failed[: e + 1] * table.failed[: e + 1].sum(1)).sum()
        assert counted == pytest.approx(8)
    assert free[0] == pytest.approx(8 / 5 * (5 / 8) ** (2 / 3))
    assert np.all(np.diff(free) >= 0)
    whole = OutcomeTable.of(np.zeros(4), [1.0, 4.0, 7.0, 20.0], np.ones(4))
    np.testing.assert_allclose(whole.weights(), 1.0)


def test_outcome_tables_sum_and_survive_the_metrics_of_fedbiomed():
    cohorts = [simulate(count, 0.0, 1.0, seed=count) for count in (40, 60)]
    tables = [OutcomeTable.of(*cohort) for cohort in cohorts]
    both = OutcomeTable.of(*(np.concatenate(column) for column in zip(*cohorts, strict=True)))
    metrics = [{"loss": 1.0, **tables[0].to_metrics()}, tables[1].to_metrics(), {"loss": 1.0, "n": 3.0}]
    for total in (tables[0] + tables[1], pooled_outcomes(metrics)):
        assert total.patients == both.patients == 100
        np.testing.assert_array_equal(total.free, both.free)
        np.testing.assert_array_equal(total.failed, both.failed)


def test_a_node_of_few_patients_sends_no_table(training_nodes):
    contract = training_nodes.small_contract()
    task = TrainingTask(contract=contract, network="clinical")
    network, inputs = task.build(), {"image": torch.zeros(1, 2, *contract.shape)}
    for patients in (MINIMUM_CASES - 1, MINIMUM_CASES):
        validating = range(patients)
        node = SimpleNamespace(
            validation=validating, rules=OPEN_POLICY.data, node=SimpleNamespace(cases=()), sits_out=False
        )
        validation = ValidationMetrics(task, node)
        for _ in range(patients):
            target = {"months": torch.tensor([7.0]), "event": torch.tensor([1.0])}
            validation.step(network, inputs | {"clinical": torch.zeros(1, len(contract.inputs))}, target)
        enough = patients == MINIMUM_CASES
        told = validation.result
        assert told["n"] == patients
        assert OutcomeTable.from_metrics(told).patients == (patients if enough else 0)
        assert RiskTable.from_metrics(told, len(contract.month_edges) - 1).patients.sum() == (patients if enough else 0)


def covered(calibration, planted, *, seed=99, whole=True):
    """By endpoint how often sets hold the outcome of the free, of the progressing, and the indeterminate share."""
    score, months, _ = simulate(20_000, *planted, seed=seed, censored=False)
    free = calibration.free(BASELINE + score[:, None], score, EDGES)
    found = {}
    for name, limits in calibration.thresholds.items():
        horizon = ENDPOINT_MONTHS[name]
        sets = np.stack(in_conformal_set(free[:, EDGES.index(horizon)], limits))
        assert sets.any(0).all() or not whole
        free_then = months >= horizon
        found[name] = (sets[0][free_then].mean(), sets[1][~free_then].mean(), sets.all(0).mean())
    return found


def test_conformal_sets_hold_the_outcome_as_often_as_promised():
    planted = (0.3, 0.8, 0.3, -0.2, 0.0, 0.0)
    told = calibrate({"": metrics_of(*simulate(6000, *planted))}, BASELINE, EDGES)
    found = covered(told, planted)
    assert set(found) == set(ENDPOINT_MONTHS)
    for free, progression, indeterminate in found.values():
        assert 0.78 < free < 0.85
        assert 0.78 < progression < 0.85
        assert 0.05 < indeterminate < 0.55
    narrow = {name: SetLimits(one.free - 0.1, one.progression - 0.1) for name, one in told.thresholds.items()}
    for free, progression, _ in covered(replace(told, thresholds=narrow), planted, whole=False).values():
        assert min(free, progression) < 0.785


def test_conformal_sets_of_small_federations_hold_on_the_average():
    planted, shares = (0.2, 0.9, 0.3, -0.3, 0.0, 0.0), []
    for seed in range(25):
        told = calibrate({"": metrics_of(*simulate(75, *planted, seed=seed))}, BASELINE, EDGES)
        shares.append([outcomes[:2] for outcomes in covered(told, planted).values()])
    assert np.all(np.mean(shares, 0) > 0.79)
    assert np.all(np.mean(shares, 0) < 0.89)


def test_conformal_sets_are_right_whichever_way_the_score_points():
    planted = (0.0, -0.7, 0.0, 0.0, 0.0, 0.0)
    told = calibrate({"": metrics_of(*simulate(6000, *planted))}, BASELINE, EDGES)
    assert told.b < 0
    assert all(min(outcomes[:2]) > 0.78 for outcomes in covered(told, planted).values())


def test_too_few_patients_give_no_threshold():
    score, months, event = simulate(400, 0.0, 1.0, censored=False)
    assert calibrate({"": metrics_of(score[:3], months[:3], event[:3])}, BASELINE, EDGES).thresholds == {}
    assert len(calibrate({"": metrics_of(score, months, event)}, BASELINE, EDGES).thresholds) == 3


def test_sites_are_checked_by_the_tables_of_the_others():
    planted = (0.0, 1.0, 0.0, 0.0, 0.0, 0.0)
    sites = {name: metrics_of(*simulate(400, *planted, seed=seed)) for seed, name in enumerate("abc")}
    score, months, event = simulate(400, *planted, seed=9)
    sites["odd"] = metrics_of(-score, months, event)  # a site where the score misleads
    found = coverage_by_site({**sites, "small": {"loss": 1.0, "n": 3.0}}, BASELINE, EDGES)
    assert set(found) == set(ENDPOINT_MONTHS)
    for told in found.values():
        assert set(told["by_site"]) == set(sites)
        assert told["all"]["known"] == sum(one["known"] for one in told["by_site"].values())
        assert told["by_site"]["odd"]["coverage"]["upper"] < 0.75
        for name in "abc":
            assert told["by_site"][name]["coverage"]["upper"] > 0.8
    assert coverage_by_site({"alone": sites["a"]}, BASELINE, EDGES) == {}


def test_coverage_by_centre_is_that_of_the_known_outcomes():
    months, event = np.array([13.0, 13.0, 2.0, 2.0]), np.array([False, True, True, True])
    told = coverage_by_centre(
        np.array(["a", "a", "b", "b"]), months, event,
        {"pfs_12m": (np.array([0.9, 0.5, 0.5, 0.9]), np.full((4, 2), 0.6)),
         "dcb_6m": (np.zeros(4), np.full((4, 2), np.nan))},
    )  # fmt: skip
    assert set(told) == {"pfs_12m"}
    assert told["pfs_12m"]["all"]["coverage"]["value"] == 0.75
    assert told["pfs_12m"]["by_centre"]["a"]["coverage"] == {
        "value": 1.0,
        "lower": pytest.approx(0.158, abs=1e-3),
        "upper": 1.0,
    }
    assert told["pfs_12m"]["by_centre"]["b"]["indeterminate"]["value"] == 0.5


SHIFTS = {"a": 0.0, "b": 0.5, "c": -0.5, "d": 0.3, "e": -0.3}


def nodes_of(shifts, patients, *, seed=0):
    """What centres send whose intercepts differ."""
    return {
        site: metrics_of(*simulate(patients, shift, 1.0, seed=1000 * seed + at))
        for at, (site, shift) in enumerate(shifts.items())
    }


def test_each_centre_has_its_intercept_drawn_to_the_common_one():
    told = calibrate(nodes_of(SHIFTS, 2000), BASELINE, EDGES)
    assert told.between_centres**0.5 == pytest.approx(np.std(list(SHIFTS.values())), abs=0.15)
    for site, shift in SHIFTS.items():
        assert told.a + told.centres[site].shift + told.shifts[2] == pytest.approx(shift, abs=0.2)
    few = calibrate(nodes_of(SHIFTS, 20), BASELINE, EDGES)
    assert all(few.centres[site].variance > 3 * told.centres[site].variance for site in SHIFTS)
    alike = calibrate(nodes_of(dict.fromkeys(SHIFTS, 0.0), 2000), BASELINE, EDGES)
    assert 0 < alike.between_centres < 0.1 * told.between_centres


def test_an_unknown_centre_is_answered_wider_than_one_that_was_calibrated():
    told = calibrate(nodes_of(SHIFTS, 200), BASELINE, EDGES)
    assert told.at("elsewhere") == told
    own = told.at("a")
    assert (own.centre, own.between_centres) == ("a", 0.0)
    widths = [np.subtract(curve.upper, curve.lower) for curve in (
        one.survival(BASELINE, 0.0, EDGES) for one in (told, own)
    )]  # fmt: skip
    assert np.all(widths[0][1:] > 1.3 * widths[1][1:])
    for name, limits in own.thresholds.items():
        assert told.thresholds[name].free + told.thresholds[name].progression >= sum(limits) - 0.05


def test_sets_hold_each_outcome_at_each_centre_and_at_one_that_was_left_out():
    """At a centre where many progress one limit for all would fail those who do not."""
    found = {"known": [], "unknown": []}
    for seed in range(6):
        nodes = nodes_of(SHIFTS, 80, seed=seed)
        told = calibrate(nodes, BASELINE, EDGES)
        for site, shift in SHIFTS.items():
            others = calibrate({name: one for name, one in nodes.items() if name != site}, BASELINE, EDGES)
            for kind, one in (("known", told.at(site)), ("unknown", others)):
                found[kind].append([x[:2] for x in covered(one, (shift, 1.0, 0, 0, 0, 0)).values()])
    for shares in found.values():
        by_site = np.mean(np.reshape(shares, (6, len(SHIFTS), 3, 2)), axis=0)  # centre, endpoint, outcome
        assert np.all(by_site.mean(0) > 0.78)
        assert np.all(by_site.mean(2) > 0.78)


def test_where_only_the_sum_of_the_centres_is_known_no_centre_is_named():
    told = calibrate({ALL_SITES: metrics_of(*simulate(400, 0.0, 1.0))}, BASELINE, EDGES)
    assert told.centres == {}
    assert told.between_centres == pytest.approx(0.09, abs=0.01)
    assert len(told.thresholds) == 3
