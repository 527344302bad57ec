"""Export of the organ network to ONNX, with its card; refused unless ONNX Runtime agrees with torch."""

from __future__ import annotations

import copy
import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from fedpet.core.errors import ExportError
from fedpet.core.messages import Message
from fedpet.imaging.segmenters.organ_network import CARD, FORMAT, NETWORK
from training.bundle.export import strip_traces
from training.organs.network import DIVISOR, OrganNetwork
from training.organs.samples import GRID_MM
from training.simulation.phantom.varied.structures import NAMES

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from training.organs.training_run import OrganTraining, TrainingState

TOLERANCE: Final = 1e-4  # of the logits, relative to their largest
_OPSET: Final = 18
OUTPUTS: Final = ("labels", "probability", "logits")


class _Labelled(torch.nn.Module):
    """The most probable class of each voxel, its probability (255 is 1) and the logits, cell by cell."""

    def __init__(self, network: OrganNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self.network.features(image).permute(0, 2, 3, 4, 1)
        logits = self.network.named(features.reshape(-1, features.shape[-1]))
        shape = features.shape[:4]
        labels = logits.argmax(2).to(torch.uint8)
        probability = torch.round(255 * torch.softmax(logits, 2).amax(2)).to(torch.uint8)
        return _voxelwise(labels, shape), _voxelwise(probability, shape), logits


def _voxelwise(cells: Tensor, shape: torch.Size) -> Tensor:
    """(B s r c, 8) -> (B, 2s, 2r, 2c)."""
    batch, slices, rows, columns = shape
    x = cells.reshape(batch, slices, rows, columns, 2, 2, 2).permute(0, 1, 4, 2, 5, 3, 6)
    return x.reshape(batch, 2 * slices, 2 * rows, 2 * columns)


def write_network(state: TrainingState, plan: OrganTraining, folder: Path) -> dict[str, Any]:
    """Write the averaged network and its card.

    Args:
        state: of the training run.
        plan: of the training run.
        folder: where to; made if it is missing.

    Returns:
        The card.

    Raises:
        ExportError: ONNX Runtime and torch differ.
    """
    network = in_half_precision(state.average)
    onnx_bytes = export_organs(network)
    image = trial_image(plan.seed)
    card = {
        "format": FORMAT,
        "sha256": hashlib.sha256(onnx_bytes).hexdigest(),
        "classes": list(NAMES),
        "grid_mm": GRID_MM,
        "trained_on": "simulated bodies",
        "data": "bodies of training.simulation.phantom.varied; no patient was used",
        "seed": plan.seed,
        "bodies": plan.bodies,
        "steps": state.step,
        "minutes": round(state.seconds / 60, 1),
        "parameters": sum(one.numel() for one in network.parameters()),
        "difference_from_torch": verify_organs(onnx_bytes, network, image),
        "licence": "Apache-2.0",
    }
    if plan.earlier is not None:
        card["continued_from"] = plan.earlier
        card["not_found"] = list(plan.not_found)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NETWORK).write_bytes(onnx_bytes)
    (folder / CARD).write_text(json.dumps(card, indent=1) + "\n", "utf-8")
    return card


def read_weights(model: bytes) -> dict[str, NDArray[np.float32]]:
    """The weights of a network that `export_organs` wrote, by their names in `OrganNetwork`."""
    return {
        tensor.name.removeprefix("network.").removesuffix("_16"): numpy_helper.to_array(tensor).astype(np.float32)
        for tensor in onnx.load_from_string(model).graph.initializer
        if tensor.name.startswith("network.")
    }


def in_half_precision(network: OrganNetwork) -> OrganNetwork:
    """A copy whose weights are rounded to what is stored: 16 bits."""
    rounded = copy.deepcopy(network).eval().to(memory_format=torch.contiguous_format)
    with torch.no_grad():
        for parameter in rounded.parameters():
            parameter.copy_(parameter.half().float())
    return rounded


def export_organs(network: OrganNetwork) -> bytes:
    """The network as ONNX with free sizes and weights in 16 bits; outputs as `OUTPUTS`."""
    sizes = {axis: DIVISOR * torch.export.Dim(name, min=1, max=64) for axis, name in ((2, "s"), (3, "r"), (4, "c"))}
    program = torch.onnx.export(
        _Labelled(network).eval(),
        (torch.zeros(1, 2, 48, 32, 64),),
        input_names=["image"],
        output_names=list(OUTPUTS),
        dynamic_shapes=(sizes,),
        opset_version=_OPSET,
        dynamo=True,
        verbose=False,
    )
    if program is None:
        raise AssertionError("the exporter returns a program when it is given no file")
    model = program.model_proto
    strip_traces(model.graph)
    _store_halves(model.graph)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _store_halves(graph: onnx.GraphProto) -> None:
    """Keep the large weights in 16 bits; ONNX Runtime widens them once, when it opens the network."""
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < 16:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{name}_16"))
        casts.append(helper.make_node("Cast", [f"{name}_16"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def trial_image(seed: int) -> NDArray[np.float32]:
    """An image (1, 2, 48, 32, 48) of random SUV and HU on which two programs are compared."""
    rng = np.random.default_rng(seed)
    shape = (1, 48, 32, 48)
    return np.stack([rng.gamma(1, 2, shape), rng.normal(0, 300, shape)], axis=1).astype(np.float32)


def verify_organs(model: bytes, network: OrganNetwork, image: NDArray[np.float32]) -> float:
    """The largest difference of the logits between ONNX Runtime and torch, relative to the largest logit.

    Raises:
        ExportError: it is above 1e-4, or a logit is not a number.
    """
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = _Labelled(network)(torch.from_numpy(image))[2].numpy()
    (answered,) = session.run(["logits"], {"image": image})
    worst = float(np.abs(answered - expected).max() / max(float(np.abs(expected).max()), 1e-6))
    if not worst <= TOLERANCE:  # also refuses nan
        raise ExportError(
            found=Message("ONNX Runtime and torch differ by {worst:.1e} on an image.", worst=worst),
            needed=Message("At most {tolerance:.0e}.", tolerance=TOLERANCE),
            advice=Message("Check the versions of torch, onnx and onnxruntime against those of the project."),
        )
    return worst
