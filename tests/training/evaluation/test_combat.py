"""ComBat from the sites' sums equals ComBat of the pooled table, and does what it is for."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from fedpet.core.errors import NodeDataError
from training.evaluation.combat import QuantityTable, SiteSums, coefficients, fit, harmonise

SHIFT = np.array([0.8, -0.5, 0.3, 0.6, -0.9, 0.2])
SCALE = np.array([1.5, 0.7, 1.2, 0.6, 1.4, 0.8])
EFFECT = np.array([0.5, -0.4, 0.3, 0.6, 0.0, 0.2])


def sites(sizes, seed=0, quantities=6):
    """Centre "b" has a shift and a scale of its own; the first covariate acts, and is more frequent there."""
    generator = np.random.default_rng(seed)
    tables = {}
    for name, size in sizes.items():
        covariates = generator.normal(size=(size, 3)) + (name == "b") * np.array([1.0, 0.0, 0.0])
        noise = generator.normal(size=(size, quantities))
        if name == "b":
            noise = SHIFT[:quantities] + SCALE[:quantities] * noise
        tables[name] = QuantityTable(noise + covariates[:, :1] * EFFECT[:quantities] + 2.0, covariates)
    return tables


def harmonised(tables):
    shared, shifts = fit(tables)
    return {name: harmonise(table, shared, shifts[name]) for name, table in tables.items()}


def central(tables):
    """Johnson et al. 2007 on the pooled table, formula by formula, one site and quantity at a time."""
    names = list(tables)
    y = np.concatenate([tables[name].quantities for name in names])
    x = np.concatenate([tables[name].covariates for name in names])
    batch = np.concatenate([[name] * len(tables[name].quantities) for name in names])
    indicators = np.stack([(batch == name).astype(float) for name in names], 1)
    solved = np.linalg.lstsq(np.concatenate([indicators, x], 1), y, rcond=None)[0]
    shares = indicators.sum(0) / len(y)
    alpha, beta = shares @ solved[: len(names)], solved[len(names) :]
    sigma = np.sqrt(((y - np.concatenate([indicators, x], 1) @ solved) ** 2).mean(0))
    z = (y - alpha - x @ beta) / sigma
    clean = np.full_like(z, np.nan)
    for name in names:
        mine = z[batch == name]
        n = len(mine)
        gamma_hat, delta_hat = mine.mean(0), mine.var(0, ddof=1)
        gamma_bar, tau = gamma_hat.mean(), gamma_hat.var(ddof=1)
        v, s = delta_hat.mean(), delta_hat.var(ddof=1)
        shape, rate = (v**2 + 2 * s) / s, (v**3 + v * s) / s
        for g in range(z.shape[1]):
            gamma, delta = gamma_hat[g], delta_hat[g]
            for _ in range(2000):
                gamma = (n * tau * gamma_hat[g] + delta * gamma_bar) / (n * tau + delta)
                delta = (rate + 0.5 * ((mine[:, g] - gamma) ** 2).sum()) / (n / 2 + shape - 1)
            clean[batch == name, g] = (mine[:, g] - gamma) / np.sqrt(delta)
    restored = clean * sigma + alpha + x @ beta
    return {name: restored[batch == name] for name in names}


@pytest.mark.parametrize("sizes", [{"a": 80, "b": 60, "c": 12}, {"a": 5, "b": 30}])
def test_the_sites_sums_give_what_the_pooled_table_gives(sizes):
    tables = sites(sizes)
    expected = central(tables)
    for name, values in harmonised(tables).items():
        np.testing.assert_allclose(values, expected[name], rtol=0, atol=1e-8)
    assert np.abs(expected["b"] - tables["b"].quantities).max() > 0.1


def test_a_planted_shift_and_scale_go_and_the_covariates_effect_stays():
    tables = sites({"a": 3000, "b": 2000})
    clean = harmonised(tables)
    own = {name: clean[name] - tables[name].covariates[:, :1] * EFFECT for name in clean}
    pooled = np.concatenate(list(clean.values()))
    x = np.concatenate([table.covariates for table in tables.values()])
    found = np.linalg.lstsq(np.column_stack([np.ones(len(x)), x]), pooled, rcond=None)[0][1]
    np.testing.assert_allclose(found, EFFECT, atol=0.05)
    np.testing.assert_allclose(own["a"].mean(0), own["b"].mean(0), atol=0.08)
    np.testing.assert_allclose(own["b"].std(0) / own["a"].std(0), 1.0, atol=0.05)
    raw = {name: tables[name].quantities - tables[name].covariates[:, :1] * EFFECT for name in tables}
    np.testing.assert_allclose(raw["b"].mean(0) - raw["a"].mean(0), SHIFT, atol=0.08)  # it was there
    naive = clean["b"][:, 0].mean() - clean["a"][:, 0].mean()
    assert naive == pytest.approx(EFFECT[0], abs=0.08)  # more of the covariate in "b": that difference is no site's


def test_few_patients_are_shrunk_more():
    """Centre "b" once with 8 patients, once with the same 8 written 30 times: same mean, another trust in it."""
    tables = sites({"a": 300, "b": 8}, seed=3)
    many = {**tables, "b": QuantityTable(*(np.tile(part, (30, 1)) for part in tables["b"]))}
    kept = []
    for case in (tables, many):
        shared, shifts = fit(case)
        mean = shared.standardised(case["b"]).mean(0)
        kept.append(np.abs(shifts["b"].gamma - mean.mean()).sum() / np.abs(mean - mean.mean()).sum())
    few, more = kept
    assert few < 0.9
    assert few + 0.1 < more < 1.0


def test_only_sums_leave_a_site():
    """Their size does not depend on the patients; turned or split patients give the same model."""
    tables = sites({"a": 40, "b": 30})
    sums = SiteSums.of(tables["b"])
    assert {field.name: np.shape(getattr(sums, field.name)) for field in fields(sums)} == {
        "patients": (),
        "quantities": (6,),
        "covariates": (3,),
        "squares": (3, 3),
        "products": (3, 6),
    }
    turned = SiteSums.of(QuantityTable(*(part[::-1] for part in tables["b"])))
    other = SiteSums.of(tables["a"])
    np.testing.assert_allclose(coefficients(sums + other).beta, coefficients(other + turned).beta, atol=1e-12)


def test_a_patient_who_was_not_in_the_fit_is_moved_like_his_centre():
    tables = sites({"a": 60, "b": 40})
    shared, shifts = fit(tables)
    first = QuantityTable(*(part[:1] for part in tables["b"]))
    np.testing.assert_allclose(harmonise(first, shared, shifts["b"]), harmonised(tables)["b"][:1])


def test_covariates_that_no_site_can_tell_from_itself_do_no_harm():
    """One that is constant within the centres, and one that is there twice."""
    tables = sites({"a": 60, "b": 40})
    more = {
        name: QuantityTable(
            table.quantities, np.column_stack([table.covariates, table.covariates[:, 1], at * np.ones(n)])
        )
        for at, (name, table) in enumerate(tables.items())
        for n in [len(table.quantities)]
    }
    expected = harmonised(tables)
    for name, values in harmonised(more).items():
        np.testing.assert_allclose(values, expected[name], atol=1e-8)


def test_too_little_to_learn_from_is_refused():
    tables = sites({"a": 60, "b": 40})
    for few in (1, 4):
        with pytest.raises(NodeDataError, match=f"{few} patients"):
            fit({**tables, "c": QuantityTable(*(part[:few] for part in tables["a"]))})
    flat = QuantityTable(np.zeros((9, 6)), np.zeros((9, 3)))
    with pytest.raises(NodeDataError, match="No quantity varies"):
        fit({**tables, "c": flat})
    same = {
        name: QuantityTable(table.quantities * [1, 1, 0, 1, 1, 1], table.covariates) for name, table in tables.items()
    }
    with pytest.raises(NodeDataError, match="1 quantities vary within no centre"):
        fit(same)
    with pytest.raises(ValueError, match="at least 2"):
        fit(sites({"a": 60, "b": 40}, quantities=1))


def test_one_quantity_without_variance_in_a_site_takes_the_others_scale():
    """No patient of a small centre has liver metastases."""
    tables = sites({"a": 60, "b": 40, "c": 10})
    values = tables["c"].quantities.copy()
    values[:, 4] = -0.6
    quiet = {**tables, "c": QuantityTable(values, tables["c"].covariates * 0)}
    shared, shifts = fit(quiet)
    assert 0 < shifts["c"].delta[4] < shifts["c"].delta[[0, 1, 2, 3, 5]].min()
    assert np.isfinite(harmonise(quiet["c"], shared, shifts["c"])).all()
