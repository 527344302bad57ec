"""Export from torch to ONNX, refused unless ONNX Runtime agrees with torch on given cases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import torch
from safetensors.torch import save

from fedpet.core.errors import ExportError
from fedpet.core.messages import Message
from inference.network import NetworkOutput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from inference.input_contract import InputContract
    from training.data.node_data import NodeCase

TOLERANCE = 1e-4
_OPSET = 18
_INPUTS = ("image", "clinical")


def export_onnx(network: nn.Module, contract: InputContract) -> bytes:
    """The network as an ONNX model with a free batch size; outputs are named as the fields of `NetworkOutput`."""
    batch = {0: torch.export.Dim("batch")}
    example = (torch.zeros(2, *contract.image_shape), torch.zeros(2, len(contract.inputs)))
    program = torch.onnx.export(
        network.eval(),
        example,
        input_names=list(_INPUTS),
        output_names=list(NetworkOutput._fields),
        dynamic_shapes=(batch, batch),
        opset_version=_OPSET,
        dynamo=True,
        verbose=False,
    )
    if program is None:
        raise AssertionError("the exporter returns a program when it is given no file")
    model = program.model_proto
    strip_traces(model.graph)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def strip_traces(graph: onnx.GraphProto) -> None:
    """Remove the stack traces that the exporter writes, with the paths of source files on this machine."""
    for node in graph.node:
        del node.metadata_props[:]
        node.ClearField("doc_string")
    for value in (*graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del value.metadata_props[:]
    del graph.metadata_props[:]


def verify_onnx(model: bytes, network: nn.Module, cases: Sequence[NodeCase]) -> float:
    """The largest absolute difference between ONNX Runtime and torch over all outputs and `cases`.

    Raises:
        ExportError: it is above 1e-4, or an output is not a number.
        ValueError: there are no cases.
    """
    if not cases:
        raise ValueError("an export is verified on cases: give at least one")
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    worst = max(_difference(session, network, case) for case in cases)
    if not worst <= TOLERANCE:  # also refuses nan
        raise ExportError(
            found=Message("ONNX Runtime and torch differ by {worst:.1e} on a patient.", worst=worst),
            needed=Message("At most {tolerance:.0e}.", tolerance=TOLERANCE),
            advice=Message("Check the versions of torch, onnx and onnxruntime against those of the project."),
        )
    return worst


def serialized_parameters(network: nn.Module) -> bytes:
    """The parameters as safetensors."""
    return bytes(save({name: value.contiguous() for name, value in network.state_dict().items()}))


def _difference(session: onnxruntime.InferenceSession, network: nn.Module, case: NodeCase) -> float:
    image, clinical = case.image.astype(np.float32)[None], case.clinical[None]
    with torch.no_grad():
        expected = network(torch.from_numpy(image), torch.from_numpy(clinical))
    answered = session.run(None, {"image": image, "clinical": clinical})
    return float(max(np.abs(a - e.numpy()).max(initial=0.0) for a, e in zip(answered, expected, strict=True)))
