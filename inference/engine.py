"""The ONNX Runtime engine: runs a bundle's network on the best provider there is, and says which."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnxruntime

from fedpet.errors import BundleForeign, SettingsError
from fedpet.messages import Message

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from inference.bundle import Bundle

ProviderChoice = Literal["auto", "cpu", "cuda", "tensorrt"]

_CPU = "CPUExecutionProvider"
_CUDA: tuple[str, dict[str, Any]] = (
    "CUDAExecutionProvider",
    {"cudnn_conv_algo_search": "HEURISTIC"},  # DEFAULT maps to a slow fallback since onnxruntime 1.20 (#22705)
)
_TENSORRT: tuple[str, dict[str, Any]] = ("TensorrtExecutionProvider", {})
_OUTPUTS = ("hazard_logits", "score", "biomarkers", "maps", "contributions")


@dataclass(frozen=True, eq=False)
class EngineOutput:
    """One patient's outputs; see `inference.network.NetworkOutput`.

    Attributes:
        hazard_logits: (K,).
        score: raw linear predictor.
        biomarkers: (M,).
        maps: (C, slices, rows, columns) concept probabilities on the model grid.
        contributions: (n + M,) additive terms of the score.
    """

    hazard_logits: NDArray[np.float64]
    score: float
    biomarkers: NDArray[np.float64]
    maps: NDArray[np.float32]
    contributions: NDArray[np.float64]


class Engine:
    """An ONNX Runtime session on one bundle. `provider` names what really runs, for example "CPUExecutionProvider"."""

    def __init__(self, bundle: Bundle, *, provider: ProviderChoice = "auto", threads: int = 0) -> None:
        """Open the session.

        Raises:
            SettingsError: the asked provider does not work here.
            BundleForeign: the network's inputs or outputs are not those of a fedpet bundle.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors only: a provider that is not there is reported below, in our words
        self._session = onnxruntime.InferenceSession(bundle.onnx, options, providers=_providers(provider))
        self.provider: str = self._session.get_providers()[0]
        if provider not in {"auto", "cpu"} and self.provider == _CPU:
            raise SettingsError(
                found=Message("The provider “{provider}” does not work on this machine.", provider=provider),
                needed=Message("An NVIDIA GPU with its driver, and onnxruntime-gpu with CUDA and cuDNN."),
                advice=Message("Set the provider to auto or cpu."),
            )
        if tuple(output.name for output in self._session.get_outputs()) != _OUTPUTS:
            raise BundleForeign(
                found=Message("The network's outputs are not those that fedpet reads."),
                needed=Message("Outputs {names}.", names=", ".join(_OUTPUTS)),
                advice=Message("Give the folder that `fedpet train` wrote, or retrain with this version."),
            )

    def run(self, image: NDArray[np.float32], clinical: NDArray[np.float32]) -> EngineOutput:
        """Answer for one patient: image (2, slices, rows, columns), clinical (n,)."""
        feed = {"image": image[None], "clinical": clinical[None]}
        hazards, score, biomarkers, maps, contributions = (output[0] for output in self._session.run(None, feed))
        return EngineOutput(
            hazards.astype(np.float64),
            float(score),
            biomarkers.astype(np.float64),
            maps,
            contributions.astype(np.float64),
        )


def _providers(choice: ProviderChoice) -> list[Any]:
    """Providers in the order in which ONNX Runtime shall try them."""
    wanted: list[Any] = {"cpu": [], "cuda": [_CUDA], "tensorrt": [_TENSORRT, _CUDA], "auto": [_CUDA]}[choice]
    there = set(onnxruntime.get_available_providers()) if _nvidia_driver() else {_CPU}
    found = [provider for provider in wanted if provider[0] in there]
    if found:
        onnxruntime.preload_dlls()  # CUDA and cuDNN from the Python packages beside onnxruntime-gpu
    return [*found, _CPU]


def _nvidia_driver() -> bool:
    """Whether the kernel has an NVIDIA driver: asking CUDA without one costs time and prints errors."""
    return Path("/proc/driver/nvidia/version").exists()
