"""What training minimises: discrete-time survival likelihood, supervision of the concept maps, ridge on the score.

References: Gensheimer & Narasimhan, PeerJ 2019 (discrete-time survival with networks); Milletari et al., 3DV 2016
(soft Dice).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

_CROSS_ENTROPY_WEIGHT = 10.0  # lesions fill about 0.1 % of the voxels: brings the mean to the scale of Dice
_SMALLEST_SHARE = 1e-5  # of the volume: bounds the weight of a concept's own voxels


def interval_targets(months: Tensor, event: Tensor, edges: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Exposure and events of each patient in each interval [edge k, edge k+1).

    A patient is exposed to the intervals survived and to the one of the event; censoring within an interval counts the
    fraction of it that was observed, which is exact for a hazard constant within the interval.
    Follow-up beyond the last edge counts as survival of the last interval.

    Args:
        months: (B,) time of the event or of censoring.
        event: (B,) whether the event was seen.
        edges: K + 1 increasing months, the first 0.

    Returns:
        Exposure (B, K) in [0, 1] and events (B, K), 0 or 1, both float32.
    """
    bounds = torch.tensor(edges, dtype=torch.float32, device=months.device)
    start, stop = bounds[:-1], bounds[1:]
    time = months.float()[:, None]
    lived = ((time - start) / (stop - start)).clamp(0.0, 1.0)
    events = (event.bool()[:, None] & (time >= start) & (time < stop)).float()
    return torch.maximum(lived, events), events


def survival_nll(hazard_logits: Tensor, months: Tensor, event: Tensor, edges: Sequence[float]) -> Tensor:
    """Mean over the patients of -log likelihood.

    With hazard h, exposure r and event d of an interval: -log L = -(d log h + (r - d) log(1 - h)), which is
    r softplus(z) - d z for the logit z of h.

    Args:
        hazard_logits: (B, K).
        months: (B,).
        event: (B,).
        edges: K + 1 months.
    """
    return survival_nll_by_patient(hazard_logits, months, event, edges).mean()


def survival_nll_by_patient(hazard_logits: Tensor, months: Tensor, event: Tensor, edges: Sequence[float]) -> Tensor:
    """The terms of `survival_nll`, (B,)."""
    exposure, events = interval_targets(months, event, edges)
    return (exposure * functional.softplus(hazard_logits) - events * hazard_logits).sum(1)


def concept_loss(maps: Tensor, fractions: Tensor, supervised: Tensor, *, by_patient: bool = False) -> Tensor:
    """Soft Dice plus weighted cross-entropy of the concept maps, over the delineated concepts only.

    The voxels of a rare concept weigh more (square root of the inverse share); otherwise a lesion map, with 0.1 % of
    the voxels, would stay empty.

    Args:
        maps: (B, C, slices, rows, columns) probabilities.
        fractions: the same shape, in [0, 1].
        supervised: (B, C) whether the concept was delineated for the patient.
        by_patient: average the patients' own means instead, so that a patient's contribution does not depend on the
            rest of the batch; differential privacy needs this to bound it by clipping.

    Returns:
        The mean over supervised (patient, concept) pairs; 0 where there is none.
    """
    weight = supervised.to(maps.dtype)
    share = fractions.flatten(2).mean(2)
    dice = _dice()(maps, fractions).reshape(weight.shape) * (share > 0)  # an absent concept has no overlap
    per_concept = dice + _CROSS_ENTROPY_WEIGHT * _cross_entropy(maps, fractions, (share + _SMALLEST_SHARE).rsqrt())
    total, pairs = (weight * per_concept).sum(1), weight.sum(1)
    mean: Tensor = (total / pairs.clamp(min=1.0)).mean() if by_patient else total.sum() / pairs.sum().clamp(min=1.0)
    return mean


def _cross_entropy(maps: Tensor, fractions: Tensor, rarity: Tensor) -> Tensor:
    """(B, C) mean over the voxels, the concept's own weighted by `rarity` (B, C).

    The unweighted entropy of all voxels takes one pass; the weights' contribution is computed only where the concept
    is, a small part of the volume.
    """
    sure = maps.clamp(1e-6, 1.0 - 1e-6)
    plain = functional.binary_cross_entropy(sure, fractions, reduction="none").flatten(2).mean(2)
    patient, concept, *voxel = torch.nonzero(fractions, as_tuple=True)
    place = (patient, concept, *voxel)
    further = -(rarity[patient, concept] - 1.0) * fractions[place] * sure[place].log()
    added = further.new_zeros(rarity.numel()).index_add(0, patient * rarity.shape[1] + concept, further)
    return plain + added.reshape(rarity.shape) / fractions.shape[2:].numel()


def score_ridge(network: nn.Module) -> Tensor:
    """Sum of the squared weights of the score's linear terms (a Gaussian prior on log odds ratios)."""
    weights = [parameter.square().sum() for name, parameter in network.named_parameters() if _is_score_term(name)]
    return torch.stack(weights).sum()


def _is_score_term(name: str) -> bool:
    return name in {"image_head.weight", "head.clinical.weight"}


@cache
def _dice() -> nn.Module:
    from monai.losses import DiceLoss  # noqa: PLC0415  takes seconds to import; models without maps do without

    return DiceLoss(reduction="none", smooth_nr=1.0, smooth_dr=1.0)
