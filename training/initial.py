"""Where a training begins: with parameters of an earlier bundle, part of which may stay as they are.

So a federation whose sites have no delineations trains the risk alone, on concept maps that were trained elsewhere; and
differential privacy has few parameters to add noise to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file, save_file

from fedpet.errors import FederationError
from fedpet.messages import Message
from inference.bundle import Bundle
from inference.network import ENSEMBLE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from torch import Tensor

    from training.task import Task

_FIRST = "members.0."  # of an ensemble, the first member is taken


@dataclass(frozen=True, eq=False)
class Initial:
    """First parameters of a training, and the bundle that they are from, as plain data for the card."""

    parameters: dict[str, Tensor]
    source: dict[str, Any]

    def files(self, runs: Iterable[str], folder: Path) -> dict[str, str]:
        """Write them into a folder; the file by name of the run, as the researcher takes it."""
        path = folder / "initial.safetensors"
        save_file(self.parameters, path)
        return dict.fromkeys(runs, str(path))


def read_initial(folder: Path, task: Task) -> Initial:
    """The parameters of a bundle, for the network of a task.

    Raises:
        BundleDamaged, BundleForeign: the folder is no whole bundle.
        FederationError: the bundle's network or input contract is another one.
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
            found=Message("The first parameters are of the network “{network}” of another form.", network=network),
            needed=Message("The network “{network}”, its configuration and its input contract.", network=task.network),
            advice=Message("Name a bundle of the same network, or leave initial out."),
        )
    source = {"name": bundle.card["name"], "version": bundle.card["version"], "digest": bundle.digest}
    return Initial(parameters, {**source, "synthetic": bundle.card["synthetic"]})


def told_of(initial: Initial | None, task: Task) -> dict[str, Any]:
    """What the card tells of it: nothing where the training began anew."""
    return {} if initial is None else {"initial": {**initial.source, "frozen": list(task.frozen)}}
