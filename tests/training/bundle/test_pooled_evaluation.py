"""Figures from summed tables against those of the same patients one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from inference.bundle.storage import load_model
from training.bundle.pooled_evaluation import CalibratedModel, concordance, evaluate_tables
from training.metrics import Sample, harrell
from training.task.losses import interval_targets
from training.task.risk_table import OutcomeTable, RiskTable
from training.task.small_cells import merge_small_cells


@pytest.fixture(scope="module")
def model():
    bundle = load_model()
    edges = bundle.contract.month_edges
    calibration = replace(bundle.calibration, a=0.0, b=1.0)
    return CalibratedModel(calibration, np.linspace(-2.5, -1.5, len(edges) - 1), edges)


def patients(model, count, seed, *, slope=1.0, shift=0.0):
    """Scores, months and events of patients whose calibrated logits are off by a slope and a shift."""
    generator = np.random.default_rng(seed)
    score = generator.normal(0, 1, count)
    logits = model.logits(score)
    logits = logits + shift + (slope - 1) * model.calibration.b * score[:, None]
    hit = generator.random(logits.shape) < 1 / (1 + np.exp(-logits))
    edges = np.asarray(model.edges)
    interval = np.where(hit.any(1), hit.argmax(1), len(edges) - 2)
    months = edges[interval] + generator.random(count) * np.diff(edges)[interval]
    months = np.where(hit.any(1), months, edges[-1])
    censored = generator.uniform(3, 60, count)
    return score, np.minimum(months, censored), (months <= censored) & hit.any(1)


def metrics(model, score, months, event, *, of_site=False):
    exposure, events = (
        part.numpy() for part in interval_targets(torch.tensor(months), torch.tensor(event), model.edges)
    )
    tables = RiskTable.of(score, exposure, events).to_metrics() | OutcomeTable.of(score, months, event).to_metrics()
    whole = {"n": float(len(score)), "events": float(event.sum()), "loss": 1.0, "sites": 1.0, **tables}
    merged = merge_small_cells(whole, 5, model.edges, by_time=not of_site)
    return {name: value for name, value in merged.items() if not (of_site and name.startswith("concordance"))}


def test_the_figures_are_those_of_the_patients(model):
    score, months, event = patients(model, 600, 1)
    found = evaluate_tables(metrics(model, score, months, event), {}, model)
    assert (found["patients"], found["events"], found["by_centre"]) == (600, int(event.sum()), {})
    direct = harrell(Sample.of(months, event, draws=0), score)[0]
    assert found["concordance"]["value"] == pytest.approx(direct, abs=0.015)
    at = list(model.edges).index(12.0)
    predicted = model.calibration.free(model.baseline + score[:, None], score, model.edges)[:, at].mean()
    year = found["calibration"]["pfs_12m"]
    assert year["predicted"] == pytest.approx(predicted, abs=0.03)
    assert year["observed"]["lower"] < predicted < year["observed"]["upper"]
    assert 0.7 < found["conformal_sets"]["pfs_12m"]["coverage"]["value"] <= 1


@pytest.mark.parametrize(("slope", "shift"), [(1.0, 0.0), (0.4, 0.0), (1.0, 0.7)])
def test_slope_and_intercept_are_found(model, slope, shift):
    found = evaluate_tables(metrics(model, *patients(model, 3000, 2, slope=slope, shift=shift)), {}, model)
    calibration = found["calibration"]
    assert calibration["slope"]["value"] == pytest.approx(slope, abs=0.15)
    if slope == 1.0:
        assert calibration["intercept"]["value"] == pytest.approx(shift, abs=0.1)
        assert calibration["slope"]["lower"] < 1.0 < calibration["slope"]["upper"]
    else:
        assert calibration["slope"]["upper"] < 1.0


def test_the_interval_of_the_concordance_holds_the_truth_as_often_as_it_says(model):
    """Of 200 samples of 80 patients, against the concordance of 20,000."""

    def table(count, seed):
        score, months, event = patients(model, count, seed)
        targets = interval_targets(torch.tensor(months), torch.tensor(event), model.edges)
        return RiskTable.of(score, *(part.numpy() for part in targets))

    truth = table(20_000, 0).concordance()
    found = [concordance({}, table(80, seed)) for seed in range(1, 201)]
    assert 0.90 <= np.mean([one["lower"] < truth < one["upper"] for one in found]) <= 0.99


def test_a_site_is_shown_where_it_sent_its_table(model):
    score, months, event = patients(model, 60, 3)
    own = metrics(model, score, months, event, of_site=True)
    found = evaluate_tables(metrics(model, *patients(model, 300, 4)), {"nice": own, "caen": {"n": 0.0}}, model)
    assert set(found["by_centre"]) == {"nice"}
    assert found["by_centre"]["nice"]["patients"] == 60
    direct = harrell(Sample.of(months, event, draws=0), score)[0]
    assert 0.58 < found["by_centre"]["nice"]["concordance"]["value"] < direct + 0.02  # merged bins draw it to 0.5


def test_no_events_no_figures(model):
    score = np.zeros(12)
    found = evaluate_tables(metrics(model, score, np.full(12, 40.0), np.zeros(12, bool)), {}, model)
    assert found["concordance"] is None
    assert (found["calibration"]["slope"], found["calibration"]["intercept"]) == (None, None)
