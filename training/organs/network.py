"""A small 3D U-Net that names the structure of every voxel of a PET/CT.

The image is folded (2 x 2 x 2 voxels become channels): everything is computed on an eighth of the voxels, and the last
layer names the eight voxels of each cell. Normalisation is over the channels of a cell, so that an answer does not
depend on how much of the body was scanned.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

DIVISOR: Final = 16  # voxels along each axis must be a multiple of it
WIDTHS: Final = (48, 64, 80, 96)
_WINDOWS: Final = 5


def windows(image: Tensor) -> Tensor:
    """(B, 2, ...) SUV and HU -> (B, 5, ...): linear and logarithmic SUV; soft tissue, whole range and air of the CT."""
    suv, hu = image[:, :1], image[:, 1:]
    return torch.cat(
        [
            _clip(suv, 0, 12) / 4 - 0.5,
            torch.log1p(_clip(suv, 0, 200)) - 1.0,
            _clip(hu, -150, 250) / 100 - 0.3,
            _clip(hu, -1000, 1500) / 500,
            _clip(hu, -1000, -700) / 100 + 8.5,
        ],
        1,
    )


def _clip(x: Tensor, low: float, high: float) -> Tensor:
    """Values between two bounds; by rectifiers, since the ONNX exporter loses bounds that two clamps share."""
    return functional.relu(x - low) - functional.relu(x - high) + low


def fold(x: Tensor) -> Tensor:
    """(B, C, 2s, 2r, 2c) -> (B, 8C, s, r, c)."""
    batch, channels, slices, rows, columns = x.shape
    x = x.reshape(batch, channels, slices // 2, 2, rows // 2, 2, columns // 2, 2)
    x = x.permute(0, 1, 3, 5, 7, 2, 4, 6)
    return x.reshape(batch, 8 * channels, slices // 2, rows // 2, columns // 2)


def unfold(x: Tensor) -> Tensor:
    """(B, 8C, s, r, c), the eight voxels first, -> (B, C, 2s, 2r, 2c)."""
    batch, channels, slices, rows, columns = x.shape
    x = x.reshape(batch, 2, 2, 2, channels // 8, slices, rows, columns)
    x = x.permute(0, 4, 5, 1, 6, 2, 7, 3)
    return x.reshape(batch, channels // 8, 2 * slices, 2 * rows, 2 * columns)


class _Norm(nn.Module):
    """Layer normalisation over the channels of each cell."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 4, 1)
        return functional.layer_norm(x, x.shape[-1:], self.gain, self.bias, 1e-4).permute(0, 4, 1, 2, 3)


class _Block(nn.Module):
    """Convolution (stride 1 or 2), then a residual convolution."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.enter = nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1)
        self.enter_norm = _Norm(outputs)
        self.mix = nn.Conv3d(outputs, outputs, 3, padding=1)
        self.mix_norm = _Norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.enter_norm(self.enter(x)))
        return x + functional.relu(self.mix_norm(self.mix(x)))


class OrganNetwork(nn.Module):
    """U-Net over cells of two voxels, with four scales.

    Attributes:
        classes: structures and the background.
    """

    def __init__(self, classes: int, widths: tuple[int, int, int, int] = WIDTHS) -> None:
        super().__init__()
        first, second, third, fourth = widths
        self.classes = classes
        self.scale_2 = _Block(8 * _WINDOWS, first)
        self.scale_4 = _Block(first, second, stride=2)
        self.scale_8 = _Block(second, third, stride=2)
        self.scale_16 = _Block(third, fourth, stride=2)
        self.from_16 = nn.Conv3d(fourth, third, 1)
        self.refine_8 = _Block(third, third)
        self.from_8 = nn.Conv3d(third, second, 1)
        self.refine_4 = _Block(second, second)
        self.from_4 = nn.Conv3d(second, first, 1)
        self.refine_2 = _Block(first, first)
        self.draw = nn.Conv3d(first + 8 * _WINDOWS, 8 * classes, 1)

    def features(self, image: Tensor) -> Tensor:
        """(B, 2, 2s, 2r, 2c) SUV and HU -> (B, n, s, r, c): what `draw` names the eight voxels of each cell by."""
        folded = fold(windows(image))
        fine = self.scale_2(folded)
        middle = self.scale_4(fine)
        coarse = self.scale_8(middle)
        deep = self.scale_16(coarse)
        coarse = self.refine_8(coarse + _upsample(self.from_16(deep)))
        middle = self.refine_4(middle + _upsample(self.from_8(coarse)))
        fine = self.refine_2(fine + _upsample(self.from_4(middle)))
        return torch.cat([fine, folded], 1)

    def named(self, features: Tensor) -> Tensor:
        """Features of n cells, (n, channels) -> (n, 8, classes) logits."""
        weight = self.draw.weight.reshape(self.draw.weight.shape[0], -1)
        return functional.linear(features, weight, self.draw.bias).reshape(-1, 8, self.classes)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 2, slices, rows, columns) SUV and HU, sizes multiples of `DIVISOR`, -> (B, classes, ...) logits."""
        return unfold(self.draw(self.features(image)))


def _upsample(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="trilinear", align_corners=False)
