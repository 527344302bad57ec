"""What sites add to a round's sums: it arrives as it was sent, in clear and under masks, and only as a sum."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedpet.core.errors import FederationError
from training.task.carried import CARRIED, CarriedValues
from training.task.losses import interval_targets
from training.task.method import MASKED_RANGE, FederatedMethod
from training.task.pooled import pooled_change
from training.task.quantization import QUANTIZATION_LEVELS
from training.task.risk_table import OutcomeTable, RiskTable, pooled_outcomes, pooled_risk_table
from training.task.small_cells import merge_small_cells
from training.task.statistics import STATISTICS
from training.task.task import TrainingTask

EDGES = (0.0, 1.5, 3.0, 4.5, 6.0, 9.0, 12.0, 18.0, 60.0)
VALUES = CarriedValues(len(EDGES) - 1)


def site(patients, seed):
    """Metrics of a site with simulated validation patients, as `ValidationMetrics` makes them."""
    generator = np.random.default_rng(seed)
    score = generator.normal(0, 1.2, patients)
    months, event = generator.exponential(10, patients), generator.random(patients) < 0.7
    exposure, events = (part.numpy() for part in interval_targets(torch.tensor(months), torch.tensor(event), EDGES))
    loss = generator.exponential(1.0, patients).clip(max=16)
    return {
        "sites": 1.0,
        "n": float(patients),
        "events": float(3 * event.sum()),
        "loss": loss.mean(),
        "loss_square": (loss**2).mean(),
        **compared(generator.normal(-0.2, 1.0, patients).clip(-16, 16), seed),
        **RiskTable.of(score, exposure, events).to_metrics(),
        **OutcomeTable.of(score, months, event).to_metrics(),
    }


def compared(change, seed):
    """What a site says of the change since the last model that it took (`training.node.veto`)."""
    means = {"changed": float(len(change)), "change": change.mean(), "change_square": (change**2).mean()}
    return {**means, "worse": float(seed % 2), "vetoes": 1.0}


def averaged(vectors, patients, *, masked):
    """What the coordinating centre has: the weighted mean, under masks of levels that Fed-BioMed rounds down."""
    stacked = torch.stack(vectors).double().numpy()
    if masked:
        stacked = np.floor((stacked + MASKED_RANGE) * QUANTIZATION_LEVELS / (2 * MASKED_RANGE))
        assert stacked.min() >= 0
        assert stacked.max() <= QUANTIZATION_LEVELS - 1
    return np.average(stacked, axis=0, weights=patients)


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("sizes", [(12, 7, 5), (250, 9, 60, 31), (6, 6, 1000)])
def test_the_sum_of_the_sites_arrives(masked, sizes):
    metrics = [site(size, seed) for seed, size in enumerate(sizes)]
    training = [4 * size for size in sizes]
    sent = [VALUES.encode(one, n, masked=masked) for one, n in zip(metrics, training, strict=True)]
    got = VALUES.decode(averaged(sent, training, masked=masked), sum(training), masked=masked)
    total = sum(sizes)
    assert (got["n"], got["sites"]) == (total, len(sizes))
    assert got["events"] == sum(one["events"] for one in metrics)
    assert got["loss"] == pytest.approx(sum(one["loss"] * one["n"] for one in metrics) / total, rel=1e-4)
    assert (got["vetoes"], got.get("worse", 0.0)) == (len(sizes), len(sizes) // 2)
    for before, received in zip(pooled_change(metrics), pooled_change([got]), strict=True):
        assert received == pytest.approx(before, abs=2e-4)
    assert got["loss_square"] == pytest.approx(sum(one["loss_square"] * one["n"] for one in metrics) / total, rel=1e-3)
    risk, here = pooled_risk_table(metrics, VALUES.intervals), RiskTable.from_metrics(got, VALUES.intervals)
    for name in ("patients", "events"):
        np.testing.assert_array_equal(getattr(here, name), getattr(risk, name))
    np.testing.assert_allclose(here.exposure, risk.exposure, atol=2e-3)
    np.testing.assert_allclose(here.score, risk.score, atol=2e-3)
    outcomes, there = pooled_outcomes(metrics), OutcomeTable.from_metrics(got)
    assert there.patients == outcomes.patients
    np.testing.assert_array_equal(there.free, outcomes.free)
    np.testing.assert_array_equal(there.failed, outcomes.failed)


def test_a_site_of_few_validation_patients_adds_nothing_but_its_events():
    sent = [VALUES.encode(one, 20, masked=True) for one in (site(5, 1), {"events": 3.0}, {"events": 0.0})]
    got = VALUES.decode(averaged(sent, [20, 20, 20], masked=True), 60, masked=True)
    assert (got["n"], got["sites"], got["followed"]) == (5.0, 1.0, 5.0)
    nothing = VALUES.decode(averaged(sent[1:], [20, 20], masked=True), 40, masked=True)
    assert nothing == {"sites": 0.0, "n": 0.0, "events": 3.0}


@pytest.mark.parametrize("change", [{"loss": float("nan")}, {"n": 100.0}, {"loss": -1.0}])
def test_what_cannot_be_a_sum_is_not_sent(change):
    with pytest.raises(FederationError, match="cannot be sent"):
        VALUES.encode({**site(5, 1), **change}, 20, masked=True)


@pytest.mark.parametrize("network", ["evidence", "table", "clinical", "tmtv_clinical", STATISTICS])
def test_the_vector_is_the_first_parameter_and_its_first_entry_tells_nothing(training_nodes, network):
    """Fed-BioMed's test for incomplete sums uncovers the first entry of every site."""
    task = TrainingTask(contract=training_nodes.small_contract(), network=network, method=FederatedMethod())
    shared = task.build_shared()
    assert next(iter(shared.state_dict())) == CARRIED
    assert set(shared.state_dict()) - {CARRIED} == set(task.build().state_dict()) - {CARRIED}
    one, other = (task.carried.encode(site(size, size), 4 * size, masked=True) for size in (5, 60))
    assert one[0] == other[0]


@pytest.mark.parametrize(("patients", "seed"), [(8, 1), (25, 2), (60, 3), (240, 4), (1000, 5)])
def test_no_cell_of_a_merged_table_is_small(patients, seed):
    metrics = site(patients, seed)
    merged = merge_small_cells(metrics, 5, EDGES)
    risk, whole = (RiskTable.from_metrics(one, VALUES.intervals) for one in (merged, metrics))
    filled = risk.patients[risk.patients > 0]
    assert (filled >= 5).all()
    times = (slice(0, 2), slice(2, 4), slice(4, 6), slice(6, 8)) if patients > 25 else (slice(0, 8),)
    segments = np.stack([risk.events[:, part].sum(1) for part in times])
    assert ((segments < 1e-9) | (segments > 5 - 1e-9)).all()
    outcomes = OutcomeTable.from_metrics(merged)
    assert len(filled) or patients < 25
    if len(filled):
        assert filled.sum() == patients
        np.testing.assert_allclose(risk.events.sum(), whole.events.sum())
        np.testing.assert_allclose(risk.exposure.sum(0), whole.exposure.sum(0))
        assert merged["concordance"] == pytest.approx(whole.concordance())
    if outcomes.patients:
        np.testing.assert_allclose(outcomes.free.sum(1), OutcomeTable.from_metrics(metrics).free.sum(1))
    if patients >= 240:
        assert outcomes.patients == patients
        assert len(filled) >= 4


def test_small_cells_stay_where_they_are_allowed():
    metrics = site(9, 1)
    table = RiskTable.from_metrics(metrics, VALUES.intervals)
    before = {"concordance": table.concordance(), "concordance_error": table.concordance_error()}
    assert merge_small_cells(metrics, 1, EDGES) == {**metrics, **before}
