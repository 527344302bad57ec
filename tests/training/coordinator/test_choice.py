"""Which model is exported, below the wire."""

from __future__ import annotations

import pytest

from fedpet.core.errors import FederationError
from training.coordinator.choice import is_worse, require_better_than_clinical, stops_early
from training.task.pooled import loss_error
from training.task.runs import BASELINE, MODEL


def pooled(loss, n=100.0, spread=1.0):
    return [{"loss": loss, "loss_square": loss**2 + spread**2, "n": n}]


def test_the_error_of_a_mean_loss():
    assert loss_error(pooled(1.5)) == pytest.approx(0.1)
    two = [{"loss": 1.0, "loss_square": 2.0, "n": 50.0}, {"loss": 2.0, "loss_square": 5.0, "n": 50.0}, {"n": 3.0}]
    assert loss_error(two) == pytest.approx((3.5 - 1.5**2) ** 0.5 / 10)


@pytest.mark.parametrize(
    ("later", "worse"), [(1.0, False), (1.09, False), (1.11, True), (3.0, True), (float("nan"), True)]
)
def test_a_model_is_worse_beyond_one_standard_error(later, worse):
    assert is_worse(pooled(later), pooled(1.0)) is worse


def test_a_training_ends_when_the_loss_got_no_smaller_for_long_enough():
    """After six rounds five models were validated (after 1 to 5 rounds)."""
    assert not stops_early(6, 5, 1)
    assert stops_early(6, 4, 1)
    assert not stops_early(6, 4, 2)
    assert stops_early(6, 3, 2)
    assert not stops_early(1, None, 1)
    assert not stops_early(50, 1, None)


@pytest.mark.parametrize(
    ("loss", "refused"), [(0.9, False), (1.0, False), (1.2, False), (1.3, True), (float("nan"), True)]
)
def test_no_model_that_clinical_variables_surpass_is_exported(loss, refused):
    histories = {MODEL: {"final": {"all sites": pooled(loss)[0]}}, BASELINE: {"final": {"all sites": pooled(1.0)[0]}}}
    if not refused:
        require_better_than_clinical(histories)
        return
    with pytest.raises(FederationError, match="clinical variables alone"):
        require_better_than_clinical(histories)
