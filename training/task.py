"""The work that the researcher asks of every node, as data, and the guard that both sides do the same work."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from functools import cache
from hashlib import sha256
from math import cos, pi
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fedpet
from fedpet.errors import FederationError
from fedpet.messages import Message
from inference.contract import Contract
from inference.network import ENSEMBLE, build_network, parameter_groups
from training.method import CLEAR, Method
from training.node_data import VALIDATION_FRACTION
from training.statistics import STATISTICS, Carrier

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from training.node_data import NodeData

_MODULES = (
    "augmentation",
    "budget",
    "losses",
    "masking",
    "method",
    "node_data",
    "privacy",
    "risk_table",
    "statistics",
    "steps",
    "task",
)
_SOURCES = (  # all that decides how a node trains
    "inference/contract.py",
    "inference/network.py",
    *(f"training/{name}.py" for name in _MODULES),
)
_LAST_RATE = 0.05  # the cosine schedule ends at this part of the first learning rate


@dataclass(frozen=True, kw_only=True)
class Task:
    """One network and how to train it.

    Attributes:
        contract: input contract of the node data.
        network: name in the registry of `inference.network`, or "statistics" (see `training.statistics`).
        network_config: its configuration.
        rounds: number of rounds of the whole experiment; the learning rate follows a cosine over them.
        learning_rate: of the first round.
        weight_decay: AdamW's.
        batch_size: patients.
        validation_fraction: part of each node's patients that validates (see `node_data.split`).
        concept_weight: weight of the concept maps' loss beside the likelihood.
        ridge: weight of the squared score terms; none with differential privacy, which sees patients' losses only.
        augment: whether training images are changed at random.
        seed: of the shuffling and of the augmentation.
        minimum_patients: a site with fewer to train on refuses.
        frozen: beginnings of the names of parameters that stay as they are.
        method: aggregation and privacy.
    """

    contract: Contract
    network: str = "evidence"
    network_config: Mapping[str, Any] = field(default_factory=dict)
    rounds: int = 12
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    batch_size: int = 4
    validation_fraction: float = VALIDATION_FRACTION
    concept_weight: float = 1.0
    ridge: float = 5e-3
    augment: bool = True
    seed: int = 0
    minimum_patients: int = 1
    frozen: tuple[str, ...] = ()
    method: Method = CLEAR

    def build(self) -> nn.Module:
        """The network, with fresh parameters; frozen ones ask for no gradient."""
        if self.network == STATISTICS:
            return Carrier(self.contract)
        network = build_network(self.network, self.contract, self.network_config)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(not self.keeps(name))
        return network

    def keeps(self, name: str) -> bool:
        """Whether a parameter stays as it is."""
        return bool(self.frozen) and name.startswith(self.frozen)

    def require_sound(self, sites: int) -> None:
        """Refuse what would not do what it says (`Method.require_sound`), and frozen parameters that leave no work.

        Raises:
            FederationError: the first rule that is broken.
        """
        network = self.build()
        self.method.require_sound(network, sites)
        names = [name for name, _ in network.named_parameters()]
        idle = [one for one in self.frozen if not any(name.startswith(one) for name in names)]
        corrected = self.frozen and self.method.aggregation.method == "scaffold"
        if idle or corrected or all(map(self.keeps, names)):
            raise FederationError(
                found=Message(
                    "frozen = {names} with the method {method}.",
                    names=", ".join(self.frozen),
                    method=self.method.aggregation.method,
                ),
                needed=Message(
                    "Beginnings of names of some of the network's parameters, and not Scaffold, which corrects all."
                ),
                advice=Message("Take of: {names}.", names=", ".join(sorted({name.split(".")[0] for name in names}))),
            )

    @property
    def images(self) -> bool:
        """Whether the network looks at them."""
        return self.network not in {"clinical", STATISTICS}

    @property
    def trains(self) -> bool:
        """False for a network whose parameters the sites take as they are and validate."""
        return self.network != ENSEMBLE

    def parameter_groups(self, network: nn.Module, round_index: int) -> list[dict[str, object]]:
        """Optimiser groups at the learning rate of the round (0 is the first)."""
        done = min(round_index / max(1, self.rounds - 1), 1.0)
        rate = self.learning_rate * (_LAST_RATE + (1 - _LAST_RATE) * (1 + cos(pi * done)) / 2)
        return parameter_groups(network, rate)

    def to_args(self) -> dict[str, str]:
        """Fed-BioMed model arguments, with what the node must find in its own installation."""
        plain = {"contract": self.contract.to_json(), "method": self.method.model_dump(mode="json")}
        return {
            "task": json.dumps({**asdict(self), **plain}),
            "fedpet_version": fedpet.__version__,
            "contract_fingerprint": self.contract.fingerprint,
            "code_digest": code_digest(),
        }

    @staticmethod
    def from_args(args: Mapping[str, str]) -> Task:
        """The task, after checking that version, code and contract are those of this installation.

        Raises:
            FederationError: they are not.
        """
        fields = json.loads(args["task"])
        rich = {
            "contract": Contract.from_json(fields["contract"]),
            "method": Method(**fields["method"]),
            "frozen": tuple(fields["frozen"]),
        }
        task = Task(**{**fields, **rich})
        here = {
            "fedpet_version": fedpet.__version__,
            "contract_fingerprint": task.contract.fingerprint,
            "code_digest": code_digest(),
        }
        different = [name for name, value in here.items() if args[name] != value]
        if different:
            raise FederationError(
                found=Message("This node and the researcher differ in: {names}.", names=", ".join(different)),
                needed=Message("The same fedpet {version} on both.", version=args["fedpet_version"]),
                advice=Message("Install the same version of fedpet on every node."),
            )
        return task


def facts(data: NodeData, contract: Contract) -> dict[str, Any]:
    """What the researcher learns of a site before any training."""
    return {
        "fedpet": fedpet.__version__,
        "sources": code_digest(),
        "contract": contract.fingerprint,
        "patients": len(data.case_ids),
        "events": data.events,
        "synthetic": data.synthetic,
    }


@cache
def code_digest() -> str:
    """SHA-256 over the sources that train; Fed-BioMed's approval covers the text of the plan only."""
    root = Path(__file__).parents[1]
    digest = sha256()
    for source in _SOURCES:
        digest.update(f"{source}\0".encode() + (root / source).read_bytes())
    return digest.hexdigest()
