"""Training losses against values computed by hand."""

from __future__ import annotations

from math import log

import pytest
import torch

from inference.network import build_network
from training.task.losses import concept_loss, interval_targets, score_ridge, survival_nll

EDGES = (0.0, 3.0, 6.0, 12.0)


def targets(months, event):
    exposure, events = interval_targets(torch.tensor([months]), torch.tensor([event]), EDGES)
    return exposure[0].tolist(), events[0].tolist()


@pytest.mark.parametrize(
    ("months", "event", "exposure", "events"),
    [
        (4.0, 1.0, [1, 1, 0], [0, 1, 0]),  # an event exposes to the whole of its interval
        (4.5, 0.0, [1, 0.5, 0], [0, 0, 0]),  # censoring to the part that was lived
        (6.0, 1.0, [1, 1, 1], [0, 0, 1]),  # an event on an edge belongs to the later interval: PFS >= 6 was reached
        (6.0, 0.0, [1, 1, 0], [0, 0, 0]),
        (0.0, 1.0, [1, 0, 0], [1, 0, 0]),
        (20.0, 1.0, [1, 1, 1], [0, 0, 0]),  # beyond the last edge nothing more is asked
    ],
)
def test_interval_targets(months, event, exposure, events):
    assert targets(months, event) == (exposure, events)


def test_likelihood_of_an_event_and_of_a_censored_patient():
    hazards = torch.tensor([[0.2, 0.3, 0.4], [0.1, 0.5, 0.6]])
    loss = survival_nll(torch.logit(hazards), torch.tensor([4.0, 4.5]), torch.tensor([1.0, 0.0]), EDGES)
    event = -(log(0.8) + log(0.3))
    censored = -(log(0.9) + 0.5 * log(0.5))
    assert float(loss) == pytest.approx((event + censored) / 2, rel=1e-5)


def test_likelihood_is_finite_for_extreme_logits():
    loss = survival_nll(torch.full((1, 3), -200.0), torch.tensor([4.0]), torch.tensor([1.0]), EDGES)
    assert float(loss) == pytest.approx(200.0)


def test_unsupervised_concepts_do_not_count():
    maps = torch.full((2, 2, 4, 4, 4), 0.3)
    fractions = torch.zeros_like(maps)
    fractions[0, 0, :2] = 1.0
    supervised = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    alone = concept_loss(maps[:1, :1], fractions[:1, :1], torch.ones(1, 1))
    assert float(concept_loss(maps, fractions, supervised)) == pytest.approx(float(alone))
    assert float(concept_loss(maps, fractions, torch.zeros(2, 2))) == 0.0


def test_concept_loss_by_hand():
    maps, fractions = torch.full((1, 1, 2, 2, 2), 0.5), torch.zeros(1, 1, 2, 2, 2)
    fractions[..., 0] = 1.0  # 4 of 8 voxels
    dice = 1 - (2 * 2.0 + 1) / (4.0 + 4.0 + 1)
    entropy = log(2) * (4 * 1 / 0.50001**0.5 + 4) / 8  # half of the voxels: weight 1 / sqrt(1/2)
    assert float(concept_loss(maps, fractions, torch.ones(1, 1))) == pytest.approx(dice + 10 * entropy, rel=1e-5)


def test_an_absent_concept_has_no_dice():
    maps, fractions = torch.full((1, 1, 2, 2, 2), 0.5), torch.zeros(1, 1, 2, 2, 2)
    assert float(concept_loss(maps, fractions, torch.ones(1, 1))) == pytest.approx(10 * log(2), rel=1e-5)


def test_ridge_takes_the_score_terms_only(training_nodes):
    network = build_network("evidence", training_nodes.small_contract())
    torch.nn.init.constant_(network.head.clinical.weight, 0.5)
    torch.nn.init.constant_(network.image_head.weight, 2.0)
    expected = 0.25 * network.head.clinical.weight.numel() + 4.0 * network.image_head.weight.numel()
    assert float(score_ridge(network).detach()) == pytest.approx(expected)
