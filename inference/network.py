"""The networks, by name: the torch modules that training and explanation share.

"evidence" is a biomarker bottleneck: a small 3D encoder-decoder predicts voxel maps of named concepts (lesion,
necrosis, liver lesion, liver, marrow); six biomarkers in physical units are computed from the maps; the risk score is a
linear function of these biomarkers and of the clinical terms; the hazard of each interval is the logistic of the score
plus the baseline of the interval. Every parameter is trained by gradient; there are no buffers and no batch statistics,
so that federated averaging and secure aggregation cover the whole model.

"table" is the same survival model without images and maps: its score is linear in all inputs of the contract, those
measured on the lesions among them. "clinical" is the mandatory baseline: the same with the record's inputs only;
"tmtv_clinical" is the one to beat with images: TMTV of the lesion table beside the record.

"table_and_crops" adds a learned term of the crops around the lesions to a fitted table.

"ensemble" averages several trained networks of one kind; the mean of additive scores is additive.
"""

from __future__ import annotations

from itertools import pairwise
from math import exp, log
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from inference.crop_network import CropTerm
from inference.input_contract import BIOMARKERS, LESION_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from inference.input_contract import InputContract

_HEAD_RATE = 3.0  # learning rate of the linear heads, relative to that of the maps
_MAX_BIOMARKER = 3.0  # bound of a biomarker in the score, standard deviations
_REFERENCE_MEDIAN_MONTHS = 8.0  # published median PFS of the population, from which the baseline hazards start


class NetworkOutput(NamedTuple):
    """Outputs for a batch of B patients.

    Attributes:
        hazard_logits: (B, K) logit of the hazard in each interval of the contract.
        score: (B,) linear predictor; higher is worse.
        biomarkers: (B, M) standardised image biomarkers, in the order of `BIOMARKERS`; (B, 0) without images.
        maps: (B, C, slices, rows, columns) concept probabilities in [0, 1]; (B, 0, ...) without images.
        contributions: (B, n + M) additive terms of the score: the contract's inputs, then biomarkers or learned term.
    """

    hazard_logits: Tensor
    score: Tensor
    biomarkers: Tensor
    maps: Tensor
    contributions: Tensor


class _ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each voxel: local, and the same for one patient or many."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1, channels, 1, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        variance = (centred * centred).mean(1, keepdim=True)
        return centred * torch.rsqrt(variance + 1e-3) * self.gain + self.bias


class _Block(nn.Module):
    """Convolution (stride 1 or 2), normalisation, then a residual convolution.

    Each non-linearity is a module that is used once, as DeepLIFT needs it; so it is everywhere below.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.enter = nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1)  # its bias lets the norm keep intensity
        self.norm = _ChannelNorm(outputs)
        self.mix = nn.Conv3d(outputs, outputs, 3, padding=1, bias=False)
        self.mix_norm = _ChannelNorm(outputs)
        self.rectify, self.mix_rectify = nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.rectify(self.norm(self.enter(x)))
        mixed: Tensor = self.mix_rectify(self.mix_norm(self.mix(x)))
        return x + mixed


class _ConceptMaps(nn.Module):
    """Encoder-decoder from (SUV, HU) to logits of the concepts at the grid's own resolution.

    The image is folded (2 x 2 x 2 voxels become channels), so that everything is computed on an eighth of the voxels
    while the maps keep the full resolution.
    """

    def __init__(self, concepts: int, width: int) -> None:
        super().__init__()
        self.scale_2 = _Block(24, width, stride=1)
        self.scale_4 = _Block(width, 2 * width, stride=2)
        self.scale_8 = _Block(2 * width, 3 * width, stride=2)
        self.from_8 = nn.Conv3d(3 * width, 2 * width, 1)
        self.from_4 = nn.Conv3d(2 * width, width, 1)
        self.refine = _Block(width, width, stride=1)
        self.draw = nn.Conv3d(width, 8 * concepts, 1)
        self.rectify_4, self.rectify_2 = nn.ReLU(), nn.ReLU()
        nn.init.constant_(self.draw.bias, -5.0)  # type: ignore[arg-type]  # draw is made with a bias

    def forward(self, image: Tensor) -> Tensor:
        fine = self.scale_2(_fold(_windows(image)))
        middle = self.scale_4(fine)
        coarse = self.scale_8(middle)
        middle = self.rectify_4(middle + _upsample(self.from_8(coarse), middle))
        fine = self.rectify_2(fine + _upsample(self.from_4(middle), fine))
        return _unfold(self.draw(self.refine(fine)))


def _fold(x: Tensor) -> Tensor:
    """(B, C, 2s, 2r, 2c) -> (B, 8C, s, r, c)."""
    batch, channels, slices, rows, columns = x.shape
    x = x.reshape(batch, channels, slices // 2, 2, rows // 2, 2, columns // 2, 2)
    x = x.permute(0, 1, 3, 5, 7, 2, 4, 6)
    return x.reshape(batch, 8 * channels, slices // 2, rows // 2, columns // 2)


def _unfold(x: Tensor) -> Tensor:
    """(B, 8C, s, r, c) -> (B, C, 2s, 2r, 2c): the inverse of `_fold`."""
    batch, channels, slices, rows, columns = x.shape
    x = x.reshape(batch, channels // 8, 2, 2, 2, slices, rows, columns)
    x = x.permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.reshape(batch, channels // 8, 2 * slices, 2 * rows, 2 * columns)


def _windows(image: Tensor) -> Tensor:
    """(B, 2, ...) SUV and HU -> (B, 3, ...) linear SUV, logarithmic SUV and HU, each at about unit scale."""
    suv, hu = image[:, :1], image[:, 1:]
    return torch.cat([suv / 8.0, torch.log1p(suv) / 1.5, (hu + 200.0) / 500.0], 1)


def _upsample(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, size=like.shape[2:], mode="trilinear", align_corners=False)


class EvidenceNetwork(nn.Module):
    """Concept maps -> biomarkers -> additive risk score -> discrete-time hazards (see the module's docstring)."""

    def __init__(self, contract: InputContract, *, width: int = 16, map_gradient: float = 0.0) -> None:
        """Build it.

        Args:
            contract: shape, spacing, clinical inputs and intervals.
            width: channels at the first scale.
            map_gradient: share of the gradient of the survival loss that reaches the maps in training. 0: they learn
                from masks alone and remain what their names say; above 0, sites without masks train them by outcomes.
        """
        super().__init__()
        self.map_gradient = map_gradient
        self.voxel_ml = contract.spacing_mm**3 / 1000.0
        self.spacing_mm = contract.spacing_mm
        self.maps = _ConceptMaps(len(contract.concepts), width)
        self.image_head = _Terms(len(BIOMARKERS), 1, bias=False)
        self.head = SurvivalHead(contract)
        self.probability, self.active, self.bound = nn.Sigmoid(), nn.Sigmoid(), nn.Tanh()
        nn.init.zeros_(self.image_head.weight)

    def forward(self, image: Tensor, clinical: Tensor) -> NetworkOutput:
        """Run the network.

        Args:
            image: (B, 2, slices, rows, columns), SUV and HU.
            clinical: (B, n), see `inference.encoding.encode`.
        """
        maps = self.probability(self.maps(image))
        trained_maps = maps.detach() + self.map_gradient * (maps - maps.detach()) if self.training else maps
        biomarkers = self.biomarkers(image[:, 0], trained_maps)
        bounded = _MAX_BIOMARKER * self.bound(biomarkers / _MAX_BIOMARKER)  # one odd map cannot decide alone
        terms = torch.cat([self.head.clinical(clinical), self.image_head(bounded)], 1)
        score = terms.sum(1)
        return NetworkOutput(self.head(score), score, biomarkers, maps, terms)

    def biomarkers(self, suv: Tensor, maps: Tensor) -> Tensor:
        """Biomarkers, scaled to about zero mean and unit spread over the population.

        Args:
            suv: (B, slices, rows, columns), g/ml.
            maps: (B, C, slices, rows, columns), probabilities of the concepts.

        Returns:
            (B, 6), in the order of `BIOMARKERS`.
        """
        lesion, necrosis, liver_lesion, liver, marrow = maps.unbind(1)
        lesion = lesion * self.active((suv - 2.0) / 0.3)  # only metabolically active voxels count
        active = _total(lesion)
        volume = active * self.voxel_ml
        uptake = _total(lesion * suv) / (active + 1.0)
        necrotic = _total(necrosis) / (active + _total(necrosis) + 1.0)
        liver_volume = _total(liver_lesion) * self.voxel_ml
        ratio = _mean(suv, marrow) / _mean(suv, liver)
        return torch.stack(
            [
                (torch.log(volume + 3.0) - 4.5) / 1.05,
                (torch.log(uptake + 0.5) - 1.8) / 0.4,
                (self._spread_mm(lesion) - 110.0) / 50.0,
                (necrotic - 0.13) / 0.11,
                torch.log(liver_volume + 1.0) - 0.6,
                (torch.log(ratio) + 0.33) / 0.21,
            ],
            1,
        )

    def _spread_mm(self, lesion: Tensor) -> Tensor:
        """(B,) root mean square distance of the lesion voxels from their centroid, mm."""
        total = _total(lesion) + 1e-3
        variance = torch.zeros_like(total)
        for axis in (1, 2, 3):
            profile = lesion.sum([other for other in (1, 2, 3) if other != axis])
            position = torch.arange(profile.shape[1], dtype=lesion.dtype, device=lesion.device) * self.spacing_mm
            centre = (profile * position).sum(1) / total
            variance = variance + (profile * (position - centre[:, None]) ** 2).sum(1) / total
        return torch.sqrt(variance + 1.0)


class TableNetwork(nn.Module):
    """All inputs of the contract -> risk score -> discrete-time hazards."""

    name = "table"  # in the registry

    def __init__(self, contract: InputContract) -> None:
        super().__init__()
        self.used = used_inputs(self.name, contract)
        self.head = SurvivalHead(contract)

    def forward(self, image: Tensor, clinical: Tensor) -> NetworkOutput:
        """Run the network; only the batch size of `image` is used."""
        if not all(self.used):
            clinical = clinical * torch.tensor(self.used, dtype=clinical.dtype, device=clinical.device)
        terms = self.head.clinical(clinical)
        score = terms.sum(1)
        no_biomarkers = image.new_zeros((image.shape[0], 0))
        return NetworkOutput(self.head(score), score, no_biomarkers, image[:, :0], terms)


class ClinicalNetwork(TableNetwork):
    """The baseline: the inputs of the record only; those measured on the lesions do not count."""

    name = "clinical"


class TmtvClinicalNetwork(TableNetwork):
    """The inputs of the record and TMTV; nothing else that is measured on the lesions counts."""

    name = "tmtv_clinical"


class TableAndCropsNetwork(nn.Module):
    """The network "table" with the learned term of the crops as one more term (`inference.crop_network`).

    Its head is that of a fitted table and is not trained: the term is learned with the table's score as an offset.
    """

    def __init__(self, contract: InputContract, *, width: int = 12) -> None:
        super().__init__()
        if contract.crops is None:
            raise TypeError("the network table_and_crops needs a contract with crops")
        self.head = SurvivalHead(contract)
        self.crops = CropTerm(contract.crops, width=width)

    def forward(self, image: Tensor, clinical: Tensor) -> NetworkOutput:
        """Run the network.

        Args:
            image: (B, lesions, 3, size, size, size), see `inference.lesion_crops.LesionCrops.bag`.
            clinical: (B, n), see `inference.encoding.encode`.
        """
        terms = torch.cat([self.head.clinical(clinical), self.crops(image)[:, None]], 1)
        score = terms.sum(1)
        nothing = image.new_zeros((image.shape[0], 0))
        return NetworkOutput(self.head(score), score, nothing, nothing[:, :, None, None, None], terms)


# of the lesion table, what a network reads that does not read all of it
_QUANTITIES_READ: Mapping[str, frozenset[str]] = {
    "clinical": frozenset(),
    "tmtv_clinical": frozenset({f"{LESION_PREFIX}tmtv_ml"}),
}


def used_inputs(network: str, contract: InputContract) -> tuple[bool, ...]:
    """Which of the contract's inputs a network's score depends on: those of the record, and of the lesion table."""
    read = _QUANTITIES_READ.get(network)
    return tuple(read is None or LESION_PREFIX not in name or name in read for name in contract.inputs)


class _Terms(nn.Linear):
    """The terms of a linear predictor, before they are summed."""

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class SurvivalHead(nn.Module):
    """Clinical terms and baseline hazards.

    Every parameter is used by the forward call of the module that holds it: per-patient gradients, which differential
    privacy clips, are taken there.
    """

    def __init__(self, contract: InputContract) -> None:
        super().__init__()
        self.clinical = _Terms(len(contract.inputs), 1, bias=False)
        self.baseline = nn.Parameter(torch.tensor(reference_baseline(contract.month_edges)))
        nn.init.zeros_(self.clinical.weight)

    def forward(self, score: Tensor) -> Tensor:
        """Score (B,) -> hazard logits (B, K)."""
        return score[:, None] + self.baseline


def reference_baseline(edges: Sequence[float]) -> list[float]:
    """(K,) logits of the hazards of the reference population, from which training starts.

    Args:
        edges: K + 1 months.
    """
    rate = log(2.0) / _REFERENCE_MEDIAN_MONTHS
    return [log(exp(rate * (stop - begin)) - 1.0) for begin, stop in pairwise(edges)]


class EnsembleNetwork(nn.Module):
    """An average of networks of one kind that differ in their parameters: every output is the mean over the members."""

    def __init__(
        self, contract: InputContract, *, network: str, members: int, config: Mapping[str, object] | None = None
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(build_network(network, contract, config) for _ in range(members))

    def forward(self, image: Tensor, clinical: Tensor) -> NetworkOutput:
        """The mean of the outputs of the members."""
        outputs = [member(image, clinical) for member in self.members]
        return NetworkOutput(*(torch.stack(parts).mean(0) for parts in zip(*outputs, strict=True)))


def _total(x: Tensor) -> Tensor:
    """(B,) sum over the voxels, axis by axis: a running sum over half a million float32 would lose digits."""
    return x.sum(3).sum(2).sum(1)


def _mean(suv: Tensor, weight: Tensor) -> Tensor:
    """(B,) weighted mean SUV; tends to 1.5 where the weight vanishes."""
    return (_total(suv * weight) + 1.5) / (_total(weight) + 1.0)


ENSEMBLE = "ensemble"
WITH_CROPS = "table_and_crops"
IMAGELESS = frozenset({"table", "clinical", "tmtv_clinical"})  # networks that read no image
_REGISTRY: Mapping[str, Callable[..., nn.Module]] = {
    "evidence": EvidenceNetwork,
    "table": TableNetwork,
    "clinical": ClinicalNetwork,
    "tmtv_clinical": TmtvClinicalNetwork,
    WITH_CROPS: TableAndCropsNetwork,
    ENSEMBLE: EnsembleNetwork,
}


def build_network(name: str, contract: InputContract, config: Mapping[str, object] | None = None) -> nn.Module:
    """The network registered as `name`, with fresh parameters.

    Raises:
        KeyError: no such network.
        TypeError: the configuration does not fit it.
    """
    return _REGISTRY[name](contract, **(config or {}))


def parameter_groups(network: nn.Module, learning_rate: float) -> list[dict[str, object]]:
    """Optimiser groups: the few parameters of the linear heads learn faster than the maps and do not decay.

    A round of federated averaging moves a parameter about as far as the steps of the largest site do: at the learning
    rate of the maps the heads would stay near 0 in the rounds that the maps need. A separate ridge penalty regularises
    them.
    """
    trained = [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
    heads = [parameter for name, parameter in trained if "head." in name]
    body = [parameter for name, parameter in trained if "head." not in name]
    groups: list[dict[str, object]] = [{"params": heads, "lr": _HEAD_RATE * learning_rate, "weight_decay": 0.0}]
    return [*groups, {"params": body, "lr": learning_rate}] if body else groups
