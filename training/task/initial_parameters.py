"""First parameters from an earlier bundle, some of which may be frozen.

A federation whose sites have no delineations can train the risk alone on concept maps that were trained elsewhere, and
differential privacy then adds noise to few parameters only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file, save_file

from fedpet.core.errors import FederationError
from fedpet.core.messages import Message
from inference.bundle.storage import Bundle
from inference.network import ENSEMBLE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from torch import Tensor

    from training.task.task import TrainingTask

_FIRST = "members.0."  # of an ensemble, the first member is taken


@dataclass(frozen=True, eq=False)
class InitialParameters:
    """First parameters of a training, and a description of the bundle they come from, for the card."""

    parameters: dict[str, Tensor]
    source: dict[str, Any]

    def files(self, runs: Iterable[str], folder: Path) -> dict[str, str]:
        """Write the parameters to a folder; returns the file by name of the run, as `RunConfig.initial` needs it."""
        path = folder / "initial.safetensors"
        save_file(self.parameters, path)
        return dict.fromkeys(runs, str(path))


def read_initial(folder: Path, task: TrainingTask) -> InitialParameters:
    """The parameters of a bundle, for the network of a task.

    Raises:
        CorruptBundleError, IncompatibleBundleError: the folder is no whole bundle.
        FederationError: the bundle has another network or input contract.
    """
    bundle = Bundle.load(folder)
    network, config = bundle.card["network"]["name"], bundle.card["network"]["config"]
    parameters = load_file(bundle.weights)
    if network == ENSEMBLE:
        network = config["network"]
        parameters = {name.removeprefix(_FIRST): one for name, one in parameters.items() if name.startswith(_FIRST)}
    expected = {name: one.shape for name, one in task.build().state_dict().items()}
    same = {name: one.shape for name, one in parameters.items()} == expected
    if network != task.network or not same or bundle.contract.fingerprint != task.contract.fingerprint:
        raise FederationError(
            found=Message(
                "The first parameters belong to another network: “{network}”, or one of another shape.", network=network
            ),
            needed=Message("The network “{network}”, its configuration and its input contract.", network=task.network),
            advice=Message("Name a bundle of the same network, or leave initial out."),
        )
    source = {"name": bundle.card["name"], "version": bundle.card["version"], "digest": bundle.digest}
    return InitialParameters(parameters, {**source, "synthetic": bundle.card["synthetic"]})


def describe_initial_parameters(initial: InitialParameters | None, task: TrainingTask) -> dict[str, Any]:
    """The entry of the card; empty where the training started from fresh parameters."""
    return {} if initial is None else {"initial": {**initial.source, "frozen": list(task.frozen)}}
