"""Sums of gradients and Hessians of the centres: the fit of the pooled patients, and faults that must not pass."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import minimize

from fedpet.core.errors import FederationError, NodeDataError
from inference.input_contract import default_contract
from inference.network import reference_baseline
from training.task.losses import interval_targets, survival_nll_by_patient
from training.task.method import MASKED_RANGE, Aggregation
from training.task.newton import LARGEST_SPREAD, CentreTable
from training.task.newton_fit import NewtonFit, NewtonPlan, answer, folds_of, out_of_fold, require_many
from training.task.quantization import QUANTIZATION_LEVELS

torch = pytest.importorskip("torch")
EDGES = default_contract().month_edges
INTERVALS = len(EDGES) - 1
SIZES = {"nice": 130, "lyon": 70, "dijon": 40}
SHIFTS = {"nice": 0.4, "lyon": -0.5, "dijon": 0.0}
EFFECTS = np.array([0.6, -0.4, 0.0, 0.2, 0.0, 0.0])
INPUTS = len(EFFECTS)
AGGREGATION = Aggregation(method="newton", ridges=(3.0, 10.0, 30.0))
ROUNDS = 7


def patients(count, shift, seed, effects=EFFECTS):
    generator, cases = np.random.default_rng(seed), []
    for _ in range(count):
        inputs = generator.normal(size=len(effects)).astype(np.float32)
        time = generator.exponential(1 / (0.09 * np.exp(effects @ inputs + shift)))
        censoring = generator.uniform(3, 30)
        cases.append(SimpleNamespace(clinical=inputs, months=min(time, censoring), event=time <= censoring))
    return cases


@pytest.fixture(scope="module")
def centres():
    tables = {}
    for seed, (site, count) in enumerate(SIZES.items()):
        table = CentreTable.of(patients(count, SHIFTS[site], seed), EDGES, [True] * INPUTS)
        tables[site] = (table, folds_of([f"{site}{i}" for i in range(count)], site, AGGREGATION.folds, 5))
    return tables


def plan(aggregation=AGGREGATION, inputs=INPUTS):
    return NewtonPlan.of(aggregation, inputs, EDGES, ROUNDS)


def sums_of(fit, index, centres, *, masked=False, change=lambda _, sums: sums):
    """What the coordinating centre decodes of a round; `change` is what a faulty site does to its own."""
    layout, vectors, sizes = fit.plan.layout, [], []
    for site, (table, folds) in centres.items():
        sums = change(site, answer(fit.plan, index, table, folds, fit.coefficients, fit.trials))
        vector = layout.encode(sums, len(folds), masked=masked).double().numpy()
        if masked:  # as Fed-BioMed rounds and clips
            vector = np.floor((vector.clip(-MASKED_RANGE, MASKED_RANGE) + MASKED_RANGE) * QUANTIZATION_LEVELS / 12)
        vectors.append(vector)
        sizes.append(len(folds))
    return layout.decode(np.average(vectors, axis=0, weights=sizes), sum(sizes), masked=masked)


def run(centres, aggregation=AGGREGATION, **how):
    fit = NewtonFit(plan(aggregation))
    for index in range(ROUNDS + 1):
        fit.advance(index, sums_of(fit, index, centres, **how))
    return fit


@pytest.fixture(scope="module")
def fit(centres):
    return run(centres)


def test_the_likelihood_is_that_of_the_networks():
    cases = patients(20, 0.0, 9)
    table = CentreTable.of(cases, EDGES, [True] * INPUTS)
    coefficients = np.concatenate([EFFECTS, reference_baseline(EDGES)])
    score = torch.tensor(np.stack([case.clinical for case in cases]) @ EFFECTS)
    months, event = torch.tensor([c.months for c in cases]), torch.tensor([c.event for c in cases])
    logits = score[:, None] + torch.tensor(reference_baseline(EDGES), dtype=torch.float64)
    expected = survival_nll_by_patient(logits, months, event, EDGES).numpy()
    np.testing.assert_allclose(table.loss(coefficients), expected, atol=1e-5)
    exposure, _ = interval_targets(months, event, EDGES)
    np.testing.assert_array_equal(table.exposure, exposure.numpy())


def test_the_sums_lead_to_the_pooled_fit_with_an_intercept_of_each_centre(centres, fit):
    """All coefficients and the centres' intercepts together, by a general optimiser on the patients themselves."""
    prior, count = fit._prior(fit.state.ridge), INPUTS + INTERVALS

    def objective(values):
        w, c = values[:count], values[count:]
        losses = [table.loss(w, one).sum() for (table, _), one in zip(centres.values(), c, strict=True)]
        return sum(losses) + AGGREGATION.centre_ridge * (c**2).sum() / 2 + prior.penalty(w)

    start = np.concatenate([fit.coefficients, np.zeros(len(SIZES))])
    found = minimize(objective, start, method="BFGS", options={"gtol": 1e-8}).x
    assert np.abs(found[:count] - fit.coefficients).max() < 1e-5  # of the optimiser
    own = [table.at(fit.coefficients, AGGREGATION.centre_ridge).intercept for table, _ in centres.values()]
    np.testing.assert_allclose(found[count:], own, atol=1e-5)
    assert own[0] > 0.1 > -0.1 > own[1]


def test_one_table_of_all_patients_gives_the_same_to_1e_6(centres):
    """Without intercepts of the centres, where the pooled fit has none either."""
    plain = AGGREGATION.model_copy(update={"centre_ridge": 0.0})
    tables = [table for table, _ in centres.values()]
    whole = CentreTable(*(np.concatenate([getattr(t, n) for t in tables]) for n in ("inputs", "exposure", "events")))
    folds = np.concatenate([folds for _, folds in centres.values()])
    federated, pooled = run(centres, plain), run({"all": (whole, folds)}, plain)
    assert np.abs(federated.coefficients - pooled.coefficients).max() < 1e-6
    assert federated.state.held_out == pytest.approx(pooled.state.held_out, abs=1e-6)


def test_masks_move_it_by_less_than_the_rounding_allows(centres, fit):
    masked = run(centres, masked=True)
    assert np.abs(masked.coefficients - fit.coefficients).max() < 2e-5
    np.testing.assert_allclose(masked.state.errors, fit.state.errors, rtol=1e-2)


def test_the_mean_of_a_centre_s_gradient_is_far_from_zero_and_not_clipped(centres, fit):
    """Why the bounds are those of the likelihood: a scale by which only the sum fits clips every centre."""
    at = {site: table.at(fit.coefficients, None) for site, (table, _) in centres.items()}
    means = {s: np.abs(d.gradient() / SIZES[s])[:INPUTS] for s, d in at.items()}
    assert max(mean.max() for mean in means.values()) > 0.05
    whole = sum(d.gradient() for site, d in at.items())[:INPUTS] / sum(SIZES.values())
    assert np.abs(whole).max() < max(mean.max() for mean in means.values())

    def clipped(_, sums):
        limit = 0.02 * sums["patients"].sum()
        return {**sums, "gradient": sums["gradient"].clip(-limit, limit)}

    wrong = NewtonFit(plan())
    for index in range(ROUNDS):
        wrong.advance(index, sums_of(wrong, index, centres, change=clipped))
    assert np.abs(wrong.coefficients - fit.coefficients).max() > 0.02


def test_a_site_refuses_to_send_what_would_be_clipped(centres):
    layout, (table, folds) = plan().layout, centres["dijon"]
    fit = NewtonFit(plan())
    sums = answer(fit.plan, 1, table, folds, fit.coefficients, fit.trials)
    sums["gradient"][0, 0] = 1.01 * layout.bounds["gradient"][0, 0] * len(folds)
    with pytest.raises(FederationError, match="gradient"):
        layout.encode(sums, len(folds), masked=True)


def test_a_site_refuses_inputs_beyond_the_bounds():
    cases = patients(10, 0.0, 3)
    cases[0].clinical[2] = LARGEST_SPREAD * np.sqrt(10) + 0.1
    with pytest.raises(NodeDataError, match="root mean square of 4"):
        CentreTable.of(cases, EDGES, [True] * INPUTS)
    CentreTable.of(cases, EDGES, [True, True, False, True, True, True])


def test_no_sum_of_extreme_patients_reaches_its_bound():
    """Inputs at the largest spread and hazards near 1: what a wild step could ask for."""
    generator = np.random.default_rng(4)
    inputs = LARGEST_SPREAD * generator.choice([-1.0, 1.0], (12, INPUTS))
    exposure = np.ones((12, INTERVALS))
    table = CentreTable(inputs, exposure, np.zeros_like(exposure))
    layout, folds = plan().layout, np.zeros(12, int)
    for scale in (0.0, 0.3, 3.0):
        coefficients = np.concatenate([np.full(INPUTS, scale), np.zeros(INTERVALS)])
        for centre_ridge in (0.0, 35.0):
            fit = NewtonFit(plan(AGGREGATION.model_copy(update={"centre_ridge": centre_ridge})))
            sums = answer(fit.plan, ROUNDS, table, folds, coefficients, fit.trials)
            for name in ("gradient", "hessian", "scores", "time_gradient", "time_across", "time_own"):
                assert (np.abs(sums[name]) <= 12 * layout.bounds[name]).all()


def test_a_hessian_of_the_wrong_sign_is_found(centres):
    def wrong(site, sums):
        return {**sums, "hessian": -sums["hessian"]} if site == "nice" else sums

    fit = NewtonFit(plan())
    received = sums_of(fit, 0, centres, change=wrong)
    with pytest.raises(FederationError, match="negative direction"):
        fit.advance(0, received)


def test_a_fit_that_is_not_at_its_optimum_is_refused(centres):
    """Hessians three times too large, which are definite: the steps are too short."""
    fit = NewtonFit(plan())
    for index in range(ROUNDS):
        received = sums_of(fit, index, centres)
        fit.advance(index, {**received, "hessian": 3 * received["hessian"]})
    received = sums_of(fit, ROUNDS, centres)
    with pytest.raises(FederationError, match="standard errors from its optimum"):
        fit.advance(ROUNDS, received)


def test_a_step_too_far_is_halved(centres):
    """A start at which Newton's own step raises the loss: the fit arrives all the same."""
    far = NewtonFit(replace(plan(), baseline=(4.0,) * INTERVALS, rounds=20))
    rises = 0
    for index in range(21):
        before = far.state.objective
        far.advance(index, sums_of(far, index, centres))
        rises += far.state.objective == before
    assert far.state.remaining < 0.01
    assert rises


def test_cross_validation_takes_the_ridge_that_a_full_one_takes(centres):
    """One step from the common fit against the fit of the other folds itself."""
    ridges = (1.0, 10.0, 100.0, 1000.0)
    one = run(centres, AGGREGATION.model_copy(update={"ridges": ridges}))
    exact = {}
    for ridge in ridges:
        prior, losses = one._prior(ridge), 0.0
        for k in range(AGGREGATION.folds):
            parts = [(t.part(f != k), f[f != k]) for t, f in centres.values()]
            w = one.coefficients
            for _ in range(8):
                there = [t.at(w, AGGREGATION.centre_ridge) for t, _ in parts]
                gradient, hessian = sum(d.gradient() for d in there), sum(d.hessian() for d in there)
                w = w + np.linalg.solve(
                    hessian + np.diag(prior.precision), -gradient - prior.precision * (w - prior.mean)
                )
            losses += sum(t.loss(w)[f == k].sum() for t, f in centres.values())
        exact[f"{ridge:g}"] = losses / sum(SIZES.values())
    assert min(one.state.held_out, key=one.state.held_out.get) == min(exact, key=exact.get) == f"{one.state.ridge:g}"
    assert one.state.held_out == pytest.approx(exact, abs=0.005)


def test_patients_are_scored_by_the_fit_without_them(centres, fit):
    chosen = fit.trials[: AGGREGATION.folds]
    without = sum(out_of_fold(table, folds, chosen).sum() for table, folds in centres.values())
    assert without / sum(SIZES.values()) == pytest.approx(fit.state.held_out[f"{fit.state.ridge:g}"], abs=1e-6)
    apparent = sum(table.loss(fit.coefficients).sum() for table, _ in centres.values())
    assert without > apparent + 1.0


@pytest.mark.parametrize(("count", "smallest", "folds"), [(9, 5, 1), (10, 5, 2), (25, 5, 5), (200, 5, 5), (5, 1, 5)])
def test_no_fold_of_a_site_is_smaller_than_its_smallest_cell(count, smallest, folds):
    names = [f"p{i}" for i in range(count)]
    found = folds_of(names, "nice", 5, smallest)
    sizes = np.bincount(found, minlength=5)
    assert (sizes > 0).sum() == folds
    assert (sizes[sizes > 0] >= min(smallest, count)).all()
    other = folds_of(names[::-1], "nice", 5, smallest)
    np.testing.assert_array_equal(found, other[::-1])


def test_intervals_cover_as_often_as_they_say():
    """95 % intervals of an effect and of none over 60 cohorts, with a ridge that hardly shrinks."""
    aggregation = Aggregation(method="newton", ridges=(0.5,), centre_ridge=0.0)
    covered = np.zeros(2)
    for seed in range(60):
        table = CentreTable.of(patients(250, 0.0, 100 + seed, EFFECTS[:3]), EDGES, [True] * 3)
        fit = NewtonFit(NewtonPlan.of(aggregation, 3, EDGES, 6))
        for index in range(7):
            fit.advance(index, answer(fit.plan, index, table, np.arange(250) % 5, fit.coefficients, fit.trials))
        off = np.abs(fit.coefficients[[1, 2]] - [-0.4 * 1.05, 0.0]) / np.array(fit.state.errors)[[1, 2]]
        covered += off < 1.96
    assert (covered >= 51).all(), covered


def test_an_interval_without_events_and_a_constant_input_stay_finite():
    cases = [one for one in patients(60, 0.0, 5) if not (one.event and one.months >= 12)]
    for case in cases:
        case.clinical[4] = 0.0
    table = CentreTable.of(cases, EDGES, [True] * INPUTS)
    fit = run({"nice": (table, np.arange(len(cases)) % 5)})
    assert fit.coefficients[4] == 0.0
    assert np.abs(fit.coefficients).max() < 6.0


def test_a_resumed_fit_is_the_uninterrupted_one(centres, fit):
    first = NewtonFit(plan())
    for index in range(3):
        first.advance(index, sums_of(first, index, centres))
    again = NewtonFit(plan(), first.to_json())
    for index in range(3, ROUNDS + 1):
        again.advance(index, sums_of(again, index, centres))
    assert again.to_json() == fit.to_json()


def over_time(seed, change):
    """p values of proportional hazards in a cohort whose first effect is `change` weaker after six months."""
    generator, cases = np.random.default_rng(seed), []
    for _ in range(400):
        inputs = generator.normal(size=3).astype(np.float32)
        early, late = (0.09 * np.exp(effect * inputs[0]) for effect in (0.6, 0.6 - change))
        need = generator.exponential()
        time = need / early if need < 6 * early else 6 + (need - 6 * early) / late
        censoring = generator.uniform(3, 30)
        cases.append(SimpleNamespace(clinical=inputs, months=min(time, censoring), event=time <= censoring))
    table = CentreTable.of(cases, EDGES, [True] * 3)
    fit = NewtonFit(NewtonPlan.of(Aggregation(method="newton", ridges=(1.0,)), 3, EDGES, 6))
    for index in range(7):
        fit.advance(index, answer(fit.plan, index, table, np.arange(400) % 5, fit.coefficients, fit.trials))
    return [*fit.state.proportional_by_input, fit.state.proportional]


def test_hazards_that_are_not_proportional_are_found_and_others_are_not():
    planted = np.array([over_time(seed, 0.9) for seed in range(30)]) < 0.05
    none = np.array([over_time(100 + seed, 0.0) for seed in range(60)]) < 0.05
    assert planted[:, 0].mean() > 0.8
    assert planted[:, 3].mean() > 0.6
    assert (none.mean(0) < 0.14).all(), none.mean(0)


def test_the_derivatives_by_time_are_those_of_the_loss(centres, fit):
    """By finite differences of the likelihood with an interaction, at the centre's own intercept of each."""
    table, clock = centres["lyon"][0], np.array(fit.plan.clock)
    q = INPUTS
    there = table.at(fit.coefficients, None)
    gradient, across, own = there.time_interactions(clock)
    step = 1e-4
    w, b = fit.coefficients[:q], fit.coefficients[q:]

    def loss(theta, shift):
        logits = (table.inputs @ (w + shift))[:, None] + b + np.outer(table.inputs @ theta, clock)
        return (table.exposure * np.logaddexp(0.0, logits) - table.events * logits).sum()

    one, zero = np.eye(q) * step, np.zeros(q)
    for j in range(2):
        assert (loss(one[j], zero) - loss(-one[j], zero)) / (2 * step) == pytest.approx(gradient[j], abs=1e-3)
        mixed = loss(one[j], one[1]) - loss(one[j], -one[1]) - loss(-one[j], one[1]) + loss(-one[j], -one[1])
        assert mixed / (4 * step**2) == pytest.approx(across[j, 1], abs=1e-2)
        curved = loss(one[j], zero) - 2 * loss(zero, zero) + loss(-one[j], zero)
        assert curved / step**2 == pytest.approx(own[j, j], abs=1e-2)


def test_a_site_refuses_coefficients_that_single_out_a_patient(centres, fit):
    """Hazards near 0 for all but the patient with the largest first input: its record would be the Hessian."""
    table, _ = centres["nice"]
    require_many(fit.plan, table, fit.coefficients, fit.trials, 5)
    order = np.sort(table.inputs[:, 0])
    steep = 400.0
    trap = np.concatenate([[steep], np.zeros(INPUTS - 1), np.full(INTERVALS, -steep * (order[-1] + order[-2]) / 2)])
    hessian = table.at(trap, None).hessian()
    assert np.linalg.matrix_rank(hessian, tol=1e-6) <= INTERVALS
    with pytest.raises(FederationError, match=r"Coefficients by which 1\.0 patients"):
        require_many(fit.plan, table, trap, fit.trials, 5)
    with pytest.raises(FederationError, match=r"Coefficients by which 1\.0 patients"):
        require_many(fit.plan, table, fit.coefficients, np.stack([fit.trials[0], trap]), 5)
