"""Rounding under secure aggregation, through Fed-BioMed's own arithmetic."""

from __future__ import annotations

import pytest
import torch

from fedpet.core.errors import FederationError
from training.task.method import MASKED_RANGE, FederatedMethod
from training.task.quantization import STEP, dequantize, quantize

WEIGHTS = (8, 11, 21)


def aggregate(sites, restore):
    from fedbiomed.common.utils import divide, multiply, quantize

    parts = [multiply(quantize(site.tolist(), MASKED_RANGE), w) for site, w in zip(sites, WEIGHTS, strict=True)]
    total = [sum(values) for values in zip(*parts, strict=True)]
    return torch.tensor(restore(divide(total, sum(WEIGHTS)), MASKED_RANGE))


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("centre", [-5.0, 0.0, 2.5])
def test_the_aggregate_has_no_drift(centre, apart):
    """Also where all sites send the same."""
    generator = torch.Generator().manual_seed(0)
    spread = 0.1 if apart else 0.0
    middle = centre + 0.3 * STEP * torch.ones(8000)
    sites = [middle + spread * torch.randn(8000, generator=generator) for _ in WEIGHTS]
    expected = sum(site * w for site, w in zip(sites, WEIGHTS, strict=True)) / sum(WEIGHTS)
    prepared = [quantize({"w": site}, FederatedMethod(), seed)["w"] for seed, site in enumerate(sites)]
    error = aggregate(prepared, dequantize) - expected
    assert abs(float(error.mean())) < STEP / 20
    assert float(error.abs().max()) < STEP


def test_without_it_every_round_pulls_down():
    """The defect that `quantize` repairs; if this fails, Fed-BioMed rounds differently and `quantize` must go."""
    from fedbiomed.common.utils import reverse_quantize

    sites = [0.1 * torch.randn(8000, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    expected = sum(site * w for site, w in zip(sites, WEIGHTS, strict=True)) / sum(WEIGHTS)
    assert float((aggregate(sites, reverse_quantize) - expected).mean()) < -STEP / 3


def test_the_same_seed_rounds_alike():
    value = {"w": torch.randn(100)}
    assert (quantize(value, FederatedMethod(), 7)["w"] == quantize(value, FederatedMethod(), 7)["w"]).all()
    assert (quantize(value, FederatedMethod(), 7)["w"] != quantize(value, FederatedMethod(), 8)["w"]).any()


@pytest.mark.parametrize("value", [MASKED_RANGE + 0.1, -MASKED_RANGE - 0.1, float("nan")])
def test_what_would_be_clipped_does_not_leave(value):
    with pytest.raises(FederationError, match="after local training"):
        quantize({"w": torch.tensor([0.0, value])}, FederatedMethod(), 0)


def test_personal_parameters_are_left_alone():
    value = {"head.w": torch.tensor([9.0])}
    assert quantize(value, FederatedMethod(aggregation={"personal": ["head"]}), 0)["head.w"] is value["head.w"]
