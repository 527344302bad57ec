"""CPU time of one forward pass of the network that reads images: ONNX Runtime against torch and OpenVINO.

    python -m benchmarks.network_peers [--width 16] [--repeats 7]

The network `evidence` with drawn parameters on the grid of the default contract, one patient, one thread; the ways take
turns. `onnxruntime` is what predictions run; `torch eager`; `torch.compile` (Inductor, needs a C++ compiler);
`openvino` (extra `bench`) on the same ONNX file, float32. Largest differences of the score and of the maps from
torch eager are given: a way that computes something else has no time worth comparing.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import torch

from benchmarks.figures import Comparison, report
from inference.input_contract import default_contract
from inference.network import build_network
from training.bundle.export import export_onnx

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import nn

    Image = NDArray[np.float32]
    Way = Callable[[Image, Image], tuple[Image, Image]]

_SCORE, _MAPS = 1, 3  # outputs, see `inference.network.NetworkOutput`


def _onnxruntime(model: bytes) -> Way:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(image: Image, clinical: Image) -> tuple[Image, Image]:
        outputs = session.run(None, {"image": image, "clinical": clinical})
        return outputs[_SCORE], outputs[_MAPS]

    return run


def _torch(network: Callable[..., Any]) -> Way:
    def run(image: Image, clinical: Image) -> tuple[Image, Image]:
        with torch.inference_mode():
            outputs = network(torch.from_numpy(image), torch.from_numpy(clinical))
        return outputs[_SCORE].numpy(), outputs[_MAPS].numpy()

    return run


def _openvino(model: bytes) -> Way:
    openvino: Any = importlib.import_module("openvino")
    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(core.read_model(model=model, weights=b""), "CPU", settings)

    def run(image: Image, clinical: Image) -> tuple[Image, Image]:
        outputs = compiled({"image": image, "clinical": clinical})
        return outputs[_SCORE], outputs[_MAPS]

    return run


def ways(network: nn.Module, model: bytes) -> tuple[dict[str, Way], dict[str, str]]:
    """Every way that this machine has, and why it lacks the others."""
    found, missing = {"onnxruntime": _onnxruntime(model), "torch eager": _torch(network)}, {}
    if shutil.which("g++") or shutil.which("clang++"):
        found["torch.compile"] = _torch(torch.compile(network))
    else:
        missing["torch.compile"] = "no C++ compiler"
    if importlib.util.find_spec("openvino"):
        found["openvino"] = _openvino(model)
    else:
        missing["openvino"] = "openvino is not installed (extra `bench`)"
    return found, missing


def main() -> None:
    """Measure in turns, compare the answers, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--width", type=int, default=16, help="channels at the first scale")
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    contract = default_contract()
    network = build_network("evidence", contract, {"width": given.width}).eval()
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    random = np.random.default_rng(0)
    suv, hu = random.gamma(1.0, 1.5, contract.shape), random.normal(0, 200, contract.shape)
    image = np.stack([suv, hu]).astype(np.float32)[None]
    clinical = random.normal(size=(1, len(contract.inputs))).astype(np.float32)
    found, missing = ways(network, export_onnx(network, contract))
    answers = {name: way(image, clinical) for name, way in found.items()}  # compiles and warms up, too
    seconds: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(given.repeats):
        for name, way in found.items():
            before = time.process_time()
            way(image, clinical)
            seconds[name].append(time.process_time() - before)
    expected = answers.pop("torch eager")
    apart = (
        f"{name} {np.abs(score - expected[0]).max():.1g} and {np.abs(maps - expected[1]).max():.1g}"
        for name, (score, maps) in answers.items()
    )
    note = f"Largest difference from torch eager, of the score and of the maps: {', '.join(apart)}."
    shape = " x ".join(map(str, contract.shape))
    title = f"one forward pass, 2 x {shape}, width {given.width}"
    report(Comparison(title, "CPU s", "torch eager", seconds, missing, (note,)))


if __name__ == "__main__":
    main()
