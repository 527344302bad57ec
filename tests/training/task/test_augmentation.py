"""Augmentation changes images a little, within the contract's ranges."""

from __future__ import annotations

import numpy as np

from training.task.augmentation import augmentation


def test_augmentation_keeps_ranges_and_units(training_nodes):
    contract = training_nodes.small_contract()
    image = np.stack([np.full(contract.shape, 20.0), np.full(contract.shape, 40.0)]).astype(np.float32)
    change = augmentation(contract, seed=3)
    means = np.array([change(image).mean((1, 2, 3)) for _ in range(40)])
    assert means.dtype == np.float32
    assert np.all(np.abs(means[:, 0] / 20 - 1) < 0.101)
    assert np.ptp(means[:, 0]) > 1.0
    assert np.all(np.abs(means[:, 1] - 40) < 16)
    hot = change(np.stack([np.full(contract.shape, 40.0), np.full(contract.shape, -1000.0)]).astype(np.float32))
    assert hot[0].max() <= contract.suv_range[1]
    assert hot[1].min() >= contract.hu_range[0]
    again = augmentation(contract, seed=3)
    assert np.array_equal(again(image), augmentation(contract, seed=3)(image))
