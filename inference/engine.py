"""The engine: runs the network of a bundle on the best available provider or on a server, and reports which."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnxruntime

from fedpet.core.errors import IncompatibleBundleError, SettingsError
from fedpet.core.messages import Message
from fedpet.core.profile import Stage, stage
from inference.remote_network import RemoteNetwork

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fedpet.core.connection_settings import InferenceServerSettings
    from fedpet.core.settings import Settings
    from inference.bundle.storage import Bundle

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
    """The outputs for one patient; see `inference.network.NetworkOutput`.

    Attributes:
        hazard_logits: (K,), of each time interval.
        score: linear predictor before calibration.
        biomarkers: (M,), in the order of `inference.input_contract.BIOMARKERS`.
        maps: (C, slices, rows, columns) concept probabilities on the model grid.
        contributions: (n + M,) additive terms of the score.
    """

    hazard_logits: NDArray[np.float64]
    score: float
    biomarkers: NDArray[np.float64]
    maps: NDArray[np.float32]
    contributions: NDArray[np.float64]


class Engine:
    """The network of one bundle: an ONNX Runtime session here, or an inference server.

    Attributes:
        provider: the ONNX Runtime provider that runs, for example "CPUExecutionProvider"; or the server.
    """

    @stage(Stage.MODEL)
    def __init__(
        self,
        bundle: Bundle,
        *,
        provider: ProviderChoice = "auto",
        threads: int = 0,
        server: InferenceServerSettings | None = None,
    ) -> None:
        """Open the session.

        Args:
            bundle: the model.
            provider: "auto" takes CUDA where it works, else the CPU.
            threads: of ONNX Runtime within an operator; 0 lets it choose.
            server: runs the network in the place of this machine, if it has an address; the others are then without
                effect.

        Raises:
            SettingsError: the requested provider does not work on this machine.
            IncompatibleBundleError: the outputs of the network are not those of a fedpet bundle.
            InferenceServerError: the server cannot be used or holds another model.
        """
        self._remote = RemoteNetwork(bundle, server, _OUTPUTS) if server is not None and server.url else None
        if self._remote is not None:
            self.provider: str = self._remote.description
            return
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors only: a missing provider is reported below
        self._session = onnxruntime.InferenceSession(bundle.onnx, options, providers=_providers(provider))
        self.provider = self._session.get_providers()[0]
        if provider not in {"auto", "cpu"} and self.provider == _CPU:
            raise SettingsError(
                found=Message("The provider “{provider}” does not work on this machine.", provider=provider),
                needed=Message("An NVIDIA GPU with its driver, and onnxruntime-gpu with CUDA and cuDNN."),
                advice=Message("Set the provider to auto or cpu."),
            )
        if tuple(output.name for output in self._session.get_outputs()) != _OUTPUTS:
            raise IncompatibleBundleError(
                found=Message("The network's outputs are not those that fedpet reads."),
                needed=Message("Outputs {names}.", names=", ".join(_OUTPUTS)),
                advice=Message("Give the folder that `fedpet train` wrote, or retrain with this version."),
            )

    @classmethod
    def of(cls, bundle: Bundle, settings: Settings) -> Engine:
        """The engine that the settings choose; see `__init__` for its errors."""
        return cls(bundle, provider=settings.provider, threads=settings.threads, server=settings.inference_server)

    @stage(Stage.MODEL)
    def run(self, image: NDArray[np.float32], clinical: NDArray[np.float32]) -> EngineOutput:
        """Run the network for one patient.

        Args:
            image: (2, slices, rows, columns), SUV and HU (`inference.preprocessing.model_image`).
            clinical: (n,), see `inference.encoding.encode`.

        Raises:
            InferenceServerError: the server does not answer in time, or not as this network.
        """
        feed = {"image": image[None], "clinical": clinical[None]}
        outputs = self._session.run(None, feed) if self._remote is None else self._remote.run(feed)
        hazards, score, biomarkers, maps, contributions = (output[0] for output in outputs)
        return EngineOutput(
            hazards.astype(np.float64),
            float(score),
            biomarkers.astype(np.float64),
            maps,
            contributions.astype(np.float64),
        )


def largest_difference(one: EngineOutput, other: EngineOutput) -> float:
    """Between two outputs for the same patient: the largest over all values, relative where one exceeds 1."""
    largest = 0.0
    for field in fields(EngineOutput):
        ours, theirs = (np.atleast_1d(np.asarray(getattr(output, field.name), float)) for output in (one, other))
        apart = np.abs(ours - theirs) / np.maximum(1.0, np.abs(ours))
        largest = max(largest, float(apart.max(initial=0.0)))
    return largest


def _providers(choice: ProviderChoice) -> list[Any]:
    """Providers in the order in which ONNX Runtime tries them."""
    preferred: list[Any] = {"cpu": [], "cuda": [_CUDA], "tensorrt": [_TENSORRT, _CUDA], "auto": [_CUDA]}[choice]
    available = set(onnxruntime.get_available_providers()) if nvidia_driver() else {_CPU}
    usable = [provider for provider in preferred if provider[0] in available]
    if usable:
        onnxruntime.preload_dlls()  # CUDA and cuDNN from the Python packages that accompany onnxruntime-gpu
    return [*usable, _CPU]


def nvidia_driver() -> bool:
    """Whether the kernel has an NVIDIA driver: without one, looking for CUDA costs time and prints errors."""
    return Path("/proc/driver/nvidia/version").exists()
