"""The map of a score that is computed from the lesion table: each lesion's credit on its voxels, on the PET grid.

Along a path on which the mask and the uptake of a lesion grow together from 0 to 1, a volume grows with its mask and
TLG with mask times uptake. Integrated gradients of the inputs that follow from them have a closed form: whatever the
transform of an input, its change along the path is shared by the voxels in equal parts where it follows from a volume,
and in proportion to their SUV where it follows from TLG. Inputs that are not differentiable (numbers of lesions,
distances, maxima) have no such share; their part follows the same pattern, since the voxels of a lesion are scaled to
sum to its credit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fedpet.imaging.lesions.lesion_table import ORGANS
from inference.input_contract import LESION_PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from explain.lesion_effects import TableScore
    from fedpet.imaging.volume import Volume

_BY_VOLUME = {f"{LESION_PREFIX}{name}" for name in ("tmtv_ml", "largest_ml", *(f"{organ}_ml" for organ in ORGANS))}
_BY_UPTAKE = {f"{LESION_PREFIX}tlg_g"}


def integrated_gradients(score: TableScore, lesion: int, suv: NDArray[np.floating]) -> NDArray[np.float64]:
    """Integrated gradients of the differentiable part of the score along mask and uptake of one lesion.

    Args:
        score: of the patient; the other lesions keep their place.
        lesion: its number.
        suv: (n,) of its voxels, g/ml.

    Returns:
        (n,), which sum to the change of those inputs' terms when the lesion is left out.
    """
    others = [number for number in score.lesions if number != lesion]
    change = score.weights * (score.inputs(score.lesions) - score.inputs(others))
    terms = dict(zip(score.contract.inputs, change.tolist(), strict=True))
    by_volume = sum(term for name, term in terms.items() if name in _BY_VOLUME)
    by_uptake = sum(term for name, term in terms.items() if name in _BY_UPTAKE)
    return np.asarray(by_volume / len(suv) + by_uptake * _parts(suv))


def spread_credit(credit: float, gradients: NDArray[np.float64], suv: NDArray[np.floating]) -> NDArray[np.float64]:
    """The credit of a lesion on its voxels: its size and sign are the lesion's, its pattern that of the gradients.

    Args:
        credit: of the lesion.
        gradients: (n,) of `integrated_gradients`. Voxels against the sign of the credit get nothing.
        suv: (n,); the pattern where no gradient has the sign of the credit.

    Returns:
        (n,), all of the sign of the credit, which sum to it.
    """
    pattern = (np.sign(credit) * gradients).clip(min=0.0)
    total = pattern.sum()
    return credit * (pattern / total if total > 0 else _parts(suv))


def _parts(suv: NDArray[np.floating]) -> NDArray[np.float64]:
    """Parts of the uptake, which sum to 1; equal where there is none."""
    positive = suv.astype(np.float64).clip(min=0.0)
    total = positive.sum()
    return positive / total if total > 0 else np.full(len(positive), 1.0 / len(positive))


def credit_map(
    score: TableScore,
    pet: Volume,
    labels: Volume,
    lesions: Mapping[int, float],
    organs: Mapping[str, tuple[float, NDArray[np.intp]]],
) -> Volume:
    """The map of the terms of the images.

    Args:
        score: of the patient.
        pet: SUV, g/ml.
        labels: of the lesions, on the PET grid.
        lesions: number -> term.
        organs: organ ratio -> its term, and the voxels (n, 3) of its organ, which share it in equal parts as those of a
            mean do; voxels of lesions get none of it.

    Returns:
        float32 on the PET grid, in units of the score.
    """
    shared = np.zeros(pet.shape)
    for number, credit in lesions.items():
        voxels = labels.array == number
        suv = pet.array[voxels]
        shared[voxels] = spread_credit(credit, integrated_gradients(score, number, suv), suv)
    for term, voxels in organs.values():
        free = voxels[labels.array[tuple(voxels.T)] == 0]
        if len(free):
            shared[tuple(free.T)] += term / len(free)
    return pet.like(shared.astype(np.float32), "1")
