"""The learned term: a small 3D network on a crop around each lesion, pooled over the lesions to one number a patient.

What the lesion table does not measure, such as the pattern of uptake within a lesion or the tissue around it on the CT,
can only be found here. A convolution at half the resolution of the crop and one at a quarter draw features; of each the
means within the lesion and in a shell around it are taken, and a small layer makes one number of them, bounded. The
patient's term is the mean over the lesions, weighted by the square root of their volume: a function of the lesions that
a patient has, so that its credit can be given to them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from inference.input_contract import CropGrid

LARGEST_TERM: Final = 1.5  # log hazard ratio of a lesion by its crop alone
_SHELL = 3  # voxels of half the resolution, side of the cube by which a lesion is widened


class CropTerm(nn.Module):
    """The term of each lesion, and of all together."""

    def __init__(self, crops: CropGrid, *, width: int = 12) -> None:
        super().__init__()
        self.lesions = crops.lesions
        self.fine = nn.Conv3d(4, width, 3, stride=2, padding=1)
        self.coarse = nn.Conv3d(width, width, 3, stride=2, padding=1)
        self.mix = nn.Linear(4 * width, width)
        self.rate = nn.Linear(width, 1)
        nn.init.zeros_(self.rate.weight)
        nn.init.zeros_(self.rate.bias)

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
        return LARGEST_TERM * torch.tanh(drawn / LARGEST_TERM)


def crop_weights(crops: Tensor) -> Tensor:
    """(N,) square root of the lesion's voxels in each crop (N, 3, size, size, size); 0 where there is no lesion."""
    return crops[:, 2].flatten(1).sum(1).sqrt()


def _mean(features: Tensor, place: Tensor) -> Tensor:
    """(N, channels) mean of features weighted by a place (N, 1, ...)."""
    return (features * place).flatten(2).sum(2) / (place.flatten(2).sum(2) + 1e-3)
