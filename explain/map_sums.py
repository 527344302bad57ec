"""Sums of a map over lesions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpet.imaging.volume import Volume


def lesion_sums(attribution: Volume, labels: Volume) -> dict[int, float]:
    """Sum of the map over each lesion.

    Args:
        attribution: on the PET grid.
        labels: label volume on the same grid.

    Returns:
        Lesion id -> sum; 0 is everything outside lesions.
    """
    return _by_label(attribution.array, labels)


def lesion_shares(attribution: Volume, labels: Volume) -> dict[int, float]:
    """Share of each lesion in the absolute attribution.

    Args:
        attribution: on the PET grid.
        labels: label volume on the same grid.

    Returns:
        Lesion id -> share, 0 to 1; 0 is everything outside lesions, and 1 where there is no attribution at all.
    """
    absolute = _by_label(np.abs(attribution.array), labels)
    total = sum(absolute.values())
    if total == 0:
        return {label: float(label == 0) for label in absolute}
    return {label: share / total for label, share in absolute.items()}


def _by_label(values: NDArray[np.floating], labels: Volume) -> dict[int, float]:
    sums = np.bincount(labels.array.ravel().astype(np.int64), weights=values.ravel())
    return {label: float(sums[label]) for label in (0, *(int(one) for one in np.unique(labels.array) if one))}
