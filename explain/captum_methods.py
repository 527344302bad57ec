"""Captum's methods on a network that reads the image, on the model grid.

The baseline is the same patient without the lesions: the same CT, the PET with the uptake of the lesions replaced by
that of the tissue around, every clinical term at its reference (0). What is missing stays missing. Only voxels of the
lesions change, so nothing is attributed to the CT or to healthy tissue.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from captum.attr import DeepLift, FeatureAblation, GradientShap, IntegratedGradients, LayerAttribution, LayerGradCam
from safetensors.torch import load_file
from torch import Tensor, nn

from fedpet.core.errors import CorruptBundleError
from fedpet.core.messages import Message
from inference.network import EnsembleNetwork, EvidenceNetwork, build_network

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from explain.methods import MethodName
    from fedpet.core.progress import Progress
    from inference.bundle.storage import Bundle

Score = Callable[[Tensor, Tensor], Tensor]
_MIN_DIFFERENCE = 1e-3  # of the score; a smaller one makes a relative error meaningless
_BLOCK = 4  # voxels along an edge: 32 mm at 8 mm
_EARLY, _EARLY_STEPS = 0.12, 0.7  # first piece of the path, in which a lesion appears, and its share of the steps
_PART_STEPS = 4  # points of a part of the path
_MISSED = 0.008  # of the difference: finer parts are taken while they miss more
_MOST_REFINED = 4  # times as many parts at most
_SEED = 20180


@dataclass(frozen=True, eq=False)
class Attribution:
    """What makes the score differ from that of the baseline.

    Attributes:
        image: (slices, rows, columns), summed over SUV and HU.
        clinical: (n,), one for each clinical input.
        score: of the network.
        difference: the score minus that of the baseline.
    """

    image: NDArray[np.float64]
    clinical: NDArray[np.float64]
    score: float
    difference: float

    @property
    def completeness_error(self) -> float:
        """|sum of the attributions - difference|, relative to the difference."""
        total = self.image.sum() + self.clinical.sum()
        return float(abs(total - self.difference) / max(abs(self.difference), _MIN_DIFFERENCE))


@dataclass(frozen=True, eq=False)
class ExplainedInputs:
    """The inputs of one patient and those of the reference.

    Attributes:
        image: (2, slices, rows, columns), SUV and HU.
        baseline: the same without the lesions.
        clinical: (n,).
        clinical_baseline: (n,).
        lesions: (slices, rows, columns) number of the lesion that a voxel belongs to, 0 for none.
    """

    image: NDArray[np.float32]
    baseline: NDArray[np.float32]
    clinical: NDArray[np.float32]
    clinical_baseline: NDArray[np.float32]
    lesions: NDArray[np.integer]

    @property
    def changed(self) -> NDArray[np.bool_]:
        """(slices, rows, columns) voxels in which patient and baseline differ."""
        return np.asarray((self.image != self.baseline).any(0))

    def tensors(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Image and record (batch of 1) of the patient, and of the reference."""
        here, there = (self.image, self.clinical), (self.baseline, self.clinical_baseline)
        (a, b), (c, d) = ([torch.from_numpy(part)[None] for part in side] for side in (here, there))
        return (a, b), (c, d)


def load_network(bundle: Bundle) -> nn.Module:
    """The network of a bundle in torch, with the same parameters as its ONNX file.

    Raises:
        CorruptBundleError: the parameters do not fit the network that the card names.
    """
    try:
        stated = bundle.card["network"]
        network = build_network(stated["name"], bundle.contract, stated["config"])
        network.load_state_dict(load_file(bundle.weights))
    except (KeyError, TypeError, RuntimeError) as error:
        raise CorruptBundleError(
            found=Message("The weights do not fit the network that the card names."),
            needed=Message("A network that this version can build, and its parameters."),
            advice=Message("Copy the bundle again from where it was made, or use the version that made it."),
        ) from error
    return network.eval().requires_grad_(requires_grad=False)


def attribute(
    network: nn.Module, inputs: ExplainedInputs, *, method: MethodName, steps: int, progress: Progress
) -> Attribution:
    """Attribute the risk score to the voxels that change and to the clinical inputs.

    Args:
        network: of `load_network`, parameters frozen.
        inputs: of the patient and of the reference.
        method: of `explain.methods.METHODS`, for images.
        steps: points along the path, or samples, of the methods that have them.
        progress: called after each pass.
    """
    done = 0

    def score(images: Tensor, clinicals: Tensor) -> Tensor:
        nonlocal done
        done += 1
        progress(
            min(1.0, done / steps), Message("Explaining: pass {done} of {steps}", done=done, steps=max(done, steps))
        )
        result: Tensor = network(images, clinicals).score
        return result + 0.0 * images.sum((1, 2, 3, 4))  # a network that ignores images has a gradient of zero

    by_layers = _BY_LAYERS.get(method)
    image = by_layers(network, inputs) if by_layers else _METHODS[method](score, inputs, steps)
    here, there = inputs.tensors()
    with torch.no_grad():
        score_here, score_there, without_images = (
            float(network(*point).score) for point in (here, there, (there[0], here[1]))
        )
        terms = (network(*here).contributions - network(there[0], there[1]).contributions)[0]
    clinical = terms[: len(inputs.clinical)].double().numpy()
    _require_additive(clinical.sum(), without_images - score_there)
    return Attribution(image, clinical, score_here, score_here - score_there)


def _require_additive(terms: float, difference: float) -> None:
    """The clinical terms of every network of fedpet are additive; another kind would need a method of its own."""
    if abs(terms - difference) > 1e-3:
        raise ValueError(f"clinical terms sum to {terms}, not {difference}")


def _integrated_gradients(score: Score, inputs: ExplainedInputs, steps: int) -> NDArray[np.float64]:
    """Gauss-Legendre quadrature over parts of the path, placed by the change of the score.

    What a part must sum to is known: the difference of the score between its ends. The part that misses it by most is
    halved until all of them together miss less than `_MISSED` of the difference, or the passes are used up.
    """
    (image, clinical), (baseline, _) = inputs.tensors()

    def point(place: float) -> Tensor:
        return baseline + place * (image - baseline)

    def part(start: float, stop: float) -> _Part:
        found = IntegratedGradients(score).attribute(
            point(stop),
            point(start),
            additional_forward_args=(clinical,),
            n_steps=_PART_STEPS,
            method="gausslegendre",
            internal_batch_size=1,
        )
        credit = _summed(found)
        with torch.no_grad():
            change = float(score(point(stop), clinical)) - float(score(point(start), clinical))
        return _Part(start, stop, credit, change - float(credit.sum()), change)

    count = max(2, steps // _PART_STEPS)
    early = max(1, round(_EARLY_STEPS * count))
    edges = [*np.linspace(0.0, _EARLY, early + 1), *np.linspace(_EARLY, 1.0, count - early + 1)[1:]]
    parts = [part(float(start), float(stop)) for start, stop in pairwise(edges)]
    while len(parts) < _MOST_REFINED * count:
        difference = abs(sum(one.change for one in parts))
        if sum(abs(one.missed) for one in parts) <= _MISSED * max(difference, _MIN_DIFFERENCE):
            break
        worst = max(parts, key=lambda one: abs(one.missed))
        parts.remove(worst)
        middle = (worst.start + worst.stop) / 2
        parts += [part(worst.start, middle), part(middle, worst.stop)]
    return np.asarray(sum(one.credit for one in parts))


@dataclass(frozen=True, eq=False)
class _Part:
    """A part of the path: its ends, its integrated gradients, and what they miss of the change of the score over it."""

    start: float
    stop: float
    credit: NDArray[np.float64]
    missed: float
    change: float


def _gradient_shap(score: Score, inputs: ExplainedInputs, steps: int) -> NDArray[np.float64]:
    """Gradients at points drawn on the path (Lundberg 2017), one at a time: a batch of them would fill the memory."""
    (image, clinical), (baseline, _) = inputs.tensors()
    method = GradientShap(score)
    total = np.zeros(inputs.lesions.shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        np.random.seed(_SEED)  # noqa: NPY002  Captum draws the points with NumPy's global generator
        for _step in range(steps):
            found = method.attribute(image, baseline, n_samples=1, stdevs=0.0, additional_forward_args=(clinical,))
            total += _summed(found) / steps
    return total


def _occlusion(score: Score, inputs: ExplainedInputs, groups: NDArray[np.integer]) -> NDArray[np.float64]:
    """The change of the score when the groups of voxels take the values of the baseline, one group after the other.

    Within a group the voxels share it in proportion to what the baseline takes from their SUV.
    """
    (image, clinical), (baseline, _) = inputs.tensors()
    mask = torch.from_numpy(np.stack([groups, np.zeros_like(groups)]).astype(np.int64))[None]
    found = (
        FeatureAblation(score)
        .attribute(image, baseline, additional_forward_args=(clinical,), feature_mask=mask)[0, 0]
        .double()
        .numpy()
    )
    taken = np.abs(inputs.image[0] - inputs.baseline[0]).astype(np.float64)
    totals = np.bincount(groups.ravel(), weights=taken.ravel())
    return np.where(groups > 0, found * taken / np.maximum(totals, 1e-12)[groups], 0.0)


def _lesion_occlusion(score: Score, inputs: ExplainedInputs, _steps: int) -> NDArray[np.float64]:
    return _occlusion(score, inputs, np.where(inputs.changed, inputs.lesions, 0))


def _block_occlusion(score: Score, inputs: ExplainedInputs, _steps: int) -> NDArray[np.float64]:
    places = np.indices(inputs.lesions.shape) // _BLOCK
    numbers = np.ravel_multi_index(tuple(places), tuple(side // _BLOCK + 1 for side in inputs.lesions.shape))
    blocks = np.unique(np.where(inputs.changed, numbers + 1, 0), return_inverse=True)[1].reshape(numbers.shape)
    return _occlusion(score, inputs, blocks)


class _ScoreModule(nn.Module):
    """A network as a function of image and record that gives the score only, as Captum's methods by layers need it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, clinical: Tensor) -> Tensor:
        score: Tensor = self.network(image, clinical).score
        return score + 0.0 * image.sum((1, 2, 3, 4))


def _deep_lift(network: nn.Module, inputs: ExplainedInputs) -> NDArray[np.float64]:
    """DeepLIFT by the rescale rule (Shrikumar 2017) for rectifiers, sigmoids and tanh.

    Captum takes plain gradients through what else is not linear (normalisation, logarithms, quotients), so that the map
    does not add up: where that is more than the gate of completeness lets pass, it is not shown.
    """
    (image, clinical), (baseline, _) = inputs.tensors()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it sets hooks, and asks for gradients: both end here
        found = DeepLift(_ScoreModule(network)).attribute(image, baseline, additional_forward_args=(clinical,))
    return _summed(found)


def _layer_gradcam(network: nn.Module, inputs: ExplainedInputs) -> NDArray[np.float64]:
    """Grad-CAM of the last layer before the maps (Selvaraju 2017), of each member of an ensemble, in both signs."""
    (image, clinical), _ = inputs.tensors()
    members = network.members if isinstance(network, EnsembleNetwork) else [network]
    total = np.zeros(inputs.lesions.shape)
    for member in (one for one in members if isinstance(one, EvidenceNetwork)):
        score = LayerGradCam(_ScoreModule(network), member.maps.refine)
        found = score.attribute(image, additional_forward_args=(clinical,))
        total += _summed(LayerAttribution.interpolate(found, inputs.lesions.shape, "trilinear"))
    return total


def _summed(found: Tensor) -> NDArray[np.float64]:
    """Over the channels, of the one patient."""
    return np.asarray(found[0].detach().double().sum(0).numpy())


_METHODS: Mapping[MethodName, Callable[[Score, ExplainedInputs, int], NDArray[np.float64]]] = {
    "integrated_gradients": _integrated_gradients,
    "gradient_shap": _gradient_shap,
    "lesion_occlusion": _lesion_occlusion,
    "block_occlusion": _block_occlusion,
}
_BY_LAYERS: Mapping[MethodName, Callable[[nn.Module, ExplainedInputs], NDArray[np.float64]]] = {
    "deep_lift": _deep_lift,
    "layer_gradcam": _layer_gradcam,
}


def uptake_sensitivity(network: nn.Module, inputs: ExplainedInputs) -> NDArray[np.float64]:
    """Absolute gradient of the score by the SUV of each voxel, times the SUV: (slices, rows, columns)."""
    (image, clinical), _ = inputs.tensors()
    image.requires_grad_()
    score = network(image, clinical).score + 0.0 * image.sum()
    (gradient,) = torch.autograd.grad(score.sum(), image)
    return np.asarray(np.abs(gradient[0, 0].double().numpy() * inputs.image[0]))


STAGES = ("head", "decoder", "encoder")  # in the order in which cascading randomisation permutes their parameters


def randomize_parameters(network: nn.Module, *, seed: int, stage: str = "encoder") -> nn.Module:
    """Permute the values within the parameters of a copy of the network: the same values, nothing learnt.

    Args:
        network: left as it is.
        seed: of the permutation.
        stage: up to which of `STAGES` the parameters are permuted, from the score down.
    """
    generator = torch.Generator().manual_seed(seed)
    permuted = copy.deepcopy(network)
    with torch.no_grad():
        for name, parameter in permuted.named_parameters():
            if STAGES.index(_stage(name)) <= STAGES.index(stage):
                order = torch.randperm(parameter.numel(), generator=generator)
                parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return permuted


def _stage(parameter: str) -> str:
    if "maps." not in parameter:
        return "head"
    return "encoder" if ".scale_" in parameter else "decoder"
