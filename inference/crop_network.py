"""The learned term: a small 3D network on a crop around each lesion, pooled over the lesions to one number a patient.

What the lesion table does not measure, such as the pattern of uptake within a lesion or the tissue around it on the CT,
can only be found here. What a few hundred patients can teach comes first: the shares of densities within 10 mm of the
lesion and from there to 20 mm, 16 numbers with a weight each. Beside them a convolution at half the resolution of the
crop and one at a quarter draw features; of each the means within the lesion and in a shell around it are taken, and a
small layer makes one number of them. The sum of both is bounded. The patient's term is the mean over the lesions,
weighted by the square root of their volume: a function of the lesions that a patient has, so that its credit can be
given to them.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from inference.input_contract import CropGrid

LEVELS: Final = (-950.0, -860.0, -780.0, -690.0, -550.0, -330.0, -110.0, 50.0)  # HU, whose shares are taken
_USUAL: Final = (0.0, 0.1, 0.15, 0.1, 0.05, 0.05, 0.1, 0.45)  # about the shares around lesions; where a term is 0
_SPREAD: Final = 0.1  # about that of a share between patients
_NEAR_MM: Final = 10.0
_IN_LESION: Final = 0.25  # share of a voxel from which it counts as the lesion
LARGEST_TERM: Final = 1.5  # log hazard ratio of a lesion by its crop alone
_SHELL = 3  # voxels of half the resolution, side of the cube by which a lesion is widened


class CropTerm(nn.Module):
    """The term of each lesion, and of all together."""

    def __init__(self, crops: CropGrid, *, width: int = 12) -> None:
        super().__init__()
        self.lesions, self.near = crops.lesions, max(1, round(_NEAR_MM / crops.spacing_mm))
        self.density = nn.Linear(2 * len(LEVELS), 1)
        self.fine = nn.Conv3d(4, width, 3, stride=2, padding=1)
        self.coarse = nn.Conv3d(width, width, 3, stride=2, padding=1)
        self.mix = nn.Linear(4 * width, width)
        self.rate = nn.Linear(width, 1)
        for last in (self.density, self.rate):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, image: Tensor) -> Tensor:
        """(B,) the term of each patient; 0 without lesions.

        Args:
            image: (B, lesions, 3, size, size, size), see `inference.lesion_crops.LesionCrops.bag`.
        """
        crops = image.flatten(0, 1)
        weight = crop_weights(crops)
        if self.training:  # most places of a bag are empty
            there = weight > 0
            single = weight.new_zeros(weight.shape).masked_scatter(there, self.by_lesion(crops[there]))
        else:
            single = self.by_lesion(crops)
        shape = (-1, self.lesions)
        return (weight * single).reshape(shape).sum(1) / (weight.reshape(shape).sum(1) + 1e-6)

    def by_lesion(self, crops: Tensor) -> Tensor:
        """(N,) the term that each lesion would give alone.

        Args:
            crops: (N, 3, size, size, size).
        """
        suv, hu, share = crops[:, :1], crops[:, 1:2], crops[:, 2:]
        fine = functional.relu(
            self.fine(torch.cat([suv / 8.0, torch.log1p(suv) / 1.5, (hu + 400.0) / 500.0, share], 1))
        )
        coarse = functional.relu(self.coarse(fine))
        inside = functional.avg_pool3d(share, 2)
        shell = functional.max_pool3d(inside, _SHELL, stride=1, padding=_SHELL // 2) - inside
        places = (inside, shell)
        means = [_mean(fine, place) for place in places]
        means += [_mean(coarse, functional.avg_pool3d(place, 2)) for place in places]
        drawn = self.rate(functional.relu(self.mix(torch.cat(means, 1))))[:, 0]
        drawn = drawn + self.density(surrounding_densities(hu, share, self.near))[:, 0]
        return LARGEST_TERM * torch.tanh(drawn / LARGEST_TERM)


def surrounding_densities(hu: Tensor, share: Tensor, near: int) -> Tensor:
    """(N, 2 x levels) shares of the densities near a lesion and beyond, from the usual ones, in spreads.

    Args:
        hu: (N, 1, size, size, size).
        share: of the lesion in each voxel, the same shape.
        near: voxels, the half side of the cube by which a lesion is widened; beyond is up to twice as far.
    """
    inside = (share > _IN_LESION).to(share.dtype)
    wide, wider = (functional.max_pool3d(inside, 2 * reach + 1, 1, reach) for reach in (near, 2 * near))
    shares = _shares(hu)
    usual = hu.new_tensor(_USUAL)
    return torch.cat([(_mean(shares, place) - usual) / _SPREAD for place in (wide - inside, wider - wide)], 1)


def _shares(hu: Tensor) -> Tensor:
    """(N, levels, ...) how far a voxel belongs to each level: linear between two neighbours, 1 in sum."""
    steps = [((hu - low) / (high - low)).clamp(0.0, 1.0) for low, high in pairwise(LEVELS)]
    first, last = torch.ones_like(hu), torch.zeros_like(hu)
    return torch.cat([below - above for below, above in zip([first, *steps], [*steps, last], strict=True)], 1)


def crop_weights(crops: Tensor) -> Tensor:
    """(N,) square root of the lesion's voxels in each crop (N, 3, size, size, size); 0 where there is no lesion."""
    return crops[:, 2].flatten(1).sum(1).sqrt()


def _mean(features: Tensor, place: Tensor) -> Tensor:
    """(N, channels) mean of features weighted by a place (N, 1, ...)."""
    return (features * place).flatten(2).sum(2) / (place.flatten(2).sum(2) + 1e-3)
