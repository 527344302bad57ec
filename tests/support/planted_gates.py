"""Every gate of an explanation with a fault planted for it: the real check, on what it must fail."""

from __future__ import annotations

import numpy as np

from explain.sanity_checks import (
    check_completeness,
    check_concentration,
    check_containment,
    check_deletion,
    check_lesion_credit,
    check_parameter_randomization,
    check_score_agreement,
    check_sign_agreement,
    check_stability,
    check_trained_weights,
)


def _elsewhere():
    """A map that was moved by 5 cm off what was read."""
    read = np.zeros((4, 20, 20), bool)
    read[1:3, 5:8, 5:8] = True
    return check_containment(np.roll(read.astype(float), 12, axis=2), read)


def _unmoved():
    """A map that stays the same with every weight permuted."""
    sensitivity = np.random.default_rng(0).random((4, 5, 6))
    return check_parameter_randomization(sensitivity, {"score": sensitivity, "all": sensitivity})


PLANTED_GATES = {
    "same_score": lambda: check_score_agreement(0.5, 0.7),
    "completeness": lambda: check_completeness(0.04),
    "sign": lambda: check_sign_agreement({1: -0.3, 2: 0.1}, {1: -0.15, 2: -0.05}),
    "lesion_credit": lambda: check_lesion_credit({1: 0.1, 2: 0.4}, {1: 0.4, 2: 0.1}),
    "containment": _elsewhere,
    "randomisation": _unmoved,
    "stability": lambda: check_stability([0.4, 0.6, 0.5]),
    "deletion": lambda: check_deletion(0.40, 0.45, 0.44),
    "trained_weights": lambda: check_trained_weights(17, 32),
    "concentration": lambda: check_concentration(0.2, [0.1, 0.3]),
}
