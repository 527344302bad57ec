"""Integrated gradients of the risk score (Sundararajan 2017, by Captum), on the model grid.

The baseline is the same patient without avid tissue and without clinical findings: the same CT, the PET clipped at
SUV 2.5, every clinical term at its reference (0). Only the PET moves along the path, so the CT bears no credit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from captum.attr import IntegratedGradients
from safetensors.torch import load_file

from fedpet.errors import BundleDamaged
from fedpet.messages import Message
from inference.network import build_network

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from fedpet.progress import Progress
    from inference.bundle import Bundle

BASELINE_SUV = 2.5
_SMALLEST_DIFFERENCE = 1e-3  # of the score: below it a relative error says nothing


@dataclass(frozen=True, eq=False)
class Credit:
    """Who made the score differ from the baseline's.

    Attributes:
        image: (slices, rows, columns), summed over SUV and HU.
        clinical: (n,), one for each clinical input.
        score: the network's score.
        difference: the score less the baseline's score.
    """

    image: NDArray[np.float64]
    clinical: NDArray[np.float64]
    score: float
    difference: float

    @property
    def completeness_error(self) -> float:
        """|sum of the credit - difference|, relative to the difference."""
        total = self.image.sum() + self.clinical.sum()
        return float(abs(total - self.difference) / max(abs(self.difference), _SMALLEST_DIFFERENCE))


def load_network(bundle: Bundle) -> nn.Module:
    """The bundle's network in torch, with the same parameters as its ONNX file.

    Raises:
        BundleDamaged: the parameters do not fit the network that the card names.
    """
    try:
        described = bundle.card["network"]
        network = build_network(described["name"], bundle.contract, described["config"])
        network.load_state_dict(load_file(bundle.weights))
    except (KeyError, TypeError, RuntimeError) as error:
        raise BundleDamaged(
            found=Message("The weights do not fit the network that the card names."),
            needed=Message("A network that this version can build, and its parameters."),
            advice=Message("Copy the bundle again from where it was made, or use the version that made it."),
        ) from error
    return network.eval().requires_grad_(requires_grad=False)


def integrated_gradients(
    network: nn.Module, image: NDArray[np.float32], clinical: NDArray[np.float32], *, steps: int, progress: Progress
) -> Credit:
    """Credit of every voxel and of every clinical input for the risk score.

    Args:
        network: as `build_network` makes it, parameters frozen.
        image: (2, slices, rows, columns), SUV and HU.
        clinical: (n,).
        steps: points of the Gauss-Legendre quadrature along the path; one forward and one backward pass each.
        progress: told after each pass.
    """
    inputs = (torch.from_numpy(image)[None], torch.from_numpy(clinical)[None])
    baselines = (torch.from_numpy(_calm(image))[None], torch.zeros_like(inputs[1]))
    done = 0

    def score(images: Tensor, clinicals: Tensor) -> Tensor:
        nonlocal done
        done += 1
        progress(min(1.0, done / steps), Message("Explaining: {done} of {steps} passes", done=done, steps=steps))
        result: Tensor = network(images, clinicals).score
        return result + 0.0 * images.sum((1, 2, 3, 4))  # a network that ignores images has a gradient of zero

    method = IntegratedGradients(score)
    image_credit, clinical_credit = method.attribute(
        inputs, baselines, n_steps=steps, method="gausslegendre", internal_batch_size=1
    )
    with torch.no_grad():
        here, there = (float(network(*point).score) for point in (inputs, baselines))
    return Credit(
        image_credit[0].double().sum(0).numpy(),
        clinical_credit[0].double().numpy(),
        here,
        here - there,
    )


def shuffled(network: nn.Module, *, seed: int) -> nn.Module:
    """Permute the numbers inside every parameter of the network, in place: the same sizes, nothing learnt."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            order = torch.randperm(parameter.numel(), generator=generator)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return network


def excess(suv: NDArray[np.float32]) -> NDArray[np.float32]:
    """SUV above the baseline's: where it is 0 a voxel bears no credit."""
    return (suv - np.float32(BASELINE_SUV)).clip(min=0.0)


def _calm(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same CT, the PET clipped."""
    return np.stack([np.minimum(image[0], np.float32(BASELINE_SUV)), image[1]])
